"""Copied answers are left out of a verdict on weights, and said."""

from __future__ import annotations

import numpy as np
import pytest

from harness.inference.pool import ENOUGH, without_copies
from harness.records import Sees, Similarity
from harness.report.words import caveat

MODELS = ("suspect", "candidate", "red", "green")


def similarity(channel: str, n: int, copied: int = 0) -> Similarity:
    values = np.full((n, 4, 4), 0.1, dtype=np.float32)
    values[:copied, 0, 1] = values[:copied, 1, 0] = 1.0
    values[:, range(4), range(4)] = np.nan
    sees: Sees = "reported" if channel == "verbatim" else "text"
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


def test_where_nearly_all_is_copied_all_stays_and_is_said() -> None:
    given = [similarity("verbatim", ENOUGH, 1), similarity("wording", ENOUGH, 1)]
    kept, notes = without_copies(given, "suspect", "candidate")
    assert kept == tuple(given)
    assert "carry the verdict" in caveat(notes[0])


def test_without_the_channel_nothing_is_known_of_copies() -> None:
    given = [similarity("wording", 40, 5)]
    assert without_copies(given, "suspect", "candidate") == (tuple(given), ())
