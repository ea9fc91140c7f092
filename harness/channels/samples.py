"""Kernels between single samples, for the question of identity: do two endpoints answer from one distribution?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.channels.logprobs import agreement, first_tokens
from harness.responses import Responses

Floats = NDArray[np.float64]
SPECTRUM = 4  # longest run of characters counted by the text kernel


def text_kernels(responses: Responses, a: int, b: int) -> list[tuple[Floats, int]]:
    """Per prompt with two or more samples on both sides: Gram matrix (n_a + n_b,) squared, and n_a.

    Kernel: cosine of character 1- to 4-gram counts (spectrum kernel, Leslie et al. 2002), defined for texts of any
    length and language.
    """
    out = []
    for p in range(len(responses.prompts)):
        if responses.prompts[p].temperature == 0:
            continue  # samples of a greedy answer are copies of one
        texts = [[responses.text[r] for r in responses.usable(p, m)] for m in (a, b)]
        if min(map(len, texts)) >= 2:
            out.append((spectrum(texts[0] + texts[1]), len(texts[0])))
    return out


def logprob_kernels(responses: Responses, a: int, b: int) -> list[tuple[Floats, int]]:
    """As `text_kernels`, of first-token distributions: 1 - Jensen-Shannon divergence."""
    out = []
    for p in range(len(responses.prompts)):
        tops = [first_tokens(responses, p, m) for m in (a, b)]
        if min(map(len, tops)) >= 2:
            gram = agreement(tops[0] + tops[1])
            np.fill_diagonal(gram, 1.0)
            out.append((gram, len(tops[0])))
    return out


def spectrum(texts: Sequence[str]) -> Floats:
    """Cosine of character n-gram counts, (n, n) with ones on the diagonal."""
    counts = [Counter(t[i : i + k] for k in range(1, SPECTRUM + 1) for i in range(len(t) - k + 1)) for t in texts]
    vocabulary = {g: i for i, g in enumerate(dict.fromkeys(g for c in counts for g in c))}
    dense = np.zeros((len(texts), len(vocabulary)))
    for row, count in enumerate(counts):
        for gram, n in count.items():
            dense[row, vocabulary[gram]] = n
    norms = np.linalg.norm(dense, axis=1, keepdims=True)
    dense = dense / np.maximum(norms, 1e-12)
    gram_matrix: Floats = dense @ dense.T
    return gram_matrix
