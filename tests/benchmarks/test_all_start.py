"""Every benchmark that the README names can be started: what it imports of the harness is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NEEDS = {"zoo_tricks": "gguf"}  # what only an extra brings, by benchmark
MODULES = sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_it_can_be_imported(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_every_command_of_the_readme_is_there() -> None:
    named = set(re.findall(r"python -m benchmarks\.(\w+)", (ROOT / "benchmarks" / "README.md").read_text("utf-8")))
    assert named
    assert named <= set(MODULES)
