"""What is released: sdist and wheel hold what they should, and an installed wheel works alone and without a network."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import harness
from tests.support import ROOT

GALLERY = ROOT / "examples" / "gallery"
OFFLINE = ["unshare", "--user", "--map-root-user", "--net"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that is built out of it."""
    if any(importlib.util.find_spec(m) is None for m in ("build", "hatchling", "hatch_fancy_pypi_readme")):
        pytest.skip("what builds it is not installed: pip install -e '.[test]'")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as pip does it, in a folder that stands before this checkout on the path."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, cut off from every network where this system allows it."""
    isolated = shutil.which("unshare") and subprocess.run([*OFFLINE, "true"], check=False).returncode == 0
    env = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [*(OFFLINE if isolated else []), sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_the_wheel_holds_every_file_that_the_program_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = [p for p in (ROOT / "harness").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    missing = {str(p.relative_to(ROOT)) for p in tracked} - names
    assert missing == set()
    data = {"harness/_config.yaml", "harness/_campaign.schema.json"}
    data |= {f"harness/_prompts/{p.name}" for p in (ROOT / "prompts").glob("*.yaml")}
    data |= {f"harness/_examples/gallery/{p.name}" for p in GALLERY.glob("*.yaml")}
    assert len(data) > 20
    assert data <= names
    assert {n.split("/")[0] for n in names} == {
        "harness",
        f"behavioral_probing_harness-{harness.__version__}.dist-info",
    }


def test_the_sdist_holds_the_manual_and_leaves_benchmarks_and_results_out(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames() if "/" in n}
    assert {
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "docs/index.md",
        "benchmarks/README.md",
        "tests/test_docs.py",
    } <= names
    assert [
        n for n in names if n.startswith(("results", ".ci", "benchmarks")) and not n.endswith((".md", ".gitkeep"))
    ] == []
    assert path.stat().st_size < 8e6


def test_the_readme_of_the_index_has_neither_dead_links_nor_pictures(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        told = Parser().parsestr(archive.read(name).decode("utf-8"))
    text = str(told.get_payload())
    assert text.startswith("# Whose model is this?")
    assert re.findall(r"!\[", text) == []
    assert [link for link in re.findall(r"\]\(([^)]*)\)", text) if not link.startswith("https:")] == []
    assert "first campaign" in text  # the words of a link stay


def test_the_version_stands_in_one_place_and_is_repeated_rightly() -> None:
    assert 'dynamic = ["version"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"]) == harness.__version__
    assert re.search(rf"(?m)^## {re.escape(harness.__version__)} \(", (ROOT / "CHANGELOG.md").read_text("utf-8"))


def test_pythons_that_are_promised_are_those_of_the_workflow() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    promised = re.findall(r'Programming Language :: Python :: (3\.\d+)"', project)
    assert promised == workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    told = (ROOT / "docs" / "release.md").read_text("utf-8")
    assert [v for v in promised if not re.search(rf"(?m)^\| {re.escape(v)}\.\d+ \|", told)] == []


def test_an_installed_wheel_helps_and_writes_a_config_that_passes_its_check(installed: Path, tmp_path: Path) -> None:
    helped = run(installed, tmp_path, "--help")
    assert helped.returncode == 0, helped.stderr
    assert "compare" in helped.stdout
    for preset in ("demo", "kinship"):
        made = run(installed, tmp_path, "init", "--preset", preset, preset)
        assert made.returncode == 0, made.stderr
    checked = run(installed, tmp_path, "check", "demo/config.yaml", "--offline")
    assert checked.returncode == 0, checked.stderr


def test_an_installed_wheel_judges_recorded_answers_without_a_network(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(installed / "harness" / "_examples" / "gallery", tmp_path / "examples" / "gallery")
    done = run(installed, tmp_path, "run", "examples/gallery/hub.yaml")
    assert done.returncode == 0, done.stderr
    assert "INCONCLUSIVE" in done.stdout
    assert (tmp_path / "results" / "gallery" / "hub" / "report.html").is_file()
