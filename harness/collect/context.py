"""Run context: what all endpoints of a run share (store, patience, budget, clock), and how far each of them is."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from harness.clock import Clock
from harness.config import Called, Collect, Price, Remote
from harness.records import CHARACTERS_PER_TOKEN, Response
from harness.store import Store

State = Literal["waiting", "running", "parked", "stopped", "done"]


@dataclass
class Tally:
    """How far one endpoint is; the progress display reads it, nothing decides on it.

    ``tokens`` and ``cost`` are of this run's answers; ``cost`` stays None where no price is known. ``held_until`` is a
    moment of the run's monotonic clock before which no call starts, ``told_wait`` how many seconds the server last
    asked for, 0 if it never did.
    """

    planned: int = 0
    stored: int = 0
    failed: int = 0
    in_flight: int = 0
    retries: int = 0
    tokens: int = 0
    cost: float | None = None
    last_error: str = ""
    held_until: float = 0.0
    told_wait: float = 0.0
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


@dataclass
class Budget:
    """Tokens and money spent so far, earlier runs included. ``stop`` is set when a ceiling is reached.

    Calls in flight are finished, so a ceiling can be passed by what they cost and by no more.
    """

    settings: Collect
    stop: asyncio.Event
    tokens: int = 0
    cost: float = 0.0
    reached: str = field(default="")
    held: tuple[int, float] = (0, 0.0)  # tokens and money that calls under way may cost at most

    def charge(self, endpoint: Called, prompt: int, completion: int) -> None:
        """Count one answer, in tokens."""
        self.tokens += prompt + completion
        self.cost += cost_of(price_of(endpoint), prompt, completion)
        most_tokens, most_cost = self.settings.max_tokens, self.settings.max_cost
        if most_tokens is not None and self.tokens >= most_tokens:
            self.reach(f"max_tokens: {self.tokens:,} of {most_tokens:,} tokens are used")
        if most_cost is not None and self.cost >= most_cost:
            self.reach(f"max_cost: {self.cost:.4g} of {most_cost:g} is spent")

    def hold(self, endpoint: Called, prompt: int, completion: int) -> bool:
        """Set aside what one call may cost at most; False where a ceiling does not leave that much."""
        tokens = self.held[0] + prompt + completion
        cost = self.held[1] + cost_of(price_of(endpoint), prompt, completion)
        most_tokens, most_cost = self.settings.max_tokens, self.settings.max_cost
        if most_tokens is not None and self.tokens + tokens > most_tokens:
            return False
        if most_cost is not None and self.cost + cost > most_cost:
            return False
        self.held = tokens, cost
        return True

    def release(self, endpoint: Called, prompt: int, completion: int) -> None:
        """Give back what `hold` set aside: the call is answered and charged, or has failed."""
        self.held = self.held[0] - prompt - completion, self.held[1] - cost_of(price_of(endpoint), prompt, completion)

    def charge_stored(self, endpoints: Iterable[Called], spent: Iterable[tuple[str, int, int]]) -> None:
        """Count what earlier runs spent: (endpoint, prompt tokens, completion tokens)."""
        by_name = {e.name: e for e in endpoints}
        for name, prompt, completion in spent:
            if name in by_name:
                self.charge(by_name[name], prompt, completion)

    def reach(self, what: str) -> None:
        """End the run after the calls in flight, because of this ceiling."""
        self.reached = self.reached or what
        self.stop.set()


def price_of(endpoint: Called) -> Price | None:
    """What an endpoint charges, if the config says so."""
    return endpoint.price if isinstance(endpoint, Remote) else None


def cost_of(price: Price | None, prompt: float, completion: float) -> float:
    """Money for so many tokens."""
    return (price.input * prompt + price.output * completion) / 1e6 if price else 0.0


def tokens_in(body: bytes) -> int:
    """Tokens of a request, about: characters by four."""
    return len(body) // CHARACTERS_PER_TOKEN


def tokens_used(response: Response, body: bytes) -> tuple[int, int]:
    """(prompt, completion) tokens of an answer: what the server counts, or an estimate where it does not."""
    prompt, completion = response.prompt_tokens, response.completion_tokens
    written = len(response.text) + len(response.reasoning)
    return (
        tokens_in(body) if prompt is None else prompt,
        written // CHARACTERS_PER_TOKEN if completion is None else completion,
    )
