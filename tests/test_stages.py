"""Campaigns that stop when the answer is known, over a real socket: what is asked, what is said, and that killing a run
between two stages changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import itertools
import json
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from harness import run_campaign, score
from harness.campaign import collect_async
from harness.config import Local
from harness.endpoints import local as serving
from harness.errors import ConfigError
from harness.inference.findings import Finding
from harness.plan import prepare, stage_sizes, stages_of
from harness.report.tables import csv_text
from tests.support import Write
from tests.support.command_line import harness
from tests.support.fault_server import FaultServer, Reply, Request, Step
from tests.support.payloads import chat, encode
from tests.support.results import made, results

CONTROLS = [f"k{i}" for i in range(8)]
PROMPTS = 128
COMMON = [f"word{i}" for i in range(300)]


def summary(findings: Sequence[Finding]) -> str:
    """The table of verdicts, byte for byte."""
    return csv_text(made("summary", results(findings)))


def voice(lineage: str, share: float = 0.7) -> Step:
    """A model that says of each question 60 words: some as its lineage would put it, the others as anybody."""

    def step(request: Request) -> Reply:
        question = json.loads(request.body)["messages"][-1]["content"]
        own, other = random.Random(f"{lineage}/{question}"), random.Random(f"{request.model}/{question}")
        words = [(own if other.random() < share else other).choice(COMMON) for _ in range(60)]
        return Reply(body=encode(chat(" ".join(words))))

    return step


def draws(lineage: str) -> Step:
    """A model that draws one of ten words anew for each call, each lineage with a favourite."""

    def step(request: Request) -> Reply:
        favourite = ["c", "b", *CONTROLS].index(lineage)
        weights = [9.0 if i == favourite else 1.0 for i in range(10)]
        rng = random.Random(f"{request.model}/{request.number}")
        return Reply(body=encode(chat(rng.choices(COMMON[:10], weights)[0])))

    return step


def served(suspect: str) -> Mapping[str, list[Step]]:
    """A candidate, a suspect of this lineage, and controls."""
    return {"c": [voice("c")], "s": [voice(suspect)], **{k: [voice(k)] for k in CONTROLS}}


@pytest.fixture
def staged(tmp_path: Path, write_prompts: Write) -> Write:
    """Write a campaign of one kinship question that stops when the answer is known."""

    def write(url: str, n: int = PROMPTS, stop: str = "sequential", **settings: Any) -> Path:
        write_prompts(n, samples=1)
        roles = {"s": "suspect", "c": "candidate"}
        endpoints = [
            {"name": m, "role": roles.get(m, "control"), "lineage": m, "maker": m, "kind": "openai-chat",
             "base_url": url, "model": m} for m in ("s", "c", *CONTROLS)
        ]  # fmt: skip
        config = {
            "campaign": "test",
            "prompts": [{"set": "tiny"}],
            "endpoints": endpoints,
            "collect": {"stop": stop, **settings.pop("collect", {})},
            "analysis": {"questions": ["kinship"], "bootstrap": 100, **settings.pop("analysis", {})},
            **settings,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    return write


def test_kin_are_found_early_and_the_rest_is_never_asked(staged: Write) -> None:
    with FaultServer(served("c")) as server:
        found = run_campaign(staged(server.url)).findings[0]
        assert found.stop is not None
        assert (found.stop.rule, found.verdict) == ("found", "KIN-OR-TAUGHT")
        assert found.stop.prompts == 32 == server.asked["s"]  # the fewest with which a likelihood ratio is given
        assert set(server.asked.values()) == {32}
        assert found.p_value <= found.alpha


def test_strangers_are_given_up_early(staged: Write) -> None:
    with FaultServer(served("stranger")) as server:
        path = staged(server.url)
        found = run_campaign(path).findings[0]
        assert found.stop is not None
        assert found.stop.rule == "futile"
        assert server.asked["k0"] == found.stop.prompts <= 48
        assert summary(score(path).findings) == summary([found])  # worked out again from the store alone


def test_a_local_server_stays_up_between_stages(staged: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading weights takes longer than many a stage; here the fault server stands for what loads them."""
    started: list[str] = []
    stopped: list[str] = []

    with FaultServer(served("c")) as server:

        @contextlib.asynccontextmanager
        async def start(endpoint: Local, gguf: Path) -> AsyncIterator[tuple[Any, str]]:
            started.append(endpoint.name)
            yield SimpleNamespace(returncode=None), server.url
            stopped.append(endpoint.name)

        monkeypatch.setattr(serving, "_started", start)
        path = staged(server.url)
        config = yaml.safe_load(path.read_text())
        weights = tmp_path / "s.gguf"
        weights.write_bytes(b"GGUF")
        told = {"kind": "local", "weights": {"gguf": str(weights)}, "surfaces": ["chat"]}
        config["endpoints"][0] = {k: config["endpoints"][0][k] for k in ("name", "role", "lineage", "maker")} | told
        path.write_text(yaml.safe_dump(config))
        said: list[str] = []
        found = run_campaign(path, say=said.append).findings[0]
        assert found.stop is not None
        assert sum(line.startswith("stage ") for line in said) > 1
        assert started == stopped == ["s"]


def test_a_local_server_stays_up_between_the_parts_of_a_monitoring(
    staged: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`harness monitor` looks at the answers after each part; here the fault server stands for what loads weights."""
    started: list[str] = []
    stopped: list[str] = []

    with FaultServer(served("c")) as server:

        @contextlib.asynccontextmanager
        async def start(endpoint: Local, gguf: Path) -> AsyncIterator[tuple[Any, str]]:
            started.append(endpoint.name)
            yield SimpleNamespace(returncode=None), server.url
            stopped.append(endpoint.name)

        monkeypatch.setattr(serving, "_started", start)
        path = staged(server.url, n=40, stop="all")
        config = yaml.safe_load(path.read_text())
        weights = tmp_path / "s.gguf"
        weights.write_bytes(b"GGUF")
        told = {"kind": "local", "weights": {"gguf": str(weights)}, "surfaces": ["chat"]}
        config["endpoints"][0] = {k: config["endpoints"][0][k] for k in ("name", "role", "lineage", "maker")} | told
        path.write_text(yaml.safe_dump(config))
        looked: list[tuple[int, int]] = []

        def enough(part: int) -> bool:
            looked.append((part, server.asked["s"]))
            return part == 2

        done = asyncio.run(collect_async(prepare(path, {}), {}, {}, asyncio.Event(), parts=((10, 20, 30, 40), enough)))
    assert done
    assert looked == [(0, 10), (1, 20), (2, 30)]
    assert started == stopped == ["s"]


def test_by_default_all_is_asked(staged: Write) -> None:
    with FaultServer(served("c")) as server:
        found = run_campaign(staged(server.url, n=40, stop="all")).findings[0]
        assert set(server.asked.values()) == {40}
        assert found.stop is None


def test_a_run_that_is_killed_between_stages_ends_as_if_it_had_not_been(staged: Write, tmp_path: Path) -> None:
    with FaultServer(served("c")) as server:
        path = staged(server.url)
        whole = summary(run_campaign(path).findings)
        asked = server.asked["s"]
        path.write_text(path.read_text().replace("campaign: test", "campaign: killed"))
        command = [sys.executable, "-m", "harness", "run", path.name]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if line.startswith("stage 2 "):
                    running.send_signal(signal.SIGKILL)
                    break
        assert asked < server.asked["s"] < 2 * asked  # it was on its way
        assert summary(run_campaign(path).findings) == whole
        assert server.asked["s"] <= 2 * asked + 1  # what was stored is not asked again


def test_ctrl_c_between_stages_says_so_and_resumes(staged: Write, tmp_path: Path) -> None:
    with FaultServer(served("c")) as server:
        path = staged(server.url)
        command = [sys.executable, "-m", "harness", "run", path.name]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if line.startswith("stage 2 "):
                    running.send_signal(signal.SIGINT)
                    break
            said = running.stderr.read()
        assert running.returncode == 130, said
        assert "harness run" in said
        found = run_campaign(path).findings[0]
        assert found.stop is not None
        assert found.stop.rule == "found"
        assert server.asked["s"] == found.stop.prompts


def test_a_ceiling_between_stages_is_told(staged: Write, tmp_path: Path) -> None:
    with FaultServer(served("c")) as server:
        path = staged(server.url, collect={"max_tokens": 500})
        done = subprocess.run(
            [sys.executable, "-m", "harness", "run", path.name, "-q"], cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert "max_tokens" in done.stderr
        assert server.asked["s"] < 32


def test_what_is_the_same_is_asked_to_the_end_and_what_differs_is_not(staged: Write) -> None:
    for suspect, rule in (("b", "found"), ("c", "all asked")):
        models = {"s": [draws(suspect)], "c": [draws("c")], **{k: [draws(k)] for k in CONTROLS}}
        with FaultServer(models) as server:
            path = staged(server.url, n=24, campaign=f"as-{suspect}", analysis={"questions": ["identity"]})
            path.write_text(path.read_text().replace("- set: tiny", "- {set: tiny, samples: 4}"))
            found = run_campaign(path).findings[0]
            assert found.stop is not None
            assert found.stop.rule == rule
            assert (server.asked["s"] == 24 * 4) == (rule == "all asked")


def test_stages_are_beginnings_of_one_random_order_and_the_same_share_of_each_set(staged: Write) -> None:
    plan = prepare(staged("http://127.0.0.1:9/v1"), {})
    stages = stages_of(plan.campaign, plan.prompts)
    assert [s.size for s in stages] == list(stage_sizes(PROMPTS))
    assert [len(s.prompts) for s in stages] == [s.size for s in stages]
    assert all(set(a.prompts) < set(b.prompts) for a, b in itertools.pairwise(stages))
    ids = [p.id for p in plan.prompts]
    assert ids != sorted(ids)
    assert ids == [p.id for p in prepare(staged("http://127.0.0.1:9/v1"), {}).prompts]
    assert ids != [p.id for p in prepare(staged("http://127.0.0.1:9/v1", seed=2), {}).prompts]


@pytest.mark.parametrize("questions", [["attribution", "kinship"], ["teaching"]])
def test_questions_that_need_every_prompt_have_no_stages(staged: Write, questions: list[str]) -> None:
    plan = prepare(staged("http://127.0.0.1:9/v1", analysis={"questions": questions}), {})
    assert stages_of(plan.campaign, plan.prompts) == ()


def test_a_shard_cannot_know_when_the_answer_is_known(staged: Write) -> None:
    with pytest.raises(ConfigError, match="no part knows"):
        prepare(staged("http://127.0.0.1:9/v1"), {}, shard="1/2")


def test_the_stop_is_told_wherever_the_verdict_is(staged: Write, tmp_path: Path) -> None:
    with FaultServer(served("c")) as server:
        path = staged(server.url)
        dry = harness("run", path, "--dry-run", cwd=tmp_path)
        assert "calls: 9 stages, at most 1280 calls; about 320 if" in dry.stderr
        assert server.asked == {}
        done = harness("run", path, cwd=tmp_path)
        told = "kinship: Stopped at stage 5 of 9, with 25% of every prompt set asked: found"
        assert told in done.stdout
        folder = tmp_path / "results" / "test"
        assert told in (folder / "report.html").read_text()
        (row,) = csv.DictReader(io.StringIO((folder / "summary.csv").read_text()))
        assert (row["stopped"], row["stage"], row["stages"]) == ("found", "5", "9")
        (record,) = json.loads(harness("score", path, "--json", cwd=tmp_path).stdout)
        assert record["stop"] == {"rule": "found", "stage": 5, "stages": 9, "prompts": 32, "most": 128}
        assert harness("verify", folder, cwd=tmp_path).returncode == 0
