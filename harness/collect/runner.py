"""Plan -> calls -> store: one worker pool per endpoint, every answer committed as it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

from harness.collect.adapting import Limits
from harness.collect.budget import Budget, CeilingError
from harness.collect.endpoints import local
from harness.collect.kinds import model_name, provider_of
from harness.collect.limits import Gate
from harness.collect.plan import UNKNOWN, Key, jobs
from harness.collect.pool import Pool
from harness.collect.preflight import Calls, preflight, recall
from harness.collect.provenance import spent
from harness.collect.store import Store
from harness.collect.weights import cache_folder, fetch
from harness.collect.wire import Wire
from harness.collect.world import Tally, World, pause
from harness.config import Called, Campaign, Collect, Local
from harness.errors import CallError, EndpointError
from harness.keys import key_of
from harness.responses import Prompt

__all__ = ["Tally", "World", "collect", "model_name", "open_wire", "planned_keys"]


@contextlib.contextmanager
def tuned_memory() -> Iterator[None]:
    """Rarer garbage collection: a run makes many objects and hardly a cycle, and each search walks all modules."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def collect(
    campaign: Campaign,
    prompts: Sequence[Prompt],
    store: Store,
    tallies: dict[str, Tally],
    world: World,
    stop: asyncio.Event,
    wanted: Callable[[Key], bool] = lambda _: True,
    note_plan: Callable[[Iterable[Key]], None] | None = None,
) -> None:
    """Ask every called endpoint whatever the store does not hold yet, and write down what the plan is.

    First one call to each for every set of parameters: if any endpoint cannot be used at all, `EndpointError` before
    the rest is asked. They wait ``first_calls`` seconds for one another and no longer: whoever is found unusable later
    is parked. A failed call is recorded, and ``stop`` ends it after the calls in flight. `CeilingError` when a
    ceiling is reached. ``tallies`` is kept up to date by endpoint name; only ``wanted`` keys are asked. ``note_plan``
    gets the keys of the plan when a refusal has changed them, and writes them down; with one of its own, a caller has
    written the plan already.
    """
    called = [e for e in campaign.endpoints if isinstance(e, Called)]
    for endpoint in called:
        key_of(endpoint, world.environ)
    plans = [Calls(e, prompts, store.answered, recall(store, e), wanted) for e in called]
    if note_plan is None:
        note_plan = functools.partial(store.set_plan, prompts)
        note_plan(_keys(plans))
    tallies |= _tallies(called, store, wanted)
    waiting = [c for c in plans if tallies[c.endpoint.name].state == "waiting"]
    budget = Budget(campaign.collect, stop)
    budget.charge_stored(called, spent(store))
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(tuned_memory())
        stack.enter_context(_deadline(campaign.collect, world, budget))
        pools = await _pools(waiting, stack, store, tallies, world, campaign.collect, stop, budget)
        async with asyncio.TaskGroup() as group:
            replan = functools.partial(_replan, plans, note_plan)
            first = [group.create_task(_first(c, p, store, campaign.collect, replan)) for c, p in _zip(waiting, pools)]
            unusable = await _unusable(waiting, first, campaign.collect)
            if unusable:
                stop.set()  # what is in flight is paid for: it ends and is stored
            for (calls, pool), task in zip(_zip(waiting, pools), first, strict=True):
                if not unusable:
                    group.create_task(_rest(calls, pool, task))
        if unusable:
            raise EndpointError(unusable, "mend it, or take the endpoint out of the config; answers so far are kept")
    if budget.reached and any(t.stored + t.failed < t.planned for t in tallies.values()):
        raise CeilingError(f"stopped at {budget.reached}", "raise it under `collect:` and run again; it resumes")


def _keys(plans: Iterable[Calls]) -> Iterator[Key]:
    return (j.key for c in plans for j in c.jobs())


def _tallies(called: Sequence[Called], store: Store, wanted: Callable[[Key], bool]) -> dict[str, Tally]:
    """How far each endpoint is, from the plan in the store."""
    out = {e.name: Tally() for e in called}
    for key, answered in store.plan_keys():
        if key[0] in out and wanted(key):
            out[key[0]].planned += 1
            out[key[0]].stored += answered
    for tally in out.values():
        tally.state = "waiting" if tally.stored < tally.planned else "done"
    return out


async def _pools(
    waiting: Sequence[Calls],
    stack: contextlib.AsyncExitStack,
    store: Store,
    tallies: Mapping[str, Tally],
    world: World,
    settings: Collect,
    stop: asyncio.Event,
    budget: Budget,
) -> list[Pool]:
    """Start what must be started, connect, and give each endpoint its workers."""
    addresses = await _addresses([c.endpoint for c in waiting], stack, world, settings)
    pools = []
    for calls in waiting:
        e = calls.endpoint
        wire = await stack.enter_async_context(open_wire(e, addresses[e.name], settings, world))
        gate = Gate(settings.park_after, settings.max_wait, pause(world, stop), world.clock)
        tally = tallies[e.name]
        pools.append(Pool(e, iter(()), wire, gate, store, tally, world, settings, stop, budget))
    return pools


def _zip(waiting: Sequence[Calls], pools: Sequence[Pool]) -> Iterator[tuple[Calls, Pool]]:
    return zip(waiting, pools, strict=True)


def _replan(plans: Sequence[Calls], note_plan: Callable[[Iterable[Key]], None]) -> None:
    """Write the plan down again: an endpoint takes other requests than were planned."""
    note_plan(_keys(plans))


async def _first(
    calls: Calls, pool: Pool, store: Store, settings: Collect, replan: Callable[[], None]
) -> CallError | None:
    """The first calls to one endpoint. The plan is right before any other answer of it is stored."""
    before = calls.limits
    error = await preflight(calls, pool, store, min(2, settings.attempts))
    if calls.limits != before:
        replan()
    return error


async def _rest(calls: Calls, pool: Pool, first: asyncio.Task[CallError | None]) -> None:
    """All further calls to one endpoint, as soon as its own first ones are answered."""
    if await first is not None:
        pool.park()
    pool.todo = calls.todo()
    await pool.rest()


async def _unusable(
    waiting: Sequence[Calls], first: Sequence[asyncio.Task[CallError | None]], settings: Collect
) -> str:
    """Wait for the first calls, but not for ever, and name the endpoints that are known by then not to be usable."""
    if first:
        await asyncio.wait(first, timeout=settings.first_calls)
    found = [(c.endpoint.name, t.result()) for c, t in zip(waiting, first, strict=True) if t.done()]
    return "; ".join(f"{name}: {error}" for name, error in found if error is not None)


@contextlib.contextmanager
def _deadline(settings: Collect, world: World, budget: Budget) -> Iterator[None]:
    """After so many seconds the calls in flight are the last."""

    async def late(seconds: float) -> None:
        await world.sleep(seconds)
        budget.reach(f"deadline: {seconds:g} s are over")

    timer = asyncio.create_task(late(settings.deadline)) if settings.deadline else None
    try:
        yield
    finally:
        if timer:
            timer.cancel()


def planned_keys(
    campaign: Campaign, prompts: Sequence[Prompt], learned: Mapping[str, Limits] | None = None
) -> Iterator[Key]:
    """Keys of all calls of a campaign, as far as it is known by endpoint name what is refused."""
    called = [e for e in campaign.endpoints if isinstance(e, Called)]
    known = learned or {}
    return (j.key for e in called for j in jobs(e, prompts, model_name(e), known.get(e.name, UNKNOWN)))


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
async def open_wire(endpoint: Called, address: str, settings: Collect, world: World) -> AsyncIterator[Wire]:
    """The connection to one endpoint, with its key where its provider wants it."""
    wire = Wire(
        address,
        key_of(endpoint, world.environ),
        timeout=settings.call_timeout,
        max_bytes=int(settings.max_body_mb * 1e6),
        connections=endpoint.concurrency,
        key_header=provider_of(endpoint).key_header,
    )
    try:
        yield wire
    finally:
        await wire.close()
