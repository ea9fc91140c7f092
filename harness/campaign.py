"""From a config to stored answers: what is planned, and collecting it. `harness.scoring` does the rest."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from platform import python_version

from harness.channels import load_channels
from harness.collect import joining
from harness.collect.adapting import Limits
from harness.collect.endpoints import recorded
from harness.collect.endpoints.recorded import Recording
from harness.collect.foreign import foreign
from harness.collect.joining import Shard
from harness.collect.lag import lag_watched
from harness.collect.plan import Key
from harness.collect.preflight import learned, remember
from harness.collect.provenance import endpoints, note_endpoint, note_run
from harness.collect.runner import Tally, World, collect, planned_keys
from harness.collect.store import Store
from harness.config import Called, Campaign, Recorded
from harness.errors import ConfigError
from harness.keys import environment, open_to_others, require_keys
from harness.loading import load_config
from harness.presets import expand
from harness.prompts import content_hash, draw, load_set
from harness.responses import Prompt
from harness.versions import packages

STORE = "responses.sqlite"
SHORT_FORM = "short form"  # note in a store: most prompts of each set, empty for the whole campaign


@dataclass(frozen=True)
class Plan:
    """A campaign with its prompts drawn and its recorded answers found: all that is known before a call is made."""

    campaign: Campaign
    base: Path
    prompts: tuple[Prompt, ...]
    recorded: tuple[Recording, ...]
    prompt_hashes: Mapping[str, str]
    limit: int | None = None  # of a short form: most prompts of each set

    @property
    def folder(self) -> Path:
        """Where this campaign's files go."""
        return self.base / self.campaign.results / self.campaign.campaign


def prepare(path: Path, environ: Mapping[str, str], limit: int | None = None) -> Plan:
    """Read config and prompt sets, and find recorded answers. Nothing is called or written.

    ``limit`` caps the prompts of every set, for a short form of the campaign.
    """
    return plan_of(load_config(path), path.resolve().parent, environ, limit, str(path))


def plan_of(
    campaign: Campaign, base: Path, environ: Mapping[str, str], limit: int | None = None, path: str = "campaign"
) -> Plan:
    """As `prepare`, of a config in memory: ``base`` is the folder its paths are relative to, ``path`` its name."""
    load_channels(campaign.analysis.channels)
    endpoints = [e for e in campaign.endpoints if isinstance(e, Recorded)]
    recorded_prompts, recordings = recorded.read(endpoints, base, environ) if endpoints else ([], [])
    prompts: list[Prompt] = []
    hashes: dict[str, str] = {}
    for use in expand(campaign.prompts, base / "prompts"):
        if limit is not None:
            use = use.model_copy(update={"limit": min(limit, use.limit or limit)})
        if use.set == "recorded":
            if not endpoints:
                raise ConfigError(f"{path}: prompts: set `recorded` needs endpoints of kind recorded", "add one")
            found: Sequence[Prompt] = _judged(recordings, recorded_prompts, path)
            hashes[use.set] = content_hash(found)
        else:
            loaded = load_set(use.set, base / "prompts")
            found, hashes[use.set] = loaded.prompts, loaded.sha256
        prompts += draw(use, found, campaign.seed, campaign.hold_back)
    ids = [p.id for p in prompts]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise ConfigError(f"{path}: prompt {twice!r} is in the campaign twice", "list every prompt set once")
    return Plan(campaign, base, tuple(prompts), tuple(recordings), hashes, limit)


def stored_plan(path: Path) -> Plan:
    """The plan as its store holds it: what is scored needs no prompt file and no recorded answers beside it."""
    return stored_plan_of(load_config(path), path.resolve().parent)


def stored_plan_of(campaign: Campaign, base: Path) -> Plan:
    """As `stored_plan`, of a config in memory."""
    load_channels(campaign.analysis.channels)
    with Store(base / campaign.results / campaign.campaign / STORE, readonly=True) as store:
        return Plan(campaign, base, tuple(store.prompts()), (), store.prompt_hashes())


def anything_stored(plan: Plan) -> bool:
    """Whether there is an answer to score."""
    with Store(plan.folder / STORE, readonly=True) as store:
        return any(answered for _, answered in store.plan_keys())


def _judged(recordings: Sequence[Recording], prompts: Sequence[Prompt], path: str) -> list[Prompt]:
    """Recorded prompts that every recorded suspect and candidate answered: on others nothing can be compared."""
    answered = {r.endpoint.name: set(r.prompts) for r in recordings if r.endpoint.role != "control"}
    shared = [p for p in prompts if all(p.id in ids for ids in answered.values())]
    if not shared:
        raise ConfigError(f"{path}: no prompt was answered by all of {', '.join(sorted(answered))}", "check `path:`")
    return shared


def run(plan: Plan, world: World, tallies: dict[str, Tally], stop: asyncio.Event) -> None:
    """Collect whatever is missing, until done or told to stop. Run inside no event loop."""
    asyncio.run(collect_async(plan, world, tallies, stop))


async def collect_async(
    plan: Plan, world: World, tallies: dict[str, Tally], stop: asyncio.Event, shard: Shard | None = None
) -> None:
    """As `run`, inside an event loop; with a shard only the keys that are its own."""
    called, holds = _called(plan), (shard or Shard()).holds
    world = replace(world, environ=environment(plan.campaign, plan.base, world.environ))
    if warning := open_to_others(plan.campaign, plan.base):
        world.say(f"warning: {warning}")
    require_keys(called, world.environ)  # a missing key is found before anything is written
    with Store(plan.folder / STORE) as store:
        store.set_plan(plan.prompts, planned(plan, learned(store, called)), plan.prompt_hashes)
        store.set_note(SHORT_FORM, str(plan.limit or ""))
        began, versions = world.now().isoformat(timespec="milliseconds"), {"python": python_version(), **packages()}
        note_run(store, began, {"versions": versions})
        for recording in plan.recorded:
            tallies[recording.endpoint.name] = _take_over(recording, plan, store, holds)
        if not called:
            return
        identities = _know(plan, called, store, world)
        if plan.campaign.reuse:
            taken = joining.reuse(store, _reused(plan), identities, holds)
            world.say(f"reused {taken} answers of other campaigns")

        def note_plan(found: Iterable[Key]) -> None:
            store.set_plan(plan.prompts, itertools.chain(found, _recorded_keys(plan)), plan.prompt_hashes)

        async with lag_watched(world) as lag:
            await collect(plan.campaign, plan.prompts, store, tallies, world, stop, holds, note_plan)
        note_run(store, began, {"versions": versions, "longest_lag_seconds": round(lag.longest, 3)})


def _take_over(recording: Recording, plan: Plan, store: Store, holds: Callable[[Key], bool]) -> Tally:
    """Store what a recorded endpoint answered and the store does not have yet."""
    chosen = {p.id for p in plan.prompts}
    found = (r for r in recording.answers(chosen) if holds(k := joining.key_of(r)) and not store.answered(k))
    for batch in joining.batches(found):
        store.add_many(batch)
    count = sum(map(holds, recording.keys(chosen)))
    return Tally(planned=count, stored=count, state="done")


def _recorded_keys(plan: Plan) -> Iterator[Key]:
    chosen = {p.id for p in plan.prompts}
    return itertools.chain.from_iterable(r.keys(chosen) for r in plan.recorded)


def _called(plan: Plan) -> list[Called]:
    return [e for e in plan.campaign.endpoints if isinstance(e, Called)]


def _know(plan: Plan, called: Sequence[Called], store: Store, world: World) -> dict[str, str]:
    """Record whom each name stands for, and return it; say so if answers under that name are someone else's."""
    known = endpoints(store)
    before = {name: {f for n, f, _ in known if n == name} for name, *_ in known}
    found = {}
    for endpoint in called:
        fingerprint, told = joining.identity(endpoint, plan.base)
        found[endpoint.name] = fingerprint
        if before.get(endpoint.name, set()) - {fingerprint}:
            world.say(
                f"{endpoint.name}: answers stored under this name came from another address, model, weights or "
                "context; see `endpoints` in the store"
            )
        note_endpoint(store, endpoint.name, fingerprint, told)
    return found


def _reused(plan: Plan) -> list[tuple[str, Path]]:
    """What `reuse:` names, as written and as the store it means."""
    return [(str(p), store_at(plan.base / p.expanduser())) for p in plan.campaign.reuse]


def store_at(path: Path) -> Path:
    """A store, named by its file or its campaign's folder."""
    return path / STORE if path.is_dir() else path


def planned(plan: Plan, known: Mapping[str, Limits] | None = None) -> Iterator[Key]:
    """Keys of all answers that a plan asks for, as far as it is known what endpoints refuse."""
    return itertools.chain(planned_keys(plan.campaign, plan.prompts, known), _recorded_keys(plan))


def merge_stores(plan: Plan, sources: Sequence[Path]) -> Mapping[Path, int]:
    """Join stores of shards into the campaign's own; returns how many answers each added."""
    called = _called(plan)
    with ExitStack() as stack:
        read = [(store_at(p), stack.enter_context(foreign(store_at(p)))) for p in sources]
        target = stack.enter_context(Store(plan.folder / STORE))
        # A shard learns only what its own calls were refused; the campaign's own store may be one.
        known = {path: learned(store, called) for path, store in [(target.path, target), *read]}
        joined = {e.name: reduce(Limits.joined, [limits[e.name] for limits in known.values()]) for e in called}
        unlike = {path: _taken(limits, joined) for path, limits in known.items()}
        keys = set(planned(plan, joined))
        added = joining.merge(target, read, plan.prompts, keys, unlike)
        target.set_plan(plan.prompts, keys, plan.prompt_hashes)
        for endpoint in called:
            remember(target, endpoint, joined[endpoint.name])
        return added


def _taken(limits: Mapping[str, Limits], joined: Mapping[str, Limits]) -> dict[str, str]:
    """Which endpoints took parameters in one store that ``joined`` leaves out or changes, and which."""
    out = {}
    for name, all_stores in joined.items():
        one = limits[name]
        names = sorted(all_stores.refuses - one.refuses)
        names += [f for f in ("max_tokens", "top_logprobs") if getattr(one, f) != getattr(all_stores, f)]
        if names:
            out[name] = ", ".join(f"`{n}`" for n in names)
    return out
