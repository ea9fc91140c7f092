"""The one retry policy: only what can succeed, with jitter, never past what a server asks for."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from harness.errors import CallError

BUSY = 3


def policy(
    attempts: int,
    max_wait: float,
    *,
    sleep: Callable[[float], Awaitable[None]],
    rng: random.Random,
    left: Callable[[], float] = lambda: float("inf"),
) -> AsyncRetrying:
    """A tenacity policy: at most ``attempts`` calls in all, waits in seconds up to ``max_wait``.

    Waits grow as 1, 2, 4 ... with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015); what the
    server asks for is the least that is waited. A server that asks for more than ``max_wait`` is not asked again,
    nor is one when the wait would not end in the time that is ``left``, in seconds. One that says that it is asked too
    often (429) is well, and gets `BUSY` times as many tries: such episodes last longer than faults.
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
        return attempts * (BUSY if isinstance(error, CallError) and error.kind == "rate_limit" else 1)

    return AsyncRetrying(
        sleep=sleep,
        wait=wait,
        stop=lambda state: state.attempt_number >= most(state) or state.upcoming_sleep >= left(),
        retry=retry_if_exception(again),
        reraise=True,
    )
