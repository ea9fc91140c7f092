"""Stylometry: rates of writing habits in answers as sparse tables (answers, features), and counts of habits by block.

Sources: part-of-speech templates (Wadhwa et al. 2025), here of the pool's own most common words, so that no tagger
and no language is needed; word bigrams and over-used words (slop-forensics, Paech 2025). An n-gram is a number made of
its words' ids, so that a table costs a few sorts; ids are alphabetical, so that the order of models does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from harness.channels.base import first_answers, words
from harness.records import Responses, Vocabulary

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Cells = tuple[Ints, Ints, Floats]  # answer, feature and rate of each distinct feature of an answer

MAX_TOKENS = 256  # answers are cut here: counts grow with length
COMMON = 150  # words that keep their name in a template; all others become one mark
FEATURES = 4000  # most widespread features kept of each kind
LARGEST = 4_000_000  # codes that fit a table
MAX_WORDS = 256  # words of an answer that `habit_counts` looks at
BIGRAMS = 10_000  # kept by `habit_counts`
OPENINGS = 4_000  # kept by `opening_counts`
OPENING = 3  # first words of an answer that `opening_counts` looks at
BLOCK = 1000  # answers whose runs are counted at once
BLOCKS = 20  # groups of prompts that the bootstrap draws
_TOKEN = re.compile(r"\n+|\w+|[^\w\s]")
_EDGE = 3  # words in an opener or closer
BATCH = 256  # answers whose tokens are read at once
_SPACE, _BREAK, _WORD, _MARK = range(4)
_KIND = np.array(
    [
        _BREAK if c == "\n" else _SPACE if c.isspace() else _WORD if c.isalnum() or c == "_" else _MARK
        for c in map(chr, range(128))
    ],
    dtype=np.uint8,
)  # of the bytes of ASCII
_ODD = np.uint64(0x9E3779B97F4A7C15)
_BYTES = np.array([2 ** (8 * n) - 1 for n in range(9)], dtype=np.uint64)


@dataclass(frozen=True)
class Tokens:
    """Token ids of n answers in a row; answer i is ``ids[start[i] : start[i + 1]]``. ``words`` are sorted."""

    ids: Ints
    start: Ints
    words: tuple[str, ...]

    @property
    def lengths(self) -> Ints:
        """Tokens of each answer, (n,)."""
        return np.diff(self.start)

    @property
    def owner(self) -> Ints:
        """Answer of each token."""
        return np.repeat(np.arange(len(self.start) - 1), self.lengths)

    def text(self, answer: int) -> str:
        """The tokens of one answer, a space between."""
        return " ".join(self.words[i] for i in self.ids[self.start[answer] : self.start[answer + 1]])


Rates = Callable[[Tokens], csr_matrix]


def tokenize(text: str) -> list[str]:
    """Words, single punctuation marks and line breaks of a text's beginning, lower case."""
    return _TOKEN.findall(text[: 12 * MAX_TOKENS].lower())[:MAX_TOKENS]


def read_tokens(texts: Iterable[str | None]) -> Tokens:
    """Tokens of every answer; None and empty texts have none."""
    seen, codes, found = Vocabulary(), dict[int, int](), list[Ints32]()
    waiting = iter(texts)
    while batch := list(islice(waiting, BATCH)):
        plain = [t if t and t.isascii() else "" for t in batch]
        for text, ids in zip(batch, _ascii_tokens(plain, seen, codes), strict=True):
            more = tokenize(text) if text and not text.isascii() else []
            found.append(np.array([seen[w] for w in more], dtype=np.int32) if more else ids)
    known = sorted(seen)
    rank = np.zeros(len(known), dtype=np.int64)
    rank[[seen[w] for w in known]] = np.arange(len(known))
    start = np.concatenate([[0], np.cumsum([len(f) for f in found])]).astype(np.int64)
    return Tokens(rank[np.concatenate(found)] if known else np.zeros(0, np.int64), start, tuple(known))


def _ascii_tokens(texts: Sequence[str], seen: Vocabulary, codes: dict[int, int]) -> list[Ints32]:
    """`tokenize` of texts in ASCII all at once, tokens by their numbers in ``seen``; ``codes`` are those met before.

    A token's eight bytes are taken as one number, a longer one's as several, mixed: 64 bits, so none meet by chance.
    """
    cut = [text[: 12 * MAX_TOKENS] for text in texts]
    data = f" {' '.join(cut)} ".lower().encode("ascii") + bytes(8)
    kind = _KIND[np.frombuffer(data, dtype=np.uint8)[:-8]]
    bounds = np.flatnonzero((kind[1:] != kind[:-1]) | (kind[1:] == _MARK)) + 1
    said = np.flatnonzero(kind[bounds] != _SPACE)
    begin = bounds[said]
    size = np.append(bounds, len(kind))[said + 1] - begin
    ends = np.searchsorted(begin, np.cumsum([len(t) + 1 for t in cut]))  # of the tokens of each text
    starts = np.concatenate([[0], ends[:-1]])
    kept = np.minimum(ends - starts, MAX_TOKENS)
    some = np.repeat(starts - np.cumsum(kept) + kept, kept) + np.arange(int(kept.sum()))
    code = _codes(data, begin[some], size[some])
    met = np.sort(code)
    met = met[np.concatenate([[True], met[1:] != met[:-1]])] if len(met) else met
    at = np.searchsorted(met, code)
    first = np.empty(len(met), dtype=np.int64)
    first[at[::-1]] = some[::-1]
    listed = met.tolist()
    for i, c in enumerate(listed):
        if c not in codes:
            where = int(begin[first[i]])
            codes[c] = seen[data[where : where + int(size[first[i]])].decode("ascii")]
    ids = np.array([codes[c] for c in listed], dtype=np.int32)[at]
    return np.split(ids, np.cumsum(kept)[:-1])


def _codes(data: bytes, begin: Ints, size: Ints) -> NDArray[np.uint64]:
    """A number for each stretch of some bytes, behind which eight more stand."""
    eight = np.ndarray((len(data) - 7,), dtype="<u8", buffer=data, strides=(1,))
    code = size.astype(np.uint64) * _ODD
    left, at = np.arange(len(begin)), begin
    for k in range(0, int(size.max(initial=0)), 8):
        left = left[size[left] > k]
        at = begin[left] + k
        mixed = (code[left] ^ (eight[at] & _BYTES[np.minimum(size[left] - k, 8)])) * _ODD
        code[left] = mixed ^ (mixed >> np.uint64(32))
    return code


def templates(t: Tokens) -> csr_matrix:
    """Runs of three in which only common words and marks keep their name."""
    _, said, _ = _cells(t.owner, t.ids, np.ones(len(t.lengths)))
    df = np.bincount(said, minlength=len(t.words))
    common = np.lexsort((np.arange(len(df)), -df))[:COMMON]
    name = np.full(len(df), len(common), dtype=np.int64)
    name[common] = np.arange(len(common))
    return _table([_runs(t, name[t.ids], len(common) + 1, 3)], len(t.lengths))


def bigrams(t: Tokens) -> csr_matrix:
    """Pairs of neighbouring words."""
    return _table([_runs(t, t.ids, len(t.words), 2)], len(t.lengths))


def overused(t: Tokens) -> csr_matrix:
    """Single words; scaling by spread over the pool turns their rates into over- and under-use."""
    return _table([_runs(t, t.ids, len(t.words), 1)], len(t.lengths))


def edges(t: Tokens) -> csr_matrix:
    """First and last words, shorter ones as well; and what lines begin with."""
    said = np.flatnonzero(t.lengths)
    breaks = np.array([w.startswith("\n") for w in t.words], dtype=bool)
    begins = np.zeros(len(t.ids), dtype=bool)
    begins[t.start[said]] = True
    begins[1:] |= breaks[t.ids[:-1]] & (t.owner[1:] == t.owner[:-1])
    found = [_shares(t.owner[begins], t.ids[begins], len(t.lengths))]
    for first, step in ((t.start[said], 1), (t.start[said + 1] - 1, -1)):
        code = np.zeros(len(said), dtype=np.int64)
        for n in range(_EDGE):  # an answer that ends before has one code more, "nothing"
            inside = n < t.lengths[said]
            word = np.where(inside, t.ids[np.where(inside, first + step * n, 0)], len(t.words))
            code = np.unique(code * (len(t.words) + 1) + word, return_inverse=True)[1]
            found.append((said, code, np.ones(len(said))))
    return _table(found, len(t.lengths))


def layout(t: Tokens) -> csr_matrix:
    """Punctuation, markdown, blank lines, length (log tokens), mean word length."""
    is_word = np.array([w[0].isalnum() for w in t.words], dtype=bool)
    letters = np.array([len(w) for w in t.words], dtype=np.float64)
    n, of_word = len(t.lengths), is_word[t.ids]
    owner, per = t.owner, 1.0 / np.maximum(t.lengths, 1)
    count = np.bincount(owner[of_word], minlength=n)
    mean = np.bincount(owner[of_word], letters[t.ids[of_word]], minlength=n) / np.maximum(count, 1)
    punctuation = _table([_cells(owner[~of_word], t.ids[~of_word], per)], n)
    return csr_matrix(hstack([punctuation, csr_matrix(np.column_stack([np.log1p(t.lengths), mean]))]))


def marks(pattern: re.Pattern[str]) -> Rates:
    """A function for the rates of each match of a pattern, by token."""

    def rates(t: Tokens) -> csr_matrix:
        found = [[m.strip() for m in pattern.findall(t.text(i))] for i in range(len(t.lengths))]
        at = {mark: i for i, mark in enumerate(sorted({m for row in found for m in row}))}
        owner = np.repeat(np.arange(len(found)), [len(row) for row in found])
        code = np.array([at[m] for row in found for m in row], dtype=np.int64)
        return _table([_cells(owner, code, 1.0 / np.maximum(t.lengths, 1))], len(found))

    return rates


def _runs(t: Tokens, names: Ints, size: int, n: int) -> Cells:
    """Rates of the runs of n names within answers; a name is under ``size``.

    Some answers after the other, as a cell is of one answer: what is worked on then stays in the processor's cache.
    """
    blocks = (range(at, min(at + BLOCK, len(t.lengths))) for at in range(0, max(len(t.lengths), 1), BLOCK))
    found = [_runs_of(t, names, size, n, block) for block in blocks]
    owner, code, rate = (np.concatenate(column) for column in zip(*found, strict=True))
    return owner, code, rate


def _runs_of(t: Tokens, names: Ints, size: int, n: int, block: range) -> Cells:
    """As `_runs`, of some answers."""
    names = names[t.start[block.start] : t.start[block.stop]]
    owner = np.repeat(np.arange(len(block)), t.lengths[block.start : block.stop])
    last = max(len(names) - n + 1, 0)
    code = np.zeros(last, dtype=np.int64)
    for k in range(n):
        code *= size
        code += names[k : k + last]
    inside = owner[:last] == owner[len(names) - last :]
    mine, code, rate = _shares(owner[:last][inside], code[inside], len(block))
    return mine + block.start, code, rate


def _shares(owner: Ints, code: Ints, answers: int) -> Cells:
    return _cells(owner, code, 1.0 / np.maximum(np.bincount(owner, minlength=answers), 1))


def _cells(owner: Ints, code: Ints, per: Floats) -> Cells:
    """Each distinct code of each answer once, with ``per`` of its answer times how often it occurs."""
    size = int(code.max(initial=0)) + 1
    if size > 2**62 // max(len(per), 1):
        code = np.unique(code, return_inverse=True)[1]
        size = int(code.max(initial=0)) + 1
    keys, count = np.unique(owner * size + code, return_counts=True)
    owner = keys // size
    return owner, keys - owner * size, count * per[owner]


def _table(found: Sequence[Cells], answers: int) -> csr_matrix:
    """(answers, features) rates of the most widespread features of some lists of cells, which share none."""
    offsets = np.cumsum([0, *(int(code.max(initial=0)) + 1 for _, code, _ in found)])
    (owner, code, rate), *more = found
    if more:
        owner, rate = (np.concatenate([cells[k] for cells in found]) for k in (0, 2))
        code = np.concatenate([c + at for (_, c, _), at in zip(found, offsets, strict=False)])
    features, df = np.unique(code, return_counts=True)
    features, df = features[df > 1], df[df > 1]
    kept = np.sort(features[np.lexsort((features, -df))[:FEATURES]])
    if not len(kept):
        return csr_matrix((answers, 0))
    column = _places(kept, code)
    hit = kept[column] == code
    return csr_matrix((rate[hit], (owner[hit], column[hit])), shape=(answers, len(kept)))


def _places(kept: Ints, code: Ints) -> Ints:
    """Where each code stands among some, in order; anywhere if it is none of them."""
    if kept[-1] >= LARGEST:
        return np.minimum(np.searchsorted(kept, code), len(kept) - 1)
    at = np.zeros(int(kept[-1]) + 2, dtype=np.int64)  # a table is much quicker than to search
    at[kept] = np.arange(len(kept))
    found: Ints = at[np.minimum(code, kept[-1] + 1)]
    return found


def habit_counts(responses: Responses, blocks: int = BLOCKS) -> NDArray[np.float32]:
    """Counts of the 10,000 commonest word bigrams, (blocks, m, features); prompts are dealt to blocks in turn."""
    vocabulary: dict[str, int] = {}

    def bigrams_of(said: Sequence[str]) -> Ints:
        ids = np.array([vocabulary.setdefault(w, len(vocabulary)) for w in said], dtype=np.int64)
        return ids[:-1] << 32 | ids[1:]

    return _by_block(responses, blocks, MAX_WORDS, bigrams_of, BIGRAMS)


def opening_counts(responses: Responses, blocks: int = BLOCKS) -> NDArray[np.float32]:
    """Counts of how answers begin, with their first word, first two and first three; shapes as of `habit_counts`."""
    known: dict[tuple[str, ...], int] = {}

    def openings_of(said: Sequence[str]) -> Ints:
        begun = [tuple(said[:n]) for n in range(1, min(len(said), OPENING) + 1)]
        return np.array([known.setdefault(b, len(known)) for b in begun], dtype=np.int64)

    return _by_block(responses, blocks, 4 * OPENING, openings_of, OPENINGS)  # ample, however long the words are


def _by_block(
    responses: Responses, blocks: int, length: int, codes_of: Callable[[Sequence[str]], Ints], most: int
) -> NDArray[np.float32]:
    """Counts of the ``most`` commonest codes in the first ``length`` words of answers, (blocks, m, features)."""
    prompts = responses.where("wording")
    blocks = max(1, min(blocks, len(prompts)))
    cells: list[list[list[Ints]]] = [[[] for _ in responses.models] for _ in range(blocks)]
    for i, row in enumerate(first_answers(responses, prompts)):
        for cell, text in zip(cells[i % blocks], row, strict=True):
            cell.append(codes_of(words(text, length) if text else []))
    counted = [[_counted(cell) for cell in block] for block in cells]
    codes = np.concatenate([c for block in counted for c, _ in block])
    times = np.concatenate([n for block in counted for _, n in block])
    every, at = np.unique(codes, return_inverse=True)
    totals = np.bincount(at, times, minlength=len(every))
    features = np.sort(every[np.argsort(-totals, kind="stable")[:most]])
    return np.array([[_picked(c, n, features) for c, n in block] for block in counted], dtype=np.float32)


def _counted(cell: Sequence[Ints]) -> tuple[Ints, Ints]:
    """The codes of some answers, and how often each occurs."""
    found, times = np.unique(np.concatenate([*cell, np.zeros(0, dtype=np.int64)]), return_counts=True)
    return found, times.astype(np.int64)


def _picked(codes: NDArray[np.int64], times: NDArray[np.int64], features: NDArray[np.int64]) -> NDArray[np.float32]:
    out = np.zeros(len(features), dtype=np.float32)
    _, mine, theirs = np.intersect1d(codes, features, assume_unique=True, return_indices=True)
    out[theirs] = times[mine]
    return out
