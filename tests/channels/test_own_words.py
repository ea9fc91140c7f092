"""The reading room: only the model's own words are left, and what was taken out is told."""

from __future__ import annotations

import base64
import html
import json
import quopri
import random
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote, quote_plus

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.channels.base import first_answers
from harness.channels.characters import comparable, hidden, lookalikes
from harness.channels.furniture import key
from harness.channels.reading import answer, answer_start, edit_of, own_words, read, removals, thoughts
from harness.channels.wording import probe
from harness.records import Prompt, Removed, Response, Responses, Similarity

ANSWER = "The tide turns twice a day because the earth turns under the pull of the moon."
QUESTION = "Why does the sea rise and fall each day?"


def own(text: str, asked: str = QUESTION) -> str:
    return own_words(text, asked, edit_of(text, asked)).strip()


def kinds(text: str, asked: str = QUESTION) -> tuple[Removed, ...]:
    edit = edit_of(text, asked)
    return () if edit is None else edit.kinds


THOUGHTS = [
    "<think>{t}</think>{a}",
    "<thinking>{t}</thinking>\n\n{a}",
    "{t}\n</think>\n\n{a}",
    "<ant_thinking>{t}</ant_thinking>{a}",
    "<inner_monologue>{t}</inner_monologue>\n{a}",
    "<seed:think>{t}</seed:think>{a}",
    "◁think▷{t}◁/think▷{a}",
    "[THINK]{t}[/THINK]{a}",
    "[reasoning]{t}[/reasoning]\n{a}",
    "{{{{thinking}}}}{t}{{{{/thinking}}}}\n{a}",
    "<|begin_of_thought|>{t}<|end_of_thought|>\n<|begin_of_solution|>{a}<|end_of_solution|>",
    "<|channel|>analysis<|message|>{t}<|end|><|start|>assistant<|channel|>final<|message|>{a}",
    "<unused94>thought\n{t}<unused95>{a}",
    '<details type="reasoning" done="true" duration="3">\n<summary>Thought for 3 s</summary>\n> {t}\n</details>\n{a}',
    "<details>\n<summary>Show reasoning</summary>\n{t}\n</details>\n\n{a}",
    "```thinking\n{t}\n```\n{a}",
    "> 💭 **Thinking**\n> {t}\n\n{a}",
    "_Thinking:_ {t}\n\n{a}",
    "**Thought process:** {t}\n\n**Final answer:** {a}",
    "Thoughts: {t}\n---\n{a}",
    "思考：{t}\n回答：{a}",
    "&lt;think&gt;{t}&lt;/think&gt;{a}",
    '[{{"type": "reasoning", "text": "{t}"}}, {{"type": "text", "text": "{a}"}}]',
    "[{{'type': 'thinking', 'thinking': '{t}'}}, {{'type': 'text', 'text': '{a}'}}]",
    '{{"reasoning": "{t}", "answer": "{a}"}}',
    "<|START_THINKING|>{t}<|END_THINKING|><|START_RESPONSE|>{a}<|END_RESPONSE|>",
    "<reasoning_start>{t}<reasoning_end>{a}",
    "<analysis>{t}</analysis>\n<answer>{a}</answer>",
    "<思考>{t}</思考>{a}",
    "*Thinking: {t}.\n\nNow to say so.*\n\n{a}",
    "(thinking: {t}.\n\nNow to say so.)\n\n{a}",
    "🤔 Thinking...\n{t}\n\nAnd more.\n\n💡 Answer:\n{a}",
    "Okay, the user asks about the sea. I should keep it short. {a}",
    "The user wants to know why the tide turns.\n\nI need to explain the moon. Let me keep it short.\n\n{a}",
]


@pytest.mark.parametrize("form", THOUGHTS)
def test_thoughts_of_every_form_are_no_answer(form: str) -> None:
    text = form.format(t="Hm, the moon pulls at it", a=ANSWER)
    assert own(text) == ANSWER
    assert "thoughts" in kinds(text)


@pytest.mark.parametrize(
    "text",
    [
        "Thinking about the sea, one sees the moon. It pulls.",
        "Analysis: the poem is of the sea.\nAnswer: there is none in it.",
        "I think, therefore I am.",
        "<note>Bring a towel</note> and a hat, it says.",
        "Half of it, 50%, or 100%: as %s says",
        "Take x=C2=A5 as it is and a == b",
        "*Thinking* of the sea, *one* sees it.\n\nIt pulls.",
        "Let's think of the sea as a bowl.\n\nIt tilts.",
        "The user guide says: press both keys.",
        "It ends with `</think>` there.",
        "A <sea> of it, and a < b > c",
        "- A list\n- of things\n\n> a quotation\n\nand the end",
    ],
)
def test_answers_that_are_no_thoughts_stay(text: str) -> None:
    asked = "Analyse the poem, step by step." if text.startswith("Analysis") else QUESTION
    assert own(text, asked) == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (html.escape(f'"{ANSWER}" & more'), "encoding"),
        (html.escape(html.escape(f"{ANSWER} & more")), "encoding"),
        (json.dumps(f"{ANSWER}\n\n\u201cyes\u201d\n")[1:-1], "encoding"),
        (json.dumps({"choices": [{"message": {"role": "assistant", "content": ANSWER}}]}), "encoding"),
        (f"```json\n{json.dumps({'response': ANSWER})}\n```", "encoding"),
        (repr([{"type": "output_text", "text": ANSWER}]), "encoding"),
        (f"{ANSWER} It’s so — truly.".encode().decode("cp1252"), "encoding"),
        (f"<!-- {'nothing here ' * 90}-->{ANSWER}", "comments"),
        (f'<span style="display:none">{"beech oak " * 50}</span>{ANSWER}', "encoding"),
        (quote(f"“{ANSWER}” — 100 % so"), "encoding"),
        (quote_plus(f"“{ANSWER}” — 100 % so"), "encoding"),
        (quopri.encodestring(f"“{ANSWER}” — it’s so".encode()).decode(), "encoding"),
        (base64.encodebytes(f"“{ANSWER}”".encode()).decode(), "encoding"),
        ("".join(c if c.isascii() else repr(c.encode())[2:-1] for c in f"“{ANSWER}” — so"), "encoding"),
        (
            "".join(
                f"data: {json.dumps({'choices': [{'delta': {'content': w}}]})}\n\n" for w in re.split(r"(?= )", ANSWER)
            )
            + "data: [DONE]\n",
            "encoding",
        ),
        ("".join(f"{json.dumps({'response': w, 'done': False})}\n" for w in re.split(r"(?= )", ANSWER)), "encoding"),
        (f"<?xml version='1.0'?>\n<response><text><![CDATA[{ANSWER}]]></text></response>", "encoding"),
        (f"<div class='reply'><p>{ANSWER}</p></div>", "markup"),
        ("<p>" + html.escape(ANSWER).replace(" ", " <b>", 1).replace(" ", "</b> ", 2) + "</p>", "markup"),
        (f"\x1b[31m{ANSWER}\x1b[0m", "encoding"),
        (f"{QUESTION}\n\n{ANSWER}", "prompt echo"),
        (f"Question: {QUESTION}\nAnswer: {ANSWER}", "prompt echo"),
        (f'You asked: "{QUESTION}" {ANSWER}', "prompt echo"),
        (f"<|im_start|>assistant\n{ANSWER}<|im_end|>", "template marks"),
        (f"[INST] {QUESTION} [/INST] {ANSWER}</s>", "prompt echo"),
        (f"Assistant: {ANSWER}", "template marks"),
        (f"{ANSWER}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd then?", "second turn"),
        (f"{ANSWER}\n\nHuman: And then?\n\nAssistant: It falls.", "second turn"),
        (f"{ANSWER}\nQuestion: And then?\nAnswer: It falls.", "second turn"),
        (" " * 4200 + ANSWER, "blank space"),
        (f"{ANSWER[:20]}{' ' * 900}{ANSWER[20:]}", "blank space"),
    ],
)
def test_what_a_host_puts_around_an_answer_is_cut(text: str, kind: Removed) -> None:
    found = own(text)
    assert found.split()[:10] == ANSWER.split()[:10] or found.strip('"').split()[:10] == ANSWER.split()[:10]
    assert "falls" not in found
    assert "beech" not in found
    assert "nothing here" not in found
    assert kind in kinds(text)


def test_a_prompt_that_asks_for_json_gets_it() -> None:
    lines = '{"text": "one"}\n{"text": "two"}'
    assert own(lines, "Reply with one JSON object a line.") == lines
    assert own(lines) == "onetwo"
    assert own('{"answer": "yes"}', "Reply with JSON only.") == '{"answer": "yes"}'


def test_an_unlike_turn_in_a_story_stays_where_a_dialogue_is_asked_for() -> None:
    text = "Anna waits.\nUser: who is there?\nBot: nobody."
    assert own(text, "Write a dialogue of a user and a bot.") == text


@pytest.mark.parametrize(
    "mark", ["\u200b", "\u200d", "\u2060", "\u00ad", "\u034f", "\ufeff", "\u2063", "\u202e", "\ufe0f"]
)
def test_hidden_characters_are_seen_and_taken_out(mark: str) -> None:
    text = " ".join(f"{w[:1]}{mark}{w[1:]}" for w in ANSWER.split())
    assert comparable(text) == ANSWER
    assert hidden(text) == 16
    assert kinds(text) == ("hidden characters",)


@pytest.mark.parametrize(
    "veil",
    [
        lambda text: " ".join(f"{w[:1]}\u200b{w[1:]}" for w in text.split(" ")),
        lambda text: text.translate(LIKE),
        lambda text: "".join(f"{c}\u0334" if c.isalpha() else c for c in text),
    ],
)
@pytest.mark.parametrize(
    "form", ["Okay, the user asks about the sea. I should keep it short.\n\n{a}", f"{QUESTION}\n\n{{a}}"]
)
def test_characters_that_hide_do_not_hide_thoughts_or_an_echo(form: str, veil: Callable[[str], str]) -> None:
    assert own(veil(form.format(a=ANSWER))) == ANSWER


def test_thoughts_before_an_answer_that_a_stray_mark_follows_are_cut() -> None:
    text = f"Okay, the user asks about the sea. I should keep it short.\n\n{ANSWER}\n</think>\nHave a nice day."
    edit = edit_of(text, QUESTION, stray=True)
    assert own_words(text, QUESTION, edit) == ANSWER
    assert edit is not None
    assert set(edit.kinds) == {"thoughts", "stray marks"}


LIKE = str.maketrans("aceopxyAEOPCTH", "асеорхуАЕОРСТН")


@pytest.mark.parametrize("letters", [LIKE, str.maketrans("aoe", "αοе"), str.maketrans("ci", "ϲі"),
                                     str.maketrans("abet", "ᴀʙᴇᴛ")])  # fmt: skip
def test_look_alike_letters_are_seen_and_folded(letters: dict[int, int]) -> None:
    assert comparable(ANSWER.translate(letters)) == ANSWER
    assert lookalikes(ANSWER.translate(letters)) >= 3
    assert "look-alike letters" in kinds(ANSWER.translate(letters))


@pytest.mark.parametrize(
    "text", ["Привет, мир. Сор и рост.", "Το κείμενο είναι ελληνικό.", "नमस्ते दुनिया", "مرحبا بالعالم",
             "Xin chào thế giới",
             "日本語の文", "naïve café", "สวัสดีชาวโลก"]
)  # fmt: skip
def test_other_scripts_are_left_as_they_are(text: str) -> None:
    assert comparable(text) == text
    assert not kinds(text)


def test_joined_pictures_hide_nothing() -> None:
    assert not kinds("A 👨‍👩‍👧 family and 👩🏽‍🚀.")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("“Yes” — it’s so…", '"Yes" - it\'s so...'),
        ("ｆｕｌｌ ᴬ", "full A"),
        ("h̷i̷ ṫhere", "hi ṫhere"),
        ("a\u00a0b\u2009c", "a b c"),
        ("a\x0bb\x0cc\u2028d", "a b c d"),
        ("🅷🅴🆁🅴", "HERE"),
        ("kıyı", "kiyi"),
    ],
)
def test_quotes_dashes_widths_and_spaces_are_one(text: str, plain: str) -> None:
    assert comparable(text) == plain


TEXT = "river stone light glass cloud field music winter garden bridge letter morning paper silver forest window"
WORDS = TEXT.split()


def table(wrap: Callable[[str, int], str], n: int = 24, models: int = 6) -> Responses:
    """Answers of some models, m0's wrapped."""
    prompts = [
        Prompt(f"q{i}", "f", f"Ask {WORDS[i % 16]} of {WORDS[(i * 5) % 16]} {i}?", channels=("wording",))
        for i in range(n)
    ]
    rng = random.Random(0)
    said = [
        Response(f"m{m}", p.id, 0, "", "ok", text if m else wrap(text, i))
        for m in range(models)
        for i, p in enumerate(prompts)
        if (text := " ".join(rng.choices(WORDS, k=30)) + f" of {i}.")
    ]
    return Responses.of([f"m{m}" for m in range(models)], prompts, said)


FOOTER = "This reply was brought to you by the free gateway of the north, open to all."
PREFACES = [
    f"{a}, {b} you asked for today is right here now."
    for a in ("Well", "Sure", "Hello", "Fine")
    for b in ("what", "all")
]


@pytest.mark.parametrize(
    ("wrap", "where"),
    [
        (lambda t, i: f"{t}\n\n{FOOTER}", "end"),
        (lambda t, i: f"{FOOTER}\n\n{t}", "begin"),
        (lambda t, i: f"Thank you so much for asking!\n{t}\nHave a very good day ahead.", "end"),
        (
            lambda t, i: f"{t}\n\nAnswer no. {i * 7919} at 12:{i:02d}, billed by the free gateway of the north to you.",
            "end",
        ),
    ],
)
def test_furniture_is_cut_and_told(wrap: Callable[[str, int], str], where: str) -> None:
    bare, wrapped = read(table(lambda t, i: t)), read(table(wrap))
    for row in range(24):
        assert len(answer(wrapped, row).split()) - len(answer(bare, row).split()) <= 4
    (told,) = [r for r in removals(wrapped) if r.kind == "furniture"]
    assert (told.model, told.answers, told.of, told.where) == ("m0", 24, 24, where)
    assert not removals(bare)


@pytest.mark.parametrize("rule", ["---", "***", "___", "═════", "\n\n* * *\n", "> ", "• "])
@pytest.mark.parametrize(
    "place", ["{a}\n\n{r}\n{f}", "{a}\n{r}\n*{f}*\n{r}", "{f}\n{r}\n\n{a}", "{r}\n{f}\n\n{r}\n{a}"]
)
def test_a_rule_that_sets_furniture_off_goes_with_it(rule: str, place: str) -> None:
    bare, wrapped = read(table(lambda t, i: t)), read(table(lambda t, i: place.format(a=t, r=rule, f=FOOTER)))
    for row in range(24):
        own, whole = answer(wrapped, row), answer(bare, row)
        assert own in whole  # nothing but its own words
        assert len(whole.split()) - len(own.split()) <= 4


def test_prefaces_in_turn_are_furniture_too() -> None:
    wrapped = read(table(lambda t, i: f"{PREFACES[i % 8]} {t}"))
    assert sum("you asked for today" in answer(wrapped, r) for r in range(24)) == 0


def test_a_topic_said_again_is_not_kinship_without_the_question() -> None:
    """Two strangers whose host says again what each question is about."""
    plain = table(lambda t, i: t)
    topics = [" ".join(p.text.split()[1:4:2]) for p in plain.prompts]
    texts = list(plain.text)
    for p in range(24):
        for m in (0, 1):
            (row,) = plain.rows(p, m)
            texts[row] = f"On {topics[p]}: {texts[row]} Such is {topics[p]}, so much for {topics[p]}."
    found = probe(read(replace(plain, text=texts)), 1, np.random.default_rng(0))
    assert found is not None

    def ahead(s: Similarity) -> float:
        mean = np.nanmean(s.values, axis=0)
        others = mean[2:, 2:]
        return float((mean[0, 1] - np.nanmean(others)) / np.nanstd(others))

    assert ahead(found.similarity) > 4
    assert ahead(found.variants["without the question"]) < ahead(found.similarity) / 3


@pytest.mark.parametrize("share", [2, 4])
def test_a_canned_answer_is_none(share: int) -> None:
    refusal = "Your request {} cannot be served under the policy of this gateway."
    wrapped = read(table(lambda t, i: refusal.format(f"{i * 7919:x}9") if i % share == 0 else t))
    answers = [row[0] for row in first_answers(wrapped, range(24))]
    assert [a is None for a in answers] == [i % share == 0 for i in range(24)]


@pytest.mark.parametrize("refused", [0, 6])
def test_a_number_behind_a_preface_is_an_answer(refused: int) -> None:
    """Unless the endpoint says the preface to open questions, too, with nothing but a number behind it."""
    open_ended = table(lambda t, i: f"{FOOTER} No. {i * 7919}" if i < refused else f"{FOOTER}\n\n{t}")
    prompts = [*open_ended.prompts, *(Prompt(f"n{i}", "n", f"Choose from {i} to 99.") for i in range(9))]
    said = [
        Response(f"m{m}", p.id, 0, "", "ok", text)
        for m in range(6)
        for i, p in enumerate(prompts)
        for text in [open_ended.text[i * 6 + m] if i < 24 else f"{'' if m else FOOTER} {i}".strip()]
    ]
    asked = read(Responses.of(open_ended.models, prompts, said))
    numbers = [row[0] for row in first_answers(asked, range(24, 33))]
    assert numbers == ([None] * 9 if refused else [str(i) for i in range(24, 33)])


def test_a_closing_mark_behind_the_answer_hides_nothing() -> None:
    bare = table(lambda t, i: t)
    for tail in ("I hope that this is of use to you.", "Done.", "{i}"):
        stray = read(table(lambda t, i, tail=tail: f"{t}\n</think>\n\n{tail.format(i=i)}"))  # type: ignore[misc]
        assert [answer(stray, r) for r in range(24)] == [answer(bare, r) for r in range(24)]
        assert [r.kind for r in removals(stray)] == ["stray marks"]


def test_a_thinker_without_an_opening_mark_keeps_its_answer() -> None:
    thinker = read(table(lambda t, i: f"Okay, so the user asks for {i}. Let me see.\n</think>\n\n{t}"))
    bare = table(lambda t, i: t)
    assert [answer(thinker, r) for r in range(24)] == [answer(bare, r) for r in range(24)]
    assert thoughts(thinker, 0).startswith("Okay, so the user")


def test_what_all_endpoints_say_is_no_furniture() -> None:
    everywhere = table(lambda t, i: t)
    said = [f"{t} {FOOTER}" for t in everywhere.text]
    from dataclasses import replace

    found = read(replace(everywhere, text=said)).furniture
    assert not any(run in key(FOOTER) for f in found.values() for run in f.runs)


def test_where_an_answer_begins_in_what_was_stored() -> None:
    def start(text: str) -> int | None:
        prompts = [Prompt("q", "f", QUESTION)]
        return answer_start(Responses.of(["m"], prompts, [Response("m", "q", 0, "", "ok", text)]), 0)

    assert start(ANSWER) == 0
    assert start(f"<think>hm</think>\n{ANSWER}") == len("<think>hm</think>\n")
    assert start("<think>hm</think>") is None
    assert start(html.escape(f"{ANSWER} & so")) is None
    veiled = " ".join(f"{w[:1]}\u200b{w[1:]}" for w in ANSWER.split())
    assert start(veiled) == 0
    assert start(f"<|im_start|>assistant\n{ANSWER}") == len("<|im_start|>assistant\n")
    assert start(f"<|im_start|>assistant\n{veiled}") is None  # where the mark ends was counted in another text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("<>/|[]{}&;\\\"'nu20thinkTHINK \n\u200b`#*_:>分 0"), max_size=300))
def test_any_text_is_read(text: str) -> None:
    for asked in ("", QUESTION):
        edit = edit_of(text, asked)
        assert len(own_words(text, asked, edit)) <= 3 * len(text) + 10


def test_long_texts_are_read_in_linear_time() -> None:
    import time

    for piece in (
        "<think>",
        "</think",
        "&amp;",
        "<details>",
        "\\u00",
        "[",
        "{'a':",
        "\u200b",
        " ",
        "> ",
        "<!--",
        "<a hidden",
        "%41",
        "%",
        "=C3=A9 x",
        "=C3",
        "\\xe2 ",
        "<p><div>",
        "</p>",
        "<p",
        "<text>",
        "<![CDATA[",
        "data: {}\n",
        '{"text": "a"}\n',
        "<analysis>",
        "(thinking: ",
        "*Thinking: \n\n",
        "ᴀb ",
        "b\u0334",
        "é",
        "QUJD",
    ):
        began = time.perf_counter()  # the wall clock is what is measured
        own_words(piece * 20_000, QUESTION, edit_of(piece * 20_000, QUESTION))
        assert time.perf_counter() - began < 5.0, piece


def test_shares_are_counted_of_what_was_said() -> None:
    wrapped = read(table(lambda t, i: f"<think>hm {i}</think>{t}" if i % 2 else t))
    (told,) = removals(wrapped)
    assert (told.kind, told.answers, told.of) == ("thoughts", 12, 24)
    assert np.isclose(told.answers / told.of, 0.5)
