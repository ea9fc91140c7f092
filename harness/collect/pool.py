"""The workers of one endpoint: each job to its end, an answer or a recorded failure."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.collect.endpoints import local
from harness.collect.limits import Gate
from harness.collect.parse import parse
from harness.collect.plan import PATHS, Job
from harness.collect.retry import policy
from harness.collect.store import Store
from harness.collect.wire import Wire
from harness.config import Called, Collect, Local
from harness.errors import CallError
from harness.responses import Response


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


def pause(world: World, stop: asyncio.Event) -> Callable[[float], Awaitable[None]]:
    """A sleep that ends early when the run is told to stop."""

    async def sleep(seconds: float) -> None:
        waits = [asyncio.ensure_future(world.sleep(seconds)), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    return sleep


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

    def _over(self) -> bool:
        return self._stop.is_set() or self._gate.parked

    async def _worker(self) -> None:
        while not self._over():
            job = next(self._todo, None)
            if job is None:
                return
            await self._one(job, attempts=self._settings.attempts)

    async def _one(self, job: Job, attempts: int) -> CallError | None:
        """One job to its end: an answer or a recorded failure."""
        tries = 0

        async def attempt() -> Response:
            nonlocal tries
            await self._gate.wait(self._over)
            if self._over():
                raise CallError("not asked any more", kind="stopped")
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
            sleep = pause(self._world, self._stop)
            retrying = policy(attempts, self._settings.max_wait, sleep=sleep, rng=self._world.rng)
            response: Response = await retrying(attempt)
        except CallError as error:
            if error.kind == "stopped":
                return error
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
