"""Whom a name stood for and how each answer came about: attempts, runs, versions, and mixtures of models."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

from harness.campaign import collect_async, score, write
from harness.clock import LAG_INTERVAL, Clock, watch_lag
from harness.plan import SHORT_FORM, STORE, prepare
from harness.report.words import limits
from harness.store.provenance import copy_notes, mixtures, runs
from harness.store.store import Store
from harness.transfer import merge_stores
from tests.support import Write, payloads
from tests.support.fault_server import FaultServer, Request, says

ATTEMPTS = "SELECT endpoint, prompt, sample, number, kind, status, wait FROM attempts ORDER BY endpoint, number"


def ask(path: Path, **environ: str) -> Path:
    plan = prepare(path, environ)
    asyncio.run(collect_async(plan, environ, {}, asyncio.Event()))
    return plan.folder / STORE


def rows(path: Path, query: str) -> list[Any]:
    with Store(path, readonly=True) as store:
        return store.rows("attempts", query)


def test_every_try_is_recorded_with_its_cause(write_campaign: Write) -> None:
    script = {"good": ["ok", "500", "429-ms", "ok"], "fine": ["ok", "400"]}
    with FaultServer(script) as server:
        path = ask(write_campaign(server.url, n=1, samples=2))
    failed = [r[1:] for r in rows(path, ATTEMPTS) if r[0] == "good"]
    assert failed == [("tiny-000", 1, 1, "http", 500, None), ("tiny-000", 1, 2, "rate_limit", 429, 1.5)]
    assert [r[3:6] for r in rows(path, ATTEMPTS) if r[0] == "fine"] == [(1, "http", 400)]
    with Store(path, readonly=True) as store:
        by_key = {(r.endpoint, r.sample): r.attempts for r in store.responses()}
    assert by_key == {("good", 0): 1, ("good", 1): 3, ("fine", 0): 1}


def test_runs_and_their_versions_are_in_the_store_and_the_manifest(write_campaign: Write, tmp_path: Path) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=30, samples=1)
        ask(path)
        stored = ask(path)
        with Store(stored, readonly=True) as store:
            found = runs(store)
        assert len(found) == 2
        assert {"python", "openai", "behavioral-probing-harness"} <= set(found[0]["versions"])
        assert found[0]["longest_lag_seconds"] >= 0
        plan = prepare(path, {})
        write(plan, score(plan))
        assert json.loads((plan.folder / "manifest.json").read_text())["runs"] == found
        (tmp_path / "m").mkdir()
        elsewhere = path.with_name("elsewhere.yaml")
        elsewhere.write_text(path.read_text().replace("campaign: test", "campaign: joined"))
        joined = prepare(elsewhere, {})
        merge_stores(joined, [plan.folder])
        with Store(joined.folder / STORE, readonly=True) as store:
            assert runs(store) == found


def test_an_endpoint_that_is_two_models_is_said(write_campaign: Write) -> None:
    def routed(request: Request) -> Any:
        name = "big" if request.number % 3 else "small\x1b[2J"
        return says({**payloads.chat(f"answer {request.number}"), "model": name})(request)

    with FaultServer({"good": [routed], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=30, samples=2)
        stored = ask(path)
    with Store(stored, readonly=True) as store:
        assert mixtures(store) == {"good": "2 models: big (40), small\x1b[2J (20)"}
    findings = score(prepare(path, {})).findings
    assert findings
    for finding in findings:
        assert any(limit.startswith("good answered as 2 models: big (40)") for limit in limits(finding))


def test_a_machine_that_comes_too_late_says_so_once() -> None:
    said: list[str] = []

    async def busy(clock: Clock, seconds: float) -> float:
        async with watch_lag(clock, said.append, warn_at=0.2) as lag:
            for _ in range(2):
                await asyncio.sleep(0.01)
                time.sleep(seconds)  # what parsing too much at once does
                await asyncio.sleep(0.3)
        return lag.longest

    on_time = Clock(monotonic=lambda looks=itertools.count(): next(looks) * LAG_INTERVAL)  # whatever else runs here
    assert asyncio.run(busy(on_time, 0.0)) < 0.2
    assert said == []
    assert asyncio.run(busy(Clock(), 0.6)) > 0.2
    assert [s.startswith("warning: this machine is") for s in said] == [True]


def test_what_came_of_logprobs_is_counted(write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": [says(payloads.chat())]}) as server:
        path = write_campaign(server.url, n=30, samples=1, prompts=[{"set": "tiny", "top_logprobs": 5}])
        ask(path)
        plan = prepare(path, {})
        write(plan, score(plan))
    told = json.loads((plan.folder / "manifest.json").read_text())["endpoints"]
    assert told["good"]["logprobs"] == {"asked": 30, "came": 30}
    assert told["fine"]["logprobs"] == {"asked": 30, "came": 0}


def test_notes_are_copied_once_and_in_time_that_grows_with_their_number(tmp_path: Path) -> None:
    def steps(n: int) -> int:
        """Steps of the database, in hundreds: time would depend on what else this machine does."""
        counted = [0]

        def count() -> int:
            counted[0] += 1
            return 0

        tries = [("e", f"p{i}", 0, "h" * 64, 1, "http", 500, None, "2026-01-01T00:00:00.000+00:00") for i in range(n)]
        with Store(tmp_path / f"a{n}.sqlite") as source, Store(tmp_path / f"b{n}.sqlite") as target:
            source.insert("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", tries)
            target._db.set_progress_handler(count, 100)
            copy_notes(target, source)
            copy_notes(target, source)
            target._db.set_progress_handler(None, 0)
            assert target.rows("attempts", "SELECT * FROM attempts ORDER BY prompt") == sorted(tries)
        return counted[0]

    assert steps(2_000) < 6 * steps(500)  # four times as many, and a sort; sixteen times where every row reads all


def test_a_note_that_is_no_number_ends_no_scoring(write_campaign: Write) -> None:
    """A store may be another person's: what its note says of a short form is told as it stands."""
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url)
        stored = ask(path)
    with Store(stored) as store:
        store.set_note(SHORT_FORM, "six")
    (finding,) = score(prepare(path, {})).findings
    assert "a short form of the campaign, with at most six prompts of each set" in limits(finding)
