"""Every example is a campaign that can be run: it is checked as a user would, with nobody asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.loading import load_config

ROOT = Path(__file__).resolve().parent.parent
LIVE = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", LIVE, ids=lambda p: p.stem)
def test_example_passes_the_check(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "check", str(path), "--offline"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "ok: " in done.stderr


@pytest.mark.parametrize("path", [p for p in LIVE if "swapping" not in p.stem], ids=lambda p: p.stem)
def test_example_has_ten_control_lineages_unrelated_to_both_sides(path: Path) -> None:
    campaign = load_config(path)
    controls = {e.lineage for e in campaign.endpoints if e.role == "control"}
    assert len(controls) >= 10
    assert not controls & {e.lineage for e in campaign.endpoints if e.role == "candidate"}


def test_the_cases_are_all_told() -> None:
    told = (ROOT / "docs" / "cases.md").read_text("utf-8")
    assert [p.name for p in LIVE if p.name not in told and p.stem != "which-model-is-this"] == []
    assert [p.stem for p in (ROOT / "examples" / "recorded").glob("*.yaml") if p.stem not in told] == []
