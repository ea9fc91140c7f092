"""Channel `verbatim`: which answers, or long runs of them, are another model's to the letter?

Source: shingling (Broder 1997) with runs of 16 words. Finds copies, caches and endpoints that pass another model's
answers through; also one model behind two names at temperature 0. Reported only: a copy says who typed, not whose
weights. Short answers agree by chance and are left out; a paraphrase is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.comparing import by_prompt, similarity
from harness.channels.reading import first_answer, words
from harness.responses import Responses
from harness.similarity import Similarity

SHINGLE = 16  # words; unrelated answers share runs of up to about ten, mostly the question's own words
SHORTEST = 8  # words; below this equal answers are no copies
COPY = 0.8  # share of the shorter answer in common runs from which it counts as copied


def verbatim(responses: Responses) -> Similarity | None:
    """Share of the shorter answer's 16-word runs that the other holds too, (p, m, m); 1 is identical."""
    prompts = responses.where("verbatim")

    def read(p: int, m: int) -> list[str] | None:
        text = first_answer(responses, p, m)
        found = words(text) if text else []
        return found if len(found) >= SHORTEST else None

    values, usable = by_prompt(responses, prompts, read, shared_runs)
    return similarity(responses, prompts, values, usable, channel="verbatim", unit="share of runs", sees="reported")


def shared_runs(answers: Sequence[list[str]]) -> NDArray[np.float64]:
    """Distinct runs in common over those of the answer with fewer, (k, k)."""
    column: dict[tuple[str, ...], int] = {}
    runs = [{tuple(a[i : i + SHINGLE]) for i in range(max(1, len(a) - SHINGLE + 1))} for a in answers]
    at = [sorted(column.setdefault(r, len(column)) for r in mine) for mine in runs]
    rows = np.repeat(np.arange(len(at)), [len(a) for a in at])
    table = csr_matrix((np.ones(len(rows)), (rows, np.concatenate(at))), shape=(len(at), len(column)))
    size = np.array([len(a) for a in at], dtype=np.float64)
    shared = np.asarray((table @ table.T).todense(), dtype=np.float64)
    return np.asarray(shared / np.minimum(size[:, None], size), dtype=np.float64)


def blank_copies(other: Similarity, copies: Similarity) -> Similarity:
    """``other`` without the cells (prompt, pair) whose answers were copied; prompts without verbatim figures stay.

    Taken out pair by pair: an answer that two share still counts against the rest of the pool.
    """
    row = {p: i for i, p in enumerate(copies.prompts)}
    at = [copies.models.index(m) for m in other.models]
    values = other.values.copy()
    for i, prompt in enumerate(other.prompts):
        if prompt in row:
            values[i][copies.values[row[prompt]][np.ix_(at, at)] >= COPY] = np.nan
    return replace(other, values=values)
