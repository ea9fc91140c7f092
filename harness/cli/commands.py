"""Commands of `harness`: check, which, run, score, calibrate, export, merge, verify, pack, monitor."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    CANNOT_TELL,
    DEFAULT,
    DIFFERS,
    Config,
    Executor,
    Json,
    Limit,
    Quiet,
    show,
    show_block,
    show_scores,
    tell,
)
from harness.cli.trust import Trust, require_trust, tell_reach
from harness.clock import Clock

if TYPE_CHECKING:
    from harness.campaign import Parts
    from harness.config import Campaign
    from harness.plan import Plan


app = typer.Typer()


@app.command(epilog="Example: harness check config.yaml --offline")
def check(
    config: Config = DEFAULT,
    offline: Annotated[bool, typer.Option(help="Contact nobody.")] = False,
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Check config, prompts and keys, and find out with a call or two what each endpoint can do."""
    from harness.check import advice, check_endpoints, raise_unusable, readers_line, stages_line, table, warnings
    from harness.power import expected_power, power_text

    campaign, base = _loaded(config)
    reach = tell_reach(campaign, base)
    if not offline:
        require_trust(campaign, base, os.environ, trust=trust)
    plan = _planned(config)
    rows = check_endpoints(plan, os.environ, offline=offline, say=tell)
    notes, ways, powers = warnings(plan, rows), advice(plan, rows), expected_power(plan)
    if as_json:
        known = [{k: None if v != v else v for k, v in asdict(p).items()} for p in powers]
        show_block(
            json.dumps({"endpoints": rows, "warnings": notes, "advice": ways, "power": known, "reach": reach}, indent=2)
        )
    else:
        show_block(table(rows))
        for note in notes:
            tell(f"warning: {note}")
        for way in ways:
            tell(f"advice: {way}")
        for line in power_text(powers, plan):
            tell(f"power: {line}")
        if staged := stages_line(plan):
            tell(f"calls: {staged}")
        if reading := readers_line(plan):
            tell(f"readers: {reading}")
    raise_unusable(rows)
    if not as_json:
        tell(f"ok: {len(plan.prompts)} prompts; next: harness run {config}")


@app.command(epilog="Example: harness which mystery config.yaml")
def which(
    endpoint: Annotated[str, typer.Argument(help="Endpoint to look at, by its name in the config.")],
    config: Config = DEFAULT,
    references: Annotated[
        list[str] | None, typer.Option(help="Pack of answers recorded by others, whose models are known; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be asked, exactly, and stop.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    trust: Trust = False,
) -> None:
    """Ask one endpoint the cheap things first: which known model is it, and what further is worth its money?"""
    from harness.report.naming import look_text
    from harness.report.terminal import look_json
    from harness.which import look, quick_plan

    plan = quick_plan(config, endpoint, os.environ, references or ())
    if dry_run:
        from harness.check import dry_run_rows, dry_run_text

        tell_reach(plan.campaign, plan.base)
        rows = dry_run_rows(plan)
        show_block(json.dumps(rows, indent=2) if as_json else dry_run_text(rows, plan.campaign.collect.attempts))
        return
    require_trust(plan.campaign, plan.base, os.environ, trust=trust)
    failed = _collect(plan, f"resume: harness which {endpoint} {config}", quiet=quiet)
    plan.require_answers()
    found = look(plan)
    show_block(look_json(found) if as_json else look_text(found))
    if failed:
        tell(f"{failed} calls failed; run the same command again to ask them again")
        raise typer.Exit(3)


@app.command(epilog="Example: harness run config.yaml --dry-run")
def run(
    config: Config = DEFAULT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be asked, exactly, and stop.")] = False,
    limit: Limit = None,
    shard: Annotated[str | None, typer.Option(help="Ask only part i of n, as 2/3; join them with `merge`.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    executor: Executor = "local",
    trust: Trust = False,
) -> None:
    """Ask whatever is not stored yet, then compare, decide and write the results. Run it again to resume."""
    campaign, base = _loaded(config)
    if dry_run:
        tell_reach(campaign, base)
    else:
        require_trust(campaign, base, os.environ, trust=trust)
    plan = _planned(config, limit, shard)
    if dry_run:
        from harness.check import dry_run_rows, dry_run_text, readers_line, stages_line, unpinned
        from harness.power import expected_power, power_text

        rows = dry_run_rows(plan)
        show_block(json.dumps(rows, indent=2) if as_json else dry_run_text(rows, plan.campaign.collect.attempts))
        for line in power_text(expected_power(plan), plan):
            tell(f"power: {line}")
        if staged := stages_line(plan):
            tell(f"calls: {staged}")
        if reading := readers_line(plan):
            tell(f"readers: {reading}")
        for line in unpinned(plan.campaign):
            tell(f"note: {line}")
        return
    from harness.channels.parallel import require_executor

    require_executor(executor)  # before anybody is asked
    failed = _collect(plan, f"resume: harness run {config}", quiet=quiet)
    if failed:
        plan.require_answers()
    if shard is None:
        _finish(plan, as_json, executor, quiet=quiet)
    else:
        tell(f"shard {shard} is in {os.path.relpath(plan.folder)}; when all are: harness merge {config} FOLDER...")
    if failed:
        tell(f"{failed} calls failed; run the same command again to ask them again")
        raise typer.Exit(3)


@app.command(epilog="Example: harness score config.yaml --json")
def score(config: Config = DEFAULT, as_json: Json = False, quiet: Quiet = False, executor: Executor = "local") -> None:
    """Compare and decide again from the stored answers; nobody is asked, and only config and store are needed."""
    _finish(_planned(config, stored=True), as_json, executor, quiet=quiet)


def _loaded(config: Path) -> tuple[Campaign, Path]:
    """A config, and the folder that its paths are relative to."""
    from harness.config import load_config

    return load_config(config), config.resolve().parent


def _planned(config: Path, limit: int | None = None, shard: str | None = None, *, stored: bool = False) -> Plan:
    """The plan of a config; ``stored`` as its store holds it."""
    from harness.plan import prepare, stored_plan

    return stored_plan(config) if stored else prepare(config, os.environ, limit, shard)


def _collect(plan: Plan, again: str, *, quiet: bool, parts: Parts | None = None) -> int:
    """Ask what is missing, with progress; returns how many calls failed."""
    from harness.cli.progress import run_with_progress

    return run_with_progress(plan, os.environ, again, quiet=quiet, parts=parts)


def _finish(plan: Plan, as_json: bool, executor: str, *, quiet: bool = False) -> None:
    from harness.campaign import score, write
    from harness.cli.progress import scoring

    with scoring(quiet=quiet) as watch:
        scores = score(plan, executor=executor, watch=watch)
        written = write(plan, scores, watch=watch)
    show_scores(scores, written, as_json=as_json, quiet=quiet)


@app.command(epilog="Example: harness calibrate config.yaml pairs.csv --out calibration.json")
def calibrate(
    config: Config,
    pairs: Annotated[
        Path,
        typer.Argument(help="CSV: model_a, model_b, relation (kin, base, taught, unrelated), lineage_a, lineage_b."),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write; default: calibration.json in the results.")] = None,
    channel: Annotated[str, typer.Option(help="Channel whose similarity becomes a likelihood ratio.")] = "wording",
    executor: Executor = "local",
) -> None:
    """Fit likelihood ratios on stored answers of models of known relation, and say how well they do."""
    from harness.calibrate import calibrate_campaign, summary_text

    plan = _planned(config, stored=True)
    written, checks = calibrate_campaign(plan, pairs, channel, out, Clock().now(), executor)
    show_block(summary_text(checks, plan.campaign.analysis.alpha))
    tell(*(f"wrote {os.path.relpath(p)}" for p in written))
    tell(f"next: write `calibration: {os.path.relpath(written[0], plan.base)}` under `analysis:` in {config}")


@app.command(epilog="Example: harness export config.yaml --format parquet --out answers.parquet")
def export(
    config: Config = DEFAULT,
    out: Annotated[Path | None, typer.Option(help="File or folder to write; default: stdout (JSONL only).")] = None,
    fmt: Annotated[
        str, typer.Option("--format", help="jsonl, csv, parquet or dataset (a folder for `datasets.load_from_disk`).")
    ] = "jsonl",
    logprobs: Annotated[bool, typer.Option("--logprobs", help="Add the logprobs, as JSON text.")] = False,
) -> None:
    """Write the stored answers as a table that a `recorded` endpoint, or anything else, can read."""
    from harness.transfer import export_answers

    count = export_answers(_planned(config, stored=True), fmt, out, sys.stdout.buffer, logprobs=logprobs)
    tell(f"{count} answers{f' -> {out}' if out else ''}")


@app.command(epilog="Example: harness merge config.yaml machine-1/results/nova machine-2/results/nova")
def merge(
    config: Config,
    stores: Annotated[list[Path], typer.Argument(help="Stores of the shards, or their campaign folders.")],
    limit: Limit = None,
) -> None:
    """Join the stores of shards into the campaign's own; a key with two different answers is refused."""
    from harness.transfer import merge_stores

    for path, count in merge_stores(_planned(config, limit), stores).items():
        tell(f"{count} answers from {path}")
    tell(f"next: harness score {config}")


@app.command(epilog="Example: harness verify results/nova")
def verify(
    folder: Annotated[Path, typer.Argument(help="A campaign's results, or the folder of a pack.")],
    expect: Annotated[str, typer.Option(help="The hash that `pack` or `verify` printed, kept elsewhere.")] = "",
    signer: Annotated[Path | None, typer.Option(help="Ed25519 public key of who must have signed the pack.")] = None,
    stamped_by: Annotated[
        Path | None, typer.Option(help="Root certificate (PEM) of the service that stamped pack.json; RFC 3161.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute every hash of manifest.json, and of a pack; name what differs, with exit code 2 if anything does."""
    from harness.evidence import verify

    found = verify(folder, expect, signer, stamped_by)
    if as_json:
        show_block(json.dumps(asdict(found), indent=2))
    for line in found.notes:
        tell(f"note: {line}")
    for line in found.differs:
        tell(f"differs: {line}")
    if found.differs:
        raise typer.Exit(2)
    tell(f"ok: {', '.join(found.checked)}")
    tell(f"hash: {found.anchor}")


@app.command(epilog="Example: harness pack results/nova --out nova.zip")
def pack(
    folder: Annotated[list[Path], typer.Argument(help="A campaign's results; with --references several, or configs.")],
    out: Annotated[Path, typer.Option(help="Zip file to write.")],
    sign: Annotated[Path | None, typer.Option(help="Ed25519 private key, PEM or OpenSSH, to sign with.")] = None,
    references: Annotated[
        bool, typer.Option("--references", help="Only answers, of all but suspects, for `references:` of others.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the pack of references; default: the file's.")] = None,
    licence: Annotated[str, typer.Option(help="Licence under which these answers may be used.")] = "",
    model: Annotated[list[str] | None, typer.Option(help="Only this model of the references; may be repeated.")] = None,
    without_texts: Annotated[
        bool, typer.Option("--without-texts", help="References as hashed words, which only `wording` can compare.")
    ] = False,
) -> None:
    """Put answers, config and results into one file with which anybody can score again, offline and without keys.

    With --references: what controls and candidates answered, with requests and conditions, for campaigns of others.
    """
    if references:
        from harness.references import source, write_pack

        packed, card = write_pack([source(p) for p in folder], out, name or out.stem, Clock().stamp(), licence=licence,
                                  models=model or (), sign=sign, texts=not without_texts)  # fmt: skip
        tell(f"{len(card.models)} models, {sum(m.answers for m in card.models)} answers -> {out}")
        tell(f"sha256: {packed.anchor}; to use it: `references: [{out}]`, or harness references add {out}")
        return
    from harness.evidence import pack_folder

    if len(folder) > 1 or name or licence or model or without_texts:
        raise typer.BadParameter("one campaign makes one pack; several, and these options, are for --references")
    packed = pack_folder(folder[0], out, sign)
    for member in packed.names:
        tell(member)
    tell(f"-> {out}")
    tell(f"hash: {packed.anchor}; keep it elsewhere, for harness verify --expect")


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
    trust: Trust = False,
) -> None:
    """Ask an endpoint again and test whether it still answers as its baseline did; stop asking once it differs.

    What cannot be tested is said first. One line an endpoint. Exit code 0: cannot be told from the baseline; 10:
    differs; 11: cannot tell.
    """
    from harness.files import write_whole
    from harness.monitor import CHANGES, carry_over, foreseen, judge, watch
    from harness.report.terminal import change_line, changes_json, foreseen_line

    require_trust(*_loaded(config), os.environ, trust=trust)
    stamp = Clock().now().strftime("%Y%m%dT%H%M%S")
    watched = watch(config, against, endpoint or [], stamp, limit)
    ahead = foreseen(watched, alpha)
    if not quiet:
        tell(*map(foreseen_line, ahead))
    if all(c.state == "cannot tell" for c in ahead):
        show_block(changes_json(ahead) if as_json else "\n".join(map(change_line, ahead)))
        tell("nobody was asked; a baseline with more samples or prompts can be tested, or a larger --alpha")
        raise typer.Exit(CANNOT_TELL)
    carry_over(watched)
    changes = ahead

    def enough(part: int) -> bool:
        nonlocal changes
        changes = judge(watched, alpha, part)
        return all(c.state == "differs" or c.ground == "too few answered again" for c in changes)

    again = "run the same command again; it starts anew"
    _collect(watched.plan, again, quiet=quiet, parts=(watched.batches(), enough))
    write_whole(watched.plan.folder / CHANGES, changes_json(changes))
    show_block(changes_json(changes) if as_json else "\n".join(map(change_line, changes)))
    if not quiet:
        tell(f"answers are in {os.path.relpath(watched.plan.folder)}")
    states = {c.state for c in changes}
    code = DIFFERS if "differs" in states else CANNOT_TELL if "cannot tell" in states else 0
    if code:
        raise typer.Exit(code)


@app.command(epilog="Example: harness order training.csv config.yaml --suspect mystery")
def order(
    texts: Annotated[Path, typer.Argument(help="CSV or JSONL: texts of a training, columns text and position.")],
    config: Config = DEFAULT,
    suspect: Annotated[str, typer.Option(help="Who may have been trained on them: a name under `readers:`.")] = "",
    as_json: Json = False,
    trust: Trust = False,
) -> None:
    """Test whether a suspect finds texts the likelier the later they came in your own model's training.

    The suspect and one or more models that never saw the texts stand under `readers:`; they say how likely they find
    each text. The order must have been drawn at random, as training data are shuffled.
    """
    from harness.order import order
    from harness.report.reading_words import ordered

    require_trust(*_loaded(config), os.environ, trust=trust)
    found = order(texts, config, suspect, os.environ, tell)
    show_block(json.dumps(asdict(found), indent=2) if as_json else ordered(suspect, found))


@app.command(epilog="Example: harness view results")
def view(
    folder: Annotated[Path, typer.Argument(help="Folder that holds your campaigns.")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="The page to write. [default: index.html in FOLDER]")] = None,
) -> None:
    """Write one page over all campaigns of a folder: verdicts, two campaigns compared, monitoring over time.

    The page is a file: no port is opened, nothing is asked, and the campaigns stay as they are.
    """
    from harness.files import write_whole
    from harness.report.shelf_page import shelf_html
    from harness.view import shelf

    path = out or folder / "index.html"
    write_whole(path, shelf_html(shelf(folder, path.parent)))
    show(f"{os.path.relpath(path)}: open it in a browser")
