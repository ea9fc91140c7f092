"""One assessment a pair: the positive control only where there is a second sample, and nothing worked out twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import campaign
from harness.inference import assessment
from harness.inference.assessment import TWIN
from harness.plan import Plan
from harness.records import Prompt, Response, Responses, Similarity

MODELS = ("s1", "s2", "c", "k0", "k1", "k2", "k3")


def table(samples: int) -> Responses:
    rng = np.random.default_rng(0)
    taste = rng.dirichlet(np.full(40, 0.3), len(MODELS))
    prompts = [Prompt(f"p{i}", "f", "", samples=samples, channels=("wording", "style")) for i in range(20)]
    said = [Response(m, p.id, n, "", "ok", " ".join(f"w{w}" for w in rng.choice(40, 50, p=taste[j])))
            for p in prompts for j, m in enumerate(MODELS) for n in range(samples)]  # fmt: skip
    return Responses.of(MODELS, prompts, said)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often channels were computed, with and without a twin, and pairs assessed."""
    calls: Counter[str] = Counter()
    compare, assess = campaign.compare, assessment.assess

    def compared(channels: Any, answers: Responses, executor: str = "local") -> tuple[Similarity, ...]:
        calls["twin: " + " ".join(channels) if TWIN in answers.models else "all"] += 1
        return compare(channels, answers, executor)

    def assessed(*args: Any) -> Any:
        calls["assessed"] += 1
        return assess(*args)

    monkeypatch.setattr(campaign, "compare", compared)
    monkeypatch.setattr(assessment, "assess", assessed)
    return calls


def scored(monkeypatch: pytest.MonkeyPatch, answers: Responses) -> campaign.Scores:
    from harness.config.schema import Campaign

    roles = {"s1": "suspect", "s2": "suspect", "c": "candidate"}
    ends = [{"name": m, "role": roles.get(m, "control"), "lineage": m, "kind": "recorded", "path": "x"} for m in MODELS]
    config = Campaign.model_validate(
        {
            "campaign": "t",
            "prompts": [{"set": "recorded"}],
            "endpoints": ends,
            "analysis": {
                "questions": ["kinship", "teaching"],
                "bootstrap": 100,
                "channels": ["wording", "style", "verbatim"],
            },
        }
    )
    monkeypatch.setattr(campaign, "read_responses", lambda _: answers)
    monkeypatch.setattr(campaign, "_with_campaign_caveats", lambda findings, *_: findings)
    return campaign.score(Plan(config, Path(), answers.prompts, (), {}))


def test_a_positive_control_needs_a_second_sample(monkeypatch: pytest.MonkeyPatch, counted: Counter[str]) -> None:
    found = scored(monkeypatch, table(1)).findings
    assert counted == {"all": 1, "assessed": 2}
    assert all(any(c.kind == "no positive control" for c in f.caveats) for f in found if f.question == "kinship")


def test_a_positive_control_is_made_once_a_candidate_of_what_counts(
    monkeypatch: pytest.MonkeyPatch, counted: Counter[str]
) -> None:
    found = scored(monkeypatch, table(2)).findings
    assert counted == {"all": 1, "assessed": 2, "twin: wording": 1}
    assert not any(c.kind == "no positive control" for f in found for c in f.caveats)
    assert len(found) == 4
