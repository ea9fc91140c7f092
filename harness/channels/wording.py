"""Channel `wording`: which words two models share in answers to the same prompt, and others avoid.

Source: TF-IDF cosine (Salton & Buckley 1988) of word 1-2-grams, with rarity counted among the answers to one prompt:
a word that every model uses there says nothing about lineage. Robust to other system prompts, hosts and light
tuning; blind to the difference between derived and taught, and to weights after heavy retraining.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.base import answered_share, first_answers, numbered, words
from harness.records import Responses, Similarity

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

PER_PROMPT = True  # see `harness.channels.parallel`
MAX_WORDS = 256  # answers are cut to this length: n-gram mass grows with length, and a long answer resembles all
IDF_FLOOR = 0.1  # weight left to a word that every answer holds; keeps norms positive


def wording(responses: Responses) -> Similarity | None:
    """Cosine of rarity-weighted word 1-2-grams, (p, m, m) in [0, 1]."""
    prompts = responses.where("wording")
    texts = first_answers(responses, prompts)
    if not prompts:
        return None
    values = np.stack([prompt_similarity(row) for row in texts])
    usable = np.array([[t is not None for t in row] for row in texts])
    return Similarity(
        channel="wording",
        models=responses.models,
        prompts=tuple(responses.prompts[i].id for i in prompts),
        values=values,
        coverage=answered_share(responses, prompts, usable),
        unit="cosine",
        sees="text",
    )


def prompt_similarity(texts: Sequence[str | None]) -> Floats:
    """Similarity of the answers to one prompt: m texts or None -> (m, m), NaN on the diagonal and for None."""
    m = len(texts)
    tokens = [words(t, MAX_WORDS) if t else [] for t in texts]
    answered = np.array([len(t) > 0 for t in tokens])
    out = np.full((m, m), np.nan, dtype=np.float32)
    n = int(answered.sum())
    if n < 2:
        return out
    row, column, count, n_features = _ngram_counts(tokens)
    df = np.bincount(column, minlength=n_features)
    idf = np.log((1.0 + n) / (1.0 + df)) + IDF_FLOOR
    weight = (1.0 + np.log(count)) * idf[column]
    norm = np.sqrt(np.bincount(row, weight**2, minlength=m))
    shared = df[column] > 1  # a feature of one answer matters to its norm only
    weight = weight[shared] / norm[row[shared]]
    vectors = csr_matrix((weight.astype(np.float32), (row[shared], column[shared])), shape=(m, n_features))
    cosine = np.asarray((vectors @ vectors.T).todense(), dtype=np.float32)
    both = np.ix_(answered, answered)
    out[both] = cosine[both]
    np.fill_diagonal(out, np.nan)
    return out


def _ngram_counts(token_lists: Sequence[list[str]]) -> tuple[Ints, Ints, NDArray[np.float64], int]:
    """Answer index, feature index and count of every distinct 1-2-gram, and the number of features."""
    lengths = np.array([len(tokens) for tokens in token_lists], dtype=np.int64)
    ids, vocabulary = numbered(token_lists)
    owner = np.repeat(np.arange(len(token_lists), dtype=np.int64), lengths)
    size = len(vocabulary)
    same = owner[1:] == owner[:-1]
    bigrams = size + ids[:-1][same] * size + ids[1:][same]
    codes, features = np.unique(np.concatenate([ids, bigrams]), return_inverse=True)
    n_features = len(codes)
    owners = np.concatenate([owner, owner[1:][same]])
    cells, counts = np.unique(owners * n_features + features, return_counts=True)
    return cells // n_features, cells % n_features, counts.astype(np.float64), n_features
