"""Channel `tokenizer`: do two endpoints count the tokens of odd strings alike?

Source: provenance-probe (prompt_tokens on designed strings). A chat template adds the same to every string, so counts
are compared after taking out the commonest difference. Exact matches only: counts of unrelated tokenizers correlate at
.99. Names a tokenizer family, never a lineage (unrelated models share vocabularies), hence reported only. Blind where a
relay estimates usage itself; padded counts show as a family of their own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import similarity
from harness.records import Observation, Responses, Similarity

READS = ("prompt_tokens",)  # see `harness.channels.parallel`
Floats = NDArray[np.float64]

FAMILY_MAKERS: Mapping[str, str] = {  # who made the model that a family is named after; others use it as well
    "cl100k": "OpenAI", "o200k": "OpenAI", "claude-old": "Anthropic", "command-r-plus": "Cohere",
    "deepseek-v3": "DeepSeek", "gemma3": "Google", "llama3": "Meta", "mistral-v1": "Mistral", "mistral-v3": "Mistral",
    "tekken": "Mistral", "qwen3.6": "Alibaba", "qwen3": "Alibaba", "smollm2": "Hugging Face",
}  # fmt: skip
NEAR = 0.7  # share of exact counts under which no family is named
ENOUGH = 5  # strings; fewer match by chance once an offset is fitted

WRAPPED = 5  # tokens more than others count for raw text, which no tokenizer adds by itself

STEADY = 3  # tokens, by which this may vary: a tokenizer with smaller pieces adds more to longer texts


def tokenizer(responses: Responses) -> Similarity | None:
    """1 where two models differ by exactly their usual offset, else 0, (p, m, m); the mean is the exact-match share."""
    prompts = responses.where("tokenizer")
    if len(prompts) < ENOUGH:
        return None
    counts = token_counts(responses, prompts)
    m = counts.shape[1]
    values = np.full((len(prompts), m, m), np.nan)
    for a in range(m):
        for b in range(a + 1, m):
            values[:, a, b] = values[:, b, a] = matches(counts[:, a], counts[:, b])
    return similarity(
        responses, prompts, values, np.isfinite(counts), channel="tokenizer", unit="exact match", sees="reported"
    )


def token_counts(responses: Responses, prompts: list[int]) -> Floats:
    """prompt_tokens, (p, m); NaN where the endpoint gave none. Refused and empty answers count as well."""
    out = np.full((len(prompts), len(responses.models)), np.nan)
    for i, p in enumerate(prompts):
        for j in range(len(responses.models)):
            given = [n for r in responses.rows(p, j) if (n := responses.prompt_tokens[r])]
            if given:
                out[i, j] = Counter(given).most_common(1)[0][0]
    return out


def matches(a: Floats, b: Floats) -> Floats:
    """1 where a - b is the commonest difference, 0 elsewhere, NaN where one is missing, (p,)."""
    difference = a - b
    seen = np.isfinite(difference)
    out = np.full(len(a), np.nan)
    if seen.any():
        found, times = np.unique(difference[seen], return_counts=True)
        usual = found[times == times.max()]
        out[seen] = np.isin(difference[seen], usual) / len(usual)  # a tie settles nothing
    return out


def family_counts() -> Mapping[str, Mapping[str, int]]:
    """Counts by family and prompt id, from benchmarks/tokenizer_reference.py."""
    table: dict[str, dict[str, int]] = json.loads(
        files("harness.channels").joinpath("tokenizer_families.json").read_text("utf-8")
    )
    return table


def families(responses: Responses) -> list[Observation]:
    """The nearest known family of each model with counts, and the share of strings counted exactly so."""
    return [
        Observation("tokenizer", model, "family", f"{best if share >= NEAR else 'unknown'} ({best} {share:.0%} exact)")
        for model, (best, share) in _nearest(responses).items()
    ]


def nearest_families(responses: Responses) -> dict[str, tuple[str, float]]:
    """Family of each model whose counts are near enough to one to name it, and the share of strings counted so."""
    return {model: found for model, found in _nearest(responses).items() if found[1] >= NEAR}


def _nearest(responses: Responses) -> dict[str, tuple[str, float]]:
    prompts = responses.where("tokenizer")
    counts = token_counts(responses, prompts)
    out = {}
    for j, model in enumerate(responses.models):
        scores: dict[str, float] = {}
        for family, known in family_counts().items():
            hit = matches(counts[:, j], np.array([known.get(responses.prompts[p].id, np.nan) for p in prompts]))
            if np.isfinite(hit).sum() >= ENOUGH:
                scores[family] = float(np.nanmean(hit))
        if scores:
            best = min(scores, key=lambda f: (-scores[f], f))
            out[model] = (best, scores[best])
    return out


def wrapped_completions(responses: Responses) -> list[Observation]:
    """Endpoints that count tokens on top of raw completions: a template is around them, and they are not raw.

    Next to what the other endpoints count for the same prompts: more than the usual one by a number that is nearly the
    same for all. Usage padded by a constant looks the same.
    """
    prompts = [i for i, p in enumerate(responses.prompts) if p.surface == "completion"]
    counts = token_counts(responses, prompts)
    told = np.isfinite(counts)
    out = []
    for j, model in enumerate(responses.models):
        rows = told[:, j] & (told.sum(1) >= 3)  # itself and two others
        if rows.sum() < ENOUGH:
            continue
        others = np.nanmedian(np.delete(counts[rows], j, axis=1), axis=1)
        low, extra, high = np.quantile(counts[rows, j] - others, [0.25, 0.5, 0.75])
        if extra >= WRAPPED and high - low <= STEADY:
            value = f"{extra:.0f} tokens more than others count: a template is around them, or usage is padded"
            out.append(Observation("tokenizer", model, "raw completions", value))
    return out
