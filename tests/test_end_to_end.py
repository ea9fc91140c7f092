"""The whole path on real input: real models behind a real server, and recorded answers of known lineage."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


def harness(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


@pytest.fixture(scope="module")
def nova(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The default campaign in a short form, run once."""
    folder = tmp_path_factory.mktemp("nova")
    shutil.copy(ROOT / "config.yaml", folder)
    return folder, harness("run", "config.yaml", "--limit", "8", "--json", "--quiet", cwd=folder)


def test_the_default_campaign_shows_a_hit_a_stranger_and_one_that_cannot_be_told(
    nova: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """On eight prompts of each set: the stranger is known, and nothing is said of the two that are the very model."""
    folder, done = nova
    assert done.returncode == 0, done.stderr
    found = {f["suspect"]: f for f in json.loads(done.stdout)}
    assert [(f["question"], f["candidate"]) for f in found.values()] == [("identity", "smollm2")] * 3
    assert found["orion"]["verdict"] == "DIFFERENT-LIKE"
    assert "apart on raw text" in found["orion"]["conclusion"]["clauses"]
    assert found["orion"]["conclusion"]["unasked"] == ["kinship"]
    assert "apart on raw text" not in found["nova"]["conclusion"]["clauses"]
    assert found["lyra"]["verdict"] == "INCONCLUSIVE"
    assert [e["channel"] for e in found["lyra"]["evidence"]] == ["text (chat)"]
    assert "raw completions" in [r["kind"] for r in found["lyra"]["conclusion"]["remedies"]]
    assert {p.name for p in (folder / "results" / "nova").iterdir()} >= {
        *("summary.csv", "evidence.csv", "manifest.json", "responses.sqlite")
    }


def test_same_weights_show_where_no_system_prompt_applies(
    nova: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    identity = json.loads(nova[1].stdout)[0]
    by_channel = {e["channel"]: e for e in identity["evidence"]}
    raw = by_channel["logprobs (completion)"]
    assert raw["p"] > 0.05
    assert raw["raw"] < raw["control_low"] / 10
    assert by_channel["logprobs (chat)"]["raw"] > 0.001  # the system prompt shows


def test_answers_carry_the_name_of_the_model_and_not_of_its_file(
    nova: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    with contextlib.closing(sqlite3.connect(nova[0] / "results" / "nova" / "responses.sqlite")) as store:
        named = {m for (m,) in store.execute("SELECT DISTINCT model_answered FROM responses")}
    assert named == {"SmolLM2-135M-Instruct", "Qwen2.5-Coder-0.5B-Instruct", "Gemma-3-270M"}


def test_second_run_asks_nothing_and_writes_the_same(nova: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, first = nova
    before = {n: (folder / "results/nova" / n).read_bytes() for n in ("summary.csv", "evidence.csv")}
    again = harness("run", "config.yaml", "--limit", "8", "--json", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert before == {n: (folder / "results/nova" / n).read_bytes() for n in before}
    dry = json.loads(harness("run", "config.yaml", "--limit", "8", "--dry-run", "--json", cwd=folder).stdout)
    assert [r["to_ask"] for r in dry] == [0] * 6


@pytest.mark.parametrize(
    ("example", "verdicts"),
    [
        ("r1-children", {"r1-1776": "KIN-LIKE", "mai-ds-r1-fp8": "KIN-OR-TAUGHT"}),
        ("stranger", {"grok-3-beta": "INCONCLUSIVE"}),  # no closer, but text does not clear of a shared base
    ],
)
def test_recorded_answers_of_known_lineage(
    example: str, verdicts: dict[str, str], recorded_data: Path, tmp_path: Path
) -> None:
    config = tmp_path / "a" / "b" / f"{example}.yaml"
    config.parent.mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "recorded" / f"{example}.yaml", config)
    done = harness("run", str(config), "--quiet", cwd=tmp_path, env={"RECORDED_DATA": str(recorded_data)})
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "results" / example / "summary.csv")
    assert {r["suspect"]: r["verdict"] for r in found} == verdicts
    assert all(float(r["p_value"]) >= float(r["p_smallest_possible"]) for r in found)
