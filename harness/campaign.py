"""From a config to stored answers to findings: collecting, comparing, deciding, writing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import calibrate as calibrating
from harness.channels import load_channels
from harness.channels.base import answers
from harness.channels.kernels import coverage, logprob_kernels, text_kernels
from harness.channels.observations import observations
from harness.channels.parallel import compare
from harness.channels.stylometry import habit_counts
from harness.clock import Clock
from harness.collect.context import RunContext, Tally
from harness.collect.preflight import learned, remember
from harness.collect.runner import collect
from harness.config.schema import Called, Recorded
from harness.config.secrets import environment, open_to_others, require_keys
from harness.config.yaml import read_text
from harness.endpoints import recorded
from harness.endpoints.local import endpoint_fingerprint
from harness.endpoints.quirks import Quirks
from harness.endpoints.recorded import Recording
from harness.errors import StoreError
from harness.inference.breakdown import Detail, detail
from harness.inference.calibration import Validation
from harness.inference.control_match import observed
from harness.inference.findings import Finding, Settings
from harness.inference.identity import Grams, identity
from harness.inference.kinship import TWIN, kinship
from harness.inference.likelihood import LikelihoodTable, shipped_text
from harness.inference.pool import Model, pool_for, without_copies
from harness.inference.teaching import teaching
from harness.inference.verdicts import decide
from harness.plan import SHORT_FORM, STORE, Plan, _called, _recorded_keys, planned, store_at
from harness.records import Key, Observation, Responses, Similarity
from harness.report.html import Material, report_html
from harness.report.manifest import CALIBRATION, facts, manifest_json
from harness.report.tables import attribution_csv, evidence_csv, observations_csv, prompts_csv, summary_csv
from harness.store import merging as joining
from harness.store.merging import Shard
from harness.store.provenance import endpoints, mixtures, note_endpoint, note_run, packages
from harness.store.store import Store, batches, key_of
from harness.store.table import stored_table
from harness.store.validation import foreign

if TYPE_CHECKING:
    from harness.inference.attribution import Attribution


def run(plan: Plan, environ: Mapping[str, str], tallies: dict[str, Tally], stop: asyncio.Event) -> None:
    """Collect whatever is missing, until done or told to stop. Run inside no event loop."""
    asyncio.run(collect_async(plan, environ, tallies, stop))


async def collect_async(
    plan: Plan,
    environ: Mapping[str, str],
    tallies: dict[str, Tally],
    stop: asyncio.Event,
    say: Callable[[str], None] = lambda _: None,
    shard: Shard | None = None,
    clock: Clock = Clock(),
) -> None:
    """As `run`, inside an event loop; with a shard only the keys that are its own."""
    called, holds = _called(plan), (shard or Shard()).holds
    environ = environment(plan.campaign, plan.base, environ)
    if warning := open_to_others(plan.campaign, plan.base):
        say(f"warning: {warning}")
    require_keys(called, environ)  # a missing key is found before anything is written
    with Store(plan.folder / STORE) as store:
        store.set_plan(plan.prompts, planned(plan, learned(store, called)), plan.prompt_hashes)
        store.set_note(SHORT_FORM, str(plan.limit or ""))
        began, versions = clock.stamp(), {"python": python_version(), **packages()}
        note_run(store, began, {"versions": versions})
        for recording in plan.recorded:
            tallies[recording.endpoint.name] = _take_over(recording, plan, store, holds)
        if not called:
            return
        identities = _know(plan, called, store, say)
        if plan.campaign.reuse:
            taken = joining.reuse(store, _reused(plan), identities, holds)
            say(f"reused {taken} answers of other campaigns")

        def note_plan(found: Iterable[Key]) -> None:
            store.set_plan(plan.prompts, itertools.chain(found, _recorded_keys(plan)), plan.prompt_hashes)

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


def _know(plan: Plan, called: Sequence[Called], store: Store, say: Callable[[str], None]) -> dict[str, str]:
    """Record whom each name stands for, and return it; say so if answers under that name are someone else's."""
    known = endpoints(store)
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


def merge_stores(plan: Plan, sources: Sequence[Path]) -> Mapping[Path, int]:
    """Join stores of shards into the campaign's own; returns how many answers each added."""
    called = _called(plan)
    with ExitStack() as stack:
        read = [(store_at(p), stack.enter_context(foreign(store_at(p)))) for p in sources]
        target = stack.enter_context(Store(plan.folder / STORE))
        # A shard learns only what its own calls were refused; the campaign's own store may be one.
        known = {path: learned(store, called) for path, store in [(target.path, target), *read]}
        joined = {e.name: reduce(Quirks.joined, [limits[e.name] for limits in known.values()]) for e in called}
        unlike = {path: _taken(limits, joined) for path, limits in known.items()}
        keys = set(planned(plan, joined))
        added = joining.merge(target, read, plan.prompts, keys, unlike)
        target.set_plan(plan.prompts, keys, plan.prompt_hashes)
        for endpoint in called:
            remember(target, endpoint, joined[endpoint.name])
        return added


def _taken(limits: Mapping[str, Quirks], joined: Mapping[str, Quirks]) -> dict[str, str]:
    """Which endpoints took parameters in one store that ``joined`` leaves out or changes, and which."""
    out = {}
    for name, all_stores in joined.items():
        one = limits[name]
        names = sorted(all_stores.refuses - one.refuses)
        names += [f for f in ("max_tokens", "top_logprobs") if getattr(one, f) != getattr(all_stores, f)]
        if names:
            out[name] = ", ".join(f"`{n}`" for n in names)
    return out


@dataclass(frozen=True)
class Scores:
    """All that was computed of a campaign's answers."""

    findings: tuple[Finding, ...]
    similarities: tuple[Similarity, ...]
    responses: Responses
    attributions: tuple[Attribution, ...] = ()
    details: tuple[Detail, ...] = ()
    observations: tuple[Observation, ...] = ()


def read_responses(plan: Plan) -> Responses:
    """The stored answers of a plan as a table."""
    with Store(plan.folder / STORE, readonly=True) as store:
        prompts = store.prompts()
        names = [e.name for e in plan.campaign.endpoints]
        model_at = {n: i for i, n in enumerate(names)}
        prompt_at = {p.id: i for i, p in enumerate(prompts)}
        asked = np.zeros((len(prompts), len(names)), dtype=bool)
        for endpoint, prompt in store.asked():
            if endpoint in model_at:
                asked[prompt_at[prompt], model_at[endpoint]] = True
        for e in plan.campaign.endpoints:
            if isinstance(e, Recorded):  # nobody knows what was put to it: a gap counts as not answered
                asked[[p.family == recorded.FAMILY for p in prompts], model_at[e.name]] = True
        table = stored_table(store, names, prompts, asked)
    if not len(table.text):
        raise StoreError(f"{plan.folder}: no answers are stored here", "run `harness run` first")
    return table


def score(plan: Plan) -> Scores:
    """Compare and decide; pure but for reading the store."""
    campaign, table = plan.campaign, read_responses(plan)
    channels = load_channels(campaign.analysis.channels)
    similarities = compare(channels, table, campaign.analysis.executor)
    models = [Model(e.name, e.role, e.lineage) for e in campaign.endpoints]
    a = campaign.analysis
    settings = Settings(a.alpha, a.min_coverage, a.permutations, a.bootstrap, campaign.seed)
    lr_table = LikelihoodTable.from_json(_calibration(plan))
    habits = habit_counts(table) if "teaching" in a.questions else None
    findings, details = [], []
    for suspect, candidate in itertools.product(_by(models, "suspect"), _by(models, "candidate")):
        kin = None
        if "kinship" in a.questions:
            doubled = table.with_twin(candidate.name, TWIN)
            twin = [s for c in channels.values() if (s := c(doubled)) is not None]
            judged, copied = without_copies(similarities, suspect.name, candidate.name)
            kin = kinship(suspect, candidate, models, judged, twin, lr_table, settings)
            kin = replace(kin, limits=(*kin.limits, *copied))
            names = [m.name for m in models if m.role == "control"]
            kin = replace(kin, limits=(*kin.limits, *observed(table, candidate.name, names)))
            findings.append(kin)
            details.append(detail(suspect, candidate, models, judged, settings.min_coverage))
        if habits is not None:
            taught = teaching(suspect, candidate, models, habits, table.models, similarities, kin, settings)
            findings.append(taught)
        if "identity" in a.questions:
            pool = pool_for(suspect, candidate, models, [], 0.0)
            others = [suspect.name, *(m.name for m in models if m.role == "control")]
            grams = {(o, candidate.name): _grams(table, o, candidate.name) for o in others}
            shares = _coverage(table, suspect.name, candidate.name)
            findings.append(identity(suspect, candidate, pool, grams, settings, shares))
    attributions = _attributions(table, models, settings) if "attribution" in a.questions else ()
    shown = tuple(d for d in details if d is not None)
    findings = _said_of_answers(decide(findings, settings), plan.folder / STORE)
    return Scores(tuple(findings), similarities, table, attributions, shown, observations(table))


def _said_of_answers(findings: Sequence[Finding], path: Path) -> list[Finding]:
    """Findings with limits: calls without an answer, a short form, and parties that were not one model all the time."""
    with Store(path, readonly=True) as store:
        mixed, short = mixtures(store), store.note(SHORT_FORM)
        answered = [done for _, done in store.plan_keys()]
    said = []
    if missing := len(answered) - sum(answered):
        said.append(f"{missing} of {len(answered)} planned calls have no answer yet; `harness run` asks them")
    if short:
        said.append(f"a short form of the campaign, with at most {short} prompts of each set")
    return [
        replace(
            f,
            limits=(*said, *f.limits, *(f"{n} answered as {mixed[n]}" for n in (f.suspect, f.candidate) if n in mixed)),
        )
        for f in findings
    ]


def _calibration(plan: Plan) -> str:
    """The calibration in use, as its file has it."""
    path = plan.campaign.analysis.calibration
    return shipped_text() if path is None else read_text(plan.base / path)


def _attributions(table: Responses, models: Sequence[Model], settings: Settings) -> tuple[Attribution, ...]:
    from harness.inference.attribution import attribute

    texts = answers(table, table.where("wording"))
    suspects = [m.name for m in _by(models, "suspect")]
    lineages = [m.lineage for m in models]
    return tuple(attribute(texts, table.models, lineages, suspects, settings.alpha, settings.seed))


def _by(models: Sequence[Model], role: str) -> list[Model]:
    return [m for m in models if m.role == role]


def _grams(table: Responses, a: str, b: str) -> dict[str, Grams]:
    """Kernels between samples of two models, by channel and by how the prompts were put."""
    i, j = table.models.index(a), table.models.index(b)
    out: dict[str, Grams] = {}
    for surface, part in _by_surface(table).items():
        out[f"text ({surface})"] = text_kernels(part, i, j)
        out[f"logprobs ({surface})"] = logprob_kernels(part, i, j)
    return out


def _coverage(table: Responses, a: str, b: str) -> dict[str, float]:
    """Share of samples that these kernels are made of, by the same names."""
    i, j = table.models.index(a), table.models.index(b)
    return {
        f"{channel} ({surface})": share
        for surface, part in _by_surface(table).items()
        for channel, share in coverage(part, i, j, recorded.FAMILY).items()
    }


def _by_surface(table: Responses) -> dict[str, Responses]:
    """The table in two, by how prompts were put."""
    surfaces = ("chat", "completion")
    return {s: table.only([k for k, p in enumerate(table.prompts) if p.surface == s]) for s in surfaces}


def calibrate_campaign(plan: Plan, pairs: Path, channel: str, out: Path | None) -> tuple[list[Path], list[Validation]]:
    """Fit a calibration on the stored answers and write it, with the Tippett plot as SVG and CSV beside it."""
    a, target = plan.campaign.analysis, out or plan.folder / "calibration.json"
    table, checks = calibrating.calibrate_table(
        read_responses(plan), pairs, channel, a.alpha, plan.campaign.seed, a.executor, plan.campaign.campaign
    )
    shown = calibrating.best_described(checks)
    files = {
        target: table.to_json(),
        target.with_suffix(".tippett.svg"): calibrating.tippett_svg(shown),
        target.with_suffix(".tippett.csv"): calibrating.tippett_csv(shown),
    }
    return [_replace(path, text) for path, text in files.items()], checks


def _material(plan: Plan, scores: Scores, known: Mapping[str, Any]) -> Material:
    return Material(
        campaign=plan.campaign.campaign,
        alpha=plan.campaign.analysis.alpha,
        roles={e.name: (e.role, e.lineage or "") for e in plan.campaign.endpoints},
        findings=scores.findings,
        similarities=scores.similarities,
        responses=scores.responses,
        details=scores.details,
        observations=scores.observations,
        attributions=scores.attributions,
        calibration=LikelihoodTable.from_json(_calibration(plan)),
        facts=known,
    )


def write(plan: Plan, scores: Scores, outputs: Mapping[str, str] | None = None) -> list[Path]:
    """Write the campaign's files, whole or not at all; returns their paths."""
    files = {"summary.csv": summary_csv(scores.findings), "evidence.csv": evidence_csv(scores.findings)}
    files["prompts.csv"] = prompts_csv(scores.details, scores.responses)
    files["observations.csv"] = observations_csv(scores.observations)
    if scores.attributions:
        files["attribution.csv"] = attribution_csv(scores.attributions)
    files |= outputs or {}
    files[CALIBRATION] = _calibration(plan)
    known = facts(plan.campaign, plan.prompt_hashes, plan.folder / STORE)
    files = {"report.html": report_html(_material(plan, scores, known)), **files}
    files["manifest.json"] = manifest_json(known, files)
    paths = []
    for name, text in files.items():
        paths.append(_replace(plan.folder / name, text))
    return paths


def _replace(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(text.encode("utf-8", "replace"))
        part.replace(path)
    except OSError as e:
        raise StoreError(f"{path}: {e.strerror or e}", "is the folder there, and the disk not full?") from e
    return path
