"""One suspect with many candidates: one test over all of them where that is stronger than Holm over their ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from harness.inference.assessment import Case
from harness.inference.findings import Finding, Settings
from harness.inference.kinship import best_of_many
from harness.inference.likelihood import shipped_tables
from harness.inference.pool import Model
from harness.inference.questions import ask
from harness.records import Similarity

SETTINGS = Settings(alpha=0.05, min_coverage=0.9, permutations=99, bootstrap=20, seed=1)
TABLES = shipped_tables()
M, K = 3, 10


def cases(rng: np.random.Generator, kin: float = 0.0, *, makers: bool = True) -> list[Case]:
    """A suspect, three candidates and ten controls, all unrelated but for the suspect and the first candidate."""
    names = ["s", *(f"p{i}" for i in range(M)), *(f"k{i}" for i in range(K))]
    m = len(names)
    values = 0.3 + rng.normal(0, 0.03, (m, m)) + rng.normal(0, 0.1, (40, m, m))
    values[:, 0, 1] += kin
    values = np.triu(values, 1)
    values = values + values.transpose(0, 2, 1)
    values[:, range(m), range(m)] = np.nan
    ids = tuple(map(str, range(40)))
    s = Similarity("wording", tuple(names), ids, values.astype(np.float32), np.ones(m), "cosine", "text", 60.0)
    roles = ["suspect", *["candidate"] * M, *["control"] * K]
    models = tuple(Model(n, r, n, n if makers else None) for n, r in zip(names, roles, strict=True))
    common: dict[str, Any] = {
        "models": models, "similarities": (s,), "tables": TABLES, "settings": SETTINGS, "twin": lambda names: [],
        "habits": tuple, "samples": lambda a, b: {}, "coverage": lambda a, b: {}, "resemblance": tuple,
    }  # fmt: skip
    return [Case(suspect=models[0], candidate=c, **common) for c in models[1 : 1 + M]]


def kinship_of(found: list[Case]) -> list[Finding]:
    return ask(found, {"kinship"})


def test_kin_among_three_candidates_is_found_where_holm_over_ranks_cannot() -> None:
    """Of ten controls a rank is .0152 at the least: three of them are .0455 by Holm, the best of three is .0330."""
    first, *others = kinship_of(cases(np.random.default_rng(1), kin=0.6))
    assert first.p_adjusted < 3 * first.p_value - 1e-9
    assert first.p_adjusted <= 0.05
    assert first.verdict in ("KIN-LIKE", "KIN-OR-TAUGHT")
    assert all(f.verdict == "INCONCLUSIVE" or f.verdict == "UNRELATED-LIKE" for f in others)


def test_false_alarms_over_all_candidates_keep_the_nominal_rate() -> None:
    rng = np.random.default_rng(2)
    rounds = 120
    alarms = [any(f.p_adjusted <= 0.05 for f in kinship_of(cases(rng))) for _ in range(rounds)]
    assert np.mean(alarms) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_candidates_that_may_be_kin_of_one_another_are_not_pooled() -> None:
    assert all(p != p for p in best_of_many(cases(np.random.default_rng(3), makers=False)))
    assert all(p != p for p in best_of_many(cases(np.random.default_rng(3))[:1]))
    assert all(0 < p <= 1 for p in best_of_many(cases(np.random.default_rng(3))))
