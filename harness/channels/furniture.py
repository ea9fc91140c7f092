"""Furniture: what one endpoint says whatever it is asked, such as footers, prefaces, notices and canned refusals.

A gateway, a wrapper or a system prompt wrote it, and two strangers behind one gateway share it. Told from the habits of
a model by how often it comes back over unlike prompts, next to what the other endpoints of the campaign do. Source:
shingles of words (Broder 1997), counted by answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median_low

from harness.channels.characters import word_spans, words
from harness.records import Furniture

SPANS = {8: 0.05, 4: 0.25}  # words in a run: share of an endpoint's answers that hold it, from which it is furniture
LEAST = 3  # answers to unlike prompts, at the least
USUAL = 4.0  # times as common as with the median endpoint of the campaign
WORDS = 0.4  # share of the answers that hold a single word or pair, from which it counts as put there
READ = 200  # answers of each endpoint that are looked at
HEAD, TAIL = 160, 80  # words of each, from both ends: that is where furniture stands
_DIGIT = re.compile(r"\d")
NONE = Furniture()


def masked(word: str) -> str:
    """A word with a digit in it stands for all such: numbers of requests, dates, prices."""
    return word if word.isalpha() or not _DIGIT.search(word) else "#"


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
    counts = {name: _counts(texts) for name, texts in read.items()}
    out = {}
    for name, mine in read.items():
        others = [other for other in read if other != name]
        unusual = _unusual(counts[name], len(mine), [(counts[o], max(1, len(read[o]))) for o in others])
        whole = _canned(mine, [read[o] for o in others])
        if unusual or whole:
            runs = frozenset(k for k in unusual if k.count(" ") >= 3)
            single = frozenset(k for k in unusual if k.count(" ") < 2)
            found = Furniture(runs=runs, words=single, canned=whole, alone=True)
            spent = sum(bool(t.strip()) and cut_spans(t, found) == [(0, len(t))] for t in mine)
            out[name] = replace(found, alone=spent >= LEAST)
    return out


def _counts(texts: Sequence[str]) -> Counter[str]:
    """How many answers hold each run of 8, 4, 2 and 1 words; what one alone holds is left out."""
    count: Counter[str] = Counter()
    for text in texts:
        found = [masked(w) for w in words(text)]
        pieces = [found] if len(found) <= HEAD + TAIL else [found[:HEAD], found[-TAIL:]]
        count.update({r for piece in pieces for size in (8, 4, 2, 1) for r in _runs(piece, size)})
    return Counter({run: n for run, n in count.items() if n > 1})


def _runs(found: Sequence[str], size: int) -> Iterable[str]:
    return (" ".join(found[i : i + size]) for i in range(len(found) - size + 1))


def _unusual(found: Mapping[str, int], total: int, others: Sequence[tuple[Counter[str], int]]) -> set[str]:
    """Runs that come back often enough, and much more often than with the others: their counts, of how many answers."""
    out = set()
    for run, n in found.items():
        if n < LEAST or n < SPANS.get(run.count(" ") + 1, WORDS) * total:
            continue
        if n / total >= USUAL * median_low([c[run] / of for c, of in others] or [0.0]):
            out.add(run)
    return out


def _canned(mine: Sequence[str], others: Sequence[Sequence[str]]) -> frozenset[str]:
    """Whole answers given to three prompts or more, where the others do not give one answer to many prompts."""
    count = Counter(key(t) for t in mine)
    often = {t for t, n in count.items() if t and n >= max(LEAST, SPANS[8] * len(mine))}
    if not often:
        return frozenset()
    repeats = [sum(n for n in Counter(map(key, texts)).values() if n >= LEAST) / max(1, len(texts))
               for texts in others]  # fmt: skip
    share = sum(count[t] for t in often) / len(mine)
    return frozenset(often) if share >= USUAL * median_low(repeats or [0.0]) else frozenset()


def key(text: str) -> str:
    """An answer as it is compared with others of the same endpoint: words, numbers masked."""
    return " ".join(masked(w) for w in words(text))


def cut_spans(text: str, furniture: Furniture) -> list[tuple[int, int]]:
    """Where furniture stands in an answer, in characters, punctuation behind it included; all of it if it is canned.

    Where furniture stands alone, or with numbers (of a request, say), it is canned if open questions are answered so,
    too; else it is a preface to an answer that is a number or a mark.
    """
    found = word_spans(text)
    said = [masked(w) for w, *_ in found]
    if furniture.canned and " ".join(said) in furniture.canned:
        return [(0, len(text))]
    cover = [False] * len(said)
    for size in (8, 4):
        for i, run in enumerate(_runs(said, size)):
            if run in furniture.runs:
                cover[i : i + size] = [True] * size
    if not any(cover):
        return []
    left = [w for w, covered in zip(said, cover, strict=True) if not covered]
    if furniture.alone and all(w == "#" for w in left):
        return [(0, len(text))]
    return _joined(text, found, cover)


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
