"""The benchmark's rule for pairs agrees with the reference counts, and survives tables it has never seen."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.relations import CLOSE, Lineage, Row


def family() -> Lineage:
    rows = [
        {"model": "base-chat", "organisation": "A", "series": "a", "base_model": "a-7b", "relation": "independent"},
        {"model": "base-chat-hot", "parent": "base-chat", "base_model": "a-7b", "relation": "same-weights-prompt"},
        {"model": "tuned", "organisation": "T", "parent": "base-chat", "base_model": "a-7b", "relation": "sft"},
        {"model": "other-tune", "organisation": "U", "series": "a", "base_model": "a-7b", "relation": "sft"},
        {"model": "gpt-4", "organisation": "OpenAI", "series": "gpt-4", "base_model": "gpt-4"},
        {"model": "pupil", "organisation": "P", "series": "p", "base_model": "p-7b", "teacher": "gpt-4;claude-2"},
        {"model": "stranger", "organisation": "S", "series": "s", "base_model": "s-7b", "relation": "independent"},
        {"model": "mystery", "relation": "unknown"},
    ]
    return Lineage(map(Row.of, rows))


@pytest.mark.parametrize(
    ("a", "b", "relation"),
    [
        ("base-chat", "base-chat-hot", "same_weights"),
        ("base-chat", "tuned", "parent_child"),
        ("base-chat-hot", "tuned", "parent_child"),
        ("tuned", "other-tune", "same_base"),
        ("gpt-4", "pupil", "teacher_student"),
        ("stranger", "pupil", "unrelated"),
        ("mystery", "stranger", "excluded"),
        ("not in the table", "stranger", "excluded"),
    ],
)
def test_first_rule_that_fits_wins(a: str, b: str, relation: str) -> None:
    matrix = family().matrix([a, b])
    assert matrix[0, 1] == matrix[1, 0] == relation
    assert matrix[0, 0] == "self"


def test_a_loop_of_parents_ends() -> None:
    loop = Lineage(
        Row.of({"model": a, "parent": b, "relation": r, "base_model": "x"})
        for a, b, r in (("m", "n", "same-weights-x"), ("n", "m", "same-weights-x"), ("k", "m", "sft"))
    )
    assert loop.relation(*loop.of(["k", "m"])) in CLOSE


def test_a_table_with_one_column_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lineage.csv"
    path.write_text("model\na\nb\n")
    assert Lineage.read(path).matrix(["a", "b"]).shape == (2, 2)
    assert not any(r.usable for r in Lineage.read(path).models)


@pytest.mark.parametrize("name", ["alpaca_eval_dev", "eqbench_v2", "speechmap", "wildbench"])
def test_counts_equal_the_reference(recorded_data: Path, name: str) -> None:
    script, path = recorded_data / "pair_relations.py", recorded_data / f"{name}_lineage.csv"
    if not script.is_file():
        pytest.skip(f"no {script.name} in {recorded_data}")
    done = subprocess.run([sys.executable, script, path], capture_output=True, text=True, check=True)
    reference = {k: int(n) for k, n in (line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)}
    lineage = Lineage.read(path)
    matrix = lineage.matrix([m.name for m in lineage.models])
    assert Counter(matrix[np.triu_indices(len(matrix), 1)]) == reference
