"""The retry policy and the circuit breaker, with a clock of our own: no test here sleeps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from harness.collect.throttle import CircuitBreaker, RateLimiter, retry_policy
from harness.endpoints.failures import from_status
from harness.endpoints.quotas import retry_after
from harness.endpoints.server_errors import read_error
from harness.errors import CallError
from tests.support.clock import FakeClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run(attempt: Callable[[], Awaitable[str]], clock: FakeClock, attempts: int = 5, max_wait: float = 60.0) -> str:
    retrying = retry_policy(attempts, max_wait, clock.clock, random.Random(1))
    return asyncio.run(retrying(attempt))  # type: ignore[arg-type]


def failing(error: BaseException, times: int) -> tuple[Callable[[], Awaitable[str]], list[int]]:
    calls: list[int] = []

    async def attempt() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "answer"

    return attempt, calls


def test_attempts_are_calls_in_all_not_repeats() -> None:
    attempt, calls = failing(CallError("x", kind="http", retry=True), 99)
    with pytest.raises(CallError):
        run(attempt, FakeClock(), attempts=3)
    assert len(calls) == 3


def test_waits_grow_and_are_jittered_up_to_the_limit() -> None:
    clock = FakeClock()
    attempt, _ = failing(CallError("x", kind="http", retry=True), 9)
    assert run(attempt, clock, attempts=10, max_wait=20.0) == "answer"
    assert all(w <= min(20.0, 2.0**i) for i, w in enumerate(clock.slept))
    assert len(set(clock.slept)) == 9


def test_the_servers_wish_is_the_least_that_is_waited() -> None:
    clock = FakeClock()
    attempt, _ = failing(CallError("x", kind="http", retry=True, wait=7.0), 1)
    run(attempt, clock)
    assert 7.0 <= clock.slept[0] <= 7.25


def test_a_server_that_asks_for_too_much_is_not_asked_again() -> None:
    attempt, calls = failing(CallError("x", kind="http", retry=True, wait=3600.0), 1)
    with pytest.raises(CallError):
        run(attempt, FakeClock())
    assert len(calls) == 1


@pytest.mark.parametrize(
    "error", [CallError("x", kind="http"), ValueError("x"), asyncio.CancelledError(), KeyboardInterrupt()]
)
def test_only_what_can_succeed_is_tried_again(error: BaseException) -> None:
    attempt, calls = failing(error, 1)
    with pytest.raises(type(error)):
        run(attempt, FakeClock())
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind", "retry", "fatal"),
    [
        (400, "", "http", False, False),
        (401, "", "auth", False, True),
        (402, "", "quota", False, True),
        (403, "", "auth", False, True),
        (404, "", "not_found", False, True),
        (400, "model_not_found", "not_found", False, True),
        (408, "", "http", True, False),
        (413, "", "http", False, False),
        (429, "", "rate_limit", True, False),
        (429, "insufficient_quota", "quota", False, True),
        (307, "", "redirect", False, True),
        (500, "", "http", True, False),
        (503, "", "http", True, False),
        (529, "", "http", True, False),
    ],
)
def test_what_a_status_means(status: int, code: str, kind: str, retry: bool, fatal: bool) -> None:
    error = from_status(status, read_error({"error": {"message": "text", "code": code}}), "text")
    assert (error.kind, error.retry, error.fatal) == (kind, retry, fatal)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": format_datetime(NOW.replace(minute=1), usegmt=True)}, 60.0),
        ({"retry-after": format_datetime(NOW.replace(year=2020), usegmt=True)}, 0.0),
        ({"retry-after": "Mon, 99 Foo 99999 00:00:00 GMT"}, None),
        ({"retry-after": "nan"}, 0.0),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW.timestamp()) == seconds


def breaker(clock: FakeClock, park_after: int = 3) -> CircuitBreaker:
    return CircuitBreaker(park_after, 60.0, clock.clock)


def wait_for(b: CircuitBreaker, clock: FakeClock, ended: bool = False) -> None:
    limiter = RateLimiter(None, None, clock.clock, lambda: b.not_before)
    asyncio.run(limiter.wait(1.0, lambda: ended))


def limited(wait: float) -> CallError:
    return CallError("x", kind="rate_limit", retry=True, wait=wait)


def test_one_refusal_holds_everybody() -> None:
    clock = FakeClock()
    b = breaker(clock)
    b.record_attempt(limited(10.0))
    b.record_attempt(limited(4.0))
    wait_for(b, clock)
    assert clock.now == pytest.approx(10.0)
    b.record_attempt(
        CallError("x", kind="http", retry=True, wait=30.0)
    )  # one server error is no reason for all to wait
    wait_for(b, clock)
    assert clock.now == pytest.approx(10.0)


def test_nobody_waits_for_a_run_that_is_over() -> None:
    clock = FakeClock()
    b = breaker(clock)
    b.record_attempt(limited(10.0))
    wait_for(b, clock, ended=True)
    assert clock.slept == []


@pytest.mark.parametrize("wait", [3600.0, float("inf")])
def test_a_wait_of_hours_parks_instead(wait: float) -> None:
    b = breaker(FakeClock())
    b.record_attempt(limited(wait))
    assert b.parked
    assert b.not_before == 0.0


def test_failures_in_a_row_park_and_a_success_between_does_not() -> None:
    b = breaker(FakeClock())
    for error in (
        CallError("x", kind="http"),
        CallError("x", kind="http"),
        None,
        CallError("x", kind="http"),
        CallError("x", kind="http"),
    ):
        b.record_call(error)
    assert not b.parked
    b.record_call(CallError("x", kind="http"))
    assert b.parked
    b.record_call(None)  # one that was still in flight
    assert b.parked


def test_a_fatal_failure_parks_at_once() -> None:
    b = breaker(FakeClock())
    b.record_call(CallError("x", kind="http", fatal=True))
    assert b.parked
