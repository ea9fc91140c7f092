"""Group-sequential stopping: the error rate at all stages together, whatever the stages and however they depend."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.inference.findings import ChannelEvidence, Finding
from harness.inference.stopping import Progress, crossed, earliest, hopeless, rank_p, spent, stop_at
from harness.inference.verdicts import inconclusive, related
from harness.records import Sees

NAMES = tuple("sc0123456")


def pools(rng: np.random.Generator, stages: int, members: int) -> np.ndarray:
    """Symmetric scores of all pairs at each stage: running means, as prompts add up."""
    steps = rng.normal(size=(stages, members, members)).cumsum(0) / np.arange(1, stages + 1)[:, None, None]
    return (steps + steps.transpose(0, 2, 1)) / 2


@given(seed=st.integers(0, 10_000), members=st.integers(2, 60), alpha=st.sampled_from([0.01, 0.05, 0.2, 0.4]))
def test_of_all_members_no_more_cross_than_alpha_allows_whoever_is_accused(
    seed: int, members: int, alpha: float
) -> None:
    """The exact argument, member by member: ties, gaps and any dependence between stages included."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (5, members)).astype(float)
    scores[rng.random(scores.shape) < 0.05] = np.inf
    for margin in (0.0, 2.0):
        found = [crossed(np.roll(scores, -i, axis=1), spent(alpha, 5), margin) for i in range(members)]
        assert sum(at is not None for at, _ in found) <= alpha * members + 1e-9
        for u in {p for at, p in found if at is not None}:
            assert sum(at is not None and p <= u for at, p in found) <= u * members + 1e-9


def test_false_alarms_of_a_pool_at_nine_stages_stay_under_alpha() -> None:
    rng, alarms, naive = np.random.default_rng(1), 0, 0
    for _ in range(400):
        path = pools(rng, 9, len(NAMES))
        ranked = [(NAMES, m) for m in path]
        ps = [rank_p(*ranked[j], Progress((1,) * 9, j, tuple(ranked[:j])), 0.05, 0.05) for j in range(9)]
        alarms += min(ps) <= 0.05
        at = np.triu_indices(len(NAMES), 1)
        naive += any((m[at] >= m[0, 1]).mean() <= 0.05 for m in path)
    assert alarms / 400 <= 0.05 + 0.02
    assert naive / 400 > 0.05 + 0.02  # who looks nine times without spending pays for it


def test_a_pair_that_leads_is_found_at_the_stage_where_it_stands_out_and_stays_found() -> None:
    path = pools(np.random.default_rng(2), 5, len(NAMES))
    path[1:, 0, 1] = path[1:, 1, 0] = 50.0
    ranked = [(NAMES, m) for m in path]
    ps = [rank_p(*ranked[j], Progress((8, 12, 16, 24, 32), j, tuple(ranked[:j])), 0.05, 0.05) for j in range(5)]
    assert ps[0] > 0.05
    assert ps[1] == ps[4] == 1 / 36
    later = [*ranked[:2], *[(NAMES, -m) for m in path[2:]]]
    assert rank_p(*later[4], Progress((8, 12, 16, 24, 32), 4, tuple(later[:4])), 0.05, 0.05) == 1 / 36


def test_what_has_not_crossed_is_above_the_whole_level_whatever_its_share() -> None:
    path = pools(np.random.default_rng(3), 2, len(NAMES))
    path[1, 0, 1] = path[1, 1, 0] = np.sort(path[1][np.triu_indices(len(NAMES), 1)])[-2]  # second or first of 36
    path[1, 2, 3] = path[1, 3, 2] = 50.0
    ranked = [(NAMES, m) for m in path]
    assert crossed(path[1][np.triu_indices(len(NAMES), 1)], [0.05])[1] < 0.2
    p = rank_p(*ranked[1], Progress((8, 16), 1, (ranked[0],)), share=0.05, alpha=0.2)
    assert p == 8 / 36


def test_a_pool_that_changes_and_a_stage_without_one_cost_nothing_but_power() -> None:
    path = pools(np.random.default_rng(4), 3, len(NAMES))
    path[:, 0, 1] = path[:, 1, 0] = 50.0
    smaller = (NAMES[:8], path[2][:8, :8])
    nothing = ((), np.zeros((0, 0)))
    assert rank_p(*smaller, Progress((8, 12, 16), 2, (nothing, (NAMES, path[1]))), 0.05, 0.05) == 1 / 36
    path[1, 2, 3] = path[1, 3, 2] = np.nan  # a pair nobody could compare may be closer
    assert rank_p(NAMES, path[1], Progress((8, 12), 1, (nothing,)), 0.05, 0.05) > 0.05


def test_earliest_is_valid_whenever_one_stops() -> None:
    rng = np.random.default_rng(5)
    draws = rng.random((4000, 6))
    least = np.minimum.accumulate([[earliest(row[: j + 1], 6) for j in range(6)] for row in draws], axis=1)[:, -1]
    for u in (0.01, 0.05, 0.2):
        assert (least <= u).mean() <= u + 3 * np.sqrt(u / 4000)
    assert earliest([0.03], 1) == 0.03
    assert np.isnan(earliest([float("nan")], 3))


def test_giving_up_takes_less_and_less() -> None:
    line = [next(p for p in np.linspace(0, 1, 101) if hopeless(p, n)) for n in (8, 12, 16, 24, 128)]
    assert all(a >= b for a, b in itertools.pairwise(line))
    assert not hopeless(0.24, 1000)


@pytest.mark.parametrize(
    ("stage", "p", "p_stage", "rule"),
    [(0, 0.9, 0.9, "futile"), (0, 0.06, 0.02, "goes on"), (0, 0.01, 0.01, "goes on"), (1, 0.01, 0.01, "found"),
     (1, 0.3, 0.3, "futile"), (2, 0.06, 0.02, "all asked"), (2, 0.01, 0.01, "found")],
)  # fmt: skip
def test_kinship_stops_when_found_and_a_ratio_can_be_given_or_when_hopeless(
    stage: int, p: float, p_stage: float, rule: str
) -> None:
    told = related({}, 0.05) if p <= 0.05 else inconclusive("not unusual enough")
    f = Finding("kinship", "s", "c", ("k",), 0.05, told, p_value=p, p_adjusted=p, p_stage=p_stage)
    found = stop_at(f, Progress((16, 32, 64), stage, least=32))
    assert (found.rule, found.over, found.stage, found.most) == (rule, rule != "goes on", stage + 1, 64)


@pytest.mark.parametrize(("sees", "channel", "rule"), [("weights", "ratings", "goes on"), ("text", "wording", "futile"),
                                                       ("weights", "logprobs", "futile")])  # fmt: skip
def test_nobody_is_given_up_whom_the_silence_of_a_channel_may_clear_at_the_end(
    sees: Sees, channel: str, rule: str
) -> None:
    e = ChannelEvidence(channel, sees, "cosine", 24, 1.0)
    f = Finding("kinship", "s", "c", ("k",), 0.05, p_value=0.9, p_adjusted=0.9, p_stage=0.9, evidence=(e,))
    progress = Progress((16, 32), 0, measured=frozenset({"wording", "ratings"}))
    assert stop_at(f, progress).rule == rule
    assert stop_at(f, Progress((16, 32), 1, measured=progress.measured)).rule == "all asked"
