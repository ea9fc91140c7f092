"""Likelihoods of answers under a reader: from the logprobs that an `echo` returns to nats a token or a byte.

A reader is a model with open weights that is given a question and somebody's answer, and says how likely it finds each
token of it, and mostly also how likely the token is that it would have chosen itself. What it reads are the model's own
words (`harness.channels.reading`), from the first on, at most `READ`; what is compared on one prompt is cut to the
shortest of the answers compared. Whoever writes less than `LEAST` words is a gap.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.channels.reading import first_answer
from harness.records import Responses
from harness.token_logprobs import LOGPROB_FLOOR, ZERO, unpack

Floats = NDArray[np.float64]
Unit = Literal["token", "byte"]
UNITS: tuple[Unit, ...] = get_args(Unit)
PROMPTS = 32  # most prompts whose answers are read, spread over all: each more costs a call a model and reader
READ = 48  # words of an answer that a reader is given
LEAST = 15  # words: answers are not cut shorter, and shorter ones are not read
CHARACTERS = 12 * READ  # of an answer at most: what has no spaces is no word
NEAR = 0.1  # nats by which the likeliest token may be ahead of one that is as likely: readers compute in 16 bits
MOST_LOST = 1.0  # nats that one token counts at most: beyond that it is another word, however unlikely
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")  # of Han and kana each letter


@dataclass(frozen=True, slots=True)
class Heard:
    """How likely a reader found one answer: ``values`` are nats of its tokens, (t,), ``ends`` where each ends in it, in
    characters, (t,). ``lost`` are the nats by which the token is less likely than the likeliest one, (t,), or nothing,
    (0,), where a server does not say which that is."""

    values: Floats
    ends: NDArray[np.int64]
    lost: Floats = field(default_factory=lambda: np.zeros(0))


def to_read(text: str) -> str:
    """What of an answer a reader is given: its first `READ` words as they stand, nothing where there are too few.

    Examples
    --------
    >>> to_read("Too short."), len(to_read("a  b " * 40).split()), len(to_read("天" * 99)), to_read("x" * 9999)
    ('', 48, 48, '')
    """
    text = text.strip()[:CHARACTERS]
    ends = [m.end() for m, _ in zip(_WORD.finditer(text), range(READ), strict=False)]
    return text[: ends[-1]] if len(ends) >= LEAST else ""


def texts_to_read(responses: Responses, prompts: Sequence[int]) -> list[list[str]]:
    """By prompt and model, (p, m): what readers are given of each first answer; empty where there is nothing."""
    models = range(len(responses.models))
    return [[to_read(first_answer(responses, p, m) or "") for m in models] for p in prompts]


def common_ends(texts: Sequence[str]) -> list[int]:
    """Where to cut answers to one prompt, in characters, so that all have as many words as the shortest; 0 of none.

    Examples
    --------
    >>> common_ends(["a " * 40, "", "bb " * 20])
    [39, 0, 59]
    """
    found = [[m.end() for m in _WORD.finditer(t)] for t in texts]
    least = min((len(e) for e in found if e), default=0)
    return [e[least - 1] if e else 0 for e in found]


class _Echo(msgspec.Struct):
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


_DECODER = msgspec.json.Decoder(_Echo)


def heard(blob: bytes | None, asked: str, answer: str) -> Heard | None:
    """Logprobs of the tokens of ``answer``, which ends the text ``asked`` that a reader was given.

    None if a server returned something else: logprobs of what it generated, or of only a part of the text. A token that
    begins before the answer is not counted. Tokens that a server writes before the text (its first mark) are skipped.

    Examples
    --------
    >>> from harness.token_logprobs import packed
    >>> said = b'{"tokens": ["<s>", "Q\\\\n", "Yes", ", sir"], "token_logprobs": [null, -3.0, -0.5, -1.5]}'
    >>> heard(packed(said), "Q\\nYes, sir", "Yes, sir").values.tolist()
    [-0.5, -1.5]
    >>> heard(packed(said), "Q\\nYes, madam", "Yes, madam") is None
    True
    """
    if not blob:
        return None
    try:
        echo = _DECODER.decode(unpack(blob))
    except (zlib.error, msgspec.MsgspecError, UnicodeError, RecursionError, MemoryError):
        return None
    tokens, given = echo.tokens or [], echo.token_logprobs or []
    spelt = "".join(tokens)
    if len(given) != len(tokens) or not asked.endswith(answer) or not spelt.endswith(asked):
        return None
    ends = np.cumsum([len(t) for t in tokens]) - (len(spelt) - len(answer))
    starts = ends - [len(t) for t in tokens]
    inside = (starts >= 0) & (ends > 0)
    values = np.array([v if v is not None and v <= ZERO else np.nan for v in given], dtype=np.float64)[inside]
    if not len(values) or not np.isfinite(values).all():
        return None
    values = np.maximum(values, LOGPROB_FLOOR)
    return Heard(values, ends[inside].astype(np.int64), _lost(values, echo.top_logprobs or [], inside))


def _lost(values: Floats, top: Sequence[Mapping[str, float | None] | None], inside: NDArray[np.bool_]) -> Floats:
    """Nats by which the likeliest token is ahead of the one that stands there; nothing if it is missing anywhere."""
    if len(top) != len(inside):
        return np.zeros(0)
    said = [t or {} for t, own in zip(top, inside, strict=True) if own]
    best = [max((v for v in t.values() if v is not None and v <= ZERO), default=np.nan) for t in said]
    return np.maximum(np.array(best) - values, 0.0) if np.isfinite(best).all() else np.zeros(0)


def likelihood(found: Heard, answer: str, end: int) -> tuple[float, float]:
    """Nats a token and nats a byte of an answer up to a character.

    Examples
    --------
    >>> import numpy as np
    >>> likelihood(Heard(np.array([-1.0, -2.0, -9.0]), np.array([2, 4, 8])), "abcdefgh", 4)
    (-1.5, -0.75)
    """
    inside = found.values[found.ends <= end]
    size = len(answer[: int(found.ends[len(inside) - 1])].encode()) if len(inside) else 0
    return (float(inside.mean()), float(inside.sum()) / size) if size else (np.nan, np.nan)


def likelihoods(
    texts: Sequence[Sequence[str]], found: Mapping[tuple[int, int, int], Heard], readers: int, per: Unit = "token"
) -> Floats:
    """Nats a token, or a byte, of each answer under each reader, (p, m, r), at one length a prompt; NaN without any.

    ``found`` is by prompt, model and reader, as ``texts`` (p, m) has prompts and models.
    """
    unit = UNITS.index(per)
    models = len(texts[0]) if texts else 0
    out = np.full((len(texts), models, readers), np.nan)
    for p, row in enumerate(texts):
        ends = common_ends(row)
        for m, text in enumerate(row):
            for r in range(readers):
                if (one := found.get((p, m, r))) is not None:
                    out[p, m, r] = likelihood(one, text, ends[m])[unit]
    return out


def followed(found: Heard) -> tuple[int, int, float]:
    """Tokens of an answer, how many of them are the reader's likeliest, and the nats lost on the others.

    Examples
    --------
    >>> import numpy as np
    >>> followed(Heard(np.full(3, -2.0), np.arange(3), np.array([0.0, 0.0625, 1.75])))
    (3, 2, 1.0625)
    """
    return len(found.lost), int((found.lost <= NEAR).sum()), float(np.minimum(found.lost, MOST_LOST).sum())


def chosen(
    shape: tuple[int, int, int], found: Mapping[tuple[int, int, int], Heard], greedy: NDArray[np.bool_]
) -> Floats:
    """`followed` of each answer that was given ``greedy``, (p, m), under each reader, (p, m, r, 3); NaN without any."""
    out = np.full((*shape, 3), np.nan)
    for (p, m, r), one in found.items():
        if greedy[p, m] and len(one.lost):
            out[p, m, r] = followed(one)
    return out
