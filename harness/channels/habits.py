"""Habits: how often a model uses each pair of neighbouring words, whatever it was asked. Evidence of teaching.

Source: word-bigram profiles as in authorship attribution (Stamatatos 2009). Pooled over prompts, since a habit is not
tied to one; so it is no channel of kinship, which pairs answers by prompt. Kin share habits as well: only together with
a channel that sees weights does it tell teaching.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.channels.reading import answers, words
from harness.responses import Responses

MAX_WORDS = 256
FEATURES = 10_000
BLOCKS = 20  # groups of prompts that the bootstrap draws


def habit_counts(responses: Responses, blocks: int = BLOCKS) -> NDArray[np.float32]:
    """Counts of the 10,000 commonest word bigrams, (blocks, m, features); prompts are dealt to blocks in turn."""
    prompts = responses.where("wording")
    blocks = max(1, min(blocks, len(prompts)))
    vocabulary: dict[str, int] = {}
    cells: list[list[list[NDArray[np.int64]]]] = [[[] for _ in responses.models] for _ in range(blocks)]
    for i, row in enumerate(answers(responses, prompts)):
        for cell, text in zip(cells[i % blocks], row, strict=True):
            ids = [vocabulary.setdefault(w, len(vocabulary)) for w in words(text, MAX_WORDS)] if text else []
            cell.append(np.array(ids, dtype=np.int64))
    counted = [[_bigrams(cell) for cell in block] for block in cells]
    codes = np.concatenate([c for block in counted for c, _ in block])
    times = np.concatenate([n for block in counted for _, n in block])
    every, at = np.unique(codes, return_inverse=True)
    totals = np.bincount(at, times, minlength=len(every))
    features = np.sort(every[np.argsort(-totals, kind="stable")[:FEATURES]])
    return np.array([[_picked(c, n, features) for c, n in block] for block in counted], dtype=np.float32)


def _bigrams(answers_as_ids: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of the bigrams of some answers, and how often each occurs."""
    codes = [a[:-1] << 32 | a[1:] for a in answers_as_ids if len(a) > 1]
    found, times = np.unique(np.concatenate(codes or [np.zeros(0, dtype=np.int64)]), return_counts=True)
    return found, times.astype(np.int64)


def _picked(codes: NDArray[np.int64], times: NDArray[np.int64], features: NDArray[np.int64]) -> NDArray[np.float32]:
    out = np.zeros(len(features), dtype=np.float32)
    _, mine, theirs = np.intersect1d(codes, features, assume_unique=True, return_indices=True)
    out[theirs] = times[mine]
    return out
