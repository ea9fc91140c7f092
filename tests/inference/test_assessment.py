"""One assessment a pair: the positive control only where there is a second sample, and nothing worked out twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import judging
from harness.inference import assessment
from harness.inference.assessment import TWIN, Case, recognised
from harness.inference.findings import Settings
from harness.inference.likelihood import shipped_tables
from harness.inference.pool import Model
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
    compare, assess = judging.compare, assessment.assess

    def compared(channels: Any, answers: Responses, *further: Any) -> tuple[Similarity, ...]:
        calls["twin: " + " ".join(channels) if TWIN in answers.models else "all"] += 1
        return compare(channels, answers, *further)

    def assessed(*args: Any) -> Any:
        calls["assessed"] += 1
        return assess(*args)

    monkeypatch.setattr(judging, "compare", compared)
    monkeypatch.setattr(assessment, "assess", assessed)
    return calls


def scored(monkeypatch: pytest.MonkeyPatch, answers: Responses) -> judging.Judged:
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
    monkeypatch.setattr(judging, "read_responses", lambda _: answers)
    return judging.judged(Plan(config, Path(), answers.prompts, (), {}))


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


NAMES = ("s", "c", "k0", "k1", "k2", "k3", "k4", "k5")
TEMPLATES = 30
FRESH = {f"t{i}-fresh": f"t{i}" for i in range(TEMPLATES)}


def case(rng: np.random.Generator, shipped: float, fresh: float, halves: bool = True) -> Case:
    """A pair whose closeness on the two halves of a family is raised by so much; 20 more prompts are of another set."""
    ids = (*FRESH.values(), *FRESH, *(f"q{i}" for i in range(20)))
    values = rng.normal(0.3, 0.1, (len(ids), 8, 8))
    values[:, 0, 1] += np.r_[np.full(TEMPLATES, shipped), np.full(TEMPLATES, fresh), np.full(20, shipped)]
    values = np.triu(values, 1) + np.triu(values, 1).transpose(0, 2, 1)
    values[:, range(8), range(8)] = np.nan
    one = Similarity("wording", NAMES, ids, values.astype(np.float32), np.ones(8), "cosine", "text")
    other = Similarity("choices", NAMES, ids[-20:], values[-20:].astype(np.float32), np.ones(8), "1 - JSD", "weights")
    models = tuple(Model(n, "control", n) for n in NAMES)
    return Case(
        models[0], models[1], models, (one, other), shipped_tables(), Settings(0.05, 0.9, 99, 100, 1),
        lambda _: (), lambda: np.zeros((0, 0, 0)), lambda *_: {}, lambda *_: {}, lambda: (),
        fresh=FRESH if halves else {},
    )  # fmt: skip


def kinds(c: Case) -> list[str]:
    return [x.kind for x in c.assessment.caveats]


def test_who_answers_known_prompts_otherwise_is_judged_on_fresh_ones() -> None:
    rng = np.random.default_rng(4)
    hides = case(rng, shipped=0.0, fresh=0.25)
    first = hides.assessment.caveats[0]
    assert (first.kind, first.channel, first.names) == ("shipped prompts differ", "wording", ("s", "c"))
    assert first.values[0] < first.values[1]
    assert [set(x.similarity.prompts) for x in hides.assessment.channels] == [set(FRESH)]
    assert hides.assessment.evidence[0].p == pytest.approx(1 / 28)  # the closest pair of all, which it was not before
    learned = case(rng, shipped=0.25, fresh=0.0)
    assert kinds(learned)[0] == "shipped prompts differ"
    assert abs(learned.assessment.channels[0].matrix[0, 1]) < 0.6
    assert "shipped prompts differ" not in kinds(case(rng, shipped=0.25, fresh=0.25))
    assert "shipped prompts differ" not in kinds(case(rng, shipped=0.0, fresh=0.25, halves=False))


def test_halves_that_are_alike_are_seldom_called_unlike() -> None:
    rng = np.random.default_rng(5)
    found = [recognised(c.assessment, FRESH, c.settings) for c in (case(rng, 0.2, 0.2) for _ in range(200))]
    assert np.mean([f is not None for f in found]) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 200)


def test_few_templates_cannot_tell() -> None:
    c = case(np.random.default_rng(6), shipped=0.0, fresh=0.5)
    whole = assessment.assess(c.suspect, c.candidate, c.models, c.similarities, c.settings)
    for n, found in ((0, False), (7, False), (8, True)):
        assert (recognised(whole, dict(list(FRESH.items())[:n]), c.settings) is not None) == found
