"""Token logprobs of both API shapes, chat and completions, as arrays."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Log-probabilities (natural log) of one answer, token by token.

    ``tokens`` are the bytes of the T tokens produced, ``values`` float64 (T,), ``top`` for each position the
    alternatives as ``{token bytes: logprob}``, most likely first. Missing or floor values are left out of ``top``.
    ``positive`` counts numbers above zero, which are probabilities or percentages and no logprobs.
    """

    tokens: tuple[bytes, ...]
    values: NDArray[np.float64]
    top: tuple[Mapping[bytes, float], ...]
    positive: int = 0


ZERO = 1e-6  # servers round up to slightly more than 0
LOGPROB_FLOOR = -50.0
"""Lowest value read as a logprob: servers write -9999, -100 or null for a token that is not in their list."""


class _Top(msgspec.Struct):
    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None


class _Token(_Top):
    top_logprobs: list[_Top] | None = None


class _Shapes(msgspec.Struct):
    content: list[_Token] | None = None  # chat shape
    tokens: list[str] | None = None  # completions shape, parallel lists
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


_LARGEST = 64_000_000
_DECODER = msgspec.json.Decoder(_Shapes)


def _token_bytes(entry: _Top) -> bytes:
    # Byte fragments of one character all print as U+FFFD; only `bytes` tells them apart.
    if entry.bytes:
        with contextlib.suppress(ValueError, OverflowError):
            return bytes(entry.bytes)
    return _encoded(entry.token)


def _encoded(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")


_T = TypeVar("_T")


def _padded(values: list[_T | None] | None, n: int) -> list[_T | None]:
    # Servers have sent lists shorter than `tokens`; what is missing is missing, not shifted.
    return [*(values or [])[:n], *[None] * (n - len(values or []))]


def _real(value: float | None) -> bool:
    return value is not None and LOGPROB_FLOOR < value <= ZERO


_ZSTD = b"\x28\xb5\x2f\xfd"  # how a frame of it begins


def packed(content: bytes) -> bytes:
    """The JSON of logprobs, compressed without loss: by zstd, which takes a third of zlib's time for a sixth less."""
    from pyarrow import Codec  # takes 25 MB, and few calls ask for logprobs

    blob: bytes = Codec("zstd", compression_level=1).compress(content, asbytes=True)
    return blob


def unpack(blob: bytes) -> bytes:
    """Decompress stored logprobs to JSON, at most 64 MB: a store may be another person's. Raises `zlib.error`.

    Those of earlier versions and of recorded answers are in zlib.
    """
    if not isinstance(blob, bytes):  # of a store that somebody else wrote
        raise zlib.error("no bytes")
    if not blob.startswith(_ZSTD):
        return zlib.decompressobj().decompress(blob, _LARGEST)
    from pyarrow import BufferReader, CompressedInputStream

    try:
        with CompressedInputStream(BufferReader(blob), "zstd") as stream:
            content: bytes = stream.read(_LARGEST)
            return content
    except (OSError, ValueError) as e:
        raise zlib.error(str(e)) from e


@dataclass(frozen=True, slots=True)
class Spelled:
    """Stored logprobs as sent: the bytes of all tokens, and the numbers of any run of them on demand."""

    tokens: tuple[bytes, ...]
    _shapes: _Shapes

    def at(self, start: int = 0, stop: int | None = None) -> Logprobs:
        """Numbers of the tokens from ``start`` to before ``stop``, with empty lists where there are none usable."""
        shapes, tokens = self._shapes, self.tokens[start:stop]
        if shapes.content:
            content = shapes.content[start:stop]
            values = [t.logprob for t in content]
            tops = [[(_token_bytes(a), a.logprob) for a in t.top_logprobs or ()] for t in content]
        else:
            values = _padded(shapes.token_logprobs, len(self.tokens))[start:stop]
            lists = _padded(shapes.top_logprobs, len(self.tokens))[start:stop]
            tops = [[(_encoded(t), v) for t, v in (d or {}).items()] for d in lists]
        told = [*values, *(v for pairs in tops for _, v in pairs)]
        array = np.array([v if _real(v) else np.nan for v in values], dtype=np.float64)
        return Logprobs(tokens, array, tuple(map(_alternatives, tops)), sum(v is not None and v > ZERO for v in told))


def spelled(blob: bytes) -> Spelled:
    """Read stored logprobs by shape, not by endpoint: servers mix the two shapes up. `ValueError` if unreadable."""
    try:
        shapes = _DECODER.decode(unpack(blob))
        texts = shapes.content or shapes.tokens or ()
        tokens = tuple(_encoded(t) if isinstance(t, str) else _token_bytes(t) for t in texts)
    except (zlib.error, msgspec.MsgspecError, UnicodeError, RecursionError, MemoryError, TypeError) as e:
        # A stranger's server wrote it: one answer whose logprobs are no UTF-8 must not end a campaign.
        raise ValueError("logprobs cannot be read") from e
    return Spelled(tokens, shapes)


class _Said(msgspec.Struct):
    token: Any = None
    bytes: Any = None


class _Sayings(msgspec.Struct):
    content: list[_Said] | None = None
    tokens: list[Any] | None = None


_SAYINGS = msgspec.json.Decoder(_Sayings)


def spoken(blob: bytes) -> tuple[str, ...]:
    """Packed logprobs as texts to look through: the words that their tokens make together, and those of their bytes.

    With them the JSON itself where something in it is escaped twice; what is written out in it is seen before it is
    packed, and reading all of it again takes long. Of what cannot be read that is the JSON alone, or nothing.
    """
    try:
        text = unpack(blob)
    except zlib.error:
        return ()
    try:
        found = _SAYINGS.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return (text.decode("utf-8", "replace"),)
    tokens = [t.token for t in found.content or ()] + (found.tokens or [])
    spelled_out = b"".join(_codes(t.bytes) for t in found.content or () if isinstance(t.bytes, list))
    # Looking for one byte is fast, and mostly it is not there.
    marks = ((b"\\", b"\\\\u00"), (b"\\", b"\\\\x"), (b"&", b"&#"))
    escaped = any(byte in text and mark in text for byte, mark in marks)
    doubly = (text.decode("utf-8", "replace"),) if escaped else ()
    return (*doubly, "".join(t for t in tokens if isinstance(t, str)), spelled_out.translate(None, _NO_ASCII).decode())


_NO_ASCII = bytes([0, *range(128, 256)])


def _codes(numbers: list[Any]) -> bytes:
    try:
        return bytes(numbers)
    except (TypeError, ValueError):
        return bytes(c for c in numbers if isinstance(c, int) and 0 < c < 128)


def decode_logprobs(blob: bytes | None, positions: int | None = None) -> Logprobs | None:
    """Decode stored logprobs into arrays. None if unusable, or if they cannot be read.

    A list that is present but empty, all zero or all floor is the same as none at all. ``positions`` is how many tokens
    from the first are wanted, by default all.
    """
    if not blob:
        return None
    try:
        found = spelled(blob).at(0, positions)
    except ValueError:
        return None
    return found if any(found.top) or np.any(found.values < 0) else None


def _alternatives(pairs: Iterable[tuple[bytes, float | None]]) -> dict[bytes, float]:
    out: dict[bytes, float] = {}
    for token, value in pairs:
        if value is None or not _real(value):
            continue
        # Two ids can decode to one string: their probabilities add.
        out[token] = float(np.logaddexp(out[token], value)) if token in out else value
    if len(out) > 1 and all(v == 0.0 for v in out.values()):
        return {}  # a server that accepts the parameter and fills in zeros
    return dict(sorted(out.items(), key=lambda kv: -kv[1]))
