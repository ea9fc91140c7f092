"""Command `harness init`: a first config.yaml, from a template or from an interview."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import tell

app = typer.Typer()


def _names() -> list[str]:
    from harness.cli.templates import templates

    return list(templates())


@app.command(epilog="Example: harness init --preset kinship")
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write config.yaml.")] = Path(),
    preset: Annotated[
        str | None,
        typer.Option(
            help="Ask nothing: demo (small models on this machine, no key), kinship (whose model is this), brief (the "
            "same by wording alone, for cents), swap (is my provider swapping), which (which model is this), recorded "
            "(answers that exist).",
            autocompletion=_names,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing config.yaml.")] = False,
) -> None:
    """Write a commented config.yaml to start from. On a terminal it asks; elsewhere it writes the demo.

    The demo asks small models that run on this machine, no key needed.
    """
    from harness.cli.templates import (
        DEMO,
        SCHEMA,
        explained,
        ignore_results,
        next_steps,
        refuse_target,
        template_text,
        write_config,
        write_schema,
    )

    target = folder / "config.yaml"
    refuse_target(target, force=force)
    seed = int.from_bytes(os.urandom(4), "big") >> 1
    asks = preset is None and sys.stdin.isatty()
    text = explained(_asked(folder, seed) if asks else template_text(preset or DEMO, seed=seed))
    campaign = write_config(target, text, force=force)
    tell(f"wrote {target}")
    if (schema := write_schema(folder, force=force)) is not None:
        tell(f"wrote {schema}, by which editors complete it")
    else:
        tell(f"{folder / SCHEMA} is there already and another; --force writes today's")
    if (ignored := ignore_results(folder)) is not None:
        tell(f"wrote {ignored}, so that results stay out of git")
    for line in next_steps(target, text, campaign, os.environ):
        tell(line)


def _asked(folder: Path, seed: int) -> str:
    from harness.cli.interview import asked_text

    try:
        return asked_text(folder, os.environ, seed)
    except (typer.Abort, KeyboardInterrupt):
        tell("", "stopped; nothing was written")
        raise typer.Exit(130) from None
