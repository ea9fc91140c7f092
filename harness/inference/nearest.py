"""Controls of a pack of references that answer as the pair does: what only answers show of language, length, thinking.

A control that was recorded elsewhere may answer under conditions that nobody told. One that answers in another
language, much shorter, or thinks where the pair does not, is left out; and where a pack has many lineages, those count
whose manner is nearest to both accused: form alone (length, lists, marks), never what is said, so that the rank stays
one among exchangeable models. Figures, with and without: `python -m benchmarks.bank`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.inference.control_match import LANGUAGE, RATIO, SHORT, Manners
from harness.inference.findings import Caveat, Finding
from harness.inference.pool import Model
from harness.records import LeftOut, ReferenceGap

MANY = 19  # lineages of references, from which those count that are nearest in manner
NEAREST = 0.5  # of them, the share that counts
Case = TypeVar("Case")


def fitting(
    manners: Manners, suspect: Model, candidate: Model, models: Sequence[Model], references: Collection[str]
) -> tuple[tuple[Model, ...], tuple[LeftOut, ...]]:
    """The models among which a pair is judged, without the references that answer under other conditions.

    Parameters
    ----------
    manners : Manners
        Of a table that holds all these models.
    suspect, candidate : Model
    models : sequence of Model
    references : names of those that come from packs; the others were chosen by hand, and stay

    Returns
    -------
    models : tuple of Model
        In the order given.
    left : tuple of LeftOut
    """
    pool = [m for m in models if m.name in references and m.role == "control"]
    gaps = {m.name: gap for m in pool if (gap := _unlike(manners, suspect, candidate, m)) is not None}
    kept = [m for m in pool if m.name not in gaps]
    lineages = {m.root for m in kept}
    if len(lineages) >= MANY:
        far = distances(manners, suspect, candidate, [m.name for m in kept])
        near: set[str] = set()
        for i in np.argsort(far, kind="stable"):
            if kept[i].root in near or len(near) < np.ceil(NEAREST * len(lineages)):
                near.add(kept[i].root)
            else:
                gaps[kept[i].name] = "reference further in manner"
    return tuple(m for m in models if m.name not in gaps), tuple(LeftOut(name, gap) for name, gap in gaps.items())


def _unlike(manners: Manners, suspect: Model, candidate: Model, m: Model) -> ReferenceGap | None:
    """What the answers of a reference show that those of neither suspect nor candidate do."""
    x, s, c = (manners.models.index(n.name) for n in (m, suspect, candidate))
    apart = [manners.vocabulary[x, y] < LANGUAGE for y in (s, c)]
    if all(apart) and not manners.vocabulary[s, c] < LANGUAGE:
        return "reference in another language"
    if manners.words(x) < SHORT and manners.words(x) * RATIO < min(manners.words(s), manners.words(c)):
        return "reference much shorter"
    mode, own = manners.mode(m.name), [manners.mode(n.name) for n in (suspect, candidate)]
    seen = [o for o in own if o is not None]
    if mode is not None and seen and mode not in seen:
        return "reference thinks otherwise"
    return None


def distances(manners: Manners, suspect: Model, candidate: Model, names: Sequence[str]) -> NDArray[np.float64]:
    """How unlike in form some models are to the one of a pair that they are less like, (n,) in [0, 1].

    The mean over forms of how much more often one has more of it than the other, prompt by prompt.
    """
    at = [manners.models.index(n) for n in names]
    both = [np.abs(manners.above(manners.models.index(m.name), at)).mean(1) for m in (suspect, candidate)]
    far: NDArray[np.float64] = np.maximum(*both)
    return far


def gaps_of(left: Iterable[LeftOut]) -> list[Caveat]:
    """What was left out of packs of references, one caveat a reason; ``values`` are prompts where some are missing."""
    by: dict[tuple[ReferenceGap, int, int], list[str]] = {}
    for x in left:
        whole = x.prompts >= x.of
        by.setdefault((x.why, 0 if whole else x.prompts, 0 if whole else x.of), []).append(x.model)
    return [Caveat(why, names=tuple(names), values=(n, of) if of else ()) for (why, n, of), names in by.items()]


def reference_check(
    case: Callable[[Model, Model], Case],
    find: Callable[[Case], Finding],
    candidate: Model,
    models: Sequence[Model],
    references: Collection[str],
) -> Caveat | None:
    """Score a positive and a negative control of the references themselves, beside the verdicts that lean on them.

    Positive: a reference that is kin of the candidate poses as the suspect, or where there is none one of two
    references of one lineage poses as suspect of the other. Negative: an unrelated reference poses as the suspect.

    Parameters
    ----------
    case : makes the case of one model as the suspect of another
    find : kinship's

    Returns
    -------
    Caveat or None
        ``names`` are the positive suspect and candidate ("" where the packs have no kin) and the negative suspect,
        ``values`` p and least possible p of each, NaN where it could not be scored.
    """
    own = [m for m in models if m.name in references]
    controls = [m for m in own if m.role == "control" and m.root != candidate.root and not m.makers & candidate.makers]
    kin = [(m, candidate) for m in own if m.role == "relative"]
    kin += [(a, b) for i, a in enumerate(own) for b in own[i + 1 :] if a.root == b.root and a.name != b.name]
    stranger = controls[0] if controls else None
    if stranger is None and not kin:
        return None
    names, values = ["", "", ""], [np.nan] * 4
    if kin:
        names[:2] = kin[0][0].name, kin[0][1].name
        values[:2] = _p(find(case(*_posing(*kin[0]))))
    if stranger is not None:
        names[2] = stranger.name
        values[2:] = _p(find(case(*_posing(stranger, candidate))))
    return Caveat("references checked", names=tuple(names), values=tuple(map(float, values)))


def _posing(suspect: Model, candidate: Model) -> tuple[Model, Model]:
    return replace(suspect, role="suspect"), replace(candidate, role="candidate")


def _p(f: Finding) -> tuple[float, float]:
    return f.p_value, f.p_floor
