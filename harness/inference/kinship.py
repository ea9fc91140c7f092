"""Kinship: is the suspect closer to the candidate than unrelated models are to one another?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log10
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from harness.inference.assessment import TWIN, Assessment, Case, Compared, Twin, bounds, loudest_left_out
from harness.inference.excess import TINY, combine_excess, max_null_p, reaches, reliabilities_of, row_p, smallest_p
from harness.inference.findings import NAN, Caveat, CaveatKind, ChannelEvidence, Finding, Outlook, Settings, Wording
from harness.inference.likelihood import LikelihoodTable, Ratios
from harness.inference.mixture import mixture
from harness.inference.pool import candidates_apart
from harness.inference.stopping import Progress, rank_p
from harness.inference.verdicts import SILENT, Judgement, inconclusive, related, unrelated
from harness.records import Probe, Similarity

Floats = NDArray[np.float64]
Tables = Mapping[str, LikelihoodTable]
Unfitted = Callable[[Mapping[str, Any]], Sequence[Caveat]]
STRONG, WEAK = 1.0, log10(2.0)  # log10 LR of 10 and of 2: moderate and weak support in ENFSI's scale
ABLE = 0.8  # share of the pairs of one base that must be found where silence is to clear one
GAIN = 0.05  # share of them that further evidence must find on top to be worth a sentence
LENIENT = {"first words": 2.0, "without the loudest": 5.0}  # times alpha, where even kin have less to show


def find(case: Case) -> Finding:
    """The finding of one pair, with the conditions in which pair and controls differ as the first of its caveats."""
    found = kinship(
        case.assessment,
        case.twin,
        case.tables,
        case.settings,
        two_makers=case.two_makers,
        looks=case.looks,
        unfitted=case.unfitted,
        progress=case.progress,
    )
    return replace(found, caveats=(*case.resemblance(), *found.caveats))


def kinship(
    a: Assessment,
    twin: Twin,
    tables: Tables,
    settings: Settings,
    *,
    two_makers: bool = False,
    looks: int = 1,
    unfitted: Unfitted = lambda about: (),
    progress: Progress | None = None,
) -> Finding:
    """Is the suspect closer to the candidate than unrelated models are to one another?

    Parameters
    ----------
    a : Assessment
        The pair among its controls.
    twin : function from names of channels to similarities
        The positive control: every second sample of the candidate poses as a model called `TWIN`. Empty where the
        candidate has no second sample.
    tables : mapping from channel to LikelihoodTable
        The first that knows a counted channel under these conditions calibrates the ratio for shared weights.
    settings : Settings
    two_makers : bool
        Suspect and candidate are known to be of two: then a ratio of kin against taught is due, too.
    looks : int
        Verdicts of the campaign, among which ``alpha`` is shared.
    unfitted : function from what a table says of itself to caveats
        What of this pair the table was not fitted for: then it gives no ratio.
    progress : Progress, optional
        Where the pair stands in a campaign of stages: its rank is then adjusted for all of them so far.

    Returns
    -------
    Finding
        With its p-value before correction for other looks; `judge` wants it adjusted.

    Notes
    -----
    The p-value is the rank of the pair's combined excess among all pairs of the pool (`max_null_p`). It is exact if
    suspect, candidate and controls are exchangeable when unrelated, whatever the number of prompts.
    """
    blank = Finding("kinship", a.pool.suspect, a.pool.candidate, a.pool.lineages, settings.alpha)
    if a.obstacle is not None or a.combined is None:
        return replace(blank, obstacle=a.obstacle, caveats=(*a.caveats, *a.copies))
    alone = plain = max_null_p(a.combined, a.combined[0, 1])
    if progress is not None:
        plain = rank_p(a.pool.names, a.combined, progress, settings.alpha / looks, settings.alpha)
    stands = standing(a, settings)
    finding = replace(
        blank,
        p_value=max([plain, *stands.values()]),
        p_stage=NAN if progress is None else alone,
        p_least=_hidden_p(a, settings),
        p_floor=smallest_p(len(a.pool.controls)),
        p_candidate=row_p(a.combined),
        effect=a.effect,
        effect_low=a.low,
        effect_high=a.high,
        prompts=len({q for c in a.channels for q in c.similarity.prompts}),
        coverage=min(e.coverage for e in a.evidence if e.part == "counted"),
        evidence=a.evidence,
    )
    checks = (
        *_rivals(a.pool.names, a.combined),
        *_negative_control(a, settings),
        *_positive_control(a, twin, settings),
    )
    fell = [
        (name, p) for name, p in stands.items() if reaches(plain, settings.alpha) and not reaches(p, settings.alpha)
    ]
    weak = [Caveat("does not stand", names=tuple(n for n, _ in fell), values=tuple(p for _, p in fell))] if fell else []
    finding = with_rates(finding, tables, settings.alpha / looks)
    finding, ratio = with_ratios(finding, {} if fell else tables, unfitted, two_makers=two_makers)
    return replace(
        finding, caveats=(*weak, *_wrapped(a, settings), *_mixed(a, settings), *a.caveats, *checks, *ratio, *a.copies)
    )


def best_of_many(cases: Sequence[Case]) -> list[float]:
    """p-values of one suspect with each of M candidates in one pool of all of them: each is corrected for all M.

    Parameters
    ----------
    cases : sequence of M Case
        Of one suspect, each with another candidate.

    Returns
    -------
    list of M floats
        `max_null_p` over the suspect, all candidates and the controls that every candidate has. NaN where that could
        give no smaller p than Holm over M ranks, or where two candidates may be kin of one another: of one maker or
        lineage, or of unknown ones.

    Notes
    -----
    Which of the two is used hangs on numbers of controls and candidates alone, so choosing costs no error. A candidate
    that is true kin raises the reference for the others and never lowers it.
    """
    none = [NAN] * len(cases)
    assessments = [c.assessment for c in cases]
    if (
        len(cases) < 2
        or not candidates_apart([c.candidate for c in cases])
        or any(a.combined is None for a in assessments)
    ):
        return none
    pools = [{k.name for k in a.pool.controls} for a in assessments]
    controls = [k.name for k in assessments[0].pool.controls if all(k.name in p for p in pools)]
    alone = max(smallest_p(len(p)) for p in pools)
    if len(controls) < 2 or smallest_p(len(controls), len(cases)) >= len(cases) * alone:
        return none
    names = [assessments[0].pool.suspect, *(a.pool.candidate for a in assessments), *controls]
    shared = set.intersection(*({c.similarity.channel for c in a.channels} for a in assessments))
    counted = [c.similarity for c in assessments[0].channels if c.similarity.channel in shared]
    if not counted:
        return none
    combined = _combined(counted, names, cases[0].probes(names, [s.channel for s in counted]))
    return [max_null_p(combined, combined[0, j], len(cases)) for j in range(1, len(cases) + 1)]


def standing(a: Assessment, settings: Settings) -> dict[str, float]:
    """p-values of the pair on less of its answers, by what was left out: kinship stands only if all of them do.

    The largest of them and the plain one is the p-value of an intersection-union test (Berger 1982): no correction
    is due, and the error rate is at most that of the plain test alone.

    "without the question": without the words of the question, which a wrapper may say again;
    "first words": the first 50 of each answer; "without habits": without the words that a model uses everywhere;
    "without the loudest": each pair without the ten prompts that speak most for it; "gaps": as if the answers that
    are missing were the least alike ones, where more than ``min_coverage`` allows are.
    """
    weights = reliabilities_of([c.residuals for c in a.channels])
    plain = [c.matrix for c in a.channels]
    out: dict[str, list[Floats]] = {}
    for variant in dict.fromkeys(v for c in a.channels for v in c.variants):
        out[variant] = [
            Compared.of(c.variants[variant], a.pool.names).matrix if variant in c.variants else c.matrix
            for c in a.channels
        ]
    if len(a.pool.names) > 4:  # in a pool of four a trimmed residual is that of the opposite pair no more
        out["without the loudest"] = [loudest_left_out(c) for c in a.channels]
    found = {}
    for name, matrices in out.items():
        combined = combine_excess(matrices, weights)
        if np.isfinite(combined[0, 1]):
            p = max_null_p(combined, combined[0, 1])
            found[name] = p / LENIENT.get(name, 1.0)
    if _has_gaps(a, settings):
        found["gaps"] = _bounded_p(plain, [bounds(c)[0] for c in a.channels], weights)
    return found


def _has_gaps(a: Assessment, settings: Settings) -> bool:
    """Whether the pair left out more of what it was asked than may be passed over."""
    return any(c.missing > (1.0 - settings.min_coverage) * (c.missing + len(c.residuals)) + 1e-9 for c in a.channels)


def _hidden_p(a: Assessment, settings: Settings) -> float:
    """p if the pair's missing answers were the most alike of the pool; NaN without gaps that matter."""
    if not _has_gaps(a, settings):
        return float("nan")
    weights = reliabilities_of([c.residuals for c in a.channels])
    return _bounded_p([c.matrix for c in a.channels], [bounds(c)[1] for c in a.channels], weights)


def _bounded_p(matrices: Sequence[Floats], edges: Sequence[float], weights: Floats) -> float:
    """p of the pair with other values in its own cell, the pool as it is."""
    score = sum(
        w * edge / max(float(np.sqrt(np.nanmean(m**2))), TINY)
        for m, edge, w in zip(matrices, edges, weights, strict=True)
    )
    combined = combine_excess(matrices, weights)
    combined[0, 1] = combined[1, 0] = score
    return max_null_p(combined, score)


def _wrapped(a: Assessment, settings: Settings) -> list[Caveat]:
    """Channels in which the pair is unusually alike on unlike prompts, too: something stands around both."""
    found = [
        (c.similarity.channel, p)
        for c in a.channels
        if c.placebo is not None and reaches(p := max_null_p(c.placebo, c.placebo[0, 1]), settings.alpha)
    ]
    return [Caveat("alike on unlike prompts", name, a.pool.names[:2], (p,)) for name, p in found]


def _mixed(a: Assessment, settings: Settings) -> list[Caveat]:
    """Channels of text in which some of the suspect's answers are a relative's, and others too far from it."""
    text = [c for c in a.channels if c.similarity.sees == "text"]
    found = [(c.similarity.channel, mixture(c.residuals, settings.alpha)) for c in text]
    return [
        Caveat("mixture", name, a.pool.names[:2], (m.share, m.low, m.high))
        for name, m in found
        if m is not None and m.found(settings.alpha)
    ]


def judge(f: Finding) -> Judgement:
    """Verdict on a kinship finding whose p-value is adjusted for all looks of the campaign.

    A condition that the pair shares and most controls lack makes closeness, so it takes away an accusation; no closer
    in spite of it is no closer. One that sets the suspect apart makes distance, so it takes away an acquittal; close
    in spite of it is close.
    """
    if f.mismatch and (reaches(f.p_adjusted, f.alpha) or f.told("does not stand")):
        return inconclusive("unlike conditions")
    if f.failed_check:
        return inconclusive("self-check failed")
    if not reaches(f.p_floor, f.alpha):
        return inconclusive("too few controls")
    if reaches(f.p_adjusted, f.alpha):
        return inconclusive("ratio disagrees") if f.log10_lr <= -WEAK else related(f.weights_p(), f.alpha, f.too_close)
    if f.told("does not stand"):
        return inconclusive("does not stand")
    if reaches(f.p_least, f.alpha):
        return inconclusive("gaps decide")
    far = f.log10_lr <= 0.0 if f.log10_lr == f.log10_lr else f.p_value >= SILENT
    if far and f.hiding:
        return inconclusive("unlike suspect")
    weighed = f.log10_lr <= -STRONG + 1e-9 and f.log10_lr_base <= -STRONG + 1e-9
    if far and (weighed or clearing(f)):
        return unrelated(clearing(f))
    return inconclusive("base not excluded" if far else "not unusual enough")


def clearing(f: Finding) -> list[str]:
    """Channels that see weights, are silent here, and would have found most pairs of one pretrained base."""
    able = (e for e in f.evidence if e.sees == "weights" and e.part == "counted" and e.finds_base >= ABLE)
    return [e.name for e in able if e.p >= SILENT]


WORDING = Wording(
    asks="Is {s} closer to {c} than unrelated models are to one another, as a rework of its weights would be?",
    headlines={
        "KIN-LIKE": "{s} is closer to {c} than unrelated models are, by more than teaching or shared data would "
        "explain.",
        "KIN-OR-TAUGHT": "{s} is closer to {c} than unrelated models are. Text alone cannot tell shared weights from "
        "shared teaching.",
        "UNRELATED-LIKE": "{s} is no closer to {c} than unrelated models are.",
        "INCONCLUSIVE": "Whether {s} was made from {c} cannot be told from these answers.",
    },
    grounds={
        "self-check failed": "Cannot tell: {check}.",
        "unlike conditions": "Cannot tell: {condition}. Strangers who share that look as close as {s} and {c} do "
        "(p = {p:.2g}, {k} control lineages{ratio}). Ask controls under the same condition, or these two under theirs.",
        "unlike suspect": "Cannot tell: {condition}. {s} is no closer to {c} than unrelated models are (p = {p:.2g}, "
        "{k} control lineages{ratio}), but so would kin be. Ask both under one condition.",
        "too few controls": "Cannot tell: with {k} control lineages the smallest honest p is {floor:.2g}, so no "
        "similarity could be called unusual at {alpha:g}; that takes {needed} control lineages ({needed_01} for 0.01). "
        "Among those at hand {rank} {s} with {c} (p = {p:.2g}){ratio}.",
        "weights agree": "{s} is closer to {c} than unrelated models are to one another: of pairs among {k} control "
        "lineages and these two, chance puts it this high with p = {p:.2g}; {decisive} sees shared weights{ratio}.",
        "text alone": "{s} is closer to {c} than unrelated models are to one another: of pairs among {k} control "
        "lineages and these two, chance puts it this high with p = {p:.2g}; no channel that sees weights has "
        "spoken{ratio}.",
        "too close for teaching": "{s} is closer to {c} than unrelated models are to one another: of pairs among {k} "
        "control lineages and these two, chance puts it this high with p = {p:.2g}; and closer in {decisive} than "
        "models of two makers get by teaching or shared data{ratio}.",
        "ratio disagrees": "Cannot tell: of pairs among {k} control lineages and these two, chance puts {s} and {c} "
        "this high with p = {p:.2g}, but their closeness is more usual of strangers than of kin{ratio}.",
        "no closer": "{s} is no closer to {c} than unrelated models are to one another (p = {p:.2g}, {k} control "
        "lineages){ratio}{cleared}.",
        "base not excluded": "Cannot tell: {s} is no closer to {c} than unrelated models are to one another (p = "
        "{p:.2g}, {k} control lineages){ratio}, but {blind}.",
        "does not stand": "Cannot tell: {s} is close to {c}, but not {fallen}: what makes the two alike may stand in "
        "front of the models.",
        "gaps decide": "Cannot tell: so many answers of {s} or {c} are missing that they could hide that the two are "
        "close.",
        "not unusual enough": "Cannot tell: {s} is close to {c}, but unrelated models are that close too often for a "
        "verdict at {alpha:g} (p = {p:.2g}, {adjusted:.2g} after correction for all comparisons, {k} control "
        "lineages){ratio}.",
    },
    often="Of pairs of unrelated models, {often} would be at least this close",
    error_rate="At most {few} pairs of unrelated models would be called close by this rule, if the controls are a fair "
    "sample. Models of one vendor, one teacher or the same training data are called close more often{others}."
    "{smallest}",
    effect="how much closer the two are than their general closeness to all models suggests, in units of the spread "
    "over all pairs; 0 is what unrelated models have on average",
    zero="0 is what unrelated models have",
)


def _rivals(names: Sequence[str], matrix: Floats) -> list[Caveat]:
    """The pairs that are at least as close as the accused one: undocumented kin among the controls hide in there."""
    rows, columns = np.triu_indices(len(matrix), 1)
    scores = matrix[rows, columns]
    above = [i for i in np.argsort(-scores) if scores[i] >= matrix[0, 1] - 1e-12 and (rows[i], columns[i]) != (0, 1)]
    if not above or len(matrix) == 4:  # in a pool of four every residual is that of the opposite pair
        return []
    return [Caveat("rival pairs", pairs=tuple((names[rows[i]], names[columns[i]]) for i in above))]


def with_rates(f: Finding, tables: Tables, alpha: float) -> Finding:
    """How often each channel finds kin, and the text calls others close, at this level and under these conditions."""

    def rate(e: ChannelEvidence, relation: str) -> float:
        table = tables.get(e.channel)
        if table is None or e.part != "counted":
            return NAN
        return table.rate(relation, len(f.control_lineages), e.prompts, e.words, alpha)

    evidence = tuple(
        replace(e, finds_close=rate(e, "close"), finds_base=rate(e, "base")) if e.channel in tables else e
        for e in f.evidence
    )
    text = [e for e in evidence if e.sees == "text" and e.channel in tables]
    able = reaches(f.p_floor, alpha)  # so few controls that nobody is called close say nothing of who would be
    others = [(r, rate(e, r)) for e in text[:1] for r in ("same maker", "taught") if able]
    rates = tuple((r, x) for r, x in others if x == x)
    outlook = _outlook(evidence, tables, len(f.control_lineages), alpha)
    return replace(f, evidence=evidence, rates=rates, outlook=outlook)


def _outlook(evidence: Sequence[ChannelEvidence], tables: Tables, controls: int, alpha: float) -> Outlook | None:
    """The fewest prompts of one channel that find most pairs of one base; if none do, those that find most of them.

    None where that is hardly more than what was asked finds already.
    """
    now = max((e.finds_base for e in evidence if e.finds_base == e.finds_base), default=0.0)
    ways = [
        Outlook(channel, n, n * (controls + 2), rate)
        for channel, table in tables.items()
        for n in table.prompts
        if (rate := table.rate("base", controls, n, alpha=alpha)) > now + GAIN
    ]
    able = [w for w in ways if w.finds >= ABLE]
    return min(able, key=lambda w: w.calls) if able else max(ways, key=lambda w: (w.finds, -w.calls), default=None)


def with_ratios(f: Finding, tables: Tables, unfitted: Unfitted, *, two_makers: bool) -> tuple[Finding, list[Caveat]]:
    """Ratio (a) of the first table that knows a counted channel, and for two makers (b) of the first that knows taught.

    The interval is that of the channel's effect. Without tables there is none: one number for what does not stand on
    less would say too much.
    """
    notes: list[Caveat] = []
    for channel, table in tables.items():
        e = next((e for e in f.evidence if e.channel == channel and e.part == "counted"), None)
        if e is None:
            continue
        if outside := unfitted(table.about):
            notes += outside
            continue
        ratios = table.at(len(f.control_lineages), e.prompts, e.words)
        if ratios is None:
            notes.append(Caveat("no likelihood ratio", channel, values=(table.controls[0], table.prompts[0])))
            continue
        if f.log10_lr != f.log10_lr:
            f = _weighed(f, e, ratios)
            notes.append(Caveat("bounded ratio", channel, values=ratios.bounds))
        if two_makers and ratios.taught is not None and e.sees == "text":
            f = replace(
                f,
                log10_lr_taught=float(ratios.taught.transform([e.effect])[0]),
                too_close=(channel,) if e.effect > ratios.too_close else (),
            )
    if tables and not notes:
        first = next(iter(tables.values()))
        notes = [Caveat("no likelihood ratio", first.channel, values=(first.controls[0], first.prompts[0]))]
    return f, notes


def _weighed(f: Finding, e: ChannelEvidence, ratios: Ratios) -> Finding:
    value, low, high = ratios.shares_weights([e.effect, e.effect_low, e.effect_high]).tolist()
    least, most = ratios.bounds
    return replace(
        f,
        log10_lr=value,
        log10_lr_low=low,
        log10_lr_high=high,
        log10_lr_least=least,
        log10_lr_most=most,
        log10_lr_base=NAN if ratios.base is None else float(ratios.base.transform([e.effect])[0]),
        ratio_channel=e.channel,
    )


def _negative_control(a: Assessment, settings: Settings) -> list[Caveat]:
    """Every control poses as the suspect once: how many are found to be kin, and whether those are too many.

    Of K unrelated controls alpha * K are found by chance, so one is no failure; it is named. The check has failed when
    so many would be found with a probability of alpha at most (binomial: the poses are not independent, which makes
    this a rule of thumb). No control is drawn, so the verdict does not hang on a seed.
    """
    names = [c.name for c in a.pool.controls]
    k = len(names)
    if k <= 2 or not reaches(smallest_p(k - 1), settings.alpha):
        return [Caveat("no negative control")]
    # Candidate and controls are the pool of every pose, and its excess does not know who poses: one matrix serves all.
    posed = _combined([c.similarity for c in a.channels], [a.pool.candidate, *names])
    found = [n for i, n in enumerate(names, 1) if reaches(max_null_p(posed, posed[i, 0]), settings.alpha)]
    if not found:
        return []
    too_many = bdtrc(len(found) - 1, k, settings.alpha) <= settings.alpha
    kind: CaveatKind = "negative control failed" if too_many else "negative control found"
    return [Caveat(kind, names=(a.pool.candidate, *found), values=(k,))]


def _positive_control(a: Assessment, twin: Twin, settings: Settings) -> list[Caveat]:
    """Half of the candidate's samples against the other half: they must be the closest pair of the pool."""
    found = twin([c.similarity.channel for c in a.channels])
    usable = [s for s in found if s.coverage[s.models.index(TWIN)] >= settings.min_coverage]
    if not usable:
        return [Caveat("no positive control")]
    matrix = _combined(usable, [TWIN, *a.pool.names[1:]])
    failed = matrix[0, 1] < np.nanmax(matrix) - 1e-9
    return [Caveat("positive control failed", names=(a.pool.candidate,))] if failed else []


def _combined(
    similarities: Sequence[Similarity], names: Sequence[str], measured: Mapping[str, Probe] | None = None
) -> Floats:
    channels = [Compared.of(s, names, (measured or {}).get(s.channel)) for s in similarities]
    return combine_excess([c.matrix for c in channels], reliabilities_of([c.residuals for c in channels]))
