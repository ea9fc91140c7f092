"""The first calls to an endpoint: whether it can be used, and which parameters it refuses. Learned once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from harness.clock import Clock
from harness.collect.context import RunContext
from harness.collect.worker import Workers
from harness.config.schema import Called, Collect, Remote
from harness.config.secrets import public_address
from harness.endpoints.apis import APIS, model_name, path_of, provider_of
from harness.endpoints.failures import is_unusable
from harness.endpoints.quirks import Limits, learn, told
from harness.endpoints.requests import UNKNOWN, jobs, request_body, surface_for
from harness.errors import CallError
from harness.records import Job, Key, Prompt, Surface
from harness.store.store import Attempt, Store
from harness.token_logprobs import decode_logprobs

_LESSONS = 16  # as many as there are sets of parameters to leave out, where a server does not say which

Shape = tuple[object, ...]


def recall(store: Store, endpoint: Called) -> Limits:
    """What was learned of an endpoint in an earlier run or check; forgotten when its address or model changes."""
    found = json.loads(store.note(f"learned/{endpoint.name}") or "{}")
    return Limits.read(found["limits"]) if found.get("of") == _identity(endpoint) else UNKNOWN


def learned(store: Store, endpoints: Iterable[Called]) -> dict[str, Limits]:
    """What a store knows of endpoints, by name."""
    return {e.name: recall(store, e) for e in endpoints}


def remember(store: Store, endpoint: Called, limits: Limits) -> None:
    """Keep what was learned of an endpoint beside its answers."""
    record = {"of": _identity(endpoint), "limits": limits.record()}
    store.set_note(f"learned/{endpoint.name}", json.dumps(record))


def _identity(endpoint: Called) -> list[str]:
    address = public_address(endpoint.base_url) if isinstance(endpoint, Remote) else ""
    return [endpoint.kind, address, model_name(endpoint)]


@dataclass
class Calls:
    """All planned calls of one endpoint, as what is known of it allows; each is written when it is its turn.

    Nothing is held of calls to come or of calls made, so memory does not grow with the plan.
    """

    endpoint: Called
    prompts: Sequence[Prompt]
    answered: Callable[[Key], bool] = lambda _: False
    limits: Limits = UNKNOWN
    wanted: Callable[[Key], bool] = lambda _: True
    ended: set[Key] = field(default_factory=set)

    def jobs(self) -> Iterator[Job]:
        """Every call of the plan."""
        return jobs(self.endpoint, self.prompts, model_name(self.endpoint), self.limits)

    def todo(self) -> Iterator[Job]:
        """What is still to be asked here, at the moment when it is asked for."""
        return (j for j in self.jobs() if self._open(j.key))

    def _open(self, key: Key) -> bool:
        return self.wanted(key) and key not in self.ended and not self.answered(key)

    def probes(self) -> dict[Shape, Job]:
        """For every set of parameters the first call that is still to be made."""
        settings = {p.id: (p.max_tokens is None, p.temperature, p.top_p, p.top_logprobs) for p in self.prompts}
        surfaces = [(surface_for(p, self.endpoint), p) for p in self.prompts]
        shapes = {(surface, *settings[p.id]) for surface, p in surfaces if surface is not None}
        found: dict[Shape, Job] = {}
        for job in self.todo():
            found.setdefault((job.surface, *settings[job.prompt]), job)
            if len(found) == len(shapes):
                break
        return found


async def preflight(calls: Calls, workers: Workers, run: RunContext) -> CallError | None:
    """Make one call for every set of parameters that is planned: the error if the endpoint cannot be used.

    These calls are of the plan and their answers are kept. A parameter that is refused is left out of all requests
    from then on, and what is stored and hashed is the request that was really sent.
    """
    lessons, before = 0, calls.limits
    attempts = min(2, run.settings.attempts)
    failed: list[Attempt] = []
    tried: set[Shape] = set()
    probes = calls.probes()
    while (shape := next((s for s in probes if s not in tried), None)) is not None:
        job = probes[shape]
        error = await workers.with_retries(job, attempts, failed)
        if error is not None and error.kind == "stopped":
            return None
        better = learn(calls.limits, msgspec.json.decode(job.body), error) if error is not None else None
        if better is not None and lessons < _LESSONS:
            lessons += 1
            calls.limits = better
            probes = calls.probes()
            continue
        calls.limits = calls.limits.settled(took=error is None)
        remember(run.store, calls.endpoint, calls.limits)
        if calls.limits != before:
            run.say(f"{calls.endpoint.name}: refuses {told(before, calls.limits)}; it is asked without from now on")
        before, lessons = calls.limits, 0
        tried.add(shape)
        calls.ended.add(job.key)
        if error is not None:
            workers.record_failure(job, error, failed)
            if is_unusable(error):
                return error
        failed = []
    return None


_CHECK_LESSONS = 16
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
    endpoints: Sequence[Remote], prompts: Sequence[Prompt], settings: Collect, environ: Mapping[str, str]
) -> list[Capability]:
    """Ask all endpoints at once; one that cannot be used says so in ``error``."""
    return await asyncio.gather(*(_capability(e, prompts, settings, environ) for e in endpoints))


async def _capability(
    endpoint: Remote, prompts: Sequence[Prompt], settings: Collect, environ: Mapping[str, str], clock: Clock = Clock()
) -> Capability:
    from harness.endpoints.client import open_client  # not before somebody is asked: see there

    surface: Surface = "chat" if "chat" in endpoint.surfaces else "completion"
    prompt = _probe(prompts, surface)
    asked = endpoint if surface == "completion" or endpoint.system_prompt else _with_system(endpoint)
    limits = UNKNOWN
    async with open_client(endpoint, endpoint.base_url, settings, environ) as client:
        for _ in range(_CHECK_LESSONS):
            body = request_body(prompt, asked, surface, 0, model_name(endpoint), limits)
            began = clock.monotonic()
            try:
                content = (await client.post(path_of(endpoint, surface), msgspec.json.encode(body))).content
                return _read(endpoint, surface, body, content, limits, clock.monotonic() - began, client.redact)
            except CallError as e:
                better = learn(limits, body, e)
                if better is None:
                    return Capability(
                        False, refused=_refused(limits), limits=limits, error=client.redact(e.message), hint=e.hint
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
    endpoint: Remote,
    surface: Surface,
    body: dict[str, Any],
    content: bytes,
    limits: Limits,
    seconds: float,
    redact: Callable[[str], str],
) -> Capability:
    answer = APIS[endpoint.kind].read(content)
    system = "" if surface == "completion" else "refused" if "system" in limits.refuses else "yes"
    asked = body.get("top_logprobs") or (body.get("logprobs") if not isinstance(body.get("logprobs"), bool) else 0)
    documented = Limits.of(provider_of(endpoint)).top_logprobs
    return Capability(
        answers=True,
        model=redact(answer.model),
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
