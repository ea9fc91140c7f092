"""Likelihood ratios: calibrated on what they were fitted on, bounded, never extrapolated, and read back the same."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.inference.likelihood import (
    SHIPPED,
    LikelihoodTable,
    ScoreLine,
    cllr,
    cllr_min,
    tables_json,
    tables_of,
    too_close_for,
)
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


def made_up() -> LikelihoodTable:
    """A table of two controls, prompts and lengths, whose lines and rates can be told from one another."""
    shape = (2, 2, 2)
    line = np.array([-1.5, 2.0, -1.4, 2.0])
    scale = 1.0 + np.arange(8).reshape(*shape, 1) / 10
    return LikelihoodTable(
        controls=(2, 8),
        prompts=(32, 100),
        lengths=(15, 60),
        lines={"close": scale * line, "base": scale * np.array([-0.3, 2.0, -1.0, 1.4])},
        too_close=1.0 + np.arange(8).reshape(shape) / 10,
        alphas=(0.01, 0.05),
        rates={"base": np.stack([np.full(shape, 0.2), np.linspace(0.4, 0.75, 8).reshape(shape)], axis=-1)},
        about={"data": "made up"},
    )


def test_table_round_trip_and_edges() -> None:
    table = made_up()
    back = LikelihoodTable.from_json(table.to_json())
    assert back.about == {"data": "made up"}
    x = [-1.0, 0.5, 3.0]
    for at in ((4, 50, 30.0), (2, 32, 15.0), (400, 5000, 500.0)):
        there, here = table.at(*at), back.at(*at)
        assert there is not None
        assert here is not None
        np.testing.assert_allclose(here.shares_weights(x), there.shares_weights(x), atol=1e-3)
        assert here.too_close == pytest.approx(there.too_close)
    assert table.at(1, 50, 30.0) is None
    assert table.at(4, 31, 30.0) is None
    assert table.at(4, 50, 9.9) is None  # less than two thirds of the shortest length
    edge = table.at(400, 5000, 500.0)
    assert edge is not None
    assert edge.close.upper == pytest.approx(3.4)
    unknown = table.at(400, 5000)  # a length that nobody counted is taken for the usual one
    assert unknown is not None
    assert unknown.close == edge.close


def test_the_ratio_for_shared_weights_is_the_mean_of_two_and_clears_no_sooner_than_either_allows() -> None:
    ratios = made_up().at(8, 100, 60)
    assert ratios is not None
    assert ratios.base is not None
    for x in (-2.0, 0.0, 0.4, 2.0):
        both = 10 ** ratios.close.transform(x) + 10 ** ratios.base.transform(x)
        assert 10 ** float(ratios.shares_weights(x)) == pytest.approx(float(both) / 2)
    low, high = ratios.bounds
    assert low == pytest.approx(float(ratios.shares_weights(-99)))
    assert high == pytest.approx(float(ratios.shares_weights(99)))


def test_rates_are_read_between_levels_and_never_beyond() -> None:
    table = made_up()
    at = (8, 100, 60.0)
    assert table.rate("base", *at, alpha=0.05) == pytest.approx(0.75)
    assert 0.2 < table.rate("base", *at, alpha=0.02) < 0.75
    assert table.rate("base", *at, alpha=0.001) == 0.0
    assert np.isnan(table.rate("close", *at))
    assert np.isnan(table.rate("base", 1, 100, 60.0))


def test_a_table_of_version_1_is_read_as_close_kin_of_any_length() -> None:
    text = '{"version": 1, "channel": "wording", "controls": [2], "prompts": [32], "lines": [[[-1, 2, -1, 2]]]}'
    ratios = LikelihoodTable.from_json(text).at(2, 32, 5.0)
    assert ratios is not None
    assert ratios.base is None
    assert ratios.shares_weights([0.5]).tolist() == [0.0]


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", '{"lines": 3}', '{"version": 9, "lines": [], "controls": []}',
        '{"version": 1, "channel": "w", "controls": [2], "prompts": [32], "lines": [[[NaN, 2, -1, 2]]]}',
        '{"version": 1, "channel": "w", "controls": [2, 3], "prompts": [32], "lines": [[[1, 2, -1, 2]]]}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a calibration file"):
        LikelihoodTable.from_json(text)
    with pytest.raises(ConfigError, match="not a calibration file"):
        tables_of(text)


def test_tables_of_a_file_go_before_those_that_ship() -> None:
    assert list(tables_of(None)) == list(SHIPPED)
    own = tables_of(made_up().to_json())
    assert next(iter(own)) == "wording"
    assert own["wording"].about == {"data": "made up"}
    again = tables_of(tables_json(own))
    assert list(again) == list(own)
    assert again["wording"].about == {"data": "made up"}


@pytest.mark.parametrize("channel", SHIPPED)
def test_shipped_tables_are_monotone(channel: str) -> None:
    table = LikelihoodTable.shipped(channel)
    for k in (3, 8, 16, 100):
        ratios = table.at(k, 100)
        assert ratios is not None
        assert (np.diff(ratios.shares_weights([-1.0, 0.0, 0.5, 1.0, 3.0])) >= 0).all()
        assert ratios.bounds[0] < 0 < ratios.bounds[1]
        assert 0.0 <= table.rate("unrelated", k, 100, alpha=0.05) < table.rate("close", k, 100, alpha=0.05) or k == 3


def test_too_close_for_teaching_lies_beyond_what_teaching_gives() -> None:
    taught = np.random.default_rng(0).normal(0.1, 0.25, 500)
    assert taught.max() < too_close_for(taught) < 1.4


def test_words() -> None:
    assert verbal(0.0) == "no support either way"
    assert verbal(1.5) == "moderate support for shared weights"
    assert verbal(-2.5) == "moderately strong support against shared weights"
