"""The benchmark of surveys counts what it says it counts, on models whose relation is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.recorded import Collection
from benchmarks.relations import Lineage, Row
from benchmarks.survey import cloaked, outcome, row, with_controls
from harness.inference.findings import Settings
from harness.inference.survey import survey
from harness.records import Similarity

STRANGERS = 20


@dataclass(frozen=True)
class Names:
    """All of a table that the benchmark looks at here."""

    models: tuple[str, ...]


def collection() -> Collection:
    """A model, its fine-tune by somebody else, one of its maker, and twenty strangers."""
    rows = [
        {"model": "base", "organisation": "A", "series": "a", "base_model": "a-7b", "relation": "independent"},
        {"model": "tune", "organisation": "T", "base_model": "a-7b", "parent": "base", "relation": "sft"},
        {"model": "sister", "organisation": "A", "series": "a2", "base_model": "a2-7b", "relation": "independent"},
        *(
            {"model": f"x{i}", "organisation": f"X{i}", "series": f"x{i}", "base_model": f"x{i}"}
            for i in range(STRANGERS)
        ),
    ]
    lineage = Lineage(map(Row.of, rows))
    names = [r["model"] for r in rows]
    return Collection(Names(tuple(names)), lineage.of(names), lineage.matrix(names))  # type: ignore[arg-type]


def similarity(names: tuple[str, ...]) -> Similarity:
    rng, m = np.random.default_rng(1), len(names)
    values = 0.3 + rng.normal(0, 0.05, (m, m)) + rng.normal(0, 0.1, (40, m, m))
    values[:, 0, 1] += 0.6
    values = np.triu(values, 1)
    values += values.transpose(0, 2, 1)
    values[:, range(m), range(m)] = np.nan
    prompts = tuple(map(str, range(40)))
    return Similarity("wording", names, prompts, values.astype(np.float32), np.ones(m), "cosine", "text")


def test_controls_share_nothing_with_suspects() -> None:
    known = collection()
    for seed in range(5):
        models = with_controls(known, 16, 6, np.random.default_rng(seed))
        makers = [m.maker for m in models if m.role == "control"]
        assert len(set(makers)) == 16
        assert not set(makers) & {m.maker for m in models if m.role == "suspect"}


def test_what_stands_is_counted_by_its_relation() -> None:
    known = collection()
    names = known.table.models
    models = [m for m in with_controls(known, 16, 7, np.random.default_rng(0)) if m.role == "control"]
    models = [m for m in models if m.name.startswith("x")][:15]
    suspects = [
        replace(models[0], name=n, role="suspect", lineage=None, maker=None) for n in ("base", "tune", "sister")
    ]
    found = survey([*suspects, *models], [similarity(names)], Settings(0.05, 0.9, 99, 20, 1))
    assert found is not None
    counted = outcome(found, known, 0.05)
    assert counted.stands["close kin"] == counted.asked["close kin"] == 1
    assert sum(counted.asked.values()) == 3
    assert counted.false_share == 0.0
    assert "1.000 of 1" in row("15x3", 40, 0.05, [counted])


def test_only_the_cloaked_have_no_maker() -> None:
    models = cloaked(collection(), 4, np.random.default_rng(1))
    assert sum(m.maker is None for m in models) == 4
    assert {m.role for m in models} == {"suspect"}
