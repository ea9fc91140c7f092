"""Channel `verbatim`: which answers, or long runs of words in them, are copies of another model's?

Source: shingling (Broder 1997) with runs of 16 words. Finds copies, caches and endpoints that pass another model's
answers through; also one model behind two names at temperature 0. Reported only: a copy says who typed, not whose
weights. Short answers agree by chance and are left out; a paraphrase is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.base import by_prompt, first_answer, similarity, words
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
    codes = np.fromiter(map(hash, chain.from_iterable(answers)), dtype=np.int64, count=int(lengths.sum()))
    owner, runs = _runs(codes.view(np.uint64), lengths)
    turned = np.sort(runs)
    twice = np.unique(turned[1:][turned[1:] == turned[:-1]])  # what stands but once matters to the size of its answer
    at = np.minimum(np.searchsorted(twice, runs), max(len(twice) - 1, 0))
    again = twice[at] == runs if len(twice) else np.zeros(len(runs), dtype=bool)
    cells = np.unique(at[again] * k + owner[again])  # each run once an answer
    size = np.bincount(owner[~again], minlength=k) + np.bincount(cells % k, minlength=k)
    table = csr_matrix((np.ones(len(cells)), (cells % k, cells // k)), shape=(k, max(len(twice), 1)))
    shared = np.asarray((table @ table.T).todense(), dtype=np.float64)
    shared[np.arange(k), np.arange(k)] = size
    return np.asarray(shared / np.minimum(size[:, None], size), dtype=np.float64)


def _runs(codes: NDArray[np.uint64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Every run of words of answers end to end, the whole text of a shorter one: whose it is, and a number for it.

    ``codes`` are of the words. 64 bits, so none meet by chance.
    """
    mixed = (codes + np.uint64(1)) * _ODD
    mixed ^= mixed >> np.uint64(31)
    mixed *= _ODD
    width = np.minimum(lengths, SHINGLE)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.cumsum(lengths)
    found = np.zeros(len(codes), dtype=np.uint64)
    padded = np.concatenate([mixed, np.zeros(SHINGLE, dtype=np.uint64)])
    for i, power in enumerate(_POWERS):
        found += padded[i : i + len(codes)] * power
    starts = np.flatnonzero(np.arange(len(codes)) <= (ends - width)[owner])
    found[starts] += width[owner[starts]].astype(np.uint64)
    for j in np.flatnonzero(lengths < SHINGLE):  # whose run would go on into the next answer
        end, n = int(ends[j]), int(lengths[j])
        found[end - n] = np.uint64(n) + (mixed[end - n : end] * _POWERS[:n]).sum(dtype=np.uint64)
    return owner[starts], found[starts]
