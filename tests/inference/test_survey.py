"""Surveys: kin stand, strangers do not, and what too few controls cannot say is not said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.inference.excess import additive_residuals
from harness.inference.findings import Caveat, Settings
from harness.inference.nuisance import excess_in, excess_of_first
from harness.inference.pool import Model
from harness.inference.survey import Survey, design, fewest_discoveries, survey
from harness.records import Probe, Similarity

SETTINGS = Settings(alpha=0.05, min_coverage=0.9, permutations=99, bootstrap=50, seed=1)
Kin = Sequence[Sequence[int]]


def similarity(
    m: int, rng: np.random.Generator, kin: Kin = (), closer: float = 0.4, sees: str = "text", n: int = 40
) -> Similarity:
    """Prompts of m strangers with habits of their own; those of one group of ``kin`` are closer to one another."""
    values = 0.3 + rng.normal(0, 0.05, (m, m)) + rng.normal(0, 0.1, (n, m, m))
    for group in kin:
        for i in group:
            for j in group:
                values[:, i, j] += closer
    values = np.triu(values, 1)
    values += values.transpose(0, 2, 1)
    values[:, range(m), range(m)] = np.nan
    names = tuple(f"m{i}" for i in range(m))
    ids = tuple(map(str, range(n)))
    return Similarity("wording", names, ids, values.astype(np.float32), np.ones(m), "cosine", sees, 60.0)  # type: ignore[arg-type]


def cast(suspects: int, controls: int) -> list[Model]:
    """Suspects of whom nothing is known, then controls of a lineage and a maker each."""
    return [
        *(Model(f"m{i}", "suspect", None) for i in range(suspects)),
        *(Model(f"m{i}", "control", f"root {i}", f"maker {i}") for i in range(suspects, suspects + controls)),
    ]


def found_in(models: Sequence[Model], s: Similarity, settings: Settings = SETTINGS, *more: Similarity) -> Survey:
    found = survey(models, [s, *more], settings)
    assert found is not None
    return found


def standing(found: Survey) -> set[tuple[str, str]]:
    return {(min(p.a, p.b), max(p.a, p.b)) for p in found.standing}


def test_kin_stand_in_groups_and_strangers_do_not() -> None:
    kin = [(0, 1, 2), (3, 4)]
    found = found_in(cast(8, 14), similarity(22, np.random.default_rng(1), kin))
    assert standing(found) == {("m0", "m1"), ("m0", "m2"), ("m1", "m2"), ("m3", "m4")}
    assert [{found.names[i] for i in g.members} for g in found.groups] == [{"m0", "m1", "m2"}, {"m3", "m4"}]
    assert [g.links for g in found.groups] == [3, 1]
    assert all(g.support > 0.9 for g in found.groups)
    assert (found.standard, found.asked, found.unrelated) == ("references", 28, 14 * 13 // 2 + 8 * 14)
    assert all(p.q <= 0.05 and p.group for p in found.standing)


def test_a_large_family_does_not_hide_itself() -> None:
    """No third suspect is in the pool of a pair: ten kin of twelve suspects are as visible as two."""
    found = found_in(cast(12, 14), similarity(26, np.random.default_rng(2), [range(10)]))
    assert len(found.standing) == 45
    assert [len(g.members) for g in found.groups] == [10]


def test_strangers_alone_are_called_no_more_often_than_the_rate_says() -> None:
    rng, rounds = np.random.default_rng(3), 60
    called = [bool(found_in(cast(6, 8), similarity(14, rng, n=12)).standing) for _ in range(rounds)]
    assert np.mean(called) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_too_few_controls_find_nothing_however_close_and_it_is_known_beforehand() -> None:
    models = cast(12, 5)
    found = found_in(models, similarity(17, np.random.default_rng(4), [(0, 1)], closer=3.0))
    assert not found.standing
    plan = design(models, "one a maker")
    assert found.fewest == fewest_discoveries(plan.count("asked"), plan.count("unrelated"), 0.05) == 19
    assert found.pairs[0].p >= 1 / (1 + found.unrelated)


def test_without_controls_makers_are_the_standard_and_two_of_them_are_never_called() -> None:
    s = similarity(20, np.random.default_rng(5), [(0, 1), (2, 3)], closer=0.6)
    models = [Model(f"m{i}", "suspect", None, None if i == 0 else f"maker {i}") for i in range(20)]
    found = found_in(models, s, replace(SETTINGS, alpha=0.25))
    assert found.standard == "other makers"
    assert standing(found) == {("m0", "m1")}  # m2 and m3 are as close, and of two makers that are taken for strangers
    (taken,) = (p for p in found.pairs if {p.a, p.b} == {"m2", "m3"})
    assert taken.relation == "unrelated"
    assert math.isnan(taken.p)


def test_where_nothing_is_known_nothing_is_called() -> None:
    models = [Model(f"m{i}", "suspect", None) for i in range(8)]
    found = found_in(models, similarity(8, np.random.default_rng(6), [(0, 1)], closer=3.0))
    assert found.standard == "none"
    assert not found.standing
    assert all(math.isnan(p.p) for p in found.pairs)
    assert {found.names[i] for i in found.branches[0].members} == {"m0", "m1"}  # an order there is


def test_relations_that_the_config_tells_are_not_asked() -> None:
    models = [
        Model("s", "suspect", "x", "A"),
        Model("t", "suspect", "x", "B"),
        Model("c", "candidate", "c", "C"),
        Model("r", "relative", "c", "R"),
        Model("of C", "control", "k0", "c"),
        *(Model(f"k{i}", "control", f"k{i}", f"K{i}") for i in range(1, 5)),
    ]
    plan = design(models, "one a maker")
    told = {(models[i].name, models[j].name): r for (i, j), r in plan.relations.items()}
    assert told["s", "t"] == told["c", "r"] == "kin"
    assert told["s", "c"] == told["t", "r"] == "asked"
    assert told["c", "of C"] == "not asked"  # of one maker
    assert told["s", "k1"] == told["c", "k1"] == told["k1", "k2"] == "unrelated"
    every = design(models, "every lineage")
    assert {models[i].name + models[j].name: r for (i, j), r in every.relations.items()}["cof C"] == "unrelated"


def test_known_kin_are_a_positive_control_and_cost_no_question() -> None:
    models = cast(6, 20)
    models[2] = replace(models[2], lineage="x")
    models[3] = replace(models[3], lineage="x")
    found = found_in(models, similarity(26, np.random.default_rng(7), [(0, 1), (2, 3)]))
    assert (found.kin, found.kin_found, found.asked) == (1, 1, 14)
    assert standing(found) == {("m0", "m1")}


def test_the_order_of_models_changes_nothing() -> None:
    models, s = cast(6, 10), similarity(16, np.random.default_rng(8), [(0, 1), (2, 3)])
    order = np.random.default_rng(9).permutation(16)
    one, other = found_in(models, s), found_in([models[i] for i in order], s)
    by = {frozenset((p.a, p.b)): p for p in one.pairs}
    for p in other.pairs:
        assert p.excess == pytest.approx(by[frozenset((p.a, p.b))].excess, abs=1e-9)
        assert p.p == pytest.approx(by[frozenset((p.a, p.b))].p, nan_ok=True)


def test_copies_are_not_judged_and_say_so() -> None:
    models, s = cast(6, 20), similarity(26, np.random.default_rng(10), [(0, 1), (2, 3)])
    values = np.full_like(s.values, 0.0)
    values[:, 0, 1] = values[:, 1, 0] = 1.0
    found = found_in(models, s, SETTINGS, replace(s, channel="verbatim", values=values, sees="reported"))
    assert standing(found) == {("m2", "m3")}
    (copies,) = (p for p in found.pairs if {p.a, p.b} == {"m0", "m1"})
    assert copies.withheld is not None
    assert copies.withheld.kind == "only copies"
    assert copies.withheld.values == [40, 40]


def test_a_pair_under_conditions_of_its_own_is_withheld() -> None:
    models, s = cast(6, 20), similarity(26, np.random.default_rng(11), [(0, 1), (2, 3)])

    def unlike(a: Model, b: Model, others: Sequence[Model]) -> list[Caveat]:
        assert {a.role, b.role} == {"suspect", "candidate"}
        assert sum(m.role == "control" for m in others) == 20
        return [Caveat("pair alone thinks", names=(a.name, b.name), values=(1, 1))] if "m0" in (a.name, b.name) else []

    found = survey(models, [s], SETTINGS, resemblance=unlike)
    assert found is not None
    assert standing(found) == {("m2", "m3")}
    assert [p.withheld.kind for p in found.pairs if p.withheld] == ["pair alone thinks"]


def test_what_unlike_prompts_share_is_taken_out() -> None:
    """Two strangers behind one wrapper are alike whatever they are asked; kin are only on the same prompts."""
    rng = np.random.default_rng(12)
    models, s = cast(6, 20), similarity(26, rng, [(0, 1), (2, 3)])
    moved = similarity(26, rng, [(2, 3)])
    assert standing(found_in(models, s)) >= {("m0", "m1"), ("m2", "m3")}
    found = survey(models, [s], SETTINGS, lambda names, channels: {"wording": Probe(s, (moved,))})
    assert found is not None
    assert ("m0", "m1") in standing(found)
    assert ("m2", "m3") not in standing(found)


def test_models_with_gaps_are_left_out_and_named() -> None:
    models, s = cast(6, 20), similarity(26, np.random.default_rng(13), [(0, 1)])
    values: NDArray[np.float32] = s.values.copy()
    values[5:, 4] = values[5:, :, 4] = np.nan
    coverage = s.coverage.copy()
    coverage[4] = 5 / 40
    found = found_in(models, replace(s, values=values, coverage=coverage))
    assert "m4" not in found.names
    assert [(c.kind, c.names) for c in found.caveats] == [("models left out", ("m4",))]
    assert standing(found) == {("m0", "m1")}


def test_a_channel_that_few_models_cover_takes_nobody_out() -> None:
    models, s = cast(6, 20), similarity(26, np.random.default_rng(14), [(0, 1)])
    rare = replace(s, channel="ratings", sees="weights", coverage=np.where(np.arange(26) < 5, 1.0, 0.0))
    found = found_in(models, s, SETTINGS, rare)
    assert found.channels == ("wording",)
    assert len(found.names) == 26


def test_two_channels_find_more_than_the_weaker_one() -> None:
    rng = np.random.default_rng(15)
    weak, strong = similarity(26, rng, [(0, 1)], closer=0.02), similarity(26, rng, [(0, 1)], closer=0.6)
    both = found_in(cast(6, 20), weak, SETTINGS, replace(strong, channel="ratings", sees="weights"))
    assert both.channels == ("wording", "ratings")
    assert standing(both) == {("m0", "m1")}


def test_a_branch_of_kin_is_steady_and_one_of_strangers_is_not() -> None:
    found = found_in(cast(6, 20), similarity(26, np.random.default_rng(16), [(0, 1)], n=12))
    support = {frozenset(found.names[i] for i in b.members): b.support for b in found.branches}
    assert support[frozenset({"m0", "m1"})] == 1.0
    assert len(found.branches) == 25
    assert min(support.values()) < 0.5


def test_nobody_to_compare_is_no_survey() -> None:
    s = similarity(6, np.random.default_rng(17))
    assert survey(cast(3, 3), [replace(s, coverage=np.zeros(6))], SETTINGS) is None


@pytest.mark.parametrize("sees", ["weights", "text"])
def test_the_first_pair_of_a_pool_is_worked_out_as_the_whole_pool_is(sees: str) -> None:
    s = similarity(10, np.random.default_rng(18), [(0, 1), (4, 5)], sees=sees)
    residuals = additive_residuals(s.values)
    assert excess_of_first(residuals, s.sees) == pytest.approx(float(excess_in(residuals, s.sees)[0, 1]), abs=1e-9)
