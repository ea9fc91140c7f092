"""Clock: wall time, monotonic time and sleep, as one argument; the only code that asks the machine what time it is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime


@dataclass(frozen=True)
class Clock:
    """Where time comes from. ``now`` is UTC wall time; ``monotonic`` and ``sleep`` are in seconds."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def stamp(self) -> str:
        """Wall time as ISO 8601 with milliseconds, as the store keeps it."""
        return self.now().isoformat(timespec="milliseconds")

    def interrupted_by(self, *events: asyncio.Event) -> Clock:
        """The same clock with a sleep that ends early when one of the events is set."""

        async def sleep(seconds: float) -> None:
            waits = [asyncio.ensure_future(c) for c in (self.sleep(seconds), *(e.wait() for e in events))]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waits:
                    task.cancel()

        return replace(self, sleep=sleep)


LAG_INTERVAL = 0.25  # seconds between two looks
LAG_WARNING = 1.0  # seconds


@dataclass
class Lag:
    """The longest that the event loop came late, in seconds."""

    longest: float = 0.0


@contextlib.asynccontextmanager
async def watch_lag(clock: Clock, say: Callable[[str], None], warn_at: float = LAG_WARNING) -> AsyncIterator[Lag]:
    """Measure how late the event loop is; say so the first time that it is later than ``warn_at`` seconds."""
    lag = Lag()

    async def watch() -> None:
        while True:
            before = clock.monotonic()
            await asyncio.sleep(LAG_INTERVAL)
            late = clock.monotonic() - before - LAG_INTERVAL
            if late > warn_at >= lag.longest:
                say(
                    f"warning: this machine is {late:.1f} s behind, so times are not those of the servers; "
                    "a lower `concurrency` on the endpoints helps"
                )
            lag.longest = max(lag.longest, late)

    task = asyncio.create_task(watch())
    try:
        yield lag
    finally:
        task.cancel()
