"""Collect answers: workers for every endpoint, every answer committed to the store as it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.clock import Lag, watch_lag
from harness.collect.batches import Batches, under_way
from harness.collect.context import RunContext, Tally
from harness.collect.preflight import Calls, preflight, recall
from harness.collect.throttle import CircuitBreaker
from harness.collect.worker import Connection, Workers
from harness.config import Called, Campaign, Collect, key_of
from harness.endpoints import BodyBudget, Servers, batches_of, cache_folder, not_started, unless
from harness.errors import CallError, CeilingError, EndpointError, StoreError
from harness.records import Key, Prompt
from harness.store import Store, spent

# The workers for all other calls, None if the endpoint was not reached; the error if it cannot be used.
FirstCalls = tuple[Workers | None, CallError | None]


@contextlib.contextmanager
def tuned_memory() -> Iterator[None]:
    """Collect garbage less often: a run makes many objects and hardly a cycle, and each search walks all modules."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


GROUP = 0.2  # seconds from an answer to its commit, together with all that came meanwhile


@contextlib.asynccontextmanager
async def committed_in_groups(run: RunContext) -> AsyncIterator[None]:
    """Commit what came in every `GROUP` seconds and at the end; make no further calls on a disk that is nearly full.

    What is in flight still finds room there. If it does not, the `StoreError` ends whoever is collecting.
    """
    collecting, wrong = asyncio.current_task(), list[StoreError]()

    def commit() -> None:
        if run.store.commit() and run.store.reserve.is_short():
            run.stop.set()

    async def again() -> None:
        while not wrong:
            await asyncio.sleep(GROUP)
            try:
                commit()
            except StoreError as e:
                wrong.append(e)
                collecting.cancel()  # type: ignore[union-attr]

    committing = asyncio.create_task(again())
    try:
        yield
    except asyncio.CancelledError:
        if not wrong:
            raise
        collecting.uncancel()  # type: ignore[union-attr]
        raise wrong[0] from None
    finally:
        committing.cancel()
        if not wrong:
            commit()


async def collect(
    campaign: Campaign,
    prompts: Sequence[Prompt],
    run: RunContext,
    tallies: dict[str, Tally],
    environ: Mapping[str, str],
    base: Path,
    wanted: Callable[[Key], bool] | None = None,
    note_plan: Callable[[Iterable[Key]], None] | None = None,
    servers: Servers | None = None,
) -> Lag:
    """Ask every called endpoint whatever the store does not hold yet, and write down what the plan is.

    First one call to each for every set of parameters: if any endpoint cannot be used at all, `EndpointError` before
    the rest is asked. They wait ``first_calls`` seconds for one another and no longer: an endpoint that is found
    unusable later is parked. A failed call is recorded, and ``run.stop`` ends it after the calls in flight.
    `CeilingError` when a ceiling is reached.

    Parameters
    ----------
    tallies : kept up to date by endpoint name.
    environ : keys of endpoints, and where weights are kept.
    base : folder that relative paths of weights start from.
    wanted : only these keys are asked; default: all.
    note_plan : gets the keys of the plan when a refusal has changed them, and writes them down; with one of its own, a
        caller has written the plan already.
    servers : of local models, if they are to stay up afterwards; default: they are stopped.

    Returns how late the event loop was.
    """
    from harness.endpoints.client import open_client  # not before somebody is asked: see there

    called = [e for e in campaign.endpoints if isinstance(e, Called)]
    for endpoint in called:
        key_of(endpoint, environ)
    store, budget = run.store, run.budget
    plans = [Calls(e, prompts, store.answered, recall(store, e), wanted, store.answered_calls) for e in called]
    if note_plan is None:
        note_plan = functools.partial(store.set_plan, prompts)
        note_plan(_keys(plans))
    tallies |= _tallies(called, store, wanted)
    waiting = [c for c in plans if tallies[c.endpoint.name].state == "waiting"]
    budget.charge_stored(called, spent(store))
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(tuned_memory())
        stack.enter_context(store.reserve.kept())
        if store.reserve.is_short():
            raise StoreError(
                f"{store.path.parent}: the disk is nearly full", "make room and run again; nobody was asked"
            )
        stack.enter_context(_deadline(run))
        await stack.enter_async_context(committed_in_groups(run))
        lag = await stack.enter_async_context(watch_lag(run.clock, run.say))
        servers = servers or Servers(stack, base, cache_folder(environ), run.say)
        where = servers.addresses([c.endpoint for c in waiting])

        bodies = BodyBudget()  # of memory for the bodies that are read at one moment, whoever sends them

        async def open_workers(e: Called) -> Workers | None:
            address = await unless(run.stop, where[e.name])
            if address is None:
                return None
            client = await stack.enter_async_context(open_client(e, address, run.settings, environ, bodies))
            clock = run.clock.interrupted_by(run.stop)
            breaker = CircuitBreaker(run.settings.park_after, run.settings.max_wait, clock)
            return Workers(Connection(e, client, breaker), run, tallies[e.name])

        replan = functools.partial(_replan, plans, note_plan)
        try:
            async with asyncio.TaskGroup() as group:
                first = [group.create_task(_first_calls(c, open_workers, run, replan)) for c in waiting]
                unusable = await _unusable(waiting, first, run.settings)
                if unusable:
                    run.stop.set()  # what is in flight is paid for: it ends and is stored
                for calls, task in zip(waiting, first, strict=True):
                    if not unusable:
                        group.create_task(_remaining_calls(calls, task, run, tallies[calls.endpoint.name]))
        finally:
            await _cancelled(where.values())
        if unusable:
            raise EndpointError(unusable, "mend it, or take the endpoint out of the config; answers so far are kept")
    if store.reserve.is_short():
        said = "the disk is full: asking stopped, and what was in flight is stored"
        raise StoreError(f"{store.path.parent}: {said}", "make room, and run again; it resumes")
    if budget.reached and any(t.stored + t.failed < t.planned for t in tallies.values()):
        raise CeilingError(f"stopped at {budget.reached}", "raise it under `collect:` and run again; it resumes")
    return lag


def _keys(plans: Iterable[Calls]) -> Iterator[Key]:
    return (j.key for c in plans for j in c.jobs())


def _tallies(called: Sequence[Called], store: Store, wanted: Callable[[Key], bool] | None) -> dict[str, Tally]:
    """How far each endpoint is, from the plan in the store."""
    out = {e.name: Tally() for e in called}
    if wanted is None:
        counted = store.progress()
        for name, tally in out.items():
            tally.planned, tally.stored = counted.get(name, (0, 0))
    else:
        for key, answered in store.plan_keys():
            if key[0] in out and wanted(key):
                out[key[0]].planned += 1
                out[key[0]].stored += answered
    for tally in out.values():
        tally.state = "waiting" if tally.stored < tally.planned else "done"
    return out


async def _cancelled(servers: Iterable[asyncio.Future[str]]) -> None:
    """Cancel servers that have not started yet, and wait until they are."""
    for server in servers:
        server.cancel()
    await asyncio.gather(*servers, return_exceptions=True)


def _replan(plans: Sequence[Calls], note_plan: Callable[[Iterable[Key]], None]) -> None:
    """Write the plan down again: an endpoint takes other requests than were planned."""
    note_plan(_keys(plans))


async def _first_calls(
    calls: Calls,
    open_workers: Callable[[Called], Awaitable[Workers | None]],
    run: RunContext,
    replan: Callable[[], None],
) -> FirstCalls:
    """The first calls to one endpoint. The plan is right before any other answer of it is stored."""
    try:
        workers = await open_workers(calls.endpoint)
    except EndpointError as e:
        return None, not_started(e)
    if workers is None:
        return None, None
    if run.settings.mode == "batch" and under_way(run.store, calls.endpoint):
        return workers, None  # what it refuses was learned before a batch was sent, and any call may be in it
    before = calls.quirks
    error = await preflight(calls, workers, run)
    if calls.quirks != before:
        replan()
    return workers, error


async def _remaining_calls(calls: Calls, first: asyncio.Task[FirstCalls], run: RunContext, tally: Tally) -> None:
    """All further calls to one endpoint, as soon as its own first ones are answered."""
    workers, error = await first
    if workers is None:
        tally.state = "stopped" if error is None else "parked"
        if error is not None:
            tally.last_error = str(error)
            run.say(f"{calls.endpoint.name} cannot be asked: {error}")
        return
    if error is not None:
        workers.park()
    if error is None and run.settings.mode == "batch":
        if (api := batches_of(calls.endpoint)) is not None:
            await Batches(api, calls, workers, run, tally).run()
            return
        run.say(f"{calls.endpoint.name} is asked call by call: no batch API is known of its provider and kind")
    elif run.settings.mode == "live" and (left := under_way(run.store, calls.endpoint)):
        run.say(f"{calls.endpoint.name}: {', '.join(left)} is still under way, and its calls are asked once more")
    workers.jobs = calls.todo()
    await workers.run()


async def _unusable(waiting: Sequence[Calls], first: Sequence[asyncio.Task[FirstCalls]], settings: Collect) -> str:
    """Wait for the first calls, but not for ever, and name the endpoints that are known by then not to be usable."""
    if first:
        await asyncio.wait(first, timeout=settings.first_calls)
    names: dict[str, list[str]] = {}  # by what is wrong: a missing file of weights is told once
    for c, t in zip(waiting, first, strict=True):
        if t.done() and (error := t.result()[1]) is not None:
            names.setdefault(str(error), []).append(c.endpoint.name)
    return "; ".join(f"{', '.join(of)}: {error}" for error, of in names.items())


@contextlib.contextmanager
def _deadline(run: RunContext) -> Iterator[None]:
    """After so many seconds the calls in flight are the last."""

    async def late(seconds: float) -> None:
        await run.clock.sleep(seconds)
        run.budget.reach(f"deadline: {seconds:g} s are over")

    timer = asyncio.create_task(late(run.settings.deadline)) if run.settings.deadline else None
    try:
        yield
    finally:
        if timer:
            timer.cancel()
