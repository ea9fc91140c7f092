"""From numbers to words: the findings of one campaign, each under its null and with what limits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.inference.controls import Model, Pool, pool_for, restrict
from harness.inference.findings import NAN, ChannelEvidence, Finding, Verdict, holm
from harness.inference.identity import TwoSample, halves, two_sample
from harness.inference.kinship import additive_residuals, controls_needed, excess, max_null_p, smallest_p
from harness.similarity import Similarity

Floats = NDArray[np.float64]
Grams = Sequence[tuple[Floats, int]]


@dataclass(frozen=True)
class Settings:
    """How findings are decided; see `harness.config.Analysis`."""

    alpha: float
    min_coverage: float
    permutations: int
    bootstrap: int
    seed: int


def kinship(
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    similarities: Sequence[Similarity],
    twin: Sequence[Similarity],
    settings: Settings,
) -> Finding:
    """Is the suspect closer to the candidate than unrelated models are to one another?

    ``twin`` holds similarities in which half of the candidate's samples pose as a model called ``twin_name``: the
    positive control. The p-value is not yet adjusted; see `decide`.
    """
    usable, notes = _covered(similarities, (suspect.name, candidate.name), settings.min_coverage)
    pool = pool_for(suspect, candidate, models, usable, settings.min_coverage)
    notes += pool.left_out
    blank = _blank("kinship", suspect.name, candidate.name, pool)
    if not usable or len(pool.controls) < 2:
        why = "no channel has enough usable answers" if not usable else "fewer than two control lineages are usable"
        return replace(blank, sentence=f"Cannot tell: {why}.", limits=tuple(notes))
    rng = np.random.default_rng(settings.seed)
    values = [restrict(s, pool.names) for s in usable]
    evidence = tuple(_channel(s, v, settings.bootstrap, rng) for s, v in zip(usable, values, strict=True))
    combined = combine(values)
    p = max_null_p(combined, combined[0, 1])
    low, high = _interval(values, settings.bootstrap, rng)
    notes += _self_checks(pool, usable, twin, settings)
    finding = replace(
        blank,
        p_value=p,
        p_floor=smallest_p(len(pool.controls)),
        effect=float(combined[0, 1]),
        effect_low=low,
        effect_high=high,
        prompts=len({q for s in usable for q in s.prompts}),
        coverage=min(e.coverage for e in evidence),
        limits=tuple(notes),
        evidence=evidence,
    )
    return finding


def combine(values: Sequence[Floats]) -> Floats:
    """Mean over channels of the excess, each in units of its own spread over pairs, (n, n).

    One combined score and one rank of it is valid however dependent the channels are; multiplying p-values is not.
    """
    total = []
    for v in values:
        e = excess(v)
        total.append(e / np.sqrt(np.nanmean(e**2)))
    out: Floats = np.mean(total, axis=0)
    return out


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


def _channel(s: Similarity, v: Floats, rounds: int, rng: np.random.Generator) -> ChannelEvidence:
    matrix = excess(v)
    raw = _mean(v)
    others = raw[np.triu_indices(len(raw), 1)][1:]  # every pair but the accused one, which comes first
    low, high = _interval([v], rounds, rng)
    return ChannelEvidence(
        channel=s.channel,
        sees=s.sees,
        unit=s.unit,
        prompts=int(np.isfinite(v[:, 0, 1]).sum()),
        coverage=float(np.nanmin(s.coverage)),
        raw=float(raw[0, 1]),
        control_low=float(np.nanmin(others)),
        control_high=float(np.nanmax(others)),
        effect=float(matrix[0, 1]),
        effect_low=low,
        effect_high=high,
        p=max_null_p(matrix, matrix[0, 1]),
    )


def _interval(values: Sequence[Floats], rounds: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % bootstrap interval of the accused pair's effect over prompts."""
    draws = np.zeros((len(values), rounds))
    for row, v in enumerate(values):
        residuals = additive_residuals(v)
        noise = _noise(residuals)
        pair = residuals[:, 0, 1]
        pair = pair[np.isfinite(pair)]
        means = pair[rng.integers(0, len(pair), (rounds, len(pair)))].mean(1) / noise
        spread = np.sqrt(np.nanmean(excess(v) ** 2)) if len(values) > 1 else 1.0
        draws[row] = means / spread
    low, high = np.quantile(draws.mean(0), [0.025, 0.975])
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
    usable = [s for s in twin if TWIN in s.models and s.coverage[s.models.index(TWIN)] >= settings.min_coverage]
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


TWIN = "\x00twin"  # no endpoint can be called this


def identity(
    suspect: Model,
    candidate: Model,
    pool: Pool,
    grams: Mapping[tuple[str, str], Mapping[str, Grams]],
    settings: Settings,
) -> Finding:
    """Do suspect and candidate answer from the same distribution?

    ``grams[(a, b)][channel]`` are the kernels between samples of two models (`harness.channels.samples`). Every
    control is tested against the candidate too: a test that cannot tell those apart finds nothing out.
    """
    rng = np.random.default_rng(settings.seed)
    channels = grams.get((suspect.name, candidate.name), {})
    results = {c: two_sample(g, settings.permutations, rng) for c, g in channels.items() if g}
    blank = _blank("identity", suspect.name, candidate.name, pool)
    if not results:
        note = "identity needs two or more samples a prompt at a temperature above 0, or logprobs of repeated calls"
        return replace(blank, sentence=f"Cannot tell: {note}.", limits=(note,))
    notes, seen, blind = _identity_checks(candidate, pool, grams, results, settings, rng)
    speaking = {c: r for c, r in results.items() if c not in blind} or results
    p = min(1.0, len(speaking) * min(r.p_value for r in speaking.values()))
    strongest = min(speaking.values(), key=lambda r: (r.p_value, -r.effect))
    evidence = tuple(
        ChannelEvidence(
            channel=c,
            sees="samples",
            unit="MMD squared",
            prompts=r.prompts,
            coverage=NAN,
            raw=r.statistic,
            control_low=seen.get(c, (NAN, NAN))[0],
            control_high=seen.get(c, (NAN, NAN))[1],
            effect=r.effect,
            p=r.p_value,
            note=blind.get(c, ""),
        )
        for c, r in results.items()
    )
    return replace(
        blank,
        p_value=p,
        p_floor=min(1.0, len(speaking) * strongest.p_floor),
        effect=strongest.effect,
        prompts=max(r.prompts for r in speaking.values()),
        coverage=1.0,
        limits=tuple(notes),
        evidence=evidence,
    )


def _identity_checks(
    candidate: Model,
    pool: Pool,
    grams: Mapping[tuple[str, str], Mapping[str, Grams]],
    results: Mapping[str, TwoSample],
    settings: Settings,
    rng: np.random.Generator,
) -> tuple[list[str], dict[str, tuple[float, float]], dict[str, str]]:
    """Notes, the controls' range, and the channels that see nothing here: those that cannot tell a control apart."""
    notes = []
    seen: dict[str, tuple[float, float]] = {}
    blind: dict[str, str] = {}
    for channel in results:
        tests = {
            c.name: two_sample(grams.get((c.name, candidate.name), {}).get(channel, ()), settings.permutations, rng)
            for c in pool.controls
        }
        missed = [n for n, t in tests.items() if t.prompts and t.p_value > settings.alpha]
        if missed:
            blind[channel] = f"abstains: cannot tell {', '.join(missed)} from {candidate.name}"
            notes.append(f"{channel} {blind[channel]}")
        statistics = [t.statistic for t in tests.values() if t.prompts]
        if statistics:
            seen[channel] = (min(statistics), max(statistics))
        pair = grams.get((pool.suspect, candidate.name), {}).get(channel, ())
        own = [halves(g[n:, n:]) for g, n in pair if len(g) - n >= 4]
        if own and (t := two_sample(own, settings.permutations, rng)).p_value <= settings.alpha / 10:
            notes.append(f"FAILED positive control: {channel} tells {candidate.name} from itself (p = {t.p_value:.2g})")
    if len(blind) == len(results):
        notes.append("FAILED negative control: no channel tells every control from the candidate")
    return notes, seen, blind


def _blank(question: str, suspect: str, candidate: str, pool: Pool) -> Finding:
    return Finding(
        question=question,
        suspect=suspect,
        candidate=candidate,
        verdict="INCONCLUSIVE",
        sentence="",
        p_value=NAN,
        p_floor=NAN,
        p_adjusted=NAN,
        effect=NAN,
        effect_low=NAN,
        effect_high=NAN,
        control_lineages=pool.lineages,
        prompts=0,
        coverage=NAN,
    )


def decide(findings: Sequence[Finding], settings: Settings) -> list[Finding]:
    """Holm over all findings, then verdict and sentence for each."""
    adjusted = holm([f.p_value for f in findings])
    out = []
    for finding, p in zip(findings, adjusted, strict=True):
        f = replace(finding, p_adjusted=p)
        if not f.sentence:
            verdict, sentence = (_judge_kinship if f.question == "kinship" else _judge_identity)(f, settings.alpha)
            f = replace(f, verdict=verdict, sentence=sentence)
        out.append(f)
    return out


def _failed(f: Finding) -> str | None:
    return next((n for n in f.limits if n.startswith("FAILED")), None)


def _judge_kinship(f: Finding, alpha: float) -> tuple[Verdict, str]:
    k = len(f.control_lineages)
    if failed := _failed(f):
        return "INCONCLUSIVE", f"Cannot tell: {failed[7:]}."
    if f.p_floor > alpha:
        rank = "is the closest pair of all" if f.p_value <= f.p_floor + 1e-9 else "is not the closest pair"
        return "INCONCLUSIVE", (
            f"Cannot tell: with {k} control lineages the smallest honest p is {f.p_floor:.2g}, so no similarity could be "
            f"called unusual at {alpha:g}; that takes {controls_needed(alpha)} control lineages "
            f"({controls_needed(0.01)} for 0.01). Among those at hand {f.suspect} with {f.candidate} {rank} (p = {f.p_value:.2g})."
        )
    if f.p_adjusted <= alpha:
        weights = [e.channel for e in f.evidence if e.sees == "weights" and e.p <= alpha]
        verdict: Verdict = "KIN-LIKE" if weights else "KIN-OR-TAUGHT"
        tail = f"{', '.join(weights)} sees shared weights" if weights else "no channel that sees weights has spoken"
        return verdict, (
            f"{f.suspect} is closer to {f.candidate} than unrelated models are to one another: of pairs among "
            f"{k} control lineages and these two, chance puts it this high with p = {f.p_value:.2g}; {tail}."
        )
    return "INCONCLUSIVE" if f.p_value <= 0.5 else "UNRELATED-LIKE", (
        f"{f.suspect} is no closer to {f.candidate} than unrelated models are to one another (p = {f.p_value:.2g}, "
        f"{k} control lineages)."
    )


def _judge_identity(f: Finding, alpha: float) -> tuple[Verdict, str]:
    speaking = [e for e in f.evidence if not e.note]
    differ = [e.channel for e in speaking if len(speaking) * e.p <= alpha]
    same = [e.channel for e in speaking if e.p > alpha]
    if f.p_adjusted <= alpha and differ:
        tail = f"; on {', '.join(same)} they cannot be told apart" if same else ""
        return "DIFFERENT-LIKE", (
            f"{f.suspect} and {f.candidate} do not answer from one distribution: {', '.join(differ)} tells them apart "
            f"(p = {f.p_value:.2g}){tail}."
        )
    if failed := _failed(f):
        return "INCONCLUSIVE", f"Cannot tell: {failed[7:]}."
    if not f.control_lineages:
        return (
            "INCONCLUSIVE",
            "No difference found, but without controls nobody knows whether one could have been.",
        )
    return "SAME-LIKE", (
        f"{f.suspect} and {f.candidate} cannot be told apart (p = {f.p_value:.2g}), by a test that tells every control "
        f"from {f.candidate} on the same prompts."
    )
