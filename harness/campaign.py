"""A campaign from config to results: plan, collect, compare, decide, write. The Python API, and the flow on one page.

prepare (plan.py) -> collect_async -> read_responses -> compare -> ask -> write
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from platform import python_version

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import first_answers
from harness.channels.draws import independent_draws
from harness.channels.kernels import kernel_coverage, logprob_kernels, next_token_distances, text_kernels
from harness.channels.logprobs import honest_logprobs
from harness.channels.parallel import LOCAL, Channel, compare, load_channels, observations, probes, require_executor
from harness.channels.reading import read, removals
from harness.channels.stylometry import habit_counts, opening_counts
from harness.clock import Clock
from harness.collect.context import RunContext, Tally
from harness.collect.preflight import learned
from harness.collect.runner import collect
from harness.config import (
    Called,
    Campaign,
    Recorded,
    environment,
    lineage_of,
    open_to_others,
    read_text,
    require_keys,
    told_of,
)
from harness.endpoints import FAMILY, Recording, endpoint_fingerprint
from harness.errors import ConfigError, StoreError
from harness.files import write_whole
from harness.inference.assessment import TWIN, Case, Grams, View
from harness.inference.breakdown import Detail, detail
from harness.inference.control_match import manners_of, unfitted, unlike
from harness.inference.findings import Attribution, Caveat, Finding, Settings
from harness.inference.likelihood import LikelihoodTable, tables_json, tables_of
from harness.inference.pool import Model
from harness.inference.questions import ask
from harness.plan import (
    SHORT_FORM,
    Plan,
    looks_of,
    plan_of,
    planned,
    prepare,
    store_at,
    stored_plan,
    stored_plan_of,
)
from harness.records import Key, Observation, Probe, Removal, Responses, Similarity, Surface
from harness.report.caveats import beside, noticed, removal
from harness.report.html import Material, report_html
from harness.report.manifest import CALIBRATION, facts, manifest_json
from harness.report.tables import attribution_csv, evidence_csv, observations_csv, pairs_csv, prompts_csv, summary_csv
from harness.store import (
    Store,
    batches,
    key_of,
    mixtures,
    note_endpoint,
    note_run,
    noted_endpoints,
    packages,
    reuse,
    stored_table,
)

PLACEBOS = 3  # of each channel and pool: their mean is half as noisy as one
_LOG = logging.getLogger("harness")
OUTPUTS: Mapping[str, Callable[[Material], str]] = {  # a new file of results is one function and one line here
    "report.html": report_html,
    "pairs.csv": lambda m: pairs_csv(m.findings) if m.findings else "",
    "summary.csv": lambda m: summary_csv(m.findings),
    "evidence.csv": lambda m: evidence_csv(m.findings),
    "prompts.csv": lambda m: prompts_csv(m.details, m.responses),
    "observations.csv": lambda m: observations_csv(m.observations),
    "attribution.csv": lambda m: attribution_csv(m.attributions) if m.attributions else "",
}


@dataclass(frozen=True)
class Scores:
    """All that was computed of a campaign's answers. ``calibrations`` are behind the likelihood ratios."""

    findings: tuple[Finding, ...]
    similarities: tuple[Similarity, ...]
    responses: Responses
    attributions: tuple[Attribution, ...]
    details: tuple[Detail, ...]
    observations: tuple[Observation, ...]
    calibrations: Mapping[str, LikelihoodTable]


# --8<-- [start:api]
def run_campaign(
    config: Campaign | Path | str,
    *,
    base: Path | str = ".",
    environ: Mapping[str, str] | None = None,
    limit: int | None = None,
    executor: str = LOCAL,
    say: Callable[[str], None] = _LOG.warning,
) -> Scores:
    """Ask whatever is not stored yet, then compare and decide. Nothing but the store is written; see `write`.

    Parameters
    ----------
    config : a YAML file, or what `load_config` made of one.
    base : folder to which a `Campaign`'s paths are relative; of a file it is the file's own.
    environ : where keys and `${NAME}` come from; default: the process's environment.
    limit : use at most so many prompts of each set.
    executor : where channels are computed, see `harness.channels.parallel.compare`.
    say : takes each line for people; calls that got no answer are reported there and asked again next time.

    Raises `HarnessError`: `ConfigError`, `EndpointError` for one that cannot be used, `CeilingError` at a ceiling.
    """
    environ = os.environ if environ is None else environ
    if isinstance(config, Campaign):
        plan = plan_of(config, Path(base).resolve(), environ, limit)
    else:
        plan = prepare(Path(config), environ, limit)
    tallies: dict[str, Tally] = {}
    _finish(collect_async(plan, environ, tallies, asyncio.Event(), say))
    for name, tally in tallies.items():
        if tally.stored < tally.planned:
            say(f"{name}: {tally.planned - tally.stored} of {tally.planned} calls got no answer: {tally.last_error}")
    return score(plan, executor=executor)


def score(config: Campaign | Plan | Path | str, *, base: Path | str = ".", executor: str = LOCAL) -> Scores:
    """Compare and decide again from the stored answers of a campaign; nobody is asked.

    ``executor`` is where channels are computed; nothing in a config says it.
    """
    require_executor(executor)
    plan = _stored(config, base)
    drawn, copies = independent_draws(read_responses(plan))
    table, doubted = honest_logprobs(read(drawn))
    a = plan.campaign.analysis
    channels = load_channels(a.channels)
    similarities = compare(channels, table, executor)
    tables = calibrations(plan)
    cases = _cases(plan.campaign, table, channels, similarities, tables, executor)
    findings = ask(cases, a.questions)
    details = [detail(c.assessment) for c in cases] if "kinship" in a.questions else []
    taken = (*copies, *doubted, *removals(table))
    return Scores(
        findings=tuple(_with_campaign_caveats(findings, plan.store, taken)),
        similarities=similarities,
        responses=table,
        attributions=_attributions(plan.campaign, table) if "attribution" in a.questions else (),
        details=tuple(d for d in details if d is not None),
        observations=(*observations(table), *noticed(taken), *beside(cases if details else ())),
        calibrations=tables,
    )


def calibrations(plan: Plan) -> Mapping[str, LikelihoodTable]:
    """The calibration tables of a campaign; `ConfigError` that names the file if its own cannot be read."""
    if (written := plan.campaign.analysis.calibration) is None:
        return tables_of(None)
    text = read_text(plan.base / written)
    try:
        return tables_of(text)
    except (ConfigError, RecursionError, IndexError, OverflowError) as e:
        said = e.message if isinstance(e, ConfigError) else f"not a calibration file: {type(e).__name__}"
        hint = "`calibration:` names a file that `harness calibrate` wrote"
        raise ConfigError(f"{plan.base / written}: {said}", hint) from e


def write(config: Campaign | Plan | Path | str, scores: Scores, *, base: Path | str = ".") -> list[Path]:
    """Write report.html, the tables and the manifest into the campaign's folder; returns their paths."""
    plan = _stored(config, base)
    known = facts(plan.campaign, plan.prompt_hashes, plan.store, Clock().now())
    material = Material(
        campaign=plan.campaign.campaign,
        roles={e.name: (e.role, lineage_of(e) or e.lineage or "") for e in plan.campaign.endpoints},
        findings=scores.findings,
        similarities=scores.similarities,
        responses=scores.responses,
        details=scores.details,
        observations=scores.observations,
        attributions=scores.attributions,
        calibrations=scores.calibrations,
        facts=known,
    )
    files = {name: text for name, make in OUTPUTS.items() if (text := make(material))}
    files[CALIBRATION] = tables_json(scores.calibrations)
    files["manifest.json"] = manifest_json(known, files)
    return [write_whole(plan.folder / name, text) for name, text in files.items()]


# --8<-- [end:api]
def _stored(config: Campaign | Plan | Path | str, base: Path | str) -> Plan:
    if isinstance(config, Plan):
        return config
    if isinstance(config, Campaign):
        return stored_plan_of(config, Path(base).resolve())
    return stored_plan(Path(config))


def _finish(work: Coroutine[None, None, None]) -> None:
    """Run to the end, in a thread of its own where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


async def collect_async(
    plan: Plan,
    environ: Mapping[str, str],
    tallies: dict[str, Tally],
    stop: asyncio.Event,
    say: Callable[[str], None] = lambda _: None,
    clock: Clock = Clock(),
) -> None:
    """Ask whatever is not stored yet, until done or ``stop`` is set; of a shard its own keys only."""
    called, holds = plan.called, plan.shard.holds
    environ = environment(plan.campaign, plan.base, environ)
    if warning := open_to_others(plan.campaign, plan.base):
        say(f"warning: {warning}")
    require_keys(called, environ)  # a missing key is found before anything is written, and so is a broken file
    calibrations(plan)
    with Store(plan.store) as store:
        store.set_plan(plan.prompts, planned(plan, learned(store, called)), plan.prompt_hashes)
        store.set_note(SHORT_FORM, str(plan.limit or ""))
        began, versions = clock.stamp(), {"python": python_version(), **packages()}
        note_run(store, began, {"versions": versions})
        for recording in plan.recorded:
            tallies[recording.endpoint.name] = _take_over(recording, plan, store, holds)
        if not called:
            return
        identities = _recognise(plan, called, store, say)
        if plan.campaign.reuse:
            taken = reuse(store, _reused(plan), identities, holds)
            say(f"reused {taken} answers of other campaigns")

        def note_plan(found: Iterable[Key]) -> None:
            store.set_plan(plan.prompts, itertools.chain(found, plan.recorded_keys()), plan.prompt_hashes)

        context = RunContext(store, plan.campaign.collect, stop, say, clock)
        lag = await collect(plan.campaign, plan.prompts, context, tallies, environ, plan.base, holds, note_plan)
        note_run(store, began, {"versions": versions, "longest_lag_seconds": round(lag.longest, 3)})


def _take_over(recording: Recording, plan: Plan, store: Store, holds: Callable[[Key], bool]) -> Tally:
    """Store what a recorded endpoint answered and the store does not have yet."""
    chosen = {p.id for p in plan.prompts}
    found = (r for r in recording.answers(chosen) if holds(k := key_of(r)) and not store.answered(k))
    for batch in batches(found):
        store.add_many(batch)
    count = sum(map(holds, recording.keys(chosen)))
    return Tally(planned=count, stored=count, state="done")


def _recognise(plan: Plan, called: Sequence[Called], store: Store, say: Callable[[str], None]) -> dict[str, str]:
    """Note and return each endpoint's fingerprint; warn if answers under its name came from another."""
    known = noted_endpoints(store)
    before = {name: {f for n, f, _ in known if n == name} for name, *_ in known}
    found = {}
    for endpoint in called:
        fingerprint, told = endpoint_fingerprint(endpoint, plan.base)
        found[endpoint.name] = fingerprint
        if before.get(endpoint.name, set()) - {fingerprint}:
            say(
                f"{endpoint.name}: answers stored under this name came from another address, model, weights or "
                "context; see `endpoints` in the store"
            )
        note_endpoint(store, endpoint.name, fingerprint, told)
    return found


def _reused(plan: Plan) -> list[tuple[str, Path]]:
    """What `reuse:` names, as written and as the store it means."""
    return [(str(p), store_at(plan.base / p.expanduser())) for p in plan.campaign.reuse]


def read_responses(plan: Plan) -> Responses:
    """The stored answers of a plan as a table."""
    with Store(plan.store, readonly=True) as store:
        store.require_types()
        prompts = store.prompts()
        names = [e.name for e in plan.campaign.endpoints]
        model_at = {n: i for i, n in enumerate(names)}
        prompt_at = {p.id: i for i, p in enumerate(prompts)}
        asked = np.zeros((len(prompts), len(names)), dtype=bool)
        for endpoint, prompt in store.asked():
            if endpoint in model_at and prompt in prompt_at:
                asked[prompt_at[prompt], model_at[endpoint]] = True
        for e in plan.campaign.endpoints:
            if isinstance(e, Recorded):  # which prompts it was asked is unknown: a gap counts as not answered
                asked[[p.family == FAMILY for p in prompts], model_at[e.name]] = True
        table = stored_table(store, names, prompts, asked)
    if not len(table.text):
        raise StoreError(f"{plan.folder}: no answers are stored here", "run `harness run` first")
    return table


def _cases(
    campaign: Campaign,
    table: Responses,
    channels: Mapping[str, Channel],
    similarities: tuple[Similarity, ...],
    tables: Mapping[str, LikelihoodTable],
    executor: str,
) -> list[Case]:
    """Every suspect with every candidate. What pairs share is worked out once, when the first question needs it."""
    a = campaign.analysis
    settings = Settings(a.alpha, a.min_coverage, a.permutations, a.bootstrap, campaign.seed, a.controls)
    models = _models(campaign)
    twin = cache(partial(_twin, table, channels, executor))
    manners = cache(lambda: manners_of(table))
    parts = cache(lambda: _by_surface(table))
    # Kernels of one candidate with everybody: those of all candidates would grow with their number.
    measured = cache(lambda names, counted: _probes(table, names, counted, campaign.seed))
    samples = lru_cache(len(models) + 1)(lambda one, other: _samples(parts(), one, other))
    habits = cache(lambda: (habit_counts(table), opening_counts(table)))
    fresh = {p.id: str(p.fields["twin"]) for p in table.prompts if p.fields.get("fresh")}
    return [
        Case(
            suspect=s,
            candidate=c,
            models=models,
            similarities=similarities,
            tables=tables,
            settings=settings,
            twin=lambda names, candidate=c.name: twin(candidate, tuple(names)),  # type: ignore[misc]
            habits=habits,
            samples=samples,
            coverage=lambda one, other: _coverage(parts(), one, other),
            unfitted=lambda about, s=s, c=c: unfitted(manners(), s, c, about),  # type: ignore[misc]
            looks=looks_of(campaign),
            resemblance=lambda s=s, c=c: unlike(manners(), s, c, models, a.controls),  # type: ignore[misc]
            probes=lambda names, counted: measured(tuple(names), tuple(counted)),
            distances=lambda names: _distances(parts(), names),
            fresh=fresh,
        )
        for s, c in itertools.product(_by(models, "suspect"), _by(models, "candidate"))
    ]


def _probes(table: Responses, names: tuple[str, ...], channels: tuple[str, ...], seed: int) -> dict[str, Probe]:
    """Channels measured again among the models of one pool."""
    return probes(channels, table.among([table.models.index(n) for n in names]), PLACEBOS, seed)


def _models(campaign: Campaign) -> tuple[Model, ...]:
    return tuple(Model(e.name, e.role, lineage_of(e), *told_of(e)) for e in campaign.endpoints)


def _by(models: Sequence[Model], role: str) -> list[Model]:
    return [m for m in models if m.role == role]


def _twin(
    table: Responses, channels: Mapping[str, Channel], executor: str, candidate: str, names: tuple[str, ...]
) -> tuple[Similarity, ...]:
    """Some channels again, with every second sample of the candidate posing as another model; none without any."""
    at = table.models.index(candidate)
    if all(len(table.rows(p, at)) < 2 for p in range(len(table.prompts))):
        return ()
    return compare({n: channels[n] for n in names}, table.with_twin(candidate, TWIN), executor)


def _by_surface(table: Responses) -> dict[Surface, Responses]:
    """The table in two, by how prompts were put."""
    surfaces: tuple[Surface, ...] = ("chat", "completion")
    return {s: table.only([k for k, p in enumerate(table.prompts) if p.surface == s]) for s in surfaces}


def _samples(parts: Mapping[Surface, Responses], a: str, b: str) -> dict[View, Grams]:
    """Kernels between samples of two models, by view."""
    out: dict[View, Grams] = {}
    for surface, part in parts.items():
        i, j = part.models.index(a), part.models.index(b)
        out["text", surface] = text_kernels(part, i, j)
        out["logprobs", surface] = logprob_kernels(part, i, j)
    return out


def _distances(parts: Mapping[Surface, Responses], names: Sequence[str]) -> NDArray[np.float64]:
    """How far raw next tokens are from those of the first of some models: no system prompt reaches them."""
    raw = parts["completion"]
    return next_token_distances(raw, [raw.models.index(n) for n in names])


def _coverage(parts: Mapping[Surface, Responses], a: str, b: str) -> dict[View, float]:
    """Share of samples that these kernels are made of, by view."""
    return {
        (channel, surface): share
        for surface, part in parts.items()
        for channel, share in kernel_coverage(part, part.models.index(a), part.models.index(b), FAMILY).items()
    }


def _with_campaign_caveats(findings: Sequence[Finding], path: Path, taken: Sequence[Removal]) -> list[Finding]:
    """Findings with what limits them all: calls without an answer, a short form, endpoints that were several models,
    what was taken out of the answers of suspect and candidate."""
    with Store(path, readonly=True) as store:
        mixed, short = mixtures(store), store.note(SHORT_FORM)
        answered = [done for _, done in store.plan_keys()]
    first = []
    if missing := len(answered) - sum(answered):
        first.append(Caveat("unanswered calls", values=(missing, len(answered))))
    if short:
        first.append(Caveat("short form", names=(short,)))
    return [
        replace(
            f,
            caveats=(
                *first,
                *f.caveats,
                *(removal(r) for r in taken if r.model in (f.suspect, f.candidate)),
                *(Caveat("mixed models", names=(n, mixed[n])) for n in (f.suspect, f.candidate) if n in mixed),
            ),
        )
        for f in findings
    ]


def _attributions(campaign: Campaign, table: Responses) -> tuple[Attribution, ...]:
    from harness.inference.attribution import attribute  # scikit-learn is heavy, and few campaigns ask this

    models = _models(campaign)
    texts = first_answers(table, table.where("wording"))
    suspects = [m.name for m in _by(models, "suspect")]
    lineages = [m.lineage for m in models]
    return tuple(attribute(texts, table.models, lineages, suspects, campaign.analysis.alpha, campaign.seed))
