"""The channel stage gives the same numbers in one piece, on local workers, and on a cluster of two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.channels import parallel as stage
from harness.channels.parallel import load_channels
from harness.errors import ConfigError
from harness.records import Prompt, Response, Responses, Similarity

CHANNELS = ("wording", "ratings", "verbatim")


def table(prompts: int = 250, models: int = 5) -> Responses:
    rng = np.random.default_rng(0)
    known = [Prompt(f"p{i}", "f", "", channels=("wording", "verbatim")) for i in range(prompts)]
    said = [Response(f"m{j}", p.id, 0, "", "ok" if rng.random() < 0.9 else "empty", " ".join(rng.choice(WORDS, 12)))
            for p in known for j in range(models) if rng.random() < 0.95]  # fmt: skip
    return Responses.of([f"m{j}" for j in range(models)], known, said)


WORDS = np.array([f"word{i}" for i in range(50)])


@pytest.fixture
def whole() -> dict[str, object]:
    return {s.channel: s for s in stage.compare(load_channels(CHANNELS), table())}


def same(found: tuple, whole: dict) -> None:
    assert [s.channel for s in found] == list(whole)
    for s in found:
        np.testing.assert_array_equal(s.values, whole[s.channel].values)
        np.testing.assert_allclose(s.coverage, whole[s.channel].coverage)
        assert s.prompts == whole[s.channel].prompts


def test_two_dask_workers(whole: dict) -> None:
    distributed = pytest.importorskip("distributed", reason="extra `cluster` is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        same(stage.compare(load_channels(CHANNELS), table(), address), whole)


def test_local_workers(whole: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SMALL", 0)
    same(stage.compare(load_channels(CHANNELS), table()), whole)


PER_PROMPT = True  # of the channel below


def renamed(responses: Responses) -> Similarity | None:
    """A channel that reads the prompts of another one, as one from outside may."""
    found = load_channels(("wording",))["wording"](responses)
    return replace(found, channel="renamed") if found else None


def test_coverage_is_of_the_prompts_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    (here,) = stage.compare({"renamed": renamed}, table())
    monkeypatch.setattr(stage, "SMALL", 0)
    (there,) = stage.compare({"renamed": renamed}, table())
    np.testing.assert_array_equal(there.coverage, here.coverage)
    assert (here.coverage < 1).all()


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="extra `cluster` is not installed")
    monkeypatch.setattr(stage, "PATIENCE", 1)
    with pytest.raises(ConfigError, match="no dask scheduler answers"):
        stage.compare(load_channels(CHANNELS), table(2), "dask://127.0.0.1:9")
