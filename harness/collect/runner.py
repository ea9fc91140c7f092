"""Plan -> calls -> store: one worker pool per endpoint, every answer committed as it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.collect.endpoints import local
from harness.collect.limits import Gate
from harness.collect.parse import parse
from harness.collect.plan import PATHS, Job, jobs
from harness.collect.retry import policy
from harness.collect.store import Key, Store
from harness.collect.weights import cache_folder, fetch
from harness.collect.wire import Wire
from harness.config import Called, Campaign, Collect, Local
from harness.errors import CallError, EndpointError
from harness.responses import Prompt, Response


@dataclass
class Tally:
    """How far one endpoint is; the progress display reads it, nothing decides on it."""

    planned: int = 0
    stored: int = 0
    failed: int = 0
    in_flight: int = 0
    retries: int = 0
    last_error: str = ""
    state: str = "waiting"
    outcomes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """What a run takes from outside: nothing in here is reached for anywhere else."""

    environ: Mapping[str, str]
    base: Path
    say: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    rng: random.Random = field(default_factory=random.Random)


def model_name(endpoint: Called) -> str:
    """The model an endpoint's requests ask for."""
    return local.alias(endpoint) if isinstance(endpoint, Local) else endpoint.model


def key_of(endpoint: Called, environ: Mapping[str, str]) -> str | None:
    """The key an endpoint's config names, from the environment; `EndpointError` if it is not there."""
    if isinstance(endpoint, Local) or endpoint.api_key_env is None:
        return None
    key = environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise EndpointError(
            f"endpoint {endpoint.name!r}: environment variable {endpoint.api_key_env} is not set",
            f"export {endpoint.api_key_env}=... and run again",
        )
    return key


async def collect(
    campaign: Campaign,
    prompts: Sequence[Prompt],
    store: Store,
    tallies: dict[str, Tally],
    world: World,
    stop: asyncio.Event,
) -> None:
    """Ask every called endpoint whatever the store does not hold yet.

    First one call to each: if any endpoint cannot be used at all, `EndpointError` before the rest is asked. After
    that endpoints do not wait for one another, a failed call is recorded, and ``stop`` ends it after the calls in
    flight. ``tallies`` is kept up to date by endpoint name.
    """
    called = [e for e in campaign.endpoints if isinstance(e, Called)]
    have = store.keys()
    for endpoint in called:
        key_of(endpoint, world.environ)
        planned = list(_keys(endpoint, prompts))
        tallies[endpoint.name] = Tally(planned=len(planned), stored=sum(k in have for k in planned))
    waiting = [e for e in called if tallies[e.name].stored < tallies[e.name].planned]
    for endpoint in called:
        if endpoint not in waiting:
            tallies[endpoint.name].state = "done"
    async with contextlib.AsyncExitStack() as stack:
        addresses = await _addresses(waiting, stack, world, campaign.collect)
        pools = []
        for endpoint in waiting:
            todo = (j for j in jobs(endpoint, prompts, model_name(endpoint)) if _key(j) not in have)
            wire = await stack.enter_async_context(_open(endpoint, addresses[endpoint.name], campaign.collect, world))
            gate = Gate(campaign.collect.park_after, world.sleep, world.clock)
            pools.append(Pool(endpoint, todo, wire, gate, store, tallies[endpoint.name], world, campaign.collect, stop))
        errors = await asyncio.gather(*(p.first() for p in pools))
        broken = [f"{p.endpoint.name}: {e}" for p, e in zip(pools, errors, strict=True) if e is not None]
        if broken:
            raise EndpointError(
                "; ".join(broken), "mend it, or take the endpoint out of the config; answers so far are kept"
            )
        async with asyncio.TaskGroup() as group:
            for pool in pools:
                group.create_task(pool.rest())


def _key(job: Job) -> Key:
    return job.endpoint, job.prompt, job.sample, job.request_hash


def _keys(endpoint: Called, prompts: Sequence[Prompt]) -> Iterator[Key]:
    return (_key(j) for j in jobs(endpoint, prompts, model_name(endpoint)))


def planned_keys(campaign: Campaign, prompts: Sequence[Prompt]) -> Iterator[Key]:
    """Keys of all calls of a campaign."""
    return itertools.chain.from_iterable(_keys(e, prompts) for e in campaign.endpoints if isinstance(e, Called))


async def _addresses(
    endpoints: Sequence[Called], stack: contextlib.AsyncExitStack, world: World, settings: Collect
) -> dict[str, str]:
    """Base URL by endpoint name; local servers are started, one for all endpoints with the same weights."""
    out = {e.name: e.base_url for e in endpoints if not isinstance(e, Local)}
    groups: dict[tuple[object, ...], list[Local]] = {}
    for e in endpoints:
        if isinstance(e, Local):
            groups.setdefault((e.weights, e.context, e.threads, e.concurrency), []).append(e)
    cache = cache_folder(world.environ)
    for members in groups.values():
        gguf = await asyncio.to_thread(fetch, members[0].weights, world.base, cache, world.say)
        address = await stack.enter_async_context(local.serve(members[0], gguf))
        out |= {e.name: address for e in members}
    return out


@contextlib.asynccontextmanager
async def _open(endpoint: Called, address: str, settings: Collect, world: World) -> AsyncIterator[Wire]:
    wire = Wire(
        address,
        key_of(endpoint, world.environ),
        timeout=settings.call_timeout,
        max_bytes=int(settings.max_body_mb * 1e6),
        connections=endpoint.concurrency,
    )
    try:
        yield wire
    finally:
        await wire.close()


class Pool:
    """The workers of one endpoint, pulling jobs from one iterator."""

    def __init__(
        self,
        endpoint: Called,
        todo: Iterator[Job],
        wire: Wire,
        gate: Gate,
        store: Store,
        tally: Tally,
        world: World,
        settings: Collect,
        stop: asyncio.Event,
    ) -> None:
        self.endpoint = endpoint
        self._todo = todo
        self._wire = wire
        self._gate = gate
        self._store = store
        self._tally = tally
        self._world = world
        self._settings = settings
        self._stop = stop

    async def first(self) -> CallError | None:
        """Make one call, as a test of the endpoint: its error if the endpoint cannot be used."""
        job = next(self._todo, None)
        if job is None:
            return None
        error = await self._one(job, attempts=min(2, self._settings.attempts))
        usable = error is None or not (error.fatal or error.kind in ("connection", "timeout", "malformed"))
        return None if usable else error

    async def rest(self) -> None:
        """All other calls; ends when there are none, when told to stop, or when the endpoint is parked."""
        self._tally.state = "running"
        async with asyncio.TaskGroup() as group:
            for _ in range(self.endpoint.concurrency):
                group.create_task(self._worker())
        self._tally.state = "parked" if self._gate.parked else "stopped" if self._stop.is_set() else "done"

    async def _worker(self) -> None:
        while not self._stop.is_set() and not self._gate.parked:
            job = next(self._todo, None)
            if job is None:
                return
            await self._one(job, attempts=self._settings.attempts)

    async def _one(self, job: Job, attempts: int) -> CallError | None:
        """One job to its end: an answer or a recorded failure."""
        tries = 0

        async def attempt() -> Response:
            nonlocal tries
            await self._gate.wait()
            tries += 1
            self._tally.retries += tries > 1
            try:
                return await self._ask(job, tries)
            except CallError as e:
                self._gate.hold(e)
                self._tally.last_error = str(e)
                raise

        self._tally.in_flight += 1
        try:
            retrying = policy(attempts, self._settings.max_wait, sleep=self._world.sleep, rng=self._world.rng)
            response: Response = await retrying(attempt)
        except CallError as error:
            self._store.add_failure(job, error, self._stamp())
            self._tally.failed += 1
            self._gate.note(error)
            return error
        finally:
            self._tally.in_flight -= 1
        self._store.add(response, job)
        self._tally.stored += 1
        self._tally.outcomes[response.outcome] = self._tally.outcomes.get(response.outcome, 0) + 1
        self._gate.note(None)
        return None

    async def _ask(self, job: Job, attempts: int) -> Response:
        began = self._world.clock()
        content = await self._wire.post(PATHS[job.surface], job.body)
        seconds = self._world.clock() - began
        answer = parse(content)
        return Response(
            endpoint=job.endpoint,
            prompt=job.prompt,
            sample=job.sample,
            request_hash=job.request_hash,
            outcome=answer.outcome,
            text=answer.text,
            reasoning=answer.reasoning,
            refusal=answer.refusal,
            finish_reason=answer.finish_reason,
            model_asked=model_name(self.endpoint),
            model_answered=answer.model,
            system_fingerprint=answer.system_fingerprint,
            provider=answer.provider,
            response_id=answer.response_id,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            logprobs=answer.logprobs,
            attempts=attempts,
            seconds=round(seconds, 4),
            received_at=self._stamp(),
        )

    def _stamp(self) -> str:
        return self._world.now().isoformat(timespec="milliseconds")
