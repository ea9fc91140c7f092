"""The lineage benchmark runs on files it has never seen, and says what cannot be measured and why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import identity, lineage, scale
from benchmarks.measures import auc, tpr_at
from benchmarks.recorded import Unusable, read


def write(folder: Path, models: int, prompts: int, missing: float = 0.0, rated: bool = False) -> list[str]:
    """Answers of two models a root; returns the arguments that name the files."""
    rng = np.random.default_rng(0)
    rows, names = [], [f"m{i}" for i in range(models)]
    for i, name in enumerate(names):
        for p in range(prompts):  # kin share a taste on each prompt: one that is everywhere is a wrapper's
            taste = np.random.default_rng(1000 * (i // 2) + p).dirichlet(np.full(50, 0.3))
            if rng.random() < missing:
                continue
            said: str | None = " ".join(f"w{w}" for w in rng.choice(50, 30, p=taste)) if rng.random() > 0.02 else None
            if rated:
                said = f"Joy: {rng.integers(0, 11)}\nFear: {rng.integers(0, 11)}"
            rows.append({"model": name, "prompt_id": p, "output": said})
            if rated:
                rows[-1]["prompt"] = json.dumps({"first_pass": {"Joy": "3", "Fear": "4"}})
    pd.DataFrame(rows).to_parquet(folder / "x.parquet")
    table = [{"model": n, "organisation": f"o{i // 2}", "series": f"s{i // 2}", "base_model": f"b{i // 2}",
              "parent": f"m{i - 1}" if i % 2 else "", "relation": "sft" if i % 2 else "independent"}
             for i, n in enumerate(names)]  # fmt: skip
    pd.DataFrame(table).to_csv(folder / "x.csv", index=False)
    return ["--data", str(folder / "x.parquet"), "--lineage", str(folder / "x.csv")]


@pytest.mark.parametrize(
    ("models", "prompts", "missing", "rated"),
    [(24, 34, 0.1, False), (6, 12, 0.0, False), (3, 2, 0.3, False), (14, 20, 0.0, True)],
)
def test_runs_on_any_collection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], models: int, prompts: int, missing: float, rated: bool
) -> None:
    out = tmp_path / "table.json"
    assert lineage.main([*write(tmp_path, models, prompts, missing, rated), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("| stage")
    lines = json.loads(out.read_text())
    assert all(line["note"].startswith("not measurable") for line in lines if line["value"] is None)
    if models == 24:
        found = {(x["measure"], x["on"]): x["value"] for x in lines}
        assert found["AUC, wording", "close vs unrelated"] > 0.9
        assert any("power at 5 %" in m and v is not None for (m, _), v in found.items())
    else:
        assert "not measurable" in printed


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, 3, 3)
    pd.DataFrame({"who": ["a"]}).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(Unusable, match="no column model, prompt_id, output"):
        read(tmp_path / "y.parquet", tmp_path / "x.csv")
    with pytest.raises(Unusable, match="cannot read"):
        read(tmp_path / "none.parquet", tmp_path / "x.csv")
    pd.DataFrame({"model": ["a"], "prompt_id": [1], "output": [" "]}).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(Unusable, match="every answer is empty"):
        read(tmp_path / "y.parquet", tmp_path / "x.csv")


def test_area_and_hits() -> None:
    scores, positive = np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert auc(scores, positive) == pytest.approx(7 / 8)
    assert tpr_at(scores, positive, 0.5) == 1.0
    assert tpr_at(scores, positive, 0.01) == 0.5
    assert np.isnan(auc(scores, np.ones(4, dtype=bool)))


def test_identity_benchmark_without_the_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "SHARES", (0.0, 1.0))
    assert identity.main([*write(tmp_path, 18, 30), "--trials", "4", "--permutations", "99"]) == 0
    rows = [r.split("|") for r in capsys.readouterr().out.splitlines() if "harness" in r]
    assert float(rows[1][3]) >= float(rows[0][3])


def test_scale_prints_every_channel_that_has_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scale.main(write(tmp_path, 6, 12)) == 0
    rows = {r.split("|")[1].strip(): r.split("|") for r in capsys.readouterr().out.splitlines() if r.startswith("|")}
    assert {"wording", "style", "all, over all cores"} <= set(rows)
    assert "ratings" not in rows
    assert all(0 < float(rows[name][5]) < 4 for name in ("wording", "style"))
