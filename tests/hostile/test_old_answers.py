"""Answers are never taken for those of another server that a config names now, nor for those to other requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.campaign import collect_async, score, write
from harness.collect.agreement import recognise
from harness.collect.preflight import remember
from harness.config.endpoint import Local
from harness.endpoints.quirks import Quirks
from harness.errors import HarnessError, StoreError
from harness.evidence import verify_folder
from harness.plan import STORE, prepare, stored_plan
from harness.records import Response
from harness.report.manifest import config_hash
from harness.store.store import Store
from tests.support import Write
from tests.support.fault_server import FaultServer


def ask(config: Path, limit: int | None = None) -> list[str]:
    said: list[str] = []
    asyncio.run(collect_async(prepare(config, {}, limit), {}, {}, asyncio.Event(), said.append))
    return said


def edit(config: Path, change: Callable[[dict[str, Any]], object]) -> None:
    found = yaml.safe_load(config.read_text())
    change(found)
    config.write_text(yaml.safe_dump(found))


@pytest.fixture
def asked(write_campaign: Write) -> Path:
    """A config whose endpoints were asked and answered; the server is gone."""
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=4, samples=2)
        ask(path)
    return path


@pytest.mark.parametrize("command", [ask, score])
def test_an_answer_of_another_address_is_not_taken(asked: Path, command: Callable[[Path], object]) -> None:
    """Else a verdict on server A would stand under a manifest that names server B, without one call to it."""
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as other:
        edit(asked, lambda c: c["endpoints"][0].update(base_url=other.url))
        with pytest.raises(StoreError) as refused:
            command(asked)
        assert sum(other.asked.values()) == 0
    assert other.url in str(refused.value)
    assert "'good'" in str(refused.value)
    before = str(refused.value).replace(other.url, "")
    assert "http://127.0.0.1:" in before  # the old one is named too


@pytest.mark.parametrize("command", [ask, score])
def test_an_answer_of_another_api_version_is_not_taken(asked: Path, command: Callable[[Path], object]) -> None:
    edit(asked, lambda c: c["endpoints"][1].update(api_version="2031-01-01"))
    with pytest.raises(StoreError, match=r"'fine'.*api_version 2031-01-01"):
        command(asked)


def test_under_another_name_the_other_address_is_asked(asked: Path) -> None:
    """What the hint says: both are there then, and can be compared."""
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as other:
        edit(asked, lambda c: c["endpoints"][0].update(base_url=other.url, name="good-at-b"))
        ask(asked)
        assert other.asked["good"] == 8
    assert {f.suspect for f in score(asked).findings} == {"good-at-b"}


def test_an_address_without_answers_can_be_mended(write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=2)
        edit(path, lambda c: c["endpoints"][0].update(base_url="http://127.0.0.1:9/v1"))
        with pytest.raises(HarnessError):
            ask(path)
        edit(path, lambda c: c["endpoints"][0].update(base_url=server.url))
        for _ in range(2):
            ask(path)
        assert sum(server.asked.values()) == 8
    assert score(path).findings


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "model": (lambda c: c["endpoints"][0].update(model="great"), "model was good, is great"),
    "system prompt": (lambda c: c["endpoints"][0].update(system_prompt="Be brief."), "the system prompt is another"),
    "params": (lambda c: c["endpoints"][1].update(params={"top_k": 3}), "top_k was not given, is 3"),
    "max_tokens": (lambda c: c["prompts"][0].update(max_tokens=99), "max_tokens was not given, is 99"),
    "limit": (lambda c: c["prompts"][0].update(limit=2), "limit was not given, is 2"),
    "samples": (lambda c: c["prompts"][0].update(samples=5), "samples was not given, is 5"),
    "another set": (lambda c: c["prompts"].append({"set": "brevity"}), "set 'brevity' was not there, is now"),
    "an endpoint": (
        lambda c: c["endpoints"].append({**c["endpoints"][1], "name": "late", "lineage": "late"}),
        "endpoint 'late': 4 of its calls are not in the stored plan",
    ),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_score_refuses_answers_to_other_requests_and_says_what_differs(asked: Path, name: str) -> None:
    change, said = CHANGES[name]
    assert score(asked).findings
    edit(asked, change)
    with pytest.raises(StoreError) as refused:
        score(asked)
    assert said in refused.value.message


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["analysis"].update(alpha=0.01),
        lambda c: c["endpoints"][0].update(concurrency=1, rpm=3.0, api_key_env="OTHER"),
        lambda c: c["endpoints"][0].update(base_url=c["endpoints"][0]["base_url"] + "/"),
        lambda c: c.update(seed=7),
    ],
)
def test_what_changes_no_answer_is_no_difference(asked: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit(asked, change)
    assert score(asked).findings


def test_a_short_form_is_scored_as_it_was_asked(write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=4, samples=2)
        ask(path, limit=2)
    assert len(score(path).responses.prompts) == 2


def test_what_a_server_was_found_to_refuse_since_is_no_difference(write_campaign: Write) -> None:
    """`check` may learn that after the run; the answers are those to the config all the same."""
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=3, endpoint={"params": {"top_p": 0.9}})
        ask(path)
    plan = prepare(path, {})
    with Store(plan.store) as store:
        remember(store, plan.called[0], Quirks(refuses=frozenset({"top_p"})))
    assert score(path).findings


def test_other_weights_under_one_name_are_seen_and_another_port_is_not(tmp_path: Path) -> None:
    """Of a local endpoint the weights and their context count; it takes another port at every start."""
    (tmp_path / "a.gguf").write_bytes(b"GGUF one")
    store_path = tmp_path / "s.sqlite"

    def local(**more: Any) -> Local:
        told = {"name": "here", "role": "suspect", "kind": "local", "weights": {"gguf": "a.gguf"}}
        return Local.model_validate(told | more)

    with Store(store_path) as store:
        recognise([local()], tmp_path, store)
        store.add(Response("here", "p", 0, "h", "ok", "text"))
        for same in (local(), local(concurrency=2, threads=4)):
            recognise([same], tmp_path, store)
        with pytest.raises(StoreError, match=r"'here'.*with context 2048.*with context 4096"):
            recognise([local(context=4096)], tmp_path, store)
        (tmp_path / "a.gguf").write_bytes(b"GGUF two")
        with pytest.raises(StoreError, match="'here': its answers came from weights sha256"):
            recognise([local()], tmp_path, store)


def test_a_manifest_that_names_another_model_does_not_verify(asked: Path) -> None:
    """Also if its own hash of the config was written anew: the requests are derived from the config again."""
    plan = stored_plan(asked)
    write(plan, score(plan))
    assert not verify_folder(plan.folder).differs
    path = plan.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["endpoints"][0] |= {"model": "great", "base_url": "http://127.0.0.1:1/v1"}
    manifest["config_sha256"] = config_hash(manifest["config"])
    path.write_text(json.dumps(manifest))
    assert any("'good' was http://127.0.0.1:" in said for said in verify_folder(plan.folder).differs)
    manifest["config"]["endpoints"][0]["base_url"] = plan.called[0].base_url  # type: ignore[union-attr]
    manifest["config_sha256"] = config_hash(manifest["config"])
    path.write_text(json.dumps(manifest))
    assert any("model was good, is great" in said for said in verify_folder(plan.folder).differs)


def test_a_recorded_file_of_another_name_is_not_the_one_that_was_read(tmp_path: Path) -> None:
    rows = [{"model": m, "prompt_id": f"q{i}", "prompt": "?", "output": f"{m} {i}"} for m in "ab" for i in range(3)]
    (tmp_path / "one.jsonl").write_text("\n".join(map(json.dumps, rows)))
    endpoints = [
        {"name": m, "role": r, "lineage": m, "kind": "recorded", "path": "one.jsonl"}
        for m, r in (("a", "suspect"), ("b", "candidate"))
    ]
    config = {"campaign": "old", "prompts": [{"set": "recorded"}], "endpoints": endpoints}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config | {"analysis": {"questions": ["identity"]}}))
    ask(path)
    assert score(path).findings
    edit(path, lambda c: c["endpoints"][0].update(path="two.jsonl"))
    with pytest.raises(StoreError, match=r"'a': path was one\.jsonl, is two\.jsonl"):
        score(path)
    assert (tmp_path / "results" / "old" / STORE).is_file()
