"""The command line as a process: its arguments, its environment, and what an expected error looks like."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.running import KEY

Done = subprocess.CompletedProcess[str]


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "harness", *map(str, args)]


def harness(*args: str | Path, cwd: Path, **environ: str) -> Done:
    env = {**os.environ, "TEST_KEY": KEY, "HF_HUB_OFFLINE": "1", **environ}
    return subprocess.run(command(*args), cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)


def one_line(done: Done, code: int) -> str:
    """What an expected error looks like: a line, a hint, the right code, and nothing on stdout."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [x for x in done.stderr.splitlines() if x.startswith(("error:", "hint:"))]
    assert [x.partition(":")[0] for x in lines] == ["error", "hint"], done.stderr
    return " ".join(lines)
