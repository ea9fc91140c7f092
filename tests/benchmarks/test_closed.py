"""The benchmark of five known models: who is a suspect, what is counted, and which weight is chosen without whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.closed import WEIGHTS, Answers, behind_prompts, main, rows, sets_of_five, without
from benchmarks.recorded import Collection
from benchmarks.relations import Lineage, Row
from harness.inference.attribution import Softmax


@dataclass(frozen=True)
class Names:
    """All of a table that the benchmark looks at here."""

    models: tuple[str, ...]


def collection() -> Collection:
    """A model, the same behind a system prompt and at another host, a fine-tune of it, and six strangers."""
    same = {"organisation": "A", "series": "a", "base_model": "a-7b", "parent": "base"}
    table = [
        {"model": "base", "organisation": "A", "series": "a", "base_model": "a-7b", "relation": "independent"},
        {"model": "brief", **same, "relation": "same-weights-different-prompt"},
        {"model": "hosted", **same, "relation": "same-weights-different-host"},
        {"model": "tune", **same, "organisation": "T", "relation": "sft"},
        {"model": "orphan", **same, "parent": "not recorded", "relation": "same-weights-different-prompt"},
        *({"model": f"x{i}", "organisation": f"X{i}", "series": f"x{i}", "base_model": f"x{i}"} for i in range(6)),
    ]
    lineage = Lineage(map(Row.of, table))
    names = tuple(r["model"] for r in table)
    return Collection(Names(names), lineage.of(names), lineage.matrix(names))  # type: ignore[arg-type]


def answers(lineage: str, best: float, suspect: bool = True) -> Answers:
    """Ten answers that go to the right model from a weight on, and no more at one three times as high."""
    scores = np.tile([0.0, best, 3.5 * best], (10, 1))
    beside = np.tile([2.0, 1.0, -8.0], (10, 1))
    scores[:, 0] = 0.0
    return Answers(lineage, suspect, scores, beside, 0, Softmax())


def test_suspects_are_behind_system_prompts_and_nothing_else() -> None:
    found = collection()
    assert behind_prompts(found) == {0: [1]}
    for known, suspects in sets_of_five(found, 8, np.random.default_rng(0)):
        assert (known[0], suspects) == (0, [1])
        assert len({found.known.lineage[i] for i in known}) == len(known) == 5


def test_a_weight_is_counted_where_it_names_the_right_model() -> None:
    a = answers("l", best=0.9)
    assert not a.hits(0.0).any()
    assert a.hits(1.0).all()
    assert a.loss(1.0) < np.log(3) < a.loss(0.0)
    lines = {line[0]: line[1] for line in rows([a, answers("l", 0.9, suspect=False), answers("m", 0.9)])}
    assert lines["behind another system prompt, without"] == "0.000"
    assert lines["behind another system prompt, weight 1"] == "1.000"
    assert lines["the known models' own answers"] == "0.000"


def test_the_weight_of_a_lineage_is_chosen_without_it() -> None:
    low, high = answers("low", best=0.2), answers("high", best=2.6)
    assert low.hits(without([low], "high")).all()
    assert without([low, high], "high") < 2.6 <= without([low, high], "low")
    assert without([low, high], "low") in WEIGHTS
    assert without([low, answers("high", 2.6, suspect=False)], "low") == WEIGHTS[0]  # own answers choose nothing


def test_a_table_without_system_prompts_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import pandas as pd

    frame = pd.DataFrame({"model": ["a", "b"] * 4, "prompt_id": list("00112233"), "output": ["some words"] * 8})
    frame.to_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("model,organisation,base_model\na,A,a\nb,B,b\n")
    with pytest.raises(SystemExit, match="behind another system prompt"):
        main(["--data", str(tmp_path / "x.parquet"), "--lineage", str(tmp_path / "x.csv")])
