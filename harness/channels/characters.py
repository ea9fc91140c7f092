"""Characters of an answer made comparable: hidden ones, look-alike letters, quotes, dashes and white space.

A text is folded for comparison only; what is stored stays as it came. Sources: NFKC (Unicode Standard Annex 15),
Default_Ignorable_Code_Point (chapter 5.21), look-alike letters as in Unicode Technical Standard 39.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

SHOWN = 3  # hidden characters in an answer from which it is one that hides: a stray joiner or byte order mark is none
FAR = 200  # characters of white space in a row that no answer needs
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛ʼʹ′´`＇", "'"),
        **dict.fromkeys("“”„‟″«»＂", '"'),
        **dict.fromkeys("‐‑‒–—―−﹘﹣－", "-"),
        "…": "...",
        "ı": "i",
        **{chr(start + i): chr(65 + i) for start in (0x1F150, 0x1F170) for i in range(26)},  # white on black
    }
)
_TYPED = (*((sign, _PLAIN[ord(sign)]) for sign in "’‘“”—–…"), ("\xa0", " "))  # the most usual ones
_SPACE = re.compile(r"[^\S\n\t\r ]")  # neither a plain space nor a break
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_GAPS = re.compile(r" {9,}|(?:\s*\n){4,}")  # what pushes an answer out of sight
_BREAKS = re.compile(r"\n\s*\n\s*\n\s*\n")  # of which the second kind of gap has one
_FOREIGN = re.compile(r"[^\x00-\u024f\u1e00-\u1eff\u2000-\u2bff]+")  # beyond Latin letters and punctuation
_FOLDED_SHARE = 0.9  # of a text's foreign letters that look like Latin ones before words of these alone are folded
_MARKS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_MARKED_LATIN = re.compile(rf"([A-Za-z]){_MARKS.pattern}+")
_ACCENTED = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")
_LATIN = re.compile("[A-Za-z]")
_LATIN_LETTER = re.compile("[A-Za-z\xaa\xb5\xba\xc0-\xd6\xd8-\xf6\xf8-\u024f]")
_FEWEST = 10  # marked letters, at the least
_MARKS_EACH = 0.2  # combining marks a Latin letter from which they are no spelling


@cache
def _hidden() -> re.Pattern[str]:
    """Characters that nobody sees: format and bidi marks, fillers, variation selectors, control characters."""
    import regex  # type: ignore[import-untyped]

    pattern: re.Pattern[str] = regex.compile(
        r"[\p{Default_Ignorable_Code_Point}\p{Cf}\u2800[\p{Cc}--[\n\t\r]]]", regex.V1
    )
    return pattern


@cache
def _lookalikes() -> dict[str, str]:
    """Letters of other scripts that look like one Latin letter, with that letter."""
    from confusable_homoglyphs.confusables import confusables_data  # type: ignore[import-untyped]

    table = {}
    for letter, others in confusables_data.items():
        if len(letter) != 1 or not letter.isalpha() or letter.isascii():
            continue
        like = next((o["c"] for o in others if len(o["c"]) == 1 and o["c"].isascii() and o["c"].isalpha()), None)
        if like is not None:
            upper = letter.isupper() and not letter.islower()
            table[letter] = like.upper() if upper else like.lower() if letter.islower() else like
    small = "LATIN LETTER SMALL CAPITAL "
    for letter in map(chr, (*range(0x250, 0x2B0), *range(0x1D00, 0x1D80), *range(0xA720, 0xA800))):
        name = unicodedata.name(letter, "")
        if name.startswith(small) and len(name) == len(small) + 1:
            table[letter] = name[-1].lower()
    return table


def hidden(text: str) -> int:
    """How many characters of a text cannot be seen; joiners inside emoji and scripts that need them do not count."""
    if (typed := _typed(text)).isascii():  # most texts, and told at once: what else stands there is seen
        return len(_CONTROL.findall(typed)) if _hidden_ascii(typed) else 0
    return max(sum(1 for m in _hidden().finditer(text) if _unneeded(text, m.start())), _struck(text))


def _struck(text: str) -> int:
    """How many marks no alphabet composes with their letter, where there are so many that they are no spelling."""
    if not _MARKS.search(text):
        return 0
    marks = len(_MARKS.findall(unicodedata.normalize("NFC", text)))
    return marks if marks >= _MARKS_EACH * len(_LATIN.findall(text)) else 0


def _unneeded(text: str, at: int) -> bool:
    """A mark that the writing around it does not ask for: a joiner between two Latin letters, for one."""
    around = text[max(0, at - 1)] + text[min(len(text) - 1, at + 1)]
    return text[at] not in "\u200c\u200d\u200e\u200f\ufe0e\ufe0f" or all(ord(c) < 0x250 for c in around)


def gaps(text: str) -> bool:
    """Whether white space pushes a part of a text far out of sight."""
    return _may_gape(text) and any(len(m.group()) >= FAR for m in _GAPS.finditer(text))


@lru_cache(16)  # as of `comparable`
def _may_gape(text: str) -> bool:
    """Whether `_GAPS` can match; told much sooner, as it looks for what stands still."""
    return " " * 9 in text or bool(_BREAKS.search(text))


def lookalikes(text: str) -> int:
    """How many letters of another script stand in words that are otherwise Latin, or pose as Latin words."""
    if _typed(text).isascii() or (folded := _folded(text)) == text:
        return 0
    return sum(a != b for a, b in zip(text, folded, strict=True))


@lru_cache(16)  # of one answer it is asked several times on end: for its edit, for furniture, and to pack it
def comparable(text: str) -> str:
    """A text without hidden characters, with look-alike letters, quotes, dashes and white space made one.

    Letters keep their case, lines their breaks.

    Examples
    --------
    >>> comparable("He\\u200bll\\u043e \\u2014 \\u201cw\\uff4frld\\u201d\\u00a0!")
    'Hello - "world" !'
    """
    text = _typed(text)
    if not text.isascii():
        text = _seen(text)
        text = unicodedata.normalize("NFKC", _folded(text))  # some look-alikes are made another letter by it
        text = _unmarked(_folded(text))
        signs = "".join(set(text))
        text = text.translate(_PLAIN) if signs.translate(_PLAIN) != signs else text
        text = _SPACE.sub(" ", text) if _SPACE.search(signs) else text
    elif not text.isprintable():
        text = _seen(text)
    if _may_gape(text):
        text = _GAPS.sub(lambda m: "\n\n" if "\n" in m.group() else " ", text)
    return text.strip()


def _seen(text: str) -> str:
    """A text without hidden characters, white space within lines made plain; each character is looked at once."""
    signs = "".join(set(text))
    text = _SPACE.sub(" ", text) if _SPACE.search(signs) else text
    return _hidden().sub("", text) if _hidden().search(signs) else text


def is_typed(text: str) -> bool:
    """Whether a text has nothing outside ASCII but typographic quotes and dashes."""
    return _typed(text).isascii() and "\xa0" not in text


@lru_cache(64)  # one question after the other is put to all models
def asks(pattern: re.Pattern[str], question: str) -> bool:
    """Whether a question holds what a pattern looks for."""
    return bool(pattern.search(question))


@lru_cache(16)  # as of `comparable`
def _typed(text: str) -> str:
    """Typographic quotes, dashes and no-break spaces as on a keyboard, if a text has nothing else outside ASCII."""
    plain = text
    for sign, typed in _TYPED:
        if plain.isascii():
            return plain
        plain = plain.replace(sign, typed)
    return plain if plain.isascii() else text


def needs_folding(text: str) -> bool:
    """Whether `comparable` would change more than white space at the ends."""
    return not text.isascii() or _may_gape(text) or _hidden_ascii(text)


def _hidden_ascii(text: str) -> bool:
    return not text.isprintable() and not text.replace("\n", "").isprintable() and bool(_CONTROL.search(text))


def _folded(text: str) -> str:
    """Look-alike letters as Latin ones, in words that mix scripts, and everywhere in a text that has no others.

    A text in another script is left alone: most of its letters look like no Latin one.
    """
    table = _lookalikes()
    if not _FOREIGN.search(text) or table.keys().isdisjoint(text):  # most texts, and told at once
        return text
    runs = [m for m in _FOREIGN.finditer(text) if any(map(str.isalpha, m.group()))]
    if not runs:
        return text
    foreign = [c for m in runs for c in m.group() if c.isalpha()]
    if sum(c in table for c in foreign) >= _FOLDED_SHARE * len(foreign):
        return "".join(table.get(c, c) for c in text)
    out, at = [], 0
    for m in runs:
        start, end = _word_around(text, *m.span())
        if start >= at:
            out += [text[at:start], _word(text[start:end], table)]
            at = end
    return "".join([*out, text[at:]])


def _word_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The letters around a stretch of a text, itself included."""
    while start > 0 and text[start - 1].isalpha():
        start -= 1
    while end < len(text) and text[end].isalpha():
        end += 1
    return start, end


def _word(word: str, table: dict[str, str]) -> str:
    return "".join(table.get(c, c) for c in word) if _LATIN_LETTER.search(word) else word


def _unmarked(text: str) -> str:
    """Without marks that no alphabet composes with their letter, and without any where there is one on every fifth."""
    whole = unicodedata.normalize("NFC", text)
    if _MARKS.search(whole):
        whole = _MARKS.sub("", whole)
    if len(_ACCENTED.findall(whole)) < _FEWEST:
        return whole
    parts = unicodedata.normalize("NFD", whole)
    if len(_MARKED_LATIN.findall(parts)) < _MARKS_EACH * len(_LATIN.findall(parts)):
        return whole
    return unicodedata.normalize("NFC", _MARKED_LATIN.sub(r"\1", parts))


# Scripts written without spaces (Thai to Khmer, kana, Han): one character is one word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[^\W{_UNSPACED}]+|[{_UNSPACED}]")


_NO_WORD = {i: " " for i in range(128) if not (chr(i).isalnum() or chr(i) == "_")}


def words(text: str, most: int | None = None) -> list[str]:
    """Lower-cased words, at most ``most``; single characters in scripts written without spaces."""
    if most is not None:
        text = text[: 16 * most]  # ample for so many words, and bounds the time
    text = text.lower()
    found = text.translate(_NO_WORD).split() if text.isascii() else _WORD.findall(text)  # the same, and faster
    return found if most is None else found[:most]


MANY = 500  # texts from which they are split by pyarrow
_WORDS_APART = bytes(ord(chr(i).lower()) if i not in _NO_WORD else ord(" ") for i in range(128)) + bytes(128)


def numbered_words(texts: Sequence[str], known: Mapping[str, int]) -> list[NDArray[np.int32]]:
    """`words` of many texts at once, by their numbers in a vocabulary that numbers new ones; five times as quick.

    Examples
    --------
    >>> from harness.records import Vocabulary
    >>> [ids.tolist() for ids in numbered_words(["No, no! Yes.", "", "Yes, 海."], Vocabulary())]
    [[0, 0, 1], [], [1, 2]]
    """
    if len(texts) < MANY:
        return [np.array([known[w] for w in words(text)], dtype=np.int32) for text in texts]
    import pyarrow.compute as pc  # takes longer than a few texts do
    from pyarrow import LargeStringArray, py_buffer

    plain = [text if text.isascii() else "" for text in texts]
    ends = np.cumsum([0, *map(len, plain)], dtype=np.int64)
    spaced = "".join(plain).encode("ascii").translate(_WORDS_APART)
    split = pc.ascii_split_whitespace(LargeStringArray.from_buffers(len(plain), py_buffer(ends), py_buffer(spaced)))
    coded = split.values.dictionary_encode()
    number = np.array([known[w] if w else -1 for w in coded.dictionary.to_pylist()], dtype=np.int32)
    # Their buffers as they are: `to_numpy` would bring in pandas.
    ids = number[np.frombuffer(coded.indices.buffers()[1], dtype=np.int32)[: len(coded)]]
    starts = np.frombuffer(split.buffers()[1], dtype=np.int32)[: len(split) + 1]
    kept = np.append(0, np.cumsum(ids >= 0))[starts]  # at the edges of a text stand empty words
    found = np.split(ids[ids >= 0], kept[1:])[:-1]
    return [
        np.array([known[w] for w in words(text)], dtype=np.int32) if not text.isascii() else of_plain
        for text, of_plain in zip(texts, found, strict=True)
    ]


def words_as_spelt(text: str) -> list[str]:
    """The words of `word_spans`, without where they stand."""
    return list(map(str.lower, _WORD.findall(text)))


def word_spans(text: str, most: int | None = None) -> list[tuple[str, int, int]]:
    """Lower-cased words with where each begins and ends, at most ``most``."""
    return [(m.group().lower(), *m.span()) for m in islice(_WORD.finditer(text), most)]
