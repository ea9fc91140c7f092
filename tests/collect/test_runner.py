"""Plan -> calls -> store against a server that fails over a real socket: nothing lost, nothing asked twice."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.support import Write
from tests.support.fault_server import STEPS, FaultServer, Request, Step


def test_every_planned_answer_is_asked_once_and_stored(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok"]}) as server:
        run = run_on(server, n=5, samples=3)
        run.go()
        assert len(run.answers()) == 30
        assert set(server.asked.values()) == {15}
        answer = run.answers("good")[0]
        assert (answer.model_asked, answer.model_answered, answer.attempts) == ("good", "served-model", 1)
        assert answer.received_at.endswith("+00:00")
        run.go()
        assert set(server.asked.values()) == {15}


@pytest.mark.parametrize(
    "fault",
    [
        *("429", "500", "503", "500-html", "500-huge", "html", "half-json", "reset", "close-early", "long-length"),
        *("error-429-in-200", "error-502-in-200", "wrong-types"),
    ],
)
def test_what_passes_is_asked_again(run_on: Any, fault: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", fault, "ok", fault, fault, "ok"]}) as server:
        run = run_on(server, n=4, samples=1)
        run.go()
        assert len(run.answers("shaky")) == 4
        assert server.asked["shaky"] == 7
        assert sum(r.attempts for r in run.answers("shaky")) == 7
        assert run.tallies["shaky"].retries == 3


def test_bytes_past_the_stated_length_spoil_no_other_answer(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", "short-length", "ok", "short-length", "ok"]}) as server:
        run = run_on(server, n=6, samples=1)
        run.go()
        assert len(run.answers("shaky")) == 6
        assert all(r.text.startswith("answer") for r in run.answers())


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_server_that_does_not_finish_is_left_in_time(run_on: Any, fault: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", fault, "ok"]}) as server:
        run = run_on(server, n=3, samples=1, collect={"call_timeout": 0.5})
        began = time.monotonic()
        run.go()
        assert time.monotonic() - began < 5
        assert len(run.answers("shaky")) == 3


@pytest.mark.parametrize(
    ("fault", "kind"), [("400", "http"), ("error-401-in-200", "auth"), ("huge", "too_large"), ("echo-400", "http")]
)
def test_what_cannot_pass_is_recorded_and_not_repeated(run_on: Any, fault: str, kind: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", fault]}) as server:
        run = run_on(server, n=2, samples=1, collect={"max_body_mb": 1.0})
        run.go()
        assert server.asked["shaky"] == 2
        assert run.failures() == [("shaky", kind, 1)]
        assert (run.tallies["shaky"].stored, run.tallies["shaky"].failed) == (1, 1)


def test_bodies_without_end_are_not_held_in_memory(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", "huge", "500-huge"]}) as server:
        run = run_on(server, n=4, samples=2, collect={"max_body_mb": 1.0, "attempts": 2})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run.go()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("null-content", "empty"),
        ("empty-choices", "empty"),
        ("refusal", "refused"),
        ("filter", "filtered"),
        ("reasoning", "ok"),
    ],
)
def test_outcomes_are_stored_and_not_asked_again(run_on: Any, fault: str, outcome: str) -> None:
    with FaultServer({"good": ["ok"], "shaky": [fault]}) as server:
        run = run_on(server, n=3, samples=1)
        run.go()
        run.go()
        assert {r.outcome for r in run.answers("shaky")} == {outcome}
        assert server.asked["shaky"] == 3


def test_resume_asks_only_what_is_missing(run_on: Any) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok", "400", "ok", "400", "ok"]}) as server:
        run = run_on(server, n=6, samples=1)
        run.go()
        assert (len(run.answers("good")), len(run.answers("shaky"))) == (6, 4)
        run.go()
        assert len(run.answers()) == 12
        assert (server.asked["good"], server.asked["shaky"]) == (6, 8)
        assert run.failures() == []


def test_a_changed_prompt_or_parameter_is_a_new_call(run_on: Any, write_prompts: Write) -> None:
    with FaultServer({"good": ["ok"], "shaky": ["ok"]}) as server:
        run = run_on(server, n=3, samples=1)
        run.go()
        config = yaml.safe_load(run.path.read_text())
        config["endpoints"][0]["params"] = {"temperature": 0.5}
        run.path.write_text(yaml.safe_dump(config))
        run.go()
        assert (server.asked["good"], server.asked["shaky"]) == (6, 3)
        assert len(run.answers()) == 6  # the old answers stay in the store, out of the plan


def test_in_flight_is_what_the_config_says(run_on: Any) -> None:
    with FaultServer({"good": ["ok"]}, delay=0.05) as server:
        run = run_on(server, ("good", "good2"), n=20, samples=1, endpoint={"concurrency": 4})
        server.script["good2"] = ["ok"]
        run.go()
        assert 5 <= server.most_at_once <= 8


def test_stop_finishes_what_is_in_flight_and_no_retry_is_slept_out(run_on: Any) -> None:
    stop = asyncio.Event()

    def stopping(request: Request) -> Any:
        request.server.call_soon(stop.set) if request.number == 9 else None
        return STEPS["ok"](request)

    with FaultServer({"good": [stopping], "shaky": ["ok", "429-hour"]}) as server:
        server.call_soon = lambda f: f()  # type: ignore[attr-defined]
        run = run_on(server, n=200, samples=1, endpoint={"concurrency": 4})
        run.go(stop)
        assert 10 <= len(run.answers("good")) < 100
        assert len(run.answers("good")) == server.asked["good"]
        run.go()
        assert len(run.answers("good")) == 200 == server.asked["good"]


def _storm(seed: int) -> Step:
    rng = random.Random(seed)
    faults = ["429", "500", "503", "reset", "half-json", "html", "close-early", "error-502-in-200", "400"]

    def step(request: Request) -> Any:
        return STEPS[rng.choice(faults) if rng.random() < 0.3 else "ok"](request)

    return step


def test_a_storm_of_faults_loses_and_doubles_nothing(run_on: Any) -> None:
    with FaultServer({"good": [_storm(1)], "shaky": [_storm(2)]}) as server:
        settings = {"attempts": 6, "park_after": 50}
        run = run_on(server, n=100, samples=5, endpoint={"concurrency": 16, "params": {"seed": 1}}, collect=settings)
        run.go()
        answers = run.answers()
        keys = Counter((r.endpoint, r.prompt, r.sample) for r in answers)
        assert max(keys.values()) == 1
        failed = sum(n for _, _, n in run.failures())
        assert len(answers) + failed == 1000
        assert failed < 100
        assert sum(server.delivered.values()) >= len(answers)
        server.script = {"good": ["ok"], "shaky": ["ok"]}
        before = sum(server.asked.values())
        run.go()
        assert len(run.answers()) == 1000
        assert sum(server.asked.values()) - before == failed
