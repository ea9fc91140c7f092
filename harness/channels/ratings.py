"""Channel `ratings`: do two models depart from the common opinion in the same direction when they rate a scene?

Source: EQ-Bench v2 (Paech 2023) ratings; residuals after removing item and model means as in two-way analysis of
variance. Each scale of a prompt is an item. The mean over prompts of the values is the correlation of residuals.
Sees shared weights down to a common pretrained root, nearly blind to teachers, language-free. Blind to models that do
not follow the form (small base models): those have no coverage. Robust to a model that rates high or low throughout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import answer, similarity
from harness.records import Responses, Similarity

READS = ("text",)  # see `harness.channels.parallel`
Floats = NDArray[np.float64]

SWEEPS = 5  # of removing item and model means in turn; one is exact only without gaps
_NUMBER = r"(?<![\d.,/])(-?\d{1,3})(?![\d]|[.,]\d)"
_BETWEEN = r"[\s*_`\"'’”」）)\]|>]*(?:[:：=\-–—→|,]|\bis\b)?[\s*_`\"'“「(（\[|]*"


def ratings(responses: Responses) -> Similarity | None:
    """Mean over a prompt's scales of the product of two models' standardised residuals, (p, m, m)."""
    prompts = [p for p in responses.where("ratings") if responses.prompts[p].fields.get("scales")]
    if not prompts:
        return None
    m = len(responses.models)
    blocks = [np.column_stack([_mean_rating(responses, p, j) for j in range(m)]) for p in prompts]
    residuals = standard_residuals(np.concatenate(blocks))
    ends = np.cumsum([len(b) for b in blocks])
    values = np.stack([products(z) for z in np.split(residuals, ends[:-1])])
    usable = np.array([np.isfinite(b).mean(0) > 0.5 for b in blocks])  # one scale left out still leaves an answer
    values[~(usable[:, :, None] & usable[:, None, :])] = np.nan
    return similarity(
        responses, prompts, values, usable, channel="ratings", unit="product of residuals", sees="weights"
    )


def _mean_rating(responses: Responses, prompt: int, model: int) -> Floats:
    """Mean over samples of each scale, (scales,); NaN where none could be read."""
    scales = [str(s) for s in responses.prompts[prompt].fields["scales"]]
    read = [parse_ratings(answer(responses, r), scales) for r in responses.usable(prompt, model)]
    given = [[found[s] for found in read if s in found] for s in scales]
    return np.array([np.mean(g) if g else np.nan for g in given])


def parse_ratings(answer: str, scales: Sequence[str], low: int = 0, high: int = 10) -> Mapping[str, int]:
    """Whole numbers by scale, for those that can be read and lie in ``low`` to ``high``.

    By name first ("angry: 7", "**Angry** - 7/10", "| angry | 7 |", JSON), the first mention with a number counts. An
    answer without a single name that holds exactly as many numbers as there are scales is read in order.
    """
    found: dict[str, int] = {}
    for scale in scales:
        name = r"\W+".join(re.escape(part) for part in re.split(r"\W+", scale) if part)
        hit = re.search(rf"(?<!\w){name}(?!\w){_BETWEEN}{_NUMBER}", answer, re.IGNORECASE)
        if hit and low <= int(hit[1]) <= high:
            found[scale] = int(hit[1])
    if found or any(re.search(rf"(?<!\w){re.escape(s)}(?!\w)", answer, re.IGNORECASE) for s in scales):
        return found
    numbers = [int(n) for n in re.findall(_NUMBER, re.sub(r"(?m)^\s*\d{1,2}[.)]\s+|/\s*10\b", " ", answer))]
    if len(numbers) == len(scales) and all(low <= n <= high for n in numbers):
        return dict(zip(scales, numbers, strict=True))
    return {}


def standard_residuals(given: Floats) -> Floats:
    """Ratings (items, m) less item and model means, each item then each model at a root mean square of 1.

    NaN where missing; an item all rate alike, or that one model rated, gives NaN.
    """
    seen = np.isfinite(given)
    z = np.where(seen, given, 0.0)
    for _ in range(SWEEPS):
        for axis in (1, 0):
            count = np.maximum(seen.sum(axis, keepdims=True), 1)
            z = np.where(seen, z - z.sum(axis, keepdims=True) / count, 0.0)
    for axis in (1, 0):
        spread = np.sqrt((z**2).sum(axis, keepdims=True) / np.maximum(seen.sum(axis, keepdims=True), 1))
        seen = seen & (spread > 1e-9)
        z = np.divide(z, spread, out=np.zeros_like(z), where=seen)
    return np.where(seen, z, np.nan)


def products(residuals: Floats) -> Floats:
    """(items, m) to the mean over items of z_i z_j, (m, m); NaN on the diagonal and where no item is shared."""
    seen = np.isfinite(residuals).astype(np.float64)
    z = np.where(seen > 0, residuals, 0.0)
    shared = seen.T @ seen
    out: Floats = np.divide(z.T @ z, shared, out=np.full(shared.shape, np.nan), where=shared > 0)
    np.fill_diagonal(out, np.nan)
    return out
