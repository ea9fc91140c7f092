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
    ids = numbered(answers)[0].astype(np.uint64)
    runs = [_runs(mine) for mine in np.split(ids, np.cumsum([len(a) for a in answers])[:-1])]
    size = np.array([len(r) for r in runs], dtype=np.int64)
    column = np.unique(np.concatenate(runs), return_inverse=True)[1]
    rows = np.repeat(np.arange(len(runs)), size)
    table = csr_matrix((np.ones(len(rows)), (rows, column)), shape=(len(runs), int(column.max()) + 1))
    shared = np.asarray((table @ table.T).todense(), dtype=np.float64)
    return np.asarray(shared / np.minimum(size[:, None], size), dtype=np.float64)


def _runs(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for each distinct run of words, the whole text if it is shorter; 64 bits, so none meet by chance."""
    mixed = (ids + np.uint64(1)) * _ODD
    mixed ^= mixed >> np.uint64(31)
    mixed *= _ODD
    width = min(SHINGLE, len(ids))
    windows = np.lib.stride_tricks.sliding_window_view(mixed, width)
    found: NDArray[np.uint64] = np.unique(windows @ _POWERS[:width] + np.uint64(width))
    return found
