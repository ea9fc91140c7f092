"""Plan -> calls -> store: one worker pool per endpoint, every answer committed as it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

from harness.collect.endpoints import local
from harness.collect.limits import Gate
from harness.collect.plan import Job, jobs
from harness.collect.pool import Pool, Tally, World, model_name, pause
from harness.collect.store import Key, Store
from harness.collect.weights import cache_folder, fetch
from harness.collect.wire import Wire
from harness.config import Called, Campaign, Collect, Local
from harness.errors import EndpointError
from harness.responses import Prompt

__all__ = ["Tally", "World", "collect", "key_of", "model_name", "planned_keys"]


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
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(
            f"endpoint {endpoint.name!r}: the key in {endpoint.api_key_env} has characters that no header can carry",
            "copy it again: only letters, digits and signs",
        )
    return key


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
) -> None:
    """Ask every called endpoint whatever the store does not hold yet.

    First one call to each: if any endpoint cannot be used at all, `EndpointError` before the rest is asked. After
    that endpoints do not wait for one another, a failed call is recorded, and ``stop`` ends it after the calls in
    flight. ``tallies`` is kept up to date by endpoint name; only ``wanted`` keys are asked.
    """
    called = [e for e in campaign.endpoints if isinstance(e, Called)]
    have = store.keys()
    for endpoint in called:
        key_of(endpoint, world.environ)
        planned = [k for k in _keys(endpoint, prompts) if wanted(k)]
        tallies[endpoint.name] = Tally(planned=len(planned), stored=sum(k in have for k in planned))
    waiting = [e for e in called if tallies[e.name].stored < tallies[e.name].planned]
    for endpoint in called:
        if endpoint not in waiting:
            tallies[endpoint.name].state = "done"
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(tuned_memory())
        addresses = await _addresses(waiting, stack, world, campaign.collect)
        pools = []
        for endpoint in waiting:
            todo = (j for j in jobs(endpoint, prompts, model_name(endpoint)) if _missing(_key(j), have, wanted))
            wire = await stack.enter_async_context(_open(endpoint, addresses[endpoint.name], campaign.collect, world))
            gate = Gate(campaign.collect.park_after, campaign.collect.max_wait, pause(world, stop), world.clock)
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


def _missing(key: Key, have: set[Key], wanted: Callable[[Key], bool]) -> bool:
    return key not in have and wanted(key)


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
