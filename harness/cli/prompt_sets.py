"""Commands that look at prompt sets: `prompts list`, `show`, `check`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Json, show, show_block

if TYPE_CHECKING:
    from harness.config import PromptSet

app = typer.Typer(no_args_is_help=True, help="Look at prompt sets: `harness prompts list`.")


@app.command("list", epilog="Example: harness prompts list")
def prompts_list(as_json: Json = False) -> None:
    """List the prompt sets with the number of prompts and what each tells apart."""
    sets = [found for _, found in _sets()]
    if as_json:
        show_block(json.dumps([{"name": s.name, "sha256": s.sha256, **s.card} for s in sets], indent=2))
        return
    for s in sets:
        show(
            f"{s.name:14} {len(s.prompts):4} prompts  v{s.card['version']}  {' '.join(s.card['languages']):12} "
            f"{s.card['purpose']}"
        )


@app.command("show", epilog="Example: harness prompts show everyday")
def prompts_show(name: str, as_json: Json = False) -> None:
    """Show one prompt set: its card and every prompt."""
    ((_, found),) = _sets([name])
    if as_json:
        show_block(
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
    for name, found in _sets(names, own=False):
        show(f"{name}: ok, {len(found.prompts)} prompts, {found.sha256[:12]}")


def _sets(names: Sequence[str] | None = None, *, own: bool = True) -> Iterator[tuple[str, PromptSet]]:
    """Prompt sets, each with the name or file it was asked for by; by default all that ship, and ``own`` ones."""
    from harness.config import available, load_set, shipped_folder

    here = Path("prompts")
    found = {*available(shipped_folder()), *(available(here) if own else ())}
    return ((name, load_set(name, here)) for name in names or sorted(found))
