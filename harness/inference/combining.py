"""Several channels on one pool -> one matrix: each in units of its own spread, weighted by its reliability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.inference.pair_rank import TINY, additive_residuals, excess

Floats = NDArray[np.float64]


def combine(values: Sequence[Floats]) -> Floats:
    """Mean over channels of the excess, each in units of its own spread and weighted by its reliability, (n, n).

    One combined score and one rank of it is valid however dependent the channels are; multiplying p-values is not.
    Spread and reliability are functions of the whole pool that do not know which pair is the accused one.
    """
    return combine_excess([excess(v) for v in values], reliabilities(values))


def combine_excess(matrices: Sequence[Floats], weights: ArrayLike | None = None) -> Floats:
    """As `combine`, of the excess of each channel; weights (c,), by default equal."""
    scaled = [e / max(float(np.sqrt(np.nanmean(e**2))), TINY) for e in matrices]
    out: Floats = np.average(scaled, axis=0, weights=None if weights is None else np.asarray(weights))
    return out


def reliabilities(values: Sequence[Floats]) -> Floats:
    """How well a channel's even prompts foretell what its odd ones say of every pair of the pool, (c,), sum 1.

    Split-half correlation stepped up to full length (Spearman 1910, Brown 1910), at least 0. A channel of few or noisy
    prompts then cannot drown one that repeats itself.
    """
    raw = np.array([_split_half(v) for v in values])
    return raw / raw.sum() if raw.sum() > 0 else np.full(len(raw), 1.0 / len(raw))


def _split_half(values: Floats) -> float:
    residuals = additive_residuals(values)
    at = np.triu_indices(residuals.shape[-1], 1)
    halves = [mean_over_prompts(residuals[start::2])[at] for start in (0, 1)]
    both = np.isfinite(halves[0]) & np.isfinite(halves[1])
    a, b = halves[0][both], halves[1][both]
    if len(a) < 3 or a.std() < TINY or b.std() < TINY:
        return 0.0
    r = max(0.0, float(np.corrcoef(a, b)[0, 1]))
    return 2 * r / (1 + r)


def mean_over_prompts(values: Floats) -> Floats:
    """Mean over prompts where there is one, NaN elsewhere: the diagonal has none."""
    seen = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        out: Floats = np.where(seen, values, 0.0).sum(0) / seen.sum(0)
    return out
