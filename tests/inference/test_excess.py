"""The rank of one pair among all: valid under exchangeability, blind to order, with the floor it states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.inference.excess import (
    additive_residuals,
    combine,
    controls_needed,
    excess,
    known_mean,
    max_null_p,
    prompt_noise,
    row_p,
    smallest_p,
)


def pool(rng: np.random.Generator, m: int, prompts: int = 20) -> np.ndarray:
    """Similarities (p, m, m) of unrelated models, some of them hubs."""
    hub = rng.exponential(1.0, m)
    v = rng.normal(size=(prompts, m, m)) + hub[:, None] + hub + 0.3 * rng.normal(size=(m, m))
    v = v + v.swapaxes(1, 2)
    v[:, range(m), range(m)] = np.nan
    return v


def test_residuals_are_least_squares() -> None:
    v = pool(np.random.default_rng(0), 6, 1)[0]
    i, j = np.triu_indices(6, 1)
    design = np.zeros((15, 7))
    design[:, 6] = 1
    design[range(15), i] = design[range(15), j] = 1
    fit = v[i, j] - design @ np.linalg.lstsq(design, v[i, j], rcond=None)[0]
    np.testing.assert_allclose(additive_residuals(v, scale=False)[i, j], fit, atol=1e-9)


@pytest.mark.parametrize("prompts", [3, 30])
def test_null_is_valid_at_any_number_of_prompts(prompts: int) -> None:
    rng = np.random.default_rng(1)
    p = []
    for _ in range(1000):
        e = excess(pool(rng, 10, prompts))
        p.append(max_null_p(e, e[0, 1]))
    for alpha in (0.05, 0.1, 0.3):
        assert np.mean(np.array(p) <= alpha) <= alpha + 3 * np.sqrt(alpha / 1000)
    assert min(p) == pytest.approx(smallest_p(8))


def test_best_of_many_candidates_is_valid() -> None:
    rng = np.random.default_rng(2)
    p = []
    for _ in range(1000):
        e = excess(pool(rng, 12, 3))
        p.append(max_null_p(e, e[0, 1:5].max(), 4))
    assert np.mean(np.array(p) <= 0.1) <= 0.1 + 3 * np.sqrt(0.1 / 1000)


def test_dependent_channels_combined_stay_valid() -> None:
    rng = np.random.default_rng(5)
    p = []
    for _ in range(600):
        v = pool(rng, 9, 4)
        e = combine([v, v + 0.1 * pool(rng, 9, 4), pool(rng, 9, 2)])
        p.append(max_null_p(e, e[0, 1]))
    assert np.mean(np.array(p) <= 0.1) <= 0.1 + 3 * np.sqrt(0.1 / 600)


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 12), st.integers(0, 2**32 - 1))
def test_order_of_models_does_not_matter(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    v = pool(rng, m, 4)
    order = np.r_[0, 1, 2 + rng.permutation(m - 2)]
    a, b = excess(v), excess(v[:, order][:, :, order])
    np.testing.assert_allclose(a[np.ix_(order, order)], b, atol=1e-9)
    assert max_null_p(a, a[0, 1]) == pytest.approx(max_null_p(b, b[0, 1]))
    assert row_p(a) == pytest.approx(row_p(b))
    swapped = a[np.ix_([1, 0, *range(2, m)], [1, 0, *range(2, m)])]
    assert max_null_p(a, a[0, 1]) == pytest.approx(max_null_p(swapped, swapped[0, 1]))


def test_a_hub_and_a_scale_change_nothing() -> None:
    v = pool(np.random.default_rng(4), 8)
    hub = np.zeros(8)
    hub[1] = 5.0
    shifted = 3.0 * (v + hub[:, None] + hub)
    np.testing.assert_allclose(excess(v), excess(shifted), atol=1e-8)


def test_floors_and_needs() -> None:
    assert [controls_needed(0.05), controls_needed(0.01)] == [5, 13]
    assert smallest_p(8) == pytest.approx(2 / 90)
    with pytest.raises(ValueError, match="n_candidates"):
        max_null_p(np.zeros((4, 4)), 0.0, 4)


def test_missing_answers_and_tiny_pools() -> None:
    v = pool(np.random.default_rng(3), 8, 30)
    v[:10, 3, :] = v[:10, :, 3] = np.nan
    assert np.isfinite(excess(v)[0, 1])
    assert np.isnan(additive_residuals(pool(np.random.default_rng(3), 3, 2))).all()


def test_a_pair_that_could_not_be_compared_counts_against_the_accusation() -> None:
    full = np.array([[np.nan, 3, 1, 1], [3, np.nan, 1, 1], [1, 1, np.nan, 2], [1, 1, 2, np.nan]], dtype=float)
    gap = full.copy()
    gap[2, 3] = gap[3, 2] = np.nan
    assert max_null_p(full, 3.0) == pytest.approx(1 / 6)
    assert max_null_p(gap, 3.0) == pytest.approx(2 / 6)
    gap[1, 2] = gap[2, 1] = np.nan
    assert row_p(full) == pytest.approx(1 / 3)
    assert row_p(gap) == pytest.approx(2 / 3)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_models_that_share_no_prompt_are_no_warning_of_numpy() -> None:
    """A short form of a campaign can leave pairs without a prompt in common."""
    nothing = np.full((3, 5, 5), np.nan)
    assert np.isnan(excess(nothing)).all()
    assert np.isnan(known_mean(nothing))
    assert known_mean(np.array([1.0, np.nan, 3.0])) == 2.0


def test_prompts_that_are_all_alike_have_no_spread_and_warn_of_nothing() -> None:
    """The mean of squares less the square of the mean is a rounding error there, of either sign."""
    with np.errstate(all="raise"):
        for value in (1 / 3, 0.7, 1.1, 0.1):
            for n in (5, 7, 12, 15):
                residuals = np.full((n, 4, 4), value)
                residuals[:, range(4), range(4)] = np.nan
                assert prompt_noise(residuals) <= 1e-6
