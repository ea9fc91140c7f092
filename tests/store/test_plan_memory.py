"""A plan is written call by call: what it holds does not grow with the number of calls."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

from harness.collect.preflight import Calls
from harness.config.endpoint import OpenAIChat
from harness.config.schema import Campaign
from harness.endpoints.apis import planned_keys
from harness.records import Prompt
from harness.store.store import Store

PROMPTS = [Prompt(f"p{i}", "tiny", f"Question number {i}? " * 40, samples=100) for i in range(50)]


def endpoint(name: str, role: str) -> OpenAIChat:
    """Each call has a seed, and so a body, of its own."""
    address = "http://127.0.0.1:9/v1"
    return OpenAIChat(
        kind="openai-chat", name=name, role=role, lineage=name, base_url=address, model=name, params={"seed": 1}
    )


def peak(work: Callable[[], int]) -> int:
    """Most bytes that Python held while ``work`` went through 5,000 or 10,000 calls."""
    tracemalloc.start()
    try:
        assert work() >= 5_000
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_calls_to_come_and_calls_made_are_not_held(tmp_path: Path) -> None:
    ends = (endpoint("a", "suspect"), endpoint("b", "candidate"))
    campaign = Campaign(campaign="test", prompts=[{"set": "x"}], endpoints=ends, analysis={"questions": ["identity"]})
    body = 600  # bytes of one, at least
    with Store(tmp_path / "s.sqlite") as store:
        store.set_plan(PROMPTS, [])

        def write() -> int:
            store.set_plan(PROMPTS, planned_keys(campaign, PROMPTS))
            return sum(1 for _ in store.plan_keys())

        assert peak(write) < 10_000 * body / 10
        calls = Calls(ends[0], PROMPTS, store.answered)
        assert peak(lambda: sum(len(j.body) > body for j in calls.todo())) < 5_000 * body / 10
        assert len(calls.probes()) == 1
