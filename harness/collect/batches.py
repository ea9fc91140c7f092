"""Batches: the open calls of one endpoint in files that its provider answers within a day, for this run or a later one.

What is under way is a note in the store. A run that is stopped leaves it there, and the next one goes on with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec

from harness.collect.context import RunContext, Tally, tokens_in
from harness.collect.preflight import Calls
from harness.collect.throttle import retry_policy
from harness.collect.worker import Workers
from harness.config import Called, Remote, public_address
from harness.endpoints import MOST_BYTES, MOST_CALLS, BatchApi, batch_url, id_of, longest_answer
from harness.errors import CallError
from harness.records import Job, Key
from harness.store import Store

FIRST_LOOK, LONGEST_LOOK = 5.0, 60.0  # seconds between two looks at a batch, growing from one to the other
T = TypeVar("T")
UNLIMITED = 1_000_000  # tokens set aside for an answer without a limit: no ceiling holds it


def name_of(key: Key) -> str:
    """The name of a call in a batch: what comes back is known by it in whatever run, and in whatever order."""
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:40]


class Batches:
    """The open calls of one endpoint, as its provider's batch API takes them. Every call is sent once a run."""

    def __init__(self, api: BatchApi, calls: Calls, workers: Workers, run: RunContext, tally: Tally) -> None:
        self._api, self._workers, self._run, self._tally = api, workers, run, tally
        self._endpoint, self._client = calls.endpoint, workers.connection.client
        self._clock = run.clock.interrupted_by(run.stop)
        self._open = {name_of(j.key): j for j in calls.todo()}
        self._sent: set[str] = set()  # in this run
        self._held: dict[str, Job] = {}  # for which money is set aside
        self._failed = ""

    async def run(self) -> None:
        """Fetch what an earlier run sent, send the rest, and wait until all of it has ended or the run is stopped."""
        self._tally.state = "running"
        try:
            await self._work()
        except CallError as e:
            self._failed = str(e)
        finally:
            self._release_all()
            self._tally.in_flight = 0
        self._tally.state = "parked" if self._failed else "stopped" if self._run.stop.is_set() else "done"
        if self._failed:
            self._tally.last_error = self._failed
            self._run.say(f"{self._endpoint.name} is parked, its other calls wait for the next run: {self._failed}")
        if left := under_way(self._run.store, self._endpoint):
            self._run.say(f"{self._endpoint.name}: {', '.join(left)} goes on at the provider; run again to fetch it")

    async def _work(self) -> None:
        stop, budget = self._run.stop, self._run.budget
        while not stop.is_set():
            for batch in under_way(self._run.store, self._endpoint):
                await self._finish(batch)
            if stop.is_set():
                return
            self._release_all()  # all that was sent has ended
            waiting = {n: j for n, j in self._open.items() if n not in self._sent}
            if not waiting:
                return
            if await self._send_rest(waiting):
                continue
            if budget.held[0]:
                await self._clock.sleep(FIRST_LOOK)  # batches of others may cost less than was set aside for them
            else:
                budget.reach("what a ceiling leaves does not hold another call of a batch")

    async def _send_rest(self, waiting: dict[str, Job]) -> bool:
        """Send what was not sent in this run, as far as the ceilings leave room: whether there was any."""
        before = len(self._sent)
        for surface in sorted({j.surface for j in waiting.values()}):
            for chunk in self._chunks({n: j for n, j in waiting.items() if j.surface == surface}):
                await self._send(chunk)
        return len(self._sent) > before

    def _chunks(self, waiting: dict[str, Job]) -> Iterator[dict[str, Job]]:
        chunk: dict[str, Job] = {}
        size = 0
        for name, job in waiting.items():
            if not self._run.budget.hold(self._endpoint, *self._worst(job)):
                break
            self._held[name] = job
            self._sent.add(name)
            chunk[name], size = job, size + len(job.body)
            if len(chunk) >= MOST_CALLS or size >= MOST_BYTES:
                yield chunk
                chunk, size = {}, 0
        if chunk:
            yield chunk

    async def _send(self, chunk: dict[str, Job]) -> None:
        """Make one batch and note its id at once: from then on it is paid for."""
        url = batch_url(self._endpoint, next(iter(chunk.values())).surface)
        body = self._api.write(((n, j.body) for n, j in chunk.items()), url)
        if self._api.create is not None:
            made = await self._try(self._client.upload, "/files", body, {"purpose": "batch"})
            body = self._api.create(id_of(made.answer), url)
        batch = id_of(await self._try(self._post, self._api.path, body, once=True))
        self._note([*under_way(self._run.store, self._endpoint), batch])
        self._tally.in_flight += len(chunk)
        self._run.say(f"{self._endpoint.name}: {len(chunk)} calls are sent as {batch}; this may take a day")

    async def _post(self, path: str, body: bytes) -> bytes:
        return (await self._client.post(path, body, read=bytes)).answer

    async def _finish(self, batch: str) -> None:
        """Wait for the end of one batch and keep what came of its calls; what is stored is not taken again."""
        wait, path = FIRST_LOOK, f"{self._api.path}/{batch}"
        while not self._run.stop.is_set():
            try:
                found = self._api.state((await self._try(self._client.get, path)).answer)
            except CallError as e:
                if e.status != 404:
                    raise
                self._run.say(f"{self._endpoint.name}: the provider has forgotten {batch}; its calls are sent again")
                return self._forget(batch)
            if found.ended:
                for result in found.results:
                    await self._try(self._fetch, result)
                self._failed = f"{batch} failed: {found.failed}" if found.failed else self._failed
                return self._forget(batch)
            await self._clock.sleep(wait)
            wait = min(LONGEST_LOOK, wait * 1.5)

    async def _fetch(self, path: str) -> None:
        async for line in self._client.lines(path):
            if not line.strip():
                continue
            try:
                name, reply = self._api.line(line)
            except CallError:
                continue  # nobody knows whose it is; its call has no answer and is sent again by the next run
            if (job := self._open.pop(name, None)) is not None:
                self._workers.settle(job, reply)
                self._tally.in_flight = max(0, self._tally.in_flight - 1)
                self._release(name)

    async def _try(self, call: Callable[..., Awaitable[T]], *args: Any, once: bool = False) -> T:
        """A call to the batch API with retries; what makes a batch is sent ``once``, as it may be paid for twice."""
        settings = self._run.settings
        retrying = retry_policy(1 if once else settings.attempts, settings.max_wait, self._clock, self._run.rng)
        found: T = await retrying(call, *args)
        return found

    def _worst(self, job: Job) -> tuple[int, int]:
        longest = longest_answer(msgspec.json.decode(job.body))
        return tokens_in(job.body), UNLIMITED if longest is None else longest

    def _release(self, name: str) -> None:
        if (job := self._held.pop(name, None)) is not None:
            self._run.budget.release(self._endpoint, *self._worst(job))

    def _release_all(self) -> None:
        for name in list(self._held):
            self._release(name)

    def _note(self, batches: list[str]) -> None:
        address = _address(self._endpoint)
        text = json.dumps([{"id": batch, "address": address} for batch in batches])
        self._run.store.set_note(_key(self._endpoint), text)

    def _forget(self, batch: str) -> None:
        self._note([b for b in under_way(self._run.store, self._endpoint) if b != batch])


def under_way(store: Store, endpoint: Called) -> list[str]:
    """Ids of the batches of an endpoint that were not fetched yet, of its address only."""
    found = json.loads(store.note(_key(endpoint)) or "[]")
    return [entry["id"] for entry in found if entry["address"] == _address(endpoint)]


def _key(endpoint: Called) -> str:
    return f"batches/{endpoint.name}"


def _address(endpoint: Called) -> str:
    return public_address(endpoint.base_url) if isinstance(endpoint, Remote) else ""
