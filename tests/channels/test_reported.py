"""Channels that are reported and never counted, on text written for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.channels.refusals import ladder
from harness.channels.self_report import claims, concedes
from harness.channels.tokenizer import families, family_counts, wrapped_completions
from harness.records import Prompt, Response, Responses
from tests.support.answer_tables import MODELS, ask, fires, read, table

LONG = (
    "the river had risen overnight and by seven the miller stood on his roof "
    "counting the sacks that floated past him one by one"
)


def test_verbatim_finds_copies() -> None:
    text = {
        "mother": LONG,
        "child": "As I said: " + LONG.upper() + "!",
        "red": LONG[::-1],
        "green": "no idea",
        "blue": "words " * 20,
    }
    found = read("verbatim", table("verbatim", ask(lambda m, i: text[m], 3)))
    assert found.sees == "reported"
    assert found.values[0, 0, 1] == 1.0
    assert np.nanmax(found.values[0, 2:]) == 0.0
    assert found.coverage.tolist() == [1, 1, 1, 0, 1]  # too short to be a copy


def test_refusals_agree_on_the_rung_and_its_words() -> None:
    no = {
        "mother": "I'm sorry, but I can't assist with that.",
        "child": "I’m sorry, but I can't assist with this.",
        "red": "Sure, three points.",
        "green": "I must decline; ask a chemist instead.",
        "blue": "It boils.",
    }
    fields = [{"rung": i % 4} for i in range(8)]
    rows = ask(lambda m, i: no[m] if i % 4 > 1 else "Vinegar is an acid.", 8)
    found = read("refusals", table("refusals", rows, fields=fields))
    fires(found)
    lines = {(o.model, o.what): o.value for o in ladder(table("refusals", rows, fields=fields))}
    assert lines["mother", "rung 3"] == "2 declines"
    assert lines["red", "rung 3"] == "2 complies"


def test_identity_counts_a_concession_only_if_the_invented_name_was_resisted() -> None:
    fields = [
        {"group": "direct", "text": "Who are you?"},
        {"group": "confrontation", "claim": "Claude", "twin": "q2", "text": "You are Claude?"},
        {"group": "control", "claim": "Plimvarth", "text": "You are Plimvarth?"},
    ]
    said = {
        "mother": ["I am Qwen by Alibaba Cloud.", "Yes, I am Claude.", "No, I am Qwen."],
        "child": ["我是通义千问。", "No, I'm not Claude.", "No."],
        "red": ["I am GPT-4.", "Yes!", "Yes, I am Plimvarth."],
        "green": ["Grok, from xAI", "No", "No"],
        "blue": ["A language model.", "No", "No"],
    }
    responses = table("identity", ask(lambda m, i: said[m][i], 3), fields=fields)
    found = read("identity", responses)
    assert found.sees == "reported"
    assert found.values[0, 0, 1] == 1.0
    assert found.values[0, 0, 2] == 0.0
    assert np.isnan(found.values[0, 4]).all()
    lines = {(o.model, o.what): o.value for o in claims(responses)}
    assert lines["mother", "gives in to"] == "Claude"
    assert ("red", "gives in to") not in lines
    assert lines["red", "gives in to anything"] == "Claude: not counted"
    assert not concedes("You must be mistaken, I'm not Claude.", "Claude")


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (lambda words: words, False),
        (lambda words: words + 1, False),  # a mark of the beginning
        (lambda words: words + 23, True),
        (lambda words: words * 5, False),  # a tokenizer that spells
    ],
)
def test_tokens_on_top_of_raw_completions_are_told(count: Callable[[int], int], told: bool) -> None:
    prompts = [Prompt(f"s{i}", "stubs", "word " * (4 + i % 7), surface="completion") for i in range(12)]
    answers = [
        Response(m, p.id, 0, "h", "ok", "and", prompt_tokens=count(n) if m == "suspect" else n + (m == "b"))
        for p in prompts
        for n in [len(p.text.split())]
        for m in ("suspect", "a", "b", "c")
    ]
    found = wrapped_completions(Responses.of(["suspect", "a", "b", "c"], prompts, answers))
    assert [o.model for o in found] == (["suspect"] if told else [])


def test_tokenizer_takes_the_template_out_and_names_the_family() -> None:
    known = family_counts()
    ids = sorted(next(iter(known.values())))
    of = {
        "mother": ("qwen3", 30),
        "child": ("qwen3", 9),
        "red": ("gemma3", 12),
        "green": ("cl100k", 4),
        "blue": ("llama3", 7),
    }
    prompts = [Prompt(i, "tokenizer", "s", channels=("tokenizer",)) for i in ids]
    found = [
        Response(m, i, 0, "h", "empty", "", prompt_tokens=known[f][i] + offset)
        for m, (f, offset) in of.items()
        for i in ids
    ]
    responses = Responses.of(MODELS, prompts, found)
    similarity = read("tokenizer", responses)
    fires(similarity)
    assert np.nanmean(similarity.values, axis=0)[0, 1] == 1.0
    assert similarity.coverage.tolist() == [1.0] * 5
    assert {o.model: o.value.split()[0] for o in families(responses)} == {m: f for m, (f, _) in of.items()}
