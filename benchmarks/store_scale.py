"""How much memory and time a large store takes to score and to export: `python -m benchmarks.store_scale`.

Answers are runs of words from recorded answers ($HARNESS_RECORDED_DATA), else of invented words; 20 endpoints, ten
samples a prompt, the channel `wording` and the question of kinship.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import yaml

from harness.endpoints.apis import planned_keys
from harness.plan import STORE, prepare
from harness.records import Key, Response
from harness.store.store import Store

MODELS, SAMPLES, WORDS = 20, 10, 80
CARD = {
    "family": "scale",
    "version": 1,
    "purpose": "scale",
    "discriminates": "nothing",
    "source": "made up",
    "languages": ["en"],
    "surface": "chat",
    "max_tokens": 200,
    "samples": SAMPLES,
    "temperature": None,
    "top_logprobs": None,
    "channels": ["wording"],
}


def main() -> None:
    """Parse arguments, make the store, score and export it in processes of their own, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="store-scale-") as folder:
        config = make(Path(folder), given.answers)
        store = config.parent / "results" / "scale" / STORE
        print(f"{given.answers:,} answers, store of {store.stat().st_size / 1e6:,.0f} MB\n")
        print("| step | seconds | peak RSS MB |\n|---|---|---|")
        for name, command in steps(config).items():
            seconds, peak = measured(command)
            print(f"| {name} | {seconds:.0f} | {peak / 1e6:,.0f} |", flush=True)


def steps(config: Path) -> dict[str, list[str]]:
    """The commands that are measured, by name."""
    out = {"score": ["score", str(config)]}
    for fmt in ("jsonl", "csv", "parquet"):
        target = str(config.with_name(f"answers.{fmt}"))
        out[f"export {fmt}"] = ["export", str(config), "--format", fmt, "--out", target]
    return out


def measured(command: list[str]) -> tuple[float, int]:
    """Seconds, and the most bytes that the process and its workers held at one moment.

    The sum of RSS every 0.1 s, and not less than the peak that the kernel keeps of the process itself: a short one has
    its peak between two looks.
    """
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "harness", *command], stdout=subprocess.DEVNULL)
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.1):
            peak = max(peak, sum(map(_rss, _tree(process.pid))), most_held(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"harness {' '.join(command)} ended with {code}")
    return time.monotonic() - began, peak


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def most_held(pid: int) -> int:
    """The most that a process ever held, in bytes."""
    try:
        told = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in told.splitlines() if line.startswith("VmHWM")), 0)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = [p for t in Path(f"/proc/{pid}/task").iterdir() for p in (t / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from _tree(int(child))


def make(folder: Path, answers: int, left: int = 0, address: str | None = None) -> Path:
    """A campaign of so many calls, all answered but the last ones that are ``left``; returns its config."""
    prompts = [{"id": f"scale-{i:06}", "text": f"Question {i}?"} for i in range(answers // (MODELS * SAMPLES))]
    (folder / "prompts").mkdir()
    sheet = {"card": {**CARD, "queries": len(prompts)}, "prompts": prompts}
    (folder / "prompts" / "scale.yaml").write_text(yaml.safe_dump(sheet))
    roles = ["suspect", "candidate", *["control"] * (MODELS - 2)]
    where: dict[str, str | None] = {"base_url": address, "api_key_env": None} if address else {}
    endpoints = [
        {"name": f"m{i}", "role": r, "lineage": f"l{i}", "kind": "openai-chat", "model": f"m{i}", **where}
        for i, r in enumerate(roles)
    ]
    config = {"campaign": "scale", "prompts": [{"set": "scale"}], "endpoints": endpoints}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | {"analysis": {"questions": ["kinship"]}}))
    plan = prepare(path, {})
    with Store(plan.folder / STORE) as store:
        store.set_plan(plan.prompts, planned_keys(plan.campaign, plan.prompts), plan.prompt_hashes)
        batch: list[Response] = []
        answered = islice(planned_keys(plan.campaign, plan.prompts), answers - left)
        for response in _responses(answered):
            batch.append(response)
            if len(batch) == 5_000:
                store.add_many(batch)
                batch = []
        store.add_many(batch)
    return path


def _responses(keys: Iterator[Key]) -> Iterator[Response]:
    rng, words = random.Random(7), vocabulary()
    for key in keys:
        at = rng.randrange(len(words) - WORDS)
        text = " ".join(words[at : at + rng.randrange(WORDS // 2, WORDS)])
        yield Response(*key, "ok", text, model_answered=key[0], prompt_tokens=20, completion_tokens=90)


def vocabulary() -> list[str]:
    """Half a million words in the order in which models wrote them, or invented ones."""
    folder = os.environ.get("HARNESS_RECORDED_DATA")
    if folder and (path := Path(folder) / "wildbench.parquet").is_file():
        from pyarrow import parquet

        column = parquet.read_table(path, columns=["output"])["output"].slice(0, 3_000)
        return [w for text in column.to_pylist() if text for w in text.split()][:500_000]
    rng = random.Random(1)
    known = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randrange(2, 9))) for _ in range(30_000)]
    return rng.choices(known, k=500_000)


if __name__ == "__main__":
    main()
