"""Calibration of likelihood ratios on pairs of known relation, cross-validated with lineages kept apart.

Each pair is judged by a line that saw no trial of either of its families, as suspect or candidate; the printed costs
and rates are of those lines. The table that ships is fitted on all pairs. Relations: "close" (same weights, parent and
child, siblings), "base" (one pretrained base), "same maker", "taught" (by one another or by one teacher, or on the same
data), "unrelated".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.inference.excess import reaches
from harness.inference.likelihood import LikelihoodTable, ScoreLine, cllr, cllr_min, too_close_for
from harness.inference.trials import (
    Bools,
    Floats,
    Ints,
    Known,
    Trials,
    draw_trials,
    lineage_weights,
    pair_p,
    pair_scores,
    pool_matrices,
)
from harness.records import Similarity

Relation = Literal["close", "base", "same maker", "taught", "unrelated"]
Proposition = Literal["shares weights", "close", "base", "taught"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)
CONTROLS = (2, 3, 4, 8, 16, 32)
PROMPTS = (32, 100, 400, 700)
ALPHAS = (0.0025, 0.005, 0.01, 0.02, 0.025, 0.05, 0.1)
LEAST_KIN = 8  # kin pairs without which a line means nothing
MOST_PAIRS: Mapping[Relation, int] = {
    "unrelated": 1200,
    "taught": 400,
    "same maker": 300,
}  # beyond which some are drawn
DRAWS: Mapping[Relation, int] = {"close": 4, "base": 2, "taught": 2}  # trials of each pair, with other controls
MOST_POINTS = 200  # of a Tippett plot that travels in a file


@dataclass(frozen=True)
class Validation:
    """Cross-validation of one proposition on families it was not fitted on, for K controls, n prompts and a length.

    ``log10_lr`` (t,) and ``kin`` (t,), the trials of which it holds, are what ``cllr`` is of, with its 95 % interval
    over families. ``false_alarms`` and ``power`` are of the rank test on the same trials.
    """

    proposition: Proposition
    controls: int
    prompts: int
    words: float
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
        alarms = (self.false_alarms, self.false_alarms_low, self.false_alarms_high)
        return {
            "proposition": self.proposition,
            "controls": self.controls,
            "prompts": self.prompts,
            "words": self.words if self.words == self.words else None,
            "trials": [int(self.kin.sum()), int((~self.kin).sum())],
            "false_alarms": [round(a, 4) for a in alarms],
            **{n: round(float(v), 4) if np.isfinite(v := getattr(self, n)) else None for n in names},
        }


def crossfit(
    scores: Floats, kin: Bools, families: NDArray[np.str_], first: Bools, among: Bools | None = None
) -> Floats:
    """Cross-validated log10 LR: each trial is judged by a line fitted without both its families.

    Parameters
    ----------
    scores : (t,) excess of the accused pair
    kin : (t,) bool, the proposition holds
    families : (t, 2) families of suspect and candidate
        Controls may recur on both sides.
    first : (t,) bool, the first trial of its pair
    among : (t,) bool, by default all
        Trials that lines are fitted on; the others are judged only.

    Returns
    -------
    (t,) log10 LR
        NaN where fewer than eight pairs are left to fit on.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    out = np.full(len(scores), np.nan)
    ordered = np.sort(families, axis=1)
    used = np.ones(len(scores), dtype=bool) if among is None else among
    with threadpool_limits(1):  # many tiny fits: threads only wait for one another
        for a, b in np.unique(ordered, axis=0):
            test = (ordered == (a, b)).all(1)
            train = ~np.isin(ordered, (a, b)).any(1) & used
            if (kin & train & first).sum() >= LEAST_KIN and (~kin & train).any():
                out[test] = ScoreLine.fit(scores[train], kin[train], first[train]).transform(scores[test])
    return out


def weighted_cllr(
    log10_lr: Floats, kin: Bools, families: NDArray[np.str_], seed: int, weights: Floats | None = None
) -> tuple[float, float, float]:
    """Cllr in bits with its 95 % bootstrap interval over ``families`` (t, 2); see `likelihood.cllr`."""
    own = np.ones(len(kin)) if weights is None else weights
    draws = []
    for w in lineage_weights(families, 300, np.random.default_rng(seed)) * own:
        if w[kin].sum() > 0 and w[~kin].sum() > 0:
            draws.append(cllr(log10_lr, kin, w))
    low, high = np.quantile(draws, [0.025, 0.975]) if draws else (np.nan, np.nan)
    return cllr(log10_lr, kin, own), float(low), float(high)


@dataclass(frozen=True)
class Scored:
    """Trials with their score and rank under one set of conditions. All arrays are over t trials."""

    relation: NDArray[np.str_]
    score: Floats
    p: Floats
    families: NDArray[np.str_]
    first: Bools
    makers: Bools  # the pair is known to be of two

    def of(self, *relations: Relation) -> Bools:
        """Which trials are of these relations."""
        return np.isin(self.relation, relations)

    def enough(self, *relations: Relation) -> bool:
        """Whether each of these relations has pairs enough to fit on."""
        return all((self.of(r) & self.first).sum() >= LEAST_KIN for r in relations)

    @property
    def sides(self) -> dict[str, tuple[Bools, Bools]]:
        """For each line, the trials of which it holds and those of its alternative; none that cannot be fitted."""
        sides = {
            "close": (self.of("close"), self.of("unrelated")),
            "base": (self.of("base"), self.of("unrelated")),
            "taught": (self.of("close"), self.of("taught") & self.makers),
        }
        return {k: v for k, v in sides.items() if all((side & self.first).sum() >= LEAST_KIN for side in v)}


def calibrate(
    channel: Mapping[int, Similarity] | Similarity,
    known: Known,
    pairs: Mapping[Relation, Ints],
    alpha: float,
    seed: int,
) -> tuple[LikelihoodTable, list[Validation]]:
    """Fit a calibration table for one channel, and cross-validate it on families it was not fitted on.

    Parameters
    ----------
    channel : Similarity, or several by the number of words that answers were cut to
        Of one channel, on the models of ``known`` in that order. Alone it is of the one length that it has.
    known : Known
        Lineages and families of the models.
    pairs : mapping from relation to (q, 2) int, rows of ``known.models``
        "close" and "unrelated" are needed.
    alpha : float
        Significance level at which false alarms and power are counted.
    seed : int

    Returns
    -------
    table : LikelihoodTable
        Fitted on all pairs.
    checks : list of Validation
        For each proposition and each number of controls and prompts, on answers of the largest length.

    Raises
    ------
    ConfigError
        With fewer than 8 close pairs, 8 unrelated pairs, 32 prompts, or 2 control lineages: no line could be trusted.

    Notes
    -----
    Logistic calibration with both classes weighted equally (Brummer 2006, Morrison 2013), bounds after ELUB (Vergeer
    et al. 2016). Two trials share a pair, a family or controls, so families and not trials are left out and resampled.
    """
    lengths = _lengths(channel)
    last = lengths[max(lengths)]
    trials, relation = draw_related(last, known, pairs, np.random.default_rng(seed))
    found = {
        (k, n, length): scored
        for length, similarity in lengths.items()
        for k in CONTROLS
        for n, scored in _scored(similarity, known, trials, relation, k).items()
    }
    grid = _full_grid(found)
    if not grid:
        raise ConfigError(
            f"too little to calibrate on: {', '.join(f'{len(v)} {k} pairs' for k, v in pairs.items())}, "
            f"{len(last.prompts)} prompts, {len(set(known.lineage))} lineages",
            f"it takes {LEAST_KIN} pairs of each kind with {CONTROLS[0]} control lineages and {PROMPTS[0]} prompts",
        )
    checks = [
        check
        for k, n in sorted({(k, n) for k, n, _ in grid})
        for check in _validate(found[k, n, max(lengths)], (k, n, last.words), alpha, seed)
    ]
    about = {"validation": [c.summary() for c in checks], "pairs": {k: len(v) for k, v in pairs.items()}}
    return _table({key: found[key] for key in grid}, last.channel, about), checks


def _lengths(channel: Mapping[int, Similarity] | Similarity) -> Mapping[int, Similarity]:
    """Similarities by length; 0 for one of a channel that has none."""
    if not isinstance(channel, Similarity):
        return channel
    return {round(channel.words) if channel.words == channel.words else 0: channel}


def draw_related(
    similarity: Similarity, known: Known, pairs: Mapping[Relation, Ints], rng: np.random.Generator
) -> tuple[Trials, NDArray[np.str_]]:
    """Draw trials of pairs of each relation, several a pair of kin and a sample of many; and their relation, (t,)."""
    shared: Bools = np.asarray(np.isfinite(similarity.values).any(2))
    parts, names = [], []
    for relation in RELATIONS:
        chosen = pairs.get(relation, np.zeros((0, 2), dtype=np.int64))
        if len(chosen) > (most := MOST_PAIRS.get(relation, len(chosen))):
            chosen = chosen[rng.choice(len(chosen), most, replace=False)]
        parts.append(draw_trials(known, chosen, shared, CONTROLS[-1], DRAWS.get(relation, 1), rng))
        names.append(np.full(len(parts[-1]), relation))
    return Trials.joined(parts), np.concatenate(names)


def _scored(
    similarity: Similarity, known: Known, trials: Trials, relation: NDArray[np.str_], k: int
) -> dict[int, Scored]:
    """Scores of all trials with ``k`` controls by number of prompts, for those numbers that are enough to fit on."""
    out = {}
    for n, (matrices, _) in pool_matrices([similarity], trials, k, PROMPTS).items():
        seen = np.isfinite(pair_scores(matrices))
        scored = Scored(
            relation[seen],
            pair_scores(matrices)[seen],
            pair_p(matrices[seen]),
            known.family[trials.pairs[seen]],
            trials.first[seen],
            known.two_makers(trials.pairs[seen]),
        )
        if scored.enough("close", "unrelated"):
            out[n] = scored
    return out


def _full_grid(found: Mapping[tuple[int, int, int], Scored]) -> list[tuple[int, int, int]]:
    """The largest full box from the smallest numbers up: a table has no holes."""
    lengths = sorted({length for _, _, length in found})
    prompts = [n for n in PROMPTS if all((CONTROLS[0], n, length) in found for length in lengths)]
    return [
        (k, n, length)
        for k in CONTROLS
        if prompts and all((k, m, x) in found for m in prompts for x in lengths)
        for n in prompts
        for length in lengths
    ]


def _table(found: Mapping[tuple[int, int, int], Scored], channel: str, about: Mapping[str, Any]) -> LikelihoodTable:
    controls, prompts, lengths = (tuple(sorted({key[i] for key in found})) for i in range(3))
    shape = (len(controls), len(prompts), len(lengths))
    cells = [found[k, n, x] for k in controls for n in prompts for x in lengths]
    able = [name for name in ("close", "base", "taught") if all(name in c.sides for c in cells)]
    lines = {name: np.array([_line(c, name) for c in cells]).reshape(*shape, 4) for name in able}
    far = [too_close_for(c.score[c.sides["taught"][1]]) for c in cells] if "taught" in able else None
    told = [r for r in RELATIONS if all(c.enough(r) for c in cells)]
    rates = {r: np.array([[reaches(c.p[c.of(r)], a).mean() for a in ALPHAS] for c in cells]) for r in told}
    return LikelihoodTable(
        controls=controls,
        prompts=prompts,
        lines=lines,
        lengths=lengths if lengths != (0,) else (),
        too_close=None if far is None else np.array(far).reshape(shape),
        alphas=ALPHAS,
        rates={r: v.reshape(*shape, len(ALPHAS)) for r, v in rates.items()},
        channel=channel,
        about=about,
    )


def _line(cell: Scored, name: str) -> tuple[float, float, float, float]:
    holds, other = cell.sides[name]
    both = holds | other
    line = ScoreLine.fit(cell.score[both], holds[both], cell.first[both])
    return line.intercept, line.slope, line.lower, line.upper


def _validate(s: Scored, size: tuple[int, int, float], alpha: float, seed: int) -> list[Validation]:
    """Each proposition on families that its lines have not seen; (a) with half of the weight on close kin."""
    lines = {
        name: crossfit(s.score, holds, s.families, s.first, holds | other) for name, (holds, other) in s.sides.items()
    }
    tried: dict[Proposition, tuple[Floats, Bools, Bools]] = {
        name: (lines[name], *s.sides[name]) for name in get_args(Proposition)[1:] if name in lines
    }
    if "base" in lines:
        both = np.logaddexp(lines["close"] * np.log(10), lines["base"] * np.log(10)) - np.log(2)
        tried = {"shares weights": (both / np.log(10), s.of("close", "base"), s.of("unrelated")), **tried}
    checks = [_check(s, name, size, *t, alpha, seed) for name, t in tried.items()]
    return [c for c in checks if c is not None]


def _check(
    s: Scored,
    name: Proposition,
    size: tuple[int, int, float],
    lr: Floats,
    holds: Bools,
    other: Bools,
    alpha: float,
    seed: int,
) -> Validation | None:
    seen = (holds | other) & np.isfinite(lr)
    if not (seen & holds).any() or not (seen & other).any():
        return None
    x, kin, families, p = lr[seen], holds[seen], s.families[seen], s.p[seen]
    share = {r: max(float((s.relation[seen] == r).sum()), 1.0) for r in RELATIONS}
    weights = np.array([1.0 / share[r] for r in s.relation[seen].tolist()])  # both kinds of kin count alike
    cost, low, high = weighted_cllr(x, kin, families, seed, weights)
    drawn = lineage_weights(families[~kin], 300, np.random.default_rng(seed))
    rates = [np.average(reaches(p[~kin], alpha), weights=w) for w in drawn if w.sum() > 0]
    return Validation(
        proposition=name,
        controls=size[0],
        prompts=size[1],
        words=size[2],
        log10_lr=x,
        kin=kin,
        cllr=cost,
        cllr_low=low,
        cllr_high=high,
        cllr_min=cllr_min(x, kin, weights),
        false_alarms=float(reaches(p[~kin], alpha).mean()),
        false_alarms_low=float(np.quantile(rates, 0.025)),
        false_alarms_high=float(np.quantile(rates, 0.975)),
        power=float(reaches(p[kin], alpha).mean()),
    )


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
