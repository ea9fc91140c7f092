"""`--dry-run`: what it calls the most is never passed by what a server charges, or it says that there is none."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from harness.campaign import collect_async
from harness.check import dry_run_rows, dry_run_text
from harness.collect.preflight import remember
from harness.endpoints import Quirks, longest_answer
from harness.plan import prepare
from harness.store import Store
from tests.support import Write
from tests.support.fault_server import FaultServer, Reply, Request, ok
from tests.support.payloads import chat, encode

PRICE = {"price": {"input": 2.0, "output": 10.0}}


def charging(request: Request) -> Reply:
    """As many tokens as a server can charge: one for each byte of the messages, and all that the answer may have."""
    body = json.loads(request.body)
    value = chat("x " * 8)
    said = sum(len(m["content"].encode()) + 4 for m in body["messages"])
    value["usage"] = {"prompt_tokens": said, "completion_tokens": longest_answer(body) or 5_000}
    return Reply(body=encode(value))


@pytest.mark.parametrize("params", [{}, {"max_tokens": 900}, {"max_completion_tokens": 700}], ids=str)
@pytest.mark.parametrize("system", ["", "回答は短く、そして日本語で。" * 20], ids=["plain", "long system prompt"])
def test_no_server_can_charge_more_than_the_most(write_campaign: Write, params: dict[str, int], system: str) -> None:
    with FaultServer({"good": [charging], "fine": [charging]}) as server:
        endpoint = PRICE | {"params": params} | ({"system_prompt": system} if system else {})
        plan = prepare(write_campaign(server.url, n=3, samples=3, endpoint=endpoint), {})
        rows = dry_run_rows(plan)
        tallies: dict[str, Any] = {}
        asyncio.run(collect_async(plan, {}, tallies, asyncio.Event()))
    for row in rows:
        cost = tallies[row["endpoint"]].cost
        assert row["to_ask"] == 9
        assert 0 < cost <= row["max_cost"] < 20 * cost


def test_a_call_without_a_limit_has_no_most(write_campaign: Write) -> None:
    endpoint = PRICE | {"params": {"max_tokens": None}}
    plan = prepare(write_campaign("http://localhost:1/v1", n=4, samples=2, endpoint=endpoint), {})
    row = dry_run_rows(plan)[0]
    assert (row["max_cost"], row["max_tokens"], row["uncapped"]) == (None, None, 8)
    text = dry_run_text(dry_run_rows(plan))
    assert [line.split()[-2:] for line in text.splitlines()[1:4]] == [["no bound"[:2], "bound"]] * 3
    assert "good (8 calls)" in text
    assert "max_cost" in text


def test_an_endpoint_that_refuses_every_limit_has_no_most(write_campaign: Write) -> None:
    plan = prepare(write_campaign("http://localhost:1/v1", endpoint=PRICE), {})
    with Store(plan.store) as store:
        refuses = frozenset({"max_tokens", "max_completion_tokens"})
        remember(store, plan.called[0], Quirks(refuses=refuses))
    none, most = dry_run_rows(plan)
    assert (none["max_cost"], none["uncapped"]) == (None, none["to_ask"])
    assert most["max_cost"] > 0


def test_the_total_is_the_sum_and_has_no_bound_if_one_has_none(write_campaign: Write) -> None:
    plan = prepare(write_campaign("http://localhost:1/v1", n=4, samples=2, endpoint=PRICE), {})
    rows = dry_run_rows(plan)
    total = dry_run_text(rows).splitlines()[3].split()
    assert total[0] == "total"
    assert int(total[1]) == sum(r["calls"] for r in rows)
    assert float(total[-1]) == pytest.approx(sum(r["max_cost"] for r in rows), abs=1e-4)
    mixed = dry_run_text([rows[0], rows[1] | {"max_cost": None, "max_tokens": None, "uncapped": 2}])
    assert mixed.splitlines()[3].endswith("no bound")
    unpriced = dry_run_text([rows[0], rows[1] | {"max_cost": None, "priced": False}])
    assert unpriced.splitlines()[3].endswith("no price")


def test_what_is_not_in_the_bound_is_named(write_campaign: Write) -> None:
    path = write_campaign("http://localhost:1/v1", endpoint=PRICE | {"reasoning": True}, collect={"attempts": 7})
    plan = prepare(path, {})
    text = dry_run_text(dry_run_rows(plan), plan.campaign.collect.attempts)
    assert "6 at most" in text  # answers that are paid and lost
    assert "may think first" in text
    plain = prepare(write_campaign("http://localhost:1/v1", endpoint=PRICE), {})
    assert "may think first" not in dry_run_text(dry_run_rows(plain))


def test_stored_answers_cost_nothing_more(write_campaign: Write) -> None:
    with FaultServer({"good": [ok], "fine": [ok]}) as server:
        plan = prepare(write_campaign(server.url, n=2, endpoint=PRICE), {})
        asyncio.run(collect_async(plan, {}, {}, asyncio.Event()))
        rows = dry_run_rows(plan)
    with Store(plan.store, readonly=True) as store:
        assert len(store.keys()) == 8
    assert [(r["to_ask"], r["max_cost"]) for r in rows] == [(0, 0.0)] * 2


@pytest.mark.parametrize("kind", ["openai-chat", "openai-responses", "anthropic-messages", "gemini"])
def test_every_api_says_how_long_its_answer_may_be(write_campaign: Write, kind: str) -> None:
    plan = prepare(write_campaign("http://localhost:1/v1", n=1, samples=1, endpoint=PRICE | {"kind": kind}), {})
    row = dry_run_rows(plan)[0]
    assert row["max_tokens"] == 8
    assert row["max_cost"] is not None
