"""Identity: do suspect and candidate answer from the same distribution?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.inference.assessment import Case, Distances, Samples, View
from harness.inference.excess import reaches
from harness.inference.findings import NAN, Caveat, ChannelEvidence, Finding, Settings, Wording
from harness.inference.mixture import Equivalence, equivalence, nearer
from harness.inference.pool import Pool, pool_for
from harness.inference.stopping import earliest
from harness.inference.verdicts import Judgement, different, hardly_different, inconclusive, same, same_weights
from harness.records import Surface

Floats = NDArray[np.float64]
Labels = NDArray[np.float64]


@dataclass(frozen=True)
class TwoSample:
    """Result of `two_sample`.

    ``statistic`` is the mean over prompts of the squared maximum mean discrepancy, ``p_value`` exact for the
    permutations drawn, ``p_floor`` the smallest it could be, ``effect`` the tested sum of standardised discrepancies
    in null standard deviations.
    """

    statistic: float
    p_value: float
    p_floor: float
    effect: float
    prompts: int


def two_sample(grams: Sequence[tuple[Floats, int]], permutations: int, rng: np.random.Generator) -> TwoSample:
    """MMD two-sample permutation test, labels permuted within each prompt: one distribution or two?

    Parameters
    ----------
    grams : sequence of ((n_a + n_b, n_a + n_b) Gram matrix, n_a), one a prompt
        Kernel values between all samples of a prompt, rows of the first sample first. No NaN.
    permutations : int
        Relabellings to draw; p = (1 + those at least as far apart) / (1 + drawn). Where there are no more
        relabellings than that in all, each is counted once instead.
    rng : numpy.random.Generator

    Returns
    -------
    TwoSample
        All NaN, with ``prompts`` 0, if ``grams`` is empty.

    Notes
    -----
    The statistic is the squared maximum mean discrepancy (Gretton et al. 2012; for language models Gao et al., ICLR
    2025), each prompt in units of its own spread over relabellings, summed over prompts. The p-value is exact for any
    kernel and sample size: under the null the labels of one prompt's samples are exchangeable. Replication is within
    the prompt; prompts are not replicates of one another.

    Examples
    --------
    Eight prompts, five samples on each side; a Gaussian kernel on numbers stands for one on answers:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> def kernel(x):
    ...     return np.exp(-np.subtract.outer(x, x) ** 2)
    >>> different = [(kernel(np.r_[rng.normal(0, 1, 5), rng.normal(3, 1, 5)]), 5) for _ in range(8)]
    >>> two_sample(different, permutations=999, rng=rng).p_value
    0.001
    >>> alike = [(kernel(rng.normal(0, 1, 10)), 5) for _ in range(8)]
    >>> two_sample(alike, permutations=999, rng=rng).p_value > 0.05
    True
    """
    if not grams:
        return TwoSample(np.nan, np.nan, np.nan, np.nan, 0)
    sizes = [(gram.shape[0], n_a) for gram, n_a in grams]
    every = math.prod(math.comb(n, n_a) for n, n_a in sizes)
    exact = every <= permutations + 1
    columns = _every_labelling(sizes) if exact else (_drawn_labels(n, a, permutations, rng) for n, a in sizes)
    total = np.zeros(every if exact else permutations + 1)
    raw = 0.0
    for (gram, _), labels in zip(grams, columns, strict=True):
        discrepancy = _mmd(gram, labels)
        raw += float(discrepancy[0])
        total += _standardised(discrepancy)
    p = float((total >= total[0] - 1e-9).mean())  # the true labels, first, count as one of the relabellings
    spread = float(total[1:].std())
    effect = float((total[0] - total[1:].mean()) / spread) if spread > 1e-12 else 0.0
    floor = _exact_floor(sizes, every) if exact else 1.0 / len(total)
    return TwoSample(raw / len(grams), p, floor, effect, len(grams))


def two_sample_path(grams: Sequence[tuple[Floats, int]], ends: Sequence[int], permutations: int, seed: int) -> Floats:
    """The statistic of `two_sample` on the first prompts, for the true labels and for relabellings, stage by stage.

    Parameters
    ----------
    grams : as for `two_sample`
    ends : sequence of int
        Numbers of prompts, one a stage.
    permutations : int
        Relabellings to draw.
    seed : int
        Each prompt has draws of its own, so that those of earlier prompts stay what they were at earlier stages.

    Returns
    -------
    (stages, permutations + 1) array
        The true labels first. Under the null its columns are exchangeable, which `harness.inference.stopping.crossed`
        asks for.
    """
    total = np.zeros((len(grams) + 1, permutations + 1))
    for i, (gram, n_a) in enumerate(grams):
        labels = _drawn_labels(gram.shape[0], n_a, permutations, np.random.default_rng([seed, i]))
        total[i + 1] = total[i] + _standardised(_mmd(gram, labels))
    return np.array([total[min(n, len(grams))] for n in ends])


def _exact_floor(sizes: Sequence[tuple[int, int]], every: int) -> float:
    """Each prompt with samples of one size on both sides doubles the relabellings that change nothing."""
    return min(1.0, 2.0 ** sum(n == 2 * n_a for n, n_a in sizes) / every)


def _drawn_labels(n: int, n_a: int, draws: int, rng: np.random.Generator) -> Labels:
    """0/1 labels (draws + 1, n): the true ones, then random relabellings."""
    labels = np.zeros((draws + 1, n))
    labels[0, :n_a] = 1.0
    order = np.argpartition(rng.random((draws, n)), n_a - 1, axis=1)
    np.put_along_axis(labels[1:], order[:, :n_a], 1.0, axis=1)
    return labels


def _every_labelling(sizes: Sequence[tuple[int, int]]) -> list[Labels]:
    """For each prompt its labels in every joint relabelling of all prompts, the true one first."""
    own = []
    for n, n_a in sizes:
        chosen = np.array(list(itertools.combinations(range(n), n_a)))
        labels = np.zeros((len(chosen), n))
        np.put_along_axis(labels, chosen, 1.0, axis=1)
        own.append(labels)
    which = np.indices([len(o) for o in own]).reshape(len(own), -1)
    return [labels[at] for labels, at in zip(own, which, strict=True)]


def _standardised(discrepancy: Floats) -> Floats:
    """Each prompt in units of its own spread over relabellings, the true one included: one noisy prompt must not
    drown the rest, and the true labels must not be treated apart."""
    spread = discrepancy.std()
    out: Floats = (discrepancy - discrepancy.mean()) / spread if spread > 1e-12 else np.zeros_like(discrepancy)
    return out


def _mmd(gram: Floats, labels: Labels) -> Floats:
    """Biased squared MMD for each row of 0/1 labels, (r, n) -> (r,)."""
    a, b = labels, 1.0 - labels
    weights = a / a.sum(1, keepdims=True) - b / b.sum(1, keepdims=True)
    out: Floats = ((weights @ gram) * weights).sum(1)
    return out


def halves(gram: Floats) -> tuple[Floats, int]:
    """Samples of one endpoint as two: even against odd ones. The test must find these identical."""
    order = np.r_[np.arange(0, len(gram), 2), np.arange(1, len(gram), 2)]
    return gram[np.ix_(order, order)], (len(gram) + 1) // 2


EVERYTHING: Mapping[View, float] = {}
RAW: View = ("logprobs", "completion")  # what no system prompt reaches


def identity(
    pool: Pool,
    samples: Samples,
    settings: Settings,
    coverage: Mapping[View, float] = EVERYTHING,
    distances: Distances | None = None,
) -> Finding:
    """Do suspect and candidate answer from the same distribution?

    Parameters
    ----------
    pool : Pool
        Suspect, candidate and controls. Every control is tested against the candidate too: a test that cannot tell
        those apart finds nothing out.
    samples : function from two names to kernels by view
        Kernels between the samples of two models (`harness.channels.kernels`): per prompt a Gram matrix
        (n_a + n_b, n_a + n_b) and n_a.
    settings : Settings
    coverage : mapping from view to float
        Share of what was asked of suspect and candidate that can be compared. Under ``min_coverage`` a view abstains,
        for what is left is a choice of answers and no sample of them. NaN or not there: not known.
    distances : function from names to (p, len(names) - 1, 2), optional
        How far raw next tokens of each but the first are from the first's (`harness.channels.kernels`), for
        ``p_weights``. It is NaN without, and where logprobs of raw completions may not speak.

    Returns
    -------
    Finding
        Its p-value is the smallest over the views that may speak, times their number (Bonferroni). For ``p_same``
        the smallest of a surface counts, times its views: routed calls show in each of them. But chat alone may be
        routed, so of the surfaces the largest counts (intersection-union).

    See Also
    --------
    two_sample : The test of one view for a difference.
    harness.inference.mixture.equivalence : The test of one view for sameness.
    harness.inference.mixture.nearer : The test for the same weights.
    """
    rng = np.random.default_rng(settings.seed)
    grams = samples(pool.suspect, pool.candidate)
    results = {v: two_sample(g, settings.permutations, rng) for v, g in grams.items() if g}
    blank = Finding("identity", pool.suspect, pool.candidate, pool.lineages, settings.alpha)
    if not results:
        return replace(blank, obstacle=Caveat("no samples"), caveats=(Caveat("no samples"),))
    gaps = {
        v: Caveat("gaps", _name(v), values=(share,))
        for v in results
        if (share := coverage.get(v, NAN)) < settings.min_coverage
    }
    checks = _Checks.of(pool, samples, {v: r for v, r in results.items() if v not in gaps}, settings, rng)
    abstaining = {**checks.blind, **gaps}
    if len(gaps) == len(results):
        blank = replace(blank, obstacle=Caveat("only gaps"))
    speaking = {v: r for v, r in results.items() if v not in abstaining} or results
    strongest = min(speaking.values(), key=lambda r: (r.p_value, -r.effect))
    shown = {v: _shown(v, pool, samples, speaking, settings.alpha) for v in results}
    evidence = tuple(
        ChannelEvidence(
            channel=v[0],
            surface=v[1],
            sees="samples",
            unit="MMD squared",
            prompts=r.prompts,
            coverage=coverage.get(v, NAN),
            raw=r.statistic,
            control_low=checks.seen.get(v, (NAN, NAN))[0],
            control_high=checks.seen.get(v, (NAN, NAN))[1],
            effect=r.effect,
            p=r.p_value,
            p_same=shown[v].p_value,
            part="abstains" if v in abstaining else "counted",
            caveat=abstaining.get(v),
        )
        for v, r in results.items()
    )
    return replace(
        blank,
        p_value=min(1.0, len(speaking) * min(r.p_value for r in speaking.values())),
        p_floor=min(1.0, len(speaking) * strongest.p_floor),
        p_same=_largest(_sameness((v[1], shown[v].p_value) for v in speaking).values()),
        share_excluded=_excluded((v[1], shown[v].share) for v in speaking),
        p_weights=nearer(distances([pool.candidate, pool.suspect, *(c.name for c in pool.controls)]))
        if distances is not None and RAW in speaking and RAW not in abstaining
        else NAN,
        effect=strongest.effect,
        prompts=max(r.prompts for r in speaking.values()),
        coverage=min((coverage.get(v, NAN) for v in speaking), key=np.nan_to_num),
        caveats=(*checks.caveats, *gaps.values()),
        evidence=evidence,
    )


def find(case: Case) -> Finding:
    """The finding of one pair; its controls are all lineages but the pair's own, whatever they answered."""
    # A sibling of the same maker is the sharpest control there is: here each must be told apart, none is a stranger.
    pool = pool_for(case.suspect, case.candidate, case.models, [], 0.0, "every lineage")
    shares = case.coverage(case.suspect.name, case.candidate.name)
    found = identity(pool, case.samples, case.settings, shares, case.distances)
    if (at := case.progress) is None:
        return found
    p, floor = (
        earliest([*before, now], len(at.sizes))
        for before, now in ((at.p_values, found.p_value), ([found.p_floor] * at.stage, found.p_floor))
    )
    return replace(found, p_value=p, p_floor=floor, p_stage=found.p_value)


def judge(f: Finding) -> Judgement:
    """Verdict on an identity finding whose p-values are adjusted for all looks of the campaign.

    DIFFERENT-LIKE is a test for a difference that stands after correction, SAME-LIKE an equivalence test that does;
    whoever passes neither is INCONCLUSIVE. A difference at ``alpha`` before any correction is never SAME-LIKE.
    Who is not the same as served may still be near on raw completion, by a test of its own: SAME-WEIGHTS-LIKE, unless
    some channel sees a difference at ``alpha`` there, too. Then that it is a small one is told, and no more.
    """
    served = _as_served(f)
    if served.ground == "shown to be the same" or f.failed_check or not reaches(f.p_weights_adjusted, f.alpha):
        return served
    raw = [e for e in f.evidence if e.surface == "completion"]
    apart = served.ground in ("answers differ", "only chat differs")
    if any(reaches(e.p, f.alpha) for e in raw):
        return hardly_different(served) if apart else served
    return same_weights(served.decisive if apart else (), [e.name for e in raw if e.part == "counted"])


def _as_served(f: Finding) -> Judgement:
    """The verdict on what is served, chat and raw completion together."""
    speaking = [e for e in f.evidence if e.part == "counted"]
    differ = [e for e in speaking if reaches(len(speaking) * e.p, f.alpha)]
    silent = [e for e in speaking if e.p == e.p and not reaches(e.p, f.alpha)]
    if reaches(f.p_adjusted, f.alpha) and differ:
        surfaces = {e.surface for e in differ}, {e.surface for e in silent}
        return different(
            [e.name for e in differ], [e.name for e in silent], only_chat=surfaces == ({"chat"}, {"completion"})
        )
    if f.failed_check:
        return inconclusive("self-check failed")
    seen = [e for e in f.evidence if reaches(e.p, f.alpha)]
    if hidden := [e.name for e in seen if _has_gaps(e)]:
        return inconclusive("gaps hide a difference", hidden)
    if seen:
        return inconclusive("corrected away", [e.name for e in seen])
    if not f.control_lineages:
        return inconclusive("no controls")
    if f.p_same != f.p_same:
        return inconclusive("too few prompts for sameness")
    if reaches(f.p_same_adjusted, f.alpha):
        return same()
    weak = {s for s, p in _sameness((e.surface, e.p_same) for e in speaking).items() if not reaches(p, f.alpha)}
    return inconclusive("not shown to be the same", [e.name for e in speaking if e.surface in weak])


_NEAR = (
    "the next tokens of {s} are less than three tenths of the way from {c} to its nearest control, on more than seven "
    "prompts in ten (p = {near:.2g}{distance})"
)
WORDING = Wording(
    asks="Do {s} and {c}, as they are served, answer from one and the same distribution?",
    headlines={
        "SAME-LIKE": "{s} and {c} answer alike: nearer than a mixture of different models would be.",
        "SAME-WEIGHTS-LIKE": "{s} and {c} cannot be told apart on raw completion, which no system prompt reaches: the "
        "same weights, or hardly changed ones.",
        "DIFFERENT-LIKE": "{s} and {c} do not answer alike, as they are served.",
        "INCONCLUSIVE": "Whether {s} and {c} are one model cannot be told from these answers.",
    },
    grounds={
        "answers differ": "{s} and {c} do not answer from one distribution: {decisive} tells them apart "
        "(p = {p:.2g}){also}.",
        "only chat differs": "{s} and {c} do not answer from one distribution: {decisive} tells them apart "
        "(p = {p:.2g}){also}, as with one model behind two system prompts, which raw completion does not see.",
        "raw hardly differs": "{s} and {c} do not answer from one distribution: {decisive} tells them apart "
        "(p = {p:.2g}){also}. Yet on raw completion " + _NEAR + ". The same weights in another precision, or lightly "
        "tuned, would be so.",
        "raw alike, chat differs": "The same weights, or hardly changed ones, served otherwise: {decisive} tells {s} "
        "from {c} (p = {p:.2g}), but on {silent}, which no system prompt reaches, they cannot be told apart. There "
        + _NEAR
        + ".",
        "raw alike, chat open": "The same weights, or hardly changed ones: on {silent}, which no system prompt "
        "reaches, {s} and {c} cannot be told apart. There "
        + _NEAR
        + ". That they answer alike as served is not shown.",
        "self-check failed": "Cannot tell: {check}.",
        "gaps hide a difference": "Cannot tell: {decisive} tells {s} from {c}, but on too few of the answers asked "
        "for to count; on the rest no difference was found.",
        "no controls": "No difference was found, but without controls it is unknown whether this test could find one.",
        "corrected away": "Cannot tell: {decisive} sees a difference that does not stand after correction for all "
        "looks of this campaign (p = {adjusted:.2g}), and with a difference in sight nothing is called the same. Ask "
        "again with more samples, in a campaign of this one look.",
        "too few prompts for sameness": "Cannot tell: they are not told apart (p = {p:.2g}), and so few prompts with "
        "two samples of each cannot show that they are the same.",
        "not shown to be the same": "Cannot tell: they are not told apart (p = {p:.2g}), nor shown to be the same "
        "(p = {same:.2g} against three calls in ten answered by another model{excluded}; too weak: {decisive}). More "
        "samples and prompts would decide.",
        "shown to be the same": "{s} and {c} are not told apart (p = {p:.2g}), and they are nearer than if three calls "
        "in ten were answered by another model, as far from {c} as its nearest control (p = {same:.2g}{excluded}).",
    },
    often="If both were one model, served alike, {often} comparisons like this would show at least such a difference",
    error_rate="Of pairs of endpoints that do serve one model, at most {few} would be called different by this rule. "
    "Of endpoints that answer three calls in ten or more with a model no nearer than the nearest control, at most "
    "{few} would be called the same. Of those that on three raw prompts in ten or more are three tenths of the way to "
    "a control or further, at most {few} would be called the same weights.{smallest}",
    effect="distance between the two in the strongest channel; 0 is no difference",
    zero="0 is no difference",
)


def _name(view: View) -> str:
    return f"{view[0]} ({view[1]})"


def _shown(view: View, pool: Pool, samples: Samples, speaking: Mapping[View, TwoSample], alpha: float) -> Equivalence:
    """The equivalence test of one view, its share bounded at a level corrected for all views of its surface."""
    looks = max(1, sum(v[1] == view[1] for v in speaking))
    controls = [samples(c.name, pool.candidate).get(view, ()) for c in pool.controls]
    return equivalence(samples(pool.suspect, pool.candidate)[view], controls, alpha / looks)


def _sameness(found: Iterable[tuple[Surface | None, float]]) -> dict[Surface | None, float]:
    """By surface, p of its equivalence tests together (Bonferroni); NaN where none could be made."""
    by: dict[Surface | None, list[float]] = {}
    for surface, p in found:
        by.setdefault(surface, []).append(p)
    return {s: min(1.0, len(p) * float(np.nanmin(p))) if np.isfinite(p).any() else NAN for s, p in by.items()}


def _excluded(found: Iterable[tuple[Surface | None, float]]) -> float:
    """The share that every surface excludes by one of its views; NaN if a surface was not tested."""
    best: dict[Surface | None, float] = {}
    for surface, share in found:
        best[surface] = float(np.fmin(best.get(surface, NAN), share))
    return _largest(best.values())


def _largest(values: Iterable[float]) -> float:
    """`NAN` itself if one of them is none, so that findings can be compared."""
    most = float(np.max(list(values)))
    return most if most == most else NAN


def _has_gaps(e: ChannelEvidence) -> bool:
    return e.caveat is not None and e.caveat.kind == "gaps"


@dataclass(frozen=True)
class _Checks:
    """What the controls say of each view: the range of their distances, and the views that see nothing here."""

    caveats: tuple[Caveat, ...]
    seen: Mapping[View, tuple[float, float]]
    blind: Mapping[View, Caveat]

    @classmethod
    def of(
        cls,
        pool: Pool,
        samples: Samples,
        results: Mapping[View, TwoSample],
        settings: Settings,
        rng: np.random.Generator,
    ) -> _Checks:
        """Test every control against the candidate, and the candidate's samples against each other."""
        notes: list[Caveat] = []
        seen: dict[View, tuple[float, float]] = {}
        blind: dict[View, Caveat] = {}
        for view in results:
            tests = {
                c.name: two_sample(samples(c.name, pool.candidate).get(view, ()), settings.permutations, rng)
                for c in pool.controls
            }
            missed = [n for n, t in tests.items() if t.prompts and not reaches(t.p_value, settings.alpha)]
            if missed:
                blind[view] = Caveat("blind", _name(view), (pool.candidate, *missed))
                notes.append(blind[view])
            statistics = [t.statistic for t in tests.values() if t.prompts]
            if statistics:
                seen[view] = (min(statistics), max(statistics))
            pair = samples(pool.suspect, pool.candidate).get(view, ())
            own = [halves(g[n:, n:]) for g, n in pair if len(g) - n >= 4]
            if own and (t := two_sample(own, settings.permutations, rng)).p_value <= settings.alpha / 10:
                notes.append(Caveat("told from itself", _name(view), (pool.candidate,), (t.p_value,)))
        if results and len(blind) == len(results):
            notes.append(Caveat("no control told apart"))
        return cls(tuple(notes), seen, blind)
