"""Judge the stored answers of a campaign: compare, put the questions to every pair, say what limits all of it.

Worked out of the store alone, at once or stage after stage, so that whoever has the answers gets the same findings.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import first_answers
from harness.channels.draws import independent_draws, with_twin
from harness.channels.kernels import kernel_coverage, logprob_kernels, next_token_distances, text_kernels
from harness.channels.logprobs import honest_logprobs
from harness.channels.parallel import LOCAL, Channel, compare, load_channels, probes, taken_apart
from harness.channels.reading import read
from harness.channels.stylometry import habit_counts, opening_counts
from harness.channels.wording import hashed
from harness.config import Campaign, Recorded, Reference, lineage_of, read_text, told_of
from harness.endpoints import FAMILY, left_of, unknown_finish
from harness.errors import ConfigError, StoreError
from harness.inference.assessment import TWIN, Case, Grams, View
from harness.inference.control_match import manners_of, unfitted, unlike
from harness.inference.findings import Attribution, Caveat, Finding, Settings
from harness.inference.likelihood import LikelihoodTable, tables_of
from harness.inference.nearest import fitting, gaps_of, reference_check
from harness.inference.pool import Model
from harness.inference.questions import ask
from harness.inference.stopping import History, Ranked
from harness.inference.survey import Survey, survey
from harness.plan import REFERENCES, SHORT_FORM, STAGES_ASKED, Plan, looks_of, stages_of
from harness.records import LeftOut, Observation, Probe, Removal, Responses, Similarity, Surface, Watch, unwatched
from harness.report.caveats import removal
from harness.report.metadata import Stated, contradictions
from harness.store import Store, mixtures, recorded_between, stated, stored_table

PLACEBOS = 3  # of each channel and pool: their mean is half as noisy as one
PLACEBO_PROMPTS = 100  # of each channel in a survey
Known = dict[tuple[int, ...], History]  # by the numbers of answers that stages have: what is known after the last


@dataclass(frozen=True)
class Judged:
    """A campaign judged on the answers of one stage, or on all: what `Scores` is made of."""

    table: Responses
    compared: Responses  # the same, or as hashed words where a reference is
    similarities: tuple[Similarity, ...]
    cases: Sequence[Case]
    findings: Sequence[Finding]
    taken: Sequence[Removal]
    tables: Mapping[str, LikelihoodTable]


def judged(plan: Plan, executor: str = LOCAL, known: Known | None = None, watch: Watch = unwatched) -> Judged:
    """Judge stage after stage, as they were asked, until every verdict stops; at once where there are no stages.

    Worked out of the stored answers alone: where a run stopped, and after how many interruptions, is not asked.
    ``known`` stages of which no answer came since are not judged again.
    """
    known = {} if known is None else known
    a, whole = plan.campaign.analysis, read_responses(plan)
    tables = calibrations(plan)
    stages = stages_of(plan.campaign, whole.prompts)
    if not stages:
        return _judged_at(plan, whole, tables, executor, None, watch)
    sizes, least = tuple(s.size for s in stages), min((t.prompts[0] for t in tables.values()), default=0)
    history = History(sizes, min(least, sizes[-1]), frozenset(tables))
    asked = stages[: _stages_asked(plan) or len(stages)]
    at: tuple[int, ...] = ()
    for i, stage in enumerate(asked):
        part = whole.only(stage.prompts)
        at = (*at, len(part.text))
        if i < len(asked) - 1 and at in known:
            history = known[at]
            continue
        found = _judged_at(plan, part, tables, executor, history, watch)
        if all_over(found.findings):
            break
        history = known[at] = history.after(_ranked(found.cases, a.questions), found.findings)
    return found


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


def _ranked(cases: Sequence[Case], questions: Sequence[str]) -> dict[tuple[str, str], Ranked]:
    """The scores of each pair's pool, as kinship ranks them."""
    if "kinship" not in questions:
        return {}
    found = {(c.suspect.name, c.candidate.name): c.assessment for c in cases}
    return {pair: (a.pool.names, a.combined) for pair, a in found.items() if a.combined is not None}


def _stages_asked(plan: Plan) -> int:
    with Store(plan.store, readonly=True) as store:
        return int(store.note(STAGES_ASKED) or 0)


def _judged_at(
    plan: Plan,
    answers: Responses,
    tables: Mapping[str, LikelihoodTable],
    executor: str,
    history: History | None,
    watch: Watch,
) -> Judged:
    draws, copies = independent_draws(answers)
    draws = taken_apart(draws, executor, watch)
    coded = any(isinstance(e, Reference) and not e.texts for e in plan.campaign.endpoints)
    table, doubted = honest_logprobs(draws if coded else read(draws))
    a = plan.campaign.analysis
    channels = load_channels(a.channels)
    compared = comparable(plan.campaign, table) if coded else table
    similarities = compare(channels, compared, executor, watch)
    cases = _cases(plan.campaign, compared, channels, similarities, tables, executor, history)
    found = ask(cases, a.questions, watch)
    return Judged(table, compared, similarities, cases, found, (*copies, *doubted), tables)


def comparable(campaign: Campaign, table: Responses) -> Responses:
    """A table as channels read it; with its words hashed where those of a reference came so.

    Then what an endpoint says everywhere is looked for among codes: beside them plain words would look like it.
    """
    already = {e.name for e in campaign.endpoints if isinstance(e, Reference) and not e.texts}
    return read(hashed(table, already) if already else table)


def all_over(findings: Sequence[Finding]) -> bool:
    """Whether no verdict waits for a further stage."""
    return all(f.stop is None or f.stop.over for f in findings)


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
            if isinstance(e, Reference):  # a gap counts as not answered: somebody else may have asked other things
                asked[:, model_at[e.name]] = True
            elif isinstance(e, Recorded):  # which prompts it was asked is unknown: a gap counts as not answered
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
    history: History | None = None,
) -> list[Case]:
    """Every suspect with every candidate. What pairs share is worked out once, when the first question needs it."""
    a = campaign.analysis
    settings = _settings(campaign)
    models = models_of(campaign)
    twin = cache(partial(_twin, table, channels, executor))
    manners = cache(lambda: manners_of(table))
    parts = cache(lambda: _by_surface(table))
    # Kernels of one candidate with everybody: those of all candidates would grow with their number.
    measured = cache(lambda names, counted: _probes(table, names, counted, campaign.seed))
    samples = lru_cache(len(models) + 1)(lambda one, other: _samples(parts(), one, other))
    habits = cache(lambda: (habit_counts(table), opening_counts(table)))
    fresh = {p.id: str(p.fields["twin"]) for p in table.prompts if p.fields.get("fresh")}
    references = [e.name for e in campaign.endpoints if isinstance(e, Reference)]

    def case(
        s: Model, c: Model, among: tuple[Model, ...], left: Sequence[LeftOut] = (), *, checks: bool = True
    ) -> Case:
        return Case(
            suspect=s,
            candidate=c,
            models=among,
            similarities=similarities,
            tables=tables,
            settings=settings,
            twin=lambda names: twin(c.name, tuple(names)),
            habits=habits,
            samples=samples,
            coverage=lambda one, other: _coverage(parts(), one, other),
            unfitted=lambda about: unfitted(manners(), s, c, about),
            looks=looks_of(campaign),
            resemblance=lambda: [
                *unlike(manners(), s, c, among, a.controls),
                *gaps_of(left),
                *(checked(s, c, among) if checks and references else ()),
            ],
            probes=lambda names, counted: measured(tuple(names), tuple(counted)),
            distances=lambda names: _distances(parts(), names),
            fresh=fresh,
            progress=None if history is None else history.of(s.name, c.name),
        )

    def checked(s: Model, c: Model, among: tuple[Model, ...]) -> list[Caveat]:
        others = tuple(m for m in among if m.name != s.name)
        found = reference_check(lambda x, y: case(x, y, others, checks=False), kinship, c, others, references)
        return [] if found is None else [found]

    def kinship(one: Case) -> Finding:
        return ask([one], ("kinship",))[0]

    def fitted(s: Model, c: Model) -> tuple[tuple[Model, ...], tuple[LeftOut, ...]]:
        return fitting(manners(), s, c, models, references) if references else (models, ())

    pairs = list(itertools.product(_by(models, "suspect"), _by(models, "candidate")))
    kept = {(s.name, c.name): fitted(s, c) for s, c in pairs}
    return [case(s, c, *kept[s.name, c.name]) for s, c in pairs]


def surveyed(plan: Plan, table: Responses, similarities: tuple[Similarity, ...]) -> Survey | None:
    """All pairs of models among each other, with what limits the campaign as a whole."""
    campaign, manners = plan.campaign, manners_of(table)
    rule = campaign.analysis.controls
    found = survey(
        models_of(campaign),
        similarities,
        _settings(campaign),
        lambda names, counted: _probes(_part(table, counted), tuple(names), tuple(counted), campaign.seed),
        lambda a, b, models: unlike(manners, a, b, models, rule),
    )
    if found is None:
        return None
    caveats, own = _campaign_caveats(plan.store)
    return replace(found, caveats=(*caveats, *found.caveats, *(c for c in own if c.names[0] in found.names)))


def _part(table: Responses, channels: Sequence[str]) -> Responses:
    """A table on as many prompts of each channel as a placebo needs, spread over all: all would take minutes."""
    served = [table.where(c) for c in channels]
    return table.only(sorted({p for some in served for p in some[:: max(1, -(-len(some) // PLACEBO_PROMPTS))]}))


def _settings(campaign: Campaign) -> Settings:
    a = campaign.analysis
    return Settings(a.alpha, a.min_coverage, a.permutations, a.bootstrap, campaign.seed, a.controls)


def _probes(table: Responses, names: tuple[str, ...], channels: tuple[str, ...], seed: int) -> dict[str, Probe]:
    """Channels measured again among the models of one pool."""
    return probes(channels, table.among([table.models.index(n) for n in names]), PLACEBOS, seed)


def models_of(campaign: Campaign) -> tuple[Model, ...]:
    """Every endpoint as inference sees it."""
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
    return compare({n: channels[n] for n in names}, with_twin(table, candidate, TWIN), executor)


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


def with_campaign_caveats(findings: Sequence[Finding], path: Path, taken: Sequence[Removal]) -> list[Finding]:
    """Findings with what limits them all: calls without an answer, a short form, endpoints that were several models,
    what was taken out of the answers of suspect and candidate."""
    first, own = _campaign_caveats(path)
    return [
        replace(
            f,
            caveats=(
                *first,
                *f.caveats,
                *(removal(r) for r in taken if r.model in (f.suspect, f.candidate)),
                *(c for c in own if c.names[0] in (f.suspect, f.candidate)),
            ),
        )
        for f in findings
    ]


def _campaign_caveats(path: Path) -> tuple[list[Caveat], list[Caveat]]:
    """What limits a campaign as a whole; and of single endpoints: they were several models, or ended oddly."""
    with Store(path, readonly=True) as store:
        mixed, short, ended = mixtures(store), store.note(SHORT_FORM), stated(store, "finish_reason")
        planned, answered = map(sum, zip((0, 0), *store.progress().values(), strict=True))
        first = gaps_of(left_of(store.note(REFERENCES)))
    if missing := planned - answered:
        first.append(Caveat("unanswered calls", values=(missing, planned)))
    if short:
        first.append(Caveat("short form", names=(short,)))
    odd = (
        Caveat("unknown finish", names=(name, why), values=(count,))
        for name, found in ended.items()
        for why, count in found
        if unknown_finish(why)
    )
    return first, [*(Caveat("mixed models", names=of) for of in mixed.items()), *odd]


def self_statements(plan: Plan, table: Responses) -> tuple[Observation, ...]:
    """What answers say of themselves and what was asked says otherwise."""
    with Store(plan.store, readonly=True) as store:
        models, hosts = (stated(store, "model_answered"), stated(store, "provider"))
    said = {e.name: Stated(dict(models.get(e.name, [])), dict(hosts.get(e.name, []))) for e in plan.campaign.endpoints}
    return contradictions(plan.campaign.endpoints, said, table)


def attributions(plan: Plan, table: Responses, similarities: Sequence[Similarity]) -> tuple[Attribution, ...]:
    """Each suspect among the known models: by answers to the same prompts, else by the text classifier."""
    from harness.inference.attribution import attribute  # scikit-learn is heavy, and few campaigns ask this
    from harness.inference.pairing import paired, pairing

    models, alpha = models_of(plan.campaign), plan.campaign.analysis.alpha
    suspects = [m.name for m in _by(models, "suspect")]
    known = [m for m in models if m.role != "suspect"]
    at = [table.models.index(m.name) for m in known]
    roots, makers = [m.root for m in models], [m.makers for m in models]
    wording = next((s for s in similarities if s.channel == "wording"), None)
    with Store(plan.store, readonly=True) as store:
        times = recorded_between(store)
    texts = first_answers(table, table.where("wording"))
    plain = attribute(texts, table.models, [m.lineage for m in models], suspects, alpha, plan.campaign.seed)
    return tuple(
        paired(a, pairing(wording.values, table.models.index(a.suspect), at, roots, makers, alpha), known, alpha, times)
        if wording is not None
        else paired(a, None, known, alpha, times)
        for a in plain
    )
