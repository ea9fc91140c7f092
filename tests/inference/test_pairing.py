"""Attribution by pairing: names the known model, several of a merge, and none for a stranger; calm about gaps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.inference.findings import UNKNOWN, Attribution
from harness.inference.pairing import CARRIED, NullTable, contrast, p_smallest, paired, pairing
from harness.inference.pool import Model

Floats = NDArray[np.float64]
NAMES = [f"m{i}" for i in range(24)]
MAKERS = [frozenset([f"maker {i}"]) for i in range(24)]


def values(closer: dict[tuple[int, int], float], models: int = 21, prompts: int = 60, seed: int = 0) -> Floats:
    """Similarities of unrelated models, some pairs closer than that."""
    noise = np.random.default_rng(seed).normal(0.0, 0.05, (prompts, models, models))
    out = 0.3 + (noise + noise.transpose(0, 2, 1)) / 2
    for (a, b), more in closer.items():
        out[:, [a, b], [b, a]] += more
    out[:, range(models), range(models)] = np.nan
    return out


def test_a_known_model_is_named_and_a_stranger_is_none_of_these() -> None:
    kin = pairing(values({(3, 20): 0.1}), 20, range(20), NAMES, MAKERS, 0.05)
    assert kin is not None
    assert (kin.named, kin.tier, kin.lineages, kin.prompts) == ((3,), "model", 20, 60)
    assert kin.p_own[3] == pytest.approx(1 / 21)
    strangers = [pairing(values({}, seed=s), 20, range(20), NAMES, MAKERS, 0.05) for s in range(20)]
    assert sum(s is not None and s.tier != "none" for s in strangers) <= 3


def test_a_merge_has_two_parents_and_what_explains_itself_is_not_named() -> None:
    merge = pairing(values({(3, 20): 0.1, (7, 20): 0.1}), 20, range(20), NAMES, MAKERS, 0.05)
    assert merge is not None
    assert set(merge.named) == {3, 7}
    explained = pairing(values({(3, 20): 0.12, (7, 20): 0.08, (3, 7): 0.2}), 20, range(20), NAMES, MAKERS, 0.05)
    assert explained is not None
    assert explained.named == (3,)


def test_known_models_of_one_maker_set_no_null() -> None:
    """Models 5 and 6 are of one maker and closer than any pair of strangers."""
    close = {(3, 20): 0.1, (5, 6): 0.3}
    house = [frozenset(["house"]) if i in (5, 6) else m for i, m in enumerate(MAKERS)]
    told, blind = (pairing(values(close), 20, range(20), NAMES, m, 0.05) for m in (house, MAKERS))
    assert told is not None
    assert blind is not None
    assert told.named == (3,)
    assert told.null.max() < blind.null.max()
    assert blind.p_own[3] > told.p_own[3]


def test_the_order_of_the_known_models_changes_nothing() -> None:
    v = values({(3, 20): 0.1})
    order = np.random.default_rng(1).permutation(20)
    one, other = (pairing(v, 20, known, NAMES, MAKERS, 0.05) for known in (range(20), order.tolist()))
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.p[order], other.p)


def test_lineages_count_once_and_too_few_give_nothing() -> None:
    v = values({(3, 20): 0.1})
    same = ["one" if i in (0, 1, 2) else n for i, n in enumerate(NAMES)]
    found = pairing(v, 20, range(20), same, MAKERS, 0.05)
    assert found is not None
    assert found.lineages == 18
    assert pairing(v, 20, range(4), NAMES, MAKERS, 0.05) is None
    assert pairing(v[:10], 20, range(20), NAMES, MAKERS, 0.05) is None


def test_a_model_that_answered_other_prompts_is_left_out() -> None:
    v = values({(3, 20): 0.1})
    v[10:, 8] = v[10:, :, 8] = np.nan
    found = pairing(v, 20, range(20), NAMES, MAKERS, 0.05)
    assert found is not None
    assert found.z[8] == -np.inf
    assert found.p[8] == 1.0
    assert found.named == (3,)
    assert pairing(np.full((60, 21, 21), np.nan), 20, range(20), NAMES, MAKERS, 0.05) is None


def test_contrast_takes_off_the_best_of_another_maker() -> None:
    same = np.eye(3, dtype=bool)
    same[0, 1] = same[1, 0] = True
    assert contrast(np.array([4.0, 3.0, 2.0]), same).tolist() == [3.0, 2.0, 0.0]
    assert contrast(np.array([4.0, 3.0, -2.0]), same).tolist() == [4.0, 3.0, -4.0]


def test_the_table_that_ships_is_in_order() -> None:
    table = NullTable.shipped()
    assert (np.diff(table.scores, axis=2) >= 0).all()
    assert table.scores.shape == (len(table.lineages), len(table.prompts), len(table.tails))
    assert table.scores[..., table.tails.index(0.05)].max() < table.kin + 1.0
    np.testing.assert_allclose(table.tail(np.array([1e9, -1e9]), 500, 10_000), [table.tails[-1], table.tails[0]])
    assert p_smallest(19) < 0.05 < (1 + CARRIED * table.tails[0]) / (1 + CARRIED)


def test_an_attribution_takes_its_decision_from_the_pairing() -> None:
    known = [Model(n, "control", n, n.upper()) for n in NAMES[:20]]
    plain = Attribution("s", UNKNOWN, {"m3": 0.9}, 0.4, 0.05, 60)
    found = paired(plain, pairing(values({(3, 20): 0.1}), 20, range(20), NAMES, MAKERS, 0.05), known, 0.05)
    assert (found.best, found.named, found.tier, found.rule, found.closest) == (
        "m3",
        ("m3",),
        "model",
        "conformal",
        "m3",
    )
    assert found.p_floor <= found.p_unknown <= 0.05
    few = paired(plain, pairing(values({(3, 20): 0.1}), 20, range(12), NAMES, MAKERS, 0.05), known[:12], 0.05)
    assert few.rule == "carried"
    alone = paired(plain, None, known, 0.05, {"m3": ("2025-01-01", "2025-01-02")})
    assert (alone.rule, alone.best, alone.closest) == ("classifier", UNKNOWN, "m3")
    assert next(m for m in alone.matches if m.name == "m3").recorded == ("2025-01-01", "2025-01-02")
    assert alone.matches[0].score != alone.matches[0].score
