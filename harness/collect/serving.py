"""Where each endpoint is asked: a remote one at once, a local one when its weights are there and its server is up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from harness.collect.endpoints import local
from harness.collect.weights import cache_folder, fetch
from harness.collect.world import World
from harness.config import Called, Local

_T = TypeVar("_T")


def addresses(
    endpoints: Sequence[Called], stack: contextlib.AsyncExitStack, world: World
) -> dict[str, asyncio.Future[str]]:
    """Base URL by endpoint name, as soon as there is one; one server for all endpoints with the same weights.

    Nobody waits for the weights of others. `EndpointError` comes with the future whose server cannot be had.
    """
    loop = asyncio.get_running_loop()
    out: dict[str, asyncio.Future[str]] = {}
    groups: dict[tuple[object, ...], list[Local]] = {}
    for e in endpoints:
        if isinstance(e, Local):
            groups.setdefault((e.weights, e.context, e.threads, e.concurrency), []).append(e)
        else:
            out[e.name] = loop.create_future()
            out[e.name].set_result(e.base_url)
    before: asyncio.Future[str] | None = None
    for members in groups.values():
        before = asyncio.ensure_future(_served(members[0], stack, world, before))
        out |= {e.name: before for e in members}
    return out


async def _served(
    endpoint: Local, stack: contextlib.AsyncExitStack, world: World, before: asyncio.Future[str] | None
) -> str:
    """One after the other: two downloads at once are no faster, and two servers that load at once are slower."""
    if before is not None:
        await asyncio.wait([before])
    cache = cache_folder(world.environ)
    gguf: Path = await in_thread(lambda: fetch(endpoint.weights, world.base, cache, world.say))
    return await stack.enter_async_context(local.serve(endpoint, gguf))


async def in_thread(work: Callable[[], _T]) -> _T:
    """As `asyncio.to_thread`, in a thread that nothing waits for: Ctrl-C twice need not wait for a download."""
    loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def settle(value: _T | None, error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(value)

    def run() -> None:
        try:
            value, error = work(), None
        except BaseException as e:
            value, error = None, e
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, daemon=True).start()
    return await done


async def unless(stop: asyncio.Event, wanted: asyncio.Future[_T]) -> _T | None:
    """What comes of ``wanted``, or None if ``stop`` is set before."""
    came, stopped = asyncio.ensure_future(asyncio.shield(wanted)), asyncio.ensure_future(stop.wait())
    try:
        waits: set[asyncio.Future[Any]] = {came, stopped}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return await came if came.done() else None
    finally:
        came.cancel()
        stopped.cancel()
