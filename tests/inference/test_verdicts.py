"""The rules behind the verdict words: one rule for kin, corrected for the channels that were looked at."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.inference.assessment import assess
from harness.inference.findings import Caveat, ChannelEvidence, Finding, Part, Settings
from harness.inference.kinship import kinship
from harness.inference.likelihood import shipped_tables
from harness.inference.pool import Model
from harness.inference.questions import QUESTIONS, decide
from harness.inference.verdicts import Verdict, related, taught, weights_speaking
from harness.records import Question, Sees, Similarity
from harness.report.figures import forest
from tests.support.drawn import marks

SETTINGS = Settings(alpha=0.05, min_coverage=0.9, permutations=99, bootstrap=100, seed=1)
CONTROLS = 14


def similarity(rng: np.random.Generator, channel: str, sees: Sees, kin: float = 0.0, prompts: int = 30) -> Similarity:
    """Made-up similarities of suspect, candidate and controls; ``kin`` is added to the accused pair."""
    m = CONTROLS + 2
    values = 0.3 + rng.normal(0, 0.03, (m, m)) + rng.normal(0, 0.1, (prompts, m, m))
    values[:, 0, 1] += kin
    values = np.triu(values, 1)
    values = values + values.transpose(0, 2, 1)
    values[:, np.arange(m), np.arange(m)] = np.nan
    names = ("s", "c", *(f"k{i}" for i in range(CONTROLS)))
    ids = tuple(f"q{i}" for i in range(prompts))
    return Similarity(channel, names, ids, values.astype(np.float32), np.ones(m), "score", sees)


def verdict(similarities: list[Similarity]) -> Verdict:
    models = [Model("s", "suspect", None), Model("c", "candidate", "root")]
    models += [Model(f"k{i}", "control", f"r{i}") for i in range(CONTROLS)]
    assessed = assess(models[0], models[1], models, similarities, SETTINGS)
    return decide([kinship(assessed, lambda _: [], shipped_tables(), SETTINGS)])[0].verdict


def test_three_channels_that_see_weights_do_not_make_kin_of_related_text_by_their_number() -> None:
    """Text is related, weights are not: KIN-LIKE at most at the nominal rate, however many channels are looked at."""
    rng = np.random.default_rng(1)
    rounds, words = 200, []
    for _ in range(rounds):
        null = [similarity(rng, f"weights {i}", "weights") for i in range(3)]
        words.append(verdict([similarity(rng, "wording", "text", kin=0.6), *null]))
    close = [w for w in words if w in ("KIN-LIKE", "KIN-OR-TAUGHT")]
    assert len(close) > 0.9 * rounds
    rate = close.count("KIN-LIKE") / len(close)
    assert rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(close))
    uncorrected = 1 - (1 - 0.05) ** 3
    assert rate < uncorrected - math.sqrt(uncorrected * (1 - uncorrected) / len(close))


def test_a_channel_that_sees_weights_is_heard_and_named() -> None:
    rng = np.random.default_rng(2)
    kin = [similarity(rng, "wording", "text", kin=0.6), similarity(rng, "logprobs", "weights", kin=0.6)]
    assert verdict(kin) == "KIN-LIKE"
    assert related({"logprobs": 0.01, "ratings": 0.9}, 0.05).decisive == ("logprobs",)


@pytest.mark.parametrize(
    ("p_values", "speaking"),
    [
        ({}, ()),
        ({"a": 0.04}, ("a",)),
        ({"a": 0.04, "b": 0.5}, ()),
        ({"a": 0.04, "b": float("nan")}, ("a",)),
        ({"a": 0.01, "b": 0.02, "c": 0.9}, ("a",)),
    ],
)
def test_alpha_is_shared_among_the_channels_that_were_tested(
    p_values: dict[str, float], speaking: tuple[str, ...]
) -> None:
    assert weights_speaking(p_values, 0.05) == speaking


def test_kinship_and_teaching_call_the_same_pair_kin() -> None:
    for p_values in ({"a": 0.01}, {"a": 0.04, "b": 0.3}, {"a": 0.02, "b": 0.9}, {}):
        kin = related(p_values, 0.05).verdict == "KIN-LIKE"
        assert (taught(0.01, p_values, 0.05).verdict == "KIN-LIKE") == kin


@pytest.mark.parametrize("part", ["counted", "own pool", "reported", "abstains"])
def test_only_what_counts_is_drawn_full_and_only_what_was_tested_is_heard(part: Part) -> None:
    evidence = ChannelEvidence("ratings", "weights", "product", 50, 1.0, effect=1.0, p=0.001, part=part)
    f = Finding("kinship", "s", "c", ("a", "b"), 0.05, evidence=(evidence,))
    drawn = forest(f)
    assert drawn is not None
    assert (marks(drawn)[0].fill == "var(--accent)") == (part == "counted")
    assert bool(f.weights_p()) == (part in ("counted", "own pool"))


@pytest.mark.parametrize("question", list(QUESTIONS))
def test_an_obstacle_is_no_verdict(question: Question) -> None:
    blank = Finding(question, "s", "c", (), 0.05, obstacle=Caveat("too few control lineages"))
    assert decide([blank])[0].verdict == "INCONCLUSIVE"
    assert decide([replace(blank, p_value=0.0001)])[0].verdict == "INCONCLUSIVE"


def test_what_the_yaml_may_ask_is_what_is_registered() -> None:
    from typing import get_args

    assert {*QUESTIONS, "attribution", "survey"} == set(get_args(Question))
