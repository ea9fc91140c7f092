"""Kinship: is the suspect closer to the candidate than unrelated models are to one another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from harness.inference.excess import (
    TINY,
    additive_residuals,
    combine,
    excess,
    known_mean,
    max_null_p,
    mean_over_prompts,
    reliabilities,
    row_p,
    smallest_p,
)
from harness.inference.findings import NAN, ChannelEvidence, Finding, Settings, blank_finding
from harness.inference.likelihood import LikelihoodTable, verbal
from harness.inference.pool import Model, Pool, agreed_pool, pool_for, restrict
from harness.records import Similarity

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
    pool, joined = agreed_pool(suspect, candidate, models, usable, settings.min_coverage)
    odd = {s.channel: why for s in joined if (why := foreign(s, pool))}
    counted = [s.channel for s in joined]
    apart = [s for s in usable if s.channel not in counted]
    usable = [s for s in joined if s.channel not in odd]
    notes += [*pool.left_out, *odd.values()]
    blank = blank_finding("kinship", pool)
    if not usable or len(pool.controls) < 2:
        why = next(iter(odd.values()), "no channel has enough usable answers")
        why = why if not usable else "fewer than two control lineages are usable"
        return replace(blank, sentence=f"Cannot tell: {why}.", limits=tuple(notes))
    rng = np.random.default_rng(settings.seed)
    values = [restrict(s, pool.names) for s in usable]
    weights = reliabilities(values)
    evidence = tuple(
        _channel(s, v, settings.bootstrap, rng, f"weight {w:.2f}")
        for s, v, w in zip(usable, values, weights, strict=True)
    )
    combined = combine(values)
    if why := _untestable(combined, pool):
        return replace(blank, sentence=f"Cannot tell: {why}.", limits=tuple(notes))
    p = max_null_p(combined, combined[0, 1])
    low, high = _interval(values, weights, settings.bootstrap, rng)
    coverage = min(e.coverage for e in evidence)
    for s in apart:
        own = pool_for(suspect, candidate, models, [s], settings.min_coverage)
        notes.append(f"{s.channel} covers {len(own.controls)} control lineages and stays out of the combined score")
        if len(own.controls) >= 2:
            note = f"own pool of {len(own.controls)} control lineages, not combined"
            evidence += (_channel(s, restrict(s, own.names), settings.bootstrap, rng, note),)
    evidence += _reported(similarities, pool, settings, rng)
    notes.append(candidate_null(usable, pool))
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
        coverage=coverage,
        evidence=evidence,
    )
    finding, more = _with_likelihood(finding, table)
    return replace(finding, limits=(*notes, *more))


def _untestable(combined: Floats, pool: Pool) -> str | None:
    if not np.isfinite(combined[0, 1]):
        return f"{pool.suspect} and {pool.candidate} have too few prompts in common with the controls"
    if np.nanmax(np.abs(combined)) < TINY:
        return "all models answered alike, so that nothing tells one pair from another"
    return None


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
    found = next((e for e in f.evidence if e.channel == table.channel and e.note.startswith("weight")), None)
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
        worst = min((float(np.nan_to_num(s.coverage[s.models.index(n)])), n) for n in names)  # NaN: never asked
        if worst[0] >= least:
            usable.append(s)
        else:
            notes.append(f"{s.channel} abstains: {worst[1]} gave usable answers to {worst[0]:.0%} of its prompts")
    return usable, notes


def _channel(s: Similarity, v: Floats, rounds: int, rng: np.random.Generator, note: str) -> ChannelEvidence:
    matrix = excess(v)
    raw = mean_over_prompts(v)
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


def _noise(residuals: Floats) -> float:
    """Spread of residuals from prompt to prompt, one number for the pool."""
    n = np.isfinite(residuals).sum(0).mean()
    spread = mean_over_prompts(residuals**2) - mean_over_prompts(residuals) ** 2
    return float(np.sqrt(known_mean(spread) * n / max(n - 1.0, 1.0)))


def _negative_control(pool: Pool, similarities: Sequence[Similarity], settings: Settings) -> list[str]:
    """Every control poses as the suspect once: how many are found to be kin, and whether those are too many.

    Of K unrelated controls alpha * K are found by chance, so one is no failure; it is named. The check has failed when
    so many would be found with a probability of alpha at most (binomial: the poses are not independent, which makes
    this a rule of thumb). No control is drawn, so the verdict does not hang on a seed.
    """
    k = len(pool.controls)
    if k <= 2 or smallest_p(k - 1) > settings.alpha:
        return ["no negative control: too few control lineages to pose one of them as the suspect"]
    names = [c.name for c in pool.controls]
    found = []
    for name in names:
        order = [name, pool.candidate, *(n for n in names if n != name)]
        matrix = combine([restrict(s, order) for s in similarities])
        if max_null_p(matrix, matrix[0, 1]) <= settings.alpha:
            found.append(name)
    if not found:
        return []
    looks = "looks" if len(found) == 1 else "look"
    said = (
        f"of {k} controls posing as the suspect {len(found)} {looks} like kin of {pool.candidate}: {', '.join(found)}"
    )
    if binom.sf(len(found) - 1, k, settings.alpha) <= settings.alpha:
        return [f"FAILED negative control: {said}"]
    return [f"{said}; are they as unrelated as declared?"]


def _self_checks(
    pool: Pool, similarities: Sequence[Similarity], twin: Sequence[Similarity], settings: Settings
) -> list[str]:
    """The positive and the negative control: what failed, or could not be done, in words."""
    notes = _negative_control(pool, similarities, settings)
    counted = [s.channel for s in similarities]
    usable = [s for s in twin if s.channel in counted and s.coverage[s.models.index(TWIN)] >= settings.min_coverage]
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
