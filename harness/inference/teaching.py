"""Teaching (distillation), a test of one named teacher: does the suspect share its habits more than strangers do?

The null is that of kinship, on another similarity: among exchangeable lineages the accused pair is a random pair. Alone
it cannot tell a student from kin, who share habits too; the verdict says so unless a channel that sees weights decides.
Most pupils are not found, so every answer says how many are. Teachers are not ranked: see docs/statistics.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from harness.inference.assessment import Case
from harness.inference.excess import TINY, additive_residuals, max_null_p, reaches, row_p, smallest_p
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
    counts : (blocks, m, features) counts of one kind of habit by block of prompts
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


def s_norm(scores: NDArray[np.floating]) -> Floats:
    """S-norm: each score in units of the other scores of both its models (symmetric score normalisation).

    Parameters
    ----------
    scores : (n, n) symmetric scores of all pairs, larger = more alike, of about unit size
        NaN on the diagonal and for pairs that could not be compared.

    Returns
    -------
    (n, n) mean of two z-scores
        NaN where ``scores`` has NaN.

    Notes
    -----
    z_ij takes mean and spread from the pairs of i without the pair (i, j), z_ji from those of j (Kenny 2010). Every
    pair is treated alike, so another order of the models gives the same scores in that order, and a rank among all
    pairs stays exact.

    Examples
    --------
    Model 4 varies more than the others; the same score means less there:

    >>> import numpy as np
    >>> scores = np.full((5, 5), np.nan)
    >>> scores[np.triu_indices(5, 1)] = [1.0, -0.2, 0.2, 1.0, 0.2, -0.2, -1.0, 0.0, 1.0, -1.0]
    >>> normed = s_norm(np.fmax(scores, scores.T))
    >>> bool(normed[0, 1] > normed[0, 4])
    True
    """
    e = np.asarray(scores, dtype=np.float64)
    seen = np.isfinite(e)
    x = np.where(seen, e, 0.0)
    others = np.maximum(seen.sum(1, keepdims=True) - 1, 1)  # pairs of each model, but for the one that is scored
    mean = (x.sum(1, keepdims=True) - x) / others
    spread = np.sqrt(np.maximum(((x**2).sum(1, keepdims=True) - x**2) / others - mean**2, TINY**2))
    z = (x - mean) / spread
    return np.where(seen, np.round((z + z.T) / 2, 9), np.nan)  # in a pool of four opposite pairs stay equal


def lean(*similarities: NDArray[np.floating]) -> Floats:
    """Excess similarity of habits: the statistic of the teaching question, for every pair of the pool.

    Parameters
    ----------
    similarities : one or more (n, n) cosines of `habit_similarity`, one a kind of habit
        NaN on the diagonal.

    Returns
    -------
    (n, n) excess
        In units of the pool's root mean square; 0 is about what the pool has on average, larger is more alike.

    See Also
    --------
    harness.inference.excess.additive_residuals : The centring, the same as for kinship.
    s_norm : What each kind is put into before they are added.
    harness.inference.excess.max_null_p : Its p-value.

    Examples
    --------
    Of six models 0 and 1 write alike; model 5 is near to all, and that is taken out:

    >>> import numpy as np
    >>> level = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.3])
    >>> cosines = level[:, None] + level + np.random.default_rng(0).normal(0.0, 0.01, 6)
    >>> cosines = cosines + cosines.T
    >>> cosines[[0, 1], [1, 0]] += 0.4
    >>> np.fill_diagonal(cosines, np.nan)
    >>> found = lean(cosines)
    >>> bool(found[0, 1] == np.nanmax(found)), bool(abs(found[0, 5]) < found[0, 1] / 4)
    (True, True)
    """
    return _scaled(np.mean([s_norm(_scaled(additive_residuals(s, scale=False))) for s in similarities], axis=0))


def _scaled(scores: Floats) -> Floats:
    """In units of their root mean square; as they are, where all are 0."""
    size = float(np.sqrt(np.nanmean(scores**2))) if np.isfinite(scores).any() else 0.0
    return scores / size if size > 1e-12 else scores


@dataclass(frozen=True)
class Power:
    """Of pupils of one documented teacher, the share that the test finds at ``alpha`` as its only look, in (``low``,
    ``high``) (95 %, over lineages), and of strangers of other makers; with so many control lineages and prompts."""

    controls: int
    prompts: int
    alpha: float
    found: float
    low: float
    high: float
    strangers: float


@cache
def powers() -> tuple[Power, ...]:
    """The power as it was measured: `python -m benchmarks.teaching` writes this table."""
    file = files("harness.inference") / "calibrations" / "teaching-power-1.json"
    return tuple(Power(**row) for row in json.loads(file.read_text(encoding="utf-8"))["rows"])


def power(controls: int, prompts: int, alpha: float) -> Power:
    """The power of the test in a campaign: that of the nearest conditions measured which are not better than its own.

    Examples
    --------
    >>> power(controls=4, prompts=200, alpha=0.05).found  # no p of 4 controls is as small as that
    0.0
    >>> power(controls=21, prompts=200, alpha=0.05).controls
    19
    """
    if not reaches(smallest_p(max(controls, 2)), alpha):
        return Power(controls, prompts, alpha, 0.0, 0.0, 0.0, 0.0)
    rows = powers()
    for name, here in (("alpha", alpha), ("controls", controls), ("prompts", prompts)):
        measured = {getattr(r, name) for r in rows}
        nearest = max((x for x in measured if x <= here), default=min(measured))
        rows = tuple(r for r in rows if getattr(r, name) == nearest)
    return rows[0]


def teaching(
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    counts: Sequence[NDArray[np.floating]],
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
    counts : sequence of (blocks, m, features) arrays
        Of `harness.channels.stylometry.habit_counts` and `opening_counts`, models in the order of ``names``.
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
    p-value alone does not tell one from the other. The caveat "power" says how many pupils a test like this finds.
    """
    text = [s for s in similarities if s.channel == "wording"]  # habits are read from the same answers
    pool = pool_for(suspect, candidate, models, text, settings.min_coverage, settings.controls)
    blank = Finding("teaching", suspect.name, candidate.name, pool.lineages, settings.alpha, caveats=pool.left_out)
    if len(pool.controls) < 2:
        return replace(blank, obstacle=Caveat("too few control lineages"))
    at = [list(names).index(n) for n in pool.names]
    cosines = [habit_similarity(c, at) for c in counts]
    matrix, raw = lean(*cosines), np.mean(cosines, axis=0)
    if not np.isfinite(matrix[0, 1]):
        return replace(blank, obstacle=Caveat("no text"))
    low, high = _interval([c[:, at] for c in counts], settings.seed)
    p = max_null_p(matrix, matrix[0, 1])
    others, peers = (m[np.triu_indices(len(m), 1)][1:] for m in (raw, matrix))
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
        peer_low=float(np.nanmin(peers)),
        peer_high=float(np.nanmax(peers)),
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
        caveats=(*blank.caveats, _power(len(pool.controls), habits.prompts, settings.alpha)),
        evidence=(habits, *(e for e in evidence if e.sees == "weights")),
    )


def _power(controls: int, prompts: int, alpha: float) -> Caveat:
    """How many pupils a test like this finds, as what limits its answer, whatever it is."""
    p = power(controls, prompts, alpha)
    return Caveat("power", values=(p.found, p.low, p.high, p.strangers, p.controls, p.prompts, p.alpha))


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
    if not reaches(f.p_floor, f.alpha):
        return inconclusive("too few controls")
    if not reaches(f.p_adjusted, f.alpha):
        return inconclusive("no sign")
    if f.mismatch:  # whatever follows from it is a habit of both
        return inconclusive("unlike conditions")
    return taught(f.p_adjusted, f.weights_p(), f.alpha, hidden=f.hiding is not None)


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
        "silence unheard": _SHARED + ". {weights} sees no shared weights, but {condition}: kin set apart like that are "
        "seldom seen either, so its silence does not tell a pupil from kin.",
        "text alone": _SHARED
        + ": so do kin, pupils, pupils of one teacher, and models of shared data; no channel that sees weights tells "
        "which.",
    },
    often="Of pairs of unrelated models, {often} would share at least as many habits",
    error_rate=KINSHIP.error_rate,
    effect=KINSHIP.effect,
    zero=KINSHIP.zero,
)


def _interval(counts: Sequence[NDArray[np.floating]], seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the accused pair's lean, over blocks of prompts."""
    rng, blocks = np.random.default_rng(seed), min(map(len, counts))
    if blocks < 4:
        return np.nan, np.nan
    draws = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=ROUNDS).astype(np.float32)
    leans = [lean(*(habit_similarity(np.tensordot(w, c, 1)[None]) for c in counts))[0, 1] for w in draws]
    low, high = np.nanquantile(leans, [0.025, 0.975])
    return float(low), float(high)
