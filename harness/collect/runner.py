"""Plan -> calls -> store: one worker pool per endpoint, every answer committed as it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from harness.collect.budget import Budget
from harness.collect.context import Tally, World, pause
from harness.collect.preflight import Calls, preflight, recall
from harness.collect.throttle import Gate
from harness.collect.worker import Pool
from harness.config.schema import Called, Campaign, Collect
from harness.config.secrets import key_of
from harness.endpoints.apis import model_name
from harness.endpoints.client import open_wire
from harness.endpoints.local import addresses, unless
from harness.endpoints.requests import planned_keys
from harness.errors import CallError, CeilingError, EndpointError
from harness.records import Key, Prompt
from harness.store.provenance import spent
from harness.store.store import Store

__all__ = ["Tally", "World", "collect", "model_name", "open_wire", "planned_keys"]

First = tuple[Pool | None, CallError | None]  # who asks on, None if nobody could be reached; why not


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
        where = addresses([c.endpoint for c in waiting], stack, world)

        async def open_pool(e: Called) -> Pool | None:
            address = await unless(stop, where[e.name])
            if address is None:
                return None
            wire = await stack.enter_async_context(open_wire(e, address, campaign.collect, world))
            gate = Gate(campaign.collect.park_after, campaign.collect.max_wait, pause(world, stop), world.clock)
            return Pool(e, iter(()), wire, gate, store, tallies[e.name], world, campaign.collect, stop, budget)

        replan = functools.partial(_replan, plans, note_plan)
        attempts = min(2, campaign.collect.attempts)
        try:
            async with asyncio.TaskGroup() as group:
                first = [group.create_task(_first(c, open_pool, store, attempts, replan)) for c in waiting]
                unusable = await _unusable(waiting, first, campaign.collect)
                if unusable:
                    stop.set()  # what is in flight is paid for: it ends and is stored
                for calls, task in zip(waiting, first, strict=True):
                    if not unusable:
                        group.create_task(_rest(calls, task, tallies[calls.endpoint.name], world))
        finally:
            await _given_up(where.values())
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


async def _given_up(servers: Iterable[asyncio.Future[str]]) -> None:
    """Servers that are still on their way are not waited for."""
    for server in servers:
        server.cancel()
    await asyncio.gather(*servers, return_exceptions=True)


def _replan(plans: Sequence[Calls], note_plan: Callable[[Iterable[Key]], None]) -> None:
    """Write the plan down again: an endpoint takes other requests than were planned."""
    note_plan(_keys(plans))


async def _first(
    calls: Calls, open_pool: Callable[[Called], Awaitable[Pool | None]], store: Store, attempts: int,
    replan: Callable[[], None],
) -> First:  # fmt: skip
    """The first calls to one endpoint. The plan is right before any other answer of it is stored."""
    try:
        pool = await open_pool(calls.endpoint)
    except EndpointError as e:
        return None, CallError(e.message, e.hint, kind="connection", fatal=True)
    if pool is None:
        return None, None
    before = calls.limits
    error = await preflight(calls, pool, store, attempts)
    if calls.limits != before:
        replan()
    return pool, error


async def _rest(calls: Calls, first: asyncio.Task[First], tally: Tally, world: World) -> None:
    """All further calls to one endpoint, as soon as its own first ones are answered."""
    pool, error = await first
    if pool is None:
        tally.state = "stopped" if error is None else "parked"
        if error is not None:
            tally.last_error = str(error)
            world.say(f"{calls.endpoint.name} cannot be asked: {error}")
        return
    if error is not None:
        pool.park()
    pool.todo = calls.todo()
    await pool.rest()


async def _unusable(waiting: Sequence[Calls], first: Sequence[asyncio.Task[First]], settings: Collect) -> str:
    """Wait for the first calls, but not for ever, and name the endpoints that are known by then not to be usable."""
    if first:
        await asyncio.wait(first, timeout=settings.first_calls)
    found = [(c.endpoint.name, t.result()[1]) for c, t in zip(waiting, first, strict=True) if t.done()]
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
