"""From a config to stored answers: what is planned, and collecting it. `harness.scoring` does the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.channels import load_channels
from harness.collect.endpoints import recorded
from harness.collect.runner import Tally, World, collect, key_of, planned_keys
from harness.collect.store import Store
from harness.config import Called, Campaign, Recorded
from harness.errors import ConfigError
from harness.loading import load_config
from harness.presets import expand
from harness.prompts import content_hash, draw, load_set
from harness.responses import Prompt, Response

STORE = "responses.sqlite"


@dataclass(frozen=True)
class Plan:
    """A campaign with its prompts drawn and its recorded answers read: all that is known before a call is made."""

    campaign: Campaign
    base: Path
    prompts: tuple[Prompt, ...]
    recorded: tuple[Response, ...]
    prompt_hashes: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where this campaign's files go."""
        return self.base / self.campaign.results / self.campaign.campaign


def prepare(path: Path, environ: Mapping[str, str], limit: int | None = None) -> Plan:
    """Read config, prompt sets and recorded answers. Nothing is called or written.

    ``limit`` caps the prompts of every set, for a short form of the campaign.
    """
    campaign = load_config(path)
    base = path.resolve().parent
    load_channels(campaign.analysis.channels)
    endpoints = [e for e in campaign.endpoints if isinstance(e, Recorded)]
    recorded_prompts, answers = recorded.read(endpoints, base, environ) if endpoints else ([], [])
    prompts: list[Prompt] = []
    hashes: dict[str, str] = {}
    for use in expand(campaign.prompts, base / "prompts"):
        if limit is not None:
            use = use.model_copy(update={"limit": min(limit, use.limit or limit)})
        if use.set == "recorded":
            if not endpoints:
                raise ConfigError(f"{path}: prompts: set `recorded` needs endpoints of kind recorded", "add one")
            found: Sequence[Prompt] = _judged(endpoints, recorded_prompts, answers, path)
            hashes[use.set] = content_hash(found)
        else:
            loaded = load_set(use.set, base / "prompts")
            found, hashes[use.set] = loaded.prompts, loaded.sha256
        prompts += draw(use, found, campaign.seed, campaign.hold_back)
    ids = [p.id for p in prompts]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise ConfigError(f"{path}: prompt {twice!r} is in the campaign twice", "list every prompt set once")
    chosen = set(ids)
    return Plan(campaign, base, tuple(prompts), tuple(a for a in answers if a.prompt in chosen), hashes)


def stored_plan(path: Path) -> Plan:
    """The plan as its store holds it: what is scored needs no prompt file and no recorded answers beside it."""
    campaign, base = load_config(path), path.resolve().parent
    load_channels(campaign.analysis.channels)
    with Store(base / campaign.results / campaign.campaign / STORE, readonly=True) as store:
        return Plan(campaign, base, tuple(store.prompts()), (), store.prompt_hashes())


def _judged(
    endpoints: Sequence[Recorded], prompts: Sequence[Prompt], answers: Sequence[Response], path: Path
) -> list[Prompt]:
    """Recorded prompts that every recorded suspect and candidate answered: on others nothing can be compared."""
    parties = {e.name for e in endpoints if e.role != "control"}
    answered = {name: {a.prompt for a in answers if a.endpoint == name} for name in parties}
    shared = [p for p in prompts if all(p.id in ids for ids in answered.values())]
    if not shared:
        raise ConfigError(f"{path}: no prompt was answered by all of {', '.join(sorted(parties))}", "check `path:`")
    return shared


def run(plan: Plan, world: World, tallies: dict[str, Tally], stop: asyncio.Event) -> None:
    """Collect whatever is missing, until done or told to stop. Run inside no event loop."""
    asyncio.run(collect_async(plan, world, tallies, stop))


async def collect_async(plan: Plan, world: World, tallies: dict[str, Tally], stop: asyncio.Event) -> None:
    """As `run`, inside an event loop."""
    for endpoint in plan.campaign.endpoints:
        if isinstance(endpoint, Called):
            key_of(endpoint, world.environ)  # a missing key is found before anything is written
    with Store(plan.folder / STORE) as store:
        store.set_plan(plan.prompts, _all_keys(plan), plan.prompt_hashes)
        have = store.keys()
        new = [r for r in plan.recorded if _key(r) not in have]
        store.add_many(new)
        for endpoint in plan.campaign.endpoints:
            if isinstance(endpoint, Recorded):
                n = sum(r.endpoint == endpoint.name for r in plan.recorded)
                tallies[endpoint.name] = Tally(planned=n, stored=n, state="done")
        if any(isinstance(e, Called) for e in plan.campaign.endpoints):
            await collect(plan.campaign, plan.prompts, store, tallies, world, stop)


def _key(r: Response) -> tuple[str, str, int, str]:
    return r.endpoint, r.prompt, r.sample, r.request_hash


def _all_keys(plan: Plan) -> list[tuple[str, str, int, str]]:
    return [*planned_keys(plan.campaign, plan.prompts), *map(_key, plan.recorded)]
