"""A key in an encoding that the standard library undoes: base64, base32, base85, hex, rot13, numbers, zlib; or in two.

What is looked at are runs long enough to hold the key and made of the characters of an encoding. Ordinary text and
logprobs have few, and finding them takes two passes in C, so that whoever has none pays next to nothing.
"""

from __future__ import annotations

import binascii
import bz2
import codecs
import re
import string
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import numpy as np
from numpy.typing import NDArray

MOST_LOOKED_AT = 1_000_000  # bytes of runs in one text: seconds of work, and no answer in words has so many
_WORD = f"{string.ascii_letters}{string.digits}+/=_-".encode()
_B85 = f"{string.digits}{string.ascii_uppercase}{string.ascii_lowercase}!#$%&()*+-;<=>?@^_`{{|}}~".encode()
_CLASS = _WORD + b"!#$%&()*;<=>?@^`{|}~"  # base85 has these, and none that JSON puts between its values
_NUMBERS = f"{string.hexdigits}xXoOuU ,;:|/%&#=_-[]()\\\t\r\n".encode()


def _table(characters: bytes) -> bytes:
    return bytes(97 if c in characters else 32 for c in range(256))


_PACKED, _COUNTED, _SOLID = _table(_CLASS), _table(_NUMBERS), _table(bytes(range(33, 127)))
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+")
_URLSAFE, _ROT13 = (
    bytes.maketrans(b"-_", b"+/"),
    bytes.maketrans(string.ascii_letters.encode(), codecs.encode(string.ascii_letters, "rot13").encode()),
)
_BASE32 = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHIJKLMNOPQRSTUV")
_PLAIN32, _HEX32 = re.compile(rb"[A-Z2-7]+"), re.compile(rb"[0-9A-V]+")
_NUMBER = re.compile(rb"(?:0[xXoO]|[uU]00)?([0-9a-fA-F]+)")
_WRAPPED = re.compile(rb"(?<=[!-~]{60})\r?\n")
_HEADS, _MOST_HEADS = re.compile(rb"\x1f\x8b\x08|BZh[1-9]1AY|\x78[\x01\x5e\x9c\xda]"), 8
_SHORTEST32, _LONG = 20, 56
_LONGEST = 4_000  # digits of a number in decimal; Python reads few more
_POWERS = 85 ** np.arange(4, -1, -1, dtype=np.int64)


def _alphabet(characters: bytes) -> NDArray[np.int64]:
    codes = np.full(256, 1_000, dtype=np.int64)
    codes[list(characters)] = range(85)
    return codes


_BASE85 = (_alphabet(_B85), _alphabet(bytes(range(33, 118))))
_MOST = 10_000  # bytes that anything compressed is unpacked to
_BASES = {2: re.compile(rb"[01]{7,8}"), 8: re.compile(rb"0?[0-7]{2,3}"), 10: re.compile(rb"[0-9]{2,3}"),
          16: re.compile(rb"(?:00)?[0-9a-fA-F]{2}")}  # fmt: skip


def spans(content: bytes, key: bytes, *, solid: bool = False) -> list[tuple[int, int, bool]]:
    """Where runs begin and end that hold the key, in one encoding or in two; and whether they are numbers.

    Where more than `MOST_LOOKED_AT` would have to be looked through, all of it is taken for one run. ``solid``: any
    characters but spaces make a run, as Ascii85 has quotes, too; in JSON those are between values.
    """
    runs = list(_runs(content, _SOLID if solid else _PACKED, _least(key)))
    if sum(end - start for start, end in runs) > MOST_LOOKED_AT:
        return [(0, len(content), False)]
    found = [
        (start, end, False)
        for start, end in runs
        if key not in content[start:end] and any(_holds(d, key, 1) for d in _undone(content[start:end]))
    ]
    for start, end in _runs(content, _COUNTED, 12 * len(key) // 5):
        if not any(start < e and s < end for s, e, _ in found) and any(
            _holds(d, key, 1) for d in _counted(content[start:end])
        ):
            found.append((start, end, True))
    if solid and any(_holds(d, key, 1) for d in _whole(content)):
        return [(0, len(content), False)]
    return found


def without(content: bytes, key: bytes, gone: bytes) -> bytes:
    """A JSON body in which such runs are ``gone``; of numbers each is 0, for they may be no text. It stays JSON."""
    for start, end, numbers in sorted(spans(content, key), reverse=True):
        if numbers:
            content = content[:start] + _NUMBER.sub(b"0", content[start:end]) + content[end:]
            continue
        slashes = len(content[:start]) - len(content[:start].rstrip(b"\\"))
        if slashes % 2:  # the first letter belongs to an escape
            start += 5 if content[start : start + 1] == b"u" else 1
        content = content[:start] + gone + content[end:]
    return content


def _least(key: bytes) -> int:
    """Characters of the shortest encoding: rot13 has as many as the key, a long one in hex can be compressed."""
    return len(key) if len(key) <= _LONG else len(key) * 3 // 4


def _runs(content: bytes, table: bytes, least: int) -> Iterator[tuple[int, int]]:
    marked, mark, at = content.translate(table), b"a" * least, 0
    while (start := marked.find(mark, at)) >= 0:
        end = marked.find(b" ", start)
        at = len(marked) if end < 0 else end
        yield start, at


def _holds(content: bytes, key: bytes, depth: int) -> bool:
    """Whether the key stands in what was decoded, plainly or in one encoding more."""
    if key in content or (b"\0" in content and _holds(content.replace(b"\0", b""), key, depth)):
        return True
    if not depth:
        return False
    if any(_holds(d, key, depth - 1) for d in (_whole(content) if content.isascii() else _unpacked(content))):
        return True
    for start, end in _runs(content, _SOLID, _least(key)):
        if any(_holds(d, key, depth - 1) for d in _undone(content[start:end])):
            return True
    return any(
        _holds(d, key, depth - 1)
        for start, end in _runs(content, _COUNTED, 12 * len(key) // 5)
        for d in _counted(content[start:end])
    )


def _undone(run: bytes) -> Iterator[bytes]:
    """What a run of characters may stand for, in every encoding and at every offset."""
    yield run.translate(_ROT13)
    for part in _BASE64.findall(run.translate(_URLSAFE)):
        for offset in range(4):
            rest = part[offset:]
            yield binascii.a2b_base64(rest + b"A" * (-len(rest) % 4))
    upper = run.upper()
    for pattern, table in ((_PLAIN32, _BASE32), (_HEX32, None)):
        for part in pattern.findall(upper):
            if len(part) > _SHORTEST32:
                yield from _shifted(int(part.translate(table) if table else part, 32), 5 * len(part))
    for part in re.findall(rb"[0-9A-F]{32,}", upper):
        yield from _shifted(int(part, 16), 4 * len(part), 4)
    if b"=" in run:
        yield binascii.a2b_qp(run)
    if b"+" in run:
        yield run.decode("utf-7", "ignore").encode("utf-8", "replace")
    if run.translate(None, _WORD):
        yield from _base85(run)


def _base85(run: bytes) -> Iterator[bytes]:
    """Base85 of both alphabets at the five offsets; groups that are none become zeros."""
    characters = np.frombuffer(run, dtype=np.uint8)
    for alphabet in _BASE85:
        codes = np.append(alphabet[characters], np.full(4, 84, dtype=np.int64))
        for offset in range(5):
            groups = codes[offset : offset + (len(codes) - offset) // 5 * 5].reshape(-1, 5)
            values = groups @ _POWERS
            values[(groups.max(axis=1) > 84) | (values >> 32 > 0)] = 0
            yield values.astype(">u4").tobytes()[: len(run) - offset - len(groups)]


def _shifted(value: int, bits: int, step: int = 1) -> Iterator[bytes]:
    """A number as bytes at each of the places where its last byte may end."""
    for shift in range(0, 8, step):
        yield (value >> shift).to_bytes(bits // 8 + 1, "big")


def _counted(run: bytes) -> Iterator[bytes]:
    """What numbers stand for as codes of characters: binary, octal, decimal, hexadecimal; together or apart."""
    told = _NUMBER.findall(run)
    for base, pattern in _BASES.items():
        apart = bytes(code if (code := int(n, base)) < 256 else 0 for n in told if pattern.fullmatch(n))
        yield apart
    for part in (n for n in told if len(n) > 20 and n.isdigit()):
        if len(part) < _LONGEST:
            yield (value := int(part)).to_bytes(value.bit_length() // 8 + 1, "big")
        for offset in range(3):
            for base in (8, 10):
                threes = [part[i : i + 3] for i in range(offset, len(part) - 2, 3)]
                with suppress(ValueError):
                    yield bytes(int(n, base) & 255 for n in threes)
        if not part.strip(b"01"):
            yield from _shifted(int(part, 2), len(part))


def _unpacked(content: bytes) -> Iterator[bytes]:
    """What compressed bytes become, wherever they begin; no more than a key takes is unpacked."""
    for head in islice(_HEADS.finditer(content), _MOST_HEADS):
        rest = content[head.start() :]
        with suppress(zlib.error, OSError, ValueError, EOFError):
            if rest.startswith(b"BZh"):
                yield bz2.BZ2Decompressor().decompress(rest, _MOST)
            else:
                yield zlib.decompressobj(47).decompress(rest, _MOST)


def _whole(content: bytes) -> Iterator[bytes]:
    """What a text of several lines or with escapes stands for as a whole."""
    if b"\0" in content:
        yield content.replace(b"\0", b"")
    if b"=" in content:
        yield binascii.a2b_qp(content)
    if b"\n" in content:
        yield from _uuencoded(content)
        if (joined := _WRAPPED.sub(b"", content)) != content:
            for start, end in _runs(joined, _SOLID, 60):
                yield from _undone(joined[start:end])


def _uuencoded(content: bytes) -> Iterator[bytes]:
    """The lines of a text that are as long as their first character says, decoded together."""
    lines = [line for line in content.split(b"\n") if line and len(line) == 1 + (((line[0] - 32) & 63) + 2) // 3 * 4]
    decoded = []
    for line in lines:
        with suppress(binascii.Error):
            decoded.append(binascii.a2b_uu(line))
    yield b"".join(decoded)
