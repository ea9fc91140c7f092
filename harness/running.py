"""A run as a person sees it: progress on stderr, Ctrl-C once to finish what is in flight, twice to stop now."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
from collections.abc import Iterator, Mapping

from harness.campaign import Plan, collect_async
from harness.collect.joining import Shard
from harness.collect.runner import Tally, World
from harness.errors import HarnessError
from harness.progress import History, line, table

LINES, REDRAW = 10, 0.25  # seconds between lines, and between drawings


class InterruptedRunError(HarnessError):
    """The run was stopped by the user; what was answered is stored."""

    exit_code = 130


def run_with_progress(
    plan: Plan, environ: Mapping[str, str], again: str, *, quiet: bool, shard: Shard | None = None
) -> int:
    """Collect with progress; returns the number of calls that failed.

    Raises `InterruptedRunError` after Ctrl-C; ``again`` is what to do then.
    """
    tallies: dict[str, Tally] = {}
    try:
        stopped = asyncio.run(_run(plan, environ, tallies, quiet, shard))
    except (KeyboardInterrupt, asyncio.CancelledError):
        stopped = True
    except BaseExceptionGroup as group:
        raise _first(group) from None
    if stopped:
        stored = sum(t.stored for t in tallies.values())
        planned = sum(t.planned for t in tallies.values())
        raise InterruptedRunError(f"stopped: {stored} of {planned} answers are stored", again)
    return sum(max(0, t.planned - t.stored) for t in tallies.values())


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    for error in group.exceptions:
        found = _first(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, HarnessError):
            return found
    return group


async def _run(
    plan: Plan, environ: Mapping[str, str], tallies: dict[str, Tally], quiet: bool, shard: Shard | None
) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def interrupt() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
            return
        stop.set()
        _say("stopping: calls in flight are finished and stored; Ctrl-C again to stop now", quiet)

    with _signals(loop, interrupt):
        world = World(environ=environ, base=plan.base, say=lambda text: _say(text, quiet))
        watcher = asyncio.create_task(_watch(tallies, world, quiet))
        try:
            await collect_async(plan, world, tallies, stop, shard)
        finally:
            watcher.cancel()
            await asyncio.wait([watcher])  # the table is gone before anything else is written
            for fact in History().look(tallies, world.clock()):
                _say(line(fact), quiet)
    return stop.is_set() and any(t.stored + t.failed < t.planned for t in tallies.values())


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, handler: object) -> Iterator[None]:
    names = [signal.SIGINT, signal.SIGTERM]
    with contextlib.suppress(NotImplementedError, RuntimeError):  # not on Windows, not outside the main thread
        for name in names:
            loop.add_signal_handler(name, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError):
            for name in names:
                loop.remove_signal_handler(name)


async def _watch(tallies: dict[str, Tally], world: World, quiet: bool) -> None:
    """A table that is redrawn on a terminal; a line an endpoint every ten seconds elsewhere."""
    if quiet:
        return
    from rich.console import Console
    from rich.live import Live

    console, history = Console(stderr=True), History()
    if not console.is_terminal or console.is_dumb_terminal:
        for seconds in itertools.count(1):
            await asyncio.sleep(1.0)
            for fact in history.look(tallies, world.clock()):
                if fact.state != "done" and seconds % LINES == 0:
                    _say(line(fact), quiet)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(table(history.look(tallies, world.clock()), console.width, console.height), refresh=True)
            await asyncio.sleep(REDRAW)


def _say(text: str, quiet: bool) -> None:
    from harness.report.terminal import plain

    if not quiet:
        print(plain(text), file=sys.stderr, flush=True)  # noqa: T201
