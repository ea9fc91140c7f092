"""Attribution by pairing: which known models answer the same prompts as the suspect does, or none of them.

The score of a known model is its `excess` with the suspect, as z in the pairs of known models of different makers, less
half of that of the best model of another maker: what resembles everybody of its time stands out against nobody. Its
null is what the known models score among themselves, each as if it were the suspect, joined by a table that was
measured on other models and travels. Figures: `python -m benchmarks.which`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.inference.excess import TINY, additive_residuals, excess_of, reaches
from harness.inference.findings import NAN, UNKNOWN, Attribution, Caveat, Match, NullRule, Tier
from harness.inference.pool import Model

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Recorded = Mapping[str, tuple[str, str]]
RIVAL = 0.5  # of the best z of another maker that is taken off; chosen on AlpacaEval, see `benchmarks.which`
CARRIED = 80  # known lineages that the table counts as, beside the suspect's own null
LEAST_MODELS = 4  # for an additive fit
LEAST_SHARED = 0.5  # of the suspect's prompts that a known model must have answered
MOST_PROMPTS = 400  # beyond which nothing gets steadier


@dataclass(frozen=True, eq=False)
class NullTable:
    """Scores of models that are none of the known ones, measured on other models, on a grid of lineages and prompts.

    ``scores`` (r, n, t) are what a share ``tails`` of unknown models, one of each lineage, reaches with a known one of
    another maker; another model of their own maker may be known. They are linear in the logarithm of both numbers; more
    of either is read at the edge. ``kin`` is the score from which a named model is told as itself or close kin, and not
    as something of its maker.

    Examples
    --------
    >>> table = NullTable.shipped()
    >>> bool(table.tail(np.array([9.0]), 19, 100)[0] < 0.02 < table.tail(np.array([1.0]), 19, 100)[0])
    True
    """

    lineages: tuple[int, ...]
    prompts: tuple[int, ...]
    tails: tuple[float, ...]
    scores: Floats
    kin: float
    about: Mapping[str, Any] = field(default_factory=dict)

    def tail(self, scores: Floats, n_lineages: int, n_prompts: int) -> Floats:
        """Share of unknown models with a score as high; not under the smallest of ``tails``, nor over the largest."""
        at = np.einsum("r,n,rnt->t", *self._weights(n_lineages, n_prompts), self.scores)
        out: Floats = np.exp(np.interp(scores, at, np.log(self.tails)))
        return out

    def knows(self, n_lineages: int, n_prompts: int) -> bool:
        """Whether it was measured for so few."""
        return n_lineages >= self.lineages[0] and n_prompts >= self.prompts[0]

    def _weights(self, n_lineages: int, n_prompts: int) -> tuple[Floats, Floats]:
        return _between(self.lineages, n_lineages), _between(self.prompts, n_prompts)

    def to_json(self) -> str:
        """Write the table as JSON."""
        grids = {"scores": self.scores.round(3).tolist(), "kin": round(self.kin, 3)}
        axes = {"lineages": self.lineages, "prompts": self.prompts, "tails": self.tails}
        return json.dumps({**axes, **grids, "about": dict(self.about)}, indent=1) + "\n"

    @classmethod
    def shipped(cls) -> Self:
        """The table that comes with the project."""
        raw = json.loads(
            (files("harness.inference") / "calibrations" / "attribution-wording-1.json").read_text("utf-8")
        )
        lineages, prompts, tails = (tuple(raw[name]) for name in ("lineages", "prompts", "tails"))
        return cls(lineages, prompts, tails, np.array(raw["scores"]), raw["kin"], raw["about"])


@cache
def shipped_table() -> NullTable:
    """`NullTable.shipped`, read once."""
    return NullTable.shipped()


def _between(knots: tuple[int, ...], value: int) -> Floats:
    x, grid = np.log(value), np.log(np.array(knots, dtype=np.float64))
    return np.array([np.interp(x, grid, row) for row in np.eye(len(knots))])


@dataclass(frozen=True)
class Pairing:
    """How one suspect compares with k known models. All arrays are (k,), in their order.

    ``z`` is the excess as z, -inf where too little was answered by both; ``score`` less that of the best other maker;
    ``p_own`` the rank of the score among those of known lineages (conformal), ``p_carried`` that in the table, ``p``
    of both together. ``named`` are the known models that pass, closest first, as ``tier`` says. ``null`` (lineages,) is
    what known models score among themselves.
    """

    z: Floats
    score: Floats
    p_own: Floats
    p_carried: Floats
    p: Floats
    named: tuple[int, ...]
    tier: Tier
    null: Floats
    prompts: int

    @property
    def lineages(self) -> int:
        """Known lineages behind the null."""
        return len(self.null)


@dataclass(frozen=True, eq=False)
class Scored:
    """z of the suspect with the ``used`` ones of so many known ``models``, and of these ``among`` themselves, (k, k),
    with which are of one maker or lineage; ``null`` (lineages,) as in `Pairing`, on so many ``prompts``."""

    models: int
    used: Ints
    z: Floats
    among: Floats
    same: Bools
    null: Floats
    prompts: int

    @property
    def scores(self) -> Floats:
        """z of each less half of the best of another maker, (k,)."""
        return contrast(self.z, self.same)


def pairing(
    values: NDArray[np.floating],
    suspect: int,
    known: Sequence[int],
    lineages: Sequence[str],
    makers: Sequence[frozenset[str]],
    alpha: float,
    table: NullTable | None = None,
) -> Pairing | None:
    """Compare one suspect with the known models on the prompts that it answered.

    Parameters
    ----------
    values : (p, m, m) similarities by prompt
        NaN on the diagonal and where a model did not answer.
    suspect : int
    known : sequence of k ints
        Models that it may be.
    lineages : (m,) str
        Models of one lineage count once in the null.
    makers : (m,) sets of names
        Two models with one in common are of one maker; an empty set is a maker of its own.
    alpha : float
        Significance level against "none of these".
    table : NullTable, optional
        By default the one that ships.

    Returns
    -------
    Pairing, or None
        None with fewer lineages or prompts than the table was measured for.

    Notes
    -----
    p = (1 + known lineages that score as high + `CARRIED` x tail of the table) / (1 + lineages + `CARRIED`): conformal
    with the table as further known lineages, so that one look-alike among the known ones does not hide every match. The
    rank alone (`p_own`) cannot be under 1 / (1 + lineages). After the best, others are named by the same test without
    it as a rival: a merge has several parents. One of another maker that is closer to a named model than to the suspect
    is explained by that.

    Examples
    --------
    Twenty known models and a suspect that is close to the fourth:

    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(0.0, 0.05, (60, 21, 21))
    >>> values = 0.3 + (noise + noise.transpose(0, 2, 1)) / 2
    >>> values[:, [3, 20], [20, 3]] += 0.1
    >>> values[:, range(21), range(21)] = np.nan
    >>> names = [f"m{i}" for i in range(21)]
    >>> found = pairing(values, 20, range(20), names, [frozenset([n]) for n in names], alpha=0.05)
    >>> found.named, found.tier, round(float(found.p_own[3]), 3), bool(found.p[3] < 0.05)
    ((3,), 'model', 0.048, True)
    """
    found = scored(values, suspect, known, lineages, makers)
    return None if found is None else decide(found, alpha, shipped_table() if table is None else table)


def scored(
    values: NDArray[np.floating],
    suspect: int,
    known: Sequence[int],
    lineages: Sequence[str],
    makers: Sequence[frozenset[str]],
) -> Scored | None:
    """Scores of one suspect as `pairing` has them, before any table is asked; None if no known model is comparable."""
    every = np.asarray(values)
    rows = np.flatnonzero(np.isfinite(every[:, suspect]).any(1))
    if len(rows) > MOST_PROMPTS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_PROMPTS).astype(np.int64)]
    refs = np.asarray(known, dtype=np.int64)
    answered = np.isfinite(every[rows, suspect][:, refs]).sum(0)
    used = np.flatnonzero(answered >= max(1.0, LEAST_SHARED * len(rows)))
    if len(used) < LEAST_MODELS:
        return None
    shown = [int(i) for i in used]
    pool = np.r_[refs[used], suspect]
    mine = np.asarray(every[np.ix_(rows, pool, pool)], dtype=np.float64)
    groups = [lineages[known[i]] for i in shown]
    houses = [makers[known[i]] for i in shown]
    z, among, same = _standardised(mine, groups, houses)
    first = [groups.index(x) for x in dict.fromkeys(groups)]
    return Scored(len(known), used, z, among, same, _null(among, same, first), len(rows))


def decide(s: Scored, alpha: float, table: NullTable) -> Pairing | None:
    """What a table and alpha make of scores; None where it was not measured for so few lineages or prompts."""
    size = (len(s.null), s.prompts)
    if not table.knows(*size):
        return None

    def tested(named: Sequence[int]) -> tuple[Floats, Floats, Floats, Floats]:
        score = contrast(s.z, s.same, named)
        reached = (s.null[:, None] >= score - TINY).sum(0)
        carried = table.tail(score, *size)
        p = (1.0 + reached + CARRIED * carried) / (1.0 + len(s.null) + CARRIED)
        return score, (1.0 + reached) / (1.0 + len(s.null)), carried, p

    first = tested(())
    named: list[int] = []
    while passing := [i for i in _passing(tested(named), alpha, named) if not _explained(s, i, named)]:
        named.append(passing[0])
    kin = bool(named) and first[0][named[0]] >= table.kin
    tier: Tier = "model" if kin else "maker" if named else "none"
    fills = (-np.inf, -np.inf, 1.0, 1.0, 1.0)
    z, score, own, carried, p = (_spread(s.models, s.used, x, f) for x, f in zip((s.z, *first), fills, strict=True))
    return Pairing(z, score, own, carried, p, tuple(int(s.used[i]) for i in named), tier, s.null, s.prompts)


def _passing(tests: tuple[Floats, Floats, Floats, Floats], alpha: float, named: Sequence[int]) -> list[int]:
    score, *_, p = tests
    return [int(i) for i in np.argsort(-score, kind="stable") if i not in named and reaches(p[i], alpha)]


def _explained(s: Scored, i: int, named: Sequence[int]) -> bool:
    """A known model of another maker that is closer to one already named than to the suspect."""
    return any(s.among[i, n] > s.z[i] and not s.same[i, n] for n in named)


def paired(
    plain: Attribution, found: Pairing | None, known: Sequence[Model], alpha: float, recorded: Recorded | None = None
) -> Attribution:
    """An attribution by the text classifier, decided by pairing where answers to the same prompts could be compared.

    Parameters
    ----------
    plain : Attribution
        Its probabilities among the known models stay; without a pairing its decision does, too.
    found : Pairing, or None
    known : sequence of k Model
        In the order of the pairing.
    alpha : float
    recorded : mapping from name to the times of the first and the last answer, optional

    Returns
    -------
    Attribution
    """
    matches = tuple(_match(i, m, plain, found, recorded or {}) for i, m in enumerate(known))
    if found is None:
        return replace(plain, matches=matches)
    named = tuple(known[i].name for i in found.named)
    place = found.named[0] if named else int(found.score.argmax())
    floor = p_smallest(found.lineages)
    needed = int(np.ceil(1.0 / alpha)) - 1
    rule: NullRule = "conformal" if found.lineages >= needed else "carried"
    few = None if reaches(floor, alpha) else Caveat("too few known lineages", values=(needed, alpha))
    return replace(
        plain, best=named[0] if named else UNKNOWN, p_unknown=float(found.p[place]), p_floor=floor, caveat=few,
        tier=found.tier, named=named, rule=rule, lineages=found.lineages, prompts=found.prompts, matches=matches,
    )  # fmt: skip


def _match(i: int, m: Model, plain: Attribution, found: Pairing | None, recorded: Recorded) -> Match:
    blank = Match(
        m.name, m.lineage or "", m.maker or "", plain.probabilities.get(m.name, NAN),
        recorded=recorded.get(m.name, ("", "")),
    )  # fmt: skip
    if found is None or not np.isfinite(found.z[i]):
        return blank
    z, score, p, own, carried = (float(x[i]) for x in (found.z, found.score, found.p, found.p_own, found.p_carried))
    return replace(blank, z=z, score=score, p=p, p_conformal=own, p_carried=carried)


def p_smallest(n_lineages: int, table: NullTable | None = None) -> float:
    """The smallest p of `pairing` with so many known lineages."""
    least = (shipped_table() if table is None else table).tails[-1]
    return (1.0 + CARRIED * least) / (1.0 + n_lineages + CARRIED)


def _spread(size: int, at: Ints, values: Floats, fill: float) -> Floats:
    out = np.full(size, fill)
    out[at] = values
    return out


def _standardised(
    mine: Floats, lineages: Sequence[str], makers: Sequence[frozenset[str]]
) -> tuple[Floats, Floats, Bools]:
    """z of the suspect, who is last, with each known model, (k,); of these without it, (k, k); of one maker, (k, k)."""
    told = list(zip(lineages, makers, strict=True))
    same = np.array([[a == b or bool(x & y) for b, y in told] for a, x in told])
    among = excess_of(additive_residuals(mine[:, :-1, :-1]))
    own = excess_of(additive_residuals(mine))[-1, :-1]
    strangers = among[~same & np.isfinite(among)]
    mean, spread = (float(strangers.mean()), float(strangers.std())) if len(strangers) else (0.0, 1.0)
    return _finite((own - mean) / max(spread, TINY)), _finite((among - mean) / max(spread, TINY)), same


def _finite(z: Floats) -> Floats:
    """-inf where nothing could be compared."""
    return np.where(np.isfinite(z), z, -np.inf)


def contrast(z: Floats, same: Bools, named: Sequence[int] = ()) -> Floats:
    """z (k,) of each known model less `RIVAL` of the best of another maker, those already ``named`` left out.

    Examples
    --------
    >>> contrast(np.array([4.0, 2.0, 1.0]), np.eye(3, dtype=bool)).tolist()
    [3.0, 0.0, -1.0]
    """
    rivals = np.where(same, -np.inf, z[None, :])
    rivals[:, list(named)] = -np.inf
    best = np.maximum(rivals.max(1, initial=-np.inf), 0.0)
    out: Floats = z - RIVAL * best
    return out


def _null(among: Floats, same: Bools, first: Sequence[int]) -> Floats:
    """Best score of one model of each lineage with models of other makers, as if it were unknown, (lineages,)."""
    out = []
    for i in first:
        strangers = ~same[i]
        score = contrast(among[i][strangers], same[np.ix_(strangers, strangers)])
        out.append(float(score.max(initial=-np.inf)))
    return np.array(out)
