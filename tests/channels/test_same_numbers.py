"""What is counted with arrays is what a plain form counts: words, runs, forms and characters of any text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from ftfy.badness import BADNESS_RE, is_bad
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.channels import characters, reasoning, refusals, residue
from harness.channels.furniture import cut_spans, masked
from harness.channels.stylometry import read_tokens, tokenize
from harness.channels.verbatim import SHINGLE, SHORTEST, shared_runs
from harness.channels.wording import IDF_FLOOR, QUOTED, _quoted, prompt_similarity
from harness.inference.control_match import FORMS, form_of
from harness.records import Furniture, Responses, RowCache, Vocabulary, WordIds

VOCABULARY = ("the", "a", "sea", "river", "7", "42nd", "Öl", "дом", "海", "run", "ran", "of")
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=60)


def plain_similarity(answers: Sequence[Sequence[str]]) -> np.ndarray:
    """TF-IDF cosine of word 1-2-grams as its formula reads."""
    grams = [Counter([*a, *pairwise(a)]) for a in answers]
    n = sum(bool(g) for g in grams)
    df = Counter(f for g in grams for f in g)
    out = np.full((len(answers), len(answers)), np.nan)
    weights = [{f: (1 + np.log(c)) * (np.log((1 + n) / (1 + df[f])) + IDF_FLOOR) for f, c in g.items()} for g in grams]
    for i, a in enumerate(weights):
        for j, b in enumerate(weights):
            if i != j and a and b:
                size = np.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
                out[i, j] = sum(x * b.get(f, 0.0) for f, x in a.items()) / size
    return out


@given(st.lists(WORDS, min_size=2, max_size=5))
@settings(max_examples=60, deadline=None)
def test_wording_is_its_formula(answers: list[list[str]]) -> None:
    answers = [[w.lower() for w in a] for a in answers]
    found = prompt_similarity([" ".join(a) or None for a in answers])
    np.testing.assert_allclose(found, plain_similarity(answers), atol=1e-6)


@given(st.lists(WORDS.filter(lambda a: len(a) >= SHORTEST), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_shared_runs_are_counted_as_sets(answers: list[list[str]]) -> None:
    sets = [{tuple(a[i : i + SHINGLE]) for i in range(max(1, len(a) - SHINGLE + 1))} for a in answers]
    plain = [[len(a & b) / min(len(a), len(b)) for b in sets] for a in sets]
    ids = [np.array([VOCABULARY.index(w) for w in a], dtype=np.int32) for a in answers]
    assert shared_runs(ids).tolist() == plain


@given(
    st.lists(
        st.text(max_size=30) | st.text(alphabet=st.sampled_from("aZ_0 .,\n\x1c\x00-é海İ"), max_size=60), max_size=6
    )
)
@settings(max_examples=40, deadline=None)
def test_words_of_many_texts_are_those_of_each(texts: list[str]) -> None:
    for some in (texts, [*texts, "and so on"] * (characters.MANY // (len(texts) + 1) + 1)):
        known = Vocabulary(zz=0)
        found, spelled = characters.numbered_words(some, known), tuple(known)
        assert [[spelled[i] for i in ids] for ids in found] == list(map(characters.words, some))


@given(st.text(alphabet=st.sampled_from("aZ0 .,?!-é海😀\n²İ\t"), max_size=80))
@settings(max_examples=200, deadline=None)
def test_form_counts_characters_as_python_does(text: str) -> None:
    form = dict(zip(FORMS, form_of(text), strict=True))
    text = text.strip()
    visible = max(1, len("".join(text.split())))
    upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
    assert form["capitals"] == upper / max(1, upper + lower)
    assert form["digits"] == sum(map(str.isdigit, text)) / visible
    assert form["symbols"] == sum(unicodedata.category(c) == "So" for c in text if not c.isascii()) / visible
    assert (form["questions"] > 0) == ("?" in text)
    assert (form["commas"] > 0) == ("," in text)


def slowly_folded(text: str) -> str:
    """As `_folded`, looking at every run of foreign letters whatever they are."""
    runs = [m for m in characters._FOREIGN.finditer(text) if any(map(str.isalpha, m.group()))]
    table = characters._lookalikes()
    foreign = [c for m in runs for c in m.group() if c.isalpha()]
    if runs and sum(c in table for c in foreign) >= characters._FOLDED_SHARE * len(foreign):
        return "".join(table.get(c, c) for c in text)
    out, at = [], 0
    for m in runs:
        start, end = characters._word_around(text, *m.span())
        if start >= at:
            out += [text[at:start], characters._word(text[start:end], table)]
            at = end
    return "".join([*out, text[at:]])


@given(st.text(max_size=60) | st.text(alphabet=st.sampled_from("aeсорТ xıɴА海é"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_a_text_without_lookalikes_is_left_alone_at_once(text: str) -> None:
    if set(text).isdisjoint(characters._lookalikes()):
        assert characters._folded(text) == text
    assert characters._folded(text) == slowly_folded(text)
    assert characters.lookalikes(text) == sum(a != b for a, b in zip(text, characters._folded(text), strict=True))


RUN = "kindly asked by the grand old duke today"  # eight words
FURNITURE = Furniture(runs=frozenset({RUN, "a b c d", "the # the #"}))


@pytest.mark.parametrize(
    "text",
    ["x " + RUN + " y", "a b c d", "a b c d a b c d!", "the 7 the 8 the 9 and more", "nothing here", "a b c", ""],
)
def test_furniture_is_found_wherever_one_of_its_runs_begins(text: str) -> None:
    said = [masked(w) for w in characters.words(text)]
    covered = {
        j
        for size in (8, 4)
        for i in range(len(said) - size + 1)
        if " ".join(said[i : i + size]) in FURNITURE.runs
        for j in range(i, i + size)
    }
    cut = cut_spans(text, FURNITURE)
    spans = characters.word_spans(text)
    assert covered == {i for i, (_, at, _) in enumerate(spans) if any(a <= at < b for a, b in cut)}


@given(st.text(max_size=80))
def test_words_as_spelt_are_those_of_the_spans(text: str) -> None:
    assert characters.words_as_spelt(text) == [w for w, *_ in characters.word_spans(text)]


def test_words_that_two_caches_numbered_otherwise_are_the_same_words() -> None:
    def work(responses: Responses, row: int) -> WordIds:
        raise AssertionError(row)

    here, there = RowCache(2), RowCache(1)
    number = here.vocabulary["sea"], here.vocabulary["salt"]
    ids = [there.vocabulary[w] for w in ("new", "salt", "sea")]
    there.column(work)[0] = WordIds(np.array(ids, dtype=np.int32).tobytes())
    here.update(there, np.array([1]))
    found = here.column(work)[1].array.tolist()
    assert [list(here.vocabulary)[i] for i in found] == ["new", "salt", "sea"]
    assert found[1:] == [number[1], number[0]]
    assert here.column(work)[0] is ...


PIECES = (
    *refusals._DECLINING, *refusals._HEDGING, "I", "I'm", "am", "really", "to", "note", "provide", "my", "topic", "İ",
    "ſ", "\u212a", "ı", "AI", "一个", "提供", "dir", "nicht", "for", "do not", "consider",
    "your", "Disclaimer", "es", "je",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.sampled_from([str, str.upper, str.title, str.swapcase]))
@settings(max_examples=400, deadline=None)
def test_signs_of_a_refusal_hide_none(pieces: list[str], case: Callable[[str], str]) -> None:
    text = case(" ".join(pieces))
    assert refusals._declines(text) == bool(refusals._DECLINES.search(text))
    assert refusals._hedges(text) == bool(refusals._HEDGES.search(text))


@pytest.mark.parametrize("letter", ["ı", "İ", "ſ", "\u212a"])
def test_letters_that_a_pattern_takes_for_others_hide_nothing(letter: str) -> None:
    said = {"ı": "dıscla\u0131mer", "İ": "dİsclaİmer", "ſ": "I am ſorry", "\u212a": "I am as\u212aed, sorry"}[letter]
    found = refusals._DECLINES.search(said) or refusals._HEDGES.search(said)
    assert (refusals.reaction_kind(said) != "complies") == bool(found)


MARKS = (
    "<|im_end|>", "</s>", "<eos>", "[INST]", "<|user|>", "<｜User｜>", "\nHuman:", "\n\n**USER** :", "\n## Instruction",
    "\n### Input", "\nQuestion: why?\nAnswer:", "&amp;", "\\u00e9", "\\n", '\\"', "<!-- x -->", "[//]: # x",
    "\x1b[1m", "<p hidden>", "</think>", "Hm.", "\n", "User said", "[1]", "<", "assistantfinal", "◁/think▷", "】",
)  # fmt: skip


@given(st.lists(st.sampled_from(MARKS), max_size=6))
@settings(max_examples=400, deadline=None)
def test_signs_of_turns_marks_and_encodings_hide_none(pieces: list[str]) -> None:
    text = "So. " + " ".join(pieces)
    found = [m for p in (residue._TURN_END, residue._USER_TURN) for m in [p.search(text)] if m]
    assert residue.second_turn(text, "") == min((m.start() for m in found), default=len(text))
    assert residue.marks_of_template(text) == [m.span() for m in residue._MARK.finditer(text)]
    assert any(sign in text for sign in residue._CODING) or not residue._CODED.search(text)
    assert any(h in text for h in reasoning._HINTS) or not reasoning._THROUGH_LAST_CLOSE.match(text)


def test_hints_of_thoughts_in_ascii_come_first() -> None:
    plain = reasoning._HINTS[: reasoning._PLAIN_HINTS]
    assert all(map(str.isascii, plain))
    assert not any(map(str.isascii, reasoning._HINTS[len(plain) :]))


ASCII = st.text(alphabet=st.characters(max_codepoint=0x7F), max_size=60)
LONG = st.lists(st.sampled_from(["Words", "and_", "a" * 40, "\n\n", "!?", " ", "\x1c", "\t", "é"]), max_size=700).map(
    "".join
)


@given(st.lists(ASCII | LONG | st.text(max_size=30) | st.none(), min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_tokens_of_many_texts_are_those_of_each(texts: list[str | None]) -> None:
    found = read_tokens(texts)
    said = [found.words[i] for i in found.ids]
    each = [tokenize(t) if t else [] for t in texts]
    assert [said[a:b] for a, b in pairwise(found.start)] == each
    assert list(found.words) == sorted({w for row in each for w in row})


UNSEEN = st.text(
    alphabet=st.sampled_from("aZ \n\t.’“—…\xa0\xad\u200b\u200d\u2003\x00\x1c\x7féо①😀\u0301ﬁ海´\x85\U000e0041"),
    max_size=40,
)


@given(UNSEEN)
@settings(max_examples=400, deadline=None)
def test_characters_looked_at_once_are_those_looked_at_everywhere(text: str) -> None:
    unneeded = sum(characters._unneeded(text, m.start()) for m in characters._hidden().finditer(text))
    assert characters.hidden(text) == max(unneeded, characters._struck(text))
    assert characters._seen(text) == characters._hidden().sub("", characters._SPACE.sub(" ", text))
    folded = characters._folded(text)
    assert characters.lookalikes(text) == sum(a != b for a, b in zip(text, folded, strict=True))


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g"]), max_size=30),
    st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g"]), max_size=14),
)
@settings(max_examples=500, deadline=None)
def test_runs_of_a_question_are_found_in_all_answers_at_once(said: list[str], asked: list[str]) -> None:
    runs = [tuple(asked[i : i + QUOTED]) for i in range(len(asked) - QUOTED + 1)]
    drop = {
        j for i in range(len(said) - QUOTED + 1) if tuple(said[i : i + QUOTED]) in runs for j in range(i, i + QUOTED)
    }
    ids = [np.array(list(map(ord, some)), dtype=np.int32) for some in ("zzzzabcdezz", said, "", asked)]
    found = _quoted(ids, np.array(list(map(ord, asked)), dtype=np.int64))
    assert [len(each) for each in found] == list(map(len, ids))
    assert set(np.flatnonzero(found[1])) == drop


@given(st.lists(st.sampled_from(list("abcd")), max_size=12), st.lists(st.sampled_from(list("abcd")), max_size=5))
@settings(max_examples=500, deadline=None)
def test_the_first_word_of_a_question_hides_no_echo(said: list[str], asked: list[str]) -> None:
    n, at = len(asked), range(min(residue.BEFORE_ECHO, len(said) - len(asked)) + 1)
    ends = [" ".join(said[: i + n]) for i in at if said[i : i + n] == asked and n >= residue.LEAST_ECHO]
    assert residue.echo_end(" ".join(said), " ".join(asked)) == len(next(iter(ends), ""))


@given(
    st.text(
        alphabet=st.sampled_from("aZ .,\n1–—‘’“”•…海，。！こ한😀🎉①") | st.characters(min_codepoint=0x80), max_size=30
    )
)
@settings(max_examples=300, deadline=None)
def test_a_text_without_letters_of_other_code_pages_was_not_misread(text: str) -> None:
    if is_bad(text):
        assert residue._OF_CODE_PAGES.search(text)


def test_what_ftfy_looks_for_stands_on_those_code_pages() -> None:
    typed = set("–—‘’“”•…")
    beside = {c for c in BADNESS_RE.pattern if not c.isascii()} - typed
    assert all(residue._OF_CODE_PAGES.match(c) for c in beside)
    assert not any(is_bad(a + b + c) for a in (*typed, "a", " ") for b in typed for c in (*typed, "a", " "))
