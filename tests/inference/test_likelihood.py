"""Likelihood ratios: calibrated on what they were fitted on, bounded, never extrapolated, and read back the same."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.inference.likelihood import LikelihoodTable, ScoreLine, cllr, cllr_min
from harness.report.words import verbal


def trials(seed: int = 4) -> tuple[np.ndarray, np.ndarray, None]:
    rng = np.random.default_rng(seed)
    return np.r_[rng.normal(2, 1, 200), rng.normal(0, 1, 800)], np.r_[np.ones(200), np.zeros(800)], None


def test_line_is_near_the_true_ratio_and_bounded() -> None:
    x, y, _ = trials()
    line = ScoreLine.fit(x, y)
    true = (2.0 * 1.5 - 2.0) / np.log(10.0)  # log density ratio of N(2,1) to N(0,1) at 1.5
    assert line.transform([1.5])[0] == pytest.approx(true, abs=0.15)
    assert line.transform([1e9])[0] == line.upper < 3
    assert line.transform([-1e9])[0] == line.lower < 0
    assert cllr(line.transform(x), y) < 0.6


def test_cost_of_nothing_and_of_perfection() -> None:
    y = np.r_[np.ones(5), np.zeros(5)]
    assert cllr(np.zeros(10), y) == pytest.approx(1.0)
    assert cllr(np.where(y == 1, 9.0, -9.0), y) == pytest.approx(0.0, abs=1e-6)
    x, z, _ = trials()
    assert cllr_min(x, z) <= cllr(ScoreLine.fit(x, z).transform(x), z) + 1e-9


def test_table_round_trip_and_edges() -> None:
    x, y, w = trials()
    table = LikelihoodTable.fit({(k, n): (x, y, w) for k in (2, 8) for n in (32, 100)}, data="made up")
    back = LikelihoodTable.from_json(table.to_json())
    assert back.about == {"data": "made up"}
    np.testing.assert_allclose(back.transform(x, 4, 50), table.transform(x, 4, 50), atol=1e-5)
    assert np.isnan(table.transform([1.0], 1, 50)).all()
    assert np.isnan(table.transform([1.0], 4, 31)).all()
    assert table.transform([9.0], 400, 5000)[0] == pytest.approx(table.lines[-1][-1].upper)


@pytest.mark.parametrize("text", ["", "{}", '{"lines": 3}', '{"version": 9, "lines": [], "controls": []}'])
def test_a_file_that_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a calibration file"):
        LikelihoodTable.from_json(text)


def test_shipped_table_is_monotone() -> None:
    table = LikelihoodTable.shipped()
    for k in (2, 3, 8, 16, 100):
        values = table.transform([-1.0, 0.0, 0.5, 1.0, 3.0], k, 100)
        assert (np.diff(values) >= 0).all()


def test_words() -> None:
    assert verbal(0.0) == "no support either way"
    assert verbal(1.5) == "moderate support for kinship"
    assert verbal(-2.5) == "moderately strong support against kinship"
