"""Asking in stages: what is not stored yet, until every verdict stops; all at once in a campaign without stages."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from platform import python_version

from harness.clock import Clock
from harness.collect.agreement import DRAWN, drawn, recognise
from harness.collect.context import RunContext, Tally
from harness.collect.preflight import learned
from harness.collect.runner import collect
from harness.config import environment, open_to_others, require_keys
from harness.endpoints import Banked, Recording, Servers, cache_folder
from harness.errors import CeilingError
from harness.judging import calibrations
from harness.plan import REFERENCES, SHORT_FORM, STAGES_ASKED, Plan, Stage, planned, stages_of, store_at
from harness.records import Key
from harness.store import Store, batches, key_of, note_run, packages, reuse

SHORTEST = 1e-3  # seconds that a deadline leaves when it is over: none would be no deadline


@dataclass(frozen=True)
class Asking:
    """One run over all its stages: what it asks, with which keys, and who hears of it. ``stop`` ends it."""

    plan: Plan
    environ: Mapping[str, str]
    tallies: dict[str, Tally]
    stop: asyncio.Event
    say: Callable[[str], None]
    clock: Clock


async def ask_in_stages(run: Asking, decided: Callable[[Plan], bool]) -> bool:
    """Ask stage after stage until ``decided`` says that every verdict stops; returns whether the run is done.

    It goes on where an earlier run left off: ``decided`` looks at what is stored and at nothing else. A run ends early
    where suspect or candidate cannot be asked any more. `CeilingError` if a ceiling ends it undecided.
    """
    plan = run.plan
    stages = stages_of(plan.campaign, plan.prompts)
    async with contextlib.AsyncExitStack() as stack:  # local servers stay up between stages
        servers = Servers(stack, plan.base, cache_folder(run.environ), run.say)
        if not stages:
            await _ask(run, plan, "", servers)
            return True
        return await _ask_stages(run, stages, decided, servers)


async def ask_in_parts(run: Asking, sizes: Sequence[int], enough: Callable[[int], bool]) -> bool:
    """Ask the first so many prompts, then more, until ``enough`` says of a part's index that no more is needed.

    Local servers stay up between the parts. Returns whether the run is done: not if it was stopped before.
    """
    async with contextlib.AsyncExitStack() as stack:
        servers = Servers(stack, run.plan.base, cache_folder(run.environ), run.say)
        for i, size in enumerate(sizes):
            part = replace(run.plan, prompts=run.plan.prompts[:size])
            await _ask(replace(run, plan=part), part, "", servers)
            if run.stop.is_set():
                return False
            if await asyncio.to_thread(enough, i):
                break
    return True


async def _ask_stages(run: Asking, stages: Sequence[Stage], decided: Callable[[Plan], bool], servers: Servers) -> bool:
    plan = run.plan
    began = run.clock.monotonic()
    for i in range(_asked_before(plan, len(stages)), len(stages)):
        prompts = tuple(plan.prompts[k] for k in stages[i].prompts)
        timed = _with_time_left(run, began)
        reached = await _ask(timed, replace(timed.plan, prompts=prompts), str(i + 1), servers)
        if i == len(stages) - 1 or _one_is_down(run):
            return True
        if run.stop.is_set() and not reached:
            return False
        if await asyncio.to_thread(decided, plan):
            run.say(f"stage {i + 1} of {len(stages)}: every verdict stops here")
            return True
        if reached:
            raise CeilingError(f"stopped at {reached}", "raise it under `collect:` and run again; it resumes")
        run.say(f"stage {i + 1} of {len(stages)} is asked, and not every verdict stops: it goes on")
    return True


def _asked_before(plan: Plan, stages: int) -> int:
    """The stage to begin with: the last one that an earlier run asked, if the prompts are still the same."""
    if not plan.store.is_file():
        return 0
    with Store(plan.store, readonly=True) as store:
        same = [p.id for p in store.prompts()] == [p.id for p in plan.prompts]
        asked = int(store.note(STAGES_ASKED) or 0)
    return min(asked, stages) - 1 if same and asked else 0


def _with_time_left(run: Asking, began: float) -> Asking:
    """The run with what is left of its deadline, which is for all stages together."""
    collecting = run.plan.campaign.collect
    if collecting.deadline is None:
        return run
    left = max(collecting.deadline - (run.clock.monotonic() - began), SHORTEST)
    shorter = run.plan.campaign.model_copy(update={"collect": collecting.model_copy(update={"deadline": left})})
    return replace(run, plan=replace(run.plan, campaign=shorter))


def _one_is_down(run: Asking) -> bool:
    """Whether suspect or candidate cannot be asked: then no further stage would tell anything."""
    asked = [e.name for e in run.plan.called if e.role in ("suspect", "candidate")]
    return any(run.tallies[n].state == "parked" for n in asked if n in run.tallies)


async def _ask(run: Asking, part: Plan, stage: str, servers: Servers) -> str:
    """Ask what is not stored yet of one ``part`` of the plan; returns the ceiling that was reached, if any.

    The store gets all prompts of the plan, and the keys of the part; ``stage`` is its number, empty without stages.
    """
    plan, called, holds, say = run.plan, run.plan.called, run.plan.shard.holds, run.say
    environ = environment(plan.campaign, plan.base, run.environ)
    if (warning := open_to_others(plan.campaign, plan.base)) and stage in ("", "1"):
        say(f"warning: {warning}")
    require_keys(called, environ)  # a missing key is found before anything is written, and so is a broken file
    calibrations(plan)
    with Store(plan.store) as store:
        identities = recognise(called, plan.base, store)  # before the plan there becomes this one
        known = learned(store, called)
        store.ensure_plan(plan.prompts, lambda: planned(part, known), plan.prompt_hashes)
        store.set_note(SHORT_FORM, str(plan.limit or ""))
        store.set_note(DRAWN, drawn(plan.campaign))
        store.set_note(STAGES_ASKED, stage)
        store.set_note(REFERENCES, plan.references)
        began, told = run.clock.stamp(), {"versions": {"python": python_version(), **packages()}}
        if plan.recorded:
            told["recorded_sha256"] = {r.endpoint.name: r.digest for r in plan.recorded}
        note_run(store, began, told)
        for recording in plan.recorded:
            run.tallies[recording.endpoint.name] = _take_over(recording, part, store, holds)
        if not called:
            return ""
        if plan.campaign.reuse:
            taken = reuse(store, _reused(plan), identities, holds)
            say(f"reused {taken} answers of other campaigns")

        def note_plan(found: Iterable[Key]) -> None:
            store.set_plan(plan.prompts, itertools.chain(found, part.recorded_keys()), plan.prompt_hashes)

        own = holds if plan.shard.count > 1 else None
        context = RunContext(store, plan.campaign.collect, run.stop, say, run.clock)
        lag = await collect(
            plan.campaign, part.prompts, context, run.tallies, environ, plan.base, own, note_plan, servers
        )
        note_run(store, began, {**told, "longest_lag_seconds": round(lag.longest, 3)})
        return context.budget.reached


def _take_over(recording: Recording | Banked, plan: Plan, store: Store, holds: Callable[[Key], bool]) -> Tally:
    """Store what a recorded endpoint answered and the store does not have yet."""
    chosen = {p.id for p in plan.prompts}
    found = (r for r in recording.answers(chosen) if holds(k := key_of(r)) and not store.answered(k))
    for batch in batches(found):
        store.add_many(batch)
    count = sum(map(holds, recording.keys(chosen)))
    return Tally(planned=count, stored=count, state="done")


def _reused(plan: Plan) -> list[tuple[str, Path]]:
    """What `reuse:` names, as written and as the store it means."""
    return [(str(p), store_at(plan.base / p.expanduser())) for p in plan.campaign.reuse]
