"""Monitoring for drift: `harness monitor` asks a campaign again and tests new answers against stored ones."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.channels.kernels import logprob_kernels, text_kernels
from harness.collect.preflight import learned, recall, remember
from harness.config import Called, Campaign, load_config
from harness.errors import ConfigError
from harness.inference.drift import Baseline, Change, Drift, Grams, News, Stages, drift, judge_changes
from harness.plan import Plan, in_random_order, planned, store_at
from harness.records import Key, Prompt, Response, Responses, Surface
from harness.store import Store

BEFORE, NOW = "baseline", "now"
CHANGES = "changes.json"  # what a run found, beside its answers
# Logprobs of one token differ a little from run to run with a server's load (benchmarks/README.md, Monitor), so
# samples of two runs are not exchangeable in them, and a p-value below any alpha says nothing.
REPORTED = frozenset({"logprobs"})
BATCHES = 6  # stages of a run, at most
DRAWS = 20  # relabellings per 1 / alpha: few enough would leave no p-value small enough


@dataclass(frozen=True)
class Watch:
    """A baseline and the plan that asks for it again; ``before`` are answers in the store ``source``, by endpoint."""

    plan: Plan
    source: Path
    before: Mapping[str, tuple[Response, ...]]

    def batches(self) -> tuple[int, ...]:
        """Numbers of prompts after which the answers are judged: `BATCHES` about equal parts."""
        n = len(self.plan.prompts)
        parts = max(1, min(BATCHES, n))
        return tuple(round(n * (i + 1) / parts) for i in range(parts))

    def until(self, prompts: int) -> Watch:
        """The same watch on the first prompts alone."""
        return replace(self, plan=replace(self.plan, prompts=self.plan.prompts[:prompts]))


def watch(config: Path, against: Path | None, names: Sequence[str], stamp: str, limit: int | None = None) -> Watch:
    """Read the baseline and plan the same calls again, into a folder of their own. Nobody is asked.

    ``names`` are the endpoints to watch (default: the suspects), ``stamp`` names the new folder. `ConfigError` if the
    config does not ask what the baseline asked: other models, parameters or prompts cannot be compared.
    """
    campaign, base = load_config(config), config.resolve().parent
    source = store_at(against or base / campaign.results / campaign.campaign)
    chosen = _chosen(campaign, names, config)
    with Store(source, readonly=True) as store:
        stored = [r for r in store.responses() if r.endpoint in {e.name for e in chosen}]
        prompts, hashes, known = store.prompts(), store.prompt_hashes(), learned(store, chosen)
    where = campaign.results / campaign.campaign / "monitor"
    whole = campaign.collect.model_copy(update={"stop": "all"})
    again = campaign.model_copy(
        update={"endpoints": chosen, "results": where, "campaign": stamp, "reuse": (), "collect": whole}
    )
    prompts = _drawn(prompts, {r.prompt for r in stored}, limit, campaign.seed)
    asked = _asked(planned(Plan(again, base, tuple(prompts), (), hashes), known))
    before = {e.name: tuple(r for r in stored if r.endpoint == e.name and _key(r) in asked) for e in chosen}
    drawn = {p.id for p in prompts}
    for name, answers in before.items():
        there = sum(r.endpoint == name and r.prompt in drawn for r in stored)
        if len(answers) < again.analysis.min_coverage * max(there, 1):
            raise ConfigError(
                f"{config}: endpoint {name!r} is asked {len(answers)} of {there} calls that {source} has answers to",
                "model, system prompt, parameters and prompts must be those of the baseline",
            )
    kept = {r.prompt for answers in before.values() for r in answers}
    ordered = in_random_order([p for p in prompts if p.id in kept], campaign.seed)
    plan = Plan(again, base, tuple(ordered), (), hashes)
    return Watch(plan, source, before)


def _chosen(campaign: Campaign, names: Sequence[str], config: Path) -> tuple[Called, ...]:
    called = {e.name: e for e in campaign.endpoints if isinstance(e, Called)}
    wanted = list(names) or [n for n, e in called.items() if e.role == "suspect"]
    for name in wanted:
        if name not in called:
            raise ConfigError(f"{config}: no endpoint {name!r} can be asked", f"known: {', '.join(called) or 'none'}")
    if not wanted:
        raise ConfigError(f"{config}: no suspect can be asked again", "name an endpoint with --endpoint")
    return tuple(called[n] for n in dict.fromkeys(wanted))


def _drawn(prompts: Sequence[Prompt], answered: set[str], limit: int | None, seed: int) -> list[Prompt]:
    """Prompts that the baseline has answers to, at most ``limit`` of each family."""
    rng, out = random.Random(seed), []  # noqa: S311
    for _, members in itertools.groupby((p for p in prompts if p.id in answered), key=lambda p: p.family):
        family = list(members)
        take = sorted(rng.sample(range(len(family)), min(limit or len(family), len(family))))
        out += [family[i] for i in take]
    return out


def _key(r: Response) -> tuple[str, str, str]:
    return r.endpoint, r.prompt, r.request_hash


def _asked(keys: Iterable[Key]) -> set[tuple[str, str, str]]:
    return {(endpoint, prompt, request) for endpoint, prompt, _, request in keys}


def carry_over(watched: Watch) -> None:
    """Tell the new store what endpoints were found to refuse, so that the same requests are written again."""
    plan = watched.plan
    with Store(watched.source, readonly=True) as old, Store(plan.store) as new:
        for endpoint in (e for e in plan.campaign.endpoints if isinstance(e, Called)):
            remember(new, endpoint, recall(old, endpoint))


def foreseen(watched: Watch, alpha: float) -> list[Change]:
    """What a run could find at best, from the baseline alone: it is compared with a copy of itself.

    An endpoint of which nobody could tell anything "cannot tell" here already, before a call is paid: one sample a
    prompt, samples too few for ``alpha``, a baseline that is two models, logprobs and nothing else.
    """
    return _compared(watched, [r for answers in watched.before.values() for r in answers], alpha, None)


def judge(watched: Watch, alpha: float, batch: int | None = None) -> list[Change]:
    """Compare the new answers with the baseline, and say what is found of every endpoint.

    ``batch`` is the index of the last part of `Watch.batches` that was asked, in a run that is judged after each; by
    default all are judged at once. The error rate is ``alpha`` for all parts together.
    """
    with Store(watched.plan.store, readonly=True) as store:
        return _compared(watched, list(store.responses()), alpha, batch)


def _compared(watched: Watch, now: Sequence[Response], alpha: float, batch: int | None) -> list[Change]:
    sizes, staged = watched.batches(), batch is not None
    due = sizes[-1:] if batch is None else sizes[: batch + 1]
    tests = len(watched.before) * max(1, len({p.surface for p in watched.plan.prompts}))
    watched = watched.until(due[-1])
    plan, a = watched.plan, watched.plan.campaign.analysis
    rng = np.random.default_rng(plan.campaign.seed)
    draws = max(a.permutations, int(DRAWS / alpha))
    found: dict[str, list[Drift]] = {}
    told: dict[str, tuple[News, ...]] = {}
    asked = {p.id for p in plan.prompts}
    for i, (name, every) in enumerate(watched.before.items()):
        before = tuple(r for r in every if r.prompt in asked)
        same = {_key(r) for r in before}
        new = [r for r in now if r.endpoint == name and _key(r) in same]
        found[name] = [
            drift(f"{channel} ({surface})", grams, alpha, draws, rng, channel in REPORTED, stages)
            for channel, surface, grams, ends in _kernels(before, new, [plan.prompts[:n] for n in due])
            for stages in [Stages(ends, len(sizes), alpha / tests, plan.campaign.seed + i) if staged else None]
        ]
        told[name] = tuple(_news(before, new))
    changes = judge_changes(found, alpha)
    out = []
    for c in changes:
        calls = sum(r.endpoint == c.endpoint for r in now)
        every = watched.before[c.endpoint]
        told_of = replace(c, news=told[c.endpoint], calls=calls, planned=len(every), against=_baseline(every, watched))
        out.append(_with_coverage(told_of, calls / max(sum(r.prompt in asked for r in every), 1), a.min_coverage))
    return out


def _baseline(answers: Sequence[Response], watched: Watch) -> Baseline:
    times = sorted(r.received_at for r in answers if r.received_at)
    return Baseline(
        store=os.path.relpath(watched.source, watched.plan.base),
        first=times[0] if times else "",
        last=times[-1] if times else "",
        answers=len(answers),
        prompts=len({r.prompt for r in answers}),
        models=tuple(sorted({r.model_answered for r in answers} - {""})),
    )


def _with_coverage(change: Change, share: float, least: float) -> Change:
    """Too many calls without an answer leave a choice of answers, which is no sample of anything."""
    if share >= least:
        return change
    return replace(change, state="cannot tell", ground="too few answered again", bound=share)


def _kernels(
    before: Sequence[Response], now: Sequence[Response], stages: Sequence[Sequence[Prompt]]
) -> Iterator[tuple[str, Surface, Grams, tuple[int, ...]]]:
    """Kernels of old and new samples, by channel and by how the prompts were put; and how many there are by the end of
    each of some stages, of which the last has all prompts."""
    answers = [replace(r, endpoint=BEFORE) for r in before] + [replace(r, endpoint=NOW) for r in now]
    surfaces: tuple[Surface, ...] = ("chat", "completion")
    for surface in surfaces:
        tables = [Responses.of((BEFORE, NOW), [p for p in ps if p.surface == surface], answers) for ps in stages]
        for channel, kernels in (("text", text_kernels), ("logprobs", logprob_kernels)):
            found = [kernels(table, 0, 1) for table in tables]
            if found[-1]:
                yield channel, surface, found[-1], tuple(map(len, found))


def _news(before: Sequence[Response], now: Sequence[Response]) -> Iterator[News]:
    """What the server says of itself and did not say before: a hint, not part of the test."""
    for field in ("model_answered", "system_fingerprint", "provider", "outcome"):
        old, new = ({str(getattr(r, field)) for r in rs} - {""} for rs in (before, now))
        if more := sorted(new - old):
            yield News(field, tuple(more), tuple(sorted(old)))
