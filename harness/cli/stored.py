"""Commands on stored answers: `export`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT, Config, Limit, tell

app = typer.Typer()


@app.command(epilog="Example: harness export config.yaml --format parquet --out answers.parquet")
def export(
    config: Config = DEFAULT,
    out: Annotated[Path | None, typer.Option(help="File to write; default: stdout (JSONL only).")] = None,
    fmt: Annotated[str, typer.Option("--format", help="jsonl, csv or parquet.")] = "jsonl",
    limit: Limit = None,
) -> None:
    """Write the stored answers as a table that a `recorded` endpoint, or anything else, can read."""
    from harness.campaign import prepare
    from harness.exporting import export_answers

    count = export_answers(prepare(config, os.environ, limit), fmt, out, sys.stdout.buffer)
    tell(f"{count} answers{f' -> {out}' if out else ''}")
