"""Group-sequential stopping: stages of a growing campaign, alpha spent over them, and whether to stop at one.

A stage is the campaign as it would stand if only the prompts asked so far had been planned. The error rate holds for
all stages together, by construction: see `crossed` for ranks and labels, and `earliest` for any p-value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.inference.excess import reaches
from harness.inference.findings import NAN, Finding, Stop, StopRule

Floats = NDArray[np.float64]
Ranked = tuple[tuple[str, ...], Floats]  # names of a pool, the accused pair first, and the scores of all its pairs
Pair = tuple[str, str]  # names of suspect and candidate
UNRANKED: Ranked = ((), np.zeros((0, 0)))  # a stage at which a pair could not be compared
OUTSTANDING = 4.0  # robust standard deviations over the median: less is no reason to stop before the last stage
FUTILE, HOPEFUL = 0.25, 32.0  # p to give up at once 24 prompts are asked; sooner only from 1 - prompts / 32 on
LAST_SHARE = 0.5  # of alpha that `earliest` keeps for the last stage
ROUNDING = 1e-9


@dataclass(frozen=True)
class Progress:
    """Where one pair stands in a campaign of stages.

    ``sizes`` are numbers of prompts, one a stage; ``stage`` is the index of this one. ``pools`` and ``p_values`` are
    what earlier stages found: the scores of all pairs of the pool, and p of identity. ``least`` prompts are needed
    before a likelihood ratio can be given. ``measured`` are channels of which it is known how much they find: where one
    of them sees weights, its silence may clear the pair.
    """

    sizes: tuple[int, ...]
    stage: int
    pools: tuple[Ranked, ...] = ()
    p_values: tuple[float, ...] = ()
    least: int = 0
    measured: frozenset[str] = frozenset()

    @property
    def last(self) -> bool:
        """Whether every prompt is asked."""
        return self.stage == len(self.sizes) - 1


def spent(alpha: float, stages: int) -> Floats:
    """Alpha-spending function: what of alpha may be spent by each stage, in equal steps.

    Parameters
    ----------
    alpha : float
        The share of one verdict.
    stages : int

    Returns
    -------
    (stages,) array
        Cumulative levels, the last of which is ``alpha`` (Lan and DeMets 1983, with the stage as the time).

    Examples
    --------
    >>> spent(0.05, 5).round(3).tolist()
    [0.01, 0.02, 0.03, 0.04, 0.05]
    """
    return alpha * np.arange(1, stages + 1) / stages


def crossed(scores: ArrayLike, levels: ArrayLike, margin: float = 0.0) -> tuple[int | None, float]:
    """Exact group-sequential rank test: at which stage does the first of N exchangeable members cross, and its p-value.

    Parameters
    ----------
    scores : (stages so far, N) array
        Of every member at each stage, larger = more unusual; the accused one first. Infinite where a member could not
        be compared, which is as unusual as can be; NaN where it was not there.
    levels : (stages,) array
        Cumulative levels of all stages, as `spent` gives them.
    margin : float
        Before the last stage only members that stand out by so many robust standard deviations over the median cross.

    Returns
    -------
    stage : int or None
        Index of the stage at which the first member crossed; None if it has not.
    p : float
        Share of members that crossed before it, or with it and as high. Not crossed: the share of those that crossed,
        and of those of the rest that are at least as high at the last stage so far.

    Notes
    -----
    At stage j the highest of those that have not crossed cross, until so many have crossed in all as levels[j] * N
    allows; one may from the first stage on, if the last level allows one at all. Ties cross together or not at all.
    Nothing in this knows who is accused, and under the null each member is the accused one with probability 1 / N given
    all scores of all stages. So it crosses with probability (members crossed) / N <= levels[-1], for any stages and
    however they depend. A member that leads at many stages costs once, where Bonferroni over stages counts it at each.
    The argument is that of exact permutation tests in group-sequential trials (Mehta, Patel, Senchaudhuri and Tsiatis
    1994). A p-value up to the last level is exact, in the order of crossing; above, it describes and no more.

    Examples
    --------
    Twenty members, of which the first leads from the second stage on; two may cross, the other at the first stage:

    >>> import numpy as np
    >>> scores = np.tile(np.arange(20.0), (3, 1))
    >>> ahead = scores + 100 * (np.arange(20) == 0) * np.array([[0], [1], [1]])
    >>> crossed(ahead, spent(0.10, 3))
    (2, 0.1)
    >>> crossed(scores, spent(0.10, 3))
    (None, 1.0)
    """
    table, limits = np.atleast_2d(np.asarray(scores, dtype=np.float64)), np.asarray(levels, dtype=np.float64)
    over = np.zeros(table.shape[1], dtype=bool)
    p = NAN
    for j, row in enumerate(table):
        there = ~np.isnan(row)
        room = _allowed(limits, j, int(there.sum())) - int(over.sum())
        left = np.where(over | ~there, -np.inf, row)
        reach = len(row) - np.searchsorted(np.sort(left), left - 1e-12)  # members at least as high, itself one
        p = float((over.sum() + reach[0]) / there.sum()) if there[0] else NAN
        crossing = ~over & there & (reach <= room)
        if margin and j < len(limits) - 1:
            crossing &= _stands_out(row, margin)
        if crossing[0]:
            return j, p
        over |= crossing
    return None, p


def _allowed(levels: Floats, stage: int, members: int) -> int:
    """How many of so many members may have crossed by a stage."""
    last, now = (int(levels[i] * members * (1.0 + ROUNDING) + ROUNDING) for i in (-1, stage))
    return max(now, min(1, last))


def _stands_out(row: Floats, margin: float) -> NDArray[np.bool_]:
    known = row[np.isfinite(row)]
    middle = float(np.median(known)) if len(known) else 0.0
    spread = 1.4826 * float(np.median(np.abs(known - middle))) if len(known) else 0.0
    with np.errstate(invalid="ignore"):
        return np.asarray(row - middle >= margin * spread)


def rank_p(names: Sequence[str], combined: Floats, progress: Progress, share: float, alpha: float) -> float:
    """p-value of the accused pair's rank in its pool, adjusted for all stages so far.

    Parameters
    ----------
    names : sequence of n names, the accused pair first
    combined : (n, n) scores of all pairs of the pool at this stage
    progress : Progress
    share : float
        What of ``alpha`` this verdict may spend.
    alpha : float
        The level of the campaign.

    Returns
    -------
    float
        At most ``share`` if the pair has crossed by now (`crossed`), above ``alpha`` if not: so that no correction for
        other verdicts makes one of what has not.
    """
    pools = (*progress.pools, (tuple(names), combined))
    accused = frozenset(names[:2])
    members = list({accused: None} | {m: None for pool in pools for m in _pairs(*pool)})
    scores = [[found.get(m, NAN) for m in members] for found in (_pairs(*pool) for pool in pools)]
    at, p = crossed(scores, spent(share, len(progress.sizes)), OUTSTANDING)
    if at is not None:
        return p
    n = len(_pairs(*pools[-1]))
    return max(p, (int(alpha * n * (1.0 + ROUNDING)) + 1) / n)


def _pairs(names: Sequence[str], matrix: Floats) -> dict[frozenset[str], float]:
    """Scores of all pairs by name; what could not be compared may be closer than all."""
    rows, columns = np.triu_indices(len(names), 1)
    values = np.where(np.isfinite(matrix), matrix, np.inf)[rows, columns]
    pairs = zip(rows.tolist(), columns.tolist(), values.tolist(), strict=True)
    return {frozenset((names[i], names[j])): v for i, j, v in pairs}


def earliest(p_values: Sequence[float], stages: int) -> float:
    """p-value over all stages so far, of a p-value at each: weighted Bonferroni, half of it for the last stage.

    Parameters
    ----------
    p_values : sequence of float
        One a stage, NaN where there was none.
    stages : int
        How many there are in all.

    Returns
    -------
    float
        min over stages of p / weight, at most 1. Valid at whatever stage one stops, for whatever reason: that it is
        ever at most u has probability u or less, as the weights sum to 1.

    Examples
    --------
    >>> earliest([0.2, 0.0005], stages=5), earliest([0.2, 0.2, 0.2, 0.2, 0.02], stages=5)
    (0.004, 0.04)
    """
    early = (1.0 - LAST_SHARE) / (stages - 1) if stages > 1 else 0.0
    weights = [early] * (stages - 1) + [LAST_SHARE if stages > 1 else 1.0]
    known = [p / w for p, w in zip(p_values, weights, strict=False) if p == p]
    return min(1.0, *known) if known else NAN


def hopeless(p: float, prompts: int) -> bool:
    """Whether a rank is so low after so many prompts that hardly any kin come back from there.

    It needs no correction: who gives up accuses nobody, and the level is kept by those who go on, too.

    Examples
    --------
    >>> [hopeless(0.6, n) for n in (8, 12, 16)], [hopeless(0.3, n) for n in (16, 24)]
    ([False, False, True], [False, True])
    """
    return p >= max(FUTILE, 1.0 - prompts / HOPEFUL)


def stop_at(f: Finding, progress: Progress) -> Stop:
    """Whether a judged finding stops here, and by which rule.

    Kinship stops when it is found and a likelihood ratio can be given, or when it is `hopeless` and no channel could
    clear the pair of a shared base when every prompt is asked. Identity stops when answers differ wherever they can be
    compared; that they are the same is only said when every prompt is asked. Any other question goes on to the last
    stage.
    """
    size = progress.sizes[progress.stage]
    rule: StopRule = "goes on"
    reached = reaches(f.p_adjusted, f.alpha) and f.judgement.decided
    if f.question == "kinship":
        found = reached and size >= progress.least
    else:
        found = reached and f.question == "identity" and f.judgement.ground == "answers differ"
    if found:
        rule = "found"
    elif progress.last:
        rule = "all asked"
    elif f.question == "kinship" and not reached and hopeless(f.p_stage, size) and not _may_clear(f, progress):
        rule = "futile"
    return Stop(rule, progress.stage + 1, len(progress.sizes), size, progress.sizes[-1])


def _may_clear(f: Finding, progress: Progress) -> bool:
    """Whether a channel counts whose silence may clear the pair: one that is cleared at an early stage may not stop
    there, as each stage would be another chance to be cleared."""
    able = (e for e in f.evidence if e.sees == "weights" and e.part == "counted" and e.channel in progress.measured)
    return any(able)


@dataclass(frozen=True, eq=False)
class History:
    """What earlier stages of a campaign found, pair by pair; see `Progress`."""

    sizes: tuple[int, ...]
    least: int = 0
    measured: frozenset[str] = frozenset()
    stage: int = 0
    pools: Mapping[Pair, tuple[Ranked, ...]] = field(default_factory=dict)
    p_values: Mapping[Pair, tuple[float, ...]] = field(default_factory=dict)

    def of(self, suspect: str, candidate: str) -> Progress:
        """Where one pair stands."""
        pair = (suspect, candidate)
        pools, p_values = self.pools.get(pair, ()), self.p_values.get(pair, ())
        return Progress(self.sizes, self.stage, pools, p_values, self.least, self.measured)

    def after(self, ranked: Mapping[Pair, Ranked], findings: Iterable[Finding]) -> History:
        """The history with one stage more: what each pair's pool ranked, and what identity found."""
        p_values = {(f.suspect, f.candidate): f.p_stage for f in findings if f.question == "identity"}
        pairs = {*self.pools, *ranked}
        tested = {*self.p_values, *p_values}
        return replace(
            self,
            stage=self.stage + 1,
            pools={k: (*self.pools.get(k, ()), ranked.get(k, UNRANKED)) for k in pairs},
            p_values={k: (*self.p_values.get(k, ()), p_values.get(k, NAN)) for k in tested},
        )
