"""From a key to a first answer: `python -m benchmarks.first_answer` times `harness which` as a new user runs it.

A server on this machine stands for the provider: SmolLM2 135M behind llama.cpp, an OpenAI-compatible API and a key. The
new user has nothing but a folder with that one endpoint in a config; the known models are those of the pack that ships.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.measures import markdown_head, markdown_row
from harness.config import Local, load_config
from harness.endpoints.local import cache_folder, fetch, serve

ROOT = Path(__file__).parents[1]
KEY = "FIRST_KEY"


def config(base_url: str) -> str:
    """All that has to be written: one endpoint, and what is asked of it."""
    mystery = {"name": "mystery", "role": "suspect", "kind": "openai-chat", "base_url": base_url, "model": "m"}
    asked = {"campaign": "first", "prompts": [{"set": "everyday"}], "endpoints": [mystery | {"api_key_env": KEY}]}
    return yaml.safe_dump(asked | {"analysis": {"questions": ["attribution"]}}, sort_keys=False)


def ask(folder: Path, base_url: str) -> tuple[float, float, str]:
    """Seconds on the clock and of CPU that the command takes, and what it says."""
    (folder / "config.yaml").write_text(config(base_url), "utf-8")
    command = [sys.executable, "-m", "harness", "which", "mystery", "config.yaml", "--references", "small-models"]
    environ = {**os.environ, KEY: "key-of-a-new-user-0123456789", "PYTHONPATH": str(ROOT)}
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, done.stdout


async def measure(local: Local) -> tuple[float, float, str]:
    """The same with the server up, as a provider's is."""
    weights = fetch(local.weights, ROOT, cache_folder(os.environ), print)
    with tempfile.TemporaryDirectory() as folder:
        async with serve(local, weights) as address:
            return await asyncio.to_thread(ask, Path(folder), address)


def main() -> None:
    """Ask once, print what was said and what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_answer", description=__doc__)
    parser.add_argument("--model", default="smollm2", help="an endpoint of kind `local` in config.yaml")
    name = parser.parse_args().model
    local = next(e for e in load_config(ROOT / "config.yaml").endpoints if e.name == name)
    assert isinstance(local, Local)
    seconds, cpu, said = asyncio.run(measure(local))
    print(said)
    print(
        *markdown_head(("model behind the API", "s from the command to its answer", "CPU s of the command")), sep="\n"
    )
    print(markdown_row((name, f"{seconds:.0f}", f"{cpu:.1f}")))


if __name__ == "__main__":
    main()
