"""The first calls to an endpoint: whether it can be used, and which parameters it refuses. Learned once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from harness.collect.adapting import Limits, learn
from harness.collect.kinds import model_name
from harness.collect.plan import UNKNOWN, Job, Key, jobs
from harness.collect.pool import Pool
from harness.collect.store import Store
from harness.config import Called, Remote
from harness.errors import CallError
from harness.responses import Prompt

_UNUSABLE = frozenset({"connection", "timeout", "malformed"})
_LESSONS = 12  # no server refuses more parameters than a request has

Shape = tuple[object, ...]


def recall(store: Store, endpoint: Called) -> Limits:
    """What was learned of an endpoint in an earlier run or check; forgotten when its address or model changes."""
    found = json.loads(store.note(f"learned/{endpoint.name}") or "{}")
    return Limits.read(found["limits"]) if found.get("of") == _identity(endpoint) else UNKNOWN


def learned(store: Store, endpoints: Iterable[Called]) -> dict[str, Limits]:
    """What a store knows of endpoints, by name."""
    return {e.name: recall(store, e) for e in endpoints}


def remember(store: Store, endpoint: Called, limits: Limits) -> None:
    """Keep what was learned of an endpoint beside its answers."""
    record = {"of": _identity(endpoint), "limits": limits.record()}
    store.set_note(f"learned/{endpoint.name}", json.dumps(record))


def _identity(endpoint: Called) -> list[str]:
    address = endpoint.base_url if isinstance(endpoint, Remote) else ""
    return [endpoint.kind, address, model_name(endpoint)]


@dataclass
class Calls:
    """All planned calls of one endpoint, as what is known of it allows; those in ``have`` are answered."""

    endpoint: Called
    prompts: Sequence[Prompt]
    have: set[Key]
    limits: Limits = UNKNOWN
    wanted: Callable[[Key], bool] = lambda _: True
    jobs: list[Job] = field(default_factory=list)
    ended: set[Key] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.plan(self.limits)

    def plan(self, limits: Limits) -> None:
        """Write all requests again, under other limits."""
        self.limits = limits
        self.jobs = list(jobs(self.endpoint, self.prompts, model_name(self.endpoint), limits))

    def planned(self) -> int:
        """How many are to be answered here: all, or those of a shard."""
        return sum(self.wanted(j.key) for j in self.jobs)

    def stored(self) -> int:
        """How many of them are answered already."""
        return sum(j.key in self.have and self.wanted(j.key) for j in self.jobs)

    def todo(self) -> Iterator[Job]:
        """What is still to be asked."""
        return (j for j in self.jobs if self._open(j.key))

    def _open(self, key: Key) -> bool:
        return key not in self.have and key not in self.ended and self.wanted(key)

    def probe(self, tried: set[Shape]) -> tuple[Shape, Job] | None:
        """The next call whose parameters were not put to the endpoint yet."""
        settings = {p.id: (p.max_tokens is None, p.temperature, p.top_p, p.top_logprobs) for p in self.prompts}
        for job in self.todo():
            shape = (job.surface, *settings[job.prompt])
            if shape not in tried:
                return shape, job
        return None


async def preflight(calls: Calls, pool: Pool, store: Store, attempts: int) -> CallError | None:
    """Make one call for every set of parameters that is planned: the error if the endpoint cannot be used.

    These calls are of the plan and their answers are kept. A parameter that is refused is left out of all requests
    from then on, and what is stored and hashed is the request that was really sent.
    """
    tried: set[Shape] = set()
    lessons = 0
    while (found := calls.probe(tried)) is not None:
        shape, job = found
        error = await pool.ask(job, attempts)
        if error is not None and error.kind == "stopped":
            return None
        better = learn(calls.limits, msgspec.json.decode(job.body), error) if error is not None else None
        if better is not None and lessons < _LESSONS:
            lessons += 1
            remember(store, calls.endpoint, better)
            calls.plan(better)
            continue
        tried.add(shape)
        calls.ended.add(job.key)
        if error is not None:
            pool.fail(job, error)
            if error.fatal or error.kind in _UNUSABLE:
                return error
    return None
