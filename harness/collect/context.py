"""Run context and tallies: what all endpoints of a run share, and how far each of them is."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from harness.clock import Clock
from harness.collect.budget import Budget
from harness.config import Collect
from harness.store import Store

State = Literal["waiting", "running", "parked", "stopped", "done"]


@dataclass
class Tally:
    """How far one endpoint is; the progress display reads it, nothing decides on it.

    ``tokens`` and ``cost`` are of this run's answers; ``cost`` stays None where no price is known.
    """

    planned: int = 0
    stored: int = 0
    failed: int = 0
    in_flight: int = 0
    retries: int = 0
    tokens: int = 0
    cost: float | None = None
    last_error: str = ""
    state: State = "waiting"
    outcomes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunContext:
    """One run: where its answers go, how patient it is, what ends it, who hears of it, and its clock.

    When ``stop`` is set, calls in flight are finished and no others are made.
    """

    store: Store
    settings: Collect
    stop: asyncio.Event
    say: Callable[[str], None] = lambda _: None
    clock: Clock = field(default_factory=Clock)
    rng: random.Random = field(default_factory=random.Random)

    @functools.cached_property
    def budget(self) -> Budget:
        """What this run may still spend; it sets ``stop`` when a ceiling is reached."""
        return Budget(self.settings, self.stop)
