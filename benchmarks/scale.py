"""Time and memory of scoring: `python -m benchmarks.scale --data X --lineage Y` prints two Markdown tables.

The first is of `harness score` as a user runs it, on stores of the sizes named with `--score`: one process, all
channels that the prompts serve, kinship, every file of results; then by which power of models and of prompts it grows.
Models beyond those recorded answer each prompt as one of the recorded ones, drawn anew for each prompt. The second is
of each channel alone, in a process of its own, which holds the answers as well; its last line is all channels together
over all cores. Memory is that of all processes. `--workers 1 2` times all channels on a Dask cluster of so many workers
on this machine, a thread each.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import yaml

from benchmarks.recorded import read
from harness.channels.base import first_answers
from harness.channels.parallel import Channel, compare, load_channels
from harness.channels.reading import read as own_words
from harness.endpoints.apis import planned_keys
from harness.inference.excess import excess
from harness.judging import read_responses
from harness.plan import STORE, prepare, stored_plan
from harness.records import Response, Responses
from harness.store.store import Store

GIB = 2**30
HEAD = ("channel", "seconds: features and similarities", "CPU seconds", "seconds: all pairs", "peak GiB")
SCORED = ("models", "prompts", "seconds", "CPU seconds", "peak GiB")
CHANNELS = ("wording", "verbatim", "style", "traces", "refusals")
CARD = {
    "family": "scale", "version": 1, "purpose": "scale", "discriminates": "nothing", "source": "recorded",
    "languages": ["en"], "surface": "chat", "max_tokens": 1000, "samples": 1, "temperature": None,
    "top_logprobs": None, "channels": list(CHANNELS),
}  # fmt: skip
Cost = tuple[float, float, float, float]


@dataclass(frozen=True)
class Run:
    """What one `harness score` took: seconds, CPU seconds of all processes, GiB of all at one moment."""

    models: int
    prompts: int
    seconds: float
    cpu: float
    peak: float


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints Markdown tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet: model, prompt_id, output")
    parser.add_argument("--lineage", type=Path, required=True, help="CSV: model, base_model, parent, ...")
    parser.add_argument("--score", nargs="*", default=[], help="sizes as MODELSxPROMPTS, 118x805")
    parser.add_argument("--steps", nargs="*", default=[], help="sizes of which each step is timed in this process")
    parser.add_argument("--workers", nargs="*", type=int, default=[], help="sizes of a Dask cluster on this machine")
    parser.add_argument("--no-channels", action="store_true", help="no table of single channels")
    given = parser.parse_args(arguments)
    table = read(given.data, given.lineage).table
    print(
        f"{len(table.models)} models x {len(table.prompts)} prompts, {len(table.text)} answers, {os.cpu_count()} cores"
    )
    if given.score:
        print_scores(table, [tuple(map(int, size.split("x"))) for size in given.score])
    for models, prompts in (tuple(map(int, size.split("x"))) for size in given.steps):
        print_steps(table, models, prompts)
    if given.workers:
        print_clusters(table, given.workers)
    if not given.no_channels:
        print_channels(table)
    return 0


def print_scores(table: Responses, sizes: Sequence[tuple[int, ...]]) -> None:
    """`harness score` on stores of so many models and prompts, and how that grows."""
    print(f"\n| {' | '.join(SCORED)} |\n|{'---|' * len(SCORED)}")
    runs = []
    for models, prompts in sizes:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            config = make(Path(folder), table, models, prompts)
            runs.append(Run(models, prompts, *scored(config)))
        r = runs[-1]
        print(f"| {models} | {prompts} | {r.seconds:.0f} | {r.cpu:.0f} | {r.peak:.2f} |", flush=True)
    for what, power in growth(runs).items():
        print(f"\n{what}", " x ".join(f"{name}^{x:.2f}" for name, x in power.items()))


def print_steps(table: Responses, models: int, prompts: int) -> None:
    """CPU seconds of reading the answers of a store, and of each channel that speaks of text, one after the other."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        stored = read_responses(stored_plan(make(Path(folder), table, models, prompts)))
        at = time.process_time()
        answers = own_words(stored)
        took = {"reading": time.process_time() - at}
        for name, channel in load_channels(CHANNELS).items():
            at = time.process_time()
            channel(answers)
            took[name] = time.process_time() - at
    print(f"\n{models} x {prompts}, CPU seconds in one process:", f"all {sum(took.values()):.1f},", end=" ")
    print(", ".join(f"{name} {seconds:.2f}" for name, seconds in took.items()))


def growth(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Exponents by which CPU and memory grow with models and with prompts, least squares of logarithms.

    What every run takes whatever its size is in them, so small runs make them smaller. None with fewer than three runs.

    Examples
    --------
    >>> growth([Run(m, p, 0.0, 0.001 * m**2 * p, 1.0) for m, p in ((10, 20), (20, 20), (20, 40))])["CPU"]
    {'models': 2.0, 'prompts': 1.0}
    """
    if len(runs) < 3:
        return {}
    size = np.array([[math.log(r.models), math.log(r.prompts), 1.0] for r in runs])
    out = {}
    for what, cost in (("CPU", [r.cpu for r in runs]), ("memory", [r.peak for r in runs])):
        found = np.linalg.lstsq(size, np.log(cost), rcond=None)[0]
        out[what] = {"models": round(float(found[0]), 6), "prompts": round(float(found[1]), 6)}
    return out


def make(folder: Path, table: Responses, models: int, prompts: int) -> Path:
    """A campaign with stored answers of so many models to so many prompts; returns its config."""
    rng = random.Random(7)
    asked = list(range(min(prompts, len(table.prompts))))
    sheet = [{"id": f"scale-{i:06}", "text": table.prompts[i].text or f"Question {i}?"} for i in asked]
    (folder / "prompts").mkdir(parents=True)
    (folder / "prompts" / "scale.yaml").write_text(
        yaml.safe_dump({"card": {**CARD, "queries": len(sheet)}, "prompts": sheet})
    )
    roles = ["suspect", "candidate", *["control"] * (models - 2)]
    endpoints = [
        {"name": f"m{i}", "role": r, "lineage": f"l{i}", "kind": "openai-chat", "model": f"m{i}"}
        for i, r in enumerate(roles)
    ]
    config = {"campaign": "scale", "prompts": [{"set": "scale"}], "endpoints": endpoints}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | {"analysis": {"questions": ["kinship"]}}))
    plan = prepare(path, {})
    texts = {f"scale-{i:06}": row for i, row in zip(asked, first_answers(table, asked), strict=True)}
    known = len(table.models)
    with Store(plan.folder / STORE) as store:
        store.set_plan(plan.prompts, planned_keys(plan.campaign, plan.prompts), plan.prompt_hashes)
        batch = []
        for key in planned_keys(plan.campaign, plan.prompts):
            at = int(key[0][1:])
            text = texts[key[1]][at if at < known else rng.randrange(known)] or ""
            batch.append(Response(*key, "ok" if text else "empty", text, model_answered=key[0]))
        store.add_many(batch)
    return path


def scored(config: Path) -> tuple[float, float, float]:
    """Seconds of `harness score`, CPU seconds of it and of all it started, and the peak GiB of all at one moment."""
    busy: dict[int, float] = {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, peak = together(
        lambda: subprocess.run(  # as a user runs it
            [sys.executable, "-m", "harness", "score", str(config)], check=True, capture_output=True
        ),
        busy,
        outside=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, max(waited, sum(busy.values())), peak


def print_clusters(table: Responses, sizes: Sequence[int]) -> None:
    """Seconds of all channels that speak of text on Dask clusters of so many workers."""
    from distributed import LocalCluster

    channels = load_channels(CHANNELS)
    print("\n| workers | seconds | times the first |\n|---|---|---|")
    first = 0.0
    for size in sizes:
        few, fresh = table.only(range(2)), replace(table)  # knows nothing of its answers yet
        with LocalCluster(n_workers=size, threads_per_worker=1, dashboard_address=None) as cluster:
            address = cluster.scheduler_address.replace("tcp://", "dask://")
            compare(channels, few, address)  # workers load what they need
            began = time.perf_counter()
            compare(channels, fresh, address)
            seconds = time.perf_counter() - began
        first = first or seconds
        print(f"| {size} | {seconds:.1f} | {first / seconds:.2f} |", flush=True)


def print_channels(table: Responses) -> None:
    """Each channel alone, and all of them over all cores."""
    print(f"\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    channels = load_channels()
    speaking = {}
    for name, channel in channels.items():
        if found := alone(channel, table):
            speaking[name] = channel
            print(f"| {name} | {' | '.join(f'{x:.1f}' for x in found[:3])} | {found[3]:.2f} |", flush=True)
    busy: dict[int, float] = {}
    seconds, peak = together(lambda: compare(speaking, table), busy)
    print(f"| all, over all cores | {seconds:.1f} | {sum(busy.values()):.1f} | | {peak:.2f} |")


def alone(channel: Channel, table: Responses) -> Cost | None:
    """Seconds and CPU seconds of the channel, seconds of its pairs, peak GiB; None if it has nothing to compare."""
    # Not forked from here: that asks for as much memory as the caller may have grown to, and the peak begins there.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
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


def together(work: Callable[[], object], busy: dict[int, float], outside: bool = False) -> tuple[float, float]:
    """Seconds of some work, and the peak GiB of this process and all it started, looked at ten times a second.

    Where the work is ``outside``, in a process of its own, what this one held before is not counted. ``busy`` gets the
    CPU seconds of each process, as last seen, since the work began.
    """
    done, peak = threading.Event(), [0]
    own = psutil.Process()
    base, spent = (_memory(own) if outside else 0), _busy(own)

    def watch() -> None:
        while not done.wait(0.1):
            children = own.children(recursive=True)
            peak[0] = max(peak[0], _memory(own) - base + sum(map(_memory, children)))
            busy.update({p.pid: x for p in children if (x := _busy(p))} | {own.pid: _busy(own) - spent})

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


def _busy(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
        return float(times.user + times.system)
    except psutil.Error:
        return 0.0


if __name__ == "__main__":
    raise SystemExit(main())
