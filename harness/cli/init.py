"""Command `harness init`: a first config.yaml, from a template or from an interview."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import tell

if TYPE_CHECKING:
    from harness.config import Campaign


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
            help="Ask nothing: demo (small models on this machine, no key), kinship (whose model is this), swap (is my "
            "provider swapping), which (which model is this), recorded (answers that exist).",
            autocompletion=_names,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing config.yaml.")] = False,
) -> None:
    """Write a commented config.yaml to start from. On a terminal it asks; elsewhere it writes the demo.

    The demo asks small models that run on this machine, no key needed.
    """
    from harness.cli.templates import DEMO, ignore_results, refuse_target, template_text, write_config

    target = folder / "config.yaml"
    refuse_target(target, force=force)
    seed = int.from_bytes(os.urandom(4), "big") >> 1
    asks = preset is None and sys.stdin.isatty()
    text = _asked(folder, seed) if asks else template_text(preset or DEMO, seed=seed)
    campaign = write_config(target, text, force=force)
    tell(f"wrote {target}")
    if (ignored := ignore_results(folder)) is not None:
        tell(f"wrote {ignored}, so that results stay out of git")
    _next(target, text, campaign)


def _asked(folder: Path, seed: int) -> str:
    from harness.cli.interview import asked_text

    try:
        return asked_text(folder, os.environ, seed)
    except (typer.Abort, KeyboardInterrupt):
        tell("\nstopped; nothing was written")
        raise typer.Exit(130) from None


def _next(target: Path, text: str, campaign: Campaign) -> None:
    """What is missing, and the next command."""
    from harness.cli.templates import variables
    from harness.config import Local

    controls = len({e.lineage for e in campaign.endpoints if e.role == "control"})
    tell(f"{len(campaign.endpoints)} endpoints, {controls} control lineages")
    if places := [str(n) for n, line in enumerate(text.splitlines(), 1) if "# change:" in line]:
        tell(f"fill in what is marked `change:` (lines {', '.join(places)})")
    if missing := [v for v in variables(campaign) if v not in os.environ]:
        tell(f"set first: {', '.join(f'export {v}=...' for v in missing)}")
    local = all(isinstance(e, Local) for e in campaign.endpoints)
    tell(f"next: harness {'run' if local else 'check'} {target}")
