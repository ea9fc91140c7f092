"""A collecting run in a folder, for tests: real plan, real store, real socket; only waiting is shortened."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.clock import Clock
from harness.collect.context import RunContext, Tally
from harness.collect.runner import collect
from harness.config.prompts import draw, load_set
from harness.config.schema import Campaign
from harness.config.yaml import load_config
from harness.endpoints import client as _  # noqa: F401  so that loading it does not count as a short call's time
from harness.records import Prompt, Response
from harness.store.store import Store

Beside = Callable[[], Coroutine[Any, Any, None]]
KEY = "test-key-0123456789abcdef"


@dataclass
class Run:
    """One collecting run in a folder; times asked for are slept at a thousandth."""

    path: Path
    tallies: dict[str, Tally]
    slept: list[float]
    said: list[str] = field(default_factory=list)
    monotonic: Callable[[], float] = time.monotonic

    @property
    def store(self) -> Path:
        return self.path.parent / "s.sqlite"

    def load(self) -> tuple[Campaign, tuple[Prompt, ...]]:
        campaign = load_config(self.path)
        prompts = load_set("tiny", self.path.parent / "prompts").prompts
        return campaign, draw(campaign.prompts[0], prompts, campaign.seed)

    def go(
        self,
        stop: asyncio.Event | None = None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
        more: Sequence[Prompt] = (),
    ) -> None:
        """Collect what is missing, of ``more`` prompts too; ``beside`` runs along until that is done."""
        campaign, prompts = self.load()
        prompts = (*prompts, *more)

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            await asyncio.sleep(min(seconds, 100.0) / 1000)

        with Store(self.store) as store:
            clock, end = Clock(monotonic=self.monotonic, sleep=sleep), stop or asyncio.Event()
            context = RunContext(store, campaign.collect, end, self.said.append, clock, random.Random(1))

            async def main() -> None:
                task = asyncio.create_task(beside()) if beside else None
                try:
                    await collect(campaign, prompts, context, self.tallies, {"TEST_KEY": KEY}, self.path.parent)
                finally:
                    if task:
                        task.cancel()

            asyncio.run(main())

    def answers(self, endpoint: str = "") -> list[Response]:
        with Store(self.store, readonly=True) as store:
            return [r for r in store.responses() if endpoint in ("", r.endpoint)]

    def failures(self) -> list[tuple[str, str, int]]:
        with Store(self.store, readonly=True) as store:
            return store.failures()
