"""Endpoints that cannot be used: the run says why, parks them, and goes on with the others."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from harness.clock import Clock
from harness.collect.throttle import CircuitBreaker
from harness.errors import CallError, EndpointError
from tests.support.fault_server import STEPS, FaultServer, Reply, Request, refuses
from tests.support.running import KEY


@pytest.mark.parametrize(("fault", "says"), [("401", "check the key"), ("404", "check `base_url` and `model`")])
def test_an_unusable_endpoint_ends_the_run_before_money_is_spent(run_on: Any, fault: str, says: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": [fault]}) as server:
        run = run_on(server, n=9, samples=2)
        with pytest.raises(EndpointError, match="shaky") as caught:
            run.go()
        assert caught.value.exit_code == 3
        assert says in str(caught.value)
        assert (server.asked["good"], server.asked["shaky"]) == (1, 1)
        assert len(run.answers("good")) == 1


def test_a_dead_endpoint_says_why(run_on: Any) -> None:
    with FaultServer({"good": ["ok"]}) as server:
        run = run_on(server)
    with pytest.raises(EndpointError, match=r"no connection: .*(refused|Connect call failed)"):
        run.go()


def test_an_endpoint_that_dies_is_parked_and_the_others_go_on(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", "ok", "500"]}) as server:
        run = run_on(server, n=30, samples=1, endpoint={"concurrency": 1}, collect={"attempts": 2, "park_after": 3})
        run.go()
        assert len(run.answers("good")) == 30
        assert len(run.answers("shaky")) == 2
        assert server.asked["shaky"] == 2 + 3 * 2
        assert run.tallies["shaky"].state == "parked"
        assert "HTTP 500" in run.tallies["shaky"].last_error
        server.script["shaky"] = ["ok"]
        run.go()
        assert len(run.answers("shaky")) == 30


@pytest.mark.parametrize("fault", ["quota", "402", "429-hour", "429-forever", "redirect"])
def test_no_credit_or_no_time_parks_at_once(run_on: Any, fault: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", "ok", fault]}) as server:
        run = run_on(server, n=30, samples=1, endpoint={"concurrency": 1})
        run.go()
        assert server.asked["shaky"] == 3
        assert run.tallies["shaky"].state == "parked"
        assert max(run.slept, default=0) < 200


@pytest.mark.parametrize(("fault", "least"), [("429-seconds", 2.0), ("429-ms", 1.5), ("429-date", 0.5)])
def test_the_servers_wish_to_wait_is_kept(run_on: Any, fault: str, least: float) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", fault, "ok"]}) as server:
        run = run_on(server, n=3, samples=1)
        run.go()
        assert max(run.slept) >= least
        assert len(run.answers("shaky")) == 3


def test_a_key_never_follows_a_redirect_nor_reaches_a_file(run_on: Any) -> None:
    with FaultServer({"good": ["echo"], "shaky": ["ok", "echo-400", "redirect"]}) as server:
        run = run_on(server, n=6, samples=1)
        run.go()
        assert server.other_headers == []
        assert "[key]" in run.answers("good")[0].text
        for path in run.path.parent.rglob("*"):
            assert not path.is_file() or KEY.encode() not in path.read_bytes()
        assert KEY not in str(run.tallies)
    with FaultServer({"good": ["ok"], "shaky": ["401"]}) as server:
        with pytest.raises(EndpointError) as caught:
            run_on(server).go()
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(("then", "state", "answers"), [("ok", "done", 10), ("401", "parked", 0)])
def test_a_slow_endpoint_does_not_hold_the_others(run_on: Any, then: str, state: str, answers: int) -> None:
    """Its first answer is late: the others are done by then, and whatever it is found to be, it is that alone."""
    asked_before: list[int] = []

    def late(request: Request) -> Reply:
        if request.number == 1:
            asked_before.append(request.server.asked["good"])
        return replace(STEPS[then](request), until=others_are_done if request.number == 0 else lambda: True)

    def others_are_done() -> bool:
        return sum(n for (model, _), n in server.delivered.items() if model == "good") == 10

    with FaultServer({"good": ["ok"], "shaky": [late]}) as server:
        run = run_on(server, n=10, samples=1, collect={"first_calls": 0.1}, endpoint={"concurrency": 2})
        run.go()
        assert len(run.answers("good")) == 10
        assert len(run.answers("shaky")) == answers
        assert run.tallies["shaky"].state == state
        assert asked_before == ([10] if then == "ok" else [])
        if then == "401":
            assert any(s.startswith("shaky is parked") and "check the key" in s for s in run.said)


def test_what_a_late_endpoint_refuses_is_learned_and_planned(run_on: Any) -> None:
    def late(request: Request) -> Reply:
        return replace(refuses("top_p is not supported", lambda b: "top_p" in b)(request), after=0.3)

    with FaultServer({"good": ["ok"], "shaky": [late]}) as server:
        run = run_on(
            server, n=5, samples=1, collect={"first_calls": 0.1}, endpoint={"params": {"top_p": 0.9}, "concurrency": 5}
        )
        run.go()
        assert len(run.answers("good")) == len(run.answers("shaky")) == 5
        assert sum("top_p" in json.loads(body) for model, body in server.seen.elements() if model == "shaky") == 1


def test_refused_requests_park_nobody_who_takes_others(run_on: Any) -> None:
    """A server that takes no short answers is not dead: all its other questions are asked, in the first run."""
    short = refuses("max_tokens must be at least 16", lambda b: b["max_tokens"] < 16)
    with FaultServer({"good": [short], "shaky": ["ok"]}) as server:
        run = run_on(server, n=40, samples=1, endpoint={"concurrency": 1})
        longer = [replace(p, id=f"long-{p.id}", family="long", max_tokens=16) for p in run.load()[1]]
        run.go(more=longer)
        assert len(run.answers("good")) == 40
        assert run.tallies["good"].state == "done"
        assert run.failures() == [("good", "http", 40)]


def test_who_refuses_everything_is_parked_in_the_end(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"], "shaky": ["400"]}) as server:
        settings = {"roles": ["suspect", "candidate", "control"], "endpoint": {"concurrency": 1}}
        run = run_on(server, ("good", "fine", "shaky"), n=200, samples=1, collect={"park_after": 2}, **settings)
        run.go()
        assert run.tallies["shaky"].state == "parked"
        assert server.asked["shaky"] <= 2 + 20 * 2


def test_first_calls_that_are_paid_for_are_kept(run_on: Any) -> None:
    """Another endpoint is found unusable while one is slow to answer: its answer is stored and not asked for again."""
    stop = asyncio.Event()  # set when an endpoint is found unusable
    with FaultServer({"good": [lambda r: replace(STEPS["ok"](r), until=stop.is_set)], "shaky": ["401"]}) as server:
        run = run_on(server, n=3, samples=1, collect={"first_calls": 2.0})
        with pytest.raises(EndpointError, match="shaky"):
            run.go(stop)
        assert len(run.answers("good")) == server.asked["good"] == 1


def test_a_parked_endpoint_waits_for_nothing() -> None:
    async def main() -> float:
        breaker = CircuitBreaker(1, 100.0, Clock())
        sleep = Clock().interrupted_by(asyncio.Event(), breaker.tripped).sleep
        asyncio.get_running_loop().call_later(0.05, breaker.record_call, CallError("no", kind="auth", fatal=True))
        began = time.monotonic()
        await sleep(60.0)
        return time.monotonic() - began

    assert asyncio.run(main()) < 5


@pytest.mark.parametrize("fault", ["503-seconds", "429-seconds"])
def test_all_workers_keep_the_wish_to_wait(run_on: Any, fault: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", fault, "ok"]}) as server:
        run = run_on(server, n=60, samples=1, endpoint={"concurrency": 2})
        run.go()
        assert len(run.answers("shaky")) == 60
        waits = [s for s in run.slept if s > 1.5]
        assert len(waits) >= 2  # the one that was refused, and the other
