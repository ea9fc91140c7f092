"""Every example is a campaign that can be run: it is checked as a user would, with nobody asked."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import run_campaign
from harness.config.endpoint import Recorded, Remote
from harness.config.yaml import load_config
from tests.support import ROOT

EXAMPLES = ROOT / "examples"
TWINS = {
    "deepseek-r1-vs-gemini": ("recorded/r1-0528.yaml", "recorded/survey.yaml"),
    "is-my-provider-swapping": ("local-swap.yaml",),
    "pangu-vs-qwen": ("recorded/r1-children.yaml",),
    "which-model-is-this": ("recorded/which-model.yaml", "recorded/cloaked-gpt-4.1.yaml"),
}
LIVE = [EXAMPLES / f"{name}.yaml" for name in TWINS]
LOCAL = [EXAMPLES / "local-swap.yaml"]


def test_there_are_no_others() -> None:
    assert sorted(EXAMPLES.glob("*.yaml")) == sorted([*LIVE, *LOCAL])


@pytest.mark.parametrize("path", [*LIVE, *LOCAL], ids=lambda p: p.stem)
def test_example_passes_the_check_without_keys(path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
    command = [sys.executable, "-m", "harness", "check", str(path), "--offline"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert "ok: " in done.stderr


@pytest.mark.parametrize("path", [p for p in LIVE if "swapping" not in p.stem], ids=lambda p: p.stem)
def test_example_has_ten_control_lineages_unrelated_to_both_sides(path: Path) -> None:
    campaign = load_config(path)
    controls = {e.lineage for e in campaign.endpoints if e.role == "control"}
    assert len(controls) >= 10
    assert not controls & {e.lineage for e in campaign.endpoints if e.role == "candidate"}


@pytest.mark.parametrize("path", LIVE, ids=lambda p: p.stem)
def test_routed_endpoints_are_presets_and_the_reader_is_told_to_pin_them(path: Path) -> None:
    text = path.read_text("utf-8")
    remote = [e for e in load_config(path).endpoints if isinstance(e, Remote)]
    assert "openrouter.ai" not in text
    assert all(e.api_key_env == "OPENROUTER_API_KEY" for e in remote if e.provider == "openrouter")
    unpinned = [e.name for e in remote if e.provider == "openrouter" and not e.upstream]
    assert not unpinned or re.search(r"#.*`upstream: HOST`|#.*`provider: openrouter` with `upstream: HOST`", text)


def test_attribution_has_lineages_enough_to_name_anybody() -> None:
    campaign = load_config(EXAMPLES / "which-model-is-this.yaml")
    known = {e.lineage for e in campaign.endpoints if e.role != "suspect"}
    assert 1 / (len(known) + 1) <= campaign.analysis.alpha


@pytest.mark.parametrize("name", TWINS)
def test_case_and_twin_name_each_other(name: str) -> None:
    live, told = (EXAMPLES / f"{name}.yaml").read_text("utf-8"), (ROOT / "docs" / "cases.md").read_text("utf-8")
    row = next(line for line in told.splitlines() if line.startswith(f"| `{name}.yaml`"))
    for twin in TWINS[name]:
        assert twin in live
        assert f"`{twin}`" in row
        if twin.endswith(".yaml"):
            assert f"{name}.yaml" in (EXAMPLES / twin).read_text("utf-8")


def test_the_cases_are_all_told() -> None:
    told = (ROOT / "docs" / "cases.md").read_text("utf-8")
    runs = [str(p.relative_to(ROOT)) for p in [*LOCAL, *(EXAMPLES / "recorded").glob("*.yaml")]]
    assert len(runs) > 5
    assert [r for r in runs if f"harness run {r}" not in told] == []


def test_the_survey_holds_every_recorded_model_and_says_nothing_of_any(recorded_data: Path) -> None:
    endpoints = [e for e in load_config(EXAMPLES / "recorded" / "survey.yaml").endpoints if isinstance(e, Recorded)]
    with (recorded_data / "speechmap_lineage.csv").open(newline="", encoding="utf-8") as f:
        assert {e.model for e in endpoints} == {row["model"] for row in csv.DictReader(f)}
    assert all(
        e.lineage is None and e.maker is None for e in load_config(EXAMPLES / "recorded" / "survey.yaml").endpoints
    )


def test_what_stands_in_the_recorded_survey_is_of_one_root_or_maker(
    tmp_path: Path, recorded_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORDED_DATA", str(recorded_data))
    campaign = load_config(EXAMPLES / "recorded" / "survey.yaml").model_copy(update={"results": Path("results")})
    found = run_campaign(campaign, base=tmp_path, limit=60).survey
    assert found is not None
    assert found.standard == "other makers"
    with (recorded_data / "speechmap_lineage.csv").open(newline="", encoding="utf-8") as f:
        known = {row["model"].split("_", 1)[1]: (row["base_model"], row["organisation"]) for row in csv.DictReader(f)}
    assert len(found.standing) >= 4
    strange = [p for p in found.standing if not set(known[p.a]) & set(known[p.b])]
    assert strange == []
