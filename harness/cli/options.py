"""What commands share: common options, exit codes, and what goes to stdout and stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import HarnessError
from harness.report.text import Shown, one_line, plain

if TYPE_CHECKING:
    from harness.campaign import Scores

Config = Annotated[Path, typer.Argument(help="The campaign's YAML file.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing but errors on stderr.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use at most so many prompts of each set: a short form.")]
Executor = Annotated[
    str,
    typer.Option(
        envvar="HARNESS_EXECUTOR",
        help="Where to compute: local, or dask://HOST:PORT of a scheduler that you trust: it can run any code here.",
    ),
]
DEFAULT = Path("config.yaml")
DIFFERS, CANNOT_TELL = 10, 11  # exit codes of `monitor`
EXIT_CODES = (
    "Exit codes: 0 done; 1 a fault of this program; 2 config or usage; 3 an endpoint cannot be used or calls failed, "
    "run again; 4 a ceiling of `collect:` was reached; 10 `monitor` finds a difference; 11 `monitor` cannot tell; "
    "130 stopped with Ctrl-C. Example: harness init && harness run config.yaml"
)


def show(*lines: str) -> None:
    """Lines of data. Each stays one line, whatever stands in it."""
    for text in lines:
        _print(one_line(text))


def show_block(text: str) -> None:
    """Data over several lines, whose line ends are our own: JSON, YAML, a table with cells that were made one line."""
    _print(plain(text))


def tell(*lines: str) -> None:
    """Print lines for people, on stderr. Each stays one line, whatever stands in it."""
    for text in lines:
        _print(one_line(text), err=True)


def show_scores(scores: Scores, paths: Sequence[Path], *, as_json: bool, quiet: bool) -> None:
    """What a campaign found, on stdout, and on stderr where the files written for it lie."""
    from harness.report import terminal

    if as_json:
        show_block(terminal.findings_json(scores.findings, scores.attributions, scores.survey))
    else:
        terminal.print_contradictions(scores.observations, sys.stdout)
        terminal.print_findings(scores.findings, sys.stdout)
        terminal.print_attributions(scores.attributions, sys.stdout)
        terminal.print_survey(scores.survey, sys.stdout)
    if not quiet:
        tell("", *terminal.where_text([Path(os.path.relpath(p)) for p in paths]).split("\n"))


def _print(text: Shown, *, err: bool = False) -> None:
    """The only place that prints, and it takes only what the cleaner made."""
    typer.echo(text, err=err)


def complain(error: HarnessError) -> None:
    """Print an expected error on stderr, and what to do next on a line of its own."""
    tell(f"error: {error.message}")
    if error.hint:
        tell(f"hint:  {error.hint}")
