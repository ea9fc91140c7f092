"""Survey: which of many models are kin of which? All pairs against unrelated pairs, at a false discovery rate.

Nothing is accused beforehand. Each pair is compared among models of other lineages, as a verdict on kinship compares
its pair; its p-value is its rank among pairs that are known to be unrelated, and what stands is corrected for all pairs
that were asked about. No verdict word is made here: a pair that stands is closer than strangers are, by whatever way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from harness.inference.assessment import Probes
from harness.inference.branches import Branch, Group, branches, drawn, groups, square, weighted_means
from harness.inference.excess import TINY, additive_residuals, mean_over_prompts, prompt_noise, reaches
from harness.inference.findings import MISMATCHES, NAN, Caveat, Settings
from harness.inference.nuisance import excess_of_first
from harness.inference.pool import COPY, ENOUGH, KEPT, Model, pool_for, restrict
from harness.records import ControlRule, Similarity

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Standard = Literal["references", "other makers", "none"]
"""What the pairs are that a pair is ranked among: those of controls, where there are none those of candidates, or of
any two known makers, where no control and no candidate is named. With none of these there are no p-values."""
Relation = Literal["asked", "unrelated", "kin", "not asked"]
"""What is known of a pair: nothing, so it is asked; that it is unrelated, so it is what others are ranked among; that
it is of one lineage, by the config; or that it is no stranger and nobody's question, as two controls of one maker."""
YARDSTICKS = 3  # models beside a pair: in a pool of four, opposite pairs have one residual
Resemblance = Callable[[Model, Model, Sequence[Model]], Sequence[Caveat]]


@dataclass(frozen=True)
class Design:
    """What a survey asks, known before any call: the relation of each pair, by index, and what pairs are ranked among.

    ``models`` are those of the survey, with the role that each has beside a pair: "control" for a yardstick, of which
    those count that ``rule`` says.
    """

    models: tuple[Model, ...]
    standard: Standard
    relations: Mapping[tuple[int, int], Relation]
    rule: ControlRule

    def count(self, relation: Relation) -> int:
        """How many pairs are of one relation."""
        return sum(r == relation for r in self.relations.values())


@dataclass(frozen=True)
class SurveyedPair:
    """One pair of a survey: ``excess`` in units of the spread of unrelated pairs, ``p`` its rank among these, ``q`` the
    false discovery rate at which it stands, ``support`` the share of resampled prompts in which it is as close.

    ``group`` is the number of its group, 0 if it stands in none. ``withheld`` says why a pair does not stand that q
    would let stand.
    """

    a: str
    b: str
    relation: Relation
    excess: float
    p: float = NAN
    q: float = NAN
    support: float = NAN
    stands: bool = False
    group: int = 0
    withheld: Caveat | None = None


@dataclass(frozen=True)
class Survey:
    """What a survey found. ``matrix`` (n, n) is the excess of all pairs of ``names``, NaN on the diagonal; where most
    answers of a pair are copies, no larger than that of the closest other pair.

    ``alpha`` is the false discovery rate, ``unrelated`` counts the pairs that others are ranked among, ``asked`` those
    that have a p-value, ``fewest`` how many must be closer than every unrelated pair before any stands. Of ``kin``
    pairs that the config calls kin, ``kin_found`` are as close as those that stand: a positive control.
    """

    models: tuple[Model, ...]
    matrix: Floats
    pairs: tuple[SurveyedPair, ...]
    groups: tuple[Group, ...]
    branches: tuple[Branch, ...]
    standard: Standard
    alpha: float
    unrelated: int
    asked: int
    fewest: int
    kin: int
    kin_found: int
    prompts: int
    channels: tuple[str, ...]
    caveats: tuple[Caveat, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Models in the order of the matrix."""
        return tuple(m.name for m in self.models)

    @property
    def standing(self) -> list[SurveyedPair]:
        """Pairs that stand, the closest first."""
        return sorted((p for p in self.pairs if p.stands), key=lambda p: -p.excess)


def design(models: Sequence[Model], rule: ControlRule) -> Design:
    """Which pairs a survey asks about, and which are known to be unrelated.

    Parameters
    ----------
    models : sequence of Model
        Suspects are of unknown relation to all but controls. Candidates and relatives are kin of their own lineage,
        and strangers to other lineages of other makers. Controls are strangers to all of another lineage and maker.
    rule : {"one a maker", "every lineage"}
        With the second, models of one maker and two lineages are strangers, too.

    Returns
    -------
    Design

    Examples
    --------
    Two suspects and four controls: one question, and 14 pairs to rank it among. Without roles, makers must do:

    >>> named = [Model("s", "suspect", None), Model("t", "suspect", None, "A")]
    >>> found = design([*named, *(Model(f"k{i}", "control", f"k{i}", f"K{i}") for i in range(4))], "one a maker")
    >>> found.standard, found.count("asked"), found.count("unrelated")
    ('references', 1, 14)
    >>> found = design([*named, *(Model(f"k{i}", "suspect", None, f"K{i}") for i in range(4))], "one a maker")
    >>> found.standard, found.count("asked"), found.count("unrelated")
    ('other makers', 5, 10)
    """
    by_maker = rule == "one a maker"
    has_controls = any(m.role == "control" for m in models)
    references = {"control"} if has_controls else {"candidate", "relative"}
    standard: Standard = "references"
    yardsticks = [m.role in references and m.lineage is not None for m in models]
    if has_controls:
        yardsticks = [m.role == "control" for m in models]
    if _stands(models, yardsticks) <= YARDSTICKS:
        yardsticks = [not has_controls and bool(m.makers) for m in models]
        standard = "other makers" if _stands(models, yardsticks, by_maker=True) > YARDSTICKS + 1 else "none"
        yardsticks = [y or standard == "none" for y in yardsticks]
    cast = tuple(replace(m, role="control" if y else "other") for m, y in zip(models, yardsticks, strict=True))
    relations = {
        (i, j): _relation(a, b, standard, by_maker=by_maker)
        for j, b in enumerate(models)
        for i, a in enumerate(models[:j])
    }
    return Design(cast, standard, relations, rule if standard == "references" else "one a maker")


def _stands(models: Sequence[Model], chosen: Sequence[bool], *, by_maker: bool = False) -> int:
    """Lineages or makers among some models."""
    some = [m for m, c in zip(models, chosen, strict=True) if c]
    return len({min(m.makers) if by_maker else m.root for m in some})


def _relation(a: Model, b: Model, standard: Standard, *, by_maker: bool) -> Relation:
    if a.lineage is not None and a.lineage == b.lineage:
        return "kin"
    apart = not (by_maker and a.makers & b.makers)
    if standard == "references":
        roles = {a.role, b.role}
        if "control" in roles or "suspect" not in roles:
            return "unrelated" if apart else "not asked"
        return "asked"
    if standard == "other makers" and a.makers and b.makers and not a.makers & b.makers:
        return "unrelated"
    return "asked"


def fewest_discoveries(asked: int, unrelated: int, alpha: float) -> int:
    """Fewest pairs that must be closer than every unrelated pair before any can stand: the price of many questions.

    Parameters
    ----------
    asked : int
        Pairs that are asked about.
    unrelated : int
        Pairs that they are ranked among: the smallest p-value is one over their number and one.
    alpha : float
        False discovery rate (Benjamini and Hochberg).

    Returns
    -------
    int
        More than ``asked`` where nothing can stand.

    Examples
    --------
    >>> fewest_discoveries(asked=300, unrelated=520, alpha=0.05), fewest_discoveries(40, 700, 0.05)
    (12, 2)
    """
    return ceil(asked / ((unrelated + 1) * alpha) - 1e-9)


def survey(
    models: Sequence[Model],
    similarities: Sequence[Similarity],
    settings: Settings,
    probes: Probes = lambda names, channels: {},
    resemblance: Resemblance = lambda a, b, models: (),
) -> Survey | None:
    """Kinship of all pairs of many models, with p-values, a false discovery rate, groups and a tree with support.

    Parameters
    ----------
    models : sequence of Model
        Every model of the campaign; what each pair is to the survey is said by `design`.
    similarities : sequence of Similarity
        One a channel, values (p, m, m). Channels that few models answered are left out, then models with gaps.
    settings : Settings
        ``alpha`` is the false discovery rate, ``bootstrap`` the rounds over prompts behind every support.
    probes : function from names of models and of channels to probes by channel
        Their placebos are subtracted, as for kinship.
    resemblance : function from a pair and all models to caveats
        A pair that would stand is withheld where a caveat says that strangers would look so, too.

    Returns
    -------
    Survey or None
        None if fewer than three models can be compared.

    See Also
    --------
    harness.inference.kinship.kinship : One pair that was named beforehand: far fewer controls do.

    Notes
    -----
    The excess of a pair is that of `harness.inference.excess.excess` in its own pool: the two, and one model of every
    other lineage and maker among the yardsticks, as in `pool_for`. No third model of unknown relation is in it, so kin
    of the pair cannot hide it. It is divided by sqrt((m - 3) / (m - 1)), the standard deviation that the fit leaves
    a pair of a pool of m, so that pools of different sizes can be compared.

    p is (1 + unrelated pairs at least as close) / (1 + unrelated pairs): a conformal p-value. Benjamini and Hochberg
    (1995) hold the false discovery rate for such p-values, which share their reference and so are positively dependent
    (Bates et al. 2023), if the pairs themselves are; those with a model in common are not known to be. What is realised
    was measured instead (`python -m benchmarks.survey`). Benjamini and Yekutieli (2001) hold under any dependence and
    ask for about seven times the unrelated pairs, with which no survey of a usual size finds anything.
    """
    counted, kept, caveats = _usable(models, similarities, settings.min_coverage)
    if not counted or len(kept) < YARDSTICKS:
        return None
    plan = design(kept, settings.controls)
    at = np.array(list(plan.relations), dtype=np.int64)
    relations = np.array(list(plan.relations.values()))
    measured = probes([m.name for m in kept], [s.channel for s in counted])
    rows = [_measured(s, measured, plan, at, _copied(similarities, s, kept)) for s in counted]
    null = relations == "unrelated"
    weights = _reliabilities(rows)
    sizes = [_size(r.excess[null] if null.any() else r.excess) for r in rows]
    score = np.average([r.excess / z for r, z in zip(rows, sizes, strict=True)], axis=0, weights=weights)
    judged = np.where(np.all([r.enough for r in rows], axis=0), score, np.nan)
    p, q = _ranked(judged, relations, plan.standard)
    hit = reaches(q, settings.alpha)
    withheld = {
        int(i): c for i in np.flatnonzero(hit) if (c := _mismatch(resemblance, plan, kept, *at[i].tolist())) is not None
    }
    withheld |= {
        int(i): Caveat("only copies", names=(kept[at[i, 0]].name, kept[at[i, 1]].name), values=r.copies[:, i].tolist())
        for r in rows for i in np.flatnonzero(~r.enough & np.isfinite(score))
    }  # fmt: skip
    stands = hit & ~np.isin(np.arange(len(at)), list(withheld))
    edge = float(np.min(judged[hit])) if hit.any() else NAN
    rng = np.random.default_rng(settings.seed)
    draws = np.average(
        [r.resampled(settings.bootstrap, rng) / z for r, z in zip(rows, sizes, strict=True)], axis=0, weights=weights
    )
    shown = np.minimum(score, np.nanmax(judged)) if np.isfinite(judged).any() else score
    matrix = square(shown, at, len(kept))
    found = groups(matrix.shape[0], at[stands], draws >= edge, at)
    support = np.where(np.isfinite(score), (draws >= edge).mean(0), np.nan) if hit.any() else np.full(len(at), np.nan)
    number = {i: g for g, group in enumerate(found, 1) for i in group.members}
    pairs = tuple(
        SurveyedPair(
            kept[i].name, kept[j].name, plan.relations[i, j], float(score[n]), float(p[n]), float(q[n]),
            float(support[n]), bool(stands[n]), number.get(i, 0) if stands[n] else 0, withheld.get(n),
        )
        for n, (i, j) in enumerate(at.tolist())
    )  # fmt: skip
    asked, unrelated = int(np.isfinite(q).sum()), int(np.isfinite(judged[null]).sum())
    kin = p[relations == "kin"]
    return Survey(
        models=kept,
        matrix=matrix,
        pairs=pairs,
        groups=found,
        branches=branches(matrix, [square(np.minimum(d, np.nanmax(shown)), at, len(kept)) for d in draws]),
        standard=plan.standard,
        alpha=settings.alpha,
        unrelated=unrelated,
        asked=asked,
        fewest=fewest_discoveries(asked, unrelated, settings.alpha),
        kin=int(np.isfinite(kin).sum()),
        kin_found=int((kin <= np.max(p[hit], initial=0.0)).sum()),
        prompts=len({x for s in counted for x in s.prompts}),
        channels=tuple(s.channel for s in counted),
        caveats=caveats,
    )


def _usable(
    models: Sequence[Model], similarities: Sequence[Similarity], least: float
) -> tuple[list[Similarity], tuple[Model, ...], tuple[Caveat, ...]]:
    """Channels that most models answered, the models that cover all of them, and who was left out for gaps.

    Which channel joins hangs on gaps alone, so no rank does.
    """
    share = {
        s.channel: {m.name: float(np.nan_to_num(s.coverage[s.models.index(m.name)])) for m in models}
        for s in similarities
        if s.sees in ("weights", "text")
    }
    covered = {channel: {n for n, v in by.items() if v >= least} for channel, by in share.items()}
    most = max(map(len, covered.values()), default=0)
    joined: list[str] = []
    names = {m.name for m in models}
    for channel in sorted(covered, key=lambda c: -len(covered[c])):
        if len(left := names & covered[channel]) >= max(YARDSTICKS, KEPT * most):
            names = left
            joined.append(channel)
    worst = {m.name: min((share[c][m.name] for c in joined), default=0.0) for m in models}
    kept = sorted((m for m in models if m.name in names), key=lambda m: -worst[m.name])
    gone = tuple(n for n in worst if n not in names)
    notes = (Caveat("models left out", names=gone, values=(least,)),) if gone else ()
    return [s for s in similarities if s.channel in joined], tuple(kept), notes


@dataclass(frozen=True)
class _Measured:
    """One channel on q pairs: residuals (p, q) in units of noise, and what was taken out of their means (q,).

    ``enough`` (q,) says of which pairs so many answers are no copies that they can be judged; ``copies`` (2, q) counts
    copied answers, and all.
    """

    series: Floats
    shift: Floats
    enough: Bools
    copies: NDArray[np.int64]

    @property
    def excess(self) -> Floats:
        """Excess of each pair, (q,); NaN where there is none."""
        (all_prompts,) = self._means(np.ones((1, len(self.series))))
        return np.asarray(all_prompts)

    def halves(self) -> tuple[Floats, Floats]:
        """The same on even and on odd prompts."""
        even = (np.arange(len(self.series)) % 2 == 0).astype(np.float64)
        one, other = self._means(np.array([even, 1.0 - even]))
        return one, other

    def resampled(self, rounds: int, rng: np.random.Generator) -> Floats:
        """The same on prompts drawn with replacement, (rounds, q): all pairs on the same ones."""
        return self._means(drawn(len(self.series), rounds, rng))

    def _means(self, weights: Floats) -> Floats:
        return weighted_means(self.series, weights) + self.shift


def _measured(
    s: Similarity, measured: Mapping[str, object], plan: Design, at: NDArray[np.int64], copied: Bools
) -> _Measured:
    """Every pair in its own pool."""
    probe = measured.get(s.channel)
    placebos: Sequence[Similarity] = getattr(probe, "placebo", ())
    series, shift = np.full((len(s.prompts), len(at)), np.nan), np.full(len(at), np.nan)
    for n, (i, j) in enumerate(at.tolist()):
        names = _pool(plan, i, j)
        if len(names) < 2 + YARDSTICKS:
            continue
        residuals = additive_residuals(restrict(s, names))
        size = sqrt((len(names) - 3) / (len(names) - 1))
        series[:, n] = residuals[:, 0, 1] / (prompt_noise(residuals) * size)
        excess = excess_of_first(residuals, s.sees)
        for placebo in placebos:
            moved = additive_residuals(restrict(placebo, names))
            excess -= excess_of_first(moved, "text") / len(placebos)
        with np.errstate(invalid="ignore"):
            shift[n] = excess / size - np.nanmean(series[:, n]) if np.isfinite(series[:, n]).any() else np.nan
    own = copied[:, at[:, 0], at[:, 1]]
    seen = np.isfinite(series)
    enough = (seen & ~own).sum(0) >= min(ENOUGH, len(s.prompts) / 2)
    copies = np.array([(seen & own).sum(0), seen.sum(0)])
    return _Measured(np.where(own & enough, np.nan, series), shift, enough, copies)


def _pool(plan: Design, i: int, j: int) -> tuple[str, ...]:
    """A pair and its yardsticks: one a lineage, and by default one a maker and none of the pair's own."""
    a, b = plan.models[i], plan.models[j]
    others = [m for m in plan.models if m.name not in (a.name, b.name)]
    return pool_for(replace(a, role="suspect"), replace(b, role="candidate"), others, [], 0.0, plan.rule).names


def _copied(similarities: Sequence[Similarity], s: Similarity, models: Sequence[Model]) -> Bools:
    """Which answers two models share word for word, on the prompts of a channel, (p, n, n)."""
    names = [m.name for m in models]
    out = np.zeros((len(s.prompts), len(names), len(names)), dtype=bool)
    verbatim = next((v for v in similarities if v.channel == "verbatim"), None)
    if verbatim is not None:
        row = {p: i for i, p in enumerate(verbatim.prompts)}
        shared = [(k, row[p]) for k, p in enumerate(s.prompts) if p in row]
        if shared:
            here, there = (list(x) for x in zip(*shared, strict=True))
            out[here] = restrict(verbatim, names)[there] >= COPY
    return out


def _ranked(score: Floats, relations: NDArray[np.str_], standard: Standard) -> tuple[Floats, Floats]:
    """p of every pair that is asked or known to be kin, and q of those asked; (q,) each, NaN elsewhere."""
    p, q = np.full(len(score), np.nan), np.full(len(score), np.nan)
    null = np.sort(score[(relations == "unrelated") & np.isfinite(score)])
    if standard == "none" or not len(null):
        return p, q
    told = np.isin(relations, ("asked", "kin")) & np.isfinite(score)
    p[told] = conformal_p(score[told], null)
    asked = told & (relations == "asked")
    if asked.any():
        q[asked] = false_discovery_control(p[asked], method="bh")
    return p, q


def conformal_p(scores: ArrayLike, null: ArrayLike) -> Floats:
    """Conformal p-values: the share of null scores at least as large, the score itself counted among them.

    Examples
    --------
    >>> conformal_p([3.0, 0.5], null=[0.0, 1.0, 0.5]).tolist()
    [0.25, 0.75]
    """
    s, n = np.asarray(scores, dtype=np.float64), np.sort(np.asarray(null, dtype=np.float64))
    out: Floats = (1 + len(n) - np.searchsorted(n, s - 1e-12, side="left")) / (1 + len(n))
    return out


def _mismatch(resemblance: Resemblance, plan: Design, models: Sequence[Model], i: int, j: int) -> Caveat | None:
    """The first condition that a pair shares and most of its yardsticks lack."""
    cast = [replace(m, role=c.role) for m, c in zip(models, plan.models, strict=True)]
    others = [m for n, m in enumerate(cast) if n not in (i, j)]
    found = resemblance(replace(cast[i], role="suspect"), replace(cast[j], role="candidate"), others)
    return next((c for c in found if c.kind in MISMATCHES), None)


def _reliabilities(rows: Sequence[_Measured]) -> Floats:
    """Split-half reliability of each channel over all pairs, stepped up to full length; weights that sum to 1."""
    found = []
    for r in rows:
        one, other = r.halves()
        both = np.isfinite(one) & np.isfinite(other)
        spread = both.sum() > 2 and min(np.std(one[both]), np.std(other[both])) > TINY
        half = max(float(np.corrcoef(one[both], other[both])[0, 1]), 0.0) if spread else 0.0
        found.append(2.0 * half / (1.0 + half))
    weights = np.array(found)
    out: Floats = weights / weights.sum() if weights.sum() > 0 else np.full(len(rows), 1.0 / len(rows))
    return out


def _size(excess: Floats) -> float:
    return max(float(np.sqrt(mean_over_prompts(excess**2))), TINY)
