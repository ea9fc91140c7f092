"""A quick look at one endpoint: cheap things first, known models asked once, and an answer of "none of these"."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harness.campaign import run_campaign
from harness.errors import ConfigError
from harness.inference.quick_look import Sight, advised
from harness.report.naming import look_text
from harness.which import look, quick_plan
from tests.support import payloads
from tests.support.command_line import harness
from tests.support.fault_server import FaultServer, Reply, Request

KNOWN = [f"m{i}" for i in range(8)]


def hand(taste: int, stated: str = "") -> Any:
    """A server's model that draws words and numbers by its taste; equal tastes answer alike, and not the same."""
    words = np.random.default_rng(1000 + taste).dirichlet(np.full(120, 0.1))
    numbers = np.random.default_rng(2000 + taste).dirichlet(np.full(1000, 0.05))

    def answer(request: Request) -> Reply:
        question = json.loads(request.body)["messages"][-1]["content"]
        rng = np.random.default_rng(zlib.crc32(f"{question}{request.model}".encode()))
        topic = np.random.default_rng(zlib.crc32(question.encode())).dirichlet(np.full(120, 0.1))
        if "300 random integers" in question:
            text = ", ".join(map(str, rng.choice(1000, 300, p=numbers)))
        else:
            text = " ".join(f"w{w}" for w in rng.choice(120, 60, p=0.6 * words + 0.4 * topic))
        return Reply(body=payloads.encode(payloads.chat(text) | {"model": stated or request.model}))

    return answer


def campaign(folder: Path, url: str, known: list[str]) -> Path:
    def endpoint(name: str, **more: str) -> dict[str, str]:
        return {"name": name, "kind": "openai-chat", "base_url": url, "model": name, **more}

    endpoints = [endpoint("mystery", role="suspect"), endpoint("other", role="suspect")]
    endpoints += [endpoint(n, role="control", lineage=n, maker=f"maker {n}") for n in known]
    endpoints[2]["role"] = "candidate"
    config = {"campaign": "cheap", "prompts": [{"set": "everyday"}], "endpoints": endpoints}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


def script() -> dict[str, Any]:
    steps = {name: [hand(i)] for i, name in enumerate(KNOWN)}
    return steps | {"mystery": [hand(3, "someone-else-7b")], "other": [hand(77)]}


def test_a_known_model_is_seen_at_once_and_known_models_are_asked_once(tmp_path: Path) -> None:
    with FaultServer(script()) as server:
        path = campaign(tmp_path, server.url, KNOWN)
        done = harness("which", "mystery", str(path), "--json", "--quiet", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        seen = {s["what"]: s for s in found["sights"]}
        assert seen["short prompts"]["closest"][0] == "m3"
        assert seen["short prompts"]["tier"] in ("model", "maker")
        assert seen["integers"]["closest"] == ["m3"]
        assert seen["integers"]["p"] >= seen["integers"]["floor"] > 0.05
        assert [o["what"] for o in found["observed"]] == ["model"]
        assert "someone-else-7b" in found["observed"][0]["value"]
        asked = server.asked["m3"]
        assert asked > 0
        again = harness("which", "other", str(path), "--quiet", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert "is none of the known models" in again.stdout
        assert server.asked["m3"] == asked


def test_few_known_models_name_nobody(tmp_path: Path) -> None:
    with FaultServer(script()) as server:
        plan = quick_plan(campaign(tmp_path, server.url, KNOWN[:3]), "mystery", os.environ)
        run_campaign(plan.campaign, base=plan.base, environ={})
        found = look(plan)
    assert found.next == ("ask for more known models",)
    assert "short prompts" not in {s.what for s in found.sights}
    assert "add known models" in look_text(found)


def test_a_name_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    path = campaign(tmp_path, "http://127.0.0.1:1", KNOWN)
    with pytest.raises(ConfigError, match="no endpoint 'nobody'"):
        quick_plan(path, "nobody", os.environ)


def test_what_is_worth_its_money_depends_on_what_was_seen() -> None:
    def short(tier: Any) -> Sight:
        return Sight("short prompts", 25, ("m3",), 4.0, tier, 0.03)

    assert advised([short("model")], 8) == ("kinship and identity",)
    assert advised([short("maker")], 8) == ("kinship of the maker", "full attribution")
    assert advised([short("none")], 8) == ("full attribution", "stop")
    assert advised([short("none"), Sight("integers", 1, ("m3",), 0.9, "model", 0.05)], 30) == ("full attribution",)
    assert advised([], 8) == ("ask for more known models",)
