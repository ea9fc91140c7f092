"""Answers as a report shows them: made harmless, cut to length, and with the runs of words that two have in common."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

Shown = NewType("Shown", str)
"""Text that a terminal or a page can take, whoever wrote it. Made by `plain` and `one_line`, and nowhere else."""

# Controls of C0 and C1, what is not seen or turns the writing round, line ends that only some programs know, tags and
# further selectors (in which whole messages have been hidden), and halves of characters.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def plain(text: str) -> Shown:
    """``text`` without control characters, escape sequences or marks that turn the writing direction; lines stay."""
    return Shown(_CONTROL.sub("�", text))


def one_line(text: str) -> Shown:
    """The same in one line: nobody else's text begins a line that looks like one of ours."""
    return Shown(re.sub(r"[\t\n]+", " ", plain(text.replace("\r\n", "\n"))))


def short(value: float) -> str:
    """A number as it is shown: three digits, and no power of ten for one that can be written out."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


RUN = 4  # words in a row from which a shared run is marked
_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|\w+")  # scripts without spaces: a character a word


@dataclass(frozen=True)
class Piece:
    """A stretch of text, and whether the other text has it too."""

    text: str
    shared: bool


def harmless(text: str, most: int) -> str:
    """At most ``most`` characters, without control characters, marks that turn writing round, or lone surrogates."""
    cut = text if len(text) <= most else f"{text[:most]} […]"
    return plain(cut.replace("\r\n", "\n"))


def excerpt(text: str, most: int = 300) -> str:
    """One line of it, for a table."""
    return " ".join(harmless(text[: 4 * most], 4 * most).split())[:most]


def shared_runs(a: str, b: str, run: int = RUN) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces; shared are runs of at least ``run`` words, letter case aside, that stand in the other too.

    Linear in the length of the texts.
    """
    spans_a, spans_b = ([m.span() for m in _WORD.finditer(t)] for t in (a, b))
    grams_a, grams_b = _grams(a, spans_a, run), _grams(b, spans_b, run)
    both = set(grams_a) & set(grams_b)
    return _pieces(a, spans_a, grams_a, both, run), _pieces(b, spans_b, grams_b, both, run)


def window(pieces: Sequence[Piece], most: int = 420) -> list[Piece]:
    """About ``most`` characters of a text in pieces, round its longest shared run; from the start if it has none."""
    ends = list(itertools.accumulate(len(p.text) for p in pieces))
    total = ends[-1] if ends else 0
    if total <= most:
        return list(pieces)
    longest = max(range(len(pieces)), key=lambda i: (pieces[i].shared, len(pieces[i].text)))
    run = pieces[longest]
    start = ends[longest] - len(run.text) - max(0, most - len(run.text)) // 2 if run.shared else 0
    start = max(0, min(start, total - most))
    stop = start + most
    whole = "".join(p.text for p in pieces)  # and no word is cut, unless it is a very long one
    if start and (gap := re.search(r"\s", whole[start : start + 30])):
        start += gap.end()
    if stop < total and (end := whole.rfind(" ", max(start, stop - 30), stop)) > 0:
        stop = end
    cut = []
    for p, after in zip(pieces, ends, strict=True):
        begin = after - len(p.text)
        if text := p.text[max(0, start - begin) : max(0, stop - begin)]:
            cut.append(Piece(text, p.shared))
    return [Piece("… ", False)] * (start > 0) + cut + [Piece(" …", False)] * (stop < total)


def _grams(text: str, spans: list[tuple[int, int]], run: int) -> list[tuple[str, ...]]:
    words = [text[i:j].lower() for i, j in spans]
    return [tuple(words[i : i + run]) for i in range(len(words) - run + 1)]


def _pieces(
    text: str, spans: list[tuple[int, int]], grams: list[tuple[str, ...]], both: set[tuple[str, ...]], run: int
) -> list[Piece]:
    out: list[Piece] = []
    at, end = 0, -1  # characters written; end of the run that is open
    for i, gram in enumerate(grams):
        if gram not in both:
            continue
        start, stop = spans[i][0], spans[i + run - 1][1]
        if start > end:
            if end >= 0:
                out.append(Piece(text[at:end], True))
                at = end
            if start > at:
                out.append(Piece(text[at:start], False))
            at = start
        end = stop
    if end >= 0:
        out.append(Piece(text[at:end], True))
        at = end
    if at < len(text):
        out.append(Piece(text[at:], False))
    return out
