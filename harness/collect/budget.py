"""Budget: cost and token ceilings of a campaign; once one is reached, no further calls are made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.config import Called, Collect, Price, Remote
from harness.records import CHARACTERS_PER_TOKEN, Response


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

    def charge(self, endpoint: Called, prompt: int, completion: int) -> None:
        """Count one answer, in tokens."""
        self.tokens += prompt + completion
        self.cost += cost_of(price_of(endpoint), prompt, completion)
        most_tokens, most_cost = self.settings.max_tokens, self.settings.max_cost
        if most_tokens is not None and self.tokens >= most_tokens:
            self.reach(f"max_tokens: {self.tokens:,} of {most_tokens:,} tokens are used")
        if most_cost is not None and self.cost >= most_cost:
            self.reach(f"max_cost: {self.cost:.4g} of {most_cost:g} is spent")

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
