"""What all workers of one endpoint share: the moment before which nobody asks, and when to give up on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from harness.collect.failures import is_refusal
from harness.errors import CallError

REFUSALS = 20  # times ``park_after``


@dataclass
class Gate:
    """Holds back every worker of an endpoint when one is told to wait; parks an endpoint that keeps failing.

    Times are in seconds. A server that asks for more than ``max_wait`` parks its endpoint.
    """

    park_after: int
    max_wait: float
    sleep: Callable[[float], Awaitable[None]]
    clock: Callable[[], float]
    not_before: float = 0.0
    failed_in_a_row: int = 0
    refused: int = 0
    answered: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)  # set when parked, so that nobody sleeps on

    @property
    def parked(self) -> bool:
        """Whether no further calls are made in this run."""
        return self.over.is_set()

    def park(self) -> None:
        """Make no further calls."""
        self.over.set()

    async def wait(self, stopped: Callable[[], bool]) -> None:
        """Return when calls may be made again, or there is no point in waiting."""
        while (left := self.not_before - self.clock()) > 0 and not stopped():
            await self.sleep(left)

    def hold(self, error: CallError) -> None:
        """One attempt was refused: nobody calls before the server wants to be called."""
        busy = error.kind == "rate_limit" or error.status in (503, 529)  # one fault is no reason for all to wait
        if not busy or not error.wait:
            return
        if error.wait > self.max_wait:
            self.park()
        else:
            self.not_before = max(self.not_before, self.clock() + error.wait)

    def rest(self, seconds: float) -> None:
        """An answer said that a limit is used up for so many seconds: nobody runs into it."""
        if seconds > 0:
            self.not_before = max(self.not_before, self.clock() + min(seconds, self.max_wait))

    def note(self, error: CallError | None) -> None:
        """One call has ended, well or not. Many failures in a row, or a fatal one, park the endpoint.

        A refused request is none: who refuses is alive, and may well take the next one. Only who has refused a great
        many and taken none in this run is parked as well.
        """
        if error is not None and is_refusal(error):
            self.refused += 1
            hopeless = not self.answered and self.refused >= REFUSALS * self.park_after
        else:
            self.answered |= error is None
            self.failed_in_a_row = self.failed_in_a_row + 1 if error else 0
            hopeless = self.failed_in_a_row >= self.park_after or (error is not None and error.fatal)
        if hopeless:
            self.park()
