"""A run as a person sees it: progress on stderr, Ctrl-C once to finish what is in flight, twice to stop now."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping

from harness.campaign import Plan, collect_async
from harness.collect.joining import Shard
from harness.collect.runner import Tally, World
from harness.errors import HarnessError


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
        stop.set()
        _say("stopping: calls in flight are finished and stored; Ctrl-C again to stop now", quiet)

    with _signals(loop, interrupt):
        world = World(environ=environ, base=plan.base, say=lambda text: _say(text, quiet))
        watcher = asyncio.create_task(_watch(tallies, quiet))
        try:
            await collect_async(plan, world, tallies, stop, shard)
        finally:
            watcher.cancel()
            if not quiet:
                for name, tally in tallies.items():
                    _say(_line(name, tally), quiet)
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


async def _watch(tallies: dict[str, Tally], quiet: bool) -> None:
    """A table that is redrawn on a terminal; a line every ten seconds elsewhere."""
    if quiet:
        return
    if not sys.stderr.isatty():
        while True:
            await asyncio.sleep(10.0)
            for name, tally in tallies.items():
                if tally.state != "done":
                    _say(_line(name, tally), quiet)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:
        while True:
            live.update(Text("\n".join(_line(n, t) for n, t in tallies.items())))
            await asyncio.sleep(0.25)


def _line(name: str, tally: Tally) -> str:
    from harness.report.terminal import plain

    parts = [f"{name:24} {tally.stored:6}/{tally.planned:<6} {tally.state}"]
    if tally.failed:
        parts.append(f"failed {tally.failed}")
    if tally.retries:
        parts.append(f"retries {tally.retries}")
    if tally.last_error:
        parts.append(f"last error: {plain(tally.last_error)[:100]}")
    return "  ".join(parts)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
