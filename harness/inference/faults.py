"""What is wrong or odd about a pool, in words: a hub for a candidate, a model that answers in another language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.inference.combining import combine, mean_over_prompts
from harness.inference.controls import Pool, restrict
from harness.similarity import Similarity

Floats = NDArray[np.float64]
FOREIGN = 0.2  # of the median model's similarity to the pool; of 178 recorded models none is under 0.46
HUB = 0.9  # share of the controls that a hub is more like everybody than


def levels(values: Floats) -> Floats:
    """How alike each model is to the controls of its pool on average, (n,); the first two models are no controls."""
    raw = mean_over_prompts(values)[:, 2:]
    seen = np.isfinite(raw)
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.where(seen, raw, 0.0).sum(1) / seen.sum(1)
    return out


def foreign(similarity: Similarity, pool: Pool) -> str | None:
    """Why a channel of text cannot compare suspect and candidate: one shares next to no words with anybody."""
    if similarity.sees != "text" or similarity.unit != "cosine" or len(pool.controls) < 2:
        return None
    level = levels(restrict(similarity, pool.names))
    usual = float(np.nanmedian(level[2:]))
    for name, own in zip(pool.names[:2], level[:2], strict=True):
        if own < FOREIGN * usual:
            return (
                f"{similarity.channel} abstains: {name} shares next to nothing with any other model ({own:.3f}, "
                f"controls {usual:.3f}), as if it answered in another language"
            )
    return None


def candidate_null(similarities: Sequence[Similarity], pool: Pool) -> str:
    """The candidate's own null in words: is it a hub, and how near does the suspect come among its controls?"""
    parts = []
    for s in similarities:
        level = levels(restrict(s, pool.names))
        below = int((level[2:] < level[1]).sum())
        parts.append((below / len(pool.controls), s.channel, below))
    share, channel, below = max(parts)
    row = combine([restrict(s, pool.names) for s in similarities])[1]
    nearer = int((row[2:] >= row[0] - 1e-12).sum())
    k = len(pool.controls)
    head = f"{pool.candidate} is closer to everybody than {below} of {k} controls are"
    if share >= HUB:
        head += f" (on {channel}: a hub, near which strangers are found more often)"
    return f"{head}; {nearer} of {k} controls are as close to it as {pool.suspect} or closer"
