"""What commands share: their common options, and the two streams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(help="The campaign's YAML file.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing but errors on stderr.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use at most so many prompts of each set: a short form.")]
DEFAULT = Path("config.yaml")


def show(text: str) -> None:
    """A line of data."""
    typer.echo(text)


def tell(text: str) -> None:
    """A line for whoever watches."""
    typer.echo(text, err=True)
