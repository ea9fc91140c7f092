"""Kinship: is the suspect closer to the candidate than unrelated models are to one another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.inference.controls import Model, Pool, pool_for, restrict
from harness.inference.findings import NAN, ChannelEvidence, Finding, Settings, blank_finding
from harness.inference.likelihood import LikelihoodTable, verbal
from harness.inference.pair_rank import TINY, additive_residuals, excess, max_null_p, row_p, smallest_p
from harness.similarity import Similarity

Floats = NDArray[np.float64]
TWIN = "\x00twin"  # no endpoint can be called this


def kinship(
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    similarities: Sequence[Similarity],
    twin: Sequence[Similarity],
    table: LikelihoodTable,
    settings: Settings,
) -> Finding:
    """Is the suspect closer to the candidate than unrelated models are to one another?

    ``twin`` holds similarities in which half of the candidate's samples pose as a model called `TWIN`: the
    positive control. ``table`` calibrates the likelihood ratio. The p-value is not yet adjusted; see `decide`.
    """
    combined_in = [s for s in similarities if s.sees != "reported"]
    usable, notes = _covered(combined_in, (suspect.name, candidate.name), settings.min_coverage)
    pool = pool_for(suspect, candidate, models, usable, settings.min_coverage)
    notes += pool.left_out
    blank = blank_finding("kinship", pool)
    if not usable or len(pool.controls) < 2:
        why = "no channel has enough usable answers" if not usable else "fewer than two control lineages are usable"
        return replace(blank, sentence=f"Cannot tell: {why}.", limits=tuple(notes))
    rng = np.random.default_rng(settings.seed)
    values = [restrict(s, pool.names) for s in usable]
    weights = reliabilities(values)
    evidence = tuple(
        _channel(s, v, settings.bootstrap, rng, f"weight {w:.2f}")
        for s, v, w in zip(usable, values, weights, strict=True)
    )
    combined = combine(values)
    if not np.isfinite(combined[0, 1]):
        why = f"{suspect.name} and {candidate.name} have too few prompts in common with the controls"
        return replace(blank, sentence=f"Cannot tell: {why}.", limits=tuple(notes))
    if np.nanmax(np.abs(combined)) < TINY:
        why = "all models answered alike, so that nothing tells one pair from another"
        return replace(blank, sentence=f"Cannot tell: {why}.", limits=tuple(notes))
    p = max_null_p(combined, combined[0, 1])
    low, high = _interval(values, weights, settings.bootstrap, rng)
    evidence += _reported(similarities, pool, settings, rng)
    notes += _rivals(combined, pool)
    notes += _self_checks(pool, usable, twin, settings)
    finding = replace(
        blank,
        p_value=p,
        p_floor=smallest_p(len(pool.controls)),
        p_candidate=row_p(combined),
        effect=float(combined[0, 1]),
        effect_low=low,
        effect_high=high,
        prompts=len({q for s in usable for q in s.prompts}),
        coverage=min(e.coverage for e in evidence[: len(usable)]),
        evidence=evidence,
    )
    finding, more = _with_likelihood(finding, table)
    return replace(finding, limits=(*notes, *more))


def _rivals(matrix: Floats, pool: Pool) -> list[str]:
    """The pairs that are at least as close as the accused one: undocumented kin among the controls hide in there."""
    rows, columns = np.triu_indices(len(matrix), 1)
    scores = matrix[rows, columns]
    above = [i for i in np.argsort(-scores) if scores[i] >= matrix[0, 1] - 1e-12 and (rows[i], columns[i]) != (0, 1)]
    if not above or len(matrix) == 4:  # in a pool of four every residual is that of the opposite pair
        return []
    named = [f"{pool.names[rows[i]]} with {pool.names[columns[i]]}" for i in above[:3]]
    more = f" and {len(above) - 3} more" if len(above) > 3 else ""
    return [f"at least as close as the accused pair: {', '.join(named)}{more}"]


def _with_likelihood(f: Finding, table: LikelihoodTable) -> tuple[Finding, list[str]]:
    """log10 LR of the channel that the calibration knows, its interval that of the channel's effect."""
    found = next((e for e in f.evidence if e.channel == table.channel), None)
    k = len(f.control_lineages)
    line = table.line(k, found.prompts) if found else None
    if found is None or line is None:
        least = f"{table.controls[0]} control lineages and {table.prompts[0]} prompts"
        return f, [f"no likelihood ratio: the calibration needs the {table.channel} channel, {least}"]
    value, low, high = line.transform([found.effect, found.effect_low, found.effect_high])
    notes = [f"the likelihood ratio is bounded to [{line.lower:.2g}, {line.upper:.2g}] by the data it was fitted on"]
    found_lr = replace(f, log10_lr=float(value), log10_lr_low=float(low), log10_lr_high=float(high))
    found_lr = replace(found_lr, log10_lr_least=line.lower, log10_lr_most=line.upper, lr_words=verbal(float(value)))
    return found_lr, notes


def combine(values: Sequence[Floats]) -> Floats:
    """Mean over channels of the excess, each in units of its own spread and weighted by its reliability, (n, n).

    One combined score and one rank of it is valid however dependent the channels are; multiplying p-values is not.
    Spread and reliability are functions of the whole pool that do not know which pair is the accused one.
    """
    return combine_excess([excess(v) for v in values], reliabilities(values))


def combine_excess(matrices: Sequence[Floats], weights: ArrayLike | None = None) -> Floats:
    """As `combine`, of the excess of each channel; weights (c,), by default equal."""
    scaled = [e / max(float(np.sqrt(np.nanmean(e**2))), TINY) for e in matrices]
    out: Floats = np.average(scaled, axis=0, weights=None if weights is None else np.asarray(weights))
    return out


def reliabilities(values: Sequence[Floats]) -> Floats:
    """How well a channel's even prompts foretell what its odd ones say of every pair of the pool, (c,), sum 1.

    Split-half correlation stepped up to full length (Spearman 1910, Brown 1910), at least 0. A channel of few or noisy
    prompts then cannot drown one that repeats itself.
    """
    raw = np.array([_split_half(v) for v in values])
    return raw / raw.sum() if raw.sum() > 0 else np.full(len(raw), 1.0 / len(raw))


def _split_half(values: Floats) -> float:
    residuals = additive_residuals(values)
    at = np.triu_indices(residuals.shape[-1], 1)
    halves = [_mean(residuals[start::2])[at] for start in (0, 1)]
    both = np.isfinite(halves[0]) & np.isfinite(halves[1])
    a, b = halves[0][both], halves[1][both]
    if len(a) < 3 or a.std() < TINY or b.std() < TINY:
        return 0.0
    r = max(0.0, float(np.corrcoef(a, b)[0, 1]))
    return 2 * r / (1 + r)


def _reported(
    similarities: Sequence[Similarity], pool: Pool, settings: Settings, rng: np.random.Generator
) -> tuple[ChannelEvidence, ...]:
    """Channels that are shown and carry no weight in the verdict."""
    out = []
    for s in similarities:
        if s.sees == "reported":
            values = restrict(s, pool.names)
            if np.isfinite(values[:, 0, 1]).any():
                out.append(_channel(s, values, settings.bootstrap, rng, "reported, not part of the verdict"))
    return tuple(out)


def _covered(
    similarities: Sequence[Similarity], names: Sequence[str], least: float
) -> tuple[list[Similarity], list[str]]:
    usable, notes = [], []
    for s in similarities:
        worst = min((float(s.coverage[s.models.index(n)]), n) for n in names)
        if worst[0] >= least:
            usable.append(s)
        else:
            notes.append(f"{s.channel} abstains: {worst[1]} gave usable answers to {worst[0]:.0%} of its prompts")
    return usable, notes


def _channel(s: Similarity, v: Floats, rounds: int, rng: np.random.Generator, note: str) -> ChannelEvidence:
    matrix = excess(v)
    raw = _mean(v)
    others = raw[np.triu_indices(len(raw), 1)][1:]  # every pair but the accused one, which comes first
    low, high = _interval([v], np.ones(1), rounds, rng, scaled=False)
    return ChannelEvidence(
        channel=s.channel,
        sees=s.sees,
        unit=s.unit,
        prompts=int(np.isfinite(v[:, 0, 1]).sum()),
        coverage=float(np.nanmin(s.coverage)),
        raw=float(raw[0, 1]),
        control_low=float(np.nanmin(others)) if np.isfinite(others).any() else NAN,
        control_high=float(np.nanmax(others)) if np.isfinite(others).any() else NAN,
        effect=float(matrix[0, 1]),
        effect_low=low,
        effect_high=high,
        p=max_null_p(matrix, matrix[0, 1]),
        note=note,
    )


def _interval(
    values: Sequence[Floats], weights: Floats, rounds: int, rng: np.random.Generator, scaled: bool = True
) -> tuple[float, float]:
    """95 % bootstrap interval of the accused pair's effect over prompts, scaled as `combine` does or not."""
    draws = np.zeros((len(values), rounds))
    for row, v in enumerate(values):
        residuals = additive_residuals(v)
        noise = max(_noise(residuals), TINY)
        pair = residuals[:, 0, 1]
        pair = pair[np.isfinite(pair)]
        means = pair[rng.integers(0, len(pair), (rounds, len(pair)))].mean(1) / noise
        spread = max(float(np.sqrt(np.nanmean(excess(v) ** 2))), TINY) if scaled else 1.0
        draws[row] = means / spread
    low, high = np.quantile(weights @ draws, [0.025, 0.975])
    return float(low), float(high)


def _mean(values: Floats) -> Floats:
    """Mean over prompts where there is one, NaN elsewhere: the diagonal has none."""
    seen = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        out: Floats = np.where(seen, values, 0.0).sum(0) / seen.sum(0)
    return out


def _noise(residuals: Floats) -> float:
    """Spread of residuals from prompt to prompt, one number for the pool."""
    n = np.isfinite(residuals).sum(0).mean()
    spread = _mean(residuals**2) - _mean(residuals) ** 2
    return float(np.sqrt(np.nanmean(spread) * n / max(n - 1.0, 1.0)))


def _self_checks(
    pool: Pool, similarities: Sequence[Similarity], twin: Sequence[Similarity], settings: Settings
) -> list[str]:
    """The positive and the negative control: what failed, or could not be done, in words."""
    notes = []
    posing = np.random.default_rng(settings.seed).permutation(len(pool.controls))
    if len(pool.controls) > 2 and smallest_p(len(pool.controls) - 1) <= settings.alpha:
        names = [pool.controls[posing[0]].name, pool.candidate, *(pool.controls[i].name for i in posing[1:])]
        matrix = combine([restrict(s, names) for s in similarities])
        if max_null_p(matrix, matrix[0, 1]) <= settings.alpha:
            notes.append(
                f"FAILED negative control: {names[0]}, known to be unrelated, looks like kin of {pool.candidate}"
            )
    else:
        notes.append("no negative control: too few control lineages to pose one of them as the suspect")
    usable = [s for s in twin if s.sees != "reported" and s.coverage[s.models.index(TWIN)] >= settings.min_coverage]
    if not usable:
        notes.append("no positive control: it needs two samples a prompt of the candidate")
        return notes
    names = [TWIN, *pool.names[1:]]
    matrix = combine([restrict(s, names) for s in usable])
    if matrix[0, 1] < np.nanmax(matrix) - 1e-9:
        notes.append(
            f"FAILED positive control: half of {pool.candidate}'s answers do not look like kin of the other half"
        )
    return notes
