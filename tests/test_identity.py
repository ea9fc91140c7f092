"""The two-sample test on kernels, and the finding that is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.channels.samples import spectrum
from harness.inference.controls import Model, Pool
from harness.inference.findings import Finding, Settings
from harness.inference.identity import Grams, identity
from harness.inference.two_sample import two_sample
from harness.inference.verdicts import decide

SETTINGS = Settings(alpha=0.05, min_coverage=0.9, permutations=400, bootstrap=200, seed=1)
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
    pairs = {("s", "p"): {"text": grams(rng, suspect, EVEN)}, ("c", "p"): {"text": grams(rng, control, EVEN)}}
    models = Model("s", "suspect", None), Model("p", "candidate", "root-p")
    return decide([identity(*models, pool, pairs, SETTINGS)], SETTINGS)[0]


def test_verdicts() -> None:
    rng = np.random.default_rng(5)
    assert finding(rng, EVEN, ODD).verdict == "SAME-LIKE"
    assert finding(rng, ODD, ODD).verdict == "DIFFERENT-LIKE"


def test_a_test_that_cannot_tell_controls_apart_says_nothing() -> None:
    found = finding(np.random.default_rng(6), EVEN, EVEN)
    assert found.verdict == "INCONCLUSIVE"
    assert any("cannot tell c from p" in limit for limit in found.limits)


def test_one_sample_a_prompt_is_not_enough() -> None:
    pool = Pool("s", "p", ())
    models = Model("s", "suspect", None), Model("p", "candidate", "root-p")
    found = decide([identity(*models, pool, {("s", "p"): {"text": []}}, SETTINGS)], SETTINGS)[0]
    assert found.verdict == "INCONCLUSIVE"
    assert "two or more samples" in found.sentence


@pytest.mark.parametrize("texts", [["", "a"], ["\ud800", "\ud800"], ["如何", "如何学习"]])
def test_kernel_takes_any_text(texts: list[str]) -> None:
    gram = spectrum(texts)
    assert np.isfinite(gram).all()
    assert gram.shape == (2, 2)
