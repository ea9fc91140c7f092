"""How unusual one pair of models is among all pairs of a pool of unrelated ones: the arithmetic behind kinship.

Every model of the pool (suspect, candidate, K controls, one a lineage) is treated alike: nothing below looks at which
pair is the accused one until the last step. If suspect and candidate are as unrelated as the controls, the accused pair
is a random one of the (K+1)(K+2)/2 pairs of the pool, so its rank is a p-value, whatever the number of prompts.

Shapes: values (p, m, m) similarities per prompt, NaN on the diagonal and where a model did not answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
TINY = 1e-6  # float32 similarities that differ by less are equal


def additive_residuals(values: NDArray[np.floating], scale: bool = True) -> Floats:
    """Residuals of v_ij = m + a_i + a_j, least squares over the off-diagonal pairs of each prompt.

    Closed form for a hollow symmetric matrix over m models: a_i = (r_i - T/m) / (m - 2), row sums r, T their sum.
    Plain double-centring is this for large m; for the small pools of an audit it is biased.

    Parameters
    ----------
    values : (..., m, m); prompts that fewer than four models answered give NaN.
    scale : divide by the root mean square residual of the prompt, so that prompts weigh alike.
    """
    v = np.asarray(values, dtype=np.float64)
    seen = np.isfinite(v)
    count = seen.sum(-1)  # models answered, less one
    answered = count > 0
    m = answered.sum(-1)[..., None]
    rows = np.where(seen, v, 0.0).sum(-1)
    total = rows.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = np.where(answered & (m > 3), (rows - total / m) / (m - 2), np.nan)
        grand = (total / (m * (m - 1)))[..., None]
        out = v - grand - effect[..., :, None] - effect[..., None, :]
        if scale:
            free = (m * (m - 3) / 2)[..., None]
            square = np.where(seen, out, 0.0) ** 2
            rms = np.sqrt(square.sum((-1, -2), keepdims=True) / 2 / free)
            out = np.where(rms <= TINY, 0.0, out / rms)  # a prompt that all answered alike says nothing
    return np.where(seen, out, np.nan)


def excess(values: NDArray[np.floating]) -> Floats:
    """(m, m) mean scaled residual in units of its spread from prompt to prompt; larger = more alike.

    Dimensionless, and steady in the number of prompts: an effect size, not a test statistic. The spread is one number
    for the pool (root mean over pairs of the variance over prompts), so the order of the pairs is that of the means.
    """
    return excess_of(additive_residuals(values))


def known_mean(values: Floats) -> float:
    """Mean of what is not NaN; NaN where nothing is left, as of models that share no prompt."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def excess_of(residuals: Floats) -> Floats:
    """As `excess`, of scaled residuals (p, m, m): those of a prompt do not depend on the other prompts."""
    noise = prompt_noise(residuals)
    fit = additive_residuals(mean_over_prompts(residuals), scale=False)
    return fit / noise if noise > TINY else np.where(np.isfinite(fit), 0.0, np.nan)


def prompt_noise(residuals: Floats) -> float:
    """The unit of `excess`: spread of residuals (p, m, m) from prompt to prompt, one number for the pool."""
    n = float(np.isfinite(residuals).sum(0).mean())
    spread = mean_over_prompts(residuals**2) - mean_over_prompts(residuals) ** 2
    return float(np.sqrt(known_mean(spread) * n / max(n - 1.0, 1.0)))


def max_null_p(matrix: NDArray[np.floating], observed: float, n_candidates: int = 1) -> float:
    """Exact p-value of the best of M candidates: what chance would give a score this high?

    Under the null the N models of the pool are exchangeable, so any of them may be the suspect and any M others its
    candidates. A model x with r_x partners at or above `observed` meets one with probability
    1 - C(N-1-r_x, M) / C(N-1, M); p is the mean over x. With M = 1 it is the rank of the accused pair among all
    pairs. Used as a single-step family-wise p for each candidate, it holds when others are true kin, as kin only
    raise the reference. NaN off the diagonal counts as reaching it.
    """
    e = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(observed):
        return float("nan")
    others = e.shape[0] - 1
    if not 1 <= n_candidates <= others:
        raise ValueError(f"n_candidates must be in 1..{others}")
    reach = (~(e < observed - 1e-12) & ~np.eye(len(e), dtype=bool)).sum(1)  # a pair nobody could compare may be closer
    steps = np.arange(n_candidates)
    miss = np.clip(others - reach[:, None] - steps, 0, None) / (others - steps)
    return float(1.0 - miss.prod(1).mean())


def smallest_p(n_controls: int, n_candidates: int = 1) -> float:
    """The floor of `max_null_p`: the accused pair alone at the top of the pool."""
    n = n_controls + n_candidates + 1
    ties = 2.0 if n == 4 else 1.0  # in a pool of four the residual of a pair is that of the opposite pair
    return ties * 2.0 * n_candidates / (n * (n - 1))


def controls_needed(alpha: float, n_candidates: int = 1) -> int:
    """Fewest control lineages with which a verdict at `alpha` is possible at all."""
    k = 2
    while smallest_p(k, n_candidates) > alpha:
        k += 1
    return k


def row_p(matrix: NDArray[np.floating]) -> float:
    """p-value on the candidate's own row: the suspect's rank among the controls, smallest 1/(K+1).

    Conditional on this candidate, hub or not; needs 19 control lineages to reach 0.05. Row 0 is the suspect, 1 the
    candidate.
    """
    others = matrix[1, 2:]
    return float((1 + (~(others < matrix[0, 1] - 1e-12)).sum()) / (1 + len(others)))


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
    return reliabilities_of([additive_residuals(v) for v in values])


def reliabilities_of(residuals: Sequence[Floats]) -> Floats:
    """As `reliabilities`, of scaled residuals (p, n, n)."""
    raw = np.array([_split_half(r) for r in residuals])
    return raw / raw.sum() if raw.sum() > 0 else np.full(len(raw), 1.0 / len(raw))


def _split_half(residuals: Floats) -> float:
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
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.where(seen, values, 0.0).sum(0) / seen.sum(0)
    return out
