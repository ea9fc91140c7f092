"""What runs unattended: the workflow's shell steps act on the exit code, and the image holds what the package needs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT

ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS = ACTION["runs"]["steps"]


def run_step(folder: Path, code: int) -> tuple[int, str]:
    """The monitor step as a runner would start it, with a command in the place of ``harness`` that ends so."""
    program = folder / "harness" / "bin" / "harness"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n', "utf-8")
    program.chmod(0o755)
    (step,) = (s for s in STEPS if s.get("id") == "monitor")
    output = folder / "output"
    given = {"RUNNER_TEMP": str(folder), "GITHUB_OUTPUT": str(output), "CONFIG": "a b.yaml", "AGAINST": ""}
    done = subprocess.run(
        ["/bin/bash", "-eo", "pipefail", "-c", step["run"]],
        env={"PATH": os.environ["PATH"], **given},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "monitor a b.yaml --trust --quiet\n"
    return done.returncode, output.read_text("utf-8")


@pytest.mark.parametrize("code", [0, 10, 11])
def test_an_answer_is_no_failure_and_is_passed_on(tmp_path: Path, code: int) -> None:
    assert run_step(tmp_path, code) == (0, f"code={code}\n")


@pytest.mark.parametrize("code", [1, 2, 3, 130])
def test_an_error_fails_the_step(tmp_path: Path, code: int) -> None:
    assert run_step(tmp_path, code)[0] == code


def test_only_a_difference_opens_an_issue() -> None:
    opens = [s for s in STEPS if "gh issue create" in s.get("run", "")]
    assert [s["if"] for s in opens] == ["steps.monitor.outputs.code == '10'"]


def test_no_input_is_pasted_into_a_shell() -> None:
    assert not [s for s in STEPS if "${{" in s.get("run", "")]


def test_the_image_copies_what_the_wheel_is_built_of() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = {
        word.rstrip("/") for line in re.findall(r"^COPY (?!--)(.+)$", text, re.MULTILINE) for word in line.split()
    }
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    included = re.findall(r'^"(\S+)" = "harness/_', project, re.MULTILINE)
    assert len(included) >= 4
    assert {"pyproject.toml", "README.md", "LICENSE", "harness", *included} <= copied | {"docs/campaign.schema.json"}
    assert (text.count("\nUSER "), "root" in text.split("\nUSER ")[1].splitlines()[0]) == (1, False)
