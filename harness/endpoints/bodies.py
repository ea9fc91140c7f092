"""Bodies of replies: unpacked piece by piece, with a bound on what one may become and on all that are read at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from harness.endpoints import failures
from harness.errors import CallError

ACCEPTED = "gzip, deflate"  # what `unpacked` reads
MOST_TIMES = 100  # a body may become so many times as large: replies become 2 to 20 times, what only fills memory 1,000
FREE = 1_000_000  # bytes that a body may become whatever its size was
AT_ONCE = 64_000_000  # bytes of all bodies that a run reads at one moment; one body alone may be larger
LARGE = 1_000_000  # bytes from which a body is read by a thread, one after the other
_PIECE = 65_536  # bytes
_PLAIN = (b"{", b"[", b"<", b" ", b"\n", b"\r", b"\t", b"d", b":")  # how text begins, and nothing that is packed
_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # as zlib wants them
T = TypeVar("T")


@dataclass
class BodyBudget:
    """Room in memory that all bodies of a run share.

    Who asks for more than is left waits, but for the one that has waited longest: it goes on, so that somebody always
    ends. So no more than `AT_ONCE` and one whole body are in memory.
    """

    most: int = AT_ONCE
    used: int = 0
    _holding: dict[int, int] = field(default_factory=dict)  # bytes by number of the body, the oldest first
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    @contextlib.contextmanager
    def body(self) -> Iterator[int]:
        """The number of a new body; all that was taken for it is given back at the end."""
        number = next(self._numbers)
        try:
            yield number
        finally:
            self.used -= self._holding.pop(number, 0)
            self._changed.set()

    async def take(self, number: int, size: int) -> None:
        """Return when so many bytes more may be held for a body."""
        self._holding.setdefault(number, 0)  # from its first piece on: who waits for a reply holds up nobody
        while self.used + size > self.most and next(iter(self._holding)) != number:
            self._changed.clear()
            await self._changed.wait()
        self._holding[number] += size
        self.used += size

    async def read(self, work: Callable[[bytes], T], content: bytes) -> T:
        """``work(content)``; a large one in a thread, so that nobody else waits for it, and no two of them at once."""
        if len(content) <= LARGE:
            return work(content)
        async with self.one_at_a_time:
            return await asyncio.to_thread(work, content)


async def unpacked(chunks: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """Pieces of a body as it was before ``content-encoding``, of 64 kB at most.

    Raises `CallError` if it becomes more than `MOST_TIMES` its size, or is in an encoding that nobody asked for.
    """
    names = [n for n in encoding.lower().replace(" ", "").split(",") if n not in ("", "identity")]
    if not names:
        async for chunk in chunks:
            yield chunk
        return
    if len(names) > 1 or names[0] not in _WINDOW:
        raise failures.unreadable(encoding)
    packed, size, decoder = 0, 0, zlib.decompressobj(_WINDOW[names[0]])
    plain = False
    async for chunk in chunks:
        plain = plain or (not packed and chunk[:1] in _PLAIN)
        if plain:
            yield chunk
            continue
        packed += len(chunk)
        while chunk and not decoder.eof:
            try:
                piece = decoder.decompress(chunk, _PIECE)
            except zlib.error as e:
                raise failures.garbled(encoding, str(e)) from None
            chunk, size = decoder.unconsumed_tail, size + len(piece)
            if size > max(FREE, MOST_TIMES * packed):
                raise failures.bomb(packed, size)
            yield piece
    if not (decoder.eof or plain):
        raise failures.garbled(encoding, "it breaks off")


async def whole(chunks: AsyncIterator[bytes], encoding: str, most: int, budget: BodyBudget, number: int) -> bytes:
    """A body of at most ``most`` bytes, read in as much of the budget as it needs. `CallError` if it is larger."""
    pieces, size = [], 0
    try:
        async for piece in unpacked(chunks, encoding) if encoding else chunks:
            size += len(piece)
            if size > most:
                raise failures.too_large(most)
            await budget.take(number, len(piece))
            pieces.append(piece)
    except BaseException:
        pieces.clear()  # who keeps the error keeps this frame, and the room is given back
        raise
    return b"".join(pieces)


async def beginning(chunks: AsyncIterator[bytes], encoding: str, most: int) -> bytes:
    """The first ``most`` bytes of a body, as far as it can be unpacked: enough of a page of error."""
    pieces, size = [], 0
    with contextlib.suppress(CallError):
        async for piece in unpacked(chunks, encoding):
            pieces.append(piece)
            size += len(piece)
            if size >= most:
                break
    return b"".join(pieces)[:most]
