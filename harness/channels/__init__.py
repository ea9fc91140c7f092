"""Channels of evidence, one a file: a function from `Responses` to `Similarity`, or None with nothing to compare.

Channels are found through the entry-point group ``harness.channels``, so that others can add one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from harness.errors import ConfigError, meant
from harness.records import Responses, Similarity

Channel = Callable[[Responses], Similarity | None]


def load_channels(names: tuple[str, ...] | None = None) -> dict[str, Channel]:
    """Channels by name: all that are installed, or those named. `ConfigError` for a name nobody provides."""
    found = {e.name: e for e in entry_points(group="harness.channels")}
    wanted = sorted(found) if names is None else list(names)
    for name in wanted:
        if name not in found:
            raise ConfigError(f"there is no channel {name!r}", meant(name, sorted(found)))
    return {name: found[name].load() for name in wanted}
