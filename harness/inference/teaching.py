"""Teaching (distillation): does the suspect share the candidate's habits of wording more than unrelated models do?

The null is that of kinship, on another similarity: among exchangeable lineages the accused pair is a random pair. Alone
it cannot tell a student from kin, who share habits too; the verdict says so unless a channel that sees weights decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.inference.excess import additive_residuals, max_null_p, row_p, smallest_p
from harness.inference.findings import ChannelEvidence, Finding, Settings, blank_finding
from harness.inference.pool import Model, pool_for
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
    kin: Finding | None,
    settings: Settings,
) -> Finding:
    """Does the suspect share the candidate's habits more than unrelated models share one another's?

    Parameters
    ----------
    counts : (blocks, m, features) of `harness.channels.stylometry.habit_counts`, models in the order of ``names``.
    similarities : the campaign's channels; they decide which controls answered enough.
    kin : the kinship finding of the same pair, whose evidence tells derived from taught.
    """
    text = [s for s in similarities if s.channel == "wording"]  # habits are read from the same answers
    pool = pool_for(suspect, candidate, models, text, settings.min_coverage)
    blank = replace(blank_finding("teaching", pool), limits=pool.left_out)
    if len(pool.controls) < 2:
        return replace(blank, sentence="Cannot tell: fewer than two control lineages are usable.")
    at = [list(names).index(n) for n in pool.names]
    matrix = lean(raw := habit_similarity(counts, at))
    if not np.isfinite(matrix[0, 1]):
        return replace(blank, sentence="Cannot tell: the suspect or the candidate gave no text to compare.")
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
    weights = tuple(e for e in (kin.evidence if kin else ()) if e.sees == "weights")
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
        evidence=(habits, *weights),
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
