"""The benchmark of attribution counts what it says it counts, on models whose relation is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from benchmarks.recorded import Collection
from benchmarks.relations import Lineage, Row
from benchmarks.which import Bench, Trial, fitted, judged, kin_score, nulls, one_cell, rows
from harness.inference.pairing import decide, shipped_table
from harness.records import Similarity

STRANGERS, PROMPTS = 20, 40
KIN, BASE, TUNE, SISTER = 0.6, 0, 1, 2


@dataclass(frozen=True)
class Names:
    """All of a table that the benchmark looks at here."""

    models: tuple[str, ...]


def bench(kin: float = KIN, sister: float = 0.0) -> Bench:
    """A model, its fine-tune by somebody else, one of its maker, and twenty strangers, so alike."""
    table = [
        {"model": "base", "organisation": "A", "series": "a", "base_model": "a-7b", "relation": "independent"},
        {"model": "tune", "organisation": "T", "base_model": "a-7b", "parent": "base", "relation": "sft"},
        {"model": "sister", "organisation": "A", "series": "a2", "base_model": "a2-7b", "relation": "independent"},
        *(
            {"model": f"x{i}", "organisation": f"X{i}", "series": f"x{i}", "base_model": f"x{i}"}
            for i in range(STRANGERS)
        ),
    ]
    lineage = Lineage(map(Row.of, table))
    names = tuple(r["model"] for r in table)
    known = Collection(Names(names), lineage.of(names), lineage.matrix(names))  # type: ignore[arg-type]
    m, rng = len(names), np.random.default_rng(1)
    values = 0.3 + rng.normal(0, 0.05, (m, m)) + rng.normal(0, 0.1, (PROMPTS, m, m))
    values[:, BASE, TUNE] += kin
    values[:, BASE, SISTER] += sister
    values = np.triu(values, 1)
    values += values.transpose(0, 2, 1)
    values[:, range(m), range(m)] = np.nan
    found = Similarity("wording", names, tuple(map(str, range(PROMPTS))), values, np.ones(m), "cosine", "text")
    makers = tuple(frozenset([r["organisation"]]) for r in table)
    return Bench(known, found, makers, np.ones(m, dtype=bool))


def shares(found: Bench, trials: list[Trial], folds: bool = False) -> dict[str, tuple[str, ...]]:
    return {line[0]: line[1:] for line in rows(found, trials, judged(found, trials, folds))}


def test_every_suspect_is_of_the_kind_it_is_called() -> None:
    found = bench()
    trials = list(found.draws(19, PROMPTS, 12))
    kinds = {(t.kind, found.similarity.models[t.suspect]) for t in trials}
    assert {s for kind, s in kinds if kind == "close"} == {"base", "tune"}
    assert {s for kind, s in kinds if kind == "its maker"} <= {"base", "sister"}
    assert {s for kind, s in kinds if kind == "stranger"} & {f"x{i}" for i in range(STRANGERS)}
    for t in trials:
        assert t.suspect not in t.known
        assert len({found.collection.known.lineage[i] for i in t.known}) == 19
        assert t.right.any() == (t.kind == "close")
        if t.kind == "its maker":
            assert {t.suspect, *np.array(t.known)[t.same_maker]} == {BASE, SISTER}


def test_kin_are_counted_as_named_and_strangers_are_not() -> None:
    found = bench()
    line = shares(found, list(found.draws(19, PROMPTS, 12)))
    assert line["close kin: named, alone or in a set"][0] == "1.000"
    assert line["close kin: named first"][0] == "1.000"
    assert float(line["stranger: attributed to another maker"][0]) <= 0.06
    assert line["same weights: named, alone or in a set"][0] == "nan"  # there are none here
    assert line["close kin: named, each lineage counted once"] == ("1.000", "a-7b 1.00", "1")


def test_kin_that_are_no_more_alike_than_strangers_are_not_counted_as_named() -> None:
    found = bench(kin=0.0)
    line = shares(found, list(found.draws(19, PROMPTS, 12)))
    assert float(line["close kin: named, alone or in a set"][0]) < 0.2


def test_a_maker_of_ones_own_is_no_false_name() -> None:
    found = bench(sister=KIN)
    trials = [t for t in found.draws(19, PROMPTS, 20) if t.kind == "its maker"]
    assert trials
    line = shares(found, trials)
    assert line["stranger: attributed to another maker"][0] == "0.000"
    tiers = [float(line[f"its maker is known: called {x}"][0])
             for x in ("something of its maker", "that model or close kin")]  # fmt: skip
    assert sum(tiers) == pytest.approx(1.0)


def test_each_lineage_counts_once() -> None:
    found = bench()
    close = [t for t in found.draws(19, PROMPTS, 12) if t.kind == "close"]
    lost = replace(close[0], suspect=5, right=np.zeros_like(close[0].right))
    line = shares(found, [*close, lost])["close kin: named, each lineage counted once"]
    assert line == ("0.500", "a-7b 1.00, x2 0.00", "2")
    assert 0.5 < float(shares(found, [*close, lost])["close kin: named, alone or in a set"][0]) < 1.0


def test_a_fold_never_sees_the_families_it_judges() -> None:
    found = bench(sister=3.0)
    trials = list(found.draws(19, PROMPTS, 20))
    own = next(t for t in trials if t.kind == "close" and t.suspect == TUNE)
    alike = replace(
        next(t for t in trials if t.kind == "stranger"), suspect=BASE, same_maker=np.zeros_like(own.same_maker),
    )  # fmt: skip
    alike = replace(alike, scored=replace(alike.scored, z=alike.scored.z + 30.0))
    spoilt = [own, *trials, *[alike] * len(trials)]  # by these alone nobody stands out any more
    first = judged(found, spoilt, folds=True)[0]
    assert first is not None
    assert first.named
    whole = decide(own.scored, 0.05, one_cell(spoilt))
    assert whole is not None
    assert not whole.named


def test_a_null_is_of_unknown_models_and_of_other_makers() -> None:
    found = bench(sister=3.0)
    trials = list(found.draws(19, PROMPTS, 12))
    best, weight = nulls(trials)
    unknown = [t for t in trials if t.kind in ("its maker", "stranger")]
    assert len(best) == len(unknown) < len(trials)
    assert weight.sum() == pytest.approx(1.0)
    assert max(t.scores.max() for t in unknown) > best.max() + 1.0  # the sister is far closer, and of one maker


def test_kin_are_parted_from_a_maker_where_that_can_be_done() -> None:
    apart = list(bench(kin=3.0, sister=0.3).draws(19, PROMPTS, 12))
    kin = min(t.scores.max() for t in apart if t.kind == "close")
    sister = max(t.scores.max() for t in apart if t.kind == "its maker" and t.same_maker[t.best])
    assert sister < kin_score(apart) <= kin


def test_a_table_is_fitted_over_its_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.which.LINEAGES", (8, 19))
    monkeypatch.setattr("benchmarks.which.PROMPTS", (25, 40))
    table = fitted(bench(), 4)
    assert table.scores.shape == (2, 2, len(shipped_table().tails))
    assert (np.diff(table.scores, axis=-1) >= 0).all()  # a smaller tail is a higher score
    assert table.about["models"] == STRANGERS + 3
