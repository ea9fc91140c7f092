"""Verbatim copies out of a comparison: a copied answer says who typed it, not whose weights were at work.

Caches, pass-through and reruns copied from a file look like the closest kin there is. Prompts that suspect and
candidate answered alike to the letter are left out for the whole pool, so that what remains is compared like with
like; copies between other models stay and make the reference stricter, never laxer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.similarity import Similarity

COPY = 0.8  # share of the shorter answer in common 16-word runs from which it counts as copied
ENOUGH = 25  # prompts without copies; with fewer, nothing is left to judge by


def without_copies(
    similarities: Sequence[Similarity], suspect: str, candidate: str
) -> tuple[tuple[Similarity, ...], tuple[str, ...]]:
    """Similarities without the prompts whose answers were copied, and what to say about it.

    Where fewer than `ENOUGH` prompts would remain in ``wording``, all stay: one model under two names answers alike
    nearly always, and the note says that copies carry the verdict.
    """
    found = next((s for s in similarities if s.channel == "verbatim"), None)
    if found is None:
        return tuple(similarities), ()
    pair = found.values[:, found.models.index(suspect), found.models.index(candidate)]
    copied = {p for p, share in zip(found.prompts, pair, strict=True) if share >= COPY}
    compared = int(np.isfinite(pair).sum())
    if not copied:
        return tuple(similarities), ()
    said = f"{len(copied)} of {compared} answers are verbatim copies of one another"
    read = next((s for s in similarities if s.channel == "wording"), found)
    if len(set(read.prompts) - copied) < ENOUGH:
        return tuple(similarities), (f"{said}; too few would remain without them, so they carry the verdict",)
    kept = tuple(s if s.channel == "verbatim" else _dropped(s, copied) for s in similarities)
    return kept, (f"{said}, and were left out of the other channels",)


def _dropped(s: Similarity, prompts: set[str]) -> Similarity:
    keep = [i for i, p in enumerate(s.prompts) if p not in prompts]
    return replace(s, prompts=tuple(s.prompts[i] for i in keep), values=s.values[keep])
