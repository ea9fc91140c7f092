"""Preflight: the first calls to an endpoint show whether it can be used and which parameters it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from harness.clock import Clock
from harness.collect.context import RunContext
from harness.collect.worker import MOST_SAID, Workers
from harness.config import Called, Collect, Remote, public_address
from harness.endpoints import (
    APIS,
    UNKNOWN,
    Answer,
    Quirks,
    describe,
    is_busy,
    is_refusal,
    is_unusable,
    jobs,
    learn,
    model_name,
    parameters,
    path_of,
    provider_of,
    request_body,
    surface_for,
    unknown_finish,
    without_key,
)
from harness.errors import CallError
from harness.records import Job, Key, Prompt, Surface
from harness.store import Attempt, Store
from harness.token_logprobs import decode_logprobs

_LESSONS = 16  # as many as there are sets of parameters to leave out, where a server does not say which

Shape = tuple[object, ...]
SystemRole = Literal["", "yes", "refused"]


def recall(store: Store, endpoint: Called) -> Quirks:
    """Quirks of an endpoint found in an earlier run or check; forgotten when its address or model changes."""
    try:
        found = json.loads(store.note(f"learned/{endpoint.name}") or "{}")
        return Quirks.read(found["limits"]) if found.get("of") == _learned_of(endpoint) else UNKNOWN
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return UNKNOWN  # whatever it is, it is not what was learned here: it is learned again


def learned(store: Store, endpoints: Iterable[Called]) -> dict[str, Quirks]:
    """Stored quirks of endpoints, by name."""
    return {e.name: recall(store, e) for e in endpoints}


def remember(store: Store, endpoint: Called, quirks: Quirks) -> None:
    """Store the quirks of an endpoint beside its answers."""
    record = {"of": _learned_of(endpoint), "limits": quirks.record()}
    store.set_note(f"learned/{endpoint.name}", json.dumps(record))


def _learned_of(endpoint: Called) -> list[str]:
    """What a server's refusals depend on: API, address and model."""
    address = public_address(endpoint.base_url) if isinstance(endpoint, Remote) else ""
    return [endpoint.kind, address, model_name(endpoint)]


@dataclass
class Calls:
    """Planned calls of one endpoint, each made from its prompt only when it is due, as the endpoint's quirks allow.

    Calls to come and calls made are not kept, so memory does not grow with the plan.
    """

    endpoint: Called
    prompts: Sequence[Prompt]
    answered: Callable[[Key], bool] = lambda _: False
    quirks: Quirks = UNKNOWN
    wanted: Callable[[Key], bool] | None = None  # None: every call
    done: Callable[[str, int], Set[tuple[str, str]]] = lambda *_: frozenset()  # (prompt, hash) of a sample's answers
    ended: set[Key] = field(default_factory=set)

    def jobs(self) -> Iterator[Job]:
        """Every call of the plan."""
        return jobs(self.endpoint, self.prompts, model_name(self.endpoint), self.quirks)

    def todo(self) -> Iterator[Job]:
        """Every call that is not answered yet, at the moment when it is due."""
        sample, done = 0, self.done(self.endpoint.name, 0)
        for job in self.jobs():
            if job.sample != sample:  # answers are looked up together: one by one takes longer than making the calls
                sample, done = job.sample, self.done(job.endpoint, job.sample)
            if (job.prompt, job.request_hash) not in done and self._open(job.key):
                yield job

    def _open(self, key: Key) -> bool:
        return (self.wanted is None or self.wanted(key)) and key not in self.ended and not self.answered(key)

    def probes(self) -> dict[Shape, Job]:
        """The first unanswered call of every set of parameters."""
        settings = {p.id: (p.max_tokens, p.temperature, p.top_p, p.top_logprobs) for p in self.prompts}
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

    A suspect or a candidate of which every one is refused, and one more of each, cannot be: no verdict could come of
    what the others are paid for. These calls are of the plan and their answers are kept. A parameter that is refused is
    left out of all requests from then on, and what is stored and hashed is the request that was really sent.
    """
    needed = calls.endpoint.role in ("suspect", "candidate")
    error = None
    for _ in range(2):  # a prompt may be refused for itself
        answered, error = await _every_shape(calls, workers, run, needed)
        if error is not None and is_unusable(error, needed):
            return error
        if answered or error is None or not needed:
            return None
    return error


async def _every_shape(calls: Calls, workers: Workers, run: RunContext, needed: bool) -> tuple[bool, CallError | None]:
    """One call for every set of parameters: whether any was answered; the last error, or the first that ends it."""
    lessons, before = 0, calls.quirks
    attempts = min(2, run.settings.attempts)
    answered, last = False, None
    failed: list[Attempt] = []
    tried: set[Shape] = set()
    probes, first = calls.probes(), ""
    while (shape := next((s for s in probes if s not in tried), None)) is not None:
        job = probes[shape]
        error = await workers.with_retries(job, attempts, failed)
        if error is not None and error.kind == "stopped":
            return True, None
        better = learn(calls.quirks, msgspec.json.decode(job.body), error) if error is not None else None
        if better is not None and lessons < _LESSONS:
            first, lessons = first if lessons else str(error), lessons + 1
            calls.quirks = better
            probes = calls.probes()
            continue
        if lessons and error is not None and is_refusal(error) and str(error) == first:
            calls.quirks = before  # the same words whatever is left out: they were not about that
        calls.quirks = calls.quirks.settled(took=error is None)
        remember(run.store, calls.endpoint, calls.quirks)
        if calls.quirks != before:
            run.say(f"{calls.endpoint.name}: refuses {describe(before, calls.quirks)}; it is asked without from now on")
        before, lessons = calls.quirks, 0
        tried.add(shape)
        calls.ended.add(job.key)
        answered, last = answered or error is None, error or last
        if error is not None:
            workers.record_failure(job, error, failed)
            if is_unusable(error, needed):
                return answered, error
        failed = []
    return answered, last


_SYSTEM = "Answer in one word."
_QUESTION = "What is the capital of France?"


@dataclass(frozen=True)
class Capability:
    """What one endpoint can do, as `harness check` shows it; ``logprobs``: alternatives a token, or why none."""

    answers: bool
    model: str = ""
    logprobs: int | Literal["", "none", "empty", "refused"] = ""
    usage: bool = False
    system: SystemRole = ""
    reasoning: str = ""  # the field it stands in, apart from the answer
    odd_finish: str = ""  # why its answer ended, if nobody knows what that means
    text: str = field(default="", repr=False)  # what it said
    asked: str = field(default="", repr=False)
    refused: tuple[str, ...] = ()
    seconds: float = 0.0
    quirks: Quirks = UNKNOWN
    error: str = ""
    hint: str = field(default="", repr=False)


async def capabilities(
    endpoints: Sequence[Remote], prompts: Sequence[Prompt], settings: Collect, environ: Mapping[str, str]
) -> list[Capability]:
    """Ask all endpoints at once; one that cannot be used says so in ``error``."""
    return await asyncio.gather(*(_capability(e, prompts, settings, environ) for e in endpoints))


SOON, SHORTEST_WAIT = 5.0, 0.5  # seconds until a server that is busy is asked again, if it does not say when
PATIENCE = 60.0  # seconds that a check waits for one that is busy, in all


async def _capability(
    endpoint: Remote, prompts: Sequence[Prompt], settings: Collect, environ: Mapping[str, str], clock: Clock = Clock()
) -> Capability:
    from harness.endpoints.client import open_client  # not before somebody is asked: see there

    surface: Surface = "chat" if "chat" in endpoint.surfaces else "completion"
    prompt = _probe(prompts, surface)
    asked = endpoint if surface == "completion" or endpoint.system_prompt else _with_system(endpoint)
    quirks, again = UNKNOWN, True
    async with open_client(endpoint, endpoint.base_url, settings, environ) as client:
        lessons, waited = 0, 0.0
        while lessons < _LESSONS:
            body = request_body(prompt, asked, surface, 0, model_name(endpoint), quirks)
            began = clock.monotonic()
            try:
                path, read = path_of(endpoint, surface), APIS[endpoint.kind].read
                answer = (await client.post(path, msgspec.json.encode(body), read=read)).answer
                answer = without_key(answer, client.redact)
                return _capable(endpoint, surface, body, answer, quirks, clock.monotonic() - began)
            except CallError as e:
                wait = max(e.wait or SOON, SHORTEST_WAIT)
                if is_busy(e) and waited + wait <= PATIENCE:
                    await clock.sleep(wait)
                    waited += wait
                    continue
                better, lessons = learn(quirks, body, e), lessons + 1
                if better is None and again and e.retry and not is_busy(e):
                    again = False  # such things pass: once more, as a run would, and not twice
                    await clock.sleep(min(e.wait or SHORTEST_WAIT, SOON))
                    continue
                if better is None:
                    return Capability(
                        False,
                        refused=_refused(quirks),
                        quirks=quirks,
                        error=client.redact(e.message)[:MOST_SAID],
                        hint=e.hint or (f"it asked to be left alone for {e.wait:,.0f} s" if e.wait else ""),
                    )
                quirks = better
    return Capability(False, quirks=quirks, error="refuses one parameter after the other")


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


def _refused(quirks: Quirks) -> tuple[str, ...]:
    renamed = {"max_tokens"} if quirks.max_tokens != "max_tokens" else set()
    return tuple(sorted(quirks.refuses | renamed))


def _capable(
    endpoint: Remote,
    surface: Surface,
    body: dict[str, Any],
    answer: Answer,
    quirks: Quirks,
    seconds: float,
) -> Capability:
    system: Literal["", "yes", "refused"] = (
        "" if surface == "completion" else "refused" if "system" in quirks.refuses else "yes"
    )
    sent = parameters(body)
    asked = sent.get("top_logprobs") or (sent.get("logprobs") if not isinstance(sent.get("logprobs"), bool) else 0)
    documented = Quirks.of(provider_of(endpoint)).top_logprobs and APIS[endpoint.kind].gives_logprobs
    return Capability(
        answers=True,
        model=answer.model,
        logprobs=_logprobs(answer.logprobs) if asked else "refused" if documented else "none",
        usage=answer.prompt_tokens is not None and answer.completion_tokens is not None,
        system="" if surface == "completion" else system,
        reasoning=answer.reasoning_field,
        odd_finish=answer.finish_reason if unknown_finish(answer.finish_reason) else "",
        text=answer.text,
        asked=_QUESTION,
        refused=_refused(quirks),
        seconds=round(seconds, 2),
        quirks=replace(quirks, logprobs_is_count=False),
    )


def _logprobs(packed: bytes | None) -> int | Literal["empty"]:
    """The most alternatives that came with one token, or "empty"."""
    found = decode_logprobs(packed)
    most = max((len(t) for t in found.top), default=0) if found else 0
    return most or "empty"
