"""What stands behind a kinship verdict, pair by pair and prompt by prompt: for the report, nothing is decided here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.inference.excess import TINY, additive_residuals, combine, excess, excess_of
from harness.inference.kinship import foreign
from harness.inference.pool import Model, agreed_pool, restrict
from harness.records import Similarity

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
    sees: str
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


def detail(
    suspect: Model, candidate: Model, models: Sequence[Model], similarities: Sequence[Similarity], least: float,
    most: int = 5,
) -> Detail | None:  # fmt: skip
    """As kinship sees it: the same channels, the same pool. None where kinship has nothing to go by.

    Parameters
    ----------
    least : coverage under which a channel or a control is left out; most : prompts kept for and against, a channel.
    """
    parties = (suspect.name, candidate.name)
    usable = [s for s in similarities if s.sees != "reported" and _covered(s, parties, least)]
    pool, joined = agreed_pool(suspect, candidate, models, usable, least)
    usable = [s for s in joined if foreign(s, pool) is None]
    if not usable or len(pool.controls) < 2:
        return None
    values = [restrict(s, pool.names) for s in usable]
    channels = tuple(
        ChannelDetail(s.channel, s.sees, excess(v), tuple(telling(s, v, most)))
        for s, v in zip(usable, values, strict=True)
    )
    return Detail(suspect.name, candidate.name, pool.names, combine(values), channels)


def _covered(s: Similarity, names: Sequence[str], least: float) -> bool:
    return all(float(s.coverage[s.models.index(n)]) >= least for n in names)


def telling(s: Similarity, values: NDArray[np.floating], most: int) -> list[Telling]:
    """Prompts that contribute most to the accused pair's excess, strongest first, then those that speak against it.

    ``values`` (p, n, n) are those of the pool, suspect first. A prompt's contribution is its scaled residual over the
    spread of residuals and the number of prompts.
    """
    residuals = additive_residuals(values)
    pair = residuals[:, 0, 1]
    seen = np.flatnonzero(np.isfinite(pair))
    if not len(seen):
        return []
    spread = _spread(residuals)
    share = pair / (spread * len(seen)) if spread > TINY else np.zeros_like(pair)
    order = seen[np.argsort(-share[seen], kind="stable")]
    top = [i for i in order[:most] if share[i] > 0]
    low = [i for i in order[::-1][:most] if share[i] < 0]
    return [Telling(s.channel, s.prompts[i], float(share[i]), float(values[i, 0, 1]), s.unit) for i in (*top, *low)]


def _spread(residuals: Floats) -> float:
    """The unit of `pair_rank.excess`: spread from prompt to prompt, one number for the pool."""
    n = np.isfinite(residuals).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(np.isfinite(residuals), residuals, 0.0).sum(0) / n
        square = np.where(np.isfinite(residuals), residuals**2, 0.0).sum(0) / n
        return float(np.sqrt(np.nanmean(square - mean**2) * np.nanmean(n) / max(float(np.nanmean(n)) - 1.0, 1.0)))


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
