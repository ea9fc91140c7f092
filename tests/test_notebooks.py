"""Every notebook runs from its first cell to its last, on recorded answers; what it shows is what it says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.notebooks import cells, run

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
SHOWN = {  # what stands in the output of each
    "auditor": ["things checked; keep this elsewhere", "tables are the same, byte for byte", "refusals"],
    "engineer": ["('observing', ", "exit code 11", "no-such-campaign.yaml", "pairs.parquet"],
    "journalist": ["<summary>", "or else:", "you may quote:"],
    "researcher": ["prompts x models x models", "residual", "of pairs of one base"],
}


def test_there_is_one_for_each_reader() -> None:
    assert [p.stem for p in NOTEBOOKS] == sorted(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_and_shows_what_it_says(path: Path, recorded_data: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "recorded", tmp_path / "examples" / "recorded")
    env = {**os.environ, "RECORDED_DATA": str(recorded_data), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.notebooks", str(path)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [said for said in SHOWN[path.stem] if said not in done.stdout] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_output_of_anybody_is_stored_in_a_notebook(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({c["id"] for c in notebook["cells"]}) == len(notebook["cells"])
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    assert len(cells(path)) == len(code) > 3
    assert notebook["cells"][0]["cell_type"] == "markdown"


def test_an_error_in_a_cell_ends_the_notebook_and_names_the_cell(tmp_path: Path) -> None:
    made = [{"cell_type": "code", "source": text} for text in (["x = 1\n", "x"], ["assert x == 2"], ["y = 3"])]
    (tmp_path / "bad.ipynb").write_text(json.dumps({"cells": made}), "utf-8")
    command = [sys.executable, "-m", "tests.support.notebooks", str(tmp_path / "bad.ipynb")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "1\n")
    assert "bad.ipynb, cell 2" in done.stderr
    (tmp_path / "good.ipynb").write_text(json.dumps({"cells": [made[0], made[2]]}), "utf-8")
    assert run(tmp_path / "good.ipynb")["y"] == 3
