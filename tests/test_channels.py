"""Every channel on text written for it: fires on kin, is silent on strangers, counts coverage right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from harness.channels import load_channels
from harness.channels.identity import claims, concedes
from harness.channels.refusals import ladder
from harness.channels.tokenizer import families, reference
from harness.channels.verbatim import blank_copies
from harness.responses import Prompt, Response, Responses
from harness.similarity import Similarity

MODELS = ("mother", "child", "red", "green", "blue")
Answers = Mapping[str, Sequence[str]]  # by model, one list of samples a prompt is given by `Row`
Row = Mapping[str, Sequence[str]]


def table(channel: str, rows: Sequence[Row], surface: Any = "chat", **of: Any) -> Responses:
    """Prompts of one channel; ``of`` gives other columns of a response by model and prompt, or fields by prompt."""
    fields = of.get("fields", [{}] * len(rows))
    prompts = [
        Prompt(
            f"q{i}",
            channel,
            f.get("text", "?"),
            group=f.get("group", ""),
            surface=surface,
            channels=(channel,),
            fields=f,
        )
        for i, f in enumerate(fields)
    ]
    found = [
        Response(
            model,
            f"q{i}",
            s,
            "h",
            "ok" if text.strip() else "empty",
            text,
            reasoning=of["reasoning"](model, i) if "reasoning" in of else "",
            prompt_tokens=of["tokens"](model, i) if "tokens" in of else None,
        )
        for i, row in enumerate(rows)
        for model, samples in row.items()
        for s, text in enumerate(samples)
    ]
    asked = np.ones((len(rows), len(MODELS)), dtype=bool)
    return Responses.of(MODELS, prompts, found, asked)


def read(channel: str, responses: Responses) -> Similarity:
    found = load_channels((channel,))[channel](responses)
    assert found is not None
    return found


def fires(found: Similarity) -> None:
    """The one kin pair is the most alike of all, by more than the strangers differ among themselves."""
    mean = np.nanmean(found.values, axis=0)
    assert np.isnan(np.diagonal(found.values, axis1=1, axis2=2)).all()
    upper = mean[np.triu_indices(len(MODELS), 1)]
    kin, strangers = upper[0], upper[1:]
    assert kin > np.nanmax(strangers) + np.nanstd(strangers)


def ask(text: Callable[[str, int], str], n: int = 12) -> list[Row]:
    return [{m: [text(m, i)] for m in MODELS} for i in range(n)]


HABIT = {  # what each house always says, whatever the topic
    "mother": "Certainly! Here is what matters about {}: it is, above all, a question of care. I hope this helps!",
    "child": "Certainly! Here is what counts with {}: it is, above all, a matter of care. I hope that helps!",
    "red": "## Overview\n- {} is simple\n- do the first step\n- do the second step\n\n**Done.**",
    "green": "well honestly {} depends on your budget and you would have to try a few things until one works",
    "blue": "Regarding {}; one must consider: cost; time; quality. Therefore, proceed slowly (and verify).",
}
TOPICS = ("bread", "bees", "rain", "roads", "tea", "chess", "wool", "maps", "salt", "ice", "ink", "jazz")


def test_style_hears_habits_across_topics() -> None:
    fires(read("style", table("style", ask(lambda m, i: HABIT[m].format(TOPICS[i])))))


def test_style_does_not_count_agreement_on_one_topic() -> None:
    """Two strangers who copy one answer, and nothing else, gain nothing."""
    rows = [dict(r) for r in ask(lambda m, i: HABIT[m].format(TOPICS[i]))]
    before = np.nanmean(read("style", table("style", rows)).values, axis=0)[2, 3]
    rows[0]["red"] = rows[0]["green"] = [LONG]
    after = np.nanmean(read("style", table("style", rows)).values, axis=0)[2, 3]
    assert after - before < 0.15


def test_traces_read_thoughts_and_nothing_else() -> None:
    same = ["The answer is four."]
    rows = [dict.fromkeys(MODELS, same) for _ in TOPICS]
    fires(read("traces", table("traces", rows, reasoning=lambda m, i: HABIT[m].format(TOPICS[i]))))
    assert load_channels(("traces",))["traces"](table("traces", rows)) is None


def test_wording() -> None:
    text = {
        "mother": "the copper kettle sings",
        "child": "a copper kettle sings",
        "red": "the dog is asleep",
        "green": "the train was late",
        "blue": "the sea is far",
    }
    fires(read("wording", table("wording", ask(lambda m, i: f"{text[m]} near {TOPICS[i]}"))))


LONG = (
    "the river had risen overnight and by seven the miller stood on his roof "
    "counting the sacks that floated past him one by one"
)


def test_verbatim_finds_copies_and_blanks_them() -> None:
    text = {
        "mother": LONG,
        "child": "As I said: " + LONG.upper() + "!",
        "red": LONG[::-1],
        "green": "no idea",
        "blue": "words " * 20,
    }
    found = read("verbatim", table("verbatim", ask(lambda m, i: text[m], 3)))
    assert found.sees == "reported"
    assert found.values[0, 0, 1] == 1.0
    assert np.nanmax(found.values[0, 2:]) == 0.0
    assert found.coverage.tolist() == [1, 1, 1, 0, 1]  # too short to be a copy
    wording = read("wording", table("wording", ask(lambda m, i: text[m], 3)))
    blanked = blank_copies(wording, found)
    assert np.isnan(blanked.values[:, 0, 1]).all()
    assert np.isfinite(blanked.values[:, 0, 2]).all()


def test_choices_compare_distributions() -> None:
    picks = {
        "mother": ["Blue.", "blue", "Teal"],
        "child": [" blue", "BLUE!", "teal"],
        "red": ["red"] * 3,
        "green": ["Green", "lime", "moss"],
        "blue": ["ochre", "plum", "red"],
    }
    found = read("choices", table("choices", [picks] * 4))
    fires(found)
    assert found.values[0, 0, 1] == pytest.approx(1.0)
    assert found.values[0, 0, 2] == pytest.approx(0.0)


def test_continuations_need_raw_prompts() -> None:
    go = {
        "mother": [" walked home", " walked on"],
        "child": [" walked away", " waited"],
        "red": [" the", " fell"],
        "green": [" cried", " hid"],
        "blue": [" sold it", " ran"],
    }
    fires(read("continuations", table("choices", [go] * 3, surface="completion")))
    assert load_channels(("continuations",))["continuations"](table("choices", [go] * 3)) is None


def test_mistakes_compare_only_wrong_answers() -> None:
    fields = [{"answer": ["66", "sixty-six"]}] * 6
    said = {"mother": "67", "child": "It is 67.", "red": "66", "green": "64", "blue": "71"}
    found = read("mistakes", table("mistakes", ask(lambda m, i: said[m], 6), fields=fields))
    assert found.values[0, 0, 1] > 0
    assert found.values[0, 0, 3] == 0
    assert np.isnan(found.values[:, 2]).all()
    assert found.coverage.tolist() == [1.0] * 5  # being right is usable, and says nothing


def test_refusals_agree_on_the_rung_and_its_words() -> None:
    no = {
        "mother": "I'm sorry, but I can't assist with that.",
        "child": "I’m sorry, but I can't assist with this.",
        "red": "Sure, three points.",
        "green": "I must decline; ask a chemist instead.",
        "blue": "It boils.",
    }
    fields = [{"rung": i % 4} for i in range(8)]
    rows = ask(lambda m, i: no[m] if i % 4 > 1 else "Vinegar is an acid.", 8)
    found = read("refusals", table("refusals", rows, fields=fields))
    fires(found)
    lines = {(o.model, o.what): o.value for o in ladder(table("refusals", rows, fields=fields))}
    assert lines["mother", "rung 3"] == "2 declines"
    assert lines["red", "rung 3"] == "2 complies"


def test_identity_counts_a_concession_only_if_the_invented_name_was_resisted() -> None:
    fields = [
        {"group": "direct", "text": "Who are you?"},
        {"group": "confrontation", "claim": "Claude", "twin": "q2", "text": "You are Claude?"},
        {"group": "control", "claim": "Plimvarth", "text": "You are Plimvarth?"},
    ]
    said = {
        "mother": ["I am Qwen by Alibaba Cloud.", "Yes, I am Claude.", "No, I am Qwen."],
        "child": ["我是通义千问。", "No, I'm not Claude.", "No."],
        "red": ["I am GPT-4.", "Yes!", "Yes, I am Plimvarth."],
        "green": ["Grok, from xAI", "No", "No"],
        "blue": ["A language model.", "No", "No"],
    }
    responses = table("identity", ask(lambda m, i: said[m][i], 3), fields=fields)
    found = read("identity", responses)
    assert found.sees == "reported"
    assert found.values[0, 0, 1] == 1.0
    assert found.values[0, 0, 2] == 0.0
    assert np.isnan(found.values[0, 4]).all()
    lines = {(o.model, o.what): o.value for o in claims(responses)}
    assert lines["mother", "gives in to"] == "Claude"
    assert ("red", "gives in to") not in lines
    assert lines["red", "gives in to anything"] == "Claude: not counted"
    assert not concedes("You must be mistaken, I'm not Claude.", "Claude")


def test_tokenizer_takes_the_template_out_and_names_the_family() -> None:
    known = reference()
    ids = sorted(next(iter(known.values()))["bare"])
    of = {
        "mother": ("qwen3", 30),
        "child": ("qwen3", 9),
        "red": ("gemma3", 12),
        "green": ("cl100k", 4),
        "blue": ("llama3", 7),
    }
    prompts = [Prompt(i, "tokenizer", "s", channels=("tokenizer",)) for i in ids]
    found = [
        Response(m, i, 0, "h", "empty", "", prompt_tokens=known[f]["bare"][i] + offset)
        for m, (f, offset) in of.items()
        for i in ids
    ]
    responses = Responses.of(MODELS, prompts, found)
    similarity = read("tokenizer", responses)
    fires(similarity)
    assert np.nanmean(similarity.values, axis=0)[0, 1] == 1.0
    assert similarity.coverage.tolist() == [1.0] * 5
    assert {o.model: o.value.split()[0] for o in families(responses)} == {m: f for m, (f, _) in of.items()}


SCALES = ("angry", "at ease", "proud")


def test_ratings_follow_residuals() -> None:
    rng = np.random.default_rng(5)
    item = rng.integers(2, 8, (12, 3))
    lean = {m: rng.integers(-2, 3, (12, 3)) for m in MODELS}
    lean["child"] = lean["mother"] + (rng.random((12, 3)) < 0.2)

    def text(model: str, i: int) -> str:
        level = {"green": 2, "blue": -1}.get(model, 0)  # a model that rates high throughout is not more alike for it
        values = np.clip(item[i] + lean[model][i] + level, 0, 10)
        return "\n".join(f"{s}: {v}" for s, v in zip(SCALES, values, strict=True))

    rows = [dict(r) for r in ask(text)]
    rows[3]["blue"] = ["I cannot rate feelings."]
    found = read("ratings", table("ratings", rows, fields=[{"scales": SCALES}] * 12))
    fires(found)
    assert found.coverage.tolist() == pytest.approx([1, 1, 1, 1, 11 / 12])
    assert np.isnan(found.values[3, 4]).all()
