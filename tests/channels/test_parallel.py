"""The channel stage gives the same numbers in one piece, on local workers, and on a cluster of two."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from harness.channels import parallel as stage
from harness.channels.parallel import load_channels
from harness.errors import ConfigError
from harness.records import Prompt, Response, Responses, RowCache, Similarity

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


def sent_and_back(channels: dict, table: Responses) -> tuple[int, int, RowCache]:
    """Bytes that go to a worker and that it sends back of what it read, and the latter."""
    sent = pickle.dumps(table.loaded(stage._columns(channels)))
    _, known = stage._work(channels, pickle.loads(sent))  # noqa: S301
    return len(sent), len(back := pickle.dumps(known)), pickle.loads(back)  # noqa: S301


def test_a_worker_gets_what_its_channels_read_and_sends_back_what_is_new() -> None:
    whole = table()
    wide = replace(whole, logprobs=[b"x" * 10_000] * len(whole.text), reasoning=["hm " * 1000] * len(whole.text))
    texts = sum(len(t) for t in whole.text)
    wording = load_channels(("wording",))
    sent, back, known = sent_and_back(wording, stage._served(wide, wording))
    assert sent < 3 * texts  # logprobs and thoughts would be more than a hundred times the texts
    wide.learn(known)
    assert sent_and_back(wording, wide)[1] < back / 20  # nothing is new any more
    assert not stage._served(wide, load_channels(("style",))).prompts  # no prompt is for it
    assert stage._served(wide, {"renamed": renamed}) is wide  # what it reads is not known
