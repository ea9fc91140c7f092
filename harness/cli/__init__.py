"""The command line: parse, call, print. Data to stdout, progress and errors to stderr. Heavy imports wait.

Each module registers its commands where it is imported here.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.cli import commands, init, prompt_sets
from harness.errors import HarnessError

EXIT_CODES = (
    "Exit codes: 0 done; 1 a fault of this program; 2 config or usage; 3 an endpoint cannot be used or calls failed, "
    "run again; 4 a ceiling of `collect:` was reached; 10 `monitor` finds a difference; 11 `monitor` cannot tell; "
    "130 stopped with Ctrl-C. Example: harness init && harness run config.yaml"
)
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
for _part in (init.app, commands.app):
    app.add_typer(_part)
app.add_typer(prompt_sets.app, name="prompts")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"harness {version('behavioral-probing-harness')}")
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
    try:
        app(standalone_mode=True)
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # `harness ... | head`: who reads has seen enough
            raise SystemExit(0) from None
        raise
    except HarnessError as e:
        from harness.report.text import plain

        print(f"error: {plain(e.message)}", file=sys.stderr)  # noqa: T201
        if e.hint:
            print(f"hint:  {plain(e.hint)}", file=sys.stderr)  # noqa: T201
        raise SystemExit(e.exit_code) from None
