"""What all workers of one endpoint share: the moment before which nobody asks, and when to give up on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harness.errors import CallError


@dataclass
class Gate:
    """Holds back every worker of an endpoint when one is told to wait; parks an endpoint that keeps failing."""

    park_after: int
    sleep: Callable[[float], Awaitable[None]]
    clock: Callable[[], float]
    not_before: float = 0.0
    failed_in_a_row: int = 0
    last_error: CallError | None = None

    async def wait(self) -> None:
        """Return when calls may be made again."""
        while (left := self.not_before - self.clock()) > 0:
            await self.sleep(left)

    def hold(self, error: CallError) -> None:
        """A server asked one call to wait: nobody calls before that."""
        if error.kind == "rate_limit" and error.wait:
            self.not_before = max(self.not_before, self.clock() + error.wait)

    def note(self, error: CallError | None) -> None:
        """One call has ended, well or not."""
        self.last_error = error or self.last_error
        self.failed_in_a_row = self.failed_in_a_row + 1 if error else 0

    @property
    def parked(self) -> bool:
        """Too many failures in a row, or one after which no call can succeed."""
        return self.failed_in_a_row >= self.park_after or (
            self.failed_in_a_row > 0 and self.last_error is not None and self.last_error.fatal
        )
