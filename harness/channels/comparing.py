"""The shape all channels share: read each model's answers to a prompt, compare them pairwise, count what was usable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.reading import coverage
from harness.responses import Responses
from harness.similarity import Similarity

Floats = NDArray[np.floating]
Item = TypeVar("Item")


def by_prompt(
    responses: Responses,
    prompts: Sequence[int],
    read: Callable[[int, int], Item | None],
    alike: Callable[[list[Item]], Floats],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Similarities (p, m, m) of what ``read(prompt, model)`` finds in the answers, and who had something, (p, m).

    ``alike`` gets what the k models that answered one prompt said and returns (k, k); its diagonal is ignored.
    """
    m = len(responses.models)
    values = np.full((len(prompts), m, m), np.nan, dtype=np.float32)
    usable = np.zeros((len(prompts), m), dtype=bool)
    for i, p in enumerate(prompts):
        found = {j: item for j in range(m) if (item := read(p, j)) is not None}
        at = list(found)
        usable[i, at] = True
        if len(at) > 1:
            values[i][np.ix_(at, at)] = alike(list(found.values()))
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
    sees: str,
) -> Similarity | None:
    """The finished record; None where no prompt serves the channel or nobody answered usably."""
    if not len(prompts) or not usable.any():
        return None
    return Similarity(
        channel=channel,
        models=responses.models,
        prompts=tuple(responses.prompts[p].id for p in prompts),
        values=np.asarray(values, dtype=np.float32),
        coverage=coverage(responses, prompts, usable),
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
    return np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)
