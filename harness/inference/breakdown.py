"""Breakdown of a kinship verdict for the report: its pairs, channels and telling prompts. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.inference.assessment import Assessment, Compared
from harness.inference.excess import TINY, additive_residuals, excess_of, prompt_noise
from harness.records import Sees, Similarity

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Telling:
    """One prompt's part in a channel's effect: ``contribution`` of all prompts sum to the effect if all answered."""

    channel: str
    prompt: str
    contribution: float
    similarity: float
    unit: str


@dataclass(frozen=True)
class ChannelDetail:
    """Excess of every pair of the pool in one channel, (n, n), suspect first, candidate second."""

    channel: str
    sees: Sees
    matrix: Floats
    telling: tuple[Telling, ...] = ()


@dataclass(frozen=True)
class Detail:
    """The pool of one suspect and candidate, and how its pairs lie in every channel and combined."""

    suspect: str
    candidate: str
    names: tuple[str, ...]
    combined: Floats
    channels: tuple[ChannelDetail, ...]

    def place(self) -> tuple[int, int]:
        """Rank of the accused pair, 1 the closest (a tie shares it: in a pool of four, pairs tie), and pairs in all."""
        scores = self.combined[np.triu_indices(len(self.names), 1)]
        return 1 + int((scores > self.combined[0, 1] + 1e-9).sum()), int(np.isfinite(scores).sum())


def detail(a: Assessment, most: int = 5) -> Detail | None:
    """Channel by channel, as kinship saw it; None where there was nothing to compare.

    ``most`` prompts are kept for and against the accused pair, a channel.
    """
    if a.combined is None:
        return None
    channels = tuple(
        ChannelDetail(c.similarity.channel, c.similarity.sees, c.matrix, tuple(telling(c, most))) for c in a.channels
    )
    return Detail(a.pool.suspect, a.pool.candidate, a.pool.names, a.combined, channels)


def telling(c: Compared, most: int) -> list[Telling]:
    """Prompts that contribute most to the accused pair's excess, strongest first, then those that speak against it.

    A prompt's contribution is its scaled residual over the spread of residuals and the number of prompts.
    """
    s, pair = c.similarity, c.residuals[:, 0, 1]
    seen = np.flatnonzero(np.isfinite(pair))
    if not len(seen):
        return []
    spread = prompt_noise(c.residuals)
    share = pair / (spread * len(seen)) if spread > TINY else np.zeros_like(pair)
    order = seen[np.argsort(-share[seen], kind="stable")]
    top = [i for i in order[:most] if share[i] > 0]
    low = [i for i in order[::-1][:most] if share[i] < 0]
    return [Telling(s.channel, s.prompts[i], float(share[i]), float(c.values[i, 0, 1]), s.unit) for i in (*top, *low)]


@dataclass(frozen=True)
class Overview:
    """How alike all models of a campaign are: mean over channels of the scaled excess, (m, m), NaN on the diagonal."""

    names: tuple[str, ...]
    matrix: Floats
    left_out: tuple[str, ...]


def overview(similarities: Sequence[Similarity]) -> Overview | None:
    """All models that every other one can be compared with; the one with most gaps is left out first."""
    scaled = []
    for s in (s for s in similarities if s.sees != "reported"):
        residuals = additive_residuals(s.values)
        if not np.isfinite(residuals).any():  # two models alone: there is no other pair to compare theirs with
            continue
        matrix = excess_of(residuals)
        size = float(np.sqrt(np.nanmean(matrix**2))) if np.isfinite(matrix).any() else 0.0
        if size > TINY:
            scaled.append(matrix / size)
    if not scaled:
        return None
    stack = np.array(scaled)
    seen = np.isfinite(stack)
    with np.errstate(invalid="ignore"):
        mean = np.where(seen, stack, 0.0).sum(0) / seen.sum(0)
    kept = list(range(len(mean)))
    out = []
    while len(kept) > 2:
        gaps = (~np.isfinite(mean[np.ix_(kept, kept)])).sum(1) - 1
        if gaps.max() == 0:
            break
        out.append(kept.pop(int(gaps.argmax())))
    names = similarities[0].models
    return Overview(tuple(names[i] for i in kept), mean[np.ix_(kept, kept)], tuple(names[i] for i in out))
