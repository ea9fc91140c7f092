"""Clocks for tests: one that they wind themselves, and an event loop whose time jumps to whatever is due next."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from harness.clock import Clock

T = TypeVar("T")


class FakeClock:
    """Time that passes only when somebody sleeps; ``clock`` is what is handed to the code."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.clock = Clock(monotonic=lambda: self.now, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: where others sleep until something is due, its time is that moment.

    Everything else is asyncio's own, so locks, tasks and cancellation are real. Times are in seconds from 0.
    """

    def __init__(self) -> None:
        super().__init__(_Impatient(self.pass_time))
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds

    @property
    def clock(self) -> Clock:
        """This loop's time, as the code wants it."""
        return Clock(lambda: datetime.fromtimestamp(self._now, UTC), self.time, asyncio.sleep)


class _Impatient(selectors.DefaultSelector):
    def __init__(self, pass_time: Callable[[float], None]) -> None:
        super().__init__()
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if timeout is None and not found:
            raise RuntimeError("deadlock: nothing is due, and everybody waits")
        if timeout and not found:
            self._pass_time(timeout)
        return found


def in_virtual_time(main: Callable[[Clock], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` with a clock whose hours pass in no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(main(loop.clock))
