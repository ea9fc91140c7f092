"""Thousands of calls to a server of faults, and kill -9 at random moments: is anything lost, doubled or torn?

``python -m benchmarks.storm`` prints what it measured. The server is the one of the tests; the collecting runs in a
process of its own, whose memory is what is reported.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml

from harness.collect.runner import GROUP
from tests.support.fault_server import STEPS, FaultServer, Reply, Request

KEY = "storm-key-0123456789abcdef"
_PASSING = (
    *("500", "503", "500-html", "reset", "close-early", "long-length", "half-json", "html", "wrong-types"),
    *("error-502-in-200", "error-429-in-200", "huge-header", "gzip-cut", "500-bomb"),
)
_ENDING = ("400", "echo-400", "echo-400-html")
_ANSWERS = ("ok", "gzip", "deflate", "reordered", "utf-16")  # they say which request they answer
_ODD_ANSWERS = (
    "gzip",
    "deflate",
    "utf-16",
    "echo",
    "minus-9999",
    "nan",
    "reordered",
    "refusal",
    "filter",
    "null-content",
    "empty-choices",
    "azure-filter",
)
_SLOW = ("hang", "drip", "100-mb", "500-huge", "gzip-bomb", "many-values")
MISPLACED = "answers not given to that very request (torn or misplaced)"
DELAY = 0.01  # seconds until the server of killed runs answers
SURPLUS = 0.05  # share of the replies that are sent once more, 5 to 20 ms later
CARD = {
    "family": "storm",
    "version": 1,
    "purpose": "benchmark",
    "discriminates": "nothing",
    "source": "written here",
    "languages": ["en"],
    "surface": "chat",
    "max_tokens": 8,
    "temperature": None,
    "top_logprobs": None,
    "channels": ["wording"],
}


class Weather:
    """A step of the server: 30 % of the replies are faults, and all of every tenth half second are 429."""

    def __init__(self, seed: int, share: float = 0.3) -> None:
        self._rng = random.Random(seed)
        self.share = share
        self.given: Counter[str] = Counter()
        self.texts: dict[bytes, set[str]] = defaultdict(set)

    def __call__(self, request: Request) -> Reply:
        # Two faults in a row on the first call end a run; that is tested elsewhere.
        name = self._choose() if request.number > 1 else "ok"
        self.given[name] += 1
        if name in ("ok", *_ODD_ANSWERS):
            self.texts[request.body].add(f"{name} {request.number}")
        late = self._rng.uniform(0.005, 0.02) if self.share and self._rng.random() < SURPLUS else 0.0
        self.given["late surplus"] += late > 0
        return replace(self._reply(name, request), again=late)

    def _reply(self, name: str, request: Request) -> Reply:
        if name == "echo-400-html":
            return Reply(400, f"<html>bad key {request.key}</html>".encode())
        return STEPS[name](request)

    def _choose(self) -> str:
        if self.share and int(time.monotonic() * 2) % 10 == 0:
            return "429"
        if self._rng.random() >= self.share:
            return "ok"
        kinds = (_PASSING, _ENDING, _ODD_ANSWERS, _SLOW)
        return self._rng.choice(self._rng.choices(kinds, (0.75, 0.05, 0.18, 0.02))[0])


def write_config(folder: Path, url: str, prompts: int, samples: int, in_flight: int) -> Path:
    """Two endpoints, each asked ``prompts`` x ``samples`` questions, no two of them with one body."""
    (folder / "prompts").mkdir(parents=True)
    texts = [{"id": f"storm-{i:05}", "text": f"Question number {i}?"} for i in range(prompts)]
    content = {"card": {**CARD, "queries": prompts, "samples": samples}, "prompts": texts}
    (folder / "prompts" / "storm.yaml").write_text(yaml.safe_dump(content))
    shared = {"kind": "openai-chat", "base_url": url, "api_key_env": "STORM_KEY", "concurrency": in_flight}
    roles = {"left": "suspect", "right": "candidate"}
    config = {
        "campaign": "storm",
        "prompts": [{"set": "storm"}],
        "endpoints": [
            {"name": n, "role": r, "lineage": n, "model": n, "params": {"seed": 1}, **shared} for n, r in roles.items()
        ],
        "analysis": {"questions": ["identity"]},
        "collect": {"call_timeout": 3, "attempts": 8, "max_wait": 1, "park_after": 10_000},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def collect(config: str, report: Any = None) -> None:
    """In a process of its own: collect what is missing, and say how much memory that took."""
    from harness.cli.progress import run_with_progress
    from harness.plan import prepare

    environ = {**os.environ, "STORM_KEY": KEY}
    plan = prepare(Path(config), environ)
    failed = run_with_progress(plan, environ, config, quiet=True)
    if report is not None:
        report.put((failed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def context() -> Any:
    """Processes that start fast: what they need is imported once, before."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["harness.campaign", "harness.cli.progress"])
    return found


@dataclass
class Held:
    """What a store holds, and what is wrong with it."""

    answers: int
    keys: set[tuple[str, str, int, str]]
    doubled: int
    torn: int
    failures: int


_STORED = (
    "SELECT endpoint, prompt, sample, lower(hex(hash)) AS request_hash, text, outcome, body "
    "FROM responses LEFT JOIN requests ON id = request"
)


def inspect(config: Path, texts: dict[bytes, set[str]]) -> Held:
    """Read a store without the harness; an answer that its request did not get by the server's log counts as torn."""
    db = sqlite3.connect(config.parent / "results" / "storm" / "responses.sqlite")
    try:
        healthy = db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        rows = db.execute(_STORED).fetchall()
        failed = db.execute(
            "SELECT COUNT(*) FROM (SELECT DISTINCT endpoint, prompt, sample, request_hash FROM failures EXCEPT "  # noqa: S608
            f"SELECT endpoint, prompt, sample, request_hash FROM ({_STORED}))"
        ).fetchone()[0]
    finally:
        db.close()
    keys = {(e, p, s, h) for e, p, s, h, *_ in rows}
    calls = Counter((e, p, s) for e, p, s, *_ in rows)
    torn = sum(body is None or not _given(text, outcome, texts.get(body, set())) for *_, text, outcome, body in rows)
    return Held(len(rows), keys, sum(n - 1 for n in calls.values()), torn + (not healthy), failed)


def _given(text: str, outcome: str, given: set[str]) -> bool:
    """Whether the server said that to this very request."""
    if text.startswith("answer "):
        return any(f"{name} {text[7:]}" in given for name in _ANSWERS)
    return any(g.partition(" ")[0] not in _ANSWERS for g in given)


def storm(folder: Path, calls: int, in_flight: int = 64) -> dict[str, Any]:
    """``calls`` planned calls in bad weather, once; then again in good weather until all are answered."""
    weathers = {"left": Weather(1), "right": Weather(2)}
    processes = context()
    with FaultServer({n: [w] for n, w in weathers.items()}) as server:
        config = write_config(folder, server.url, calls // 40, 20, in_flight)
        began = time.monotonic()
        _, peak = _run(processes, config)
        seconds = time.monotonic() - began
        texts = weathers["left"].texts | weathers["right"].texts
        first = inspect(config, texts)
        # One in UTF-16 may be read or asked for again.
        paid_twice = sum(max(0, sum(not g.startswith("utf-16") for g in t) - 1) for t in texts.values())
        given = weathers["left"].given + weathers["right"].given
        for w in weathers.values():
            w.share = 0.0
        _run(processes, config)
        last = inspect(config, weathers["left"].texts | weathers["right"].texts)
        elsewhere = len(server.other_headers)
    leaks = [p.name for p in folder.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    return {
        "planned calls": calls,
        "requests made": given.total() - given["late surplus"],
        "faults among them": sum(n for k, n in given.items() if k not in ("ok", "late surplus")),
        "replies sent once more, 5 to 20 ms late": given["late surplus"],
        "bombs, bodies of 20 MB and more": sum(given[k] for k in ("gzip-bomb", "500-bomb", "100-mb", "many-values")),
        "answers": first.answers,
        "recorded failures": first.failures,
        "neither (lost)": calls - first.answers - first.failures,
        "keys with two answers": first.doubled + last.doubled,
        "answers asked for again": paid_twice,
        MISPLACED: first.torn + last.torn,
        "answers after a second run": last.answers,
        "files with the key": len(leaks),
        "requests to another host": elsewhere,
        "seconds": round(seconds, 1),
        "peak MB": round(peak),
    }


def _run(processes: Any, config: Path) -> tuple[int, float]:
    report = processes.Queue()
    child = processes.Process(target=collect, args=(str(config), report))
    child.start()
    try:
        found: tuple[int, float] = report.get(timeout=1800)
        return found
    finally:
        child.join(60)


def kills(folder: Path, rounds: int, in_flight: int = 8, seed: int = 1) -> dict[str, Any]:
    """Kill the collecting process ``rounds`` times at random moments; what was visible before must be there after."""
    rng = random.Random(seed)
    weathers = {"left": Weather(1, 0.0), "right": Weather(2, 0.0)}
    lost = torn = 0
    processes = context()
    with FaultServer({n: [w] for n, w in weathers.items()}, delay=DELAY) as server:
        config = write_config(folder, server.url, max(10, rounds * 3), 20, in_flight)
        done = 0
        for _ in range(rounds):
            child = processes.Process(target=collect, args=(str(config),))
            child.start()
            seen = _kill_soon(child, config, server, rng)
            done += seen is not None
            after = inspect(config, weathers["left"].texts | weathers["right"].texts)
            lost += len((seen or set()) - after.keys)
            torn += after.torn + after.doubled
        _run(processes, config)
        texts = weathers["left"].texts | weathers["right"].texts
        last = inspect(config, texts)
    return {
        "rounds of kill -9": done,
        "answers acknowledged and lost": lost,
        "rows torn or doubled": torn + last.torn + last.doubled,
        "planned calls": max(10, rounds * 3) * 40,
        "answers at the end": last.answers,
        "answers asked for again": sum(len(t) - 1 for t in texts.values()),
        "at most (in flight when killed, or since the last commit)": done * 2 * in_flight * (1 + int(GROUP / DELAY)),
    }


def _kill_soon(
    child: BaseProcess, config: Path, server: FaultServer, rng: random.Random
) -> set[tuple[str, str, int, str]] | None:
    """Kill a child some time after its first call: the keys it had acknowledged, None if it was done before."""
    start, end = sum(server.asked.values()), time.monotonic() + 30
    while sum(server.asked.values()) == start and child.is_alive() and time.monotonic() < end:
        time.sleep(0.002)
    time.sleep(rng.random() * 0.3)
    seen = _visible(config)
    if not child.is_alive():
        return None
    os.kill(int(child.pid or 0), signal.SIGKILL)
    child.join(30)
    return seen


def _visible(config: Path) -> set[tuple[str, str, int, str]]:
    """Keys that another process can read at this moment: the harness has acknowledged them."""
    db = sqlite3.connect(config.parent / "results" / "storm" / "responses.sqlite", timeout=10)
    try:
        return {row[:4] for row in db.execute(_STORED)}
    finally:
        db.close()


def main() -> None:
    """Parse arguments, run both, print one table each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="planned calls in the storm")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of kill -9")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = []
        if options.calls:
            small = storm(Path(folder) / "small", options.calls // 10)
            tables.append({**storm(Path(folder) / "storm", options.calls), "peak MB at a tenth": small["peak MB"]})
        if options.rounds:
            tables.append(kills(Path(folder) / "kills", options.rounds))
    for table in tables:
        print("\n".join(["| measured | |", "|---|---|", *(f"| {k} | {v} |" for k, v in table.items()), ""]))
    print(json.dumps(tables))


if __name__ == "__main__":
    main()
