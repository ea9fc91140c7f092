"""Copied answers are left out of a verdict on weights, and said."""

from __future__ import annotations

import numpy as np
import pytest

from harness.inference.pool import ENOUGH, without_copies
from harness.records import Sees, Similarity
from harness.report.caveats import caveat

MODELS = ("suspect", "candidate", "red", "green")


def similarity(channel: str, n: int, copied: int = 0) -> Similarity:
    values = np.full((n, 4, 4), 0.1, dtype=np.float32)
    values[:copied, 0, 1] = values[:copied, 1, 0] = 1.0
    values[:, range(4), range(4)] = np.nan
    sees: Sees = {"verbatim": "reported", "ratings": "weights"}.get(channel, "text")  # type: ignore[assignment]
    return Similarity(channel, MODELS, tuple(f"q{i}" for i in range(n)), values, np.ones(4), "share", sees)


def test_copied_prompts_are_left_out_of_every_other_channel() -> None:
    given = [similarity("verbatim", 40, 5), similarity("wording", 40, 5), similarity("ratings", 10)]
    kept, notes = without_copies(given, "suspect", "candidate")
    assert [len(s.prompts) for s in kept] == [40, 35, 5]
    assert kept[1].prompts[0] == "q5"
    assert np.nanmax(kept[1].values) == pytest.approx(0.1)
    said = ["5 of 40 answers are verbatim copies of one another, and were left out of the other channels"]
    assert [caveat(c) for c in notes] == said


def test_other_pairs_keep_their_copies() -> None:
    given = [similarity("verbatim", 40, 5), similarity("wording", 40, 5)]
    assert without_copies(given, "suspect", "red") == (tuple(given), ())


def test_copies_carry_no_verdict_in_any_share() -> None:
    given = [similarity("verbatim", 40, 30), similarity("wording", 40, 30), similarity("ratings", 40)]
    kept, notes = without_copies(given, "suspect", "candidate")
    assert [(s.channel, len(s.prompts)) for s in kept] == [("verbatim", 40), ("ratings", 10)]
    assert "too few remain" in caveat(notes[0])


def test_of_few_prompts_those_that_were_not_copied_are_compared() -> None:
    given = [similarity("verbatim", ENOUGH, 1), similarity("wording", ENOUGH, 1)]
    kept, notes = without_copies(given, "suspect", "candidate")
    assert [len(s.prompts) for s in kept] == [ENOUGH, ENOUGH - 1]
    assert notes[0].kind == "copies left out"


def test_without_the_channel_nothing_is_known_of_copies() -> None:
    given = [similarity("wording", 40, 5)]
    assert without_copies(given, "suspect", "candidate") == (tuple(given), ())
