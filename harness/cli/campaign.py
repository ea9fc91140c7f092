"""Commands that work on a campaign: `check`, `run`, `score`, `calibrate`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import DEFAULT, Config, Json, Limit, Quiet, show, tell
from harness.errors import EndpointError

if TYPE_CHECKING:
    from harness.plan import Plan


app = typer.Typer()


@app.command(epilog="Example: harness check config.yaml --offline")
def check(
    config: Config = DEFAULT,
    offline: Annotated[bool, typer.Option(help="Contact nobody.")] = False,
    as_json: Json = False,
) -> None:
    """Check config, prompts and keys, and find out with a call or two what each endpoint can do."""
    from harness.check import check_endpoints, raise_unusable, table, warnings
    from harness.config.schema import Remote
    from harness.plan import prepare

    plan = prepare(config, os.environ)
    called = sum(isinstance(e, Remote) for e in plan.campaign.endpoints)
    if called and not offline:
        tell(f"asking {called} endpoints; each has {plan.campaign.collect.call_timeout:g} s to answer")
    rows = check_endpoints(plan, os.environ, offline=offline)
    notes = warnings(plan)
    if as_json:
        show(json.dumps({"endpoints": rows, "warnings": notes}, indent=2))
    else:
        show(table(rows))
        for note in notes:
            tell(f"warning: {note}")
    raise_unusable(rows)
    if not as_json:
        tell(f"ok: {len(plan.prompts)} prompts; next: harness run {config}")


@app.command(epilog="Example: harness run config.yaml --dry-run")
def run(
    config: Config = DEFAULT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be asked, exactly, and stop.")] = False,
    limit: Limit = None,
    shard: Annotated[str | None, typer.Option(help="Ask only part i of n, as 2/3; join them with `merge`.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask whatever is not stored yet, then compare, decide and write the results. Run it again to resume."""
    from harness.plan import anything_stored, prepare
    from harness.report import terminal
    from harness.store.merging import Shard

    plan = prepare(config, os.environ, limit)
    part = None if shard is None else Shard.parse(shard)
    if dry_run:
        from harness.check import dry_run_rows

        rows = dry_run_rows(plan)
        show(json.dumps(rows, indent=2) if as_json else terminal.dry_run_text(rows))
        return
    from harness.cli.progress import run_with_progress

    failed = run_with_progress(plan, os.environ, f"resume: harness run {config}", quiet=quiet, shard=part)
    if failed and not anything_stored(plan):
        raise EndpointError("no call got an answer", "the lines above say why; mend it and run the same command again")
    if part is None:
        _finish(plan, as_json, quiet=quiet)
    else:
        tell(f"shard {shard} is in {os.path.relpath(plan.folder)}; when all are: harness merge {config} FOLDER...")
    if failed:
        tell(f"{failed} calls failed; run the same command again to ask them again")
        raise typer.Exit(3)


@app.command(epilog="Example: harness score config.yaml --json")
def score(config: Config = DEFAULT, as_json: Json = False, quiet: Quiet = False) -> None:
    """Compare and decide again from the stored answers; nobody is asked, and only config and store are needed."""
    from harness.plan import stored_plan

    _finish(stored_plan(config), as_json, quiet=quiet)


def _finish(plan: Plan, as_json: bool, *, quiet: bool = False) -> None:
    from harness import campaign as scoring
    from harness.report import terminal

    scores = scoring.score(plan)
    paths = scoring.write(plan, scores)
    if as_json:
        show(terminal.findings_json(scores.findings))
    else:
        terminal.print_findings(scores.findings, sys.stdout)
        terminal.print_attributions(scores.attributions, sys.stdout)
    if not quiet:
        tell(f"\n{terminal.where_text([Path(os.path.relpath(p)) for p in paths])}")


@app.command(epilog="Example: harness calibrate config.yaml pairs.csv --out calibration.json")
def calibrate(
    config: Config,
    pairs: Annotated[
        Path, typer.Argument(help="CSV: model_a, model_b, relation (kin, unrelated), lineage_a, lineage_b.")
    ],
    out: Annotated[Path | None, typer.Option(help="File to write; default: calibration.json in the results.")] = None,
    channel: Annotated[str, typer.Option(help="Channel whose similarity becomes a likelihood ratio.")] = "wording",
) -> None:
    """Fit likelihood ratios on stored answers of models of known relation, and say how well they do."""
    from harness import calibrate as calibrating
    from harness.campaign import calibrate_campaign
    from harness.plan import stored_plan

    plan = stored_plan(config)
    written, checks = calibrate_campaign(plan, pairs, channel, out)
    show(calibrating.summary_text(checks, plan.campaign.analysis.alpha))
    tell("\n".join(f"wrote {os.path.relpath(p)}" for p in written))
    tell(f"next: write `calibration: {os.path.relpath(written[0], plan.base)}` under `analysis:` in {config}")
