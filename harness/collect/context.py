"""What a run takes from outside, and what it shows of itself while it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass
class Tally:
    """How far one endpoint is; the progress display reads it, nothing decides on it.

    ``tokens`` and ``cost`` are of this run's answers; ``cost`` stays None where no price is known.
    """

    planned: int = 0
    stored: int = 0
    failed: int = 0
    in_flight: int = 0
    retries: int = 0
    tokens: int = 0
    cost: float | None = None
    last_error: str = ""
    state: str = "waiting"
    outcomes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """What a run takes from outside: nothing in here is reached for anywhere else."""

    environ: Mapping[str, str]
    base: Path
    say: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    rng: random.Random = field(default_factory=random.Random)


def pause(world: World, *ends: asyncio.Event) -> Callable[[float], Awaitable[None]]:
    """A sleep that ends early when the run is told to stop, or whatever else ends it."""

    async def sleep(seconds: float) -> None:
        waits = [asyncio.ensure_future(c) for c in (world.sleep(seconds), *(e.wait() for e in ends))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    return sleep


EVERY = 0.25  # seconds between two looks
TOO_LATE = 1.0  # seconds


@dataclass
class Lag:
    """The longest that the loop came late, in seconds."""

    longest: float = 0.0


@contextlib.asynccontextmanager
async def lag_watched(world: World, too_late: float = TOO_LATE) -> AsyncIterator[Lag]:
    """Look every quarter of a second; the first time that the loop is too late, say so."""
    lag = Lag()

    async def watch() -> None:
        while True:
            before = world.clock()
            await asyncio.sleep(EVERY)
            late = world.clock() - before - EVERY
            if late > too_late >= lag.longest:
                world.say(
                    f"warning: this machine is {late:.1f} s behind, so times are not those of the servers; "
                    "a lower `concurrency` on the endpoints helps"
                )
            lag.longest = max(lag.longest, late)

    task = asyncio.create_task(watch())
    try:
        yield lag
    finally:
        task.cancel()
