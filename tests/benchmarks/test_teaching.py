"""The power of the teaching test is measured on pupils of one documented teacher, among controls of other makers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import teaching
from benchmarks.recorded import Collection, read
from benchmarks.wider import _origins
from harness.inference.teaching import Power, powers

MODELS = 18
PUPILS = (3, 4)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Models with tastes of their own; two have that of a teacher, one shares a maker with it, two share weights."""
    rng = np.random.default_rng(0)
    tastes = rng.dirichlet(np.full(60, 0.2), MODELS)
    tastes[list(PUPILS)] = 0.2 * tastes[list(PUPILS)] + 0.8 * tastes[0]
    rows = [{"model": f"m{i}", "prompt_id": p, "output": " ".join(f"w{w}" for w in rng.choice(60, 40, p=tastes[i]))}
            for i in range(MODELS) for p in range(12)]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "x.parquet")
    lines = [{"model": f"m{i}", "organisation": f"o{max(i, 1)}", "series": f"s{i}" if i else "gpt-4",
              "base_model": f"b{i}" if i < MODELS - 1 else f"b{i - 1}", "teacher": "gpt-4" if i in PUPILS else "",
              "relation": "sft", "reasoning": str(i == MODELS - 1)} for i in range(MODELS)]  # fmt: skip
    pd.DataFrame(lines).to_csv(tmp_path / "x.csv", index=False)
    return tmp_path / "x.parquet", tmp_path / "x.csv"


@pytest.fixture
def collection(files: tuple[Path, Path]) -> Collection:
    return read(*files)


def test_pupils_are_those_of_one_teacher(collection: Collection) -> None:
    names = collection.table.models
    found = [(names[i], names[j]) for i, j in teaching.single_teacher_pairs(collection)]
    assert found == [("m3", "m0"), ("m4", "m0")]


def test_controls_are_of_other_makers_and_lineages(collection: Collection) -> None:
    makers = np.array([r.organisation for r in collection.rows])
    pairs = teaching.strangers(collection)
    assert len(pairs)
    assert (makers[pairs[:, 0]] != makers[pairs[:, 1]]).all()
    for t in teaching.trials(collection, pairs, (), seed=1, most=8):
        pair, controls = set(makers[t.pool[:2]]), makers[t.pool[2:]].tolist()
        assert not pair & set(controls)
        assert len(set(collection.known.lineage[t.pool])) == len(t.pool) >= 8


def test_the_table_that_ships_is_what_the_command_writes(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("ROUNDS", 2), ("STRANGERS", 4), ("PROMPTS", (6,)), ("CONTROLS", (5, 12))):
        monkeypatch.setattr(teaching, name, value)
    out = tmp_path / "table.json"
    assert teaching.main(["--data", str(files[0]), "--lineage", str(files[1]), "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    rows = [Power(**row) for row in written["rows"]]
    assert Counter((r.prompts, r.controls, r.alpha) for r in rows) == Counter(
        (n, k, 0.05) for n in (6, 12) for k in (5, 12)
    )  # 12 controls allow no p of .01
    assert next(r for r in rows if (r.prompts, r.controls) == (12, 12)).found > 0.5
    assert "2 pupils of one documented teacher, of 2 lineages" in written["what"]
    assert {type(r) for r in powers()} == {Power}
    printed = capsys.readouterr().out
    assert "bigrams and openings, s-norm" in printed
    assert "true teacher in first 1" in printed


def test_folds_share_no_lineage_and_have_about_as_many_models() -> None:
    lineages = np.array(["a"] * 9 + ["b"] * 6 + ["c"] * 2 + ["d"])
    folds = teaching.fold_of(lineages)
    assert folds == {"a": 0, "b": 1, "c": 1, "d": 1}


def test_silence_is_counted_apart_for_kin_of_which_one_thinks(collection: Collection) -> None:
    names = collection.table.models
    kinds = {name: [tuple(sorted((names[a], names[b]))) for a, b in pairs] for name, pairs, _ in _origins(collection)}
    assert kinds["shared weights, one thinks"] == [("m16", "m17")]
    assert "shared weights, both think or neither" not in kinds
