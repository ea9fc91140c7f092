"""Identity: do suspect and candidate answer from the same distribution?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.inference.controls import Model, Pool
from harness.inference.findings import GAPS, NAN, ChannelEvidence, Finding, Settings, blank_finding
from harness.inference.two_sample import TwoSample, halves, two_sample

Floats = NDArray[np.float64]
Grams = Sequence[tuple[Floats, int]]
EVERYTHING: Mapping[str, float] = {}


def identity(
    suspect: Model,
    candidate: Model,
    pool: Pool,
    grams: Mapping[tuple[str, str], Mapping[str, Grams]],
    settings: Settings,
    coverage: Mapping[str, float] = EVERYTHING,
) -> Finding:
    """Do suspect and candidate answer from the same distribution?

    ``grams[(a, b)][channel]`` are the kernels between samples of two models (`harness.channels.samples`). Every
    control is tested against the candidate too: a test that cannot tell those apart finds nothing out. ``coverage``
    is the share of what was asked of suspect and candidate that can be compared, by channel; under ``min_coverage`` a
    channel abstains, for what is left is a choice of answers and no sample of them. NaN or not there: not known.
    """
    rng = np.random.default_rng(settings.seed)
    channels = grams.get((suspect.name, candidate.name), {})
    results = {c: two_sample(g, settings.permutations, rng) for c, g in channels.items() if g}
    blank = blank_finding("identity", pool)
    if not results:
        note = "identity needs two or more samples a prompt at a temperature above 0, or logprobs of repeated calls"
        return replace(blank, sentence=f"Cannot tell: {note}.", limits=(note,))
    thin = {c: v for c in results if (v := coverage.get(c, NAN)) < settings.min_coverage}
    gaps = {c: f"{GAPS} only {v:.0%} of what was asked can be compared" for c, v in thin.items()}
    covered = {c: r for c, r in results.items() if c not in gaps}
    notes, seen, blind = _identity_checks(candidate, pool, grams, covered, settings, rng)
    notes += [f"{c} {said}" for c, said in gaps.items()]
    blind |= gaps
    if not covered:
        said = "Cannot tell: refusals, empty answers or missing logprobs leave too little to compare."
        blank = replace(blank, sentence=said)
    speaking = {c: r for c, r in results.items() if c not in blind} or results
    p = min(1.0, len(speaking) * min(r.p_value for r in speaking.values()))
    strongest = min(speaking.values(), key=lambda r: (r.p_value, -r.effect))
    evidence = tuple(
        ChannelEvidence(
            channel=c,
            sees="samples",
            unit="MMD squared",
            prompts=r.prompts,
            coverage=coverage.get(c, NAN),
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
        coverage=min((coverage.get(c, NAN) for c in speaking), key=np.nan_to_num),
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
    if results and len(blind) == len(results):
        notes.append("FAILED negative control: no channel tells every control from the candidate")
    return notes, seen, blind
