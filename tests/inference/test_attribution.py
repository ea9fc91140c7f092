"""Attribution: right on prompts never trained on, honest about strangers, calm about bad input."""

from __future__ import annotations

import numpy as np
import pytest

from harness.inference import attribution
from harness.inference.attribution import (
    UNKNOWN,
    Softmax,
    attribute,
    held_out_scores,
    prompt_centred,
    suspect_scores,
)
from harness.report.naming import attribution_note

Texts = list[list[str | None]]


def answers(tastes: list[int], prompts: int = 24, seed: int = 0) -> Texts:
    """Each model draws words by its taste; equal numbers write alike."""
    rng = np.random.default_rng(seed)
    taste = {t: np.random.default_rng(100 + t).dirichlet(np.full(80, 0.2)) for t in tastes}
    topic = [rng.dirichlet(np.full(80, 0.2)) for _ in range(prompts)]
    return [[" ".join(f"w{w}" for w in rng.choice(80, 50, p=0.5 * taste[t] + 0.5 * q)) for t in tastes] for q in topic]


def test_a_known_hand_is_found_and_a_stranger_is_not() -> None:
    tastes = [*range(22), 3, 50]
    names = [f"m{i}" for i in range(22)] + ["kin of m3", "stranger"]
    kin, stranger = attribute(answers(tastes), names, [f"r{i}" for i in range(24)], names[22:], 0.05, 1)
    assert kin.best == "m3"
    assert kin.p_unknown == kin.p_floor == pytest.approx(1 / 23)
    assert kin.probabilities["m3"] > 0.9
    assert sum(stranger.probabilities.values()) == pytest.approx(1.0)
    assert stranger.best == UNKNOWN


def test_few_lineages_never_attribute() -> None:
    names = ["a", "b", "c", "kin of a"]
    found = attribute(answers([0, 1, 2, 0]), names, ["r0", "r1", "r2", None], ["kin of a"], 0.05, 1)[0]
    assert found.best == UNKNOWN
    assert max(found.probabilities, key=lambda n: found.probabilities[n]) == "a"
    assert "19 known lineages" in attribution_note(found)


def test_nothing_to_go_by() -> None:
    silent: Texts = [[a, b, None] for a, b, _ in answers([0, 1, 2])]
    (mute,) = attribute(silent, ["a", "b", "s"], ["x", "y", None], ["s"], 0.05, 1)
    assert attribution_note(mute) == "no usable answers"
    (nothing,) = attribute([], ["a", "b", "s"], ["x", "y", None], ["s"], 0.05, 1)
    assert "two known models and 8 prompts" in attribution_note(nothing)


def test_scores_are_of_prompts_never_trained_on() -> None:
    scores, y = held_out_scores(answers(list(range(6))), 0)
    assert scores.shape == (6 * 24, 6)
    assert (scores.argmax(1) == y).mean() > 0.5
    repeated: Texts = [["same words for all"] * 6 for _ in range(24)]
    assert (np.ptp(held_out_scores(repeated, 0)[0], axis=1) < 1e-6).all()


def test_centring_takes_out_the_topic() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    prompts, known = np.array([0, 0, 0, 1, 1, 1]), np.array([True, True, False] * 2)
    mean = np.repeat([x[:2].mean(0), x[3:5].mean(0)], 3, axis=0)
    np.testing.assert_allclose(prompt_centred(x @ x.T, prompts, known), (x - mean) @ (x - mean).T, atol=1e-9)


def test_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 400)
    scores = rng.normal(size=(1200, 3)) + 0.7 * np.eye(3)[y]
    softmax = Softmax.fit(scores, y, rng)
    p = softmax(scores, 1)
    top = p.max(1)
    assert abs((p.argmax(1) == y).mean() - top.mean()) < 0.06
    assert softmax(scores[:1], 32).max() >= softmax(scores[:1], 1).max()
    assert softmax.most == 32
    sure = softmax(np.array([[9.0, 0.0, 0.0]]), 5000)  # blocks of 32: 12 of each model
    np.testing.assert_array_equal(sure, softmax(np.array([[9.0, 0.0, 0.0]]), 32))
    assert sure[0].sum() == pytest.approx(1.0)
    assert sure[0, 1] == pytest.approx(1 / 3 / 37, rel=1e-3)


def disguised(style: int = 12, seed: int = 0) -> Texts:
    """Four known models, and the second behind a system prompt: its rare words of the prompt in the third's style."""
    rng = np.random.default_rng(seed)
    manner = [" ".join(f"s{k}{w}" for w in range(style)) for k in range(4)]
    rare = rng.integers(0, 5000, (24, 4, 8))
    said = [[manner[k] + " " + " ".join(f"r{w}" for w in row[k]) for k in range(4)] for row in rare]
    return [
        [*cells, manner[2] + " " + " ".join(f"r{w}" for w in row[1])] for cells, row in zip(said, rare, strict=True)
    ]


def test_what_known_models_said_to_the_same_prompt_counts() -> None:
    scores, beside, labels = suspect_scores(disguised(), 4, 0)
    assert (scores[labels == 4].argmax(1) == 2).mean() > 0.9  # by style alone it is the third
    others = beside[labels == 4][:, [0, 1, 3]]
    assert (others.argmax(1) == 1).mean() > 0.9
    assert (beside[labels < 4] == 0).all()  # nobody is compared with its own answer
    unlike: Texts = [[*row[:4], disguised()[at - 5][4]] for at, row in enumerate(disguised())]
    elsewhere = suspect_scores(unlike, 4, 0)[1][labels == 4][:, [0, 1, 3]]
    assert abs((elsewhere.argmax(1) == 1).mean() - 1 / 3) < 0.35


def test_a_known_model_without_an_answer_to_the_prompt_neither_gains_nor_loses() -> None:
    texts = disguised()
    texts[0][1] = None
    for row in texts[1:3]:
        row[0] = row[1] = row[2] = row[3] = None
    scores, beside, labels = suspect_scores(texts, 4, 0)
    assert np.isfinite(scores).all()
    assert np.isfinite(beside).all()
    own = beside[labels == 4]
    assert own[0, 1] == 0.0 != own[0, 0]
    assert (own[1:3] == 0.0).all()


def test_likeness_on_the_same_prompt_moves_probabilities_and_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, names = disguised(style=1), ["a", "b", "c", "d", "s"]
    (found,) = attribute(texts, names, [*"abcd", None], ["s"], 0.25, 1)
    monkeypatch.setattr(attribution, "BESIDE", 0.0)
    (alone,) = attribute(texts, names, [*"abcd", None], ["s"], 0.25, 1)
    assert found.probabilities["b"] > alone.probabilities["b"] + 0.1
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    assert (found.best, found.p_unknown, found.tier) == (alone.best, alone.p_unknown, alone.tier)
