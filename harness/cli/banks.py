"""Commands `harness references`: add, list, show and check packs of answers that somebody else recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from harness.cli.options import Json, show, show_block, tell

app = typer.Typer(no_args_is_help=True, help="Packs of answers recorded by others, for `references:` of a campaign.")
Named = Annotated[str, typer.Argument(help="A pack by its name, or a path to one.")]
Signer = Annotated[Path | None, typer.Option(help="Ed25519 public key of who must have signed it.")]


def _use() -> Any:
    """The use case, imported when a command needs it."""
    from harness import references

    return references


@app.command(epilog="Example: harness references add open-weights.zip --signer maintainers.pub")
def add(path: Annotated[Path, typer.Argument(help="Pack to take over.")], signer: Signer = None) -> None:
    """Check a pack and keep it under its own name in your data folder."""
    target, pack = _use().add(path, os.environ, signer)
    tell(*_use().lines_of(pack), f"-> {target}", f"to use it: `references: [{pack.card.name}]` in a campaign")


@app.command("list", epilog="Example: harness references list --json")
def list_(as_json: Json = False) -> None:
    """Show the packs that are here: yours, and what ships."""
    kept = _use().listed(os.environ)
    if as_json:
        show_block(json.dumps([{"name": k.name, "path": str(k.path), "error": k.error,
                                "models": [m.name for m in k.pack.card.models] if k.pack else []} for k in kept],
                              indent=2))  # fmt: skip
        return
    for k in kept:
        show(f"{k.name}: {_use().summary(k.pack)}" if k.pack else f"{k.name}: {k.error}")
    if not kept:
        tell("no packs here; `harness references add FILE.zip` takes one over")


@app.command("show", epilog="Example: harness references show small-models")
def show_(name: Named, as_json: Json = False) -> None:
    """Show who answered what in a pack, when, and under which conditions."""
    pack = _use().checked(_use().found(name, os.environ))
    rows = list(_use().conditions(pack))
    if as_json:
        told = msgspec.to_builtins(pack.card) | {"sha256": pack.sha256, "asked": rows}
        show_block(json.dumps(told, indent=2))
        return
    show(*_use().lines_of(pack))
    for m in pack.card.models:
        more = [x for x in (m.maker, m.released, m.licence) if x]
        prompted = ", with a system prompt" if m.system_prompt else ""
        show(f"  {m.name}: lineage {m.lineage} ({', '.join(more)}), {m.answers} answers{prompted}")
    for r in rows:
        show(f"  asked: {_use().asked(r)}")


@app.command(epilog="Example: harness references check small-models config.yaml")
def check(
    name: Named,
    config: Annotated[Path | None, typer.Argument(help="Campaign to try it on.", show_default=False)] = None,
    signer: Signer = None,
) -> None:
    """Verify every hash of a pack, its signature, and, with a campaign, what of it fits there and what does not."""
    path = _use().found(name, os.environ)
    tell(*_use().lines_of(_use().checked(path, signer)), *(["signature: as it should be"] if signer else []))
    if config is not None:
        show(*_use().fit(path, config, os.environ))
