"""The clients that `benchmarks.collect` sets beside each other. Each asks until its time is up.

All but ``harness`` keep nothing: they parse the answer, touch its text and drop it. ``harness`` runs the project's own
workers: it also records provenance, compresses logprobs, and commits what came in to SQLite five times a second. The
others keep their connections; ``harness`` has one a request, see `harness.endpoints.client.one_connection_a_request`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from harness.clock import Clock
from harness.collect.context import RunContext, Tally
from harness.collect.runner import committed_in_groups, tuned_memory
from harness.collect.throttle import CircuitBreaker
from harness.collect.worker import Connection, Workers
from harness.config.endpoint import OpenAIChat
from harness.config.schema import Collect
from harness.endpoints.apis import jobs
from harness.endpoints.client import Client
from harness.records import Job, Prompt
from harness.store.store import Store

PROMPTS = [Prompt(f"p{i}", "bench", f"Question number {i}?", max_tokens=200, samples=1000) for i in range(1000)]
Measured = Callable[[str, str, int, float], Coroutine[Any, Any, int]]


async def _closed_loop(ask: Callable[[str], Awaitable[object]], in_flight: int, seconds: float) -> int:
    """``in_flight`` workers, each asking one after the other; answers got in ``seconds``."""
    end = time.perf_counter() + seconds
    done = 0

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await ask(PROMPTS[done % len(PROMPTS)].text)
            done += 1

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return done


def _body(model: str, text: str) -> dict[str, object]:
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 200}
    return body | ({"logprobs": True, "top_logprobs": 20} if model == "large" else {})


async def usual(url: str, model: str, in_flight: int, seconds: float) -> int:
    """The openai client as its documentation shows it."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=url, api_key="none") as client:

        async def ask(text: str) -> object:
            reply = await client.chat.completions.create(**_body(model, text))  # type: ignore[call-overload]
            return reply.choices[0].message.content

        return await _closed_loop(ask, in_flight, seconds)


async def raw_httpx(url: str, model: str, in_flight: int, seconds: float) -> int:
    """httpx with a pool as wide as what is in flight, and the standard library's JSON."""
    import httpx

    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(limits=limits, timeout=60.0) as client:

        async def ask(text: str) -> object:
            reply = await client.post(f"{url}/chat/completions", json=_body(model, text))
            return reply.json()["choices"][0]["message"]["content"]

        return await _closed_loop(ask, in_flight, seconds)


async def aiohttp_msgspec(url: str, model: str, in_flight: int, seconds: float) -> int:
    """The fastest pieces put together by hand: aiohttp and msgspec, everything decoded, nothing kept."""
    import aiohttp
    import msgspec

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def ask(text: str) -> object:
            async with session.post(f"{url}/chat/completions", data=msgspec.json.encode(_body(model, text))) as reply:
                return msgspec.json.decode(await reply.read())["choices"][0]["message"]["content"]

        return await _closed_loop(ask, in_flight, seconds)


async def harness(url: str, model: str, in_flight: int, seconds: float, key: str | None = None) -> int:
    """This project: planned, asked, parsed, and each answer committed to a store on disk."""
    params = {"logprobs": True, "top_logprobs": 20} if model == "large" else {}
    endpoint = OpenAIChat(
        kind="openai-chat",
        name="bench",
        role="suspect",
        base_url=url,
        model=model,
        concurrency=in_flight,
        params=params,
    )
    end = time.perf_counter() + seconds

    def until() -> Iterator[Job]:
        for job in jobs(endpoint, PROMPTS, model):
            if time.perf_counter() >= end:
                return
            yield job

    settings, clock, tally = Collect(), Clock(), Tally()
    client = Client(url, key, timeout=60, max_bytes=32_000_000, connections=in_flight)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "bench.sqlite") as store, tuned_memory():
        connection = Connection(endpoint, client, CircuitBreaker(settings.park_after, settings.max_wait, clock))
        run = RunContext(store, settings, asyncio.Event(), clock=clock)
        async with committed_in_groups(run):
            await Workers(connection, run, tally, until()).run()
        await client.close()
        stored = len(store.keys())
    if tally.failed or stored != tally.stored:
        raise RuntimeError(f"{tally.failed} failed, {stored} of {tally.stored} stored: {tally.last_error}")
    return stored


async def harness_with_key(url: str, model: str, in_flight: int, seconds: float) -> int:
    """The same with a key, for which all that comes back is searched, logprobs included."""
    return await harness(url, model, in_flight, seconds, "sk-benchmark-0123456789abcdefghij")


async def litellm(url: str, model: str, in_flight: int, seconds: float) -> int:
    """LiteLLM's `acompletion`, as its documentation shows it; nothing kept."""
    import litellm as library  # type: ignore[import-not-found]

    library.suppress_debug_info = True
    extra = {k: v for k, v in _body(model, "").items() if k not in ("model", "messages")}

    async def ask(text: str) -> object:
        messages = [{"role": "user", "content": text}]
        reply = await library.acompletion(
            model=f"openai/{model}", messages=messages, api_base=url, api_key="none", **extra
        )
        return reply.choices[0].message.content

    return await _closed_loop(ask, in_flight, seconds)


async def inspect_ai(url: str, model: str, in_flight: int, seconds: float) -> int:
    """Inspect's own model interface, `get_model().generate`, without its log of samples; nothing kept."""
    from inspect_ai.model import GenerateConfig, get_model  # type: ignore[import-not-found]

    extra = {"logprobs": True, "top_logprobs": 20} if model == "large" else {}
    config = GenerateConfig(max_connections=in_flight, max_tokens=200, **extra)
    asked = get_model(f"openai-api/bench/{model}", base_url=url, api_key="none", config=config)

    async def ask(text: str) -> object:
        return (await asked.generate(text)).completion

    return await _closed_loop(ask, in_flight, seconds)


async def lm_eval(url: str, model: str, in_flight: int, seconds: float) -> int:
    """lm-evaluation-harness' `local-chat-completions`; batches of calls until the time is up, nothing kept."""
    from lm_eval.api.instance import Instance  # type: ignore[import-not-found]
    from lm_eval.models.openai_completions import LocalChatCompletion  # type: ignore[import-not-found]

    extra = {k: v for k, v in _body(model, "").items() if k not in ("model", "messages")}
    asked = LocalChatCompletion(
        base_url=f"{url}/chat/completions", model=model, num_concurrent=in_flight, max_retries=1, max_gen_toks=200
    )
    end, done = time.perf_counter() + seconds, 0

    def batch(size: int) -> int:
        made = [
            Instance("generate_until", {}, ([{"role": "user", "content": PROMPTS[i % 1000].text}], dict(extra)), i)
            for i in range(size)
        ]
        return len(asked.generate_until(made, disable_tqdm=True))

    while time.perf_counter() < end:
        done += await asyncio.to_thread(batch, 4 * in_flight)
    return done


CLIENTS: dict[str, Measured] = {
    "openai client, create()": usual,
    "raw httpx + json": raw_httpx,
    "aiohttp + msgspec": aiohttp_msgspec,
    "harness, each answer stored": harness,
    "harness with a key, each answer stored": harness_with_key,
}
PEERS: dict[str, Measured] = {
    "litellm": litellm,
    "inspect": inspect_ai,
    "lm-eval": lm_eval,
}
