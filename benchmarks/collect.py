"""Answers a second, beside other ways to collect them: ``python -m benchmarks.collect [--seconds 5] [--tls]``.

``--peers PYTHON`` names an interpreter that has litellm, inspect_ai and lm_eval (and msgspec); without it they are left
out. ``--loads large:64 slow:512`` are other sizes and calls in flight.
Every cell is a client process of its own against one server process on this machine that answers at once. Of several
rounds the best is shown: other work on the machine can only slow a client down.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.collect_clients import CLIENTS, PEERS


@dataclass(frozen=True)
class Cell:
    """One client on one load."""

    size: str
    in_flight: int
    client: str
    per_second: float
    cpu_ms: float
    peak_mb: float


def measure(url: str, size: str, in_flight: int, client: str, seconds: float) -> Cell:
    """Run one client in this process."""
    ask = {**CLIENTS, **PEERS}[client]
    asyncio.run(ask(url, size, in_flight, min(1.0, seconds / 4)))  # imports and connections are not measured
    cpu, wall = time.process_time(), time.perf_counter()
    done = asyncio.run(ask(url, size, in_flight, seconds))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cell(size, in_flight, client, done / wall, 1000 * cpu / max(done, 1), peak)


def in_process(python: str, *arguments: str) -> Cell:
    """Run one cell in a fresh process."""
    command = [python, "-m", "benchmarks.collect", "--cell", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return Cell(**json.loads(done.stdout.splitlines()[-1]))


def table(cells: list[Cell]) -> str:
    """Markdown, with each client's speed as a multiple of the first one's."""
    lines = [
        "| answers | in flight | client | answers/s | x usual | CPU ms each | x less than usual | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    usual = {(c.size, c.in_flight): c for c in reversed(cells)}  # of the first client
    for c in cells:
        other = usual[c.size, c.in_flight]
        faster, less = c.per_second / other.per_second, other.cpu_ms / c.cpu_ms
        numbers = f"{c.per_second:.0f} | {faster:.1f} | {c.cpu_ms:.2f} | {less:.1f} | {c.peak_mb:.0f}"
        lines.append(f"| {c.size} | {c.in_flight} | {c.client} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, start the server, run all cells, print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of each cell")
    parser.add_argument("--rounds", type=int, default=2, help="how often each cell is run; the best counts")
    parser.add_argument("--tls", action="store_true", help="over https, with a certificate that is made for it")
    parser.add_argument("--clients", nargs="*", default=list(CLIENTS), choices=list(CLIENTS), help="default: all")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has the other tools")
    parser.add_argument("--loads", nargs="+", default=["small:64", "small:256", "large:64", "large:256"])
    parser.add_argument("--cell", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        url, size, in_flight, client, seconds = options.cell
        print(json.dumps(asdict(measure(url, size, int(in_flight), client, float(seconds)))))
        return
    with tempfile.TemporaryDirectory() as folder:
        certificate = [make_certificate(Path(folder))] if options.tls else []
        cells = all_cells(options, certificate)
    over = ", over TLS" if options.tls else ""
    print(f"{os.cpu_count()} cores, {options.seconds:g} s a cell, best of {options.rounds}{over}\n\n{table(cells)}")


def make_certificate(folder: Path) -> str:
    """A PEM file with key and certificate for 127.0.0.1, whose authority every cell trusts through SSL_CERT_FILE."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    os.environ["SSL_CERT_FILE"] = str(folder / "authority.pem")
    return str(folder / "server.pem")


def all_cells(options: argparse.Namespace, certificate: list[str]) -> list[Cell]:
    """Every client on every load, against one server."""
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.collect_server", *certificate], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None and server.stdin is not None  # noqa: PT018
    url = f"http{'s' if certificate else ''}://127.0.0.1:{int(server.stdout.readline())}/v1"
    cells = []
    try:
        clients = {
            **dict.fromkeys(options.clients, sys.executable),
            **dict.fromkeys(PEERS if options.peers else (), options.peers),
        }
        for size, in_flight in (load.split(":") for load in options.loads):
            for client, python in clients.items():
                arguments = url, size, in_flight, client, str(options.seconds)
                runs = [in_process(python, *arguments) for _ in range(options.rounds)]
                cells.append(max(runs, key=lambda c: c.per_second))
                print(f"{size} {in_flight} {client}: {cells[-1].per_second:.0f}/s", file=sys.stderr)
    finally:
        server.stdin.close()
        server.wait()
    return cells


if __name__ == "__main__":
    main()
