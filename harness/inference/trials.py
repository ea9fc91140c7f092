"""Pairs of known relation put through the kinship question as a campaign would: what calibration and benchmarks use.

A trial is one suspect, one candidate and one control a lineage, drawn from models whose relations are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.inference.combining import combine_excess, reliabilities
from harness.inference.pair_rank import additive_residuals, excess_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
LEAST_SHARED = 0.5  # a control must have answered so much of what suspect and candidate both answered


@dataclass(frozen=True)
class Known:
    """What is known of m models.

    ``lineage`` (m,) is the unit of control: one control a lineage. ``family`` (m,) is the unit of splitting: never on
    both sides of fit and test. ``apart`` bool (m, m): the pair is known to share no weights.
    """

    models: tuple[str, ...]
    lineage: NDArray[np.str_]
    family: NDArray[np.str_]
    apart: Bools


@dataclass(frozen=True)
class Trials:
    """``pairs`` int (t, 2) suspect and candidate; ``controls`` int (t, K), -1 where there are no more lineages;
    the first k of a row are k controls. ``order`` int (t, p): prompts, the first n of a row are n prompts, -1 after the
    last that both answered. ``first`` bool (t,): one trial a pair."""

    pairs: Ints
    controls: Ints
    order: Ints
    first: Bools

    def __len__(self) -> int:
        return len(self.pairs)

    def enough(self, n_controls: int, n_prompts: int) -> Bools:
        """Trials that have so many controls and prompts, (t,)."""
        if not len(self) or n_controls > self.controls.shape[1] or n_prompts > self.order.shape[1]:
            return np.zeros(len(self), dtype=bool)
        return (self.controls[:, n_controls - 1] >= 0) & (self.order[:, n_prompts - 1] >= 0)


def draw_trials(
    known: Known, pairs: Ints, shared: NDArray[np.bool_], n_controls: int, draws: int, rng: np.random.Generator
) -> Trials:
    """``draws`` trials of every pair, with suspect and candidate in random order.

    Parameters
    ----------
    pairs : int (q, 2), rows of ``known.models``.
    shared : bool (p, m), which model answered which prompt.
    n_controls : most controls of a trial; fewer where fewer lineages are apart from both.
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
    values: Sequence[NDArray[np.float32]], trials: Trials, n_controls: int, prompts: Sequence[int]
) -> Mapping[int, tuple[Floats, Floats]]:
    """By number of prompts n: the excess of the first channel, and all channels combined, each (t, K + 2, K + 2).

    ``values`` are (p, m, m) by channel, all on the same prompts; trials without so many controls or prompts give NaN.
    Row 0 is the suspect, row 1 the candidate.
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
        chosen = [np.asarray(v[order[:, None, None], pool[:, None], pool], dtype=np.float64) for v in values]
        residuals = [additive_residuals(v) for v in chosen]
        for n in able:
            matrices = [excess_of(r[:n]) for r in residuals]
            out[n][0][t] = matrices[0]
            out[n][1][t] = combine_excess(matrices, reliabilities([v[:n] for v in chosen]) if len(values) > 1 else None)
    return out


def pair_scores(matrices: Floats) -> Floats:
    """Score of the accused pair of every trial, (t,)."""
    return matrices[:, 0, 1]


def pair_p(matrices: Floats) -> Floats:
    """`pair_rank.max_null_p` with one candidate, for many pools of one size at once, (t,)."""
    rows, columns = np.triu_indices(matrices.shape[-1], 1)
    scores = matrices[:, rows, columns]
    p = (scores >= scores[:, :1] - 1e-12).mean(1)
    return np.where(np.isfinite(scores[:, 0]), p, np.nan)


def lineage_interval(
    hits: ArrayLike, units: NDArray[np.str_], rounds: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over pairs, drawing lineages: (n,) values and (n, 2) lineages of the pair.

    A pair counts as often as both its lineages were drawn, a pair within one lineage as often as that one.
    """
    x = np.asarray(hits, dtype=np.float64)
    means = [np.average(x, weights=w) for w in lineage_weights(units, rounds, rng) if w.sum() > 0]
    return (float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))) if means else (np.nan, np.nan)


def lineage_weights(units: NDArray[np.str_], rounds: int, rng: np.random.Generator) -> Floats:
    """How often each pair counts in each round of drawing lineages with replacement, (rounds, n)."""
    names, at = np.unique(units, return_inverse=True)
    at = at.reshape(units.shape)
    drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=rounds).astype(np.float64)
    a, b = drawn[:, at[:, 0]], drawn[:, at[:, 1]]
    out: Floats = np.where(at[:, 0] == at[:, 1], a, a * b)
    return out
