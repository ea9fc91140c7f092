"""A quick look: what token counts, a list of integers and 25 short prompts say of an endpoint, and what to ask next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.inference.findings import NAN, Tier
from harness.inference.pairing import pairing, scored
from harness.inference.pool import Model
from harness.records import Observation, Similarity

Cheap = Literal["tokenizer", "integers", "short prompts"]
Next = Literal["ask for more known models", "kinship and identity", "kinship of the maker", "full attribution", "stop"]
COUNTED_ALIKE = 0.95  # share of strings that must be counted exactly alike
KNOWN_LINEAGES = 5  # with which short prompts can name anybody


@dataclass(frozen=True)
class Sight:
    """What one cheap thing says: the ``closest`` known models, how close, and whether that is more than chance.

    ``p`` is against "none of these", not under ``floor``; NaN for token counts, which name a family and no model.
    """

    what: Cheap
    calls: int
    closest: tuple[str, ...]
    value: float
    tier: Tier
    p: float = NAN
    floor: float = NAN


@dataclass(frozen=True)
class Look:
    """All that a quick look saw of one endpoint, and what is worth asking next."""

    endpoint: str
    lineages: int
    observed: tuple[Observation, ...]
    sights: tuple[Sight, ...]
    next: tuple[Next, ...]


def advised(sights: Sequence[Sight], lineages: int) -> tuple[Next, ...]:
    """Which further questions are worth their money after what was seen."""
    by = {s.what: s for s in sights}
    short = by.get("short prompts")
    if short is None or lineages < KNOWN_LINEAGES:
        return ("ask for more known models",)
    if short.tier == "model":
        return ("kinship and identity",)
    if short.tier == "maker":
        return ("kinship of the maker", "full attribution")
    listed = by.get("integers")
    return ("full attribution",) if listed is not None and listed.tier != "none" else ("full attribution", "stop")


def sight(s: Similarity, models: Sequence[Model], alpha: float) -> Sight | None:
    """One cheap channel's view of the suspect, who is the first of the models; None where it has nothing to compare."""
    if s.channel == "tokenizer":
        return _counted(s, models)
    roots, makers = [m.root for m in models], [m.makers for m in models]
    known = range(1, len(models))
    names = [m.name for m in models[1:]]
    if s.channel == "integers":
        one = scored(s.values, 0, known, roots, makers)
        if one is None:
            return None
        best = int(one.scores.argmax())
        floor = 1.0 / (1.0 + len(one.null))
        p = float((1.0 + (one.null >= one.scores[best]).sum()) * floor)
        closest = names[int(one.used[best])]
        tier: Tier = "model" if p <= alpha else "none"
        return Sight("integers", 1, (closest,), float(s.values[0, 0, 1 + int(one.used[best])]), tier, p, floor)
    many = pairing(s.values, 0, known, roots, makers, alpha)
    if many is None:
        return None
    place = many.named[0] if many.named else int(many.score.argmax())
    shown = tuple(names[i] for i in many.named) or (names[place],)
    return Sight("short prompts", many.prompts, shown, float(many.score[place]), many.tier, float(many.p[place]))


def _counted(s: Similarity, models: Sequence[Model]) -> Sight | None:
    """Known models that count tokens exactly as the suspect does; they share a tokenizer family, and maybe no more."""
    shares = np.array([np.nanmean(s.values[:, 0, i]) if np.isfinite(s.values[:, 0, i]).any() else NAN
                       for i in range(1, len(models))])  # fmt: skip
    if not np.isfinite(shares).any():
        return None
    best = float(np.nanmax(shares))
    alike = tuple(m.name for m, x in zip(models[1:], shares, strict=True) if x >= min(best, COUNTED_ALIKE))
    return Sight("tokenizer", len(s.prompts), alike, best, "maker" if best >= COUNTED_ALIKE else "none")
