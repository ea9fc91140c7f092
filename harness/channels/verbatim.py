"""Channel `verbatim`: which answers, or long runs of words in them, are copies of another model's?

Source: shingling (Broder 1997) with runs of 16 words. Finds copies, caches and endpoints that pass another model's
answers through; also one model behind two names at temperature 0. Reported only: a copy says who typed, not whose
weights. Short answers agree by chance and are left out; a paraphrase is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

from harness.channels.base import by_prompt, distinct, first_rows, similarity, word_ids
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

    cells = dict(zip(prompts, first_rows(responses, prompts), strict=True))
    rows = [r for row in cells.values() for r in row if r is not None]
    said = dict(zip(rows, word_ids(responses, rows), strict=True))

    def read(p: int, m: int) -> NDArray[np.int32] | None:
        row = cells[p][m]
        return None if row is None or len(found := said[row].array) < SHORTEST else found

    values, usable = by_prompt(responses, prompts, read, shared_runs)
    return similarity(responses, prompts, values, usable, channel="verbatim", unit="share of runs", sees="reported")


def shared_runs(answers: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
    """Distinct runs in common over those of the answer with fewer, (k, k), of words by number."""
    k = len(answers)
    lengths = np.array([len(a) for a in answers], dtype=np.int64)
    owner, runs = _runs(np.concatenate(answers).astype(np.uint64), lengths)
    order = np.argsort(runs)
    owner, runs = owner[order], runs[order]
    same = runs[1:] == runs[:-1]
    again = np.append(False, same) | np.append(same, False)  # what stands but once matters to the size of its answer
    first = again & ~np.append(False, same)
    cells = distinct((np.cumsum(first)[again] - 1) * k + owner[again])  # each run once an answer
    size = np.bincount(owner[~again], minlength=k) + np.bincount(cells % k, minlength=k)
    ends = np.cumsum(np.bincount(cells // k, minlength=max(int(first.sum()), 1)))
    table = csc_matrix((np.ones(len(cells)), cells % k, np.append(0, ends)), shape=(k, len(ends)))
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
