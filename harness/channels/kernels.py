"""Kernel matrices between single samples of two models, for the two-sample test of identity: text and logprobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.channels.first_tokens import coarse, common_grain, common_number, first_tokens, likeliest
from harness.channels.logprobs import agreement
from harness.channels.reading import all_answers, answer_rows
from harness.records import Responses

Floats = NDArray[np.float64]
SPECTRUM = 4  # longest run of characters counted by the text kernel
RARITY_FLOOR = 0.1  # weight left to a run that every sample holds


def text_kernels(responses: Responses, a: int, b: int) -> list[tuple[Floats, int]]:
    """Per prompt with two or more samples on both sides: Gram matrix (n_a + n_b,) squared, and n_a.

    Kernel: Gaussian on character 1- to 4-gram counts (spectrum kernel, Leslie et al. 2002), defined for texts of any
    length and language.
    """
    out, pair = [], responses.among([a, b])  # the answers of two models only are read
    for p in range(len(pair.prompts)):
        if pair.prompts[p].temperature == 0:
            continue  # samples of a greedy answer are copies of one
        texts = [all_answers(pair, p, m) for m in (0, 1)]
        if min(map(len, texts)) >= 2:
            out.append((spectrum(texts[0] + texts[1]), len(texts[0])))
    return out


def logprob_kernels(responses: Responses, a: int, b: int) -> list[tuple[Floats, int]]:
    """As `text_kernels`, of first-token distributions: 1 - Jensen-Shannon divergence.

    A host that lists fewer alternatives, or rounds the numbers, changes no model: both sides are cut and rounded alike.
    """
    out, pair = [], responses.among([a, b])
    found = [[first_tokens(pair, p, m) for m in (0, 1)] for p in range(len(pair.prompts))]
    most = common_number([[len(s) for row in found for s in row[m]] for m in (0, 1)])
    step = common_grain([s for row in found for s in row[m]] for m in (0, 1))
    for mine, theirs in found:
        if min(len(mine), len(theirs)) >= 2:
            gram = agreement([likeliest(coarse(s, step), most) for s in (*mine, *theirs)])
            np.fill_diagonal(gram, 1.0)
            out.append((gram, len(mine)))
    return out


def next_token_distances(responses: Responses, models: Sequence[int]) -> Floats:
    """How far the next tokens of each model are from those of the first, (p, m - 1, 2), in Jensen-Shannon divergence.

    ``[..., 0]`` is the mean over pairs of samples, ``[..., 1]`` that over pairs of samples of one and the same model,
    mean of the two: the noise between repeats. NaN where one of the two has fewer than two samples. All are cut to
    as many alternatives, and rounded alike, as in `logprob_kernels`, so that the distances can be compared.
    """
    pool = responses.among(models)
    found = [[first_tokens(pool, p, m) for m in range(len(models))] for p in range(len(pool.prompts))]
    most = common_number([[len(s) for row in found for s in row[m]] for m in range(len(models))])
    step = common_grain([s for row in found for s in row[m]] for m in range(len(models)))
    out = np.full((len(found), len(models) - 1, 2), np.nan)
    for at, row in zip(out, found, strict=True):
        first, *rest = [[likeliest(coarse(s, step), most) for s in samples] for samples in row]
        for cell, other in zip(at, rest, strict=True):
            if (n := len(first)) >= 2 and len(other) >= 2:
                apart = 1.0 - agreement([*first, *other])
                cell[:] = apart[:n, n:].mean(), (np.nanmean(apart[:n, :n]) + np.nanmean(apart[n:, n:])) / 2
    return out


def kernel_coverage(responses: Responses, a: int, b: int, open_ended: str = "") -> dict[str, float]:
    """Coverage of the two kernels: how much of what was asked of both can be compared; NaN if nothing was.

    ``text``: the share of the samples at a temperature above 0 that are usable answers, of the worse of the two.
    ``logprobs``: the share of the prompts with logprobs where both have two samples of them. There a sample is lost
    where a server prints several tokens as one, and each of the others stands for the same distribution. Of the
    family ``open_ended`` it is unknown how often each was asked: as often as the one of the two that answered more.
    """
    pair = responses.among([a, b])
    sampled = [i for i, p in enumerate(pair.prompts) if p.samples >= 2 and pair.asked[i].all()]
    drawn = [i for i in sampled if pair.prompts[i].temperature != 0]
    most = {i: pair.prompts[i].samples if pair.prompts[i].family != open_ended
            else max(len(pair.rows(i, m)) for m in (0, 1)) for i in drawn}  # fmt: skip
    asked = sum(most.values())
    usable = [sum(min(sum(1 for _ in answer_rows(pair, i, m)), most[i]) for i in drawn) for m in (0, 1)]
    told = [min(len(first_tokens(pair, i, m)) for m in (0, 1)) >= 2 for i in sampled if pair.prompts[i].top_logprobs]
    return {
        "text": min(usable) / asked if asked else float("nan"),
        "logprobs": float(np.mean(told)) if told else float("nan"),
    }


def spectrum(texts: Sequence[str]) -> Floats:
    """Gaussian kernel on character n-grams weighted by rarity, (n, n) with ones on the diagonal.

    Logarithmic counts, rarity among these very texts, width the median distance (Gretton et al. 2012): all of it blind
    to which endpoint a text is from. Plain counts are much alike for any two texts of one language.
    """
    counts = [Counter(t[i : i + k] for k in range(1, SPECTRUM + 1) for i in range(len(t) - k + 1)) for t in texts]
    vocabulary = {g: i for i, g in enumerate(dict.fromkeys(g for c in counts for g in c))}
    # In single precision the sums of BLAS differ in the sixth digit from run to run, which a CSV would show.
    dense = np.zeros((len(texts), len(vocabulary)), dtype=np.float64)
    for row, count in enumerate(counts):
        dense[row, [vocabulary[g] for g in count]] = np.fromiter(count.values(), dtype=np.float64, count=len(count))
    rarity = np.log((1.0 + len(texts)) / (1.0 + (dense > 0).sum(0))) + RARITY_FLOOR
    dense = np.log1p(dense) * rarity
    norms = np.linalg.norm(dense, axis=1, keepdims=True)
    dense = dense / np.maximum(norms, 1e-12)
    apart = np.maximum(2.0 - 2.0 * (dense @ dense.T), 0.0)
    np.fill_diagonal(apart, 0.0)
    distances = apart[np.triu_indices(len(texts), 1)]
    width = float(np.median(distances[distances > 1e-6])) if (distances > 1e-6).any() else 1.0
    kernel: Floats = np.exp(-apart / width)
    return kernel
