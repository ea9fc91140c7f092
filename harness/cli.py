"""The command line: parse, call, print. Data to stdout, progress and errors to stderr. Heavy imports wait."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from harness.campaign import Plan

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    help="Whose model is this? Probe model APIs, compare with unrelated controls: a verdict with a known error rate.",
)
prompts_app = typer.Typer(no_args_is_help=True, help="Look at prompt sets: `harness prompts list`.")
app.add_typer(prompts_app, name="prompts")

Config = Annotated[Path, typer.Argument(help="The campaign's YAML file.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use at most so many prompts of each set: a short form.")]
_DEFAULT = Path("config.yaml")


def main() -> None:
    """Entry point: every expected error becomes one line and an exit code, never a traceback."""
    try:
        app(standalone_mode=True)
    except HarnessError as e:
        from harness.report.terminal import plain

        print(f"error: {plain(e.message)}", file=sys.stderr)  # noqa: T201
        if e.hint:
            print(f"hint:  {plain(e.hint)}", file=sys.stderr)  # noqa: T201
        raise SystemExit(e.exit_code) from None


def _out(text: str) -> None:
    typer.echo(text)


def _err(text: str) -> None:
    typer.echo(text, err=True)


@app.command(epilog="Example: harness init")
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write config.yaml.")] = Path(),
    force: Annotated[bool, typer.Option(help="Overwrite an existing config.yaml.")] = False,
) -> None:
    """Write a commented config.yaml to start from: small models that run on this machine, no key needed."""
    here = Path(__file__).resolve().parent
    source = here / "_config.yaml" if (here / "_config.yaml").is_file() else here.parent / "config.yaml"
    target = folder / "config.yaml"
    if target.exists() and not force:
        raise ConfigError(f"{target} is there already", "use --force to overwrite it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    except OSError as e:
        raise ConfigError(f"{target}: {e.strerror or e}", "choose another folder") from e
    _err(f"wrote {target}; next: harness run {target}")


@app.command(epilog="Example: harness check config.yaml --offline")
def check(
    config: Config = _DEFAULT,
    offline: Annotated[bool, typer.Option(help="Contact nobody.")] = False,
    as_json: Json = False,
) -> None:
    """Check config, prompts and keys, and ask each endpoint whether it is there. Costs nothing."""
    from harness.campaign import prepare
    from harness.checking import check_endpoints, warnings

    plan = prepare(config, os.environ)
    rows = check_endpoints(plan, os.environ, offline=offline)
    notes = warnings(plan)
    if as_json:
        _out(json.dumps({"endpoints": rows, "warnings": notes}, indent=2))
    else:
        for row in rows:
            _out(f"{row['endpoint']:24} {row['role']:10} {row['lineage'] or '-':16} {row['kind']:18} {row['state']}")
        for note in notes:
            _err(f"warning: {note}")
        _err(f"ok: {len(plan.prompts)} prompts; next: harness run {config}")


@app.command(epilog="Example: harness run config.yaml --dry-run")
def run(
    config: Config = _DEFAULT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be asked, exactly, and stop.")] = False,
    limit: Limit = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask whatever is not stored yet, then compare, decide and write the results. Run it again to resume."""
    from harness.campaign import prepare
    from harness.report import terminal

    plan = prepare(config, os.environ, limit)
    if dry_run:
        from harness.checking import dry_run_rows

        rows = dry_run_rows(plan)
        _out(json.dumps(rows, indent=2) if as_json else terminal.dry_run_text(rows))
        return
    from harness.running import run_with_progress

    failed = run_with_progress(plan, os.environ, config, quiet=quiet)
    _finish(plan, as_json)
    if failed:
        _err(f"{failed} calls failed; run the same command again to ask them again")
        raise typer.Exit(3)


@app.command(epilog="Example: harness score config.yaml --json")
def score(config: Config = _DEFAULT, limit: Limit = None, as_json: Json = False) -> None:
    """Compare and decide again from the stored answers; nobody is asked."""
    from harness.campaign import prepare

    _finish(prepare(config, os.environ, limit), as_json)


def _finish(plan: Plan, as_json: bool) -> None:
    from harness import campaign as whole
    from harness.report import terminal

    scores = whole.score(plan)
    paths = whole.write(plan, scores)
    if as_json:
        _out(terminal.findings_json(scores.findings))
    else:
        terminal.print_findings(scores.findings, sys.stdout)
    _err("\n".join(f"wrote {os.path.relpath(p)}" for p in paths))


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
    from harness import calibrating
    from harness.campaign import calibrate_campaign, prepare

    plan = prepare(config, os.environ)
    written, checks = calibrate_campaign(plan, pairs, channel, out)
    _out(calibrating.summary_text(checks, plan.campaign.analysis.alpha))
    _err("\n".join(f"wrote {os.path.relpath(p)}" for p in written))
    _err(f"next: write `calibration: {os.path.relpath(written[0], plan.base)}` under `analysis:` in {config}")


@app.command(epilog="Example: harness export config.yaml --format parquet --out answers.parquet")
def export(
    config: Config = _DEFAULT,
    out: Annotated[Path | None, typer.Option(help="File to write; default: stdout (JSONL only).")] = None,
    fmt: Annotated[str, typer.Option("--format", help="jsonl, csv or parquet.")] = "jsonl",
    limit: Limit = None,
) -> None:
    """Write the stored answers as a table that a `recorded` endpoint, or anything else, can read."""
    from harness.campaign import prepare
    from harness.exporting import export_answers

    count = export_answers(prepare(config, os.environ, limit), fmt, out, sys.stdout.buffer)
    _err(f"{count} answers{f' -> {out}' if out else ''}")


@prompts_app.command("list", epilog="Example: harness prompts list")
def prompts_list(as_json: Json = False) -> None:
    """List the prompt sets with the number of prompts and what each tells apart."""
    from harness.prompts import available, load_set, shipped_folder

    folders = [Path("prompts"), shipped_folder()]
    names = sorted({n for f in folders for n in available(f)})
    sets = [load_set(n, folders[0]) for n in names]
    if as_json:
        _out(json.dumps([{"name": s.name, "sha256": s.sha256, **s.card} for s in sets], indent=2))
        return
    for s in sets:
        _out(
            f"{s.name:14} {len(s.prompts):4} prompts  v{s.card['version']}  {' '.join(s.card['languages']):12} "
            f"{s.card['purpose']}"
        )


@prompts_app.command("show", epilog="Example: harness prompts show everyday")
def prompts_show(name: str, as_json: Json = False) -> None:
    """Show one prompt set: its card and every prompt."""
    from harness.prompts import load_set

    found = load_set(name, Path("prompts"))
    if as_json:
        _out(
            json.dumps(
                {"card": found.card, "prompts": [{"id": p.id, "text": p.text} for p in found.prompts]},
                indent=2,
            )
        )
        return
    for key, value in found.card.items():
        _out(f"{key}: {value}")
    for p in found.prompts:
        _out(f"{p.id}: {p.text}")


@prompts_app.command("check", epilog="Example: harness prompts check my-prompts.yaml")
def prompts_check(
    names: Annotated[list[str] | None, typer.Argument(help="Sets or files; default: all.")] = None,
) -> None:
    """Check prompt sets against the documented format."""
    from harness.prompts import available, load_set, shipped_folder

    for name in names or available(shipped_folder()):
        found = load_set(name, Path("prompts"))
        _out(f"{name}: ok, {len(found.prompts)} prompts, {found.sha256[:12]}")


if __name__ == "__main__":
    main()
