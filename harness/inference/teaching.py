"""Teaching (distillation): does the suspect share the candidate's habits of wording more than unrelated models do?

The null is that of kinship, on another similarity: among exchangeable lineages the accused pair is a random pair. Alone
it cannot tell a student from kin, who share habits too; the verdict says so unless a channel that sees weights decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.inference.assessment import Case
from harness.inference.excess import additive_residuals, max_null_p, row_p, smallest_p
from harness.inference.findings import Caveat, ChannelEvidence, Finding, Settings, Wording
from harness.inference.kinship import WORDING as KINSHIP
from harness.inference.pool import Model, pool_for
from harness.inference.verdicts import Judgement, inconclusive, taught
from harness.records import Similarity

Floats = NDArray[np.float64]
ROUNDS = 200  # bootstrap rounds; each is a profile of the whole pool


def habit_similarity(counts: NDArray[np.floating], models: Sequence[int] | None = None) -> Floats:
    """Cosine similarity of stylometric profiles (Burrows's Delta) of all pairs of models.

    Parameters
    ----------
    counts : (blocks, m, features) counts of word bigrams by block of prompts
    models : sequence of n ints, by default all m
        Which models to compare. Features are standardised over these.

    Returns
    -------
    (n, n) cosines in [-1, 1]
        NaN on the diagonal and for a model without answers.

    See Also
    --------
    lean : What of it the models' own levels do not explain.

    Notes
    -----
    Relative frequencies, square-rooted, standardised by feature as in Burrows's Delta (2002).

    Examples
    --------
    Models 0 and 1 use the same words about equally often, models 2 and 3 prefer others:

    >>> import numpy as np
    >>> counts = np.array([[[9, 1, 4, 2], [8, 2, 4, 2], [2, 7, 1, 6], [4, 4, 3, 5], [5, 3, 6, 2]]])
    >>> habit_similarity(counts)[0].round(2).tolist()
    [nan, 0.95, -0.9, -0.85, 0.33]
    """
    table = np.asarray(counts.sum(0), dtype=np.float64)
    table = table if models is None else table[list(models)]
    size = table.sum(1, keepdims=True)
    rate = np.sqrt(table / np.maximum(size, 1.0))
    z = (rate - rate.mean(0)) / (rate.std(0) + 1e-6)
    unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    out: Floats = unit @ unit.T
    silent = size.ravel() == 0
    out[silent] = np.nan
    out[:, silent] = np.nan
    np.fill_diagonal(out, np.nan)
    return out


def lean(similarity: NDArray[np.floating]) -> Floats:
    """Excess similarity of habits: the statistic of the teaching question, for every pair of the pool.

    Parameters
    ----------
    similarity : (n, n) cosines of `habit_similarity`
        NaN on the diagonal.

    Returns
    -------
    (n, n) excess
        In units of the pool's root mean square; 0 is what the pool has on average, larger is more alike.

    See Also
    --------
    harness.inference.excess.additive_residuals : The centring, the same as for kinship.
    harness.inference.excess.max_null_p : Its p-value.

    Examples
    --------
    Of five models 0 and 1 write alike; model 4 is near to all, and that is taken out:

    >>> import numpy as np
    >>> level = np.array([0.0, 0.0, 0.0, 0.0, 0.3])
    >>> cosines = level[:, None] + level
    >>> cosines[[0, 1], [1, 0]] += 0.4
    >>> np.fill_diagonal(cosines, np.nan)
    >>> lean(cosines)[0].round(2).tolist()
    [nan, 2.24, -0.75, -0.75, -0.75]
    """
    residual = additive_residuals(np.asarray(similarity, dtype=np.float64), scale=False)
    scale = float(np.sqrt(np.nanmean(residual**2)))
    out: Floats = residual / scale if scale > 1e-12 else residual
    return out


def teaching(
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    counts: NDArray[np.floating],
    names: Sequence[str],
    similarities: Sequence[Similarity],
    evidence: Sequence[ChannelEvidence],
    settings: Settings,
) -> Finding:
    """Does the suspect share the candidate's habits more than unrelated models share one another's?

    Parameters
    ----------
    suspect, candidate : Model
    models : sequence of Model
        Every model of the campaign.
    counts : (blocks, m, features) array
        Of `harness.channels.stylometry.habit_counts`, models in the order of ``names``.
    names : sequence of m str
    similarities : sequence of Similarity
        The campaign's channels; they decide which controls answered enough.
    evidence : sequence of ChannelEvidence
        What channels say of the pair; those that see weights tell derived from taught.
    settings : Settings

    Returns
    -------
    Finding

    Notes
    -----
    The p-value is the rank of the pair's `lean` among all pairs of the pool. Kin share habits as pupils do, so the
    p-value alone does not tell one from the other.
    """
    text = [s for s in similarities if s.channel == "wording"]  # habits are read from the same answers
    pool = pool_for(suspect, candidate, models, text, settings.min_coverage, settings.controls)
    blank = Finding("teaching", suspect.name, candidate.name, pool.lineages, settings.alpha, caveats=pool.left_out)
    if len(pool.controls) < 2:
        return replace(blank, obstacle=Caveat("too few control lineages"))
    at = [list(names).index(n) for n in pool.names]
    matrix = lean(raw := habit_similarity(counts, at))
    if not np.isfinite(matrix[0, 1]):
        return replace(blank, obstacle=Caveat("no text"))
    low, high = _interval(counts[:, at], settings.seed)
    p = max_null_p(matrix, matrix[0, 1])
    others = raw[np.triu_indices(len(raw), 1)][1:]
    coverage = min((float(s.coverage[s.models.index(n)]) for s in text for n in pool.names[:2]), default=1.0)
    habits = ChannelEvidence(
        channel="habits",
        sees="text",
        unit="cosine",
        prompts=max((len(s.prompts) for s in text), default=0),
        coverage=coverage,
        raw=float(raw[0, 1]),
        control_low=float(np.nanmin(others)),
        control_high=float(np.nanmax(others)),
        effect=float(matrix[0, 1]),
        effect_low=low,
        effect_high=high,
        p=p,
    )
    return replace(
        blank,
        p_value=p,
        p_floor=smallest_p(len(pool.controls)),
        p_candidate=row_p(matrix),
        effect=habits.effect,
        effect_low=low,
        effect_high=high,
        prompts=habits.prompts,
        coverage=coverage,
        evidence=(habits, *(e for e in evidence if e.sees == "weights")),
    )


def find(case: Case) -> Finding:
    """The finding of one pair, with the conditions in which pair and controls differ as the first of its caveats."""
    found = teaching(
        case.suspect,
        case.candidate,
        case.models,
        case.habits(),
        [m.name for m in case.models],
        case.similarities,
        case.assessment.evidence,
        case.settings,
    )
    return replace(found, caveats=(*case.resemblance(), *found.caveats))


def judge(f: Finding) -> Judgement:
    """Verdict on a teaching finding whose p-value is adjusted for all looks of the campaign."""
    if f.p_floor > f.alpha:
        return inconclusive("too few controls")
    if not f.p_adjusted <= f.alpha:
        return inconclusive("no sign")
    if f.mismatch:  # whatever follows from it is a habit of both
        return inconclusive("unlike conditions")
    return taught(f.p_adjusted, f.weights_p(), f.alpha)


_SHARED = "{s} shares habits of wording with {c} beyond chance (p = {p:.2g})"
WORDING = Wording(
    asks="Does {s} share more habits with {c} than unrelated models do, as one trained on its outputs would?",
    headlines={
        "KIN-LIKE": "{s} is closer to {c} than unrelated models are, and evidence that sees shared weights agrees.",
        "KIN-OR-TAUGHT": "{s} shares more habits of wording with {c} than unrelated models do. Text alone cannot "
        "tell shared weights from shared teaching.",
        "TAUGHT-LIKE": "{s} shares more habits of wording with {c} than unrelated models do, and no evidence that sees "
        "shared weights speaks for kinship.",
        "INCONCLUSIVE": "Whether {s} learned from answers of {c} cannot be told from these answers.",
    },
    grounds={
        "too few controls": "Cannot tell: with {k} control lineages the smallest honest p is {floor:.2g}; a verdict at "
        "{alpha:g} takes {needed}.",
        "unlike conditions": "Cannot tell: {condition}. Strangers who share that share such habits (p = {p:.2g}, {k} "
        "control lineages). Ask controls under the same condition, or these two under theirs.",
        "no sign": "No sign that {s} was trained on outputs of {c} (p = {p:.2g}, {k} control lineages); most teaching "
        "leaves none, so this speaks neither for nor against it.",
        "weights agree": _SHARED + ", and {weights} sees shared weights: kinship explains it without teaching.",
        "weights silent": _SHARED
        + ", and {weights} sees no shared weights: like a model trained on its outputs, on a shared teacher's, or on "
        "the same public data. Of unrelated pairs at most {alpha:.0%} would be called so.",
        "text alone": _SHARED
        + ": so do kin, pupils, pupils of one teacher, and models of shared data; no channel that sees weights tells "
        "which.",
    },
    often="Of pairs of unrelated models, {often} would share at least as many habits",
    error_rate=KINSHIP.error_rate,
    effect=KINSHIP.effect,
    zero=KINSHIP.zero,
)


def _interval(counts: NDArray[np.floating], seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the accused pair's lean, over blocks of prompts."""
    rng, blocks = np.random.default_rng(seed), len(counts)
    if blocks < 4:
        return np.nan, np.nan
    draws = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=ROUNDS)
    leans = [lean(habit_similarity(np.tensordot(w.astype(np.float32), counts, 1)[None]))[0, 1] for w in draws]
    low, high = np.nanquantile(leans, [0.025, 0.975])
    return float(low), float(high)
