"""Commands that look at prompt sets: `prompts list`, `show`, `check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json, show

app = typer.Typer(no_args_is_help=True, help="Look at prompt sets: `harness prompts list`.")


@app.command("list", epilog="Example: harness prompts list")
def prompts_list(as_json: Json = False) -> None:
    """List the prompt sets with the number of prompts and what each tells apart."""
    from harness.config import available, load_set, shipped_folder

    folders = [Path("prompts"), shipped_folder()]
    names = sorted({n for f in folders for n in available(f)})
    sets = [load_set(n, folders[0]) for n in names]
    if as_json:
        show(json.dumps([{"name": s.name, "sha256": s.sha256, **s.card} for s in sets], indent=2))
        return
    for s in sets:
        show(
            f"{s.name:14} {len(s.prompts):4} prompts  v{s.card['version']}  {' '.join(s.card['languages']):12} "
            f"{s.card['purpose']}"
        )


@app.command("show", epilog="Example: harness prompts show everyday")
def prompts_show(name: str, as_json: Json = False) -> None:
    """Show one prompt set: its card and every prompt."""
    from harness.config import load_set

    found = load_set(name, Path("prompts"))
    if as_json:
        show(
            json.dumps(
                {"card": found.card, "prompts": [{"id": p.id, "text": p.text} for p in found.prompts]},
                indent=2,
            )
        )
        return
    for key, value in found.card.items():
        show(f"{key}: {value}")
    for p in found.prompts:
        show(f"{p.id}: {p.text}")


@app.command("check", epilog="Example: harness prompts check my-prompts.yaml")
def prompts_check(
    names: Annotated[list[str] | None, typer.Argument(help="Sets or files; default: all.")] = None,
) -> None:
    """Check prompt sets against the documented format."""
    from harness.config import available, load_set, shipped_folder

    for name in names or available(shipped_folder()):
        found = load_set(name, Path("prompts"))
        show(f"{name}: ok, {len(found.prompts)} prompts, {found.sha256[:12]}")
