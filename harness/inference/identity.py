"""Identity: do suspect and candidate answer from the same distribution?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.inference.findings import GAPS, NAN, ChannelEvidence, Finding, Settings, blank_finding
from harness.inference.pool import Model, Pool

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

    ``grams[(a, b)][channel]`` are the kernels between samples of two models (`harness.channels.kernels`). Every
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
