"""Record a pack of references: `python examples/bank/record.py examples/bank/small.yaml --out small-models.zip`.

One model after the other is asked what `asked:` says, each in campaigns of its own that judge nothing; then all of them
are packed. A model with `server:` is served by that command while it is asked (vLLM, llama.cpp, ...), so one GPU does
for thirty. Run it again and it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

START = 1800  # seconds that a server may take to load its weights


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code of the packing."""
    parser = argparse.ArgumentParser(prog="python examples/bank/record.py", description=__doc__)
    parser.add_argument("models", type=Path, help="YAML: bank, licence, models, asked")
    parser.add_argument("--out", type=Path, required=True, help="pack to write")
    parser.add_argument("--work", type=Path, default=Path("bank"), help="folder for configs and answers")
    parser.add_argument("--sign", type=Path, help="Ed25519 private key")
    parser.add_argument("--only", action="append", help="only these models")
    given = parser.parse_args(arguments)
    told = yaml.safe_load(given.models.read_text("utf-8"))
    folders = []
    for model in told["models"]:
        if given.only and model["name"] not in given.only:
            continue
        with served(model):
            for what, prompts in told["asked"].items():
                folders.append(asked(model, f"{what}-{model['name']}", prompts, given.work))
    return packed(folders, told, given.out, given.sign)


@contextmanager
def served(model: Mapping[str, Any]) -> Iterator[None]:
    """The server of a model, until it was asked; nothing where the harness serves it or it is up already."""
    if "server" not in model:
        yield
        return
    process = subprocess.Popen(shlex.split(model["server"]))  # noqa: S603 - a command of whoever wrote the file
    try:
        _wait(f"{model['base_url']}/models", process)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(START):
        if process.poll() is not None:
            raise SystemExit(f"the server of {url} ended with code {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - the address of this file's own server
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise SystemExit(f"{url} did not answer within {START} seconds")


def asked(model: Mapping[str, Any], name: str, prompts: list[Any], work: Path) -> Path:
    """Ask one model, and return the folder with its answers."""
    endpoint = {k: v for k, v in model.items() if k != "server"} | {"role": "control"}
    config = {"campaign": name, "prompts": prompts, "endpoints": [endpoint], "analysis": {"questions": []}}
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    subprocess.run([sys.executable, "-m", "harness", "run", str(path), "--quiet"], check=True)  # noqa: S603
    return work / "results" / name


def packed(folders: list[Path], told: Mapping[str, Any], out: Path, sign: Path | None) -> int:
    """Pack the answers of all models into one file."""
    command = [sys.executable, "-m", "harness", "pack", "--references", *map(str, folders), "--out", str(out)]
    command += ["--name", told["bank"], "--licence", told["licence"]]
    return subprocess.call(command + (["--sign", str(sign)] if sign else []))  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main())
