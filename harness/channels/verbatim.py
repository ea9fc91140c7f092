"""Channel `verbatim`: which answers, or long runs of words in them, are copies of another model's?

Source: shingling (Broder 1997) with runs of 16 words. Finds copies, caches and endpoints that pass another model's
answers through; also one model behind two names at temperature 0. Reported only: a copy says who typed, not whose
weights. Short answers agree by chance and are left out; a paraphrase is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.base import by_prompt, first_answer, numbered, similarity, words
from harness.records import Responses, Similarity

READS = ("text",)  # see `harness.channels.parallel`
PER_PROMPT = True  # see `harness.channels.parallel`
SHINGLE = 16  # words; unrelated answers share runs of up to about ten, mostly the question's own words
SHORTEST = 8  # words; below this equal answers are no copies
_ODD = np.uint64(0x9E3779B97F4A7C15)
_POWERS = np.cumprod(np.full(SHINGLE, 0xD6E8FEB86659FD93, dtype=np.uint64))  # modulo 2^64


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
    k = len(answers)
    lengths = np.array([len(a) for a in answers], dtype=np.int64)
    owner, runs = _runs(numbered(answers)[0].astype(np.uint64), lengths)
    number = np.unique(runs, return_inverse=True)[1]
    cells = np.unique(number * k + owner)  # each run once an answer
    number, owner = cells // k, cells % k
    size = np.bincount(owner, minlength=k)
    common = np.bincount(number)[number] > 1  # a run of one answer alone matters to its size only
    column = np.unique(number[common], return_inverse=True)[1]
    table = csr_matrix((np.ones(len(column)), (owner[common], column)), shape=(k, int(column.max(initial=0)) + 1))
    shared = np.asarray((table @ table.T).todense(), dtype=np.float64)
    shared[np.arange(k), np.arange(k)] = size
    return np.asarray(shared / np.minimum(size[:, None], size), dtype=np.float64)


def _runs(ids: NDArray[np.uint64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Every run of words of answers end to end, the whole text of a shorter one: whose it is, and a number for it.

    64 bits, so none meet by chance.
    """
    mixed = (ids + np.uint64(1)) * _ODD
    mixed ^= mixed >> np.uint64(31)
    mixed *= _ODD
    width = np.minimum(lengths, SHINGLE)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.cumsum(lengths)
    starts = np.flatnonzero(np.arange(len(ids)) <= (ends - width)[owner])
    owner, width = owner[starts], width[owner[starts]]
    found = width.astype(np.uint64)
    padded = np.concatenate([mixed, np.zeros(SHINGLE, dtype=np.uint64)])
    for i, power in enumerate(_POWERS):
        found += np.where(i < width, padded[starts + i], np.uint64(0)) * power
    return owner, found
