"""Furniture: what one endpoint says whatever it is asked, such as footers, prefaces, notices and canned refusals.

A gateway, a wrapper or a system prompt wrote it, and two strangers behind one gateway share it. Told from the habits of
a model by how often it comes back over unlike prompts, next to what the other endpoints of the campaign do. Source:
shingles of words (Broder 1997), counted by answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

from harness.channels.characters import word_spans, words, words_as_spelt
from harness.records import Furniture

Ints = NDArray[np.uint64]
Counts = tuple[Ints, NDArray[np.int64]]  # runs of words, as numbers in order, and how many answers hold each

SIZES = (8, 4, 2, 1)  # words in a run
SPANS = {8: 0.05, 4: 0.25}  # words in a run: share of an endpoint's answers that hold it, from which it is furniture
LEAST = 3  # answers to unlike prompts, at the least
USUAL = 4.0  # times as common as with the median endpoint of the campaign
WORDS = 0.4  # share of the answers that hold a single word or pair, from which it counts as put there
READ = 200  # answers of each endpoint that are looked at
HEAD, TAIL = 160, 80  # words of each, from both ends: that is where furniture stands
_DIGIT = re.compile(r"\d")
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 by the golden ratio: multiples of it are spread evenly
_LETTER = re.compile(r"[^\W_]")
_RULES_BEFORE = re.compile(r"(?:\n(?:[^\w\n]|_)*)+\Z")
_RULES_AFTER = re.compile(r"(?:(?:[^\w\n]|_)*\n)+")
NONE = Furniture()


def masked(word: str) -> str:
    """A word with a digit in it stands for all such: numbers of requests, dates, prices."""
    return word if word.isalpha() or not _DIGIT.search(word) else "#"


def all_masked(found: list[str]) -> list[str]:
    """Each word `masked`."""
    return [masked(w) for w in found] if _DIGIT.search(" ".join(found)) else found


def find_furniture(answers: Mapping[str, Sequence[str]]) -> dict[str, Furniture]:
    """Furniture of each endpoint, from its answers to unlike prompts; endpoints without any are left out.

    Parameters
    ----------
    answers : mapping from endpoint to its answers, one a prompt, thoughts taken out

    Returns
    -------
    dict from endpoint to Furniture

    Examples
    --------
    >>> said = [f"{w} it is." for w in "one two three four five six seven eight nine ten".split()]
    >>> footed = [f"{t} Sponsored by the house of the golden key, open daily." for t in said]
    >>> found = find_furniture({"a": said, "b": said[::-1], "c": footed})
    >>> sorted(found), cut_spans(footed[0], found["c"])
    (['c'], [(11, 64)])
    """
    read = {name: texts[:READ] for name, texts in answers.items()}
    known = _Numbers()  # of words, one for all endpoints
    cells = {name: _Words.of(texts, known) for name, texts in read.items()}
    unusual_runs = _unusual({name: _counts(said) for name, said in cells.items()}, {n: len(t) for n, t in read.items()})
    repeats = {name: _repeated(texts, cells[name]) for name, texts in read.items()}
    vocabulary = list(known.numbers)
    out = {}
    for name, mine in read.items():
        others = [other for other in read if other != name]
        unusual = _spelt(unusual_runs[name], cells[name], vocabulary)
        whole = _canned(repeats[name], len(mine), [(repeats[o], len(read[o])) for o in others])
        if unusual or whole:
            runs = frozenset(k for k in unusual if k.count(" ") >= 3)
            single = frozenset(k for k in unusual if k.count(" ") < 2)
            found = Furniture(runs=runs, words=single, canned=whole, alone=True)
            spent = sum(bool(t.strip()) and cut_spans(t, found) == [(0, len(t))] for t in mine)
            out[name] = replace(found, alone=spent >= LEAST)
    return out


class _Numbers(dict[str, int]):
    """Words by number, a new one's the next; words that are `masked` alike have one, by which ``numbers`` has them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        self[word] = number = self.numbers.setdefault(masked(word), len(self.numbers))
        return number


@dataclass(frozen=True)
class _Words:
    """Both ends of an endpoint's answers, end to end: masked words by number, with the answer and the end of each."""

    word: Ints
    answer: NDArray[np.int64]
    piece: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str], known: _Numbers) -> _Words:
        """``known`` grows."""
        pieces: list[tuple[int, list[str]]] = []
        for i, text in enumerate(texts):
            found = words(text)
            pieces += [(i, p) for p in ([found] if len(found) <= HEAD + TAIL else [found[:HEAD], found[-TAIL:]])]
        lengths = [len(piece) for _, piece in pieces]
        flat = map(known.__getitem__, chain.from_iterable(piece for _, piece in pieces))
        answer = np.repeat(np.array([i for i, _ in pieces], dtype=np.int64), lengths)
        return cls(
            np.fromiter(flat, dtype=np.uint64, count=sum(lengths)),
            answer,
            np.repeat(np.arange(len(pieces), dtype=np.int64), lengths),
        )

    def runs(self, size: int) -> tuple[NDArray[np.intp], Ints]:
        """Where runs of so many words begin, and a number for each: a polynomial modulo 2**64 and the size."""
        code = run_codes(self.word, size)
        whole = np.flatnonzero(self.piece[: len(code)] == self.piece[size - 1 : size - 1 + len(code)])
        return whole, code[whole] << np.uint64(2) | np.uint64(SIZES.index(size))


def run_codes(words: Ints, size: int) -> Ints:
    """A number for each run of so many words by number: a polynomial modulo 2**64, by which none meet by chance."""
    count = max(0, len(words) - size + 1)
    code = np.zeros(count, dtype=np.uint64)
    for i in range(size):
        code = (code + words[i : i + count] + np.uint64(1)) * MIX
    return code


def _counts(said: _Words) -> Counts:
    """How many answers hold each run of 8, 4, 2 and 1 words; what one alone holds is left out."""
    found = [said.runs(n) for n in SIZES]
    code, answer = np.concatenate([c for _, c in found]), np.concatenate([said.answer[at] for at, _ in found])
    code = code[np.argsort(answer.astype(np.uint16), kind="stable")]  # so few answers are sorted at once
    ends = np.cumsum(np.bincount(answer))
    first = np.zeros(len(code), dtype=bool)  # of a run in an answer
    first[ends[ends < len(code)]] = first[:1] = True
    for own in np.split(code, ends[:-1]):
        own.sort()
    first[1:] |= code[1:] != code[:-1]
    code = np.sort(code[first])
    starts = np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1]])) if len(code) else np.zeros(0, dtype=int)
    count = np.diff(np.append(starts, len(code)))
    return code[starts][count > 1], count[count > 1]


def _unusual(counts: Mapping[str, Counts], totals: Mapping[str, int]) -> dict[str, Ints]:
    """Runs that come back often enough, and much more often than with the others: their counts, of how many answers."""
    often = {name: _often(mine, totals[name]) for name, mine in counts.items()}
    some = np.unique(np.concatenate([codes for codes, _ in often.values()])) if often else np.zeros(0, dtype=np.uint64)
    shares = np.array([_of(some, mine) / max(1, totals[name]) for name, mine in counts.items()])
    out = {}
    for i, (name, (codes, count)) in enumerate(often.items()):
        others = np.sort(np.delete(shares[:, np.searchsorted(some, codes)], i, axis=0), axis=0)
        usual = others[(len(others) - 1) // 2] if len(others) else np.zeros(len(codes))  # the lower median
        out[name] = codes[count / max(1, totals[name]) >= USUAL * usual]
    return out


def _often(mine: Counts, total: int) -> Counts:
    """Runs that come back in enough of an endpoint's answers."""
    codes, count = mine
    share = np.array([SPANS.get(n, WORDS) for n in SIZES])[(codes & np.uint64(3)).astype(np.intp)]
    often = (count >= LEAST) & (count >= share * total)
    return codes[often], count[often]


def _of(codes: Ints, counts: Counts) -> NDArray[np.int64]:
    """How many answers of another endpoint hold each of some runs."""
    theirs, count = counts
    if not len(theirs):
        return np.zeros(len(codes), dtype=np.int64)
    at = np.searchsorted(theirs, codes).clip(max=len(theirs) - 1)
    return np.where(theirs[at] == codes, count[at], 0)


def _spelt(codes: Ints, said: _Words, vocabulary: Sequence[str]) -> set[str]:
    """Runs of words by their numbers."""
    out: set[str] = set()
    for size in SIZES if len(codes) else ():
        at, found = said.runs(size)
        for i in at[np.isin(found, codes)].tolist():
            out.add(" ".join(vocabulary[w] for w in said.word[i : i + size].tolist()))
    return out


@lru_cache(1024)  # furniture is found once, and cut out of every answer of its endpoint
def _first_words(runs: frozenset[str]) -> frozenset[str]:
    return frozenset(run.partition(" ")[0] for run in runs)


def _canned(mine: Mapping[str, int], total: int, others: Sequence[tuple[Mapping[str, int], int]]) -> frozenset[str]:
    """Whole answers given to three prompts or more, where the others do not give one answer to many prompts."""
    often = {t for t, n in mine.items() if t and n >= max(LEAST, SPANS[8] * total)}
    if not often:
        return frozenset()
    repeats = [sum(n for n in theirs.values() if n >= LEAST) / max(1, of) for theirs, of in others]
    share = sum(mine[t] for t in often) / total
    return frozenset(often) if share >= USUAL * median_low(repeats or [0.0]) else frozenset()


def _repeated(texts: Sequence[str], said: _Words) -> Counter[str]:
    """Answers that begin and end alike three times or more, as they are compared, with how often each was given."""
    ends = [w.tobytes() for w in np.split(said.word, np.searchsorted(said.answer, np.arange(1, len(texts))))]
    often = Counter(ends)
    return Counter(key(t) for t, w in zip(texts, ends, strict=False) if often[w] >= LEAST)


def key(text: str) -> str:
    """An answer as it is compared with others of the same endpoint: words, numbers masked."""
    return " ".join(all_masked(words(text)))


def cut_spans(text: str, furniture: Furniture) -> list[tuple[int, int]]:
    """Where furniture stands in an answer, in characters, punctuation and rules around it too; all if it is canned.

    Where furniture stands alone, or with numbers (of a request, say), it is canned if open questions are answered so,
    too; else it is a preface to an answer that is a number or a mark.
    """
    said = all_masked(words(text) if text.isascii() else words_as_spelt(text))
    if furniture.canned and " ".join(said) in furniture.canned:
        return [(0, len(text))]
    cover = [False] * len(said)
    first = _first_words(furniture.runs)
    for i in [i for i, w in enumerate(said) if w in first]:
        for size in (8, 4):
            if i + size <= len(said) and " ".join(said[i : i + size]) in furniture.runs:
                cover[i : i + size] = [True] * size
    if not any(cover):
        return []
    left = [w for w, covered in zip(said, cover, strict=True) if not covered]
    if furniture.alone and all(w == "#" for w in left):
        return [(0, len(text))]
    return _with_rules(text, _joined(text, word_spans(text), cover))


def _joined(text: str, found: Sequence[tuple[str, int, int]], cover: Sequence[bool]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for i, (_, start, end) in enumerate(found):
        if not cover[i]:
            continue
        until = found[i + 1][1] if i + 1 < len(found) and cover[i + 1] else _after(text, end)
        if out and out[-1][1] >= start:
            out[-1] = (out[-1][0], until)
        else:
            out.append((start, until))
    return out


def _with_rules(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans with the lines without a word that set them off: before them, and on both sides at the ends of a text."""
    out: list[tuple[int, int]] = []
    for start, end in spans:
        if rules := _RULES_BEFORE.search(text, 0, start):
            start = rules.start()
        if not _LETTER.search(text, 0, start):
            start = 0
            end = rules.end() if (rules := _RULES_AFTER.match(text, end)) else end
        if not _LETTER.search(text, end):
            end = len(text)
        out.append((max(start, out[-1][1]) if out else start, end))
    return out


def _after(text: str, end: int) -> int:
    """End of the punctuation that follows a word."""
    while end < len(text) and not text[end].isspace() and not text[end].isalnum():
        end += 1
    return end


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A text without some spans."""
    if not spans:
        return text
    kept, at = [], 0
    for start, end in spans:
        kept.append(text[at:start])
        at = max(at, end)
    return "".join([*kept, text[at:]]).strip()
