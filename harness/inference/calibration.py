"""Calibration of likelihood ratios on pairs of known relation, cross-validated with lineages kept apart.

H1: the pair is close kin. H2: it shares no weights. Each pair is judged by a line that saw no trial of either of its
families, as suspect or candidate; the printed costs and rates are of those lines. The table that ships is fitted on
all pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError
from harness.inference.excess import (
    additive_residuals,
    combine_excess,
    max_null_p,
    reaches,
    reliabilities_of,
)
from harness.inference.likelihood import LikelihoodTable, ScoreLine, cllr, cllr_min
from harness.inference.nuisance import excess_in
from harness.records import Similarity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
LEAST_SHARED = 0.5  # a control must have answered so much of what suspect and candidate both answered


@dataclass(frozen=True)
class Known:
    """Known lineages and families of m models.

    ``lineage`` (m,) is the unit of control: one control a lineage. ``family`` (m,) is the unit of splitting: never on
    both sides of fit and test. ``apart`` bool (m, m): the pair is known to share no weights.
    """

    models: tuple[str, ...]
    lineage: NDArray[np.str_]
    family: NDArray[np.str_]
    apart: Bools


@dataclass(frozen=True)
class Trials:
    """Calibration trials: a pair of models, its controls and its prompts, drawn at random.

    ``pairs`` int (t, 2): suspect and candidate. ``controls`` int (t, K): the first k of a row are k controls, -1 where
    there are no more lineages. ``order`` int (t, p): the first n of a row are n prompts, -1 after the last that both
    answered. ``first`` bool (t,): the first trial of each pair.
    """

    pairs: Ints
    controls: Ints
    order: Ints
    first: Bools

    def __len__(self) -> int:
        return len(self.pairs)

    def enough(self, n_controls: int, n_prompts: int) -> Bools:
        """Which trials have so many controls and prompts, (t,)."""
        if not len(self) or n_controls > self.controls.shape[1] or n_prompts > self.order.shape[1]:
            return np.zeros(len(self), dtype=bool)
        return (self.controls[:, n_controls - 1] >= 0) & (self.order[:, n_prompts - 1] >= 0)


def draw_trials(
    known: Known, pairs: Ints, shared: NDArray[np.bool_], n_controls: int, draws: int, rng: np.random.Generator
) -> Trials:
    """Draw calibration trials: random controls and prompts for every pair, suspect and candidate in random order.

    Parameters
    ----------
    pairs : (q, 2) int, rows of ``known.models``
    shared : (p, m) bool, which model answered which prompt
    n_controls : int
        Most controls of a trial; there are fewer where fewer lineages are apart from both models.
    draws : int
        Trials of every pair.
    """
    counts = shared.astype(np.float32).T @ shared.astype(np.float32)
    rows, controls, order = [], [], []
    for pair in np.repeat(pairs, draws, axis=0):
        s, c = rng.permutation(pair)
        near = (counts[s] >= LEAST_SHARED * counts[s, c]) & (counts[c] >= LEAST_SHARED * counts[s, c])
        drawn = _draw_controls(known, s, c, near, n_controls, rng)
        both = rng.permutation(np.flatnonzero(shared[:, s] & shared[:, c]))
        rows.append((s, c))
        controls.append(np.pad(drawn, (0, n_controls - len(drawn)), constant_values=-1))
        order.append(np.pad(both, (0, len(shared) - len(both)), constant_values=-1))
    first = np.zeros(len(rows), dtype=bool)
    first[::draws] = True
    return Trials(
        np.array(rows, dtype=np.int64).reshape(-1, 2),
        np.array(controls, dtype=np.int64).reshape(-1, n_controls),
        np.array(order, dtype=np.int64).reshape(-1, len(shared)),
        first,
    )


def _draw_controls(known: Known, s: int, c: int, near: Bools, most: int, rng: np.random.Generator) -> Ints:
    """One model of each of at most ``most`` lineages, all apart from suspect and candidate."""
    fit = known.apart[s] & known.apart[c] & near
    fit &= (known.lineage != known.lineage[s]) & (known.lineage != known.lineage[c])
    lineages = rng.permutation(np.unique(known.lineage[fit]))[:most]
    return np.array([rng.choice(np.flatnonzero(fit & (known.lineage == x))) for x in lineages], dtype=np.int64)


def pool_matrices(
    channels: Sequence[Similarity], trials: Trials, n_controls: int, prompts: Sequence[int]
) -> Mapping[int, tuple[Floats, Floats]]:
    """Excess matrices of the pools of many trials, by number of prompts.

    Parameters
    ----------
    channels : sequence of Similarity
        All on the same prompts and models; from those that see weights one factor is taken (`without_factor`).
    trials : Trials
    n_controls : int
        K, controls in every pool.
    prompts : sequence of int
        Numbers of prompts.

    Returns
    -------
    mapping from number of prompts to two (t, K + 2, K + 2) arrays
        The excess of the first channel, and the combined score of all. Row 0 is the suspect, row 1 the candidate. NaN
        for trials without so many controls or prompts.
    """
    size = n_controls + 2
    out = {n: (np.full((len(trials), size, size), np.nan), np.full((len(trials), size, size), np.nan)) for n in prompts}
    fits = {n: trials.enough(n_controls, n) for n in prompts}
    for t in range(len(trials)):
        able = [n for n in prompts if fits[n][t]]
        if not able:
            continue
        pool = np.r_[trials.pairs[t], trials.controls[t, :n_controls]]
        order = trials.order[t, : max(able)]
        residuals = [additive_residuals(c.values[order[:, None, None], pool[:, None], pool]) for c in channels]
        for n in able:
            less = [r[:n] for r in residuals]
            matrices = [excess_in(r, c.sees) for r, c in zip(less, channels, strict=True)]
            out[n][0][t] = matrices[0]
            out[n][1][t] = combine_excess(matrices, reliabilities_of(less) if len(less) > 1 else None)
    return out


def pair_scores(matrices: Floats) -> Floats:
    """Score of the accused pair of every trial, (t, n, n) -> (t,)."""
    return matrices[:, 0, 1]


def pair_p(matrices: Floats) -> Floats:
    """Exact p-value of the accused pair in many pools at once: `max_null_p` with one candidate.

    Parameters
    ----------
    matrices : (t, n, n) scores of t pools of n models, larger = more alike
        Row 0 is the suspect, row 1 the candidate; all NaN for a pool that does not exist.

    Returns
    -------
    (t,) p-values
        NaN for a pool that does not exist.

    Examples
    --------
    Two pools of four models; the accused pair is the closest of six in the first, and third in the second:

    >>> import numpy as np
    >>> scores = np.full((2, 4, 4), np.nan)
    >>> rows, columns = np.triu_indices(4, 1)
    >>> scores[:, rows, columns] = [[3.0, 0.1, 0.2, 0.3, 0.4, 0.5], [0.4, 0.1, 0.2, 0.3, 0.8, 0.5]]
    >>> scores = np.fmax(scores, scores.transpose(0, 2, 1))
    >>> pair_p(scores).round(3).tolist()
    [0.167, 0.5]
    """
    return np.array([max_null_p(m, m[0, 1]) for m in matrices])


def lineage_interval(
    hits: ArrayLike, units: NDArray[np.str_], rounds: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Bootstrap confidence interval (95 %) of a mean over pairs of models, resampling lineages.

    Parameters
    ----------
    hits : (n,) values, one a pair
    units : (n, 2) lineages of the pair
    rounds : int
        Bootstrap rounds.
    rng : numpy.random.Generator

    Returns
    -------
    low, high : float
        In the unit of ``hits``; NaN if no round drew a pair.

    Notes
    -----
    Pairs share models, so they are not independent; lineages are. A pair counts as often as both its lineages were
    drawn (the product), a pair within one lineage as often as that one.

    Examples
    --------
    >>> import numpy as np
    >>> units = np.array([["a", "b"], ["a", "c"], ["b", "c"], ["c", "d"]])
    >>> low, high = lineage_interval([1.0, 0.0, 1.0, 0.0], units, rounds=200, rng=np.random.default_rng(0))
    >>> 0.0 <= low < 0.5 < high <= 1.0
    True
    """
    x = np.asarray(hits, dtype=np.float64)
    means = [np.average(x, weights=w) for w in lineage_weights(units, rounds, rng) if w.sum() > 0]
    return (float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))) if means else (np.nan, np.nan)


def lineage_weights(units: NDArray[np.str_], rounds: int, rng: np.random.Generator) -> Floats:
    """Bootstrap weights over lineages: how often each of n pairs (n, 2) counts in each round, (rounds, n)."""
    names, at = np.unique(units, return_inverse=True)
    at = at.reshape(units.shape)
    drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=rounds).astype(np.float64)
    a, b = drawn[:, at[:, 0]], drawn[:, at[:, 1]]
    out: Floats = np.where(at[:, 0] == at[:, 1], a, a * b)
    return out


CONTROLS = (2, 3, 4, 8, 16, 32)
PROMPTS = (32, 100, 400, 700)
LEAST_KIN = 8  # kin pairs without which a line means nothing
MOST_PAIRS = 1200  # unrelated pairs beyond this are sampled
DRAWS = 4  # trials of each kin pair, with other controls each time
MOST_POINTS = 200  # of a Tippett plot that travels in a file


@dataclass(frozen=True)
class Validation:
    """Cross-validation of a calibration on families it was not fitted on, for K controls and n prompts.

    ``log10_lr`` (t,) and ``kin`` (t,) are the trials behind it; every interval is a bootstrap over families.
    """

    controls: int
    prompts: int
    log10_lr: Floats
    kin: Bools
    cllr: float
    cllr_low: float
    cllr_high: float
    cllr_min: float
    false_alarms: float
    false_alarms_low: float
    false_alarms_high: float
    power: float

    def summary(self) -> dict[str, Any]:
        """Figures only, for the calibration file."""
        names = ("cllr", "cllr_min", "cllr_low", "cllr_high", "power")
        out: dict[str, Any] = {n: round(float(getattr(self, n)), 4) for n in names}
        alarms = (self.false_alarms, self.false_alarms_low, self.false_alarms_high)
        return {
            "controls": self.controls,
            "prompts": self.prompts,
            "false_alarms": [round(a, 4) for a in alarms],
            **out,
        }


def crossfit(scores: Floats, kin: Bools, families: NDArray[np.str_], first: Bools) -> Floats:
    """Cross-validated log10 LR: each trial is judged by a line fitted without both its families.

    Parameters
    ----------
    scores : (t,) excess of the accused pair
    kin : (t,) bool, the pair is close kin
    families : (t, 2) families of suspect and candidate
        Controls may recur on both sides.
    first : (t,) bool, the first trial of its pair

    Returns
    -------
    (t,) log10 LR
        NaN where fewer than eight kin pairs are left to fit on.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    out = np.full(len(scores), np.nan)
    ordered = np.sort(families, axis=1)
    with threadpool_limits(1):  # many tiny fits: threads only wait for one another
        for a, b in np.unique(ordered, axis=0):
            test = (ordered == (a, b)).all(1)
            train = ~np.isin(ordered, (a, b)).any(1)
            if (kin & train & first).sum() >= LEAST_KIN and (~kin & train).any():
                out[test] = ScoreLine.fit(scores[train], kin[train], first[train]).transform(scores[test])
    return out


def weighted_cllr(log10_lr: Floats, kin: Bools, families: NDArray[np.str_], seed: int) -> tuple[float, float, float]:
    """Cllr in bits with its 95 % bootstrap interval over ``families`` (t, 2); see `likelihood.cllr`."""
    draws = []
    for w in lineage_weights(families, 300, np.random.default_rng(seed)):
        if w[kin].sum() > 0 and w[~kin].sum() > 0:
            draws.append(cllr(log10_lr, kin, w))
    low, high = np.quantile(draws, [0.025, 0.975]) if draws else (np.nan, np.nan)
    return cllr(log10_lr, kin), float(low), float(high)


def calibrate(
    similarity: Similarity, known: Known, kin: NDArray[np.int64], unrelated: NDArray[np.int64], alpha: float, seed: int
) -> tuple[LikelihoodTable, list[Validation]]:
    """Fit a calibration table for one channel, and cross-validate it on families it was not fitted on.

    Parameters
    ----------
    similarity : Similarity
        Of one channel, on the models of ``known`` in that order.
    known : Known
        Lineages and families of the models.
    kin, unrelated : (q, 2) int, pairs as rows of ``known.models``
    alpha : float
        Significance level at which false alarms and power are counted.
    seed : int

    Returns
    -------
    table : LikelihoodTable
        Fitted on all pairs.
    checks : list of Validation
        One for each number of controls and prompts.

    Raises
    ------
    ConfigError
        With fewer than 8 kin pairs, 8 unrelated pairs, 32 prompts, or 2 control lineages: no line could be trusted.

    Notes
    -----
    Logistic calibration with both classes weighted equally (Brummer 2006, Morrison 2013), bounds after ELUB (Vergeer
    et al. 2016). Two trials share a pair, a family or controls, so families and not trials are left out and resampled.
    """
    rng = np.random.default_rng(seed)
    trials, labels = draw_labelled(similarity, known, kin, unrelated, rng)
    families = known.family[trials.pairs]
    fits: dict[tuple[int, int], tuple[Floats, Bools, Bools]] = {}
    checks = []
    for k in CONTROLS:
        matrices = pool_matrices([similarity], trials, k, PROMPTS)
        for n in PROMPTS:
            m = matrices[n][0]
            seen = np.isfinite(pair_scores(m))
            if (labels & trials.first & seen).sum() < LEAST_KIN or (~labels & seen).sum() < LEAST_KIN:
                continue
            fits[k, n] = (pair_scores(m)[seen], labels[seen], trials.first[seen])
            checks += _validate(m[seen], labels[seen], families[seen], trials.first[seen], (k, n), alpha, seed)
    grid = _full_grid(fits)
    if not grid:
        raise ConfigError(
            f"too little to calibrate on: {len(kin)} kin pairs, {len(unrelated)} unrelated pairs, "
            f"{len(similarity.prompts)} prompts, {len(set(known.lineage))} lineages",
            f"it takes {LEAST_KIN} pairs of each kind with {CONTROLS[0]} control lineages and {PROMPTS[0]} prompts",
        )
    about = {"validation": [c.summary() for c in checks], "kin_pairs": len(kin), "unrelated_pairs": len(unrelated)}
    table = LikelihoodTable.fit({key: fits[key] for key in grid}, **about)
    return replace(table, channel=similarity.channel), checks


def draw_labelled(
    similarity: Similarity, known: Known, kin: NDArray[np.int64], unrelated: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Trials, Bools]:
    """Draw trials of all kin pairs, several each, and of a sample of the unrelated pairs; and which are kin, (t,)."""
    shared: Bools = np.asarray(np.isfinite(similarity.values).any(2))
    if len(unrelated) > MOST_PAIRS:
        unrelated = unrelated[rng.choice(len(unrelated), MOST_PAIRS, replace=False)]
    most = CONTROLS[-1]
    a = draw_trials(known, kin, shared, most, DRAWS, rng)
    b = draw_trials(known, unrelated, shared, most, 1, rng)
    both = Trials(
        np.concatenate([a.pairs, b.pairs]),
        np.concatenate([a.controls, b.controls]),
        np.concatenate([a.order, b.order]),
        np.concatenate([a.first, b.first]),
    )
    return both, np.arange(len(both)) < len(a)


def _full_grid(fits: Mapping[tuple[int, int], object]) -> list[tuple[int, int]]:
    """The largest full rectangle from the smallest numbers up: a table has no holes."""
    prompts = [n for n in PROMPTS if (CONTROLS[0], n) in fits]
    return [(k, n) for k in CONTROLS if all((k, m) in fits for m in prompts) for n in prompts]


def _validate(
    matrices: Floats,
    kin: Bools,
    families: NDArray[np.str_],
    first: Bools,
    size: tuple[int, int],
    alpha: float,
    seed: int,
) -> list[Validation]:
    lr = crossfit(pair_scores(matrices), kin, families, first)
    seen = np.isfinite(lr)
    if not (seen & kin).any() or not (seen & ~kin).any():
        return []
    p = pair_p(matrices)
    cost, low, high = weighted_cllr(lr[seen], kin[seen], families[seen], seed)
    weights = lineage_weights(families[~kin], 300, np.random.default_rng(seed))
    rates = [np.average(reaches(p[~kin], alpha), weights=w) for w in weights if w.sum() > 0]
    return [
        Validation(
            controls=size[0],
            prompts=size[1],
            log10_lr=lr[seen],
            kin=kin[seen],
            cllr=cost,
            cllr_low=low,
            cllr_high=high,
            cllr_min=cllr_min(lr[seen], kin[seen]),
            false_alarms=float(reaches(p[~kin], alpha).mean()),
            false_alarms_low=float(np.quantile(rates, 0.025)),
            false_alarms_high=float(np.quantile(rates, 0.975)),
            power=float(reaches(p[kin], alpha).mean()),
        )
    ]


def tippett(log10_lr: Floats, kin: Bools) -> tuple[Floats, Floats, Floats]:
    """Tippett plot as arrays: shares of kin and of unrelated pairs at or above each log10 LR.

    Parameters
    ----------
    log10_lr : (t,) log10 likelihood ratios
    kin : (t,) bool

    Returns
    -------
    thresholds : (q,) all values of ``log10_lr`` and 0, ascending
    kin_share, unrelated_share : (q,) share of each class at or above the threshold

    Examples
    --------
    >>> import numpy as np
    >>> at, kin, unrelated = tippett(np.array([2.0, 1.0, -1.0, -2.0]), np.array([True, True, False, False]))
    >>> at.tolist()
    [-2.0, -1.0, 0.0, 1.0, 2.0]
    >>> kin.tolist()
    [1.0, 1.0, 1.0, 1.0, 0.5]
    >>> unrelated.tolist()
    [1.0, 0.5, 0.0, 0.0, 0.0]
    """
    at = np.unique(np.r_[log10_lr, 0.0])
    above = [(group[:, None] >= at).mean(0) for group in (log10_lr[kin], log10_lr[~kin])]
    return at, above[0], above[1]


def tippett_points(check: Validation) -> dict[str, Any]:
    """Tippett plot as a calibration file holds it: at most `MOST_POINTS` thresholds, zero among them.

    ``kin`` and ``unrelated`` are exact shares at ``log10_lr``; the points between are left out, not smoothed.
    """
    at, kin, unrelated = tippett(check.log10_lr, check.kin)
    spread = np.linspace(0, len(at) - 1, MOST_POINTS - 1).round()
    chosen = np.unique(np.r_[spread, np.searchsorted(at, 0.0)].astype(np.int64))
    out: dict[str, Any] = {
        "controls": check.controls,
        "prompts": check.prompts,
        "cllr": round(check.cllr, 4),
        "kin_trials": int(check.kin.sum()),
        "unrelated_trials": int((~check.kin).sum()),
    }
    arrays = {"log10_lr": at, "kin": kin, "unrelated": unrelated}
    return out | {name: np.round(v[chosen], 4).tolist() for name, v in arrays.items()}


def channel_of(similarities: Sequence[Similarity], name: str) -> Similarity:
    """Find the channel called ``name``; `ConfigError` if these answers have none."""
    found = next((s for s in similarities if s.channel == name), None)
    if found is None:
        raise ConfigError(
            f"channel {name!r} has nothing to compare here", f"channels: {', '.join(s.channel for s in similarities)}"
        )
    return found
