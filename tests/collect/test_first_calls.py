"""The first calls: who refuses all of them ends the run before the others are paid, if the verdict needs it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from harness.endpoints.quotas import retry_after, server_time
from harness.errors import EndpointError
from tests.support import payloads
from tests.support.fault_server import FaultServer, Reply, says

NO = says({"error": {"message": "This deployment answers nobody."}}, 400)
N = 12


@pytest.mark.parametrize("place", [0, 1])
def test_a_suspect_or_candidate_that_refuses_everything_ends_the_run_before_the_others_are_paid(
    run_on: Any, place: int
) -> None:
    names = ["bad" if i == place else name for i, name in enumerate(("one", "two"))]
    other = names[1 - place]
    with FaultServer({"bad": [NO], other: ["ok"], "third": ["ok"]}) as server:
        run = run_on(server, (*names, "third"), n=N, samples=1)
        with pytest.raises(EndpointError, match="bad: HTTP 400: This deployment answers nobody"):
            run.go()
        assert server.asked["bad"] == 2
        assert server.asked[other] + server.asked["third"] < N


def test_two_bad_first_calls_of_a_control_do_not_end_the_run(run_on: Any) -> None:
    with FaultServer({"one": ["ok"], "two": ["ok"], "shaky": ["half-json", "half-json", "ok"]}) as server:
        roles = ["suspect", "candidate", "control"]
        run = run_on(server, ("one", "two", "shaky"), n=4, samples=1, roles=roles, collect={"attempts": 2})
        run.go()
        assert len(run.answers("one")) == len(run.answers("two")) == 4
        assert len(run.answers("shaky")) == 3


def test_a_date_to_wait_for_is_read_by_the_servers_own_clock() -> None:
    ahead = datetime(2026, 1, 1, 13, tzinfo=UTC)
    ours = (ahead - timedelta(hours=1)).timestamp()
    headers = {
        "date": format_datetime(ahead, usegmt=True),
        "retry-after": format_datetime(ahead + timedelta(seconds=1), usegmt=True),
    }
    assert retry_after(headers, server_time(headers, ours)) == 1.0
    assert server_time({"date": "soon"}, ours) == server_time({}, ours) == ours


@pytest.mark.parametrize("hours", [1, -1, 24 * 400])
def test_a_server_whose_clock_is_wrong_is_asked_again_when_it_wants_to_be(run_on: Any, hours: int) -> None:
    """Its Retry-After is a moment of its own clock, over a real socket: not parked for the hour, nor asked at once."""
    moment = datetime.now(UTC) + timedelta(hours=hours)
    when = {
        "Date": format_datetime(moment, usegmt=True),
        "Retry-After": format_datetime(moment + timedelta(seconds=5), usegmt=True),
    }
    refused = Reply(429, payloads.encode({"error": {"message": "slow down"}}), when)
    with FaultServer({"good": ["ok"], "shaky": ["ok", lambda _: refused, "ok"]}) as server:
        run = run_on(server, n=3, samples=1)
        run.go()
        assert run.tallies["shaky"].state == "done"
        assert run.tallies["shaky"].told_wait == 5
        assert 5 <= max(run.slept) < 8
        assert server.asked["shaky"] == 4


def test_who_is_left_alone_for_long_says_who_asked_for_it(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", "429-hour"]}) as server:
        run = run_on(server, n=9, samples=1, endpoint={"concurrency": 1})
        run.go()
        assert any("shaky is parked" in s and "left alone for 3,600 s, and `max_wait:` is 120" in s for s in run.said)
