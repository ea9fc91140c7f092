"""Shared by all tests: small campaigns on disk, a world whose clock is ours, and where recorded data is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from tests.support import CARD, ROOT, Write
from tests.support.browser import browser, chromium
from tests.support.fault_server import FaultServer
from tests.support.running import Run

# The same examples every time: a test fails because of a change. `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """Folder of recorded answers of many models: $HARNESS_RECORDED_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("HARNESS_RECORDED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recorded data in {folder}; HARNESS_RECORDED_DATA names the folder")
    return folder


@pytest.fixture
def write_prompts(tmp_path: Path) -> Write:
    """Write ``prompts/tiny.yaml``: ``n`` prompts with ``samples`` each; ``card`` overrides the card."""

    def write(n: int = 3, **card: Any) -> Path:
        prompts = [{"id": f"tiny-{i:03}", "text": f"Question number {i}?"} for i in range(n)]
        path = tmp_path / "prompts" / "tiny.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({"card": {**CARD, "queries": n, **card}, "prompts": prompts}))
        return path

    return write


@pytest.fixture
def write_campaign(tmp_path: Path, write_prompts: Write) -> Write:
    """Write ``config.yaml`` with a suspect and candidates, or ``roles``, on ``url``; returns its path."""

    def write(url: str, models: Sequence[str] = ("good", "fine"), n: int = 3, **settings: Any) -> Path:
        samples = settings.pop("samples", 2)
        endpoint = settings.pop("endpoint", {})
        write_prompts(n, samples=samples)
        roles = settings.pop("roles", ["suspect", *["candidate"] * (len(models) - 1)])
        endpoints = [
            {"name": m, "role": r, "lineage": m, "kind": "openai-chat", "base_url": url, "model": m, **endpoint}
            for m, r in zip(models, roles, strict=True)
        ]
        config = {
            "campaign": "test",
            "prompts": [{"set": "tiny"}],
            "endpoints": endpoints,
            "analysis": {"questions": ["identity"], "permutations": 99},
            **settings,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    return write


@pytest.fixture
def run_on(write_campaign: Write) -> Any:
    def make(server: FaultServer, models: Sequence[str] = ("good", "shaky"), **settings: Any) -> Run:
        settings.setdefault("endpoint", {})["api_key_env"] = "TEST_KEY"
        settings["collect"] = {"call_timeout": 5, **settings.get("collect", {})}
        return Run(write_campaign(server.url, models, **settings), {}, [])

    return make


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if chromium() is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver, or set CHROMIUM")
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver
