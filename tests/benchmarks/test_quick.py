"""The benchmark of quick looks prints what the channels found, and a dash where they found nothing."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quick import mean, own_overlap
from harness.records import Similarity
from tests.support.answer_tables import table


def similarity(values: np.ndarray) -> Similarity:
    prompts, m = values.shape[0], values.shape[1]
    names = tuple("abc"[:m])
    return Similarity("wording", names, tuple(map(str, range(prompts))), values, np.ones(m), "cosine", "text")


def test_a_pair_is_the_mean_over_prompts_it_has() -> None:
    values = np.full((3, 2, 2), np.nan, dtype=np.float32)
    values[:2, 0, 1] = values[:2, 1, 0] = (0.2, 0.4)
    found = {"wording": similarity(values)}
    assert mean(found, "wording", 0, 1) == pytest.approx(0.3)
    assert np.isnan(mean(found, "wording", 0, 0))
    assert np.isnan(mean(found, "integers", 0, 1))


def test_a_model_is_compared_with_itself_by_two_samples_of_its_own() -> None:
    low, high = (" ".join(map(str, range(a, a + 60))) for a in (100, 700))
    rows = {"mother": [low, low], "child": [low, high], "red": [low]}
    answers = table("integers", [rows])
    of = {name: own_overlap(answers, name) for name in rows}
    assert of["mother"] == pytest.approx(1.0)
    assert of["child"] < 0.9
    assert np.isnan(of["red"])
