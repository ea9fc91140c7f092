"""What a campaign cost: in the manifest and in the report, with the endpoints that have no price named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.campaign import score, write
from harness.plan import STORE, Plan, stored_plan
from harness.report.manifest import costs
from tests.support import Write
from tests.support.stored_plans import answered

PRICE = {"input": 2.0, "output": 4.0}
PROMPTS, PROMPT_TOKENS, ANSWER_TOKENS = 8, 7, 11


def campaign(folder: Path, write_prompts: Write, prices: dict[str, Any]) -> Plan:
    write_prompts(PROMPTS, samples=1)
    roles = {"nova": "suspect", "mother": "candidate", "red": "control", "green": "control"}
    endpoints = [
        {"name": n, "role": r, "lineage": n, "kind": "openai-chat", "base_url": "http://127.0.0.1:9/v1", "model": n}
        | ({"price": prices[n]} if n in prices else {})
        for n, r in roles.items()
    ]
    config = {"campaign": "priced", "prompts": [{"set": "tiny"}], "endpoints": endpoints}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | {"analysis": {"questions": ["kinship"], "bootstrap": 100}}))
    answered(path, [f"word{i} and word{i % 7}" for i in range(40)], completion_tokens=ANSWER_TOKENS)
    return stored_plan(path)


def page_of(plan: Plan) -> str:
    paths = write(plan, score(plan))
    return next(p for p in paths if p.name == "report.html").read_text()


def test_money_by_endpoint_and_in_all(tmp_path: Path, write_prompts: Write) -> None:
    plan = campaign(tmp_path, write_prompts, {"nova": PRICE, "mother": {"input": 0.0, "output": 0.0}})
    each = PROMPTS * (PROMPT_TOKENS * PRICE["input"] + ANSWER_TOKENS * PRICE["output"]) / 1e6
    found = costs(plan.campaign, plan.folder / STORE)
    assert found["endpoints"] == {"nova": pytest.approx(each), "mother": 0.0}
    assert found["total"] == pytest.approx(each)
    assert found["no_price"] == ["red", "green"]
    page = page_of(plan)
    assert f"Money: {each:.4f} in all" in page
    assert "no price for them: red, green." in page


def test_without_prices_the_report_says_so(tmp_path: Path, write_prompts: Write) -> None:
    page = page_of(campaign(tmp_path, write_prompts, {}))
    assert "the configuration has no price for nova, mother, red, green." in page
    assert "Money: " not in page
