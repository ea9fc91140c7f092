"""Progress display of a run on stderr; Ctrl-C once finishes what is in flight, twice stops now."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import signal
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.campaign import Parts, collect_async
from harness.cli.options import tell
from harness.clock import Clock
from harness.collect.context import Tally
from harness.errors import HarnessError, InterruptedRunError
from harness.plan import Plan
from harness.records import Step, Watch
from harness.report.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType


WINDOW = 30.0  # seconds that the rate looks back
WIDE = 80  # columns that a bar and the cost need
SOON = 2.0  # seconds that nobody has to be told of
_ERROR = 100  # characters of an error shown

Seen = tuple[float, int, int]  # clock, answers stored, calls failed


@dataclass(frozen=True)
class Fact:
    """One endpoint as it is shown. ``rate`` is in answers a second, ``eta`` in seconds, nan where nobody can tell.

    ``held`` are the seconds until its next call may start, ``told`` those that the server last asked for.
    """

    name: str
    state: str
    stored: int
    planned: int
    failed: int
    retries: int
    rate: float
    eta: float
    tokens: int
    cost: float | None
    last_error: str
    held: float = 0.0
    told: float = 0.0


def fact(name: str, tally: Tally, seen: Sequence[Seen]) -> Fact:
    """What is known of an endpoint from its tally and from what was seen of it lately, oldest first.

    The rate is that of the window, so that what an earlier run stored does not count, and a stall shows. Calls that
    failed are over as well: they shorten the time left and do not raise the rate.
    """
    rate, eta = math.nan, math.nan
    if len(seen) > 1 and (seconds := seen[-1][0] - seen[0][0]) > 0:
        rate = (seen[-1][1] - seen[0][1]) / seconds
        over = rate + (seen[-1][2] - seen[0][2]) / seconds
        left = tally.planned - tally.stored - tally.failed
        eta = 0.0 if left <= 0 else left / over if over > 0 else math.nan
    state = "first calls" if tally.state == "waiting" and tally.in_flight else tally.state
    held = max(0.0, tally.held_until - seen[-1][0]) if seen and state in ("running", "first calls") else 0.0
    return Fact(
        name, state, tally.stored, tally.planned, tally.failed, tally.retries, rate, eta,
        tally.tokens, tally.cost, tally.last_error, held, tally.told_wait,
    )  # fmt: skip


@dataclass
class History:
    """What was seen of each endpoint in the last `WINDOW` seconds."""

    seen: dict[str, deque[Seen]] = field(default_factory=dict)

    def look(self, tallies: Mapping[str, Tally], now: float) -> list[Fact]:
        """Note where every endpoint is, and say what is known of each."""
        facts = []
        for name, tally in tallies.items():
            seen = self.seen.setdefault(name, deque())
            seen.append((now, tally.stored, tally.failed))
            while len(seen) > 2 and seen[1][0] <= now - WINDOW:
                seen.popleft()
            facts.append(fact(name, tally, seen))
        return facts


def duration(seconds: float) -> str:
    """Seconds in the two largest units that are not zero, "-" where nobody can tell."""
    if not math.isfinite(seconds):
        return "-"
    whole = math.ceil(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def speed(rate: float) -> str:
    """Answers a second, or a minute where there are few."""
    if not math.isfinite(rate):
        return "-"
    return f"{rate:.1f}/s" if rate >= 1 or rate == 0 else f"{rate * 60:.1f}/min"


def spent(f: Fact) -> str:
    """Money where the price is known, else tokens: of this run."""
    if f.cost is not None:
        return f"cost {f.cost:.4f}" if f.cost < 1 else f"cost {f.cost:.2f}"
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if f.tokens >= size:
            return f"{f.tokens / size:.1f}{unit} tokens"
    return f"{f.tokens} tokens"


def errors(f: Fact) -> str:
    """Failed calls and retries, where there are any."""
    return ", ".join(f"{word} {n}" for word, n in (("failed", f.failed), ("retries", f.retries)) if n)


def wait(f: Fact) -> str:
    """How long an endpoint is left alone, and what its server asked for; nothing for less than `SOON`."""
    if f.held < SOON:
        return ""
    return f"next call in {duration(f.held)}" + (f" (the server asked for {duration(f.told)})" if f.told else "")


def line(f: Fact) -> str:
    """All facts of an endpoint in one line."""
    parts = [f"{f.name:24} {f.stored:6}/{f.planned:<6} {f.state}"]
    if f.state == "running" and math.isfinite(f.rate):
        parts += [speed(f.rate), f"ETA {duration(f.eta)}"]
    if waits := wait(f):
        parts.append(waits)
    if f.tokens:
        parts.append(spent(f))
    if found := errors(f):
        parts.append(found)
    if f.last_error:
        parts.append(f"last error: {one_line(f.last_error)[:_ERROR]}")
    return "  ".join(parts)


def table(facts: Sequence[Fact], width: int, height: int) -> RenderableType:
    """The facts as a table for a terminal of so many columns and lines; what is done gives way where room is short."""
    from rich.console import Group
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    def text(name: str, **how: Any) -> ProgressColumn:
        column = Column(no_wrap=True, overflow="ellipsis", **how)
        return TextColumn(f"{{task.fields[{name}]}}", markup=False, table_column=column)

    longest = max((len(f"{f.stored}/{f.planned}") for f in facts), default=1)
    columns = [text("model", max_width=max(8, width // 4)), text("done", justify="right", min_width=longest)]
    columns += [text("rate", justify="right"), text("eta")]
    if width >= WIDE:
        columns.insert(1, BarColumn(bar_width=max(8, width // 8)))
        columns.append(text("spent", justify="right"))
    columns.append(text("errors"))
    shown = sorted(facts, key=lambda f: f.state == "done")
    told = [(f.name, "; ".join(t for t in (wait(f), one_line(f.last_error)[:_ERROR]) if t)) for f in shown]
    troubles = [f"{name}: {text}" for name, text in told if text][: max(1, height // 6)]
    room = max(1, height - 3 - len(troubles))
    progress = Progress(*columns)
    for f in shown[:room]:
        running = f.state == "running"
        progress.add_task(
            "", total=f.planned, completed=f.stored, model=f.name, done=f"{f.stored}/{f.planned}",
            rate=speed(f.rate) if running else f.state, eta=f"ETA {duration(f.eta)}" if running else "",
            spent=spent(f), errors=errors(f),
        )  # fmt: skip
    return Group(
        progress.make_tasks_table(progress.tasks),
        Text(_summary(facts, len(shown) - room), no_wrap=True, overflow="ellipsis"),
        *(Text(t, style="yellow", no_wrap=True, overflow="ellipsis") for t in troubles),
    )


def _summary(facts: Sequence[Fact], hidden: int) -> str:
    """All endpoints in one line; the run takes as long as its slowest."""
    stored, planned = sum(f.stored for f in facts), sum(f.planned for f in facts)
    etas = [f.eta for f in facts if f.state == "running" and math.isfinite(f.eta)]
    costs = [f.cost for f in facts if f.cost is not None]
    parts = [f"{stored}/{planned} answers"]
    if hidden > 0:
        parts.append(f"{hidden} more endpoints")
    if etas:
        parts.append(f"ETA {duration(max(etas))}")
    if costs:
        parts.append(f"cost {sum(costs):.4f}")
    parts.append(f"{sum(f.state == 'done' for f in facts)} of {len(facts)} endpoints done")
    return ", ".join(parts)


LINES, REDRAW = 10, 0.25  # seconds between lines, and between drawings


def run_with_progress(
    plan: Plan, environ: Mapping[str, str], again: str, *, quiet: bool, parts: Parts | None = None
) -> int:
    """Collect with progress, in ``parts`` if there are any; returns the number of calls that failed.

    Raises `InterruptedRunError` after Ctrl-C; ``again`` is what to do then.
    """
    tallies: dict[str, Tally] = {}
    try:
        stopped = asyncio.run(_run(plan, environ, tallies, quiet, parts))
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
    plan: Plan, environ: Mapping[str, str], tallies: dict[str, Tally], quiet: bool, parts: Parts | None
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
        clock = Clock()
        watcher = asyncio.create_task(_watch(tallies, clock, quiet))
        try:
            done = await collect_async(plan, environ, tallies, stop, lambda text: _say(text, quiet), clock, parts)
        finally:
            watcher.cancel()
            await asyncio.wait([watcher])  # the table is gone before anything else is written
            for fact in History().look(tallies, clock.monotonic()):
                _say(line(fact), quiet)
    return not done or (stop.is_set() and any(t.stored + t.failed < t.planned for t in tallies.values()))


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


async def _watch(tallies: dict[str, Tally], clock: Clock, quiet: bool) -> None:
    """A table that is redrawn on a terminal; a line an endpoint every ten seconds elsewhere."""
    if quiet:
        return
    from rich.console import Console
    from rich.live import Live

    console, history = Console(stderr=True), History()
    if not console.is_terminal or console.is_dumb_terminal:
        for seconds in itertools.count(1):
            await asyncio.sleep(1.0)
            for fact in history.look(tallies, clock.monotonic()):
                if fact.state != "done" and seconds % LINES == 0:
                    _say(line(fact), quiet)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(table(history.look(tallies, clock.monotonic()), console.width, console.height), refresh=True)
            await asyncio.sleep(REDRAW)


_STEPS: Mapping[Step, str] = {
    "reading": "reading the answers of {what}",
    "comparing": "comparing answers by {what}",
    "judging": "judging {what}",
    "observing": "looking at the answers of {what}",
    "attributing": "attributing among {what}",
    "surveying": "surveying all pairs of {what}",
    "writing": "writing {what}",
}


def step_line(step: Step, what: str, done: int, of: int) -> str:
    """What is worked out after the last answer, and how far it is."""
    far = f" ({done} of {of} done)" if of else ""
    return f"scoring: {_STEPS[step].format(what=what)}{far}"


@contextlib.contextmanager
def scoring(*, quiet: bool, clock: Clock = Clock()) -> Iterator[Watch]:
    """A watcher of what is scored: one line that is drawn again on a terminal, a line every ten seconds elsewhere."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    told = [-math.inf]

    def elsewhere(step: Step, what: str, done: int, of: int) -> None:
        if clock.monotonic() - told[0] >= LINES:
            told[0] = clock.monotonic()
            _say(step_line(step, what, done, of), quiet)

    if quiet or not console.is_terminal or console.is_dumb_terminal:
        yield elsewhere
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda *told: live.update(
            Text(one_line(step_line(*told)), no_wrap=True, overflow="ellipsis"), refresh=True
        )


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        tell(text)
