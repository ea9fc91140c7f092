"""The workers of one endpoint: each job to its end, an answer or a recorded failure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from harness.collect.budget import Budget, cost_of, price_of, tokens_in, tokens_used
from harness.collect.context import Tally, World, pause
from harness.collect.throttle import Gate, Pace, Slots, policy
from harness.config.schema import Called, Collect, Remote
from harness.endpoints.apis import KINDS, model_name, path_of
from harness.endpoints.client import Wire
from harness.endpoints.replies import filtered_answer
from harness.errors import CallError
from harness.records import Job, Response
from harness.store.store import Attempt, Store

__all__ = ["Pool", "Tally", "World"]
SHORTEST = 0.1  # seconds in which there is no point in sending a request
_TOO_BUSY = frozenset({429, 503, 529})


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
        budget: Budget | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.todo = todo
        self._wire = wire
        self._gate = gate
        self._store = store
        self._tally = tally
        self._world = world
        self._settings = settings
        self._stop = stop
        self._budget = budget or Budget(settings, stop)
        self._sleep = pause(world, stop, gate.over)
        rates = (endpoint.rpm, endpoint.tpm) if isinstance(endpoint, Remote) else (None, None)
        self._pace = Pace(*rates, self._sleep, world.clock)
        self._slots = Slots(endpoint.concurrency, world.clock)

    async def rest(self) -> None:
        """All calls; ends when there are none, when told to stop, or when the endpoint is parked."""
        self._tally.state = "running"
        async with asyncio.TaskGroup() as group:
            for _ in range(self.endpoint.concurrency):
                group.create_task(self._worker())
        self._tally.state = "parked" if self._gate.parked else "stopped" if self._stop.is_set() else "done"
        if self._gate.parked:
            self._world.say(f"{self.endpoint.name} is parked, its other calls wait for the next run: {self._last()}")

    def park(self) -> None:
        """Make no further calls: this endpoint cannot be used."""
        self._gate.park()

    def tell(self, text: str) -> None:
        """A line for whoever watches the run."""
        self._world.say(f"{self.endpoint.name}: {text}")

    def _last(self) -> str:
        return self._tally.last_error or "too many calls failed"

    def _over(self) -> bool:
        return self._stop.is_set() or self._gate.parked

    async def _worker(self) -> None:
        while not self._over():
            job = next(self.todo, None)
            if job is None:
                return
            await self.one(job, attempts=self._settings.attempts)

    async def one(self, job: Job, attempts: int) -> CallError | None:
        """One job to its end: an answer or a recorded failure, which is returned."""
        tried: list[Attempt] = []
        error = await self.ask(job, attempts, tried)
        if error is not None and error.kind != "stopped":
            self.fail(job, error, tried)
        return error

    def fail(self, job: Job, error: CallError, tried: Sequence[Attempt]) -> None:
        """Record that a call got no answer, and what was tried."""
        self._store.add_failure(job, error, self._stamp(), tried)
        self._tally.failed += 1
        self._gate.note(error)

    async def ask(self, job: Job, attempts: int, tried: list[Attempt]) -> CallError | None:
        """Ask until there is an answer, and store it; else the error, of which nothing is recorded yet.

        Tries that got no answer are added to ``tried``.
        """
        tries, began = 0, 0.0

        def left() -> float:
            return self._settings.total_timeout - (self._world.clock() - began)

        async def attempt() -> Response:
            nonlocal tries, began
            tokens = tokens_in(job.body)
            await self._pace.take(tokens, self._over)
            await self._gate.wait(self._over)
            async with self._slots:
                if self._over():
                    raise CallError("not asked any more", kind="stopped")
                if tries and left() < SHORTEST:
                    raise CallError("no time is left for another try", kind="timeout")
                tries += 1
                began = began if tries > 1 else self._world.clock()
                self._tally.retries += tries > 1
                seconds = min(left(), self._settings.call_timeout)
                return await self._attempt(job, tries, seconds, tried)

        self._tally.in_flight += 1
        try:
            retrying = policy(attempts, self._settings.max_wait, sleep=self._sleep, rng=self._world.rng, left=left)
            response: Response = await retrying(attempt)
        except CallError as error:
            return error
        finally:
            self._tally.in_flight -= 1
        self._keep(response, job, tried)
        return None

    async def _attempt(self, job: Job, tries: int, seconds: float, tried: list[Attempt]) -> Response:
        began = self._world.clock()
        try:
            response = await self._call(job, tries, seconds)
        except CallError as e:
            self._gate.hold(e)
            self._tally.last_error = str(e)
            tried.append(Attempt(job.key, tries, e.kind, e.status, e.wait, self._stamp()))
            if e.status in _TOO_BUSY:
                self._slots.refused(began)
            raise
        self._slots.answered()
        return response

    def _keep(self, response: Response, job: Job, tried: Sequence[Attempt]) -> None:
        self._store.add(response, job, tried)
        self._tally.stored += 1
        self._tally.outcomes[response.outcome] = self._tally.outcomes.get(response.outcome, 0) + 1
        self._gate.note(None)
        prompt, completion = tokens_used(response, job.body)
        self._pace.correct(tokens_in(job.body), prompt + completion)
        self._budget.charge(self.endpoint, prompt, completion)
        self._tally.tokens += prompt + completion
        if price := price_of(self.endpoint):
            self._tally.cost = (self._tally.cost or 0.0) + cost_of(price, prompt, completion)

    async def _call(self, job: Job, attempts: int, within: float) -> Response:
        began = self._world.clock()
        try:
            reply = await self._wire.post(path_of(self.endpoint, job.surface), job.body, within)
            self._gate.rest(reply.rest)
            seconds = self._world.clock() - began
            answer = KINDS[self.endpoint.kind].read(reply.content)
        except CallError as e:
            if e.kind != "filtered":
                raise
            seconds, answer = self._world.clock() - began, filtered_answer(e.message)
        said = self._wire.redact  # a key may come back in an escape that only reading the JSON undoes
        return Response(
            endpoint=job.endpoint,
            prompt=job.prompt,
            sample=job.sample,
            request_hash=job.request_hash,
            outcome=answer.outcome,
            text=said(answer.text),
            reasoning=said(answer.reasoning),
            refusal=said(answer.refusal),
            finish_reason=said(answer.finish_reason),
            model_asked=model_name(self.endpoint),
            model_answered=said(answer.model),
            system_fingerprint=said(answer.system_fingerprint),
            provider=said(answer.provider),
            response_id=said(answer.response_id),
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
