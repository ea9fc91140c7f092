"""Circuit breaker, rate limiter, concurrency limit and retry policy of one endpoint."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from harness.clock import Clock
from harness.collect.pace import Pace, Ticket
from harness.endpoints import is_busy, is_refusal
from harness.errors import CallError

REFUSALS = 20  # times ``park_after``


@dataclass
class CircuitBreaker:
    """Holds back every worker of an endpoint when one is told to wait; parks an endpoint that keeps failing.

    Times are in seconds. A server that asks for more than ``max_wait`` parks its endpoint: no further calls are made
    to it in this run.
    """

    park_after: int
    max_wait: float
    clock: Clock
    not_before: float = 0.0
    failed_in_a_row: int = 0
    refused: int = 0
    answered: bool = False
    tripped: asyncio.Event = field(default_factory=asyncio.Event)  # set when parked, so that nobody sleeps on

    @property
    def parked(self) -> bool:
        """Whether no further calls are made in this run."""
        return self.tripped.is_set()

    def park(self) -> None:
        """Make no further calls."""
        self.tripped.set()

    def record_attempt(self, error: CallError) -> None:
        """One attempt was refused: nobody calls before the server wants to be called."""
        if not is_busy(error) or not error.wait:
            return
        if error.wait > self.max_wait:
            self.park()
        else:
            self.not_before = max(self.not_before, self.clock.monotonic() + error.wait)

    def hold(self, seconds: float) -> None:
        """A reply said that a rate limit is used up for so many seconds: no call is made before."""
        if seconds > 0:
            self.not_before = max(self.not_before, self.clock.monotonic() + min(seconds, self.max_wait))

    def record_call(self, error: CallError | None) -> None:
        """One call has ended, well or not. Many failures in a row, or a fatal one, park the endpoint.

        A refused request does not count: a server that refuses is alive and may take the next one. It is parked only
        after it has refused a great many and taken none in this run.
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


class RateLimiter:
    """Lets calls start one after the other, when the pace allows it and nobody was told to wait.

    Who waits stands in a queue, and only the first looks at the clock: whatever is learnt meanwhile holds for all.
    ``held`` is told the moment at which the next call may start, whenever it is waited for.
    """

    def __init__(
        self,
        rpm: float | None,
        tpm: float | None,
        clock: Clock,
        not_before: Callable[[], float] = lambda: 0.0,
        held: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.pace = Pace(rpm, tpm, clock.monotonic())
        self._clock = clock
        self._not_before = not_before
        self._held = held
        self._queue = asyncio.Lock()

    async def wait(self, tokens: float, ended: Callable[[], bool]) -> Ticket:
        """Return when one call of about ``tokens`` may start, or when there is no point in waiting."""
        async with self._queue:
            while (left := (due := self._due()) - self._clock.monotonic()) > 1e-9 and not ended():
                self._held(due)
                await self._clock.sleep(left)
            return self.pace.take(tokens, self._clock.monotonic())

    def _due(self) -> float:
        return max(self.pace.due(), self._not_before())

    def record(self, ticket: Ticket, error: CallError) -> None:
        """A call was refused because of a rate."""
        self.pace.refuse(ticket, self._clock.monotonic(), error.wait)


class ConcurrencyLimit:
    """How many calls are in flight: at most ``most``; halved when the server is too busy, and grown again slowly.

    Additive increase, multiplicative decrease (Chiu & Jain 1989). One episode of refusals cuts once: those of calls
    that began before the last cut are its echo. Growth needs slots that are all in use: else it would say nothing.
    """

    def __init__(self, most: int, clock: Clock) -> None:
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

    def cut(self, began: float) -> None:
        """A call that began then was refused because the server is too busy."""
        if began <= self._cut_at:
            return
        self._cut_at = self._clock.monotonic()
        self._owed += self.width - (half := max(1, self.width // 2))
        self.width, self._good = half, 0

    def grow(self) -> None:
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


RATE_LIMITED = 3  # times as many attempts for a call that is told to slow down


def retry_policy(
    attempts: int,
    max_wait: float,
    clock: Clock,
    rng: random.Random,
    left: Callable[[], float] = lambda: float("inf"),
) -> AsyncRetrying:
    """A tenacity policy: at most ``attempts`` calls in all, waits in seconds up to ``max_wait``.

    Waits grow as 1, 2, 4 ... with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015); what the
    server asks for is the least that is waited. A server that asks for more than ``max_wait`` is not asked again,
    nor is one when the wait would not end in the time that is ``left``, in seconds. One that says that it is asked too
    often (429) is well, and gets `RATE_LIMITED` times as many tries: such episodes last longer than faults.
    """

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, CallError) and error.wait else 0.0
        backoff = min(max_wait, 2.0 ** (state.attempt_number - 1))
        return asked + backoff * rng.random() * (0.25 if asked else 1.0)

    def again(error: BaseException) -> bool:
        return isinstance(error, CallError) and error.retry and (error.wait or 0.0) <= max_wait

    def most(state: RetryCallState) -> int:
        error = state.outcome.exception() if state.outcome else None
        return attempts * (RATE_LIMITED if isinstance(error, CallError) and error.kind == "rate_limit" else 1)

    return AsyncRetrying(
        sleep=clock.sleep,
        wait=wait,
        stop=lambda state: state.attempt_number >= most(state) or state.upcoming_sleep >= left(),
        retry=retry_if_exception(again),
        reraise=True,
    )
