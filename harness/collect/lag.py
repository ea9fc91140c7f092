"""Is this machine fast enough? How late the event loop comes round, and a warning where that spoils a run.

A loop that is busy for seconds turns finished connects into timeouts, and its own delay stands in every latency.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from harness.collect.world import World

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
