"""What an endpoint can do, found out with a call or two: ``harness check``. What it refuses is learned."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from harness.collect.adapting import Limits, learn
from harness.collect.kinds import KINDS, model_name, path_of, provider_of
from harness.collect.plan import UNKNOWN, request_body
from harness.collect.runner import open_wire
from harness.collect.wire import Wire
from harness.collect.world import World
from harness.config import Collect, Remote
from harness.errors import CallError
from harness.logprobs import decode_logprobs
from harness.responses import Prompt, Surface

_LESSONS = 16
_SYSTEM = "Answer in one word."
_QUESTION = "What is the capital of France?"


@dataclass(frozen=True)
class Capability:
    """What one endpoint answered. ``logprobs``: alternatives a token, "empty" or "refused"; ``error``: why not."""

    answers: bool
    model: str = ""
    logprobs: str = ""
    usage: bool = False
    system: str = ""
    reasoning: str = ""
    refused: tuple[str, ...] = ()
    seconds: float = 0.0
    limits: Limits = UNKNOWN
    error: str = ""
    hint: str = field(default="", repr=False)


async def capabilities(
    endpoints: Sequence[Remote], prompts: Sequence[Prompt], settings: Collect, world: World
) -> list[Capability]:
    """Ask all endpoints at once; one that cannot be used says so in ``error``."""
    return await asyncio.gather(*(_of(e, prompts, settings, world) for e in endpoints))


async def _of(endpoint: Remote, prompts: Sequence[Prompt], settings: Collect, world: World) -> Capability:
    surface: Surface = "chat" if "chat" in endpoint.surfaces else "completion"
    prompt = _probe(prompts, surface)
    asked = endpoint if surface == "completion" or endpoint.system_prompt else _with_system(endpoint)
    limits = UNKNOWN
    async with open_wire(endpoint, endpoint.base_url, settings, world) as wire:
        for _ in range(_LESSONS):
            body = request_body(prompt, asked, surface, 0, model_name(endpoint), limits)
            began = world.clock()
            try:
                content = (await wire.post(path_of(endpoint, surface), msgspec.json.encode(body))).content
                return _read(endpoint, surface, body, content, limits, world.clock() - began, wire)
            except CallError as e:
                better = learn(limits, body, e)
                if better is None:
                    return Capability(
                        False, refused=_refused(limits), limits=limits, error=wire.redact(e.message), hint=e.hint
                    )
                limits = better
    return Capability(False, limits=limits, error="refuses one parameter after the other")


def _probe(prompts: Sequence[Prompt], surface: Surface) -> Prompt:
    """A short question with the settings that the plan uses, and the most logprobs that anybody gives."""
    like = next((p for p in prompts if p.temperature is not None), prompts[0] if prompts else None)
    temperature, top_p = (like.temperature, like.top_p) if like else (None, None)
    return Prompt(
        id="check",
        family="check",
        text=_QUESTION,
        surface=surface,
        max_tokens=16,
        temperature=temperature,
        top_p=top_p,
        top_logprobs=20,
    )


def _with_system(endpoint: Remote) -> Remote:
    return endpoint.model_copy(update={"system_prompt": _SYSTEM})


def _refused(limits: Limits) -> tuple[str, ...]:
    renamed = {"max_tokens"} if limits.max_tokens != "max_tokens" else set()
    return tuple(sorted(limits.refuses | renamed))


def _read(
    endpoint: Remote, surface: Surface, body: dict[str, Any], content: bytes, limits: Limits, seconds: float, wire: Wire
) -> Capability:
    answer = KINDS[endpoint.kind].read(content)
    system = "" if surface == "completion" else "refused" if "system" in limits.refuses else "yes"
    asked = body.get("top_logprobs") or (body.get("logprobs") if not isinstance(body.get("logprobs"), bool) else 0)
    documented = Limits.of(provider_of(endpoint)).top_logprobs
    return Capability(
        answers=True,
        model=wire.redact(answer.model),
        logprobs=_logprobs(answer.logprobs) if asked else "refused" if documented else "none",
        usage=answer.prompt_tokens is not None and answer.completion_tokens is not None,
        system=system,
        reasoning=_reasoning_field(content),
        refused=_refused(limits),
        seconds=round(seconds, 2),
        limits=replace(limits, logprobs_is_count=False),
    )


def _logprobs(packed: bytes | None) -> str:
    """The most alternatives that came with one token, or "empty"."""
    found = decode_logprobs(packed)
    most = max((len(t) for t in found.top), default=0) if found else 0
    return str(most) if most else "empty"


def _reasoning_field(content: bytes) -> str:
    """Where the reasoning stands in a reply of chat completions."""
    with contextlib.suppress(msgspec.DecodeError, LookupError, TypeError, AttributeError):
        message = msgspec.json.decode(content)["choices"][0]["message"]
        for name in ("reasoning_content", "reasoning", "reasoning_details"):
            if message.get(name):
                return name
        return "<think>" if "<think>" in (message.get("content") or "") else ""
    return ""
