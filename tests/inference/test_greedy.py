"""Greedy answers token by token: what a reader would have chosen, from the replies of servers to a p and its words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from harness.channels.likelihoods import Heard, chosen, heard
from harness.inference.greedy import Greedy, followings, sign_flips
from harness.inference.liking import Readings
from harness.inference.pool import Model
from harness.report.reading_words import traced
from harness.token_logprobs import packed

TOKENS, GIVEN = ["Q", " yes", " sir"], [None, -2.0, -0.25]


@pytest.mark.parametrize(
    ("top", "lost"),
    [
        ([None, {" yes": -2.0, " no": -0.5}, {" sir": -0.25}], [1.5, 0.0]),  # as vLLM: its own and the likeliest
        ([None, {" no": -0.5}, {" sir": -0.25, "!": -3.0}], [1.5, 0.0]),  # as OpenAI's: so many likeliest ones
        ([None, {" no": -2.1}, {" sir": -0.25}], [0.0, 0.0]),  # rounded otherwise: nothing is less than its own
        ([{"Q": -9.0}, {" yes": -2.0}, {"!": -9999.0, "?": -0.125}], [0.0, 0.125]),  # -9999: not in the list
        ([None, {" no": 0.5, " yes": -2.0}, {" sir": -0.25}], [0.0, 0.0]),  # no logprob is above 0
        ([None, None, {" sir": -0.25}], []),
        ([None, {" yes": None}, {" sir": -0.25}], []),
        ([{" yes": -2.0}, {" sir": -0.25}], []),  # of another length: whose they are is not known
        (None, []),
    ],
)
def test_what_the_likeliest_token_is_ahead_by_is_read_in_every_shape(top: Any, lost: list[float]) -> None:
    said = json.dumps({"tokens": TOKENS, "token_logprobs": GIVEN, "top_logprobs": top}).encode()
    found = heard(packed(said), "Q yes sir", " yes sir")
    assert found is not None
    assert found.values.tolist() == [-2.0, -0.25]
    assert found.lost.tolist() == lost


def test_only_what_was_said_at_temperature_0_counts_and_only_so_much() -> None:
    ends = np.arange(1, 5)
    one = Heard(np.full(4, -3.0), ends, np.array([0.0, 0.05, 0.5, 12.0]))
    mute = Heard(np.full(4, -3.0), ends)
    found = chosen(
        (2, 2, 1), {(0, 0, 0): one, (1, 0, 0): one, (0, 1, 0): mute}, np.array([[True, True], [False, True]])
    )
    assert found[0, 0, 0].tolist() == pytest.approx([4, 2, 1.55])
    assert np.isnan(found[[1, 0, 1], [0, 1, 1]]).all()


SUSPECT, CANDIDATE = Model("s", "suspect", None), Model("c", "candidate", "mine")
CONTROLS = tuple(Model(f"k{i}", "control", f"k{i}") for i in range(3))
MODELS = (SUSPECT, CANDIDATE, *CONTROLS)
READERS = (Model("base", "reader", "mine"), Model("own", "reader", "mine"), Model("rival", "reader", "other"))
LEVELS = {"own": 0.02, "base": 0.2, "rival": 0.5}  # nats lost a token by who has the weights


def readings(suspect: float, prompts: int = 20, seed: int = 0, candidate: float = 0.0, **more: Any) -> Readings:
    """Sixty tokens an answer; ``suspect`` and ``candidate`` are nats that these lose beyond what each reader loses."""
    rng = np.random.default_rng(seed)
    level = np.array([LEVELS[r.name] for r in READERS])
    beyond = np.array([suspect, candidate, *[0.5] * len(CONTROLS)])
    lost = 60 * (level + beyond[:, None] + rng.gamma(2, 0.005, (prompts, len(MODELS), 1)))
    shape = lost.shape
    values = np.stack([np.full(shape, 60.0), np.round(60 - lost / 0.7), lost], -1)
    names = tuple(m.name for m in MODELS)
    told = {"values": np.zeros(shape), "greedy": np.ones(shape[:2], dtype=bool), "chosen": values}
    return Readings(names, READERS, tuple(f"q{i}" for i in range(prompts)), 60, **(told | more))


def one(found: Readings, models: tuple[Model, ...] = MODELS) -> Greedy:
    (out,) = followings(found, models, seed=1)
    return out


def test_coarser_weights_are_told_from_the_candidates_and_the_same_ones_are_not() -> None:
    same, coarse = one(readings(0.0)), one(readings(0.03))
    assert (same.reader, same.prompts, same.tokens, same.missing) == ("own", 20, 1200, "")
    assert same.agreement == pytest.approx(same.agreement_candidate, abs=0.02)
    assert same.agreement_candidate > 0.9 > 0.5 > same.agreement_controls
    assert same.p > 0.05
    assert coarse.p == coarse.p_floor == pytest.approx(1e-4)
    assert coarse.lost > coarse.lost_candidate
    assert "not told apart" in traced(same)
    assert "other weights, coarser ones, another system prompt or rounding" in traced(coarse)
    assert "nearer to the reader" in traced(one(readings(0.0, candidate=0.03)))
    assert "tells little" in traced(one(readings(0.4, candidate=0.4)))


def test_p_values_of_one_model_under_two_names_are_no_smaller_than_they_say() -> None:
    """Also where the nearer one of two readers is taken: it is the nearer one of both models together."""
    p = np.array([one(readings(0.0, 12, seed)).p for seed in range(400)])
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.03)
    assert (p <= 0.5).mean() == pytest.approx(0.5, abs=0.08)


def test_all_changes_of_sign_are_tried_where_they_are_few() -> None:
    rng = np.random.default_rng(0)
    p, floor = sign_flips(np.array([3.0, 2.0, 1.0, -0.5]), rng)
    assert (p, floor) == (2 * 2 / 16, 2 / 16)  # as far out: all four of one sign, and as they are
    assert sign_flips(np.zeros(0), rng) == (1.0, 1.0)


def test_what_is_missing_is_said() -> None:
    def said(**more: Any) -> tuple[str, str]:
        found = one(readings(0.0, **more))
        return found.missing, traced(found)

    whole = readings(0.0)
    assert whole.chosen is not None
    assert said(greedy=None)[0] == "no greedy answers"
    none = np.ones((20, len(MODELS)), dtype=bool)
    none[:, 0] = False
    assert said(greedy=none) == (
        "no greedy answers",
        "s gave no answer at temperature 0, so that nothing is read token by token",
    )
    assert said(chosen=np.full_like(whole.chosen, np.nan))[0] == "not read"
    stranger = (SUSPECT, Model("c", "candidate", "else"), *CONTROLS)
    assert one(whole, stranger).missing == "no reader of its lineage"
    assert "no reader is of the lineage of c" in traced(one(whole, stranger))
    alone = whole.chosen.copy()
    alone[:, 1] = np.nan
    missing, words = said(chosen=alone)
    assert missing == ""
    assert "not known, as no such answer of c was read" in words
    few = whole.chosen.copy()
    few[5:, 1] = np.nan  # only what both have is compared
    found = one(readings(0.0, chosen=few))
    assert (found.prompts, found.tokens, found.p_floor) == (5, 300, 2 / 2**5)
