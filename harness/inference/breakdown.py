"""Breakdown of a kinship verdict for the report: its pairs, channels and telling prompts. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from harness.inference.assessment import Assessment, Compared
from harness.inference.branches import Branch, branches, drawn, square, upper, weighted_means
from harness.inference.excess import (
    FEWEST,
    TINY,
    additive_residuals,
    excess_of,
    known_mean,
    mean_over_prompts,
    prompt_spreads,
)
from harness.records import Sees, Similarity

Floats = NDArray[np.float64]
Measure = Literal["excess", "raw"]


def measure_of(models: int) -> Measure:
    """What is drawn and tabulated of all pairs of so many models."""
    return "excess" if models >= FEWEST else "raw"


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
    """Every pair of the pool in one channel, (n, n), suspect first, candidate second: its excess in ``matrix``, and its
    ``raw`` similarity, standardised over the pairs. ``shares`` has each prompt's contribution, as in `Telling`."""

    channel: str
    sees: Sees
    matrix: Floats
    raw: Floats
    telling: tuple[Telling, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def spread(self) -> float:
        """Spread of its excess over the pairs, (n, n) in units of which it is on the scale of the verdict."""
        return max(float(np.sqrt(known_mean(self.matrix**2))), TINY)


@dataclass(frozen=True)
class Detail:
    """The pool of one suspect and candidate, and how its pairs lie in every channel and combined."""

    suspect: str
    candidate: str
    names: tuple[str, ...]
    combined: Floats
    channels: tuple[ChannelDetail, ...]

    @property
    def measure(self) -> Measure:
        """What is drawn of these pairs."""
        return measure_of(len(self.names))

    def drawn(self) -> list[tuple[str, Floats]]:
        """What is drawn of every pair, all channels together and then each, on one scale: that of the verdict, or raw
        similarity, standardised; see `measure`."""
        if self.measure == "excess":
            return [("combined", self.combined), *((c.channel, c.matrix / c.spread) for c in self.channels)]
        return [("all channels", _mean([c.raw for c in self.channels])), *((c.channel, c.raw) for c in self.channels)]

    def place(self) -> tuple[int, int, tuple[tuple[str, str], ...]]:
        """By combined excess, which p ranks: rank of the accused pair, 1 the closest, pairs in all, and those level."""
        rows, columns = np.triu_indices(len(self.names), 1)
        gap = self.combined[rows, columns] - self.combined[0, 1]
        level = [i for i in np.flatnonzero(np.abs(gap) <= 1e-9) if (rows[i], columns[i]) != (0, 1)]
        tied = tuple((self.names[rows[i]], self.names[columns[i]]) for i in level)
        return 1 + int((gap > 1e-9).sum()), int(np.isfinite(gap).sum()), tied


def detail(a: Assessment, most: int = 5) -> Detail | None:
    """Channel by channel, as kinship saw it; None where there was nothing to compare.

    ``most`` prompts are kept for and against the accused pair, a channel.
    """
    if a.combined is None:
        return None
    channels = tuple(_channel_detail(c, most) for c in a.channels)
    return Detail(a.pool.suspect, a.pool.candidate, a.pool.names, a.combined, channels)


def _channel_detail(c: Compared, most: int) -> ChannelDetail:
    s, share = c.similarity, contributions(c)
    shares = {p: float(v) for p, v in zip(c.prompts, share, strict=True) if v == v}
    return ChannelDetail(s.channel, s.sees, c.matrix, standardised(c.values), tuple(_loudest(c, share, most)), shares)


def contributions(c: Compared) -> Floats:
    """Each prompt's part in the accused pair's effect in a channel, (p,); NaN where the two were not compared.

    It is the scaled residual over the spread of residuals and the number of prompts. Where the pool agrees on every
    prompt there is no spread, and each prompt has its share of the effect as it stands.
    """
    pair: Floats = c.residuals[:, 0, 1]
    count = int(np.isfinite(pair).sum())
    if not count:
        return np.full(len(pair), np.nan)
    spread = c.noise
    if spread > TINY:
        return pair / (spread * count)
    total = float(np.nansum(pair))
    return pair * (float(excess_of(c.residuals)[0, 1]) / total if abs(total) > TINY else 0.0)


def telling(c: Compared, most: int) -> list[Telling]:
    """Prompts that contribute most to the accused pair's excess, strongest first, then those that speak against it."""
    return _loudest(c, contributions(c), most)


def _loudest(c: Compared, share: Floats, most: int) -> list[Telling]:
    s = c.similarity
    seen = np.flatnonzero(np.isfinite(share))
    order = seen[np.argsort(-share[seen], kind="stable")]
    top = [i for i in order[:most] if share[i] > 0]
    low = [i for i in order[::-1][:most] if share[i] < 0]
    return [Telling(s.channel, c.prompts[i], float(share[i]), float(c.values[i, 0, 1]), s.unit) for i in (*top, *low)]


@dataclass(frozen=True)
class Overview:
    """How alike all models of a campaign are, (m, m), NaN on the diagonal: mean over channels of the scaled excess, or
    of raw similarity, standardised over the pairs of each channel. ``branches`` are those of its tree."""

    names: tuple[str, ...]
    matrix: Floats
    left_out: tuple[str, ...]
    measure: Measure = "excess"
    branches: tuple[Branch, ...] = ()


ROUNDS = 100  # resamplings of the prompts, for the support of a branch


def overview(similarities: Sequence[Similarity]) -> Overview | None:
    """All models that every other one can be compared with; the one with most gaps is left out first."""
    counted = [s for s in similarities if s.sees != "reported"]
    measure: Measure = "excess"
    matrix, draws = _over_channels(counted, measure)
    kept, out = _complete(matrix)
    if measure_of(len(kept)) == "raw":
        measure = "raw"
        matrix, draws = _over_channels(counted, measure)
        kept, out = _complete(matrix)
    if len(kept) < 3 or not np.isfinite(matrix).any():
        return None
    names, shown = similarities[0].models, matrix[np.ix_(kept, kept)]
    whole = np.isfinite(shown[np.triu_indices(len(kept), 1)]).all()
    found = branches(shown, [d[np.ix_(kept, kept)] for d in draws]) if whole else ()
    return Overview(tuple(names[i] for i in kept), shown, tuple(names[i] for i in out), measure, found)


def _over_channels(counted: Sequence[Similarity], measure: Measure) -> tuple[Floats, Floats]:
    """The matrix of an overview, (m, m), and the same on resampled prompts, (rounds, m, m): means over channels."""
    rng = np.random.default_rng(0)
    m = counted[0].values.shape[-1] if counted else 1
    at = np.stack(np.triu_indices(m, 1), axis=1)
    matrices = []
    total, known = np.zeros((ROUNDS, len(at))), np.zeros((ROUNDS, len(at)))
    for s in counted:
        matrix, draws = _of_channel(s, measure, at, rng)
        if matrix is not None:
            matrices.append(matrix)
        if draws is not None:
            total += np.nan_to_num(draws)
            known += np.isfinite(draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _mean(matrices), square(total / known, at, m)


def _of_channel(
    s: Similarity, measure: Measure, at: NDArray[np.intp], rng: np.random.Generator
) -> tuple[Floats | None, Floats | None]:
    """All pairs of a channel, (m, m), and the same on resampled prompts, (rounds, q), in units of the spread over pairs
    of the first; None where nothing tells one pair from another."""
    series = upper(s.values) if measure == "raw" else _residuals(s)
    matrix = standardised(s.values) if measure == "raw" else None
    if not np.isfinite(series).any():  # two models alone: there is no other pair to compare theirs with
        return matrix, None
    p, m = len(series), s.values.shape[-1]
    weights = np.vstack([np.ones(p), drawn(p, ROUNDS, rng)])  # the prompts as they are come first: they give the unit
    means = square(weighted_means(series, weights), at, m)
    moved = means - known_mean(means[0]) if measure == "raw" else additive_residuals(means, scale=False)
    size = float(np.sqrt(known_mean(moved[0] ** 2)))
    draws = upper(moved[1:]) / max(size, TINY)
    return (moved[0] / size if size > TINY else None) if measure == "excess" else matrix, draws


def _residuals(s: Similarity) -> Floats:
    """Scaled residuals of all pairs of a channel, (p, q), some prompts at a time."""
    parts = [upper(additive_residuals(s.values[at : at + CHUNK])) for at in range(0, len(s.values), CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, 0))


def _complete(matrix: Floats) -> tuple[list[int], list[int]]:
    """Models with a number for every pair of theirs, and those left out for that, the one with most gaps first."""
    kept, out = list(range(len(matrix))), []
    while len(kept) > 2:
        gaps = (~np.isfinite(matrix[np.ix_(kept, kept)])).sum(1) - 1
        if gaps.max() == 0:
            break
        out.append(kept.pop(int(gaps.argmax())))
    return kept, out


@dataclass(frozen=True)
class AllPairs:
    """One channel on all pairs of m models, (m, m) each and NaN on the diagonal: mean similarity ``raw``, and in the
    same unit how much closer than ``expected`` it is, ``residual``, with its 95 % interval (``low``, ``high``);
    ``excess`` is that in units of its spread over the pairs, and ``prompts`` counts those that both answered."""

    raw: Floats
    residual: Floats
    low: Floats
    high: Floats
    excess: Floats
    prompts: NDArray[np.int64]

    @property
    def expected(self) -> Floats:
        """What the general closeness of the two models explains."""
        return self.raw - self.residual


CHUNK = 64  # prompts at a time, so that all pairs of a hundred models need no copies of the whole


def all_pairs(s: Similarity) -> AllPairs:
    """How alike all models of a campaign are in one channel, beside what their closeness to everybody explains.

    Parameters
    ----------
    s : Similarity
        Values (p, m, m) of one channel.

    Returns
    -------
    AllPairs
        Among all models, kin included. A verdict compares its pair among unrelated models alone, without copied
        answers, and less what is alike on unlike prompts: its own numbers differ.

    Notes
    -----
    The residual is that of `harness.inference.excess.excess`, put back into the channel's unit at the mean spread of a
    prompt. Its interval is Student's t over prompts. With fewer than four models there is no residual.

    Examples
    --------
    Two of six models are 0.1 closer than the others:

    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(0.0, 0.02, (40, 6, 6))
    >>> values = 0.3 + (noise + noise.transpose(0, 2, 1)) / 2
    >>> values[:, [0, 1], [1, 0]] += 0.1
    >>> values[:, range(6), range(6)] = np.nan
    >>> names, ids = tuple("abcdef"), tuple(f"q{i}" for i in range(40))
    >>> found = all_pairs(Similarity("wording", names, ids, values.astype(np.float32), np.ones(6), "cosine", "text"))
    >>> [round(float(m[0, 1]), 2) for m in (found.raw, found.expected, found.residual)]
    [0.4, 0.34, 0.06]
    >>> bool(found.low[0, 1] < found.residual[0, 1] < found.high[0, 1]), int(found.prompts[0, 1])
    (True, 40)
    """
    shape = s.values.shape[1:]
    total, first, second, count = (np.zeros(shape) for _ in range(4))
    spreads = []
    for at in range(0, len(s.prompts), CHUNK):
        values = s.values[at : at + CHUNK].astype(np.float64)
        plain = additive_residuals(values, scale=False)
        spread = prompt_spreads(plain)
        spreads.append(spread)
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled = np.where((spread > TINY)[:, None, None], plain / spread[:, None, None], plain * 0.0)
        seen = np.isfinite(scaled)
        known = np.where(seen, scaled, 0.0)
        total += np.where(np.isfinite(values), values, 0.0).sum(0)
        first += known.sum(0)
        second += (known**2).sum(0)
        count += seen.sum(0)
    prompts = s.counts()
    size = known_mean(np.concatenate(spreads)) if spreads else np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first / count
        residual = size * additive_residuals(np.where(count > 0, mean, np.nan), scale=False)
        error = np.sqrt(np.maximum(second / count - mean**2, 0.0) / (count - 1))  # of the mean
        half = size * student.ppf(0.975, np.maximum(count - 1, 1)) * np.where(count > 1, error, np.nan)
        raw = np.where(prompts > 0, total / prompts, np.nan)
        excess = residual / max(float(np.sqrt(known_mean(residual**2))), TINY * TINY)
    return AllPairs(raw, residual, residual - half, residual + half, excess, prompts)


def standardised(values: NDArray[np.floating]) -> Floats:
    """Mean similarity (n, n) over prompts of values (p, n, n), standardised over the pairs: channels differ in unit."""
    raw = mean_over_prompts(np.asarray(values, dtype=np.float64))
    if not np.isfinite(raw).any():
        return raw
    spread = float(np.nanstd(raw))
    centred: Floats = raw - np.nanmean(raw)
    return centred / spread if spread > TINY else np.where(np.isfinite(raw), 0.0, np.nan)


def _mean(matrices: Sequence[Floats]) -> Floats:
    """Mean over channels without NaN, (n, n); one NaN without channels."""
    return mean_over_prompts(np.array(matrices)) if matrices else np.full((1, 1), np.nan)
