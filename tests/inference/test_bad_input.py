"""What nobody should get a number for: each case ends in a plain message or an abstaining verdict that says why."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ValidationError

from harness.channels.ratings import ratings
from harness.channels.wording import wording
from harness.config.schema import Campaign
from harness.inference.assessment import assess
from harness.inference.findings import ChannelEvidence, Finding, Settings
from harness.inference.kinship import kinship
from harness.inference.likelihood import shipped_tables
from harness.inference.pool import Model
from harness.inference.questions import decide
from harness.inference.verdicts import taught
from harness.records import Prompt, Response, Responses, Similarity
from harness.report.words import channel_note, limits, sentence

SETTINGS = Settings(alpha=0.05, min_coverage=0.9, permutations=200, bootstrap=100, seed=1)
Say = Callable[[int, int], str]


def random_words(model: int, prompt: int) -> str:
    rng = np.random.default_rng((model, prompt))
    taste = np.random.default_rng(model).dirichlet(np.full(60, 0.5))
    return " ".join(f"w{w}" for w in rng.choice(60, 40, p=taste))


def answers(m: int, say: Say, prompts: int = 40) -> Responses:
    asked = [Prompt(f"q{i}", "f", "", channels=("wording", "ratings"), fields={"scales": ["joy", "fear", "awe"]})
             for i in range(prompts)]  # fmt: skip
    said = [Response(f"m{j}", p.id, 0, "", "ok" if say(j, i) else "empty", say(j, i))
            for i, p in enumerate(asked) for j in range(m)]  # fmt: skip
    return Responses.of([f"m{j}" for j in range(m)], asked, said, np.ones((prompts, m), dtype=bool))


def models(m: int, lineages: int | None = None) -> list[Model]:
    controls = [Model(f"m{i}", "control", f"r{i % lineages if lineages else i}") for i in range(2, m)]
    return [Model("m0", "suspect", None), Model("m1", "candidate", "root"), *controls]


def judge(who: list[Model], similarities: list[Similarity | None]) -> Finding:
    found = [s for s in similarities if s is not None]
    assessed = assess(who[0], who[1], who, found, SETTINGS)
    return decide([kinship(assessed, lambda _: [], shipped_tables(), SETTINGS)])[0]


def without_a_number(f: Finding) -> bool:
    return f.verdict == "INCONCLUSIVE" and all(math.isnan(x) for x in (f.p_value, f.log10_lr, f.effect))


def test_too_few_controls() -> None:
    found = judge(models(3), [wording(answers(3, random_words))])
    assert without_a_number(found)
    assert "fewer than two control lineages" in sentence(found)


def test_one_lineage_only() -> None:
    found = judge(models(8, lineages=1), [wording(answers(8, random_words))])
    assert without_a_number(found)
    assert "fewer than two control lineages" in sentence(found)


def test_a_model_missing_in_half_the_prompts() -> None:
    table = answers(9, lambda j, i: "" if j == 0 and i % 2 else random_words(j, i))
    found = judge(models(9), [wording(table)])
    assert without_a_number(found)
    assert any("m0 gave usable answers to 50%" in limit for limit in limits(found))


@pytest.mark.parametrize("said", ["", "Yes, that is so."])
def test_all_answers_empty_or_identical(said: str) -> None:
    found = judge(models(9), [wording(answers(9, lambda j, i: said))])
    assert without_a_number(found)
    assert ("usable answers" if not said else "answered alike") in sentence(found)


def test_a_suspect_that_answers_in_another_language() -> None:
    table = answers(9, lambda j, i: random_words(j, i).replace("w", "слово" if j == 0 else "w"))
    found = judge(models(9), [wording(table)])
    assert without_a_number(found)
    assert "m0 shares next to nothing" in sentence(found)
    assert "another language" in sentence(found)


def test_nan_in_a_channel_is_a_gap() -> None:
    table = answers(9, random_words)
    seen = wording(table)
    assert seen is not None
    nothing = Similarity("logprobs", seen.models, seen.prompts, np.full_like(seen.values, np.nan),
                         np.full(9, np.nan), "1 - JSD", "weights")  # fmt: skip
    found = judge(models(9), [seen, nothing])
    assert math.isfinite(found.p_value)
    assert any(limit.startswith("logprobs abstains") for limit in limits(found))
    assert [e.channel for e in found.evidence] == ["wording"]


def test_a_candidate_listed_as_its_own_control() -> None:
    def campaign(**control: str) -> dict[str, object]:
        place = {"kind": "openai-chat", "base_url": "http://a/v1"}
        ends = [{"name": "c", "role": "candidate", "lineage": "x", "model": "big", **place},
                {"name": "s", "role": "suspect", "model": "other", **place},
                {"name": "k1", "role": "control", "lineage": "y", "model": "k1", **place, **control},
                {"name": "k2", "role": "control", "lineage": "z", "model": "k2", **place}]  # fmt: skip
        return {"campaign": "t", "prompts": [{"set": "preset:quick"}], "endpoints": ends}

    Campaign.model_validate(campaign())
    with pytest.raises(ValidationError, match="own lineage"):
        Campaign.model_validate(campaign(lineage="x") | {"analysis": {"questions": ["identity"]}})
    with pytest.raises(ValidationError, match="the same model at the same address as candidate 'c'"):
        Campaign.model_validate(campaign(model="big", base_url="http://a/v1/"))


def test_a_channel_with_gaps_among_the_controls_leaves_them_to_the_others() -> None:
    def say(j: int, i: int) -> str:
        rated = ", ".join(f"{s}: {np.random.default_rng((j, i, n)).integers(0, 11)}" for n, s in
                          enumerate(("joy", "fear", "awe")))  # fmt: skip
        return f"{random_words(j, i)}\n{rated if j < 6 else ''}"

    table = answers(12, say)
    found = judge(models(12), [wording(table), ratings(table)])
    assert len(found.control_lineages) == 10
    assert any("ratings covers 4 control lineages and stays out" in limit for limit in limits(found))
    own = next(e for e in found.evidence if e.channel == "ratings")
    assert channel_note(own) == "own pool of 4 control lineages, not combined"


def test_weighted_evidence_speaks_about_origin() -> None:
    for part, verdict in (("counted", "TAUGHT-LIKE"), ("own pool", "TAUGHT-LIKE"), ("abstains", "KIN-OR-TAUGHT")):
        seen = ChannelEvidence("ratings", "weights", "product", 50, 1.0, p=0.8, part=part)  # type: ignore[arg-type]
        found = Finding("teaching", "s", "c", (), 0.05, evidence=(seen,))
        assert taught(0.01, found.weights_p(), 0.05).verdict == verdict


def test_the_finding_says_whether_the_candidate_is_a_hub() -> None:
    def say(j: int, i: int) -> str:
        return " ".join(f"w{w}" for w in range(60)) if j == 1 else random_words(j, i)

    found = judge(models(14), [wording(answers(14, say))])
    assert any("(on wording: a hub" in limit for limit in limits(found))
    plain = judge(models(14), [wording(answers(14, random_words))])
    assert any("m1 is closer to everybody than" in limit and "hub" not in limit for limit in limits(plain))
