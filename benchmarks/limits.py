"""Rate limits that nobody set: how much of them is used, and how many calls are refused.

``python -m benchmarks.limits`` drives the workers of one endpoint, with all that they do but the socket, against three
kinds of limit in virtual time; then a server that refuses everything for a while and has no limit otherwise; then once
a real server over a real socket. Latencies are log-normal.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import math
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from harness.clock import Clock
from harness.collect.context import RunContext, Tally
from harness.collect.throttle import CircuitBreaker
from harness.collect.worker import Connection, Workers
from harness.config.endpoint import OpenAIChat
from harness.config.schema import Collect
from harness.endpoints.client import Client, Reply
from harness.endpoints.failures import from_status
from harness.endpoints.quotas import read_quotas, retry_after
from harness.endpoints.server_errors import read_error
from harness.records import Job
from harness.store import Store
from tests.support import payloads
from tests.support.clock import in_virtual_time

MINUTE, LATENCY = 60.0, 2.0  # seconds; half of all answers take longer
LEAST_USED, MOST_REFUSED = 0.95, 0.05  # the aims


class Limit(Protocol):
    """What a server takes: ``take`` says whether a call at ``now`` is taken; ``left`` is what headers tell."""

    def take(self, now: float) -> bool: ...

    def left(self, now: float) -> tuple[float, float]: ...


@dataclass
class Bucket:
    """A bucket of a minute's calls that refills evenly (OpenAI, Anthropic, Groq)."""

    rpm: float
    phase: float = 0.0
    level: float = field(init=False)
    most: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.most = self.rpm

    def _fill(self, now: float) -> None:
        self.level, self.at = min(self.most, self.level + (now - self.at) * self.rpm / MINUTE), now

    def take(self, now: float) -> bool:
        self._fill(now)
        taken = self.level >= 1
        self.level -= taken
        return taken

    def left(self, now: float) -> tuple[float, float]:
        self._fill(now)
        return math.floor(self.level), (self.rpm - self.level) * MINUTE / self.rpm


@dataclass
class Window:
    """So many calls in each minute of the server's clock, which began ``phase`` seconds before the run."""

    rpm: float
    phase: float = 0.0
    used: int = 0
    minute: int = 0

    def take(self, now: float) -> bool:
        self._turn(now)
        taken = self.used < self.rpm
        self.used += taken
        return taken

    def _turn(self, now: float) -> None:
        minute = int((now + self.phase) // MINUTE)
        if minute != self.minute:
            self.minute, self.used = minute, 0

    def left(self, now: float) -> tuple[float, float]:
        self._turn(now)
        return self.rpm - self.used, MINUTE - (now + self.phase) % MINUTE


@dataclass
class CountsRefused:
    """A log of the last minute in which refused calls stand, too."""

    rpm: float
    phase: float = 0.0
    log: deque[float] = field(default_factory=deque)

    def take(self, now: float) -> bool:
        while self.log and self.log[0] <= now - MINUTE:
            self.log.popleft()
        self.log.append(now)
        return len(self.log) <= self.rpm

    def left(self, now: float) -> tuple[float, float]:
        return max(0.0, self.rpm - len(self.log)), self.log[0] + MINUTE - now if self.log else 0.0


@dataclass
class Outage:
    """No limit, but for so many seconds from its second call on every call is refused, and told to come back in 1 s."""

    seconds: float
    rpm: float = 0.0
    began: float = math.inf

    def take(self, now: float) -> bool:
        first, self.began = math.isinf(self.began), min(self.began, now)
        return first or now >= self.began + self.seconds

    def left(self, now: float) -> tuple[float, float]:
        return 0.0, 1.0


KINDS: Mapping[str, Callable[[float, float], Limit]] = {
    "bucket": Bucket,
    "fixed window": Window,
    "counts refused": CountsRefused,
}
Says = str  # what of its limit a server tells: "nothing", "wait" (in refusals), "headers" (in answers, and the wait)
_BODY = payloads.encode(payloads.chat("answer"))


@dataclass
class SimulatedServer:
    """A `Client` whose server is a limit and a latency; ``calls`` are (time, taken) as they arrived."""

    limit: Limit
    clock: Clock
    rng: random.Random
    latency: float
    says: Says
    calls: list[tuple[float, bool]] = field(default_factory=list)
    has_key: bool = False

    async def post(
        self, path: str, body: bytes, within: float | None = None, *, read: Callable[[bytes], Any]
    ) -> Reply[Any]:
        """One request, refused soon or answered later."""
        await self.clock.sleep(self._about(0.04))
        now = self.clock.monotonic()
        taken = self.limit.take(now)
        self.calls.append((now, taken))
        left, reset = self.limit.left(now)
        headers = {
            "x-ratelimit-limit-requests": f"{self.limit.rpm:g}",  # type: ignore[attr-defined]
            "x-ratelimit-remaining-requests": f"{left:g}",
            "x-ratelimit-reset-requests": f"{reset:.3f}s",
        }
        told = headers if self.says == "headers" else {}
        if taken:
            await self.clock.sleep(self._about(self.latency))
            return Reply(read(_BODY), read_quotas(told, 0.0))
        if self.says != "nothing":
            told = {"retry-after": str(math.ceil(max(0.001, reset if left < 1 else 0.0)))}
        await self.clock.sleep(self._about(0.04))
        wait = retry_after(told, 0.0)
        raise from_status(429, read_error({"error": {"message": "slow down"}}), "HTTP 429", wait)

    def _about(self, seconds: float) -> float:
        """A latency of this median: log-normal, one in twenty more than twice as long."""
        return seconds * self.rng.lognormvariate(0.0, 0.45)

    def redact(self, text: str) -> str:
        return text


class Shelf:
    """A store that keeps counts only, on a disk with room."""

    def __init__(self) -> None:
        self.answers = self.failures = 0
        self.reserve = self

    def is_short(self) -> bool:
        return False

    def put(self, *_: Any) -> None:
        self.answers += 1

    def add_failure(self, *_: Any) -> None:
        self.failures += 1


@dataclass(frozen=True)
class Cell:
    """One run: the limit's kind, its calls a minute, what it says; then what came of it."""

    kind: str
    rpm: float
    says: Says
    latency: float
    used: float  # of what the limit allows after the first minute
    refused: float  # of the calls after the first minute
    refused_first: int  # calls in the first minute
    failures: int


def jobs() -> Iterator[Job]:
    """Calls without end."""
    body = payloads.encode({"model": "m", "messages": [{"role": "user", "content": "Say something."}]})
    for n in itertools.count():
        yield Job(endpoint="limited", prompt=f"p{n}", sample=0, surface="chat", request_hash="hash", body=body)


def simulate(
    kind: str, rpm: float, says: Says, latency: float, seconds: float, in_flight: int = 512, seed: int = 1
) -> tuple[Cell, list[tuple[float, bool]]]:
    """Run the workers of an endpoint for so many seconds of virtual time against one limit."""
    rng = random.Random(seed)
    limit = KINDS[kind](rpm, rng.random() * MINUTE)
    shelf = Shelf()

    async def main(clock: Clock) -> list[tuple[float, bool]]:
        server = SimulatedServer(limit, clock, rng, latency, says)
        await collect(cast(Client, server), clock, shelf, rng, in_flight, seconds)
        return server.calls

    calls = in_virtual_time(main)
    return _cell(calls, kind, rpm, says, latency, seconds, shelf.failures), calls


def after_outage(outage: float, says: Says, calls: int = 1000, in_flight: int = 64) -> float:
    """Virtual seconds that so many calls take of a server that refuses everything for ``outage`` seconds."""
    rng, shelf = random.Random(1), Shelf()

    async def main(clock: Clock) -> float:
        server = SimulatedServer(Outage(outage), clock, rng, LATENCY, says)
        await collect(cast(Client, server), clock, shelf, rng, in_flight, 86_400.0, calls)
        return clock.monotonic()

    return in_virtual_time(main)


def outages() -> Iterator[str]:
    """Rows of Markdown: how long outages of two lengths hold a run up."""
    for says, seconds in itertools.product(("nothing", "wait"), (30.0, 120.0)):
        yield f"| {seconds:g} | {says} | {after_outage(seconds, says):.0f} |"


async def collect(
    client: Client,
    clock: Clock,
    shelf: Shelf,
    rng: random.Random,
    in_flight: int,
    seconds: float,
    calls: int | None = None,
) -> None:
    """What a run does with one endpoint, for so many seconds, or until so many calls are made."""
    settings, stop, began = Collect(), asyncio.Event(), clock.monotonic()
    run = RunContext(cast(Store, shelf), settings, stop, clock=clock, rng=rng)
    breaker = CircuitBreaker(settings.park_after, settings.max_wait, clock.interrupted_by(stop))
    endpoint = OpenAIChat(
        name="limited",
        role="candidate",
        lineage="l",
        model="m",
        kind="openai-chat",
        base_url="http://localhost:1/v1",
        concurrency=in_flight,
    )
    workers = Workers(Connection(endpoint, client, breaker), run, Tally(), itertools.islice(jobs(), calls))
    await workers.with_retries(next(workers.jobs), 2, [])  # a run's first call is made alone
    asyncio.get_running_loop().call_later(began + seconds - clock.monotonic(), stop.set)
    await workers.run()


def _cell(
    calls: list[tuple[float, bool]], kind: str, rpm: float, says: Says, latency: float, seconds: float, failures: int
) -> Cell:
    later = [taken for at, taken in calls if MINUTE <= at < seconds]
    first = sum(not taken for at, taken in calls if at < MINUTE)
    allowed = rpm * (seconds - MINUTE) / MINUTE
    refused = later.count(False) / max(1, len(later))
    return Cell(kind, rpm, says, latency, sum(later) / allowed, refused, first, failures)


def real(rpm: float = 300.0, seconds: float = 120.0) -> dict[str, float]:
    """The same over a real socket, in real time: a bucket that holds two seconds' calls and tells nothing."""
    from harness.endpoints.client import Client as RealClient
    from tests.support.fault_server import FaultServer, Request, ok, says

    bucket = Bucket(rpm)
    bucket.level = bucket.most = rpm / 30
    calls: list[tuple[float, bool]] = []
    began = time.monotonic()
    refusal = says({"error": {"message": "slow down"}}, 429)

    def step(request: Request) -> Any:
        now = time.monotonic() - began
        calls.append((now, bucket.take(now)))
        return dataclasses.replace(ok(request), after=0.5) if calls[-1][1] else refusal(request)

    async def main(url: str) -> None:
        client = RealClient(url, None, timeout=30, max_bytes=1 << 20, connections=64)
        try:
            await collect(client, Clock(), Shelf(), random.Random(1), 64, seconds)
        finally:
            await client.close()

    with FaultServer({"m": [step]}) as server:
        asyncio.run(main(server.url))
    half = seconds / 2
    later = [taken for at, taken in calls if half <= at < seconds]
    return {
        "calls a minute": rpm,
        "used in the second half": sum(later) / (rpm * half / MINUTE),
        "refused in the second half": later.count(False) / max(1, len(later)),
        "refused in the first half": sum(not taken for at, taken in calls if at < half),
    }


def table(cells: Iterable[Cell]) -> str:
    """Markdown; what misses an aim is marked."""
    lines = [
        "| limit | calls a minute | the server tells | used | refused | refused in the first minute | calls lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in cells:
        used = f"{c.used:.3f}{'' if c.used >= LEAST_USED else ' (miss)'}"
        refused = f"{c.refused:.1%}{'' if c.refused < MOST_REFUSED else ' (miss)'}"
        lines.append(f"| {c.kind} | {c.rpm:,.0f} | {c.says} | {used} | {refused} | {c.refused_first} | {c.failures} |")
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, run all cells, print one table and the check over a real socket."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rpm", type=float, nargs="*", default=[60, 600, 10_000], help="calls a minute")
    parser.add_argument("--says", nargs="*", default=["nothing", "wait", "headers"], help="what a server tells")
    parser.add_argument("--minutes", type=float, default=20.0, help="of virtual time, fewer above 1,000 calls a minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--outage", action="store_true", help="only the server that refuses everything for a while")
    parser.add_argument("--real", action="store_true", help="only the check over a real socket")
    options = parser.parse_args()
    if options.outage:
        print(
            "\n".join(["| refuses all for, s | it tells | s until 1,000 calls are made |", "|---|---|---|", *outages()])
        )
        return
    if not options.real:
        cells = []
        for says in options.says:
            for rpm in options.rpm:
                for kind in KINDS:
                    seconds = MINUTE * (options.minutes if rpm <= 1000 else min(options.minutes, 7.0))
                    cells.append(simulate(kind, rpm, says, LATENCY, seconds, seed=options.seed)[0])
                    print(table(cells).splitlines()[-1], file=sys.stderr)
        print(table(cells) + "\n")
    print("\n".join(["| real socket | |", "|---|---|", *(f"| {k} | {v:.3g} |" for k, v in real().items())]))


if __name__ == "__main__":
    main()
