"""First tokens of answers: which of a server's logprobs belong to the answer, and what they say could have come first.

A server lists the tokens of thoughts, too, and special ones; or prints pieces of characters that are all alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.channels.reading import answer, answer_start
from harness.records import Responses
from harness.token_logprobs import Logprobs, Spelled, spelled

Floats = NDArray[np.float64]
LEGIBLE = 0.5  # share of what is listed that must be legible

STEPS = 4  # tokens of each answer that are checked

GRAINS = (1.0, 0.5, 0.25, 0.2, 0.1, 0.05, 0.01)  # nat, that hosts round to

FEW, EVEN, MOST = 20, 1e-3, 0.95  # numbers at the least; parts of a step; share of the numbers

ALIKE = 12  # bytes of an answer whose end is missing by which it is recognised

_UNSEEN = bytes(range(33)) + b"\x7f"

_HIGH = bytes(range(128, 256))

_SPACES = (b"\xc4\xa0", b"\xc4\x8a", b"\xe2\x96\x81")  # how vocabularies write a space or an end of line

_LOST = b"\xef\xbf\xbd"  # U+FFFD: a piece of a character, and not known which


class Step(msgspec.Struct, array_like=True, frozen=True):
    """One token of an answer as the server told it: what is listed, and what was said.

    ``listed`` are logprobs as float16, most likely first; ``said`` which of them was produced, -1 if none of them, -2
    if that is not known. ``total`` and ``total2`` are sums of probabilities by the natural base and by base 2.
    """

    listed: bytes
    said: int
    total: float
    total2: float

    @property
    def values(self) -> Floats:
        """Listed logprobs, most likely first, (k,)."""
        return np.frombuffer(self.listed, dtype=np.float16).astype(np.float64)


class Opening(msgspec.Struct, array_like=True, frozen=True):
    """What logprobs say of how one answer begins. ``flaw`` is why they say nothing; ``top`` token -> probability."""

    flaw: Literal["", "empty", "unreadable", "other text", "positive"] = ""
    top: dict[bytes, float] = {}
    steps: tuple[Step, ...] = ()


_PACK = msgspec.msgpack.Encoder().encode

_UNPACK = msgspec.msgpack.Decoder(Opening).decode


def common_number(listed: Sequence[Sequence[int]]) -> int:
    """How many alternatives to compare: the usual number of the model that lists fewest; ``listed`` by model.

    Examples
    --------
    >>> common_number([[20, 20, 19], [5, 5, 3], []])
    5
    """
    return min((int(np.median(n)) for n in listed if n), default=0)


def likeliest(sample: Mapping[bytes, float], most: int) -> Mapping[bytes, float]:
    """The ``most`` likeliest tokens of a distribution; ties with the last of them stay."""
    if len(sample) <= most:
        return sample
    least = sorted(sample.values(), reverse=True)[most - 1]
    return {t: p for t, p in sample.items() if p >= least}


def common_grain(listed: Iterable[Sequence[Mapping[bytes, float]]]) -> float:
    """Step, in nat, that some model's logprobs are rounded to: the coarsest of all; 0 if none are rounded.

    Examples
    --------
    >>> exact = [{b"a": 0.51 / k, b"b": 0.23 / k} for k in range(1, 20)]
    >>> rounded = [coarse(sample, 0.1) for sample in exact]
    >>> common_grain([exact]), common_grain([exact, rounded])
    (0.0, 0.1)
    """
    return max((grain(np.log([p for s in samples for p in s.values() if p > 0.0])) for samples in listed), default=0.0)


def grain(values: Floats) -> float:
    """The largest step that nearly all numbers are multiples of, if that is no chance; else 0."""
    if len(values) < FEW:
        return 0.0
    return next((g for g in GRAINS if (np.abs(values / g - np.round(values / g)) < EVEN).mean() > MOST), 0.0)


def coarse(sample: Mapping[bytes, float], step: float) -> Mapping[bytes, float]:
    """A distribution with its logprobs rounded to multiples of ``step``."""
    return sample if not step else {t: float(np.exp(np.round(np.log(p) / step) * step)) for t, p in sample.items() if p}


def first_tokens(responses: Responses, prompt: int, model: int) -> list[Mapping[bytes, float]]:
    """Alternatives to the first token of the answer, token -> probability, of every sample that has them.

    None where a model's logprobs are not to be believed (`Responses.doubted`).
    """
    if (responses.models[model], responses.prompts[prompt].temperature) in responses.doubted:
        return []
    return [o.top for row in responses.rows(prompt, model) if (o := opening(responses, row)) and o.top]


def opening(responses: Responses, row: int) -> Opening | None:
    """What logprobs say of how one answer begins; None if there are none. Each answer is read once."""
    packed = responses.cached(_opening, row)
    return None if packed is None else _UNPACK(packed)


def _opening(responses: Responses, row: int) -> bytes | None:
    """`Opening` of one answer, packed: a tenth of what it takes as objects. None if there are no logprobs."""
    blob = responses.logprobs[row]
    return None if not blob else _PACK(_read(blob, responses, row))


def _read(blob: bytes, responses: Responses, row: int) -> Opening:
    own, text = answer(responses, row), responses.text[row]
    try:
        told = spelled(blob)
    except ValueError:
        return Opening("unreadable")
    blank = bool(text) and not text.strip() and b"".join(told.tokens) == text.encode("utf-8", "surrogatepass")
    if not own.strip() and not blank:
        return Opening("empty")  # what is listed belongs to thoughts, or to nothing
    begins = 0 if blank else answer_token(told.tokens, text, own, answer_start(responses, row))
    said = None
    if begins is None and (said := _alternative(told, own, bool(responses.reasoning[row]))) is not None:
        begins = len(told.tokens) - 1
    if begins is None:
        return Opening("other text" if told.tokens else "")
    found = told.at(begins, begins + STEPS)
    steps = tuple(_steps(found, said))
    if found.positive and max(map(len, found.top), default=0) < 2:
        return Opening("positive")
    first = found.top[0] if found.top else {}
    if len(first) < 2 or _merged(found, said):
        return Opening(steps=steps)
    top = legible({t: float(np.exp(v)) for t, v in first.items()})
    return Opening("" if top else "unreadable", top, steps)


def _alternative(told: Spelled, own: str, thought: bool) -> bytes | None:
    """What was said, where a server lists one position, and at it the likeliest token instead of the one produced.

    If the model ``thought`` before, as a text of its own, then the last position may be that one.
    """
    if not told.tokens or (len(told.tokens) > 1 and not thought):
        return None
    text, listed = _visible(own.encode("utf-8", "surrogatepass")), told.at(len(told.tokens) - 1).top[0]
    if told.tokens[-1] != next(iter(listed), None):
        return None  # it was drawn, and from what another model would say
    fitting = [t for t in listed if (v := _visible(t)) and text.startswith(v)]
    return max(fitting, key=len, default=None)


def _steps(found: Logprobs, said: bytes | None) -> Iterator[Step]:
    for i, (token, top) in enumerate(zip(found.tokens, found.top, strict=True)):
        if len(top) < 2:
            continue
        token = said if said is not None and i == 0 else token
        known = bool(token) and _LOST not in token and not _merged(Logprobs((token,), found.values[i:], (top,)), said)
        at = list(top).index(token) if token in top else -1
        values = np.array(list(top.values()))
        yield Step(
            values.astype(np.float16).tobytes(),
            at if known else -2,
            float(np.exp(values).sum()),
            float(np.exp2(values).sum()),
        )


def _merged(found: Logprobs, said: bytes | None) -> bool:
    """Some servers print a character made of several tokens as one, with the alternatives of its last piece.

    Then what was said is likelier than the least alternative listed, yet not in the list.
    """
    top = found.top[0]
    return said is None and found.tokens[0] not in top and float(found.values[0]) > min(top.values()) + 1e-9


def legible(top: Mapping[bytes, float]) -> dict[bytes, float]:
    """A distribution without tokens of which it is not known what they are; empty if those are most of it.

    U+FFFD stands for any piece of a character and an empty text for any special token: two models that list it do not
    share a token. What is left is the distribution given that the token is a known one.

    Examples
    --------
    >>> legible({b"a": 0.5, b"b": 0.25, "\ufffd".encode(): 0.2})
    {b'a': 0.625, b'b': 0.3125}
    """
    known = {t: p for t, p in top.items() if t and _LOST not in t}
    lost = sum(p for t, p in top.items() if t not in known)
    listed = sum(top.values())
    if len(known) < 2 or lost >= (1.0 - LEGIBLE) * listed:
        return {}
    return known if not lost else {t: p / max(1.0 - lost, p) for t, p in known.items()}


def answer_token(tokens: Sequence[bytes], text: str, own: str, start: int | None) -> int | None:
    """Which token the answer begins with; None if the tokens spell another text.

    Parameters
    ----------
    tokens : bytes of every token produced, those of thoughts and special ones among them
    text : the text as stored
    own : the model's own answer in it
    start : where in the text the answer begins, in characters; None if it is not there as it is

    White space is not looked at, nor are characters beyond ASCII where bytes do not agree: servers print pieces of
    them, and spaces, in several ways.

    Examples
    --------
    >>> answer_token([b"<think>", b"Hm", b"</think>", b" Par", b"is"], "Paris", "Paris", 0)
    3
    >>> answer_token([b"Paris", b"?", b" Yes", b"</think>", b"Paris"], "Paris", "Paris", 0)
    4
    """
    if not tokens:
        return None
    if start == 0 and text[:1].isspace() and (at := answer_token(tokens, text.lstrip(), own.lstrip(), 0)) is not None:
        return 0 if not any(_visible(t) for t in tokens[:at]) else at
    for drop in (_UNSEEN, _UNSEEN + _HIGH):
        pieces = [_visible(t, drop) for t in tokens]
        if not any(pieces) and (lost := [i for i, t in enumerate(tokens) if _LOST in t]):
            return lost[0]  # pieces of characters, of which ones it is not known
        whole, mine = (_visible(t.encode("utf-8", "surrogatepass"), drop) for t in (text, own))
        said = b"".join(pieces)
        begins = {0, *np.cumsum([len(p) for p in pieces]).tolist()}
        if start is not None:
            skipped = len(_visible(text[:start].encode("utf-8", "surrogatepass"), drop))
            if (at := _found(said, whole, skipped)) is not None and (start or at in begins):
                return _reaching(tokens, pieces, at, own.lstrip())
        if (at := _found(said, mine, 0)) is not None and at in begins:
            return _reaching(tokens, pieces, at, own.lstrip())
    return None


def _reaching(tokens: Sequence[bytes], pieces: Sequence[bytes], at: int, own: str) -> int:
    """The token that reaches beyond a number of bytes; before it, those of a first character that was not looked at."""
    found = int(np.searchsorted(np.cumsum([len(p) for p in pieces]), at, side="right"))
    while found and not own[:1].isascii() and not pieces[found - 1] and not tokens[found - 1].isascii():
        found -= 1
    return found


def _visible(token: bytes, drop: bytes = _UNSEEN) -> bytes:
    for space in _SPACES:
        token = token.replace(space, b" ")
    return token.translate(None, drop)


def _found(said: bytes, text: bytes, skipped: int) -> int | None:
    """Where in what was said a text goes on after the bytes ``skipped`` of it; None if it is not there."""
    if not text or not said or skipped >= len(text):
        return None
    if said.startswith(text):  # and, if it ends with the same words, the thoughts began with them
        return (said.rfind(text) if said.endswith(text) else 0) + skipped
    if text.startswith(said):  # a list that ends before the text does
        return skipped if skipped < len(said) else None
    if (at := said.rfind(text)) >= 0:
        return at + skipped
    for length in range(min(len(said), len(text)) - 1, max(ALIKE, skipped), -1):
        if said.endswith(text[:length]):
            return len(said) - length + skipped
    return None
