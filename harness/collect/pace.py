"""How fast one endpoint is asked: requests and tokens a minute, and calls at once, which a busy server cuts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Pace:
    """Spaces calls evenly so that neither ``rpm`` requests nor ``tpm`` tokens a minute are passed; None: no limit."""

    def __init__(
        self,
        rpm: float | None,
        tpm: float | None,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._per_call = 60.0 / rpm if rpm else 0.0
        self._per_token = 60.0 / tpm if tpm else 0.0
        self._sleep = sleep
        self._clock = clock
        self._next_call = self._next_token = clock()

    async def take(self, tokens: float, over: Callable[[], bool]) -> None:
        """Return when one call of about ``tokens`` may be made, or when it is over."""
        if not (self._per_call or self._per_token):
            return
        now = self._clock()
        start = max(now, self._next_call, self._next_token)
        self._next_call = start + self._per_call
        self._next_token = start + tokens * self._per_token
        while (left := start - self._clock()) > 1e-9 and not over():
            await self._sleep(left)

    def correct(self, estimated: float, used: float) -> None:
        """The call used other than was taken: the next one waits longer or less, a minute at most, whatever is said."""
        if self._per_token:
            self._next_token += min((used - estimated) * self._per_token, 60.0)


class Slots:
    """How many calls are in flight: at most ``most``; halved when the server is too busy, and grown again slowly.

    Additive increase, multiplicative decrease (Chiu & Jain 1989). One episode of refusals cuts once: those of calls
    that began before the last cut are its echo. Growth needs slots that are all in use: else it would say nothing.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.most = self.width = most
        self._clock = clock
        self._free = asyncio.Semaphore(most)
        self._owed = 0  # slots to take out of use as soon as they come back
        self._cut_at = float("-inf")
        self._good = 0

    async def __aenter__(self) -> None:
        await self._free.acquire()

    async def __aexit__(self, *_: object) -> None:
        if self._owed:
            self._owed -= 1
        else:
            self._free.release()

    def refused(self, began: float) -> None:
        """A call that began then was refused because the server is too busy."""
        if began <= self._cut_at:
            return
        self._cut_at = self._clock()
        self._owed += self.width - (half := max(1, self.width // 2))
        self.width, self._good = half, 0

    def answered(self) -> None:
        """A call got its answer; as many as there are slots, all in use, make one more."""
        if self.width >= self.most or not self._free.locked():
            return
        self._good += 1
        if self._good >= self.width:
            self.width, self._good = self.width + 1, 0
            if self._owed:
                self._owed -= 1
            else:
                self._free.release()
