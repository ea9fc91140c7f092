"""Commands that carry answers in and out: `export`, `import`, `merge`, `verify`, `pack`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT, Config, Json, Limit, show, tell

app = typer.Typer()


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
    from harness.plan import stored_plan
    from harness.transfer import export_answers

    count = export_answers(stored_plan(config), fmt, out, sys.stdout.buffer, logprobs=logprobs)
    tell(f"{count} answers{f' -> {out}' if out else ''}")


def _column(role: str) -> typer.models.OptionInfo:
    return typer.Option(f"--{role}-column", help="Default: guessed from usual names.", show_default=False)


@app.command("import", epilog="Example: harness import outputs.csv --model-column generator --out data/outputs")
def import_(
    sources: Annotated[list[str], typer.Argument(help="JSONL, CSV, Parquet files, or hf:NAME[:SPLIT].")],
    out: Annotated[Path, typer.Option(help="Parquet file to write; .parquet is added.")],
    model: Annotated[str | None, typer.Option(help="Model of all rows, if no column names it.")] = None,
    model_column: Annotated[str | None, _column("model")] = None,
    prompt_id_column: Annotated[str | None, _column("prompt-id")] = None,
    prompt_column: Annotated[str | None, _column("prompt")] = None,
    output_column: Annotated[str | None, _column("output")] = None,
    sample_column: Annotated[str | None, _column("sample")] = None,
    reasoning_column: Annotated[str | None, _column("reasoning")] = None,
) -> None:
    """Turn recorded outputs into a file that `recorded` endpoints read, and print the YAML of each model in it."""
    from harness.transfer import import_outputs, yaml_blocks

    given = {
        "model": model_column, "prompt_id": prompt_id_column, "prompt": prompt_column, "output": output_column,
        "sample": sample_column, "reasoning": reasoning_column,
    }  # fmt: skip
    target = out if out.suffix == ".parquet" else out.with_name(out.name + ".parquet")
    counts = import_outputs(sources, target, {r: c for r, c in given.items() if c}, model)
    show(yaml_blocks(target, sorted(counts)))
    tell(f"{sum(counts.values())} answers of {len(counts)} models -> {target}; paste what you need under `endpoints:`")


@app.command(epilog="Example: harness merge config.yaml machine-1/results/nova machine-2/results/nova")
def merge(
    config: Config,
    stores: Annotated[list[Path], typer.Argument(help="Stores of the shards, or their campaign folders.")],
    limit: Limit = None,
) -> None:
    """Join the stores of shards into the campaign's own; a key with two different answers is refused."""
    from harness.campaign import merge_stores
    from harness.plan import prepare

    for path, count in merge_stores(prepare(config, os.environ, limit), stores).items():
        tell(f"{count} answers from {path}")
    tell(f"next: harness score {config}")


@app.command(epilog="Example: harness verify results/nova")
def verify(folder: Annotated[Path, typer.Argument(help="A campaign's results.")], as_json: Json = False) -> None:
    """Recompute every hash of manifest.json and name what differs; exit code 2 if anything does."""
    from harness.evidence import verify_folder

    found = verify_folder(folder)
    if as_json:
        show(json.dumps({"checked": found.checked, "differs": found.differs, "notes": found.notes}, indent=2))
    for line in found.notes:
        tell(f"note: {line}")
    for line in found.differs:
        tell(f"differs: {line}")
    if found.differs:
        raise typer.Exit(2)
    tell(f"ok: {', '.join(found.checked)}")


@app.command(epilog="Example: harness pack results/nova --out nova.zip")
def pack(
    folder: Annotated[Path, typer.Argument(help="A campaign's results.")],
    out: Annotated[Path, typer.Option(help="Zip file to write.")],
) -> None:
    """Put answers, config and results into one file with which anybody can score again, offline and without keys."""
    from harness.evidence import pack_folder

    for name in pack_folder(folder, out):
        tell(name)
    tell(f"-> {out}")
