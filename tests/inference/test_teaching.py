"""Teaching: valid under its null, sees a pupil, and tells it from kin only by a channel that sees weights."""

from __future__ import annotations

import numpy as np
import pytest

from harness.channels.stylometry import habit_counts
from harness.inference.excess import max_null_p
from harness.inference.findings import Finding, Settings
from harness.inference.pool import Model
from harness.inference.questions import decide
from harness.inference.teaching import habit_similarity, lean, teaching
from harness.inference.verdicts import taught
from harness.records import Prompt, Response, Responses
from harness.report.words import sentence

SETTINGS = Settings(0.05, 0.9, 199, 100, 0)


def counts(m: int, taught: float, seed: int, blocks: int = 8) -> np.ndarray:
    """Bigram counts of m models; model 0 leans to the habits of model 1."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(2.0, 1.0, (m, 300)) * rng.gamma(1.0, 1.0, 300)
    rates[0] = (1 - taught) * rates[0] + taught * rates[1]
    out: np.ndarray = rng.poisson(rates, (blocks, m, 300)).astype(np.float32)
    return out


def find(m: int, taught: float, seed: int = 0) -> Finding:
    models = [Model("s", "suspect", None), Model("c", "candidate", "root")]
    models += [Model(f"k{i}", "control", f"r{i}") for i in range(m - 2)]
    return teaching(models[0], models[1], models, counts(m, taught, seed), [x.name for x in models], [], [], SETTINGS)


def test_null_is_valid() -> None:
    p = []
    for seed in range(400):
        e = lean(habit_similarity(counts(10, 0.0, seed, 1)))
        p.append(max_null_p(e, e[0, 1]))
    assert np.mean(np.array(p) <= 0.1) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 400)


def test_controls_without_text_channels_are_missing() -> None:
    assert sentence(find(12, 0.8)).startswith("Cannot tell: fewer than two control")


@pytest.mark.parametrize(
    ("text", "evidence", "verdict"),
    [
        (0.01, [], "KIN-OR-TAUGHT"),
        (0.01, [0.01], "KIN-LIKE"),
        (0.01, [0.8], "TAUGHT-LIKE"),
        (0.01, [0.3], "KIN-OR-TAUGHT"),
        (0.01, [0.04, 0.9], "KIN-OR-TAUGHT"),
        (0.30, [0.8], "INCONCLUSIVE"),
        (float("nan"), [], "INCONCLUSIVE"),
    ],
)
def test_only_weights_tell_derived_from_taught(text: float, evidence: list[float], verdict: str) -> None:
    seen = {f"channel {i}": p for i, p in enumerate(evidence)}
    assert taught(text, seen, 0.05).verdict == verdict


def table(m: int) -> Responses:
    rng = np.random.default_rng(0)
    taste = rng.dirichlet(np.full(40, 0.3), m)
    taste[0] = 0.3 * taste[0] + 0.7 * taste[1]
    prompts = [Prompt(f"p{i}", "f", "", channels=("wording",)) for i in range(30)]
    texts = [Response(f"m{j}", p.id, 0, "", "ok", " ".join(f"w{w}" for w in rng.choice(40, 60, p=taste[j])))
             for p in prompts for j in range(m)]  # fmt: skip
    return Responses.of([f"m{j}" for j in range(m)], prompts, texts)


def test_a_pupil_is_seen_through_the_whole_path() -> None:
    from harness.channels.wording import wording

    answers = table(12)
    models = [Model("m0", "suspect", None), Model("m1", "candidate", "r1")]
    models += [Model(f"m{i}", "control", f"r{i}") for i in range(2, 12)]
    found = wording(answers)
    assert found is not None
    habits = habit_counts(answers)
    assert habits.shape[:2] == (20, 12)
    finding = teaching(models[0], models[1], models, habits, answers.models, [found], [], SETTINGS)
    judged = decide([finding])[0]
    assert judged.verdict == "KIN-OR-TAUGHT"
    assert judged.p_value == pytest.approx(2 / (12 * 11))
    assert judged.effect_low < judged.effect < judged.effect_high
    few = teaching(models[0], models[1], models[:5], habits, answers.models, [found], [], SETTINGS)
    assert "takes 5" in sentence(decide([few])[0])


def test_a_silent_model_is_no_evidence() -> None:
    silent = counts(8, 0.0, 0)
    silent[:, 0] = 0
    assert np.isnan(habit_similarity(silent)[0]).all()
