"""Presets, drawing, and the part of every set that is held back."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.prompts import available_presets, draw, expand, load_set, shipped_folder
from harness.config.schema import PromptUse
from harness.errors import ConfigError

FOLDER = shipped_folder()


@pytest.mark.parametrize(("name", "calls"), [("quick", 180), ("standard", 450), ("deep", 1500)])
def test_presets_cost_what_they_say(name: str, calls: int) -> None:
    assert name in available_presets(FOLDER)
    uses = expand([PromptUse(set=f"preset:{name}")], FOLDER)
    asked = sum(p.samples for u in uses for p in draw(u, load_set(u.set, FOLDER).prompts, 1))
    assert abs(asked - calls) <= 0.1 * calls


def test_what_stands_beside_a_preset_goes_for_all_its_sets() -> None:
    uses = expand([PromptUse(set="preset:quick", limit=2), PromptUse(set="code")], FOLDER)
    assert {u.limit for u in uses[:-1]} == {2}
    assert (uses[-1].set, uses[-1].limit) == ("code", None)


def test_unknown_preset_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="deep, quick, standard"):
        expand([PromptUse(set="preset:quik")], tmp_path)


def test_held_back_prompts_rotate_with_the_seed_and_are_a_third() -> None:
    prompts = load_set("everyday", FOLDER).prompts
    use = PromptUse(set="everyday")
    first, again, other = (draw(use, prompts, seed, 0.3) for seed in (1, 1, 2))
    assert first == again
    assert len(first) == len(other) == 45
    assert {p.id for p in first} != {p.id for p in other}


def test_twins_are_drawn_together() -> None:
    drawn = draw(PromptUse(set="refusals"), load_set("refusals", FOLDER).prompts, 3, 0.3)
    ids = {p.id for p in drawn}
    assert 0 < len(drawn) < 32
    assert all(p.fields["twin"] in ids for p in drawn if "twin" in p.fields)
