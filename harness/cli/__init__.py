"""Command line `harness`: parse, call, print. Data to stdout, progress and errors to stderr. Heavy imports wait.

Each module registers its commands where it is imported here.
"""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import answers, commands, init, prompt_sets
from harness.cli.options import EXIT_CODES, complain
from harness.errors import HarnessError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
for _part in (init.app, answers.app, commands.app):
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
        complain(e)
        raise SystemExit(e.exit_code) from None
