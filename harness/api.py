"""The command line's `run` and `score` as functions, for notebooks and other programs."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import campaign as scoring
from harness.campaign import Scores, collect_async
from harness.collect.context import Tally
from harness.config.schema import Campaign
from harness.plan import Plan, plan_of, prepare, stored_plan, stored_plan_of

_LOG = logging.getLogger("harness")


def run_campaign(
    config: Campaign | Path | str,
    *,
    base: Path | str = ".",
    environ: Mapping[str, str] | None = None,
    limit: int | None = None,
    say: Callable[[str], None] = _LOG.warning,
) -> Scores:
    """Ask whatever is not stored yet, then compare and decide. Nothing but the store is written; see `write`.

    Parameters
    ----------
    config : a YAML file, or what `load_config` made of one.
    base : folder to which a `Campaign`'s paths are relative; of a file it is the file's own.
    environ : where keys and `${NAME}` come from; default: the process's environment.
    limit : use at most so many prompts of each set.
    say : takes each line for whoever watches; calls that got no answer are said there and asked again next time.

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
    return scoring.score(plan)


def score(config: Campaign | Path | str, *, base: Path | str = ".") -> Scores:
    """Compare and decide again from the stored answers of a campaign; nobody is asked."""
    return scoring.score(_stored(config, base))


def write(config: Campaign | Path | str, scores: Scores, *, base: Path | str = ".") -> list[Path]:
    """Write report.html, the tables and the manifest into the campaign's folder; returns their paths."""
    return scoring.write(_stored(config, base), scores)


def _stored(config: Campaign | Path | str, base: Path | str) -> Plan:
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
