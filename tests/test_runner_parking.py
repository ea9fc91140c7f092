"""Endpoints that cannot be used: the run says why, parks them, and goes on with the others."""

from __future__ import annotations

from typing import Any

import pytest
from fault_server import FaultServer
from running import KEY

from harness.errors import EndpointError


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
