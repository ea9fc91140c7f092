"""The identity test keeps its level with ties and unequal samples, counts exactly when it can, and has power."""

from __future__ import annotations

import numpy as np
import pytest

from harness.channels.kernels import spectrum
from harness.inference.identity import halves, two_sample

WORDS = ("yes", "no", "maybe so", "certainly not")


def grams(rng: np.random.Generator, prompts: int, n: int, shift: float, n_b: int | None = None) -> list:
    """Answers from four words; the second sample leans to the first word by ``shift``."""
    out = []
    for _ in range(prompts):
        p = rng.dirichlet(np.ones(4))
        q = (1 - shift) * p + shift * np.eye(4)[0]
        texts = [*rng.choice(WORDS, n, p=p), *rng.choice(WORDS, n_b or n, p=q)]
        out.append((spectrum([str(t) for t in texts]), n))
    return out


@pytest.mark.parametrize(("n", "n_b"), [(3, 3), (2, 5), (6, 4)])
def test_level_under_the_null_with_ties(n: int, n_b: int) -> None:
    rng = np.random.default_rng(n)
    p = np.array([two_sample(grams(rng, 4, n, 0.0, n_b), 199, rng).p_value for _ in range(400)])
    for alpha in (0.05, 0.1, 0.25):
        assert (p <= alpha).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / len(p))


def test_power() -> None:
    rng = np.random.default_rng(1)
    p = np.array([two_sample(grams(rng, 10, 8, 0.6), 199, rng).p_value for _ in range(50)])
    assert (p <= 0.05).mean() > 0.9


def test_few_samples_are_enumerated() -> None:
    far = [(spectrum(["aaa", "aab", "xyz", "xyy"]), 2)]
    rng = np.random.default_rng(0)
    found = two_sample(far, 999, rng)
    assert found.p_value == pytest.approx(2 / 6)  # of six labellings two tell the same pairs apart
    assert found.p_floor == pytest.approx(2 / 6)
    two = two_sample(far * 2, 999, rng)
    assert two.p_value == two.p_floor == pytest.approx(4 / 36)


def test_enumeration_agrees_with_drawing() -> None:
    rng = np.random.default_rng(3)
    both = grams(rng, 2, 3, 0.5)
    assert two_sample(both, 400, rng).p_value == pytest.approx(two_sample(both, 398, rng).p_value, abs=0.08)


def test_identical_answers_and_no_answers_say_nothing() -> None:
    rng = np.random.default_rng(0)
    same = two_sample([(np.ones((8, 8)), 4)] * 5, 99, rng)
    assert same.p_value == 1.0
    assert same.effect == 0.0
    assert np.isnan(two_sample([], 99, rng).p_value)


def test_halves_are_even_and_odd() -> None:
    gram, n = halves(np.arange(25.0).reshape(5, 5))
    assert n == 3
    assert list(np.diag(gram)) == [0, 12, 24, 6, 18]
