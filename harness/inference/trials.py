"""Trials: pools of pairs of known relation, drawn at random, with the excess and the rank of each pair in its pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.inference.excess import additive_residuals, combine_excess, max_null_p, reliabilities_of
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
    both sides of fit and test; and that of choice: a second control of one family comes after the first of all.
    ``apart`` bool (m, m): the pair is known to share no weights. ``maker`` (m,) is who released the model, "" unknown.
    """

    models: tuple[str, ...]
    lineage: NDArray[np.str_]
    family: NDArray[np.str_]
    apart: Bools
    maker: NDArray[np.str_]

    def two_makers(self, pairs: Ints) -> Bools:
        """Which pairs (t, 2) are of two makers, as far as is known."""
        a, b = self.maker[pairs[:, 0]], self.maker[pairs[:, 1]]
        out: Bools = (a != b) & (a != "") & (b != "")
        return out


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

    @classmethod
    def joined(cls, parts: Sequence[Trials]) -> Trials:
        """Several sets of trials as one, with the same numbers of controls and prompts."""
        names = ("pairs", "controls", "order", "first")
        return cls(*(np.concatenate([getattr(t, n) for t in parts]) for n in names))

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
        drawn = draw_controls(known, s, c, near, n_controls, rng)
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


def draw_controls(known: Known, s: int, c: int, near: Bools, most: int, rng: np.random.Generator) -> Ints:
    """One model of each of at most ``most`` lineages, all apart from suspect and candidate.

    As a campaign chooses them: first one of each family but the pair's own, then those that repeat one.
    """
    fit = known.apart[s] & known.apart[c] & near
    fit &= (known.lineage != known.lineage[s]) & (known.lineage != known.lineage[c])
    seen: Counter[str] = Counter({str(known.family[s]): 1, str(known.family[c]): 1})
    ranked = []
    for x in rng.permutation(np.unique(known.lineage[fit])):
        model = int(rng.choice(np.flatnonzero(fit & (known.lineage == x))))
        family = str(known.family[model])
        ranked.append((seen[family], model))
        seen[family] += 1
    chosen = [model for _, model in sorted(ranked, key=lambda r: r[0])[:most]]
    return np.array(chosen, dtype=np.int64)


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
