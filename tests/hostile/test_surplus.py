"""A server that sends more replies than it was asked for: every answer stays under its own question."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support import payloads
from tests.support.fault_server import FaultServer, Reply, Request, Step


def _named(late: float, every: int = 1) -> Step:
    """A step that says which question it answers, and every so often says it once more, ``late`` seconds later."""

    def reply(request: Request) -> Reply:
        question = json.loads(request.body)["messages"][-1]["content"]
        answer = Reply(body=payloads.encode(payloads.chat(f"about: {question}")))
        return replace(answer, again=late) if request.number % every == 0 else answer

    return reply


def _misplaced(run: Any, name: str) -> list[str]:
    """Answers that are not to the question under which they are stored, by what the server said when it sent them."""
    texts = {p.id: p.text for p in run.load()[1]}
    return [r.text for r in run.answers(name) if r.text != f"about: {texts[r.prompt]}"]


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("late", [0.001, 0.005, 0.02, 0.06])
def test_a_late_surplus_reply_is_nobodys_answer(run_on: Any, late: float, in_flight: int) -> None:
    """It comes when the next request has left: on a kept connection all later answers would be one question late."""
    with FaultServer({"good": [_named(late, every=5)], "fine": ["ok"]}, delay=0.004) as server:
        run = run_on(server, ("good", "fine"), n=20, samples=2, endpoint={"concurrency": in_flight})
        run.go()
        asked = server.asked["good"]
    assert len(run.answers("good")) == asked == 40  # none lost, none paid twice
    assert not _misplaced(run, "good")


def test_a_surplus_reply_to_every_single_request(run_on: Any) -> None:
    with FaultServer({"good": [_named(0.01)], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=20, samples=1, endpoint={"concurrency": 1})
        run.go()
    assert len(run.answers("good")) == 20
    assert not _misplaced(run, "good")


def test_a_surplus_reply_after_a_fault(run_on: Any) -> None:
    """The request that failed is asked again; what came late for it is not taken for the next one's answer."""
    late = _named(0.01)

    def shaky(request: Request) -> Reply:
        return Reply(500, b"{}", again=0.01) if request.number % 3 == 1 else late(request)

    with FaultServer({"good": [shaky], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=15, samples=1, endpoint={"concurrency": 2})
        run.go()
    assert len(run.answers("good")) == 15
    assert not _misplaced(run, "good")


def test_no_connection_carries_two_requests(run_on: Any) -> None:
    """This is what ties an answer to its question; the server is told, so that it does not wait for more."""
    seen: list[Request] = []

    def spy(request: Request) -> Reply:
        seen.append(request)
        return _named(0.0)(request)

    with FaultServer({"good": [spy], "fine": ["ok"]}) as server:
        run_on(server, ("good", "fine"), n=5, samples=1).go()
    assert len(seen) == 5
    assert {r.headers["connection"] for r in seen} == {"close"}
    assert len({r.connection for r in seen}) == 5
