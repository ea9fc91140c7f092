"""False alarms and power of ``harness monitor`` on real models behind a real server.

``python -m benchmarks.monitor --runs 10`` collects one baseline of SmolLM2-135M, asks the unchanged server again so
many times, then once with Qwen2.5-Coder-0.5B in its place. Needs the extra [local]; downloads both models of
`config.yaml`.

``--resampled 200`` asks each of the two servers once, `POOL` samples a prompt, and draws baseline and new answers of so
many runs from these pools without replacement: all at once as before, and batch after batch as `monitor` does now.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from harness.channels.kernels import spectrum
from harness.config.endpoint import Local
from harness.config.yaml import load_config
from harness.endpoints.local import cache_folder, fetch, serve
from harness.inference.drift import Stages, drift, judge_changes
from harness.monitor import BATCHES
from harness.store import Store

ROOT = Path(__file__).resolve().parent.parent
SEED = 1
PROMPTS = [{"set": "choices", "limit": 12, "max_tokens": 4, "samples": 5}]
PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "cache_prompt": False}  # no seed: every run draws anew


POOL = {"unchanged": 30, "swapped": 10}  # answers to each prompt, of which a run takes five, or five and five
ALPHA, LABELS = 0.01, 2000  # as `harness monitor` has them


def _config(folder: Path, url: str, name: str = "watched", samples: int = 5) -> Path:
    suspect = {
        "name": "watched",
        "role": "suspect",
        "kind": "openai-chat",
        "base_url": url,
        "model": "m",
        "params": PLAIN,
    }
    (folder / "other.jsonl").write_text(json.dumps({"model": "other", "prompt_id": "none", "output": "-"}))
    other = {"name": "other", "role": "candidate", "lineage": "other", "kind": "recorded", "path": "other.jsonl"}
    path = folder / "config.yaml"
    prompts = [{**use, "samples": samples} for use in PROMPTS]
    config = {"campaign": name, "prompts": prompts, "endpoints": [suspect, other]}
    path.write_text(yaml.safe_dump({**config, "analysis": {"questions": ["identity"]}}))
    return path


async def _harness(folder: Path, *args: str) -> str:
    command = [sys.executable, "-m", "harness", *args, "config.yaml", "--quiet", "--json"]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()


def _row(what: str, changes: list[dict[str, Any]]) -> str:
    (change,) = changes
    channels = "  ".join(f"{c['channel']} p = {c['p']:.3g}" for c in change["channels"])
    return f"{what:10} {change['state']:12} {channels}"


Pool = dict[str, list[str]]  # answers by prompt


def _pool(folder: Path, name: str) -> Pool:
    out: Pool = {}
    with Store(folder / "results" / name / "responses.sqlite", readonly=True) as store:
        for r in (r for r in store.responses() if r.endpoint == "watched"):
            out.setdefault(r.prompt, []).append(r.text)
    return out


def _drawn(pool: Pool, other: Pool | None, rng: np.random.Generator) -> list[tuple[Any, int]]:
    """Kernels of one run: five old and five new answers a prompt, prompts in random order."""
    grams = []
    for prompt in rng.permutation(sorted(pool)):
        order = rng.permutation(len(pool[prompt]))
        old = [pool[prompt][i] for i in order[:5]]
        source, at = (pool, order[5:10]) if other is None else (other, rng.permutation(len(other[prompt]))[:5])
        grams.append((spectrum([*old, *(source[prompt][i] for i in at)]), 5))
    return grams


def _judged(grams: list[tuple[Any, int]], seed: int) -> tuple[bool, bool, int]:
    """Whether all at once differs, whether the batches do, and after how many calls these stop."""
    rng, n = np.random.default_rng(seed), len(grams)
    parts = min(BATCHES, n)
    ends = tuple(round(n * (i + 1) / parts) for i in range(parts))
    fixed = judge_changes({"e": [drift("text", grams, ALPHA, LABELS, rng)]}, ALPHA)[0].state == "differs"
    for j, end in enumerate(ends):
        stages = Stages(ends[: j + 1], parts, ALPHA, seed)
        found = drift("text", grams[:end], ALPHA, LABELS, rng, stages=stages)
        if judge_changes({"e": [found]}, ALPHA)[0].state == "differs":
            return fixed, True, 5 * end
    return fixed, False, 5 * n


def resampled(folder: Path, runs: int) -> None:
    """Print one line for the unchanged server and one for the swapped one."""
    pool, swapped = (_pool(folder, name) for name in ("unchanged", "swapped"))
    print("| server | runs | all at once: differs | batches: differs | calls a run, median | most |")
    print("|---|---|---|---|---|---|")
    for what, other in (("unchanged", None), ("swapped", swapped)):
        found = [_judged(_drawn(pool, other, np.random.default_rng([SEED, i])), i) for i in range(runs)]
        fixed, staged, calls = (np.array(x) for x in zip(*found, strict=True))
        cells = (what, runs, int(fixed.sum()), int(staged.sum()), f"{np.median(calls):.0f}", int(calls.max()))
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


async def collected(folder: Path) -> None:
    """Ask both servers for their pools of answers."""
    by_name = {e.name: e for e in load_config(ROOT / "config.yaml").endpoints if isinstance(e, Local)}
    for model, what in (("smollm2", "unchanged"), ("qwen2.5-coder-0.5b", "swapped")):
        endpoint = by_name[model]
        weights = await asyncio.to_thread(fetch, endpoint.weights, ROOT, cache_folder(os.environ), print)
        async with serve(endpoint, weights) as url:
            _config(folder, url, what, POOL[what])
            await _harness(folder, "run")


async def main(runs: int) -> None:
    """Print one line a run."""
    by_name = {e.name: e for e in load_config(ROOT / "config.yaml").endpoints if isinstance(e, Local)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model, what, times in (("smollm2", "unchanged", runs), ("qwen2.5-coder-0.5b", "swapped", 1)):
            endpoint = by_name[model]
            weights = await asyncio.to_thread(fetch, endpoint.weights, ROOT, cache_folder(os.environ), print)
            async with serve(endpoint, weights) as url:
                _config(folder, url)
                if what == "unchanged":
                    await _harness(folder, "run")
                for _ in range(times):
                    print(_row(what, json.loads(await _harness(folder, "monitor"))), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--resampled", type=int, default=0, help="runs drawn from stored answers of both servers")
    given = parser.parse_args()
    if given.resampled:
        with tempfile.TemporaryDirectory() as name:
            asyncio.run(collected(Path(name)))
            resampled(Path(name), given.resampled)
    else:
        asyncio.run(main(given.runs))
