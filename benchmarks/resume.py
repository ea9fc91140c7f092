"""Seconds until a stopped run makes its next call: ``python -m benchmarks.resume [--planned 200000] [--left 1000]``.

All but the last calls of the plan are answered. The server is a process of its own, and the time is from the start of
`harness run` to the first request, that of importing it included.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.store_scale import make, most_held
from harness.plan import STORE


def main() -> None:
    """Parse arguments, make the store, resume, print one row of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planned", type=int, default=200_000)
    parser.add_argument("--left", type=int, default=1_000, help="calls without an answer")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="resume-") as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        config = make(Path(folder), given.planned, given.left, f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        store = config.parent / "results" / "scale" / STORE
        size = store.stat().st_size / (given.planned - given.left)
        seconds, cpu, peak = first_request(config, listener)
    print("| planned | answered | bytes of store an answer | first request, s | CPU until then, s | peak MB | load |")
    print("|---|---|---|---|---|---|---|")
    told = f"| {given.planned:,} | {given.planned - given.left:,} | {size:.0f} | {seconds:.1f} | {cpu:.1f} "
    print(f"{told}| {peak / 1e6:.0f} | {os.getloadavg()[0]:.0f} |")


def first_request(config: Path, listener: socket.socket) -> tuple[float, float, int]:
    """Run the harness until its first request is there: seconds, CPU seconds of its process, and its peak in bytes."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "harness", "run", str(config)], stdout=subprocess.DEVNULL)
    try:
        listener.settimeout(600)
        connection, _ = listener.accept()
        seconds = time.monotonic() - began
        times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        peak = most_held(process.pid)
        connection.close()
    finally:
        process.kill()
        process.wait()
    return seconds, cpu, peak


if __name__ == "__main__":
    main()
