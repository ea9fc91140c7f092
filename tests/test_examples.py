"""Every example is a campaign that can be run: it is checked as a user would, with nobody asked."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from harness.config.schema import Campaign, Remote
from harness.config.yaml import load_config
from harness.inference.pool import Model, pool_for
from tests.support import ROOT

EXAMPLES = ROOT / "examples"
TWINS = {
    "deepseek-r1-vs-gemini": ("recorded/r1-0528.yaml", "against_all.py"),
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


def _against_all() -> ModuleType:
    spec = importlib.util.spec_from_file_location("against_all", EXAMPLES / "against_all.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_against_all_asks_of_every_lineage_with_no_kin_among_the_controls() -> None:
    module = _against_all()
    campaigns = [Campaign.model_validate(module.asked_of(c).model_dump()) for c in module.known]
    candidates = [next(e for e in c.endpoints if e.role == "candidate") for c in campaigns]
    assert len({e.lineage for e in candidates}) == len(candidates) == 16
    for campaign, candidate in zip(campaigns, candidates, strict=True):
        models = [Model(e.name, e.role, e.lineage) for e in campaign.endpoints]
        pool = pool_for(models[0], models[1], models, [], 0.0)
        assert len(set(pool.lineages)) == len(pool.controls) >= 14
        assert not {candidate.lineage, module.KIN} & set(pool.lineages)


def test_against_all_corrects_over_every_look(
    tmp_path: Path, recorded_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORDED_DATA", str(recorded_data))
    module = _against_all()
    monkeypatch.setattr(module, "known", module.known[:6])
    rows = module.main(tmp_path, limit=12)
    assert len(rows) == 6
    assert all(adjusted >= p for *_, p, adjusted, _ in rows)
    assert min(r[3] for r in rows) == pytest.approx(min(1.0, 6 * min(r[2] for r in rows)))
