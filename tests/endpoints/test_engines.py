"""Weights on disk behind transformers and vLLM: real engines where they are installed, in an environment of their own.

`ENGINES_PYTHON` names a Python that has transformers and torch, `VLLM_PYTHON` one that has vLLM; by default this one is
looked at. The model is SmolLM2, written as safetensors from the GGUF file of the default campaign, so that llama.cpp
serves the same weights beside them.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.channels.likelihoods import heard
from harness.config import Local
from harness.config.endpoint import LocalReader, Weights
from harness.config.yaml import load_config
from harness.endpoints.client import Client
from harness.endpoints.local import cache_folder, endpoint_fingerprint, fetch, serve
from harness.endpoints.replies import Answer, parse
from harness.errors import CallError, ConfigError, EndpointError
from harness.token_logprobs import decode_logprobs
from tests.config.test_yaml import GOOD
from tests.support import ROOT

MAKE = """
import copy, os, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
gguf, out = sys.argv[1:]
told = {"gguf_file": os.path.basename(gguf)}
tokenizer = AutoTokenizer.from_pretrained(os.path.dirname(gguf), **told)
model = AutoModelForCausalLM.from_pretrained(os.path.dirname(gguf), dtype=torch.float32, **told)
config = copy.deepcopy(model.config)
if hasattr(config, "quantization_config"):
    del config.quantization_config
plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
plain.load_state_dict(model.state_dict())
plain.generation_config = model.generation_config
plain.save_pretrained(out)
tokenizer.save_pretrained(out)
"""


def python_of(variable: str, module: str) -> str:
    """A Python that has an engine."""
    python = os.environ.get(variable, sys.executable)
    if subprocess.run([python, "-c", f"import {module}"], check=False, capture_output=True).returncode:
        pytest.skip(f"{module} is not installed; {variable} names a Python that has it")
    return python


def smollm2() -> Local:
    found = next(e for e in load_config(ROOT / "config.yaml").endpoints if e.name == "smollm2")
    assert isinstance(found, Local)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as a folder of safetensors."""
    if made := os.environ.get("ENGINES_MODEL"):
        return Path(made)
    python = python_of("ENGINES_PYTHON", "transformers, torch, gguf")
    out = tmp_path_factory.mktemp("model") / "smollm2"
    gguf = fetch(smollm2().weights, ROOT, cache_folder(os.environ), print)
    subprocess.run([python, "-c", MAKE, str(gguf), str(out)], check=True, capture_output=True)
    return out


@pytest.fixture(params=["transformers", "vllm"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An engine that is installed; its Python is who starts the server."""
    variable = {"transformers": "ENGINES_PYTHON", "vllm": "VLLM_PYTHON"}[request.param]
    monkeypatch.setattr(sys, "executable", python_of(variable, request.param))
    return str(request.param)


def ask(engine: str, folder: Path, use: Callable[[Client], Awaitable[Any]]) -> Any:
    endpoint = Local(
        name="e", role="suspect", kind="local", engine=engine, weights=Weights(folder=folder), context=512, threads=2
    )

    async def main() -> Any:
        async with serve(endpoint, fetch(endpoint.weights, Path(), Path(), print)) as address:
            client = Client(address, None, timeout=300, max_bytes=10**7, connections=4)
            try:
                return await use(client)
            finally:
                await client.close()

    return asyncio.run(main())


async def post(client: Client, path: str, **body: Any) -> Answer:
    content = json.dumps({"model": "smollm2", **body}).encode()
    return (await client.post(path, content, read=parse)).answer


QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.mark.slow
def test_an_engine_chats_draws_samples_and_gives_logprobs(engine: str, folder: Path) -> None:
    async def use(client: Client) -> None:
        cold = [
            await post(client, "/chat/completions", messages=QUESTION, temperature=0, max_tokens=12) for _ in range(2)
        ]
        assert "Paris" in cold[0].text
        assert cold[0].text == cold[1].text
        assert (cold[0].model, cold[0].outcome) == (
            folder.name,
            "ok" if cold[0].finish_reason == "stop" else "truncated",
        )
        assert (cold[0].prompt_tokens or 0) > 10  # the chat template is in it
        told = [{"role": "system", "content": "You are a pirate. Say arr."}, *QUESTION]
        with_system = await post(client, "/chat/completions", messages=told, temperature=0, max_tokens=1)
        assert with_system.prompt_tokens != cold[0].prompt_tokens  # the template has one of its own where none is given

        first = {"messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 1, "logprobs": True}
        hot = [
            await post(client, "/chat/completions", **first, top_logprobs=20, temperature=1, seed=i) for i in range(30)
        ]
        found = [decode_logprobs(a.logprobs) for a in hot]
        assert all(f is not None and len(f.top[0]) == 20 for f in found)
        top = found[0].top[0]  # type: ignore[union-attr]
        assert list(top.values()) == sorted(top.values(), reverse=True)
        assert sum(map(math.exp, top.values())) <= 1 + 1e-6
        assert len(Counter(a.text for a in hot)) > 1  # seeds draw different samples
        again = await post(client, "/chat/completions", **first, top_logprobs=20, temperature=1, seed=3)
        assert again.text == hot[3].text  # and the same ones again
        warm = await post(client, "/chat/completions", **first, top_logprobs=20, temperature=0.5, seed=0)
        same = decode_logprobs(warm.logprobs)
        assert same is not None
        assert dict(same.top[0]) == pytest.approx(dict(top), abs=2e-2)  # of the model, before temperature

        raw = await post(
            client, "/completions", prompt="The capital of France is", max_tokens=2, logprobs=5, temperature=0
        )
        assert raw.text.startswith(" Paris")
        one = decode_logprobs(raw.logprobs)
        assert one is not None
        assert one.tokens[0] == b" Paris"

    ask(engine, folder, use)


@pytest.mark.slow
def test_transformers_gives_what_llama_cpp_gives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights, asked for the first token of ten prompts: nearly the same distribution."""
    pytest.importorskip("xllamacpp", reason="kind `local` needs the extra [local]")
    prompts = [f"The {x} of the" for x in ("king", "sea", "end", "name", "sun", "law", "art", "man", "day", "top")]

    async def use(client: Client) -> list[dict[bytes, float]]:
        out = []
        for prompt in prompts:
            answer = await post(client, "/completions", prompt=prompt, max_tokens=1, logprobs=10, temperature=1)
            found = decode_logprobs(answer.logprobs)
            assert found is not None
            out.append(dict(found.top[0]))
        return out

    async def llama() -> list[dict[bytes, float]]:
        endpoint = smollm2()
        async with serve(endpoint, fetch(endpoint.weights, ROOT, cache_folder(os.environ), print)) as address:
            client = Client(address, None, timeout=60, max_bytes=10**7, connections=1)
            try:
                return await use(client)
            finally:
                await client.close()

    theirs = asyncio.run(llama())
    monkeypatch.setattr(sys, "executable", python_of("ENGINES_PYTHON", "transformers"))
    ours = ask("transformers", folder, use)
    for a, b in zip(ours, theirs, strict=True):
        assert len(a.keys() & b.keys()) >= 8
        apart = sum(abs(math.exp(a[t]) - math.exp(b[t])) for t in a.keys() & b.keys()) / 2
        assert apart < 0.1  # not 0: llama.cpp multiplies in 8 bits


ANSWER = "The capital of France is Paris — and the capital of Italy is Rome. Both are visited by millions."


@pytest.mark.slow
def test_a_reader_says_of_every_token_what_llama_cpp_says_of_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file of weights: read at once in bfloat16, and asked token by token. A reader that gave logprobs of
    another place, or of what it would have written itself, is off by whole nats."""
    pytest.importorskip("xllamacpp", reason="kind `local` needs the extra [local]")
    weights = smollm2().weights
    gguf = fetch(weights, ROOT, cache_folder(os.environ), print)
    before = "Which capitals are worth a visit?\n\n"

    async def reads() -> Answer:
        reader = LocalReader(name="r", kind="local", lineage="smollm2", weights=weights, context=512)
        async with serve(reader, gguf) as address:
            client = Client(address, None, timeout=300, max_bytes=10**7, connections=1)
            try:
                with pytest.raises(CallError, match="max_tokens 0"):
                    await post(client, "/completions", prompt="a b", echo=True, max_tokens=4, logprobs=1)
                return await post(client, "/completions", prompt=before + ANSWER, echo=True, max_tokens=0, logprobs=1)
            finally:
                await client.close()

    async def next_tokens(starts: list[int]) -> list[dict[bytes, float]]:
        out = []
        async with serve(smollm2(), gguf) as address:
            client = Client(address, None, timeout=60, max_bytes=10**7, connections=1)
            for start in starts:
                told = await post(
                    client, "/completions", prompt=before + ANSWER[:start], max_tokens=1, logprobs=500, temperature=1
                )
                found = decode_logprobs(told.logprobs)
                assert found is not None
                out.append(dict(found.top[0]))
            await client.close()
        return out

    with monkeypatch.context() as engines:
        engines.setattr(sys, "executable", python_of("ENGINES_PYTHON", "transformers, torch, gguf"))
        found = heard(asyncio.run(reads()).logprobs, before + ANSWER, ANSWER)
    assert found is not None
    assert found.ends[-1] == len(ANSWER)
    starts = [0, *found.ends[:-1].tolist()]
    apart, margins = [], []
    told = zip(starts, found.ends.tolist(), found.values.tolist(), found.lost.tolist(), strict=True)
    for (start, end, value, lost), top in zip(told, asyncio.run(next_tokens(starts)), strict=True):
        theirs = top.get(ANSWER[start:end].encode())
        if theirs is not None and theirs > math.log(0.01):
            apart.append(abs(value - theirs))
            margins.append((lost, max(top.values()) - theirs))
    assert len(apart) >= 10
    assert max(apart) < 0.5  # llama.cpp multiplies in 8 bits, the reader in 16
    assert sum(apart) / len(apart) < 0.1
    assert any(lost > 1 for lost, _ in margins)  # a token that it would not have chosen
    assert any(lost == 0 for lost, _ in margins)
    assert max(abs(ours - others) for ours, others in margins) < 0.5


@pytest.mark.slow
def test_what_an_engine_does_not_take_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", python_of("ENGINES_PYTHON", "transformers"))

    async def use(client: Client) -> None:
        for more, named in (
            ({"cache_prompt": False}, "cache_prompt"),
            ({"top_logprobs": 50, "logprobs": True}, "top_logprobs"),
        ):
            with pytest.raises(CallError) as caught:
                await post(client, "/chat/completions", messages=QUESTION, max_tokens=1, **more)
            assert (caught.value.status, caught.value.parameters) == (400, (named,))
        with pytest.raises(CallError, match="the context holds 512"):
            await post(client, "/completions", prompt="word " * 2000, max_tokens=1)

    ask("transformers", folder, use)


@pytest.mark.parametrize("engine_name", ["transformers", "vllm"])
def test_an_engine_that_is_missing_is_said_with_how_to_get_it(
    engine_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "vllm"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('not here', name='{name}')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    endpoint = Local(name="x", role="suspect", kind="local", engine=engine_name, weights=Weights(folder=tmp_path))

    async def main() -> None:
        async with serve(endpoint, tmp_path):
            raise AssertionError("it cannot have started")

    with pytest.raises(EndpointError, match=f"x: engine {engine_name} needs") as caught:
        asyncio.run(main())
    assert f"[{engine_name}]" in caught.value.hint


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    """Other formats of weights are pickles, which run what they hold."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(EndpointError, match="is not a folder with a model"):
        fetch(Weights(folder=tmp_path), Path(), Path(), print)


def test_a_folder_is_who_it_holds(tmp_path: Path) -> None:
    def fingerprint(**more: Any) -> str:
        settings = {"name": "x", "role": "suspect", "kind": "local", "engine": "vllm", "weights": {"folder": "m"}}
        return endpoint_fingerprint(Local(**{**settings, **more}), tmp_path)[0]

    (tmp_path / "m").mkdir()
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(b"one")
    before = fingerprint()
    assert fingerprint(threads=7) == before
    assert fingerprint(engine="transformers") != before
    weights.write_bytes(b"two")
    assert fingerprint() != before


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("{gguf: x.gguf}\n    engine: vllm", "engine vllm serves `folder:`"),
        ("{folder: x}", "engine llama.cpp serves a GGUF file"),
        ("{folder: x, gguf: y.gguf}\n    engine: vllm", "exactly one of"),
        ("{folder: x}\n    engine: ollama", "engine"),
    ],
)
def test_engine_and_weights_must_fit(tmp_path: Path, weights: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD.replace("    kind: openai-chat\n    model: m\n", f"    kind: local\n    weights: {weights}\n"))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert said in str(caught.value)
