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
    reaches,
    row_p,
    smallest_p,
)
from harness.inference.nuisance import without_factor


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
                assert prompt_noise(residuals) == pytest.approx(np.sqrt(n + 1) / (n + 2))


@pytest.mark.parametrize("controls", [2, 3, 14])
def test_a_pair_as_alike_on_every_prompt_is_a_large_effect_and_not_none(controls: int) -> None:
    """One server behind two gateways: cosine 1 on each of 12 prompts, strangers .004 to .038 and the same each time."""
    m = controls + 2
    usual = np.random.default_rng(3).uniform(0.004, 0.038, (m, m))
    usual = (usual + usual.T) / 2
    usual[0, 1] = usual[1, 0] = 1.0
    np.fill_diagonal(usual, np.nan)
    found = excess(np.repeat(usual[None], 12, axis=0))
    assert found[0, 1] > 2.0
    assert max_null_p(found, found[0, 1]) == pytest.approx(smallest_p(controls))
    noisy = excess(usual + np.random.default_rng(4).normal(0, 1e-7, (12, m, m)))
    assert noisy[0, 1] == pytest.approx(found[0, 1], rel=0.1)  # nearly alike is nearly as alike


def test_an_observed_share_reaches_the_level_that_it_is() -> None:
    for k in (14, 23, 38, 39):
        n = k + 2
        pairs = n * (n - 1) // 2
        for rank in range(1, pairs + 1):
            p = 1.0 - (pairs - rank) / pairs  # a way to work it out that rounds
            assert reaches(p, rank / pairs)
    assert not reaches(0.0501, 0.05)
    assert not reaches(np.nan, 0.05)
    assert reaches([0.01, 0.06], 0.05).tolist() == [True, False]


@given(st.integers(0, 10**6), st.integers(8, 18))
@settings(max_examples=30, deadline=None)
def test_the_factor_taken_out_does_not_know_who_is_accused(seed: int, m: int) -> None:
    """Renaming the models renames the result: so ranks of it stay exact."""
    rng = np.random.default_rng(seed)
    matrix = excess(pool(rng, m))
    order = rng.permutation(m)
    there = without_factor(matrix)[np.ix_(order, order)]
    np.testing.assert_allclose(there, without_factor(matrix[np.ix_(order, order)]), atol=1e-6)


def test_strangers_on_one_side_of_a_factor_are_not_kin_and_kin_across_it_are_found() -> None:
    """Half of the pool thinks first: ranks of unrelated pairs stay uniform, and kin that it hid are found."""
    rng = np.random.default_rng(5)
    alarms, plain_alarms, found, plain_found = [], [], [], []
    for _ in range(300):
        side = np.where(np.arange(16) < 8, 1.0, -1.0) * rng.uniform(0.7, 1.3, 16)
        matrix = np.outer(side, side) + 0.3 * rng.normal(size=(16, 16))
        matrix = (matrix + matrix.T) / 2
        matrix[0, 15] = matrix[15, 0] = matrix[0, 15] + 1.5  # kin, of which one thinks
        np.fill_diagonal(matrix, np.nan)
        left = without_factor(matrix)
        alarms.append(reaches(max_null_p(left, left[1, 2]), 0.05))
        plain_alarms.append(reaches(max_null_p(matrix, matrix[1, 2]), 0.05))
        found.append(reaches(max_null_p(left, left[0, 15]), 0.05))
        plain_found.append(reaches(max_null_p(matrix, matrix[0, 15]), 0.05))
    assert np.mean(alarms) <= 0.08
    assert np.mean(alarms) < np.mean(plain_alarms)
    assert np.mean(found) > 0.9 > 0.2 > np.mean(plain_found)


def test_a_pool_too_small_for_a_factor_is_left_as_it_is() -> None:
    matrix = excess(pool(np.random.default_rng(6), 7))
    np.testing.assert_allclose(without_factor(matrix), matrix, atol=1e-12)
