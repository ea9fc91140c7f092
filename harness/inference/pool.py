"""Pool of a verdict: one suspect, one candidate, and the control models that stand for unrelated lineages."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.inference.findings import Caveat, CaveatKind
from harness.records import ControlRule, Similarity

KEPT = 0.8  # of the control lineages that a channel must leave in the pool
COPY = 0.8  # share of the shorter answer in common 16-word runs from which it counts as copied
TOLD = 0.8  # of the control lineages of which a condition is known, if most of them lack it: era, thinking
HALF = 0.5  # of the same: a limit, and a condition must be known of so many
MONTHS = 6  # between releases
ENOUGH = 25  # prompts without copies; with fewer, nothing is left to judge by


@dataclass(frozen=True)
class Model:
    """One model of a campaign as inference sees it: what is known of it, None where nothing is.

    ``released`` is YYYY-MM or YYYY, ``thinks`` whether it thinks before it answers, ``host`` where it is served,
    ``root_maker`` who made the pretrained root where that is another one than ``maker``,
    ``thinker`` whether its name is that of one that can think, asked to or not.
    """

    name: str
    role: str
    lineage: str | None
    maker: str | None = None
    released: str | None = None
    thinks: bool | None = None
    host: str | None = None
    root_maker: str | None = None
    thinker: bool = False

    @property
    def makers(self) -> frozenset[str]:
        """Who made it and who its root, letter case aside; empty where neither is known."""
        return frozenset(m.casefold() for m in (self.maker, self.root_maker) if m)

    @property
    def root(self) -> str:
        """Its lineage; a model of which that is unknown stands for one of its own."""
        return self.lineage or self.name


@dataclass(frozen=True)
class Pool:
    """Suspect, candidate and the controls that count, in this order.

    ``left_out`` says which fell out, and why. ``relatives`` are kin of the pair, named as such or by their makers: they
    are shown apart and never counted.
    """

    suspect: str
    candidate: str
    controls: tuple[Model, ...]
    left_out: tuple[Caveat, ...] = ()
    relatives: tuple[Model, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All models, suspect first, candidate second."""
        return (self.suspect, self.candidate, *(c.name for c in self.controls))

    @property
    def lineages(self) -> tuple[str, ...]:
        """Control lineages: the replicates behind a verdict."""
        return tuple(c.root for c in self.controls)


def pool_for(
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    similarities: Sequence[Similarity],
    min_coverage: float,
    rule: ControlRule = "one a maker",
) -> Pool:
    """Controls for one pair: one a lineage and one a maker, none of the pair's own lineages or makers.

    Models of one lineage are one replicate, and an average of several would be smoother than any single suspect.
    Models of one maker resemble one another as kin do: two of them among the controls hide kin of the candidate, and
    one of the candidate's own maker is no stranger to it. Of several the one with the best coverage counts, of equals
    the one that is named first: what the accused pair looks like plays no part in it, so the rank stays exact.

    Parameters
    ----------
    suspect, candidate : Model
    models : sequence of Model
        Every model of the campaign; those with the role "control" are looked at. One of which no maker is known
        counts as a maker of its own.
    similarities : sequence of Similarity
        Channels that a control must cover; none before anybody was asked.
    min_coverage : float
        Least share of a channel's prompts; controls under it in any channel are left out, with a caveat.
    rule : {"one a maker", "every lineage"}
        The second asks nothing of makers.

    Returns
    -------
    Pool

    Examples
    --------
    >>> s, c = Model("s", "suspect", None), Model("c", "candidate", "root", "Us")
    >>> others = [Model("k0", "control", "a", "A"), Model("k1", "control", "a", "A"), Model("kin", "control", "root")]
    >>> others += [Model("k2", "control", "b", "A"), Model("k3", "control", "x", "us"), Model("k4", "control", "y")]
    >>> found = pool_for(s, c, [s, c, *others], [], 0.0)
    >>> found.names, [r.name for r in found.relatives]
    (('s', 'c', 'k0', 'k4'), ['kin', 'k3'])
    >>> pool_for(s, c, [s, c, *others], [], 0.0, "every lineage").lineages
    ('a', 'b', 'x', 'y')
    """
    by_maker = rule == "one a maker"
    kin, own = {candidate.lineage, suspect.lineage} - {None}, suspect.makers | candidate.makers
    usable: list[tuple[float, Model]] = []
    relatives, house, left_out = [], [], []
    for model in models:
        if model.role == "relative" or (model.role == "control" and model.lineage in kin):
            relatives.append(model)
        elif model.role == "control" and by_maker and model.makers & own:
            house.append(model)
        elif model.role == "control":
            worst = min((_coverage(s, model.name) for s in similarities), default=0.0)
            if worst < min_coverage:
                left_out.append(Caveat("control left out", names=(model.name,), values=(worst,)))
            else:
                usable.append((worst, model))
    taken: dict[str, Model] = {}
    makers: set[str] = set()
    again = []
    for _, model in sorted(usable, key=lambda u: -u[0]):
        if model.root in taken:
            continue
        if by_maker and model.makers & makers:
            again.append(model)
            continue
        taken[model.root] = model
        makers |= model.makers
    controls = tuple(m for m in models if taken.get(m.root) is m)
    told = _told_of_makers(controls, house, [m for m in models if m in again], by_maker=by_maker)
    return Pool(suspect.name, candidate.name, controls, (*left_out, *told), (*relatives, *house))


def _told_of_makers(
    controls: Sequence[Model], house: Sequence[Model], again: Sequence[Model], *, by_maker: bool
) -> list[Caveat]:
    """What the makers of the controls cost and leave open."""
    kinds: list[tuple[CaveatKind, Sequence[Model]]] = [
        ("of the pair's makers", house),
        ("maker counted already", again),
    ]
    found = [Caveat(kind, names=tuple(m.name for m in some)) for kind, some in kinds if some]
    unknown = tuple(m.name for m in controls if not m.makers)
    if by_maker and unknown:
        found.append(Caveat("makers unknown", names=unknown, values=(len(unknown), len(controls))))
    known = [m for m in controls if m.makers]
    houses = {min(m.makers) for m in known}
    if not by_maker and len(houses) < len(known):
        found.append(Caveat("makers repeat", values=(len(controls), len(houses) + len(unknown))))
    return found


def agreed_pool(
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    similarities: Sequence[Similarity],
    min_coverage: float,
    rule: ControlRule = "one a maker",
) -> tuple[Pool, list[Similarity]]:
    """The pool that most channels can share, and the channels that share it.

    Parameters
    ----------
    suspect, candidate : Model
    models : sequence of Model
        Every model of the campaign.
    similarities : sequence of Similarity
        Channels that the pair itself covers.
    min_coverage : float
        Least share of a channel's prompts that a control must have answered.
    rule : {"one a maker", "every lineage"}
        As in `pool_for`.

    Returns
    -------
    Pool
    list of Similarity
        In the order given. The others keep to pools of their own.

    Notes
    -----
    Channels join by the number of control lineages that they cover. One that would cost the pool more than a fifth of
    its control lineages stays out, rather than take the controls from the others. Which one that is depends on the
    controls' gaps only, not on the accused pair, so the rank stays exact.
    """

    def pool(of: Sequence[Similarity]) -> Pool:
        return pool_for(suspect, candidate, models, of, min_coverage, rule)

    joined: list[Similarity] = []
    most = 0
    for s in sorted(similarities, key=lambda s: -len(pool([s]).controls)):
        size = len(pool([*joined, s]).controls)
        if not joined or size >= KEPT * most:
            joined.append(s)
            most = max(most, size)
    return pool(joined), [s for s in similarities if any(s is j for j in joined)]


def _coverage(similarity: Similarity, name: str) -> float:
    value = float(similarity.coverage[similarity.models.index(name)])
    return value if np.isfinite(value) else 0.0


def restrict(similarity: Similarity, names: Sequence[str], prompts: Sequence[int] | None = None) -> np.ndarray:
    """Values of some models in a given order, (p, n, n), on all prompts or on some by index, which copies once."""
    at = np.array([similarity.models.index(n) for n in names], dtype=np.intp)
    if prompts is None:
        return similarity.values[:, at][:, :, at]
    rows = np.asarray(prompts, dtype=np.intp)[:, None, None]
    return similarity.values[rows, at, at[:, None]].transpose(0, 2, 1)  # sums over models go on column by column


def without_copies(
    similarities: Sequence[Similarity], suspect: str, candidate: str
) -> tuple[tuple[Similarity, ...], tuple[Caveat, ...]]:
    """Similarities without the prompts whose answers were copied word for word, and the caveat that says how many.

    Parameters
    ----------
    similarities : sequence of Similarity
        Copies are found in the channel "verbatim"; without it nothing is known of them and nothing changes.
    suspect, candidate : str
        The pair; what other pairs copied from one another stays.

    Returns
    -------
    tuple of Similarity
        Every channel but "verbatim" without those prompts: a copy is evidence of who typed, whatever its share. A
        channel of text of which fewer than `ENOUGH` prompts remain, where most were copied, is left out altogether.
    tuple of Caveat
        None, or one that says how many answers were copied, and whether anything remains.
    """
    found = next((s for s in similarities if s.channel == "verbatim"), None)
    if found is None:
        return tuple(similarities), ()
    pair = found.values[:, found.models.index(suspect), found.models.index(candidate)]
    copied = {p for p, share in zip(found.prompts, pair, strict=True) if share >= COPY}
    compared = int(np.isfinite(pair).sum())
    if not copied:
        return tuple(similarities), ()
    counts = (len(copied), compared)
    kept = tuple(s if s.channel == "verbatim" else only_prompts(s, set(s.prompts) - copied) for s in similarities)
    few = {s.channel for s, before in zip(kept, similarities, strict=True)
           if s.sees == "text" and len(s.prompts) < min(ENOUGH, len(before.prompts) / 2)}  # fmt: skip
    kind: CaveatKind = "only copies" if few else "copies left out"
    return tuple(s for s in kept if s.channel not in few), (Caveat(kind, values=counts),)


def only_prompts(s: Similarity, prompts: Container[str]) -> Similarity:
    """A channel with some of its prompts, by id."""
    keep = [i for i, p in enumerate(s.prompts) if p in prompts]
    return replace(s, prompts=tuple(s.prompts[i] for i in keep), values=s.values[keep])


def told(suspect: Model, candidate: Model, models: Sequence[Model], rule: ControlRule = "one a maker") -> list[Caveat]:
    """Conditions that the pair shares and most controls lack, as told before anybody is asked: era, thinking, host.

    `control_match.unlike` adds what is seen in the answers.

    Examples
    --------
    >>> s, c = Model("s", "suspect", None), Model("c", "candidate", "c", released="2025-03")
    >>> old = [Model(f"k{i}", "control", f"k{i}", released="2023-07") for i in range(5)]
    >>> [c.kind for c in told(s, c, old)]
    ['pair of another era']
    """
    controls = controls_of(suspect, candidate, models, rule)
    return [
        *_era(suspect, candidate, controls),
        *_thinking(suspect, candidate, controls),
        *_host(suspect, candidate, controls),
    ]


def controls_of(
    suspect: Model, candidate: Model, models: Sequence[Model], rule: ControlRule = "one a maker"
) -> list[Model]:
    """The controls that count as far as is known before anybody was asked."""
    return list(pool_for(suspect, candidate, models, [], 0.0, rule).controls)


def _era(suspect: Model, candidate: Model, controls: Sequence[Model]) -> list[Caveat]:
    """Most controls came out long before both, or long after. Of a suspect nobody may know: then the candidate's."""
    if _month(candidate.released) is None:
        return []
    own = [month for m in (suspect, candidate) if (month := _month(m.released)) is not None]
    dated = [(m, month) for m in controls if (month := _month(m.released)) is not None]
    before = [m for m, month in dated if month < min(own) - MONTHS]
    after = [m for m, month in dated if month > max(own) + MONTHS]
    far = max(before, after, key=len)
    return _known("pair of another era", "controls of another era", suspect, candidate, far, len(dated), controls)


def _month(released: str | None) -> int | None:
    """Months since year 0; of a year alone its middle."""
    if released is None:
        return None
    year, _, month = released.partition("-")
    return 12 * int(year) + int(month or 6)


def _thinking(suspect: Model, candidate: Model, controls: Sequence[Model]) -> list[Caveat]:
    """Both think before they answer and most controls do not, or the reverse; or only one of the two does, or may."""
    names = (suspect.name, candidate.name)
    if suspect.thinks is None or candidate.thinks is None:
        one, other = (m.thinks or (m.thinks is None and m.thinker) for m in (suspect, candidate))
        return [] if one == other else [Caveat("one may think", names=names if one else names[::-1])]
    if suspect.thinks != candidate.thinks:
        return [Caveat("only one thinks", names=names if suspect.thinks else names[::-1])]
    known = [m for m in controls if m.thinks is not None]
    far = [m for m in known if m.thinks != suspect.thinks]
    grave: CaveatKind = "pair alone thinks" if suspect.thinks else "pair alone does not think"
    return _known(grave, "controls unlike in thinking", suspect, candidate, far, len(known), controls)


def _known(
    grave: CaveatKind,
    limit: CaveatKind,
    suspect: Model,
    candidate: Model,
    far: Sequence[Model],
    known: int,
    controls: Sequence[Model],
) -> list[Caveat]:
    """A condition that was told, not seen: in how many of the controls of which it is known."""
    if known < max(2, HALF * len(controls)) or len(far) < HALF * known:
        return []
    kind = grave if len(far) >= TOLD * known else limit
    names = (suspect.name, candidate.name, *(m.name for m in far))
    return [Caveat(kind, names=names, values=(len(far), known))]


def _host(suspect: Model, candidate: Model, controls: Sequence[Model]) -> list[Caveat]:
    """Both behind one host and no control there: what the host writes or samples is on the two alone."""
    apart = controls and all(m.host != suspect.host for m in controls)
    if suspect.host is None or suspect.host != candidate.host or not apart:
        return []
    return [Caveat("pair on one host", names=(suspect.name, candidate.name, suspect.host))]


def candidates_apart(candidates: Sequence[Model]) -> bool:
    """Whether all are known to be of lineages and makers of their own."""
    lineages, makers = [c.lineage for c in candidates], [m for c in candidates for m in c.makers]
    known = all(lineages) and all(c.makers for c in candidates)
    return known and len(set(lineages)) == len(lineages) and len(set(makers)) == len(makers)
