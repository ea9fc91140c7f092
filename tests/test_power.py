"""Expected power: what `harness check` says a campaign can find, before anybody is asked."""

from __future__ import annotations

from typing import Any

import pytest

from harness.config.schema import Campaign
from harness.inference.excess import smallest_p
from harness.inference.likelihood import LikelihoodTable
from harness.plan import looks_of, plan_of
from harness.power import Power, expected_power, least_adjusted, power_text
from tests.support import ROOT


def campaign(controls: int, sets: list[str], questions: list[str], candidates: int = 1) -> Campaign:
    def endpoint(name: str, role: str) -> dict[str, Any]:
        at = "http://127.0.0.1:1/v1"
        return {"name": name, "kind": "openai-chat", "role": role, "lineage": name, "base_url": at, "model": name}

    return Campaign.model_validate(
        {
            "campaign": "power",
            "prompts": [{"set": s} for s in sets],
            "analysis": {"questions": questions},
            "endpoints": [
                endpoint("s", "suspect"),
                *(endpoint(f"p{i}", "candidate") for i in range(candidates)),
                *(endpoint(f"k{i}", "control") for i in range(controls)),
            ],
        }
    )


def powers(*arguments: Any, **more: Any) -> tuple[list[Power], list[str]]:
    plan = plan_of(campaign(*arguments, **more), ROOT, {}, None)
    found = expected_power(plan)
    return found, power_text(found, plan)


def test_power_is_that_of_the_shipped_table_under_these_conditions() -> None:
    found, _ = powers(14, ["everyday", "ratings"], ["kinship"])
    by = {p.channel: p for p in found}
    for channel in ("wording", "ratings"):
        p = by[channel]
        assert (p.controls, p.looks) == (14, 1)
        assert p.base == pytest.approx(LikelihoodTable.shipped(channel).rate("base", 14, p.prompts, alpha=0.05))
    assert by["ratings"].base > by["wording"].base  # which hardly sees one
    assert by["wording"].close > 0.8


def test_more_looks_leave_less_and_too_many_leave_nothing() -> None:
    one, _ = powers(14, ["everyday", "creative"], ["kinship"])
    three, _ = powers(14, ["everyday", "creative"], ["kinship", "identity", "teaching"])
    assert three[0].looks == 3
    assert three[0].close < one[0].close
    nine, (said, *_) = powers(14, ["everyday", "creative"], ["kinship"], candidates=9)
    assert smallest_p(14) * nine[0].looks > 0.05
    assert "no kinship can be found with 14 control lineages (9 verdicts share 0.05); 4 more would do" in said


def test_many_candidates_of_makers_of_their_own_are_one_look() -> None:
    config = campaign(14, ["everyday"], ["kinship"], candidates=9)
    assert least_adjusted(config, 14) == pytest.approx(9 * smallest_p(14))
    ends = [e.model_copy(update={"maker": f"house {e.name}"}) for e in config.endpoints]
    known = config.model_copy(update={"endpoints": ends})
    assert least_adjusted(known, 14) == pytest.approx(smallest_p(14, 9))
    assert smallest_p(14, 9) < 0.05


def test_the_cheapest_change_is_named_with_its_calls() -> None:
    _, (said,) = powers(14, ["everyday", "creative"], ["kinship"])
    assert "32 more prompts for ratings (about 512 calls) would find" in said


def test_looks_are_pairs_times_questions_and_attribution_is_none() -> None:
    assert looks_of(campaign(3, ["everyday"], ["kinship", "identity", "attribution"], candidates=2)) == 4
    assert looks_of(campaign(3, ["everyday"], ["attribution"])) == 1
