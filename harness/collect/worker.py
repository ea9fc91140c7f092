"""Workers of one endpoint: run a job with retries, within its limits, to an answer or a recorded failure.

A call goes through four functions, from the outside in: `run_job`, `with_retries`, `within_limits`, `send_once`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.collect.context import RunContext, Tally, cost_of, price_of, tokens_in, tokens_used
from harness.collect.throttle import CircuitBreaker, ConcurrencyLimit, RateLimiter, retry_policy
from harness.config import Called, Remote
from harness.endpoints import (
    APIS,
    Answer,
    filtered_answer,
    is_busy,
    model_name,
    out_of_time,
    path_of,
    stopped,
    until_reset,
    without_key,
)
from harness.errors import CallError
from harness.records import Job, Response
from harness.store import Attempt

if TYPE_CHECKING:
    from harness.endpoints.client import Client

MOST_SAID = 400  # characters of an error that are kept
SHORTEST = 0.1  # seconds in which there is no point in sending a request


@dataclass(frozen=True)
class Connection:
    """One endpoint as a run reaches it: its settings, the client that sends, the breaker that holds workers back."""

    endpoint: Called
    client: Client
    breaker: CircuitBreaker


@dataclass
class Tries:
    """The attempts at one job that got no answer, how often it was sent, and since when (monotonic seconds)."""

    failed: list[Attempt]
    sent: int = 0
    began: float = 0.0


class Workers:
    """As many workers as an endpoint takes calls at once, taking jobs from one iterator."""

    def __init__(self, connection: Connection, run: RunContext, tally: Tally, jobs: Iterator[Job] = iter(())) -> None:
        self.endpoint, self._client, self._breaker = connection.endpoint, connection.client, connection.breaker
        self.connection = connection
        self._run = run
        self._tally = tally
        self.jobs = jobs
        self._clock = run.clock.interrupted_by(run.stop, self._breaker.tripped)
        rpm, tpm = (self.endpoint.rpm, self.endpoint.tpm) if isinstance(self.endpoint, Remote) else (None, None)
        self._rate = RateLimiter(rpm, tpm, self._clock, lambda: self._breaker.not_before, self._held)
        self._concurrency = ConcurrencyLimit(self.endpoint.concurrency, self._clock)
        self._read, self._model, self._price = (
            APIS[self.endpoint.kind].read,
            model_name(self.endpoint),
            price_of(self.endpoint),
        )
        self._path = functools.cache(functools.partial(path_of, self.endpoint))

    async def run(self) -> None:
        """Run all jobs; ends when there are none, when told to stop, or when the endpoint is parked."""
        self._tally.state = "running"
        async with asyncio.TaskGroup() as group:
            for _ in range(self.endpoint.concurrency):
                group.create_task(self._work())
        self._tally.state = "parked" if self._breaker.parked else "stopped" if self._run.stop.is_set() else "done"
        if self._breaker.parked:
            reason = self._tally.last_error or "too many calls failed"
            if (asked := self._tally.told_wait) > (most := self._run.settings.max_wait):
                reason += f"; it asked to be left alone for {asked:,.0f} s, and `max_wait:` is {most:g}"
            self._run.say(f"{self.endpoint.name} is parked, its other calls wait for the next run: {reason}")

    def park(self) -> None:
        """Make no further calls: this endpoint cannot be used."""
        self._breaker.park()

    def _held(self, until: float) -> None:
        self._tally.held_until = until

    def _ended(self) -> bool:
        return self._run.stop.is_set() or self._breaker.parked

    async def _work(self) -> None:
        while not self._ended():
            job = next(self.jobs, None)
            if job is None:
                return
            await self.run_job(job)

    async def run_job(self, job: Job) -> None:
        """One job to its end: a stored answer or a recorded failure."""
        failed: list[Attempt] = []
        error = await self.with_retries(job, self._run.settings.attempts, failed)
        if error is not None and error.kind != "stopped":
            self.record_failure(job, error, failed)

    async def with_retries(self, job: Job, attempts: int, failed: list[Attempt]) -> CallError | None:
        """Send a job until there is an answer, and store it; else the error, of which nothing is recorded yet.

        Attempts that got no answer are added to ``failed``.
        """
        tries = Tries(failed)
        self._tally.in_flight += 1
        try:
            response = await self._first_try(job, tries, attempts)
        except CallError as error:
            return error
        finally:
            self._tally.in_flight -= 1
        self._keep(response, job, failed)
        return None

    async def _first_try(self, job: Job, tries: Tries, attempts: int) -> Response:
        """Most calls need one try: what waits and counts is made for the others, whose first one it sees fail."""
        try:
            return await self.within_limits(job, tries)
        except CallError as e:
            first: list[CallError] = [e]

        async def attempt() -> Response:
            if first:
                raise first.pop()
            return await self.within_limits(job, tries)

        max_wait, left = self._run.settings.max_wait, lambda: self._seconds_left(tries)
        retrying = retry_policy(attempts, max_wait, self._clock, self._run.rng, left)
        response: Response = await retrying(attempt)
        return response

    async def within_limits(self, job: Job, tries: Tries) -> Response:
        """Send a job once when rate, breaker and concurrency allow it; they learn what came of it."""
        async with self._concurrency:
            ticket = await self._rate.wait(tokens_in(job.body), self._ended)  # who has a slot asks last, so none passes
            if self._ended():
                raise stopped()
            if tries.sent and self._seconds_left(tries) < SHORTEST:
                raise out_of_time()
            began = self._clock.monotonic()
            tries.sent, tries.began = tries.sent + 1, tries.began if tries.sent else began
            self._tally.retries += tries.sent > 1
            within = min(self._seconds_left(tries), self._run.settings.call_timeout)
            try:
                response = await self.send_once(job, within, tries.sent)
            except CallError as e:
                self._breaker.record_attempt(e)
                self._tally.last_error, self._tally.told_wait = str(e), e.wait or self._tally.told_wait
                tries.failed.append(Attempt(job.key, tries.sent, e.kind, e.status, e.wait, self._clock.stamp()))
                self._rate.pace.tell(e.quotas)
                if e.kind == "rate_limit":
                    self._rate.record(ticket, e)
                elif is_busy(e):
                    self._concurrency.cut(began)
                raise
            self._concurrency.grow()
            return response

    def _seconds_left(self, tries: Tries) -> float:
        return self._run.settings.total_timeout - (self._clock.monotonic() - tries.began)

    async def send_once(self, job: Job, within: float, attempt: int) -> Response:
        """One request over the network and its reply, read, within so many seconds. A filter's refusal is an answer."""
        began = self._clock.monotonic()
        try:
            reply = await self._client.post(self._path(job.surface), job.body, within, read=self._read)
            self._rate.pace.tell(reply.quotas)
            self._breaker.hold(until_reset(reply.quotas))
            seconds, answer = self._clock.monotonic() - began, reply.answer
        except CallError as e:
            said = self._client.redact(e.message)[:MOST_SAID]  # in this order: half a key is not recognised
            if e.kind != "filtered":
                raise e.saying(said) from None
            seconds, answer = self._clock.monotonic() - began, filtered_answer(said)
        # A key may come back in an escape that only reading the JSON undoes.
        return self._response(job, self._without_key(answer), attempt, seconds)

    def _without_key(self, answer: Answer) -> Answer:
        return without_key(answer, self._client.redact) if self._client.has_key else answer

    def settle(self, job: Job, reply: bytes | CallError) -> None:
        """Store an answer that came otherwise than over a call of its own, or record why there is none."""
        try:
            if isinstance(reply, CallError):
                raise reply
            answer = self._read(reply)
        except CallError as e:
            said = self._client.redact(e.message)[:MOST_SAID]
            if e.kind != "filtered":
                self.record_failure(job, e.saying(said), ())
                return
            answer = filtered_answer(said)
        self._keep(self._response(job, self._without_key(answer), 1, 0.0), job, ())

    def record_failure(self, job: Job, error: CallError, failed: Sequence[Attempt]) -> None:
        """Record that a call got no answer, and what was tried."""
        self._run.store.add_failure(job, error, self._clock.stamp(), failed)
        if self._run.store.reserve.is_short():
            self._run.stop.set()
        self._tally.failed += 1
        self._breaker.record_call(error)

    def _keep(self, response: Response, job: Job, failed: Sequence[Attempt]) -> None:
        """Give an answer to the store, which commits it within `GROUP` seconds, and count it."""
        self._run.store.put(response, job, failed)
        self._tally.stored += 1
        self._tally.outcomes[response.outcome] = self._tally.outcomes.get(response.outcome, 0) + 1
        self._breaker.record_call(None)
        prompt, completion = tokens_used(response, job.body)
        self._rate.pace.correct(tokens_in(job.body), prompt + completion)
        self._run.budget.charge(self.endpoint, prompt, completion)
        self._tally.tokens += prompt + completion
        if self._price:
            self._tally.cost = (self._tally.cost or 0.0) + cost_of(self._price, prompt, completion)

    def _response(self, job: Job, answer: Answer, attempt: int, seconds: float) -> Response:
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
            model_asked=self._model,
            model_answered=answer.model,
            system_fingerprint=answer.system_fingerprint,
            provider=answer.provider,
            response_id=answer.response_id,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            logprobs=answer.logprobs,
            attempts=attempt,
            seconds=round(seconds, 4),
            received_at=self._clock.stamp(),
        )
