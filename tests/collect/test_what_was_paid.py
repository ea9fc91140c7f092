"""What was paid is an answer, over a real socket: kept with its outcome, counted towards ceilings, asked once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness import run_campaign
from harness.check import check_endpoints, warnings
from harness.errors import CeilingError
from harness.plan import prepare
from tests.support import Write, payloads
from tests.support.fault_server import FaultServer, Reply, Request, Step, says

N = 4
WHOLE = payloads.chat("Paris.")
USED = {"usage": {"prompt_tokens": "9", "completion_tokens": 40.0}}
NOTHING = {"model": "m", **USED}


def first_of_two(value: Any) -> Step:
    """Every second reply is this one."""
    whole = payloads.encode(WHOLE)
    odd = payloads.encode(value)
    return lambda r: Reply(body=whole if r.number % 2 else odd)


@pytest.mark.parametrize(
    ("value", "outcome", "text"),
    [
        ({**NOTHING, "choices": [{"index": 0, "finish_reason": "length"}]}, "empty", ""),
        ({**NOTHING, "choices": [{"index": 0, "finish_reason": "MAX_TOKENS", "message": {}}]}, "empty", ""),
        (
            {**NOTHING, "choices": [{"index": 0, "finish_reason": "PROHIBITED_CONTENT", "message": None}]},
            "filtered",
            "",
        ),
        ({**NOTHING, "choices": [{"finish_reason": "sensitive", "message": {"content": "Par"}}]}, "filtered", "Par"),
        ({**NOTHING, "choices": [{"message": {"content": None, "refusal": "No."}}]}, "refused", ""),
        (
            {**NOTHING, "choices": [{"message": {"tool_calls": [{"id": "1"}]}, "finish_reason": "tool_calls"}]},
            "empty",
            "",
        ),
        ({**NOTHING, "choices": []}, "empty", ""),
        (NOTHING, "empty", ""),
        (
            {**NOTHING, "choices": [{"finish_reason": {"type": "length"}, "message": {"content": "Par"}}]},
            "truncated",
            "Par",
        ),
        ({"data": WHOLE, "code": 0}, "ok", "Paris."),
    ],
)
def test_a_paid_reply_is_kept_and_never_asked_again(run_on: Any, value: Any, outcome: str, text: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": [first_of_two(value)]}) as server:
        run = run_on(server, n=N, samples=1)
        run.go()
        run.go()
        assert server.asked["shaky"] == N
        assert run.failures() == []
        odd = [r for r in run.answers("shaky") if r.outcome != "ok" or r.text != "Paris."] or run.answers("shaky")
        assert {(r.outcome, r.text) for r in odd} == {(outcome, text)}


def test_an_empty_answer_counts_towards_the_ceiling(run_on: Any) -> None:
    with FaultServer({"good": [says({**NOTHING, "choices": []})], "shaky": ["ok"]}) as server:
        run = run_on(server, n=40, samples=1, endpoint={"concurrency": 1}, collect={"max_tokens": 490})
        with pytest.raises(CeilingError):
            run.go()
        assert 9 <= server.asked["good"] <= 12


@pytest.mark.parametrize("reason", ["network_error", "abort", {"type": "connection_error"}])
def test_what_broke_off_is_asked_again(run_on: Any, reason: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": [first_of_two(payloads.chat("Par", finish=reason))]}) as server:
        run = run_on(server, n=N, samples=1)
        run.go()
        assert {r.text for r in run.answers("shaky")} == {"Paris."}
        assert server.asked["shaky"] > N


@pytest.mark.parametrize("reason", ["gave_up", {"type": "Zeit abgelaufen"}, "原因不明"])
def test_a_reason_that_nobody_knows_is_kept_and_told_by_check_and_in_the_limits(
    write_campaign: Write, reason: Any
) -> None:
    said = reason["type"] if isinstance(reason, dict) else reason
    with FaultServer({"good": ["ok"], "fine": [says(payloads.chat("Paris.", finish=reason))]}) as server:
        path = write_campaign(server.url)
        plan = prepare(path, {})
        assert [w for w in warnings(plan, check_endpoints(plan, {}, offline=False)) if f"fine ended with “{said}”" in w]
        (finding,) = run_campaign(path).findings
    (odd,) = [c for c in finding.caveats if c.kind == "unknown finish"]
    assert (odd.names, odd.values) == (("fine", said), (6.0,))


def events(request: Request) -> Reply:
    pieces = ({"choices": [{"index": 0, "delta": {"content": t}}]} for t in ("Pa", "ris."))
    body = b"\xef\xbb\xbf: keep-alive\r\n\r\n" + b"".join(
        b"data:" + json.dumps(p).encode() + b"\r\n\r\n" for p in pieces
    )
    return Reply(body=body + b"data:[DONE]\r\n\r\n", headers={"Content-Type": "text/event-stream"})


def charset(name: str) -> Step:
    body = json.dumps(payloads.chat("Señor Müller war da."), ensure_ascii=False).encode(name)
    return lambda _: Reply(body=body, headers={"Content-Type": f"application/json; charset={name}"})


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (lambda _: Reply(body=payloads.encode(WHOLE) + b"\n\ndata: [DONE]\n\n"), "Paris."),
        (events, "Paris."),
        (charset("iso-8859-1"), "Señor Müller war da."),
        (charset("windows-1252"), "Señor Müller war da."),
        (charset("utf-16"), "Señor Müller war da."),
        (lambda _: Reply(body=b"\xef\xbb\xbf" + payloads.encode(WHOLE)), "Paris."),
        (lambda _: Reply(body=payloads.encode(WHOLE), headers={"Content-Encoding": "gzip"}), "Paris."),
    ],
)
def test_a_body_is_read_as_it_is_and_as_it_is_declared(run_on: Any, step: Step, text: str) -> None:
    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=2, samples=1)
        run.go()
        assert {r.text for r in run.answers("good")} == {text}
        assert server.asked["good"] == 2
