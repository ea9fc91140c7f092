"""What holds for every channel, whatever is said: order does not matter, gaps stay gaps, nothing crashes."""

from __future__ import annotations

import zlib
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.channels.characters import word_spans, words
from harness.channels.parallel import load_channels
from harness.records import Prompt, Response, Responses

CHANNELS = load_channels()
SERVED = tuple(CHANNELS)
SAID = (
    "I am Qwen.",
    "Yes, correct.",
    "angry: 3\nproud: 7",
    "angry: 4\nproud: 2",
    "42",
    "41",
    '{"answer": "5"}',
    "",
    "  ",
    "I'm sorry, I can't.",
    "<think>wait</think> blue",
    "红色。",
    "\ud83d broken \udfff",
    "ก",
    "\x00\u202e",
    "so it goes " * 9,
)
texts = st.one_of(st.sampled_from(SAID), st.text(st.characters(), max_size=30))
cells = st.lists(st.lists(st.lists(texts, max_size=2), min_size=5, max_size=5), min_size=6, max_size=6)


def blob(text: str) -> bytes:
    first = {"token": text[:1], "logprob": -0.5, "bytes": None}
    other = {"token": "z", "logprob": -1.5, "bytes": None}
    payload = {"content": [{**first, "top_logprobs": [first, other]}]}
    return zlib.compress(msgspec.json.encode(payload)) if text.isascii() and text else b""


def table(said: list[list[list[str]]], order: tuple[int, ...]) -> Responses:
    names = [f"m{j}" for j in range(5)]
    prompts = [
        Prompt(
            f"q{i}",
            "f",
            "How?",
            surface="completion" if i % 2 else "chat",
            channels=SERVED,
            samples=2,
            group="direct",
            fields={"scales": ["angry", "proud"], "answer": ["42"], "claim": "Claude", "twin": "q0"},
        )
        for i in range(len(said))
    ]
    answers = [
        Response(
            names[j],
            f"q{i}",
            s,
            "h",
            "ok" if t.strip() else "empty",
            t,
            reasoning=t[::-1],
            prompt_tokens=len(t) or None,
            logprobs=blob(t),
        )
        for i, row in enumerate(said)
        for j, samples in enumerate(row)
        for s, t in enumerate(samples)
    ]
    return Responses.of([names[j] for j in order], prompts, answers, np.ones((len(said), 5), dtype=bool))


@pytest.mark.parametrize("name", sorted(CHANNELS))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(  # sums that should cancel and did not: 1e-16 was scaled up to a similarity
    said=[
        *[[[], [], [], [], []]] * 3,
        [[], [], [], ["I am Qwen."], []],
        [[], [], ["I am Qwen."], ["I am Qwen."], []],
        [[], ["I am Qwen."], ["Yes, correct."], ["I am Qwen."], []],
    ],
    order=[0, 1, 3, 2, 4],
)
@given(said=cells, order=st.permutations(range(5)))
def test_order_of_models_does_not_matter(name: str, said: list[list[list[str]]], order: list[int]) -> None:
    straight = CHANNELS[name](table(said, tuple(range(5))))
    turned = CHANNELS[name](table(said, tuple(order)))
    assert (straight is None) == (turned is None)
    if straight is None or turned is None:
        return
    assert straight.models == tuple(f"m{j}" for j in range(5))
    assert turned.prompts == straight.prompts
    np.testing.assert_allclose(turned.values, straight.values[:, order][:, :, order], atol=2e-4)
    np.testing.assert_allclose(turned.coverage, straight.coverage[list(order)])
    np.testing.assert_allclose(straight.values, straight.values.transpose(0, 2, 1), atol=1e-6)
    assert np.isnan(np.diagonal(straight.values, axis1=1, axis2=2)).all()
    assert not np.isinf(straight.values).any()
    assert ((straight.coverage >= 0) & (straight.coverage <= 1)).all()


@pytest.mark.parametrize("name", sorted(CHANNELS))
def test_nothing_said_is_nothing_seen(name: str) -> None:
    silent = table([[[""]] * 5] * 6, (0, 1, 2, 3, 4))
    silent = replace(silent, reasoning=[""] * len(silent.text))
    found = CHANNELS[name](silent)
    assert found is None or not np.isfinite(found.values).any()


@pytest.mark.parametrize("name", sorted(CHANNELS))
def test_all_alike(name: str) -> None:
    found = CHANNELS[name](table([[["41 it is"] * 2] * 5] * 6, (0, 1, 2, 3, 4)))
    if found is None:
        return
    spread = np.nanmax(found.values, initial=-9, axis=(1, 2)) - np.nanmin(found.values, initial=9, axis=(1, 2))
    assert (spread[np.isfinite(found.values).any((1, 2))] < 1e-5).all()


@pytest.mark.parametrize("name", sorted(CHANNELS))
def test_no_prompts_of_its_own(name: str) -> None:
    bare = table([[["x"]] * 5] * 6, (0, 1, 2, 3, 4))
    assert CHANNELS[name](replace(bare, prompts=tuple(replace(p, channels=()) for p in bare.prompts))) is None


@given(st.text(st.characters(max_codepoint=127), max_size=300))
@example("a_b\x00c\x1f\x7f D'e-f\u000b\u000cg 1,2")
def test_plain_text_has_the_words_that_any_text_has(text: str) -> None:
    """The quicker way for ASCII finds the words that the pattern for all scripts finds."""
    assert words(text) == [w for w, *_ in word_spans(text)]
