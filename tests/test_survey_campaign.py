"""A survey from its config to its files: said before the run, found in the answers, told on every page."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.campaign import run_campaign, score, write
from harness.config.schema import Campaign
from harness.config.yaml import load_config
from harness.errors import ConfigError
from harness.plan import looks_of, stored_plan_of
from harness.power import survey_text
from harness.report.dictionary import FILES
from harness.report.terminal import findings_json, print_survey

KIN = {"s0": "a", "s1": "a", "s2": "b", "s3": "b"}  # of two origins, unknown to the config
SUSPECTS, CONTROLS, PROMPTS = 6, 20, 30


def endpoint(name: str, role: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "role": role, "kind": "recorded", "path": "answers.jsonl", **more}


def config(controls: int = CONTROLS, **analysis: Any) -> Campaign:
    return Campaign.model_validate(
        {
            "campaign": "all",
            "prompts": [{"set": "recorded"}],
            "analysis": {"questions": ["survey"], "channels": ["wording", "verbatim"], "bootstrap": 100, **analysis},
            "endpoints": [
                *(endpoint(f"s{i}", "suspect") for i in range(SUSPECTS)),
                *(endpoint(f"k{i}", "control", lineage=f"l{i}", maker=f"h{i}") for i in range(controls)),
            ],
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Answers of 60 words on 30 prompts: every origin has words of its own for each, and models vary them a little."""
    rng = np.random.default_rng(1)
    words = np.array([f"w{i:03d}" for i in range(400)])
    names = [*(f"s{i}" for i in range(SUSPECTS)), *(f"k{i}" for i in range(CONTROLS))]
    rows = []
    for p in range(PROMPTS):
        origin = {o: rng.permutation(words)[:60] for o in dict.fromkeys(KIN.get(n, n) for n in names)}
        for n in names:
            own = origin[KIN.get(n, n)].copy()
            own[rng.random(60) < 0.4] = rng.permutation(words)[: int((rng.random(60) < 0.4).sum())][:1]
            mixed = np.where(rng.random(60) < 0.4, rng.permutation(words)[:60], own)
            rows.append({"model": n, "prompt_id": f"q{p}", "prompt": f"Say {p}.", "output": " ".join(mixed)})
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return tmp_path


def test_a_survey_is_told_on_every_page(folder: Path) -> None:
    scores = run_campaign(config(), base=folder)
    found = scores.survey
    assert found is not None
    assert scores.findings == ()
    assert {frozenset((p.a, p.b)) for p in found.standing} == {frozenset(("s0", "s1")), frozenset(("s2", "s3"))}
    files = {p.name: p for p in write(config(), scores, base=folder)}
    rows = list(csv.DictReader(io.StringIO(files["survey.csv"].read_text("utf-8"), newline="")))
    assert tuple(rows[0]) == tuple(FILES["survey"].columns)
    assert len(rows) == 26 * 25 // 2
    assert {frozenset((r["a"], r["b"])) for r in rows[:2]} == {frozenset(("s0", "s1")), frozenset(("s2", "s3"))}
    assert [r["stands"] for r in rows].count("yes") == 2
    assert all(r["q"] == "" for r in rows if r["relation"] == "unrelated")
    page = files["report.html"].read_text("utf-8")
    assert '<section id="survey"' in page
    assert "2 of 15 pairs that were asked about stand at a false discovery rate of 0.05, in 2 groups" in page
    assert (
        len(re.findall(r'data-tip="[^"]+ with [^"]+: ', page)) == 26 * 25
    )  # each pair on a wide screen and on a phone
    assert ">100</text>" in page  # support of a branch of kin
    told = io.StringIO()
    print_survey(found, told)
    assert "group 1: s0, s1" in told.getvalue() or "group 1: s1, s0" in told.getvalue()
    assert "does not tell these apart" in told.getvalue()
    assert "-LIKE" not in told.getvalue() + findings_json([], survey=found)  # no verdict word is made
    (record,) = json.loads(findings_json([], survey=found))
    assert record["question"] == "survey"
    assert record["false_discovery_rate"] == 0.05
    assert len(record["pairs"]) == len(record["groups"]) == 2
    again = score(stored_plan_of(config(), folder)).survey
    assert again is not None
    assert [p.q for p in again.standing] == [p.q for p in found.standing]


def test_what_cannot_be_found_is_said_before_any_call() -> None:
    (line,) = survey_text(config())
    assert "15 pairs are asked about, ranked among 310 unrelated pairs" in line
    assert "none stands unless one pair or more is closer than all of these" in line
    (few,) = survey_text(config(controls=5))
    assert "none stands unless 8 pairs or more are closer" in few
    (none,) = survey_text(config(controls=5, alpha=0.01))
    assert "none can stand at 0.01: that takes 99 unrelated pairs or more" in none
    (blind,) = survey_text(config(controls=0))
    assert "no pair can be called" in blind
    assert survey_text(config().model_copy(update={"analysis": config().analysis.model_copy(
        update={"questions": ("kinship",)})})) == []  # fmt: skip


def test_a_survey_is_no_look_at_one_pair() -> None:
    assert looks_of(config()) == 1


def test_a_model_with_gaps_does_not_take_the_prompts_from_all(folder: Path) -> None:
    path = folder / "answers.jsonl"
    kept = [x for x in path.read_text("utf-8").splitlines() if '"s5"' not in x or '"q1' in x]
    path.write_text("\n".join(kept), "utf-8")
    found = run_campaign(config(), base=folder).survey
    assert found is not None
    assert found.prompts == PROMPTS
    assert [(c.kind, c.names) for c in found.caveats] == [("models left out", ("s5",))]


def test_kinship_still_needs_a_candidate_and_a_survey_some_models(tmp_path: Path) -> None:
    text = "campaign: x\nprompts: [{set: everyday}]\nanalysis: {questions: [QUESTIONS]}\nendpoints:\n" + "".join(
        f"  - {{name: s{i}, role: suspect, kind: openai-chat, model: m{i}}}\n" for i in range(4)
    )
    for questions, said in (("survey, kinship", "role: candidate"), ("survey", "five endpoints or more")):
        (tmp_path / "config.yaml").write_text(text.replace("QUESTIONS", questions), "utf-8")
        with pytest.raises(ConfigError, match=said):
            load_config(tmp_path / "config.yaml")
