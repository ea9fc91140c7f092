"""Pool of a verdict: one suspect, one candidate, and the control models that stand for unrelated lineages."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.inference.findings import Caveat
from harness.records import Similarity

KEPT = 0.8  # of the control lineages that a channel must leave in the pool
COPY = 0.8  # share of the shorter answer in common 16-word runs from which it counts as copied
ENOUGH = 25  # prompts without copies; with fewer, nothing is left to judge by


@dataclass(frozen=True)
class Model:
    """One model of a campaign as inference sees it."""

    name: str
    role: str
    lineage: str | None


@dataclass(frozen=True)
class Pool:
    """Suspect, candidate and one control a lineage, in this order. ``left_out``: controls that fell out, and why."""

    suspect: str
    candidate: str
    controls: tuple[Model, ...]
    left_out: tuple[Caveat, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All models, suspect first, candidate second."""
        return (self.suspect, self.candidate, *(c.name for c in self.controls))

    @property
    def lineages(self) -> tuple[str, ...]:
        """Control lineages: the replicates behind a verdict."""
        return tuple(str(c.lineage) for c in self.controls)


def pool_for(
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    similarities: Sequence[Similarity],
    min_coverage: float,
) -> Pool:
    """Controls for one pair: one a lineage, none of the candidate's lineage nor of the suspect's, if that is known.

    Of several models of one lineage the one with the best coverage stands for it: models of one lineage are one
    replicate, and an average of several would be smoother than any single suspect.

    Parameters
    ----------
    suspect, candidate : Model
    models : sequence of Model
        Every model of the campaign; those with the role "control" are looked at.
    similarities : sequence of Similarity
        Channels that a control must cover.
    min_coverage : float
        Least share of a channel's prompts; controls under it in any channel are left out, with a caveat.

    Returns
    -------
    Pool

    Examples
    --------
    >>> s, c = Model("s", "suspect", None), Model("c", "candidate", "root")
    >>> others = [Model("k0", "control", "a"), Model("k1", "control", "a"), Model("kin", "control", "root")]
    >>> pool_for(s, c, [s, c, *others], [], 0.0).names
    ('s', 'c', 'k0')
    """
    kin = {candidate.lineage, suspect.lineage} - {None}
    best: dict[str, tuple[float, Model]] = {}
    left_out = []
    for model in models:
        if model.role != "control" or model.lineage in kin:
            continue
        worst = min((_coverage(s, model.name) for s in similarities), default=0.0)
        if worst < min_coverage:
            left_out.append(Caveat("control left out", names=(model.name,), values=(worst,)))
            continue
        if model.lineage not in best or worst > best[str(model.lineage)][0]:
            best[str(model.lineage)] = (worst, model)
    controls = tuple(model for _, model in best.values())
    return Pool(suspect.name, candidate.name, controls, tuple(left_out))


def agreed_pool(
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    similarities: Sequence[Similarity],
    min_coverage: float,
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
        return pool_for(suspect, candidate, models, of, min_coverage)

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


def restrict(similarity: Similarity, names: Sequence[str]) -> np.ndarray:
    """Values of some models in a given order, (p, n, n)."""
    at = [similarity.models.index(n) for n in names]
    return similarity.values[:, at][:, :, at]


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
        Every channel but "verbatim" without those prompts. Where fewer than `ENOUGH` prompts would remain in
        "wording", all stay: one model under two names answers alike nearly always.
    tuple of Caveat
        None, or one that says how many answers were copied and whether copies carry the verdict.
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
    read = next((s for s in similarities if s.channel == "wording"), found)
    if len(set(read.prompts) - copied) < ENOUGH:
        return tuple(similarities), (Caveat("copies carry", values=counts),)
    kept = tuple(s if s.channel == "verbatim" else only_prompts(s, set(s.prompts) - copied) for s in similarities)
    return kept, (Caveat("copies left out", values=counts),)


def only_prompts(s: Similarity, prompts: Container[str]) -> Similarity:
    """A channel with some of its prompts, by id."""
    keep = [i for i, p in enumerate(s.prompts) if p in prompts]
    return replace(s, prompts=tuple(s.prompts[i] for i in keep), values=s.values[keep])
