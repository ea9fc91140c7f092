"""The command for cron and CI: `monitor`."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import DEFAULT, Config, Json, Limit, Quiet, show, tell

if TYPE_CHECKING:
    from harness.inference.drift import Change


app = typer.Typer()
DIFFERS, CANNOT_TELL = 10, 11


@app.command(epilog="Example: harness monitor config.yaml --against results/nova --endpoint provider-x --quiet")
def monitor(
    config: Config = DEFAULT,
    against: Annotated[
        Path | None, typer.Option(help="Campaign folder or store with the baseline; default: the config's own.")
    ] = None,
    endpoint: Annotated[list[str] | None, typer.Option(help="Endpoint to ask again; default: every suspect.")] = None,
    alpha: Annotated[
        float, typer.Option(min=0.0005, max=0.5, help="False alarms per run, at most, if nothing has changed.")
    ] = 0.01,
    limit: Limit = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask an endpoint again and test whether it still answers as its baseline did.

    One line an endpoint. Exit code 0: cannot be told from the baseline; 10: differs; 11: cannot tell.
    """
    from harness.cli.progress import run_with_progress
    from harness.monitor import carry_over, judge, watch

    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    watched = watch(config, against, endpoint or [], stamp, limit)
    carry_over(watched)
    run_with_progress(watched.plan, os.environ, "run the same command again; it starts anew", quiet=quiet)
    changes = judge(watched, alpha)
    show(_json(changes) if as_json else "\n".join(map(_line, changes)))
    if not quiet:
        tell(f"answers are in {os.path.relpath(watched.plan.folder)}")
    states = {c.state for c in changes}
    code = DIFFERS if "differs" in states else CANNOT_TELL if "cannot tell" in states else 0
    if code:
        raise typer.Exit(code)


def _line(change: Change) -> str:
    from harness.report.text import plain

    numbers = f"p = {change.p_value:.2g}, alpha {change.alpha:g}" if change.p_value == change.p_value else "no p-value"
    tests = "; ".join(
        f"{d.channel} {d.statistic:.3g}, baseline's halves {d.noise:.3g}, {d.prompts} prompts" for d in change.channels
    )
    notes = "".join(f"; {n}" for n in change.notes)
    return plain(
        f"{change.endpoint}: {change.state}: {change.sentence} ({numbers}; {tests or 'nothing compared'}){notes}"
    )


def _json(changes: list[Change]) -> str:
    from dataclasses import asdict

    from harness.report.terminal import clean

    return json.dumps([clean(asdict(c)) for c in changes], indent=2, allow_nan=False)
