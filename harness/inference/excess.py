"""Excess similarity of model pairs and its exact p-value: the arithmetic behind kinship.

Every model of the pool (suspect, candidate, K controls, one a lineage) is treated alike: nothing below looks at which
pair is the accused one until the last step. If suspect and candidate are as unrelated as the controls, the accused pair
is a random one of the (K+1)(K+2)/2 pairs of the pool, so its rank is a p-value, whatever the number of prompts.

Shapes: values (p, m, m) similarities per prompt, NaN on the diagonal and where a model did not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
PIECE = 120_000  # values that are worked on at once: so many stay in the processor's cache, and 42 million would not
_FEW = 8  # prompts: fewer are added in turn, however they lie in memory, more only if one lies after the other
TINY = 1e-6  # float32 similarities that differ by less are equal
FEWEST = 6
"""Models from which excess is shown. Of four, opposite pairs have one and the same excess by construction; of five, ten
pairs share five degrees of freedom, so that what one pair has the pairs beside it lack. Fewer are shown raw."""


def additive_residuals(values: NDArray[np.floating], scale: bool = True) -> Floats:
    """Residuals of an additive fit to pairwise similarities: hub models lose their advantage.

    Fits v_ij = m + a_i + a_j by least squares over the off-diagonal pairs of each prompt, and returns what is left.

    Parameters
    ----------
    values : (..., m, m) symmetric similarities, in any unit
        NaN on the diagonal, and in row and column of a model that did not answer.
    scale : bool
        Divide by the root mean square residual of the prompt, so that all prompts have the same weight.

    Returns
    -------
    (..., m, m) residuals
        In units of the prompt's spread, or in the unit of ``values`` if ``scale`` is false. NaN where ``values`` has
        NaN, and for prompts that fewer than four models answered.

    See Also
    --------
    excess : The mean of these residuals over prompts.

    Notes
    -----
    Closed form for a hollow symmetric matrix over m models: a_i = (r_i - T/m) / (m - 2), with row sums r and their
    sum T. It is the two-way layout without interaction. Double-centring approaches it for large m; for the small
    pools of an audit double-centring is biased.

    Examples
    --------
    Model 1 is a hub, 0.2 closer to every other model. No pair is unusual once that is taken out:

    >>> import numpy as np
    >>> level = np.array([0.0, 0.2, 0.0, 0.0, 0.0])
    >>> v = 0.3 + level[:, None] + level
    >>> np.fill_diagonal(v, np.nan)
    >>> residuals = additive_residuals(v)
    >>> float(np.nanmax(np.abs(residuals))) < 1e-9
    True
    """
    every = np.asarray(values)
    step = max(1, PIECE // max(1, every.shape[-1] ** 2))
    if every.ndim != 3 or len(every) <= step:
        return _residuals(every, scale)
    out = np.empty(every.shape)
    for at in range(0, len(every), step):  # a prompt does not depend on others, and copies of all would fill the memory
        out[at : at + step] = _residuals(every[at : at + step], scale)
    return out


def _residuals(values: NDArray[np.floating], scale: bool) -> Floats:
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
    """Excess similarity of every pair of models beyond what their general closeness explains: an effect size.

    Parameters
    ----------
    values : (p, m, m) symmetric similarities by prompt, in any unit
        NaN on the diagonal, and in row and column of a model that did not answer.

    Returns
    -------
    (m, m) excess
        The mean scaled residual over prompts, divided by its spread from prompt to prompt. No unit; 0 is what the
        pool has on average, larger is more alike. NaN on the diagonal and for pairs without a common prompt.

    See Also
    --------
    additive_residuals : The fit behind it.
    max_null_p : The p-value of one pair.
    combine : The same over several channels.

    Notes
    -----
    It is an effect size and not a test statistic: more prompts make it steadier, not larger. The spread is one number
    for the pool (root mean over pairs of the variance over prompts), so the pairs keep the order of their means.

    Examples
    --------
    Five models, 40 prompts; models 0 and 1 are closer than the others:

    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(0.0, 0.05, (40, 5, 5))
    >>> values = 0.3 + (noise + noise.transpose(0, 2, 1)) / 2
    >>> values[:, [0, 1], [1, 0]] += 0.1
    >>> values[:, range(5), range(5)] = np.nan
    >>> found = excess(values)
    >>> round(float(found[0, 1]), 2)
    2.21
    >>> round(max_null_p(found, found[0, 1]), 3), round(smallest_p(n_controls=3), 3)
    (0.1, 0.1)
    """
    return excess_of(additive_residuals(values))


def known_mean(values: Floats) -> float:
    """Mean without NaN, and NaN where nothing is left: models that share no prompt."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def excess_of(residuals: Floats) -> Floats:
    """As `excess`, of scaled residuals (p, m, m): those of a prompt do not depend on the other prompts."""
    sums = Sums.of(residuals)
    return additive_residuals(sums.mean, scale=False) / _noise(sums, residuals)


def prompt_noise(residuals: Floats) -> float:
    """The unit of `excess`: spread of scaled residuals (p, m, m) from prompt to prompt, one number for the pool.

    Never under sqrt(n + 1) / (n + 2) on n prompts: where a pair is as alike on every prompt the spread that was seen
    is 0, but the next prompt is another with a chance of 1 / (n + 2) (rule of succession, Laplace 1774), and then by
    about 1, the root mean square of scaled residuals. A perfect agreement is so a large effect, and not none.
    """
    return _noise(Sums.of(residuals), residuals)


def _noise(sums: Sums, residuals: Floats) -> float:
    n = max(float(np.isfinite(residuals).any((-1, -2)).sum()), 1.0)
    spread = sums.mean_square - sums.mean**2
    seen = max(known_mean(spread), 0.0) * n / max(n - 1.0, 1.0)  # rounding may take it under 0
    return float(np.sqrt(max(seen if seen == seen else 0.0, (n + 1.0) / (n + 2.0) ** 2)))


@dataclass(frozen=True)
class Sums:
    """Mean of values (p, m, m) over prompts, without NaN, and mean of their squares, (m, m) each; NaN where none is.

    Running sums, added up prompt by prompt, so that no copy of all values is made; the same as one sum over all.
    """

    mean: Floats
    mean_square: Floats

    @classmethod
    def of(cls, values: Floats) -> Sums:
        """In the order of the prompts."""
        count, total, squares = _sums(values, squared=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            return cls(total / count, squares / count)


def _sums(values: NDArray[np.floating], *, squared: bool) -> tuple[NDArray[np.int64], Floats, Floats]:
    """How many values (p, ...) there are of each pair, their sum, and that of their squares, if asked for."""
    shape = values.shape[1:]
    count = np.zeros(shape, dtype=np.int64)
    total, squares = (np.zeros(shape, dtype=values.dtype) for _ in range(2))
    for part in _pieces(values):
        seen = np.isfinite(part)
        known = np.array(np.where(seen, part, 0.0), order="C" if len(part) >= _FEW else "K", copy=None)
        count += seen.sum(0)
        if squared:
            square = known**2
            square[0] += squares
            squares = square.sum(0)
        known[0] += total
        total = known.sum(0)
    return count, total, squares


def _pieces(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Some prompts of values (p, ...) at a time."""
    step = max(1, PIECE // max(1, int(np.prod(values.shape[1:]))))
    return (values[at : at + step] for at in range(0, len(values), step))


def prompt_spreads(plain: Floats) -> Floats:
    """Spread of the pairs on each prompt, (p,), of residuals (p, m, m) in the channel's unit, as `additive_residuals`
    divides by; NaN for prompts that fewer than four models answered."""
    seen = np.isfinite(plain)
    m = seen.any(-1).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        square = (np.where(seen, plain, 0.0) ** 2).sum((-1, -2)) / 2
        return np.where(m > 3, np.sqrt(square / (m * (m - 3) / 2)), np.nan)


def spread_of(values: NDArray[np.floating]) -> float:
    """Mean spread of a prompt in the unit of values (p, m, m): with `prompt_noise` it makes what an excess of 1 is."""
    found = [prompt_spreads(additive_residuals(part, scale=False)) for part in _pieces(values)]
    return known_mean(np.concatenate(found)) if found else float("nan")


def max_null_p(matrix: NDArray[np.floating], observed: float, n_candidates: int = 1) -> float:
    """Exact p-value of the closest of M candidates: its rank among all pairs of the pool.

    Parameters
    ----------
    matrix : (n, n) symmetric scores of all pairs of the pool, larger = more alike
        Suspect, M candidates and the controls, in any order. NaN off the diagonal counts as reaching ``observed``: a
        pair that could not be compared may be closer.
    observed : float
        Score of the accused pair, in the unit of ``matrix``.
    n_candidates : int
        M, how many candidates the suspect was compared with.

    Returns
    -------
    float
        p-value in (0, 1]; NaN if ``observed`` is NaN.

    Raises
    ------
    ValueError
        If ``n_candidates`` is not in 1..n - 1.

    See Also
    --------
    smallest_p : The least value it can take.
    row_p : The rank on the candidate's own row.

    Notes
    -----
    Under the null the n models are exchangeable: any of them may be the suspect and any M others its candidates. A
    model x with r_x partners at or above ``observed`` meets one of them with probability
    1 - C(n-1-r_x, M) / C(n-1, M), and p is the mean over x. With M = 1 it is the share of pairs that are at least as
    close as the accused pair. It is a single-step family-wise p-value (max-null) for each candidate, and stays valid
    when other candidates are true kin, since kin only raise the reference.

    Examples
    --------
    Four models have six pairs, and one of them is as close as 3.0:

    >>> import numpy as np
    >>> scores = np.full((4, 4), np.nan)
    >>> scores[np.triu_indices(4, 1)] = [3.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    >>> scores = np.fmax(scores, scores.T)
    >>> round(max_null_p(scores, observed=3.0), 3)
    0.167
    >>> round(max_null_p(scores, observed=0.4), 3)
    0.5
    """
    e = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(observed):
        return float("nan")
    others = e.shape[0] - 1
    if not 1 <= n_candidates <= others:
        raise ValueError(f"n_candidates must be in 1..{others}")
    reach = (~(e < observed - 1e-12) & ~np.eye(len(e), dtype=bool)).sum(1)  # a pair nobody could compare may be closer
    if n_candidates == 1:
        return float(reach.sum() / (len(e) * others))  # counted and divided once: 0.05 is 0.05
    steps = np.arange(n_candidates)
    miss = np.clip(others - reach[:, None] - steps, 0, None) / (others - steps)
    return float(1.0 - miss.prod(1).mean())


def reaches(p: ArrayLike, alpha: float) -> Any:
    """Whether a p-value is at most a significance level: one is counted, the other typed, so rounding decides nothing.

    Parameters
    ----------
    p : array or float
        NaN reaches nothing.
    alpha : float

    Returns
    -------
    array of bool, or bool

    Examples
    --------
    >>> bool(1.0 - 0.95 <= 0.05), reaches(1.0 - 0.95, 0.05)
    (False, True)
    """
    found = np.asarray(p, dtype=np.float64) <= alpha * (1.0 + 1e-9)
    return found if found.ndim else bool(found)


def smallest_p(n_controls: int, n_candidates: int = 1) -> float:
    """Smallest p-value that a number of control lineages allows: the accused pair alone at the top of the pool.

    Parameters
    ----------
    n_controls : int
        K, control lineages in the pool.
    n_candidates : int
        M, candidates in the pool.

    Returns
    -------
    float
        2 / ((K+1)(K+2)) for one candidate. A pool of four gives twice that, 1/3 for K = 2: there the residuals of
        opposite pairs are equal.

    Examples
    --------
    >>> [round(smallest_p(k), 4) for k in (2, 5, 13)]
    [0.3333, 0.0476, 0.0095]
    """
    n = n_controls + n_candidates + 1
    ties = 2.0 if n == 4 else 1.0  # in a pool of four the residual of a pair is that of the opposite pair
    return ties * 2.0 * n_candidates / (n * (n - 1))


def controls_needed(alpha: float, n_candidates: int = 1) -> int:
    """Number of control lineages needed for a verdict at a given significance level.

    Parameters
    ----------
    alpha : float
        Significance level, between 0 and 1.
    n_candidates : int
        Candidates that the suspect is compared with.

    Returns
    -------
    int
        The fewest control lineages with which `smallest_p` is not above ``alpha``; at least 2.

    Examples
    --------
    >>> controls_needed(0.05), controls_needed(0.01)
    (5, 13)
    """
    k = 2
    while not reaches(smallest_p(k, n_candidates), alpha):
        k += 1
    return k


def row_p(matrix: NDArray[np.floating]) -> float:
    """Conditional p-value for one candidate: the suspect's rank among the controls on the candidate's row.

    Parameters
    ----------
    matrix : (K + 2, K + 2) scores, larger = more alike
        Row 0 is the suspect, row 1 the candidate, the other rows are K controls. NaN counts as closer.

    Returns
    -------
    float
        p-value, not under 1 / (K+1): it takes 19 control lineages to reach 0.05.

    Examples
    --------
    The suspect is closer to the candidate than all three controls are:

    >>> import numpy as np
    >>> scores = np.zeros((5, 5))
    >>> scores[1] = [2.0, np.nan, 0.5, -0.2, 0.1]
    >>> scores[0, 1] = 2.0
    >>> row_p(scores)
    0.25
    """
    others = matrix[1, 2:]
    return float((1 + (~(others < matrix[0, 1] - 1e-12)).sum()) / (1 + len(others)))


def combine(values: Sequence[Floats]) -> Floats:
    """Combine channels into one score per pair: the mean of their excess, weighted by reliability.

    Parameters
    ----------
    values : sequence of (p_c, m, m) similarities, one a channel
        The same m models in the same order; prompts and units may differ. NaN as in `excess`.

    Returns
    -------
    (m, m) combined score
        In units of the spread over the pairs of the pool.

    See Also
    --------
    reliabilities : The weights.
    max_null_p : The p-value of one pair of the result.

    Notes
    -----
    One rank of one combined score is valid however dependent the channels are; a product of p-values is not. Spread
    and reliability are computed on the whole pool and do not know which pair is the accused one.

    Examples
    --------
    >>> import numpy as np
    >>> def channel(seed, closer):
    ...     noise = np.random.default_rng(seed).normal(0.0, 0.05, (40, 5, 5))
    ...     values = 0.3 + (noise + noise.transpose(0, 2, 1)) / 2
    ...     values[:, [0, 1], [1, 0]] += closer
    ...     values[:, range(5), range(5)] = np.nan
    ...     return values
    >>> score = combine([channel(0, closer=0.1), channel(1, closer=0.05)])
    >>> score.shape, bool(score[0, 1] == np.nanmax(score))
    ((5, 5), True)
    """
    return combine_excess([excess(v) for v in values], reliabilities(values))


def combine_excess(matrices: Sequence[Floats], weights: ArrayLike | None = None) -> Floats:
    """Weighted mean of excess matrices (m, m) of c channels, each in units of its spread; see `combine`.

    ``weights`` are (c,), by default equal.
    """
    scaled = [e / max(float(np.sqrt(np.nanmean(e**2))), TINY) for e in matrices]
    out: Floats = np.average(scaled, axis=0, weights=None if weights is None else np.asarray(weights))
    return out


def reliabilities(values: Sequence[Floats]) -> Floats:
    """Split-half reliability of each channel over prompts (Spearman-Brown), as weights.

    Parameters
    ----------
    values : sequence of (p_c, m, m) similarities, one a channel
        As in `combine`.

    Returns
    -------
    (c,) weights
        Not negative, with sum 1. Equal if no channel is reliable.

    Notes
    -----
    The mean residuals of all pairs on the even prompts are correlated with those on the odd prompts, r >= 0, and
    stepped up to full length: 2 r / (1 + r) (Spearman 1910, Brown 1910). A channel with few or noisy prompts then
    cannot drown one that repeats itself.

    Examples
    --------
    A channel that finds the same pair close on every prompt, and one of pure noise:

    >>> import numpy as np
    >>> def channel(seed, closer):
    ...     noise = np.random.default_rng(seed).normal(0.0, 0.05, (40, 5, 5))
    ...     values = 0.3 + (noise + noise.transpose(0, 2, 1)) / 2
    ...     values[:, [0, 1], [1, 0]] += closer
    ...     values[:, range(5), range(5)] = np.nan
    ...     return values
    >>> steady, noisy = reliabilities([channel(0, closer=0.1), channel(1, closer=0.0)])
    >>> bool(steady > noisy), round(float(steady + noisy), 9)
    (True, 1.0)
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


def mean_over_prompts(values: NDArray[np.floating]) -> Floats:
    """Mean over prompts without NaN, (p, m, m) -> (m, m); NaN where there is none, as on the diagonal."""
    count, total, _ = _sums(values, squared=False)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / count)
