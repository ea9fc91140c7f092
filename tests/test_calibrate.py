"""`harness calibrate`: a campaign and pairs of known relation -> a validated calibration file that `score` uses."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.calibrate import read_pairs
from harness.errors import ConfigError
from harness.inference.calibration import (
    MOST_POINTS,
    Validation,
    calibrate,
    crossfit,
    tippett,
    tippett_points,
)
from harness.inference.likelihood import LikelihoodTable
from harness.inference.trials import Known, draw_trials, lineage_weights, pair_p, pool_matrices
from harness.records import Similarity

LINEAGES = 14
HEADER = "model_a,model_b,relation,lineage_a,lineage_b\n"


def collection(seed: int = 0, prompts: int = 40) -> tuple[Similarity, Known, np.ndarray, np.ndarray]:
    """Two models of each lineage, more alike than strangers; hubs among them."""
    rng = np.random.default_rng(seed)
    m = 2 * LINEAGES
    lineage = np.repeat([f"root{i}" for i in range(LINEAGES)], 2)
    same = lineage[:, None] == lineage
    hub = rng.exponential(0.5, m)
    v = rng.normal(size=(prompts, m, m)) + 0.5 * rng.normal(size=(m, m)) + hub[:, None] + hub + 2.5 * same
    v = ((v + v.swapaxes(1, 2)) / 2).astype(np.float32)
    v[:, range(m), range(m)] = np.nan
    names = tuple(f"m{i}" for i in range(m))
    known = Known(names, lineage, lineage, ~same, lineage)
    found = Similarity("wording", names, tuple(map(str, range(prompts))), v, np.ones(m), "cosine", "text")
    return found, known, *(np.argwhere(np.triu(x, 1)) for x in (same, ~same))


def test_fit_is_validated_on_families_it_never_saw() -> None:
    found, known, kin, unrelated = collection()
    table, checks = calibrate(found, known, {"close": kin, "unrelated": unrelated}, 0.05, 1)
    assert table.controls == (2, 3, 4, 8)  # 14 lineages do not give 16 controls
    assert table.prompts == (32,)
    best = checks[-1]
    assert best.proposition == "close"  # of a shared base, or of teaching, nothing is known here
    assert set(table.lines) == {"close"}
    assert best.cllr < 0.6
    assert best.cllr_low <= best.cllr <= best.cllr_high
    assert best.cllr_min <= best.cllr + 1e-9
    assert best.false_alarms <= 0.08
    assert json.loads(table.to_json())["about"]["validation"][-1]["controls"] == 8


def test_a_family_on_both_sides_would_show() -> None:
    rng = np.random.default_rng(0)
    families = np.array(
        [["a", "a"]] * 5 + [[f"f{i}", f"f{i}"] for i in range(10)] + [[f"x{i % 4}", f"y{i}"] for i in range(40)]
    )
    kin = np.arange(55) < 15
    score = np.where(kin, 2.0, 0.0) + 0.5 * rng.normal(size=55)
    before = crossfit(score, kin, families, np.ones(55, dtype=bool))
    score[:5] = -9.0  # what family a says must not change what is said of family a by others
    after = crossfit(score, kin, families, np.ones(55, dtype=bool))
    assert np.isfinite(before).all()
    assert (before[5:15] != after[5:15]).any()
    assert after[0] == after[:5].min() == after[:5].max()


def test_controls_are_apart_and_one_a_lineage() -> None:
    found, known, kin, _ = collection()
    trials = draw_trials(known, kin, np.isfinite(found.values).any(2), 32, 2, np.random.default_rng(0))
    for pair, row in zip(trials.pairs, trials.controls, strict=True):
        controls = row[row >= 0]
        assert len(controls) == LINEAGES - 1
        assert len(set(known.lineage[controls])) == len(controls)
        assert not set(known.lineage[controls]) & set(known.lineage[pair])
    assert trials.first.sum() == len(kin)
    assert not trials.enough(14, 10).any()
    assert trials.enough(13, 40).all()


def test_unrelated_trials_keep_their_level() -> None:
    found, known, _, unrelated = collection(3)
    trials = draw_trials(known, unrelated, np.isfinite(found.values).any(2), 8, 1, np.random.default_rng(0))
    p = pair_p(pool_matrices([found], trials, 8, [32])[32][1])
    assert (p <= 0.05).mean() <= 0.08
    assert np.isnan(pair_p(pool_matrices([found], trials, 8, [400])[400][1])).all()


def test_a_bootstrap_draws_lineages_whole() -> None:
    weights = lineage_weights(np.array([["a", "a"], ["a", "a"], ["a", "b"], ["b", "c"]]), 50, np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[weights[:, 0] == 0, 2] == 0).all()


def test_tippett_falls_from_one() -> None:
    at, kin, unrelated = tippett(np.array([2.0, 1.0, -1.0, 0.5]), np.array([True, True, False, False]))
    assert kin[0] == unrelated[0] == 1.0
    assert (np.diff(kin) <= 0).all()
    assert dict(zip(at.tolist(), unrelated.tolist(), strict=True))[0.0] == 0.5


def test_tippett_points_are_few_and_exact() -> None:
    rng = np.random.default_rng(0)
    lr, kin = rng.normal(size=900), np.arange(900) < 300
    lr = np.where(kin, lr + 1.0, lr).round(3)
    points = tippett_points(Validation("close", 8, 32, 60.0, lr, kin, *[0.2] * 8))
    assert len(points["log10_lr"]) == len(points["kin"]) == len(points["unrelated"]) <= MOST_POINTS
    assert 0.0 in points["log10_lr"]
    assert (points["log10_lr"][0], points["log10_lr"][-1]) == (lr.min(), lr.max())
    for at, share in zip(points["log10_lr"], points["kin"], strict=True):
        assert share == pytest.approx((lr[kin] >= at).mean(), abs=1e-4)
    assert [points[n] for n in ("controls", "prompts", "kin_trials", "unrelated_trials")] == [8, 32, 300, 600]


def test_shipped_table_carries_its_tippett_plot() -> None:
    about = LikelihoodTable.shipped().about
    points = about["tippett"]
    stands = ("shares weights", 16, 100)
    check = next(v for v in about["validation"] if (v["proposition"], v["controls"], v["prompts"]) == stands)
    assert (points["controls"], points["prompts"], points["cllr"]) == (16, 100, check["cllr"])
    assert points["kin"][0] == points["unrelated"][0] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(points["unrelated"]))
    assert 2 <= len(points["log10_lr"]) <= MOST_POINTS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column"),
        ("model_a,model_b\nx,y\n", "no column relation"),
        (HEADER + "x,nobody,kin,r,r\n", ":2: 'nobody' is no endpoint"),
        (HEADER + "x,y,kin,r,\n", ":2: 'y' has no lineage"),
        (HEADER + "x,x,kin,r,r\n", "paired with itself"),
        (HEADER + "x,y,kin,r,s\ny,z,kin,t,t\n", "'y' is of lineage 's' and 't'"),
    ],
)
def test_bad_pairs_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_pairs(path, ("x", "y", "z"))


def test_too_little_says_what_it_takes() -> None:
    found, known, kin, unrelated = collection()
    with pytest.raises(ConfigError, match="too little to calibrate on"):
        calibrate(found, known, {"close": kin[:3], "unrelated": unrelated}, 0.05, 1)


def write_campaign(folder: Path, models: int = 24) -> Path:
    """Recorded answers in which models of one lineage favour the same words."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(models):
        for p in range(36):
            taste = np.random.default_rng(1000 + 100 * (i // 2) + p).dirichlet(
                np.full(60, 0.3)
            )  # kin: prompt by prompt
            mixed = 0.6 * taste + 0.4 * np.random.default_rng(p).dirichlet(np.full(60, 0.5))
            text = " ".join(f"w{w}" for w in rng.choice(60, 40, p=mixed))
            lines.append(json.dumps({"model": f"m{i}", "prompt_id": f"p{p}", "prompt": f"Q{p}", "output": text}))
    (folder / "answers.jsonl").write_text("\n".join(lines))
    roles = ["suspect", "candidate"] + ["control"] * (models - 2)
    ends = [
        {"name": f"m{i}", "kind": "recorded", "role": r, "lineage": f"root{i // 2}", "path": "answers.jsonl"}
        for i, r in enumerate(roles)
    ]
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"campaign": "known", "prompts": [{"set": "recorded"}], "endpoints": ends}))
    rows = [
        f"m{a},m{b},{'kin' if a // 2 == b // 2 else 'unrelated'},root{a // 2},root{b // 2}\n"
        for a in range(models)
        for b in range(a)
    ]
    (folder / "pairs.csv").write_text(HEADER + "".join(rows))
    return config


def test_command_writes_a_file_that_score_uses(tmp_path: Path) -> None:
    config = write_campaign(tmp_path)

    def harness(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    harness("run", "config.yaml", "--quiet")
    printed = harness("calibrate", "config.yaml", "pairs.csv", "--out", "mine.json")
    assert "Cllr_min" in printed
    mine = LikelihoodTable.from_json((tmp_path / "mine.json").read_text())
    assert mine.about["source"] == "known"
    assert mine.about["tippett"]["kin"][0] == 1.0
    drawn = (tmp_path / "mine.tippett.svg").read_text()
    assert drawn.startswith("<svg xmlns=")
    assert all(word in drawn for word in ("families held out", "known kin", "log10 likelihood ratio", "--close:#"))
    assert (tmp_path / "mine.tippett.csv").read_text().startswith("log10_lr,kin,unrelated\n")
    questions = ["kinship", "teaching", "attribution"]
    settings = yaml.safe_load(config.read_text()) | {"analysis": {"calibration": "mine.json", "questions": questions}}
    config.write_text(yaml.safe_dump(settings))
    found = {f["question"]: f for f in json.loads(harness("score", "config.yaml", "--json"))}
    assert found["kinship"]["log10_lr"] > 0.5
    assert found["teaching"]["verdict"] in ("KIN-OR-TAUGHT", "INCONCLUSIVE")
    assert (tmp_path / "results" / "known" / "attribution.csv").read_text().startswith("suspect,attributed_to")
