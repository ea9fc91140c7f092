"""Asking before a config sends a variable or a file of this user to a host for the first time; `--trust` says yes.

What was said yes to is kept in ``trusted.json`` in the user's config folder: names of variables, files and hosts, no
values. A config that only reaches this machine asks nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import tell
from harness.errors import ConfigError, StoreError
from harness.files import write_whole

if TYPE_CHECKING:
    from harness.config import Reach

Trust = Annotated[
    bool,
    typer.Option("--trust", help="Send the variables and files that `check` lists, without being asked; remembered."),
]
Pair = tuple[str, str, str]  # kind, what, host


def trust_file(environ: Mapping[str, str]) -> Path:
    """Where it is kept what this user said yes to: under $XDG_CONFIG_HOME, or ~/.config."""
    folder = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "~", ".config")  # noqa: PTH118
    return Path(os.path.expanduser(folder)) / "behavioral-probing-harness" / "trusted.json"  # noqa: PTH111 - never raises


def trusted(path: Path) -> set[Pair]:
    """What was said yes to; nothing where the file is not there or is not one of ours: then it is asked again."""
    try:
        rows = json.loads(path.read_text("utf-8"))
        return {(str(k), str(w), str(h)) for k, w, h in rows}
    except (OSError, ValueError, TypeError, RecursionError):
        return set()


def reach_line(r: Reach) -> str:
    """What a config reaches, in a line."""
    match r.kind:
        case "key":
            return f"{r.host} gets the value of {r.what}"
        case "sent file":
            return f"{r.host} gets prompts from {r.what}"
        case "calls":
            return f"{r.host} is asked, for {r.what}"
        case "download":
            return f"{r.what} is downloaded from {r.host}"
        case "read file":
            return f"{r.what} is read"
        case "secrets":
            return f"{r.what} is read for variables"
        case "seed":
            return f"{r.what} seeds prompts; it is sent to nobody"
        case "writes":
            return f"results are written outside of the config's folder, into {r.what}"


def _reach(config: Path) -> list[Reach]:
    from harness.config import load_config, reach_of

    return reach_of(load_config(config), config.resolve().parent)


def tell_reach(config: Path) -> list[dict[str, object]]:
    """Print a line for each thing that a campaign reaches; returns the same as values.

    Said before the plan is made, for that alone reads files and downloads prompts.
    """
    found = _reach(config)
    for r in found:
        tell(f"reach: {reach_line(r)}")
    return [{"kind": r.kind, "what": r.what, "host": r.host, "asks": r.asks} for r in found]


def require_trust(config: Path, environ: Mapping[str, str], *, trust: bool) -> None:
    """Go on only if this user said yes to each variable and file that leaves this machine, now or before.

    `ConfigError` where there is nobody to ask, or where the answer is no.
    """
    path = trust_file(environ)
    known = trusted(path)
    new = [r for r in _reach(config) if r.asks and (r.kind, r.what, r.host) not in known]
    if not new:
        return
    if not trust:
        _ask(new)
    rows = sorted({*known, *((r.kind, r.what, r.host) for r in new)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(rows, indent=1) + "\n")
    except (OSError, StoreError) as e:
        tell(f"note: {path} cannot be written, so this is asked again: {e}")


def _ask(new: Sequence[Reach]) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        said = "; ".join(map(reach_line, new))
        hint = "if you trust whoever wrote this config with that, add --trust; it is asked once"
        raise ConfigError(f"sent for the first time: {said}", hint)
    for r in new:
        tell(f"for the first time: {reach_line(r)}")
    if not typer.confirm("Do you trust whoever wrote this config with that?", err=True):
        raise ConfigError("nothing was sent", "mend the config, or answer yes")
