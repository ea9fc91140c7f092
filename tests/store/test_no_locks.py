"""A drive that cannot lock files is told from a store that somebody else writes: libc itself refuses, by a shim."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.store.store import Store
from tests.support import ROOT
from tests.support.command_line import Done, harness, one_line

Shimmed = Callable[..., Done]
TOLD = "this drive cannot lock files"
REFUSALS = ["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EACCES"]
CONFIG = """campaign: c
prompts: [{set: recorded}]
endpoints:
- {name: s, role: suspect, kind: recorded, path: answers.jsonl}
- {name: c, role: candidate, kind: recorded, path: answers.jsonl, lineage: l}
- {name: x, role: control, kind: recorded, path: answers.jsonl, lineage: m}
- {name: y, role: control, kind: recorded, path: answers.jsonl, lineage: n}
analysis: {questions: [kinship]}
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim; skipped where nothing compiles it or nothing would load it."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and LD_PRELOAD")
    out = tmp_path_factory.mktemp("shim") / "no_locks.so"
    source = ROOT / "tests" / "store" / "no_locks.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(out), str(source), "-ldl"], check=True)
    return out


@pytest.fixture
def shimmed(shim: Path, tmp_path: Path) -> Shimmed:
    """Runs a command on a drive whose locks are refused with an error of some name."""

    def run(*args: str, refusal: str) -> Done:
        variables = {"NO_LOCKS_WHILE": str(tmp_path), "NO_LOCKS_ERRNO": str(getattr(errno, refusal))}
        return harness(*args, cwd=tmp_path, LD_PRELOAD=str(shim), **variables)

    return run


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    rows = (f'{{"model":"{m}","prompt_id":"{i}","prompt":"Q{i}","output":"A{i}"}}' for m in "scxy" for i in range(4))
    (tmp_path / "answers.jsonl").write_text("\n".join(rows))
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path / "results" / "c"


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_run_says_what_the_drive_cannot(shimmed: Shimmed, campaign: Path, refusal: str) -> None:
    told = one_line(shimmed("run", "config.yaml", refusal=refusal), 2)
    assert TOLD in told
    assert str(campaign) in told
    assert "another run is writing" not in told
    assert "disk" in told.partition("hint:")[2]
    assert not list(campaign.glob(".locks-*"))


@pytest.mark.parametrize("refusal", REFUSALS[:2])
@pytest.mark.parametrize(
    "args", [("score", "config.yaml"), ("verify", "results/c"), ("export", "config.yaml")], ids=" ".join
)
def test_a_reader_says_so(shimmed: Shimmed, campaign: Path, refusal: str, args: tuple[str, ...]) -> None:
    assert harness("run", "config.yaml", cwd=campaign.parent.parent).returncode == 0
    told = shimmed(*args, refusal=refusal)
    assert TOLD in told.stderr
    assert told.returncode == 2
    assert "Traceback" not in told.stderr


def test_nobody_waits_for_a_drive(shim: Path, tmp_path: Path) -> None:
    """A store that somebody else writes is waited for, 30 s; here nobody ever comes."""
    Store(tmp_path / "s.sqlite").close()
    script = f"""
import pathlib, time
from harness.errors import NoLocksError
from harness.store.store import Store
for readonly in (True, False):
    began = time.monotonic()
    try:
        Store(pathlib.Path({str(tmp_path / "s.sqlite")!r}), readonly=readonly)
    except NoLocksError:
        print(time.monotonic() - began)
"""
    env = {**os.environ, "LD_PRELOAD": str(shim), "NO_LOCKS_WHILE": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    waited = [float(x) for x in run.stdout.split()]
    assert len(waited) == 2
    assert max(waited) < 10


def test_a_busy_store_is_another_run_and_no_fault_of_the_drive(shim: Path, campaign: Path) -> None:
    with Store(campaign / "responses.sqlite"):
        told = one_line(harness("run", "config.yaml", cwd=campaign.parent.parent, LD_PRELOAD=str(shim)), 2)
    assert "another run is writing here" in told
    assert TOLD not in told


def test_locks_that_fail_while_a_store_is_open(shim: Path, tmp_path: Path) -> None:
    """The lock service goes away in the middle of a run: what is stored stays, and the error names the drive."""
    switch = tmp_path / "down"
    script = f"""
import pathlib
from harness.errors import NoLocksError
from harness.records import Response
from harness.store.store import Store
with Store(pathlib.Path({str(tmp_path / "s.sqlite")!r})) as store:
    store.add(Response("e", "p", 0, "h", "ok", "text"))
    store._db.execute("PRAGMA busy_timeout = 100")
    pathlib.Path({str(switch)!r}).touch()
    try:
        store.add(Response("e", "p", 1, "h", "ok", "text"))
    except NoLocksError as e:
        print(e)
    pathlib.Path({str(switch)!r}).unlink()
    store.add(Response("e", "p", 2, "h", "ok", "text"))
    print(len(store.keys()))
"""
    env = {**os.environ, "LD_PRELOAD": str(shim), "NO_LOCKS_WHILE": str(switch)}
    run = subprocess.run([sys.executable, "-c", script], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    said, kept = run.stdout.splitlines()
    assert TOLD in said
    assert kept == "2"
