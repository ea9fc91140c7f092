"""Rates, slots, ceilings and rate-limit headers: with a clock of our own, then over a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
import yaml

from harness.collect.context import Budget
from harness.collect.throttle import ConcurrencyLimit, RateLimiter
from harness.config.schema import Collect
from harness.endpoints.quotas import read_quotas, seconds, until_reset
from harness.errors import CeilingError
from tests.support import payloads
from tests.support.clock import FakeClock
from tests.support.fault_server import FaultServer, Reply, Request, ok, says

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1m30s", 90.0),
        ("6ms", 0.006),
        ("1h2m3s", 3723.0),
        ("7.66s", 7.66),
        ("20", 20.0),
        ("0", 0.0),
        (str(int(NOW) + 30), 30.0),
        (str((int(NOW) + 30) * 1000), 30.0),
        (str(int(NOW) - 30), 0.0),
    ],
)
def test_reset_in_all_its_forms(text: str, expected: float) -> None:
    assert seconds(text, NOW) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 0.0),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "9s"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}, 9.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m", "retry-after": "5"}, 60.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, 0.0),
        ({"x-ratelimit-remaining": "0"}, 0.0),
    ],
)
def test_only_a_limit_that_is_used_up_holds(headers: dict[str, str], expected: float) -> None:
    assert until_reset(read_quotas(headers, NOW)) == expected


def starts(rate: RateLimiter, clock: FakeClock, tokens: list[float]) -> list[float]:
    async def go() -> list[float]:
        out = []
        for n in tokens:
            await rate.wait(n, lambda: False)
            out.append(round(clock.now, 6))
        return out

    return asyncio.run(go())


def test_requests_and_tokens_a_minute_are_spaced() -> None:
    clock = FakeClock()
    assert starts(RateLimiter(30, None, clock.clock), clock, [9, 9, 9]) == [0, 2, 4]
    clock = FakeClock()
    assert starts(RateLimiter(None, 600, clock.clock), clock, [100, 10, 10]) == [0, 10, 11]
    clock = FakeClock()
    assert starts(RateLimiter(None, None, clock.clock), clock, [1e9, 1e9]) == [0, 0]


def test_a_wrong_estimate_of_tokens_is_corrected() -> None:
    clock = FakeClock()
    rate = RateLimiter(None, 600, clock.clock)
    assert starts(rate, clock, [100]) == [0]
    rate.pace.correct(100, 50)
    assert starts(rate, clock, [10]) == [5]


def test_one_episode_cuts_once_and_growth_needs_full_slots() -> None:
    clock = FakeClock()
    limit = ConcurrencyLimit(8, clock.clock)

    async def go() -> None:
        for _ in range(8):
            await limit.__aenter__()
        clock.now = 10.0
        for _ in range(8):  # eight refusals of one moment
            limit.cut(began=5.0)
            await limit.__aexit__()
        assert limit.width == 4
        limit.grow()
        assert limit.width == 4  # nothing is in use, so nothing is known
        for _ in range(4):
            await limit.__aenter__()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(limit.__aenter__(), 0.01)
        for _ in range(4):
            limit.grow()
        assert limit.width == 5
        await asyncio.wait_for(limit.__aenter__(), 0.01)
        clock.now = 20.0
        limit.cut(began=15.0)
        limit.cut(began=16.0)
        assert limit.width == 2
        limit.cut(began=21.0)
        limit.cut(began=22.0)
        assert limit.width == 1

    asyncio.run(go())


@pytest.mark.parametrize(("status", "cut"), [(529, True), (503, True), (500, False)])
def test_a_busy_server_is_asked_less_at_once_but_not_a_broken_one(run_on: Any, status: int, cut: bool) -> None:
    """A 429 is of the rate and not of the calls in flight: see `tests.collect.test_pace`."""
    seen: list[int] = []

    def step(request: Request) -> Any:
        seen.append(request.server.at_once["shaky"])
        broken = 5 <= request.number < 21
        return says({"error": {"message": "no"}}, status)(request) if broken else ok(request)

    with FaultServer({"good": ["ok"], "shaky": [step]}, delay=0.05) as server:
        collect = {"attempts": 30, "park_after": 1000}
        run = run_on(server, n=80, samples=1, endpoint={"concurrency": 16}, collect=collect)
        run.go()
        assert len(run.answers("shaky")) == 80
    assert (max(seen[40:60]) < 12) == cut


def test_a_used_up_limit_holds_the_endpoint(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["used-up", "ok"]}) as server:
        run = run_on(server, n=3, samples=1)
        run.go()
        assert len(run.answers("shaky")) == 3
        assert 1.2 < max(run.slept) <= 1.5


def test_rpm_is_kept(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=4, samples=1, endpoint={"rpm": 150.0})
        began = time.monotonic()
        run.go()
        assert time.monotonic() - began >= 3 * 60 / 150
        assert len(run.answers()) == 8


@pytest.mark.parametrize(
    ("collect", "price", "calls"),
    [({"max_tokens": 120}, None, 10), ({"max_cost": 0.12}, {"input": 1000.0, "output": 9000.0}, 4)],
)
def test_a_ceiling_is_passed_by_the_calls_in_flight_at_most(
    run_on: Any, collect: dict[str, Any], price: Any, calls: int
) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        endpoint = {"concurrency": 2, **({"price": price} if price else {})}
        run = run_on(server, ("good", "fine"), n=100, samples=1, endpoint=endpoint, collect=collect)
        with pytest.raises(CeilingError, match="stopped at max_") as caught:
            run.go()
        assert caught.value.exit_code == 4
        assert calls <= len(run.answers()) <= calls + 4  # 12 tokens each, two endpoints with two in flight
        asked = sum(server.asked.values())
        assert asked == len(run.answers())
        with pytest.raises(CeilingError):
            run.go()
        assert sum(server.asked.values()) == asked  # what earlier runs spent counts
        config = yaml.safe_load(run.path.read_text())
        config["collect"] = {"call_timeout": 5}
        run.path.write_text(yaml.safe_dump(config))
        run.go()
        assert len(run.answers()) == 200 == sum(server.asked.values())


def test_missing_usage_is_estimated(run_on: Any) -> None:
    silent = says({**payloads.chat("x" * 400), "usage": None})
    with FaultServer({"good": [silent], "fine": [silent]}) as server:
        run = run_on(server, ("good", "fine"), n=50, endpoint={"concurrency": 1}, collect={"max_tokens": 1000})
        with pytest.raises(CeilingError):
            run.go()
        assert len(run.answers()) < 12


def test_a_deadline_ends_the_run(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}, delay=0.05) as server:
        run = run_on(server, ("good", "fine"), n=500, endpoint={"concurrency": 2}, collect={"deadline": 100.0})
        with pytest.raises(CeilingError, match="deadline"):
            run.go()  # a thousandth of it
        assert 0 < len(run.answers()) == sum(server.asked.values()) < 1000


def test_a_call_ends_when_its_time_with_all_attempts_is_over(run_on: Any) -> None:
    """Of 600 s the first try takes 598; the next may then not take the 60 s that one try has, but what is left."""
    passed = [0.0]

    def takes(seconds: float, reply: Reply) -> Any:
        def step(_: Request) -> Reply:
            passed[0] += seconds
            return reply

        return step

    shaky = ["ok", takes(598, Reply(500)), takes(2, Reply(then="hang"))]
    with FaultServer({"good": ["ok"], "shaky": shaky}) as server:
        settings = {"call_timeout": 60, "total_timeout": 600, "attempts": 50}
        run = run_on(server, n=2, samples=1, collect=settings)
        run.monotonic = lambda: passed[0]
        began = time.monotonic()
        run.go()
        assert time.monotonic() - began < 50
        assert run.failures() == [("shaky", "timeout", 1)]
        assert 3 <= server.asked["shaky"] <= 4


def test_a_parked_endpoint_is_told(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", "quota"]}) as server:
        run = run_on(server, n=9, samples=1)
        run.go()
        assert any("shaky is parked" in s and "exceeded your current quota" in s for s in run.said)


def test_prices_make_a_cost_in_the_dry_run(write_campaign: Any) -> None:
    from harness.check import dry_run_rows, dry_run_text
    from harness.plan import prepare

    endpoint = {"price": {"input": 2.0, "output": 10.0}}
    row = dry_run_rows(prepare(write_campaign("http://localhost:1/v1", n=3, endpoint=endpoint), {}))[0]
    body = row["requests"][0]["body"]
    assert row["prompt_tokens"] == 6 * (len(body) // 4)
    assert row["most_prompt_tokens"] == 6 * len(body)
    assert row["max_cost"] == pytest.approx((2.0 * 6 * len(body) + 10.0 * 6 * 8) / 1e6)
    assert f"{row['max_cost']:.4f}" in dry_run_text([row])
    assert json.loads(body)["max_tokens"] == 8


def test_a_cost_ceiling_needs_prices(write_campaign: Any) -> None:
    from harness.config.yaml import load_config
    from harness.errors import ConfigError

    path = write_campaign("http://localhost:1/v1", collect={"max_cost": 1.0})
    with pytest.raises(ConfigError, match="'good' has no `price:`"):
        load_config(path)


def test_ceilings_say_what_was_reached_first() -> None:
    budget = Budget(Collect(max_tokens=10), asyncio.Event())
    budget.reach("deadline")
    budget.reach("later")
    assert (budget.reached, budget.stop.is_set()) == ("deadline", True)


def test_a_refusal_that_tells_the_limit_sets_the_pace(run_on: Any) -> None:
    """After one 429 whose headers say 120 a minute, calls leave half a second apart, though no success says so."""
    arrived: list[float] = []

    def step(request: Request) -> Reply:
        arrived.append(time.monotonic())
        headers = {"x-ratelimit-limit-requests": "120", "x-ratelimit-reset-requests": "100ms"}
        return Reply(429, b'{"error": {"message": "slow down"}}', headers) if request.number == 1 else ok(request)

    with FaultServer({"good": ["ok"], "shaky": [step]}) as server:
        run = run_on(server, n=8, samples=1, endpoint={"concurrency": 1})  # so that none has left before the refusal
        run.go()
        assert len(run.answers("shaky")) == 8
    assert arrived[-1] - arrived[2] > 0.8 * 0.5 * (len(arrived) - 3)
