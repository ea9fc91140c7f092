"""Token logprobs of both API shapes, chat and completions, as arrays."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Log-probabilities (natural log) of one answer, token by token.

    ``tokens`` are the bytes of the T tokens produced, ``values`` float64 (T,), ``top`` for each position the
    alternatives as ``{token bytes: logprob}``, most likely first. Missing or floor values are left out of ``top``.
    """

    tokens: tuple[bytes, ...]
    values: NDArray[np.float64]
    top: tuple[Mapping[bytes, float], ...]


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
        try:
            return bytes(entry.bytes)
        except ValueError:
            pass
    return entry.token.encode("utf-8", "surrogatepass")


_T = TypeVar("_T")


def _padded(values: list[_T | None] | None, n: int) -> list[_T | None]:
    # Servers have sent lists shorter than `tokens`; what is missing is missing, not shifted.
    return [*(values or [])[:n], *[None] * (n - len(values or []))]


def _real(value: float | None) -> bool:
    return value is not None and LOGPROB_FLOOR < value <= 1e-6


def unpack(blob: bytes) -> bytes:
    """Decompress stored logprobs to JSON, at most 64 MB: a store may be another person's. Raises `zlib.error`."""
    return zlib.decompressobj().decompress(blob, _LARGEST)


def decode_logprobs(blob: bytes | None, positions: int | None = None) -> Logprobs | None:
    """Decode stored logprobs into arrays; by shape, not by endpoint (servers mix the two shapes up). None if unusable.

    A list that is present but empty, all zero or all floor is the same as none at all. ``positions`` is how many tokens
    from the first are wanted, by default all.
    """
    if not blob:
        return None
    try:
        shapes = _DECODER.decode(unpack(blob))
    except (zlib.error, msgspec.DecodeError):
        return None
    if shapes.content:
        content = shapes.content[:positions]
        tokens = tuple(_token_bytes(t) for t in content)
        values = [t.logprob for t in content]
        tops = [[(_token_bytes(a), a.logprob) for a in t.top_logprobs or ()] for t in content]
    elif shapes.tokens:
        tokens = tuple(t.encode("utf-8", "surrogatepass") for t in shapes.tokens[:positions])
        values = _padded(shapes.token_logprobs, len(tokens))
        lists = _padded(shapes.top_logprobs, len(tokens))
        tops = [[(t.encode("utf-8", "surrogatepass"), v) for t, v in (d or {}).items()] for d in lists]
    else:
        return None
    top = tuple(_alternatives(pairs) for pairs in tops)
    array = np.array([v if _real(v) else np.nan for v in values], dtype=np.float64)
    if not any(top) and not np.any(array < 0):
        return None
    return Logprobs(tokens, array, top)


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
