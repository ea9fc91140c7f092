"""How large is an installation? `python -m benchmarks.install`: packages, megabytes and seconds in fresh environments.

Rows are the package itself, the package with each extra that is named, and for comparison the six libraries that it
has to stand on, without it. pip is given no cache, so seconds hold the download; CPU seconds do not wait for it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measures import markdown_head, markdown_row

ROOT = Path(__file__).resolve().parent.parent
GIVEN = ("httpx", "openai", "datasets", "scikit-learn", "tenacity", "pyyaml")
SEED = {"pip", "setuptools"}  # what an empty environment has
SIZES = """
import json, sys
from importlib.metadata import distributions
told = {}
for d in distributions():
    files = [d.locate_file(f) for f in d.files or ()]
    told[d.metadata["Name"]] = sum(f.stat().st_size for f in files if f.is_file())
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Installed:
    """What one installation took. ``sizes`` are bytes by package, compiled Python files among them."""

    seconds: float
    cpu: float
    sizes: dict[str, int]

    @property
    def megabytes(self) -> float:
        return sum(self.sizes.values()) / 1e6


def install(what: Sequence[str], folder: Path) -> Installed:
    """Install into a fresh environment in ``folder``; raises `CalledProcessError` if pip fails."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    began, used = time.perf_counter(), _children()
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-cache-dir", *what], check=True)
    seconds, cpu = time.perf_counter() - began, _children() - used
    told = subprocess.run([python, "-c", SIZES], capture_output=True, text=True, check=True).stdout
    return Installed(seconds, cpu, {n: size for n, size in json.loads(told).items() if n not in SEED})


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a Markdown table, and what weighs most in the first row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.install", description=__doc__)
    parser.add_argument("--extras", nargs="*", default=["local"], help="each is a row; default: local")
    parser.add_argument("--largest", type=int, default=8, help="packages of the first row to name")
    given = parser.parse_args(arguments)
    wanted = {".": [str(ROOT)], **{f".[{e}]": [f"{ROOT}[{e}]"] for e in given.extras}, " ".join(GIVEN): [*GIVEN]}
    print("\n".join(markdown_head(("pip install", "packages", "MB", "s", "CPU s"))))
    rows = {}
    for name, what in wanted.items():
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = found = install(what, Path(folder) / "v")
        cells = (
            f"`{name}`",
            str(len(found.sizes)),
            f"{found.megabytes:.0f}",
            f"{found.seconds:.0f}",
            f"{found.cpu:.0f}",
        )
        print(markdown_row(cells), flush=True)
    largest = sorted(rows["."].sizes.items(), key=lambda item: -item[1])[: given.largest]
    print("\nlargest:", ", ".join(f"{n} {size / 1e6:.0f} MB" for n, size in largest))
    own = sorted(set(rows["."].sizes) - set(rows[" ".join(GIVEN)].sizes))
    print(f"beside those six: {', '.join(own)}: {sum(rows['.'].sizes[n] for n in own) / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
