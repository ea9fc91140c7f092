"""The storm and kill -9, in short; `python -m benchmarks.storm` is the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.storm import MISPLACED, kills, storm


def held(found: dict[str, Any], calls: int) -> None:
    assert found["answers"] + found["recorded failures"] == calls
    assert found["answers after a second run"] == calls
    assert found["faults among them"] > 0.25 * found["requests made"]
    for name in (
        "keys with two answers",
        "answers asked for again",
        MISPLACED,
    ):
        assert found[name] == 0, name
    assert found["files with the key"] == found["requests to another host"] == 0


def survived(found: dict[str, Any]) -> None:
    assert found["rounds of kill -9"] > 0
    assert found["answers acknowledged and lost"] == found["rows torn or doubled"] == 0
    assert found["answers at the end"] == found["planned calls"]
    assert found["answers asked for again"] <= found["at most (in flight when killed, or since the last commit)"]


def test_a_short_storm(tmp_path: Path) -> None:
    held(storm(tmp_path / "storm", 400), 400)


def test_a_few_rounds_of_kill(tmp_path: Path) -> None:
    survived(kills(tmp_path / "kills", 3))


@pytest.mark.slow
def test_the_storm_with_flat_memory(tmp_path: Path) -> None:
    small = storm(tmp_path / "small", 2_000)
    large = storm(tmp_path / "large", 20_000)
    held(large, 20_000)
    assert large["peak MB"] < small["peak MB"] + 30  # ten times the calls


@pytest.mark.slow
def test_two_hundred_rounds_of_kill(tmp_path: Path) -> None:
    survived(kills(tmp_path / "kills", 200))
