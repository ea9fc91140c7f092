"""Controls that do not resemble the candidate are named, from the config before a run and from the answers after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.check import unlike_controls
from harness.config.schema import Campaign
from harness.inference.control_match import observed
from harness.records import Prompt, Response, Responses
from harness.report.words import caveat


def campaign(candidate: dict[str, Any], *controls: dict[str, Any]) -> Campaign:
    place = {"kind": "openai-chat", "base_url": "http://a/v1"}
    ends: list[dict[str, Any]] = [{"name": "s", "role": "suspect", "model": "s"}]
    ends.append({"name": "c", "role": "candidate", "lineage": "c", "model": "c"} | candidate)
    for i, traits in enumerate(controls):
        ends.append({"name": f"k{i}", "role": "control", "lineage": f"k{i}", "model": f"k{i}"} | traits)
    return Campaign.model_validate(
        {"campaign": "t", "prompts": [{"set": "preset:quick"}], "endpoints": [place | e for e in ends]}
    )


@pytest.mark.parametrize(
    ("own", "alike", "unlike", "said"),
    [
        ({"released": "2025-06"}, {"released": "2024-12"}, {"released": "2023-03"}, "more than 18 months"),
        ({"parameters_b": 70}, {"parameters_b": 32}, {"parameters_b": 0.5}, "times smaller or larger"),
        ({"reasoning": True}, {"reasoning": True}, {"reasoning": False}, "reasoning before"),
    ],
)
def test_controls_unlike_the_candidate_are_named(
    own: dict[str, Any], alike: dict[str, Any], unlike: dict[str, Any], said: str
) -> None:
    def notes(*controls: dict[str, Any]) -> list[str]:
        config = campaign(own, *controls)
        return unlike_controls(config, config.endpoints[1])

    assert notes(alike, alike, alike) == []
    assert notes({}, {}, {}) == []
    found = notes(alike, unlike, unlike)
    assert len(found) == 1
    assert said in found[0]
    assert "k1, k2" in found[0]


def test_controls_of_one_maker() -> None:
    one = campaign({}, {"vendor": "Acme"}, {"vendor": "ACME"}, {"vendor": "Other"})
    assert "one maker (acme)" in unlike_controls(one, one.endpoints[1])[0]
    many = campaign({}, {"vendor": "Acme"}, {"vendor": "Foo"}, {"vendor": "Other"})
    assert unlike_controls(many, many.endpoints[1]) == []


def test_answers_much_longer_or_laid_out_otherwise() -> None:
    prompts = [Prompt(f"q{i}", "f", "", channels=("wording",)) for i in range(10)]
    said = {"c": "word " * 100, "long": "word " * 90, "short": "word " * 5, "listed": "- word\n" * 100}
    given = [Response(n, p.id, 0, "", "ok", t) for p in prompts for n, t in said.items()]
    table = Responses.of(list(said), prompts, given, np.ones((10, 4), dtype=bool))
    assert observed(table, "c", ["long"]) == []
    assert "100 words, the controls in 5" in caveat(observed(table, "c", ["short"])[0])
    assert "have lists" in caveat(observed(table, "c", ["listed"])[0])
    assert observed(table, "c", []) == []
