"""Command line `harness`: parse, call, print. Data to stdout, progress and errors to stderr. Heavy imports wait.

Each module registers its commands where it is imported here.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from typing import Annotated

import typer

from harness.cli import answers, banks, commands, init, prompt_sets
from harness.cli.options import EXIT_CODES, complain, show
from harness.errors import HarnessError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
for _part in (init.app, answers.app, commands.app):
    app.add_typer(_part)
app.add_typer(prompt_sets.app, name="prompts")
app.add_typer(banks.app, name="references")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        show(f"harness {version('behavioral-probing-harness')}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Whose model is this? Probe model APIs, compare with unrelated controls: a verdict with a known error rate."""


def main() -> None:
    """Entry point: every expected error becomes one line and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no UTF-8 shows an escape, and no traceback
            stream.reconfigure(errors="backslashreplace")
    try:
        app(standalone_mode=True)
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # `harness ... | head`: who reads has seen enough
            raise SystemExit(0) from None
        raise
    except HarnessError as e:
        complain(e)
        raise SystemExit(e.exit_code) from None
    except Exception as e:
        if os.environ.get("HARNESS_TRACEBACK"):
            raise
        where = traceback.extract_tb(e.__traceback__)[-1]
        said = f"this is a fault of harness: {type(e).__name__} in {os.path.basename(where.filename)}:{where.lineno}"  # noqa: PTH119
        complain(HarnessError(said, "please report it, with what HARNESS_TRACEBACK=1 shows"))
        raise SystemExit(HarnessError.exit_code) from None
