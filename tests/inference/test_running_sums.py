"""Sums over prompts, piece by piece, are those of all prompts at once, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.inference import excess as arithmetic
from harness.inference.excess import (
    Sums,
    additive_residuals,
    excess,
    mean_over_prompts,
    prompt_noise,
    prompt_spreads,
    spread_of,
)
from harness.inference.pool import restrict
from harness.records import Similarity

Floats = np.ndarray


def pool(prompts: int, models: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.3, 0.1, (prompts, models, models))
    values = (values + values.transpose(0, 2, 1)) / 2
    gone = rng.random((prompts, models)) < 0.1
    values[gone] = np.nan
    values.transpose(0, 2, 1)[gone] = np.nan
    values[:, range(models), range(models)] = np.nan
    values[0] = np.nan  # nobody answered it
    return values


def plain_mean(values: Floats) -> Floats:
    seen = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(seen, values, 0.0).sum(0) / seen.sum(0)


def plain_excess(values: Floats) -> tuple[Floats, float]:
    """All prompts at once, as the formulas read."""
    residuals = np.stack([additive_residuals(v) for v in values])
    n = float(np.isfinite(residuals).any((1, 2)).sum())
    spread = plain_mean(residuals**2) - plain_mean(residuals) ** 2
    seen = float(np.nanmean(spread)) * n / (n - 1)
    noise = np.sqrt(max(seen, (n + 1) / (n + 2) ** 2))
    return additive_residuals(plain_mean(residuals), scale=False) / noise, float(noise)


@pytest.mark.parametrize("models", [2, 3, 4, 7, 20])
@pytest.mark.parametrize("piece", [1, 500, 1_000_000])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_any_piece_gives_the_same_bits(models: int, piece: int, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    values = pool(60, models, seed=models).astype(kind)
    found, noise = plain_excess(values) if models > 3 else (None, None)
    mean, square = plain_mean(values), plain_mean(values**2)
    monkeypatch.setattr(arithmetic, "PIECE", piece)
    np.testing.assert_array_equal(Sums.of(values).mean, mean)
    np.testing.assert_array_equal(Sums.of(values).mean_square, square)
    if found is not None:
        np.testing.assert_array_equal(excess(values), found)
        assert prompt_noise(additive_residuals(values)) == noise


@pytest.mark.parametrize("models", [4, 7, 20])
@pytest.mark.parametrize("piece", [1, 500, 1_000_000])
def test_however_values_lie_in_memory_the_bits_are_the_same(
    models: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pool(60, models, seed=models).astype(np.float32)
    s = Similarity(
        "w",
        tuple("abcdefghijklmnopqrstu"[:models]),
        tuple(f"q{i}" for i in range(60)),
        values,
        np.ones(models),
        "cosine",
        "text",
    )
    names, prompts = s.models[::-1], list(range(1, 60, 2))
    one, other = restrict(s, names)[prompts], restrict(s, names, prompts)
    np.testing.assert_array_equal(one, other)
    spread = float(np.nanmean(prompt_spreads(additive_residuals(other, scale=False))))
    monkeypatch.setattr(arithmetic, "PIECE", piece)
    np.testing.assert_array_equal(additive_residuals(one), additive_residuals(other))
    np.testing.assert_array_equal(mean_over_prompts(one), mean_over_prompts(np.ascontiguousarray(other)))
    assert spread_of(other) == spread


def test_excess_makes_no_copies_of_all_values() -> None:
    values = np.random.default_rng(0).normal(size=(2_000, 80, 80))
    residuals = additive_residuals(values)
    before = held()
    arithmetic.excess_of(residuals)
    assert held() - before < residuals.nbytes / 2


def held() -> int:
    """The most memory this process ever had, in bytes."""
    told = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in told.splitlines() if line.startswith("VmHWM"))
