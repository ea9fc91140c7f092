"""What is heavy is imported where it is used: a plan that asks nobody pays for no client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Write

CLIENTS = ("openai", "aiohttp", "httpx", "httpx2")
_REPORT = "; import json, sys; print(json.dumps([m for m in {names} if m in sys.modules]), file=sys.stderr)"
_COMMAND = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps([m for m in {names} if m in sys.modules]), file=sys.stderr))
from harness.cli import main
sys.argv = ["harness", *{arguments}]
main()
"""


def loaded(code: str, cwd: Path = ROOT) -> list[str]:
    """Modules that a fresh interpreter says it has imported, on its last line of standard error."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stderr.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("room", ["collect", "endpoints"])
def test_planning_imports_neither_clients_nor_data_sets(room: str) -> None:
    names = sorted(p.stem for p in (ROOT / "harness" / room).glob("[a-z]*.py") if p.stem != "client")
    code = "; ".join(f"import harness.{room}.{n}" for n in names) + _REPORT.format(names=(*CLIENTS, "datasets"))
    assert loaded(code) == []


@pytest.mark.parametrize("arguments", [["check", "--offline"], ["run", "--dry-run"]])
def test_a_command_that_asks_nobody_imports_no_client(arguments: list[str], write_campaign: Write) -> None:
    path = write_campaign("http://localhost:1/v1")
    code = _COMMAND.format(names=("openai", "aiohttp"), arguments=[*arguments, str(path)])
    assert loaded(code, path.parent) == []
