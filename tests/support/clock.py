"""A clock that tests wind themselves."""

from __future__ import annotations

from harness.clock import Clock


class FakeClock:
    """Time that passes only when somebody sleeps; ``clock`` is what is handed to the code."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.clock = Clock(monotonic=lambda: self.now, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
