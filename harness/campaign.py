"""A campaign from config to results: plan, collect, compare, decide, write. The Python API, and the flow on one page.

prepare (plan.py) -> collect_async -> read_responses -> compare -> ask -> write
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.channels.parallel import LOCAL, observations, require_executor
from harness.channels.reading import removals
from harness.clock import Clock
from harness.collect.agreement import require_agreement
from harness.collect.context import Tally
from harness.config import Campaign, lineage_of, load_config, require_yes
from harness.files import write_whole
from harness.inference.breakdown import Detail, detail
from harness.inference.findings import Attribution
from harness.inference.greedy import Greedy, followings
from harness.inference.likelihood import LikelihoodTable, tables_json
from harness.inference.liking import Liking, likings
from harness.inference.pool import Model
from harness.inference.survey import Survey
from harness.judging import (
    Known,
    all_over,
    attributions,
    judged,
    models_of,
    self_statements,
    surveyed,
    with_campaign_caveats,
)
from harness.plan import Plan, plan_of, prepare, stored_plan, stored_plan_of
from harness.readers import read_answers, readings
from harness.records import Observation, Responses, Similarity, Watch, unwatched
from harness.report.browser import answers_html
from harness.report.caveats import beside, noticed
from harness.report.html import Material, report_html
from harness.report.manifest import CALIBRATION, facts, manifest_json
from harness.report.notebook import Findings, frame, parquet, shown
from harness.report.reading_words import observed
from harness.report.tables import csv_text, tables
from harness.stages import Asking, ask_in_parts, ask_in_stages
from harness.store import Seal, Store, require_whole, seal

if TYPE_CHECKING:
    import pandas

_LOG = logging.getLogger("harness")
OUTPUTS: Mapping[str, Callable[[Material], str]] = {  # a new file beside the tables is one function and one line here
    "report.html": report_html,
    "answers.html": answers_html,
}


@dataclass(frozen=True)
class Scores:
    """All that was computed of a campaign's answers. ``calibrations`` are behind the likelihood ratios, ``seal`` has
    the hashes of the stored answers as they were read, before anything was judged.

    A notebook shows it, and its ``findings``, as conclusions, verdicts and limits.
    """

    findings: Findings
    similarities: tuple[Similarity, ...]
    responses: Responses
    attributions: tuple[Attribution, ...]
    details: tuple[Detail, ...]
    observations: tuple[Observation, ...]
    calibrations: Mapping[str, LikelihoodTable]
    models: tuple[Model, ...]
    survey: Survey | None = None
    likings: tuple[Liking, ...] = ()
    followings: tuple[Greedy, ...] = ()
    seal: Seal | None = None

    def to_pandas(self) -> dict[str, pandas.DataFrame]:
        """Every table that `write` puts into CSV files, by its name without ``.csv``, as typed data frames.

        Columns are those of `docs/data-dictionary.md`: numbers are float64, counts Int64, what is true or not boolean.
        """
        return {t.name: frame(t) for t in tables(self)}

    def _repr_html_(self) -> str:
        return shown(self.findings, self.attributions, self.survey)


# --8<-- [start:api]
def run_campaign(
    config: Campaign | Plan | Path | str,
    *,
    base: Path | str = ".",
    environ: Mapping[str, str] | None = None,
    limit: int | None = None,
    executor: str = LOCAL,
    say: Callable[[str], None] = _LOG.warning,
    watch: Watch = unwatched,
    trust: bool = False,
) -> Scores:
    """Ask whatever is not stored yet, then compare and decide. Nothing but the store is written; see `write`.

    Parameters
    ----------
    config : a YAML file, what `load_config` made of one, or a plan of it: `base` and `limit` are then its own.
    base : folder to which a `Campaign`'s paths are relative; of a file it is the file's own.
    environ : where keys and `${NAME}` come from; default: the process's environment.
    limit : use at most so many prompts of each set.
    executor : where channels are computed, see `harness.channels.parallel.compare`.
    say : takes each line for people; calls that got no answer are reported there and asked again next time.
    watch : is told what is worked out once all is asked, as of `score`.
    trust : send the keys and files that `harness check` lists, also to hosts that this user never said yes to. It holds
        for this call and is not remembered; `harness check --trust` is.

    Returns
    -------
    Scores

    Raises
    ------
    HarnessError
        `ConfigError`, `EndpointError` for one that cannot be used, `CeilingError` at a ceiling.
    """
    environ = os.environ if environ is None else environ
    if not trust:
        campaign, folder = _named(config, base)
        require_yes(campaign, folder, environ, "if you trust whoever wrote this config with that: trust=True")
    if isinstance(config, Plan):
        plan = config
    elif isinstance(config, Campaign):
        plan = plan_of(config, Path(base).resolve(), environ, limit)
    else:
        plan = prepare(Path(config), environ, limit)
    tallies: dict[str, Tally] = {}
    _finish(collect_async(plan, environ, tallies, asyncio.Event(), say))
    for name, tally in tallies.items():
        if tally.stored < tally.planned:
            say(f"{name}: {tally.planned - tally.stored} of {tally.planned} calls got no answer: {tally.last_error}")
    return score(plan, executor=executor, watch=watch)


def score(
    config: Campaign | Plan | Path | str, *, base: Path | str = ".", executor: str = LOCAL, watch: Watch = unwatched
) -> Scores:
    """Compare and decide again from the stored answers of a campaign; nobody is asked.

    ``executor`` is where channels are computed; nothing in a config says it. ``watch`` is told what is worked out, and
    how far that is, as `harness.records.Watch` says.
    """
    require_executor(executor)
    plan = _stored(config, base)
    watch("reading", plan.campaign.campaign, 0, 0)
    with Store(plan.store, readonly=True) as store:
        sealed = seal(store, require_whole(store))
        require_agreement(plan.campaign, plan.base, store)
    return replace(scores_of(plan, executor, watch), seal=sealed)


def scores_of(plan: Plan, executor: str = LOCAL, watch: Watch = unwatched) -> Scores:
    """As `score`, of a store that is whole and holds answers to this very config."""
    questions, found = plan.campaign.analysis.questions, judged(plan, executor, watch=watch)
    models = f"{len(found.table.models)} models"
    watch("observing", models, 0, 0)
    table, taken = found.table, (*found.taken, *removals(found.table))
    details = [detail(c.assessment) for c in found.cases] if "kinship" in questions else []
    heard, every = readings(plan, found.compared), models_of(plan.campaign)
    liked = () if heard is None else likings(heard, every, plan.campaign.analysis.controls)
    follow = () if heard is None else followings(heard, every, plan.campaign.seed)
    seen = (
        *self_statements(plan, table),
        *observations(table),
        *noticed(taken),
        *beside(found.cases if details else ()),
        *observed(liked, follow),
    )
    named: tuple[Attribution, ...] = ()
    if "attribution" in questions:
        watch("attributing", models, 0, 0)
        named = attributions(plan, found.compared, found.similarities)
    close = None
    if "survey" in questions:
        watch("surveying", models, 0, 0)
        close = surveyed(plan, found.compared, found.similarities)
    return Scores(
        findings=Findings(with_campaign_caveats(found.findings, plan.store, taken)),
        similarities=found.similarities,
        responses=table,
        attributions=named,
        details=tuple(d for d in details if d is not None),
        observations=seen,
        calibrations=found.tables,
        models=every,
        survey=close,
        likings=liked,
        followings=follow,
    )


def write(
    config: Campaign | Plan | Path | str, scores: Scores, *, base: Path | str = ".", watch: Watch = unwatched
) -> list[Path]:
    """Write report.html, the tables and the manifest into the campaign's folder; returns their paths."""
    plan = _stored(config, base)
    known = facts(plan.campaign, plan.prompt_hashes, plan.store, Clock().now(), scores.seal)
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
        survey=scores.survey,
        facts=known,
    )
    files: dict[str, str | bytes] = {}
    for name, make in OUTPUTS.items():
        watch("writing", name, 0, 0)
        if text := make(material):
            files[name] = text
    watch("writing", "tables", 0, 0)
    for table in tables(scores):
        files[f"{table.name}.csv"] = csv_text(table, bom=plan.campaign.report.bom)
        if plan.campaign.report.parquet:
            files[f"{table.name}.parquet"] = parquet(table)
    files[CALIBRATION] = tables_json(scores.calibrations)
    files["manifest.json"] = manifest_json(known, files)
    return [write_whole(plan.folder / name, text) for name, text in files.items()]


# --8<-- [end:api]
def _named(config: Campaign | Plan | Path | str, base: Path | str) -> tuple[Campaign, Path]:
    """A config and the folder that its paths are relative to, before any of them is opened."""
    if isinstance(config, Plan):
        return config.campaign, config.base
    if isinstance(config, Campaign):
        return config, Path(base).resolve()
    return load_config(config), Path(config).resolve().parent


def _stored(config: Campaign | Plan | Path | str, base: Path | str) -> Plan:
    if isinstance(config, Plan):
        return config
    if isinstance(config, Campaign):
        return stored_plan_of(config, Path(base).resolve())
    return stored_plan(Path(config))


def _finish(work: Coroutine[None, None, object]) -> None:
    """Run to the end, in a thread of its own where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


Parts = tuple[Sequence[int], Callable[[int], bool]]


async def collect_async(
    plan: Plan,
    environ: Mapping[str, str],
    tallies: dict[str, Tally],
    stop: asyncio.Event,
    say: Callable[[str], None] = lambda _: None,
    clock: Clock = Clock(),
    parts: Parts | None = None,
) -> bool:
    """Ask whatever is not stored yet, until done or ``stop`` is set; of a shard its own keys only.

    A campaign of stages is judged after each, and is done when every verdict stops; ``parts`` are numbers of prompts to
    ask in their place, and what says of the index of one that it was enough. Returns whether it is done: also
    if calls failed, and not if ``stop`` came between two stages. Then readers, if there are any, get what is stored; of
    a shard not, for they read what all of it holds.
    """
    asking = Asking(plan, environ, tallies, stop, say, clock)
    if parts is not None:
        return await ask_in_parts(asking, *parts)
    known: Known = {}  # what this run has judged already

    def decided(plan: Plan) -> bool:
        return all_over(judged(plan, known=known).findings)

    done = await ask_in_stages(asking, decided)
    if done and plan.campaign.readers and not stop.is_set() and plan.shard.count == 1:
        await read_answers(asking)
    return done
