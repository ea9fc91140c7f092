"""Every channel that counts, on text written for it: fires on kin, is silent on strangers, counts coverage right."""

from __future__ import annotations

import numpy as np
import pytest

from harness.channels.parallel import load_channels
from tests.support.answer_tables import MODELS, ask, fires, read, table

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
    rows[0]["red"] = rows[0]["green"] = ["nobody came to the harbour that day"]
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


def test_continuations_see_the_same_next_words() -> None:
    go = {
        "mother": [" walked home", " walked on"],
        "child": [" walked away", " waited"],
        "red": [" the", " fell"],
        "green": [" cried", " hid"],
        "blue": [" sold it", " ran"],
    }
    fires(read("continuations", table("continuations", [go] * 3, surface="completion")))


def test_mistakes_compare_only_wrong_answers() -> None:
    fields = [{"answer": ["66", "sixty-six"]}] * 6
    said = {"mother": "67", "child": "It is 67.", "red": "66", "green": "64", "blue": "71"}
    found = read("mistakes", table("mistakes", ask(lambda m, i: said[m], 6), fields=fields))
    assert found.values[0, 0, 1] > 0
    assert found.values[0, 0, 3] == 0
    assert np.isnan(found.values[:, 2]).all()
    assert found.coverage.tolist() == [1.0] * 5  # being right is usable, and says nothing


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
