"""Each answer is read once: one split of its text, one decoding of its logprobs, few statements to the store."""

from __future__ import annotations

import pickle
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from harness import token_logprobs
from harness.campaign import score, write
from harness.channels import base, parallel, reading
from harness.channels.draws import with_twin
from harness.channels.parallel import load_channels
from harness.channels.reading import edit_of, own_words
from harness.endpoints.apis import planned_keys
from harness.judging import read_responses
from harness.plan import STORE, Plan, prepare
from harness.records import Response, Responses
from harness.store import database as stores
from harness.store.store import Store

SETS = ("everyday", "contested", "stubs", "choices", "reasoning", "ratings", "identity", "knowledge", "refusals")
QUESTIONS = ["kinship", "identity", "teaching", "attribution"]
SAID = (
    "I am sorry, but I cannot help with that, said the amber bridge of the delta to the harbour.",
    "<think>wait, let me check: 42</think>The answer is 42, by the candle in the forest.",
    "## Overview\n- angry: 3\n- proud: 7\nI am Qwen, made by Alibaba, and so it goes on in the garden.",
    "Thinking...\nhm\n...done thinking.\n\nBlue, like an island that nobody has seen before today.",
)
OFTEN = 12  # statements for a hundred answers, all channels, kernels and the report together; it was 970


def blob(rng: np.random.Generator) -> bytes:
    tops = [{"token": t, "logprob": float(p)} for t, p in zip("abcde", np.sort(-rng.random(5) * 4)[::-1], strict=True)]
    return zlib.compress(msgspec.json.encode({"content": [{**tops[0], "top_logprobs": tops}] * 3}))


def campaign(folder: Path, limit: int = 6) -> Plan:
    """A campaign in which most channels and all questions have something to look at; every text and blob is unlike."""
    roles = ["suspect", "suspect", "candidate", *["control"] * 4]
    endpoints = [
        {"name": f"m{i}", "role": r, "lineage": f"l{i}", "kind": "openai-chat", "model": f"m{i}",
         "surfaces": ["chat", "completion"]}
        for i, r in enumerate(roles)
    ]  # fmt: skip
    config = {
        "campaign": "small",
        "prompts": [{"set": s, "limit": limit, "samples": 2, "top_logprobs": 5} for s in SETS],
        "endpoints": endpoints,
        "analysis": {"questions": QUESTIONS, "permutations": 99, "bootstrap": 100},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    plan, rng = prepare(path, {}), np.random.default_rng(3)
    keys = list(planned_keys(plan.campaign, plan.prompts))
    with Store(plan.folder / STORE) as store:
        store.set_plan(plan.prompts, keys, plan.prompt_hashes)
        store.add_many(
            Response(*key, "ok" if i % 11 else "refused", f"{SAID[int(rng.integers(4))]} {key[0]} {i}",
                     reasoning=f"okay, so first {i}" if i % 5 == 0 else "", logprobs=blob(rng), prompt_tokens=7)
            for i, key in enumerate(keys)
        )  # fmt: skip
    return plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return campaign(tmp_path)


def counting(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Counter[Any]:
    """How often a function is called with each argument."""
    count: Counter[Any] = Counter()
    real: Callable[..., Any] = getattr(module, name)

    def counted(*arguments: Any) -> Any:
        count[arguments] += 1
        return real(*arguments)

    monkeypatch.setattr(module, name, counted)
    return count


def test_one_score_splits_decodes_and_selects_once(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = counting(monkeypatch, reading, "find_reasoning")
    decoded = counting(monkeypatch, token_logprobs, "unpack")
    statements: list[str] = []
    real = stores._connected

    def traced(path: Path, how: str, shared: bool) -> sqlite3.Connection:
        db = real(path, how, shared)
        db.set_trace_callback(statements.append)
        return db

    monkeypatch.setattr(stores, "_connected", traced)
    scores = score(plan)
    write(plan, scores)
    answers = len(scores.responses.text)
    assert answers > 500
    assert {s.channel for s in scores.similarities} >= {"wording", "style", "traces", "choices", "logprobs", "mistakes"}
    assert len(splits) > answers / 2
    assert max(splits.values()) == 1
    assert len(decoded) > answers / 10
    assert max(decoded.values()) == 1
    columns = [s for s in statements if "WHERE position IN" in s]
    assert 0 < len(columns) <= OFTEN * answers / 100
    assert len(statements) - len(columns) < 160  # and these do not grow with the answers


def own(part: Responses, row: int) -> str:
    """The answer of one row, taken out anew."""
    asked = part.cell(row)[0].text
    return own_words(part.text[row], asked, edit_of(part.text[row], asked))


def test_parts_share_what_was_read_and_a_changed_table_does_not(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    table = read_responses(plan)
    whole = [base.answer(table, r) for r in range(len(table.text))]
    splits = counting(monkeypatch, reading, "find_reasoning")
    assert whole == [base.answer(table, r) for r in range(len(table.text))]
    assert not splits
    parts = (table.only([3, 1]), table.among([2, 0]), with_twin(table, "m2", "twin"), table.loaded())
    for part in (*parts, pickle.loads(pickle.dumps(table.only([3, 1])))):  # noqa: S301
        before = sum(splits.values())
        found = [base.answer(part, r) for r in range(len(part.text))]
        assert sum(splits.values()) == before
        assert found == [own(part, r) for r in range(len(part.text))]
    other = replace(table, text=["<think>new</think>said"] * len(table.text))
    assert base.answer(other, 0) == "said"
    assert base.thoughts(replace(other, reasoning=[""] * len(table.text)), 0) == "<think>new</think>"


def test_what_workers_read_comes_back(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = load_channels(("wording", "verbatim", "style", "logprobs", "choices", "refusals"))
    here = parallel.compare(channels, read_responses(plan))
    monkeypatch.setattr(parallel, "SMALL", 0)
    monkeypatch.setattr(parallel, "CHUNK", 5)
    table = read_responses(plan)
    there = parallel.compare(channels, table)
    assert [s.channel for s in there] == [s.channel for s in here]
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.coverage, b.coverage)
    splits = counting(monkeypatch, reading, "find_reasoning")
    decoded = counting(monkeypatch, token_logprobs, "unpack")
    parallel.compare(channels, table.only(table.where("wording")))
    assert not splits
    assert not decoded


def test_columns_read_ahead_and_forget(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.store import table as columns

    whole: Responses = read_responses(plan).loaded()
    monkeypatch.setattr(columns, "KEPT", 2_000)  # a few texts
    table = read_responses(plan)
    order = np.random.default_rng(0).permutation(len(table.text)).tolist()
    for rows in (range(len(order)), order, order[::-1], range(5, len(order), 40)):
        assert [table.text[r] for r in rows] == [whole.text[r] for r in rows]
        assert table.text._column._bytes <= 2_000 + 400 * columns.BLOCK  # type: ignore[attr-defined]
