"""Similarities by prompt, coverage and words, shared by all channels; with all that the reading room offers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.characters import words
from harness.channels.reading import (
    all_answers,
    answer,
    answer_rows,
    first_answer,
    first_answers,
    first_rows,
    thoughts,
    word_ids,
)
from harness.records import Responses, Sees, Similarity

__all__ = [
    "all_answers",
    "answer",
    "answer_rows",
    "answered_share",
    "by_prompt",
    "cosines",
    "distinct",
    "evenly",
    "first_answer",
    "first_answers",
    "first_rows",
    "moved",
    "numbered",
    "similarity",
    "thoughts",
    "word_ids",
    "words",
]

Floats = NDArray[np.floating]
Item = TypeVar("Item")
Number = TypeVar("Number", bound=np.number)


def answered_share(responses: Responses, prompts: Sequence[int], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Coverage: the share of the prompts put to each model that it answered usably, (m,); NaN where none were put.

    ``usable`` is bool (p, m) over ``prompts``.
    """
    asked = responses.asked[list(prompts)]
    with np.errstate(invalid="ignore"):
        return np.where(asked.any(0), (usable & asked).sum(0) / np.maximum(asked.sum(0), 1), np.nan)


def numbered(lists: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Every word as a number, in the order in which words first occur, (all words,); and the words by number."""
    known = dict.fromkeys(chain.from_iterable(lists))
    number = dict(zip(known, range(len(known)), strict=True))
    ids = np.array(list(map(number.__getitem__, chain.from_iterable(lists))), dtype=np.int64)
    return ids, tuple(known)


def distinct(values: NDArray[Number]) -> NDArray[Number]:
    """Every value once, in order: as `numpy.unique`, which is ten times as slow where many values are unlike."""
    turned = np.sort(values)
    return turned[np.append(True, turned[1:] != turned[:-1])] if len(turned) else turned


def evenly(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most so many of some items, spread over all."""
    return [items[i * len(items) // most] for i in range(most)] if len(items) > most else items


def by_prompt(
    responses: Responses,
    prompts: Sequence[int],
    read: Callable[[int, int], Item | None],
    pairwise: Callable[[list[Item]], Floats],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Similarities (p, m, m) of what ``read(prompt, model)`` finds in the answers, and who had something, (p, m).

    ``pairwise`` gets what the k models that answered one prompt said and returns (k, k); its diagonal is ignored.
    """
    m = len(responses.models)
    values = np.full((len(prompts), m, m), np.nan, dtype=np.float32)
    usable = np.zeros((len(prompts), m), dtype=bool)
    for i, p in enumerate(prompts):
        found = {j: item for j in range(m) if (item := read(p, j)) is not None}
        at = list(found)
        usable[i, at] = True
        if len(at) > 1:
            values[i][np.ix_(at, at)] = pairwise(list(found.values()))
        np.fill_diagonal(values[i], np.nan)
    return values, usable


def similarity(
    responses: Responses,
    prompts: Sequence[int],
    values: Floats,
    usable: NDArray[np.bool_],
    *,
    channel: str,
    unit: str,
    sees: Sees,
) -> Similarity | None:
    """Similarity record of one channel; None where no prompt serves the channel or nobody answered usably."""
    if not len(prompts) or not usable.any():
        return None
    return Similarity(
        channel=channel,
        models=responses.models,
        prompts=tuple(responses.prompts[p].id for p in prompts),
        values=np.asarray(values, dtype=np.float32),
        coverage=answered_share(responses, prompts, usable),
        unit=unit,
        sees=sees,
    )


def cosines(vectors: Floats | csr_matrix) -> NDArray[np.float64]:
    """Cosine of every pair of rows, (k, k); 0 with a row of zeros."""
    if isinstance(vectors, csr_matrix):
        dots = np.asarray((vectors @ vectors.T).todense(), dtype=np.float64)
    else:
        dots = np.asarray(vectors @ vectors.T, dtype=np.float64)
    norm = np.sqrt(np.maximum(np.diag(dots), 0.0))
    scale = norm[:, None] * norm
    out: NDArray[np.float64] = np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)
    return out


def moved(count: int, models: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
    """By how many of ``count`` prompts the answers of each model are moved for a placebo, (m,), all unlike.

    None with fewer prompts than models: two would then be moved alike, and compared on one prompt after all.
    """
    return rng.permutation(count)[:models] if count >= models else None
