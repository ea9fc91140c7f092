"""Time and memory of each channel: `python -m benchmarks.scale --data X --lineage Y` prints a Markdown table.

Every channel runs in a process of its own, which holds the answers as well; the last line is all of them together as
`harness score` runs them, over all cores, with the memory of all processes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from benchmarks.recorded import read
from harness.channels.parallel import Channel, compare, load_channels
from harness.inference.excess import excess
from harness.records import Responses

GIB = 2**30
HEAD = ("channel", "seconds: features and similarities", "CPU seconds", "seconds: all pairs", "peak GiB")
Cost = tuple[float, float, float, float]


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet: model, prompt_id, output")
    parser.add_argument("--lineage", type=Path, required=True, help="CSV: model, base_model, parent, ...")
    given = parser.parse_args(arguments)
    table = read(given.data, given.lineage).table
    print(
        f"{len(table.models)} models x {len(table.prompts)} prompts, {len(table.text)} answers, {os.cpu_count()} cores"
    )
    print(f"\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    channels = load_channels()
    speaking = {}
    for name, channel in channels.items():
        if found := alone(channel, table):
            speaking[name] = channel
            print(f"| {name} | {' | '.join(f'{x:.1f}' for x in found[:3])} | {found[3]:.2f} |", flush=True)
    seconds, peak = together(lambda: compare(speaking, table))
    print(f"| all, over all cores | {seconds:.1f} | | | {peak:.2f} |")
    return 0


def alone(channel: Channel, table: Responses) -> Cost | None:
    """Seconds and CPU seconds of the channel, seconds of its pairs, peak GiB; None if it has nothing to compare."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(channel, table, theirs))
    process.start()
    found: Cost | None = mine.recv()
    process.join()
    return found


def _measure(channel: Channel, table: Responses, out: Connection) -> None:
    began, busy = time.perf_counter(), time.process_time()
    found = channel(table)
    compared, busy = time.perf_counter(), time.process_time() - busy
    if found is None:
        out.send(None)
        return
    excess(found.values)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    out.send((compared - began, busy, time.perf_counter() - compared, peak))


def together(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of some work, and the peak GiB of this process and all it started, looked at ten times a second."""
    done, peak = threading.Event(), [0]

    def watch() -> None:
        own = psutil.Process()
        while not done.wait(0.1):
            peak[0] = max(peak[0], sum(map(_memory, [own, *own.children(recursive=True)])))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return time.perf_counter() - began, peak[0] / GIB


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
