"""The two-sample test on kernels, and the finding that is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.channels.kernels import kernel_coverage, spectrum
from harness.inference.assessment import Grams, View
from harness.inference.findings import Finding, Settings
from harness.inference.identity import identity, two_sample
from harness.inference.pool import Model, Pool
from harness.inference.questions import decide
from harness.records import Prompt, Response, Responses
from harness.report.words import limits, sentence

SETTINGS = Settings(alpha=0.05, min_coverage=0.9, permutations=400, bootstrap=200, seed=1)
TEXT: View = ("text", "chat")
WORDS = ("red", "green", "blue", "black", "white")


def draws(rng: np.random.Generator, weights: list[float], n: int) -> list[str]:
    return [str(w) for w in rng.choice(WORDS, n, p=weights)]


def grams(rng: np.random.Generator, a: list[float], b: list[float], prompts: int = 8, n: int = 8) -> Grams:
    return [(spectrum(draws(rng, a, n) + draws(rng, b, n)), n) for _ in range(prompts)]


EVEN = [0.2] * 5
ODD = [0.7, 0.1, 0.1, 0.05, 0.05]


def test_level_is_kept_and_difference_is_found() -> None:
    rng = np.random.default_rng(1)
    null = [two_sample(grams(rng, EVEN, EVEN), 99, rng).p_value for _ in range(150)]
    assert np.mean(np.array(null) <= 0.05) <= 0.10
    power = [two_sample(grams(rng, EVEN, ODD), 99, rng).p_value for _ in range(30)]
    assert np.mean(np.array(power) <= 0.05) > 0.9


def test_one_noisy_prompt_does_not_drown_the_rest() -> None:
    rng = np.random.default_rng(2)
    clear = np.block([[np.ones((4, 4)), np.full((4, 4), 0.99)], [np.full((4, 4), 0.99), np.ones((4, 4))]])
    noise = rng.uniform(0, 1, (8, 8))
    noise = (noise + noise.T) / 2
    np.fill_diagonal(noise, 1.0)
    assert two_sample([(clear, 4)] * 5 + [(noise, 4)], 999, rng).p_value <= 0.01


def test_identical_samples_are_not_told_apart() -> None:
    rng = np.random.default_rng(3)
    assert two_sample([(np.ones((6, 6)), 3)] * 4, 99, rng).p_value == 1.0
    assert np.isnan(two_sample([], 99, rng).p_value)


def finding(rng: np.random.Generator, suspect: list[float], control: list[float]) -> Finding:
    pool = Pool("s", "p", (Model("c", "control", "root"),))
    pairs = {"s": {TEXT: grams(rng, suspect, EVEN)}, "c": {TEXT: grams(rng, control, EVEN)}}
    return decide([identity(pool, lambda a, _: pairs[a], SETTINGS)])[0]


def test_verdicts() -> None:
    rng = np.random.default_rng(5)
    assert finding(rng, EVEN, ODD).verdict == "SAME-LIKE"
    assert finding(rng, ODD, ODD).verdict == "DIFFERENT-LIKE"


def test_a_test_that_cannot_tell_controls_apart_says_nothing() -> None:
    found = finding(np.random.default_rng(6), EVEN, EVEN)
    assert found.verdict == "INCONCLUSIVE"
    assert any("cannot tell c from p" in limit for limit in limits(found))


def test_one_sample_a_prompt_is_not_enough() -> None:
    pool = Pool("s", "p", ())
    found = decide([identity(pool, lambda *_: {TEXT: []}, SETTINGS)])[0]
    assert found.verdict == "INCONCLUSIVE"
    assert "two or more samples" in sentence(found)


@pytest.mark.parametrize("texts", [["", "a"], ["\ud800", "\ud800"], ["如何", "如何学习"]])
def test_kernel_takes_any_text(texts: list[str]) -> None:
    gram = spectrum(texts)
    assert np.isfinite(gram).all()
    assert gram.shape == (2, 2)


def with_coverage(coverage: dict[str, float], **weights: list[float]) -> Finding:
    """The finding of two channels whose samples are drawn with these weights, the suspect's; the rest are even."""
    rng = np.random.default_rng(5)
    pool = Pool("s", "p", (Model("c", "control", "root"),))
    pairs: dict[str, dict[View, Grams]] = {
        "s": {(c, "chat"): grams(rng, w, EVEN) for c, w in weights.items()},
        "c": {(c, "chat"): grams(rng, ODD, EVEN) for c in weights},
    }
    shares: dict[View, float] = {(c, "chat"): share for c, share in coverage.items()}
    return decide([identity(pool, lambda a, _: pairs[a], SETTINGS, shares)])[0]


def test_a_channel_with_gaps_abstains_and_says_so() -> None:
    both = with_coverage({"text": 0.97, "logprobs": 0.93}, text=EVEN, logprobs=ODD)
    assert both.verdict == "DIFFERENT-LIKE"
    assert both.coverage == 0.93
    gaps = with_coverage({"text": 0.97, "logprobs": 0.5}, text=EVEN, logprobs=EVEN)
    assert gaps.verdict == "SAME-LIKE"
    assert gaps.coverage == 0.97
    assert "logprobs (chat) abstains for its gaps: only 50% of what was asked can be compared" in limits(gaps)
    assert [e.part for e in gaps.evidence] == ["counted", "abstains"]
    assert [e.coverage for e in gaps.evidence] == [0.97, 0.5]
    differs = with_coverage({"text": 0.97, "logprobs": 0.5}, text=EVEN, logprobs=ODD)
    assert differs.verdict == "INCONCLUSIVE"
    assert "logprobs (chat) tells s from p, but on too few of the answers" in sentence(differs)
    nothing = with_coverage({"text": 0.8, "logprobs": 0.5}, text=ODD, logprobs=ODD)
    assert nothing.verdict == "INCONCLUSIVE"
    assert "too little to compare" in sentence(nothing)
    assert not any(limit.startswith("FAILED") for limit in limits(nothing))


def test_coverage_counts_what_was_asked_of_both() -> None:
    prompts = [
        Prompt("one", "f", "?", samples=1, temperature=1.0),
        Prompt("greedy", "f", "?", samples=4, temperature=0.0),
        Prompt("a", "f", "?", samples=4, temperature=1.0),
        Prompt("b", "f", "?", samples=4, top_logprobs=5),
    ]
    rows = [Response("x", p.id, i, f"{p.id}{i}", "ok", "text") for p in prompts for i in range(p.samples)]
    given = {("a", 0): "refused", ("a", 1): "empty", ("b", 2): "filtered"}
    rows += [
        Response("y", p.id, i, f"{p.id}{i}", given.get((p.id, i), "ok"), "text" if (p.id, i) not in given else "")  # type: ignore[arg-type]
        for p in prompts
        for i in range(p.samples - (p.id == "b"))
    ]
    found = kernel_coverage(Responses.of(("x", "y"), prompts, rows), 0, 1)
    assert found == {"text": 4 / 8, "logprobs": 0.0}  # y: 2 usable of 4 to a, 2 of 4 to b
    assert np.isnan(kernel_coverage(Responses.of(("x", "y"), prompts[:2], rows), 0, 1)["text"])


def test_recorded_answers_are_covered_by_what_the_two_answered() -> None:
    """Nobody knows how often recorded models were asked: a control with more samples is no gap of theirs."""
    prompts = [Prompt(f"p{i}", "recorded", "?", samples=8) for i in range(3)]
    rows = [
        Response(m, p.id, i, f"{p.id}{i}", "ok", "text")
        for m, n in (("x", 5), ("y", 4), ("c", 8)) for p in prompts for i in range(n)
    ]  # fmt: skip
    table = Responses.of(("x", "y", "c"), prompts, rows)
    assert kernel_coverage(table, 0, 1, "recorded")["text"] == 4 / 5
    assert kernel_coverage(table, 0, 1)["text"] == 4 / 8
