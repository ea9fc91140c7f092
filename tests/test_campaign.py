"""The Python API: small, lazy, and the same as the command line."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import run_campaign, score, write
from harness.config.yaml import load_config
from harness.errors import HarnessError
from tests.support import ROOT, Write
from tests.support.fault_server import FaultServer


def test_few_names_and_none_is_imported_before_it_is_used() -> None:
    assert len(harness.__all__) <= 12
    assert all(getattr(harness, name) is not None for name in harness.__all__)
    assert set(harness.__all__) <= set(dir(harness))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = harness.no_such_name
    code = "import sys, harness; print(sorted({'numpy', 'pydantic', 'openai', 'sklearn', 'yaml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_config_in_memory_does_what_its_file_does(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=4)
        of_file = run_campaign(path)
        of_object = run_campaign(load_config(path), base=tmp_path)
        assert sum(server.asked.values()) == 16  # the second found all answers stored
        assert [f.p_value for f in of_file.findings] == [f.p_value for f in of_object.findings]
        assert repr(score(path).findings) == repr(score(load_config(path), base=tmp_path).findings)  # NaN is not NaN
    written = {p.name for p in write(path, of_file)}
    assert written >= {"report.html", "summary.csv", "manifest.json"}
    assert all((tmp_path / "results" / "test" / name).is_file() for name in written)


def test_in_a_notebook_a_loop_is_running_already(write_campaign: Write) -> None:
    async def cell(path: Path) -> int:
        return len(run_campaign(path).findings)

    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        assert asyncio.run(cell(write_campaign(server.url))) == 1


def test_calls_without_answer_are_said_and_errors_are_ours(write_campaign: Write) -> None:
    said: list[str] = []
    with FaultServer({"good": ["ok"], "fine": ["ok", "400"]}) as server:
        run_campaign(write_campaign(server.url), say=said.append)
    assert any(line.startswith("fine: ") and "got no answer" in line for line in said)
    with pytest.raises(HarnessError, match="no answers are stored"):
        score(write_campaign("http://127.0.0.1:9/v1", campaign="never-run"))


def test_the_example_runs(recorded_data: Path, tmp_path: Path) -> None:
    env = {**os.environ, "RECORDED_DATA": str(recorded_data)}
    command = [sys.executable, str(ROOT / "examples" / "api.py")]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kinship grok-3-beta deepseek-r1 INCONCLUSIVE" in done.stdout  # text does not clear of a shared base
    assert (tmp_path / "results" / "api-example" / "report.html").is_file()
