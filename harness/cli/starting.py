"""Commands to start with: `init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import tell
from harness.errors import ConfigError

app = typer.Typer()


@app.command(epilog="Example: harness init")
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write config.yaml.")] = Path(),
    force: Annotated[bool, typer.Option(help="Overwrite an existing config.yaml.")] = False,
) -> None:
    """Write a commented config.yaml to start from: small models that run on this machine, no key needed."""
    here = Path(__file__).resolve().parent.parent
    source = here / "_config.yaml" if (here / "_config.yaml").is_file() else here.parent / "config.yaml"
    target = folder / "config.yaml"
    if target.exists() and not force:
        raise ConfigError(f"{target} is there already", "use --force to overwrite it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    except OSError as e:
        raise ConfigError(f"{target}: {e.strerror or e}", "choose another folder") from e
    tell(f"wrote {target}; next: harness run {target}")
