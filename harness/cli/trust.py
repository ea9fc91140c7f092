"""Asking before a config sends a variable or a file of this user to a host for the first time; `--trust` says yes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import tell
from harness.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from harness.config import Campaign

Trust = Annotated[
    bool,
    typer.Option("--trust", help="Send the variables and files that `check` lists, without being asked; remembered."),
]


def tell_reach(campaign: Campaign, base: Path) -> list[dict[str, object]]:
    """Print a line for each thing that a campaign reaches; returns the same as values.

    Said before the plan is made, for that alone reads files and downloads prompts.
    """
    from harness.config import reach_line, reach_of

    found = reach_of(campaign, base)
    for r in found:
        tell(f"reach: {reach_line(r)}")
    return [{"kind": r.kind, "what": r.what, "host": r.host, "asks": r.asks} for r in found]


def require_trust(campaign: Campaign, base: Path, environ: Mapping[str, str], *, trust: bool) -> None:
    """Go on only if this user said yes to each variable and file that leaves this machine, now or before.

    `ConfigError` where there is nobody to ask, or where the answer is no.
    """
    from harness.config import reach_line, reach_of, remember, unsaid

    new = unsaid(reach_of(campaign, base), environ)
    if not new:
        return
    if not trust:
        _ask(list(map(reach_line, new)))
    try:
        remember(new, environ)
    except (OSError, StoreError) as e:
        tell(f"note: what you said yes to cannot be kept, so it is asked again: {e}")


def _ask(new: Sequence[str]) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        hint = "if you trust whoever wrote this config with that, add --trust; it is asked once"
        raise ConfigError(f"sent for the first time: {'; '.join(new)}", hint)
    for line in new:
        tell(f"for the first time: {line}")
    if not typer.confirm("Do you trust whoever wrote this config with that?", err=True):
        raise ConfigError("nothing was sent", "mend the config, or answer yes")
