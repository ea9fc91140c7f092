"""A campaign through LiteLLM's proxy, the gateway most people run, beside the same server asked directly.

The proxy runs in an environment of its own: `LITELLM=/path/to/its/bin/litellm`, or one is made with pip (minutes).
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import run_campaign
from harness.config import Local
from harness.config.yaml import load_config
from harness.endpoints.local import cache_folder, fetch, serve
from harness.plan import prepare
from harness.store import Store
from harness.token_logprobs import decode_logprobs
from tests.support import ROOT

pytestmark = pytest.mark.slow
VERSION = "1.108.7"  # of the proxy that the quirks below were seen with
KEY = "sk-gateway-0123456789abcdef0123456789abcdef0123456789abcdef"  # the proxy does not start without one
PLAIN = {"top_p": 1.0, "seed": 1}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def litellm() -> Path:
    """The proxy's program."""
    if found := os.environ.get("LITELLM"):
        return Path(found)
    folder = cache_folder(os.environ) / f"litellm-{VERSION}"
    if not (folder / "bin" / "litellm").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(folder / "bin" / "pip"), "install", "-q", f"litellm[proxy]=={VERSION}"]
        if subprocess.run(install, check=False, capture_output=True).returncode:
            pytest.skip("the proxy cannot be installed here")
    return folder / "bin" / "litellm"


@pytest.fixture(scope="module")
def smol() -> tuple[Local, Path]:
    pytest.importorskip("xllamacpp", reason="kind `local` needs the extra [local]")
    endpoint = next(e for e in load_config(ROOT / "config.yaml").endpoints if e.name == "smollm2")
    assert isinstance(endpoint, Local)
    one_by_one = endpoint.model_copy(update={"concurrency": 1})  # batches of calls change the last digits
    return one_by_one, fetch(endpoint.weights, ROOT, cache_folder(os.environ), print)


@pytest.fixture
def proxy(litellm: Path, tmp_path: Path) -> Iterator[Any]:
    """Starts the proxy before an address; yields a function that returns the proxy's own."""
    running: list[subprocess.Popen[bytes]] = []

    def start(behind: str) -> str:
        port, config = free_port(), tmp_path / "litellm.yaml"
        model = {"model": "openai/smollm2", "api_base": behind, "api_key": "none"}
        settings = {"telemetry": False, "num_retries": 0}
        model_list = [{"model_name": "behind", "litellm_params": model}]
        config.write_text(yaml.safe_dump({"model_list": model_list, "litellm_settings": settings}))
        env = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"} | {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MASTER_KEY": KEY,
        }
        command = [str(litellm), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        with (tmp_path / "litellm.log").open("wb") as log:
            running.append(subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=tmp_path))
        until = time.monotonic() + 240
        while time.monotonic() < until and running[0].poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5):
                return f"http://127.0.0.1:{port}/v1"
            time.sleep(1)
        pytest.fail((tmp_path / "litellm.log").read_text()[-2000:])

    yield start
    for process in running:
        process.terminate()
        process.wait(30)


def campaign(folder: Path, addresses: dict[str, str]) -> Path:
    """Two suspects and a candidate, all of them one server: asked at temperature 0, and with samples and logprobs."""
    endpoints: list[dict[str, Any]] = [
        {"name": name, "role": "candidate" if name == "candidate" else "suspect", "kind": "openai-chat",
         "base_url": url, "model": "behind" if name == "gateway" else "smollm2", "lineage": "smollm2",
         "params": PLAIN, "concurrency": 1,
         **({"api_key_env": "GATEWAY_KEY"} if name == "gateway" else {})} for name, url in addresses.items()
    ]  # fmt: skip
    config = {
        "campaign": "gateway",
        "prompts": [
            {"set": "everyday", "limit": 8, "max_tokens": 16, "temperature": 0},
            {"set": "choices", "limit": 8, "samples": 4, "max_tokens": 4},
        ],
        "endpoints": endpoints,
        "analysis": {"questions": ["identity"], "permutations": 499, "bootstrap": 100},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_gateway_changes_neither_answers_nor_verdict(smol: tuple[Local, Path], proxy: Any, tmp_path: Path) -> None:
    endpoint, gguf = smol

    async def main() -> tuple[Any, Path]:
        async with serve(endpoint, gguf) as behind:
            gateway = await asyncio.to_thread(proxy, behind)
            path = campaign(tmp_path, {"direct": behind, "gateway": gateway, "candidate": behind})
            return await asyncio.to_thread(run_campaign, path, environ={"GATEWAY_KEY": KEY}), path

    scores, path = asyncio.run(main())
    verdicts = {f.suspect: f.verdict for f in scores.findings}
    assert verdicts["gateway"] == verdicts["direct"]
    with Store(prepare(path, {}).store, readonly=True) as store:
        answers = {(r.endpoint, r.prompt, r.sample): r for r in store.responses()}
        cold = [p.id for p in store.prompts() if p.temperature == 0]
        logprobed = [p.id for p in store.prompts() if p.top_logprobs]
    assert len(cold) == 8
    for prompt in cold:
        direct, through = answers["direct", prompt, 0], answers["gateway", prompt, 0]
        assert through.text == direct.text
        assert (through.finish_reason, through.outcome) == (direct.finish_reason, direct.outcome)
        assert (through.prompt_tokens, through.completion_tokens) == (direct.prompt_tokens, direct.completion_tokens)
    for prompt in logprobed:
        one, other = (decode_logprobs(answers[name, prompt, 0].logprobs) for name in ("direct", "gateway"))
        assert one is not None
        assert other is not None
        assert dict(other.top[0]) == pytest.approx(dict(one.top[0]), abs=1e-3)
