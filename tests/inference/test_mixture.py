"""A suspect that answers some prompts with another model is told from an honest relative and from a stranger."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.inference.assessment import assess
from harness.inference.findings import Caveat, Settings
from harness.inference.kinship import kinship
from harness.inference.likelihood import shipped_tables
from harness.inference.mixture import LEAST, mixture
from harness.inference.pool import Model
from harness.records import Similarity
from harness.report.words import caveat

ROUNDS = 8


def residuals(share: float, seed: int, prompts: int = 60, closeness: float = 3.0, scale: float = 1.0) -> np.ndarray:
    """A pool of 16 in which the pair is close, by a gamma variable, on all but a share of the prompts."""
    rng = np.random.default_rng(seed)
    r = rng.normal(0.0, 0.8, (prompts, 16, 16))
    near = rng.permutation(prompts) >= round(share * prompts)
    r[:, 0, 1] += np.where(near, rng.gamma(closeness / scale, scale, prompts), 0.0) if closeness else 0.0
    return np.triu(r, 1) + np.triu(r, 1).transpose(0, 2, 1) + np.where(np.eye(16), np.nan, 0.0)


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_half_and_more_routed_elsewhere_is_found_and_its_share_told(share: float) -> None:
    found = [m for s in range(ROUNDS) if (m := mixture(residuals(share, s, closeness=5.0, scale=0.4))) is not None]
    assert sum(m.found(0.05) for m in found) >= 0.75 * ROUNDS
    assert sum(m.low <= share <= m.high for m in found) >= 0.75 * ROUNDS
    assert abs(np.median([m.share for m in found]) - share) < 0.1


@pytest.mark.parametrize("scale", [1.0, 1.9])
@pytest.mark.parametrize("prompts", [48, 200])
def test_an_honest_relative_is_seldom_called_a_mixture(scale: float, prompts: int) -> None:
    found = [m for s in range(ROUNDS) if (m := mixture(residuals(0.0, s, prompts, scale=scale))) is not None]
    assert sum(m.found(0.05) for m in found) <= 1
    assert sum(m.low == 0 for m in found) >= ROUNDS - 1


def test_a_stranger_is_no_mixture_though_nearly_all_its_answers_are_far() -> None:
    found = [m for s in range(ROUNDS) if (m := mixture(residuals(0.0, s, closeness=0.0))) is not None]
    assert not [m for m in found if m.found(0.05)]
    assert np.median([m.p_kin for m in found]) > 0.2


def test_gaps_and_units_change_nothing_and_too_little_says_nothing() -> None:
    r = residuals(0.5, 1)
    twice = np.concatenate([r, np.full((5, 16, 16), np.nan)])
    assert mixture(twice) == mixture(r)
    scaled = mixture(3.0 * r)
    assert scaled is not None
    assert scaled.share == pytest.approx(mixture(r).share)  # type: ignore[union-attr]
    assert mixture(r[: LEAST - 1]) is None
    assert mixture(r[:, :5, :5]) is None
    assert mixture(np.zeros_like(r)) is None


def found_in(values: np.ndarray) -> tuple[Caveat, ...]:
    names = tuple(f"m{i}" for i in range(16))
    ids = tuple(f"q{i}" for i in range(len(values)))
    wording = Similarity("wording", names, ids, values.astype(np.float32), np.ones(16), "cosine", "text")
    roles = ("suspect", "candidate", *["control"] * 14)
    models = [Model(n, r, n) for n, r in zip(names, roles, strict=True)]
    settings = Settings(0.05, 0.9, 99, 100, seed=1)
    a = assess(models[0], models[1], models, [wording], settings)
    return kinship(a, lambda _: (), shipped_tables(), settings).caveats


def test_a_verdict_names_the_mixture_and_its_share() -> None:
    values = 0.3 + 0.05 * residuals(0.5, 3, closeness=5.0, scale=0.4)
    told = [c for c in found_in(values) if c.kind == "mixture"]
    assert [c.names for c in told] == [("m0", "m1")]
    said = caveat(replace(told[0], values=(0.5, 0.3, 0.7)))
    assert "about 50% of m0's answers (30% to 70%) are no closer" in said
    assert "another model may answer some prompts" in said
    assert not [c for c in found_in(0.3 + 0.05 * residuals(0.0, 3)) if c.kind == "mixture"]
