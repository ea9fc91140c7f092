"""The first calls to an endpoint: whether it can be used, and which parameters it refuses. Learned once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from harness.addresses import public_address
from harness.collect.adapting import Limits, learn, told
from harness.collect.kinds import model_name
from harness.collect.plan import UNKNOWN, Job, Key, jobs, surface_for
from harness.collect.pool import Pool
from harness.collect.store import Attempt, Store
from harness.config import Called, Remote
from harness.errors import CallError
from harness.responses import Prompt

_UNUSABLE = frozenset({"connection", "timeout", "malformed"})
_LESSONS = 16  # as many as there are sets of parameters to leave out, where a server does not say which

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
    address = public_address(endpoint.base_url) if isinstance(endpoint, Remote) else ""
    return [endpoint.kind, address, model_name(endpoint)]


@dataclass
class Calls:
    """All planned calls of one endpoint, as what is known of it allows; each is written when it is its turn.

    Nothing is held of calls to come or of calls made, so memory does not grow with the plan.
    """

    endpoint: Called
    prompts: Sequence[Prompt]
    answered: Callable[[Key], bool] = lambda _: False
    limits: Limits = UNKNOWN
    wanted: Callable[[Key], bool] = lambda _: True
    ended: set[Key] = field(default_factory=set)

    def jobs(self) -> Iterator[Job]:
        """Every call of the plan."""
        return jobs(self.endpoint, self.prompts, model_name(self.endpoint), self.limits)

    def todo(self) -> Iterator[Job]:
        """What is still to be asked here, at the moment when it is asked for."""
        return (j for j in self.jobs() if self._open(j.key))

    def _open(self, key: Key) -> bool:
        return self.wanted(key) and key not in self.ended and not self.answered(key)

    def probes(self) -> dict[Shape, Job]:
        """For every set of parameters the first call that is still to be made."""
        settings = {p.id: (p.max_tokens is None, p.temperature, p.top_p, p.top_logprobs) for p in self.prompts}
        surfaces = [(surface_for(p, self.endpoint), p) for p in self.prompts]
        shapes = {(surface, *settings[p.id]) for surface, p in surfaces if surface is not None}
        found: dict[Shape, Job] = {}
        for job in self.todo():
            found.setdefault((job.surface, *settings[job.prompt]), job)
            if len(found) == len(shapes):
                break
        return found


async def preflight(calls: Calls, pool: Pool, store: Store, attempts: int) -> CallError | None:
    """Make one call for every set of parameters that is planned: the error if the endpoint cannot be used.

    These calls are of the plan and their answers are kept. A parameter that is refused is left out of all requests
    from then on, and what is stored and hashed is the request that was really sent.
    """
    lessons, before = 0, calls.limits
    failed: list[Attempt] = []
    tried: set[Shape] = set()
    probes = calls.probes()
    while (shape := next((s for s in probes if s not in tried), None)) is not None:
        job = probes[shape]
        error = await pool.ask(job, attempts, failed)
        if error is not None and error.kind == "stopped":
            return None
        better = learn(calls.limits, msgspec.json.decode(job.body), error) if error is not None else None
        if better is not None and lessons < _LESSONS:
            lessons += 1
            calls.limits = better
            probes = calls.probes()
            continue
        calls.limits = calls.limits.settled(took=error is None)
        remember(store, calls.endpoint, calls.limits)
        if calls.limits != before:
            pool.tell(f"refuses {told(before, calls.limits)}; it is asked without from now on")
        before, lessons = calls.limits, 0
        tried.add(shape)
        calls.ended.add(job.key)
        if error is not None:
            pool.fail(job, error, failed)
            if error.fatal or error.kind in _UNUSABLE:
                return error
        failed = []
    return None
