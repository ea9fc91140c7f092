"""False alarms and power of ``harness monitor`` on real models behind a real server.

``python -m benchmarks.monitor --runs 10`` collects one baseline of SmolLM2-135M, asks the unchanged server again so
many times, then once with Qwen2.5-Coder-0.5B in its place. Needs the extra [local]; downloads both models of
`config.yaml`.
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

import yaml

from harness.config.schema import Local
from harness.config.yaml import load_config
from harness.endpoints.local import cache_folder, fetch, serve

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = [{"set": "choices", "limit": 12, "max_tokens": 4, "samples": 5}]
PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "cache_prompt": False}  # no seed: every run draws anew


def _config(folder: Path, url: str) -> Path:
    suspect = {
        "name": "watched",
        "role": "suspect",
        "kind": "openai-chat",
        "base_url": url,
        "model": "m",
        "params": PLAIN,
    }
    other = {**suspect, "name": "other", "role": "candidate", "lineage": "other", "model": "m2"}
    path = folder / "config.yaml"
    config = {"campaign": "watched", "prompts": PROMPTS, "endpoints": [suspect, other]}
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
    asyncio.run(main(parser.parse_args().runs))
