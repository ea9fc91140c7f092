"""Batches over a real socket: what is sent, what comes back, and what a later run finds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from harness.check import warnings
from harness.errors import CeilingError
from harness.plan import prepare
from harness.store.store import Store
from tests.support import Write, payloads
from tests.support.batch_server import BatchServer
from tests.support.command_line import command, harness
from tests.support.fault_server import Reply
from tests.support.running import KEY, Run

OPENAI = {"provider": "openai"}
ANTHROPIC = {"provider": "anthropic", "kind": "anthropic-messages"}


def batch_run(run_on: Any, server: BatchServer, endpoint: dict[str, Any], n: int = 4, **settings: Any) -> Run:
    collect = {"mode": "batch", **settings.pop("collect", {})}
    run: Run = run_on(server, ("good", "fine"), n=n, endpoint=dict(endpoint), collect=collect, **settings)
    return run


@pytest.mark.parametrize("endpoint", [OPENAI, ANTHROPIC])
def test_all_but_the_first_calls_go_in_a_batch(run_on: Any, endpoint: dict[str, Any]) -> None:
    with BatchServer({"good": ["ok"], "fine": ["ok"]}) as server:
        run = batch_run(run_on, server, endpoint)
        run.go()
        assert server.asked == {"good": 1, "fine": 1}
        assert sorted(len(requests) for requests in server.made.values()) == [7, 7]
        names = [r["custom_id"] for requests in server.made.values() for r in requests]
        assert len(set(names)) == 14
        answers = run.answers("good")
        assert len({(r.prompt, r.sample) for r in answers}) == 8
        assert {r.outcome for r in answers} == {"ok"}
        assert [r.response_id for r in answers].count("") == 0
        with Store(run.store, readonly=True) as store:
            sent = [json.loads(store.request(r.request_hash)[1]) for r in answers]  # type: ignore[index]
            assert json.loads(store.note("batches/good") or "") == []
        bodies = [r["body"] for requests in server.made.values() for r in requests if r["body"]["model"] == "good"]
        assert all(body in sent for body in bodies)
        assert run.tallies["good"].state == "done"
        assert run.tallies["good"].in_flight == 0
        before = len(server.paths)
        run.go()
        assert len(server.paths) == before
    header = "x-api-key" if endpoint is ANTHROPIC else "authorization"
    assert all(KEY in h[header] for h in server.headers)
    assert not [p for p in server.paths if "steal" in p]


def test_each_answer_stands_under_its_own_question(run_on: Any) -> None:
    """Results come in any order; the name of a call says whose they are."""

    def answer(request: Any) -> Reply:
        return Reply(body=payloads.encode(payloads.chat(json.loads(request.body)["messages"][-1]["content"])))

    with BatchServer({"good": [answer], "fine": [answer]}) as server:
        server.answer = answer
        run = batch_run(run_on, server, OPENAI, n=6)
        run.go()
        asked = {p.id: p.text for p in run.load()[1]}
        assert len(run.answers("good")) == 12
        assert all(r.text == asked[r.prompt] for r in run.answers("good"))


@pytest.mark.parametrize("endpoint", [OPENAI, ANTHROPIC])
def test_a_stopped_run_leaves_its_batch_and_the_next_one_fetches_it(run_on: Any, endpoint: dict[str, Any]) -> None:
    with BatchServer({"good": ["ok"], "fine": ["ok"]}, looks=10**9) as server:
        run = batch_run(run_on, server, endpoint)
        stop = asyncio.Event()

        async def stop_it() -> None:
            while len(server.made) < 2 or min(server.asked_for.values(), default=0) < 2:
                await asyncio.sleep(0.01)
            stop.set()

        run.go(stop, stop_it)
        assert len(run.answers()) == 2
        assert run.tallies["good"].state == "stopped"
        assert any("run again to fetch it" in s for s in run.said)
        server.looks = 0
        run.go()
        assert len(server.made) == 2, "nothing was sent twice"
        assert server.asked == {"good": 1, "fine": 1}
        assert len(run.answers()) == 16


def test_what_fails_in_a_batch_is_asked_by_the_next_run(run_on: Any) -> None:
    refused = {"error": {"message": "bad request", "code": None}}
    expired = {"code": "batch_expired", "message": "This request could not be executed before the window ended."}

    def spoil(line: dict[str, Any], number: int) -> dict[str, Any] | None:
        if number == 0:
            return {**line, "response": {"status_code": 400, "body": refused}}
        if number == 1:
            return {**line, "response": None, "error": expired}
        return None if number == 2 else line

    with BatchServer({"good": ["ok"], "fine": ["ok"]}) as server:
        server.spoil = spoil
        run = batch_run(run_on, server, OPENAI)
        run.go()
        assert [len(run.answers(m)) for m in ("good", "fine")] == [5, 5]
        assert [(e, n) for e, kind, n in run.failures() if kind == "http"] == [("fine", 2), ("good", 2)]
        server.spoil = lambda line, _: line
        run.go()
        assert [len(run.answers(m)) for m in ("good", "fine")] == [8, 8]
        assert run.failures() == []
        sent_again = [len(server.made[name]) for name in list(server.made)[2:]]
        assert sorted([*sent_again, server.asked["good"] - 1, server.asked["fine"] - 1]) == [1, 1, 2, 2]


@pytest.mark.parametrize("kind", ["errored", "expired", "canceled"])
def test_what_fails_in_anthropics_shape(run_on: Any, kind: str) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}}

    def spoil(line: dict[str, Any], number: int) -> dict[str, Any]:
        return {**line, "result": {"type": kind, **({"error": error} if kind == "errored" else {})}} if number else line

    with BatchServer({"good": ["ok"], "fine": ["ok"]}) as server:
        server.spoil = spoil
        run = batch_run(run_on, server, ANTHROPIC, n=2)
        run.go()
        assert [len(run.answers(m)) for m in ("good", "fine")] == [2, 2]
        assert run.failures() == [("fine", "http", 2), ("good", "http", 2)]


def test_a_batch_that_fails_is_told_and_forgotten(run_on: Any) -> None:
    with BatchServer({"good": ["ok"], "fine": ["ok"]}) as server:
        server.ends_as = "failed"
        run = batch_run(run_on, server, OPENAI)
        run.go()
        assert run.tallies["good"].state == "parked"
        assert [s for s in run.said if "good is parked" in s and "Enqueued token limit reached" in s]
        assert len(server.made) == 2, "it is not sent again in the same run"
        server.ends_as = "completed"
        run.go()
        assert len(run.answers()) == 16


def test_a_batch_that_the_provider_forgot_is_sent_again(run_on: Any) -> None:
    with BatchServer({"good": ["ok"], "fine": ["ok"]}, looks=0) as server:
        run = batch_run(run_on, server, OPENAI)
        with Store(run.store) as store:
            store.set_note("batches/good", json.dumps([{"id": "batch_gone", "address": server.url}]))
        run.go()
        assert len(run.answers()) == 16
        assert [s for s in run.said if "has forgotten batch_gone" in s]


def test_a_host_without_batches_is_asked_call_by_call(run_on: Any) -> None:
    with BatchServer({"good": ["ok"], "fine": ["ok"]}) as server:
        run = batch_run(run_on, server, {"provider": "together"})
        run.go()
        assert server.asked == {"good": 8, "fine": 8}
        assert server.made == {}
        assert [s for s in run.said if "good is asked call by call" in s]


@pytest.mark.parametrize("path", ["/files", "/batches"])
def test_a_batch_api_that_refuses_parks_its_endpoint_and_nothing_is_paid(run_on: Any, path: str) -> None:
    with BatchServer({"good": ["ok"], "fine": ["ok"]}) as server:
        server.trouble[path] = Reply(403, payloads.encode({"error": {"message": f"no batches for {KEY}"}}))
        run = batch_run(run_on, server, OPENAI)
        run.go()
        assert len(run.answers()) == 2
        assert run.tallies["good"].state == "parked"
        said = [s for s in run.said if "good is parked" in s]
        assert said
        assert KEY not in said[0]
        del server.trouble[path]
        run.go()
        assert len(run.answers()) == 16


def test_a_ceiling_holds_before_a_batch_is_sent(run_on: Any) -> None:
    """What a batch may cost at most must fit under it, as nobody can end what is under way."""
    with BatchServer({"good": ["ok"], "fine": ["ok"]}, looks=0) as server:
        run = batch_run(run_on, server, OPENAI, n=30, collect={"max_tokens": 400})
        with pytest.raises(CeilingError):
            run.go()
        used = sum((r.prompt_tokens or 0) + (r.completion_tokens or 0) for r in run.answers())
        assert 200 < used <= 400
        assert len(run.answers()) < 60


def test_a_line_that_cannot_be_read_loses_that_call_only(run_on: Any) -> None:
    with BatchServer({"good": ["ok"], "fine": ["ok"]}, looks=0) as server:
        server.spoil = lambda line, number: {"custom_id": 5} if number == 3 else line
        run = batch_run(run_on, server, ANTHROPIC)
        run.go()
        assert [len(run.answers(m)) for m in ("good", "fine")] == [7, 7]
        server.spoil = lambda line, _: line
        run.go()
        assert len(run.answers()) == 16


def test_check_names_who_has_no_batches(write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", endpoint={"provider": "together"}, collect={"mode": "batch"})
    assert [n for n in warnings(prepare(path, {})) if n.endswith("asked call by call: good, fine")]


def test_a_live_run_says_that_a_batch_is_still_under_way(run_on: Any) -> None:
    with BatchServer({"good": ["ok"], "fine": ["ok"]}) as server:
        run: Run = run_on(server, ("good", "fine"), n=2, endpoint=dict(OPENAI))
        with Store(run.store) as store:
            store.set_note("batches/good", json.dumps([{"id": "batch_9", "address": server.url}]))
        run.go()
        assert server.asked == {"good": 4, "fine": 4}
        assert [s for s in run.said if "batch_9 is still under way" in s]


def test_a_download_that_breaks_off_loses_nothing(run_on: Any) -> None:
    with BatchServer({"good": ["ok"], "fine": ["ok"]}, looks=0) as server:
        run = batch_run(run_on, server, OPENAI, collect={"attempts": 2})
        server.trouble["/content"] = Reply(body=b'{"custom_id": "x"}\n{"cut', length=1000, then="close")
        run.go()
        assert len(run.answers()) == 2
        server.trouble.clear()
        run.go()
        assert len(run.answers()) == 16
        assert len(server.made) == 2


@pytest.mark.slow
def test_kill_9_while_a_batch_is_under_way_pays_for_nothing_twice(tmp_path: Path, write_campaign: Write) -> None:
    """The whole command, in a process of its own that is killed and run again."""
    with BatchServer({"good": ["ok"], "fine": ["ok"]}, looks=10**9) as server:
        endpoint = {**OPENAI, "api_key_env": "TEST_KEY"}
        path = write_campaign(server.url, n=6, endpoint=endpoint, collect={"mode": "batch"})
        environ = {**os.environ, "TEST_KEY": KEY, "HF_HUB_OFFLINE": "1"}
        with subprocess.Popen(command("run", path), cwd=tmp_path, env=environ, stderr=subprocess.DEVNULL) as process:
            last = time.monotonic() + 60
            while len(server.asked_for) < 2 or min(server.asked_for.values()) < 1:
                assert time.monotonic() < last
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        server.looks = 0
        done = harness("run", path, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(server.made) == 2
        assert server.asked == {"good": 1, "fine": 1}
        with Store(next(tmp_path.rglob("responses.sqlite")), readonly=True) as store:
            assert len(store.keys()) == 24
