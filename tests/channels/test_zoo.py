"""Real relatives of a real model: what each channel sees of them, through the real pipeline."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from benchmarks.channels import STRANGERS, stored, zoo
from benchmarks.zoo_tricks import RECORDED, RecordedTrick, Seen, Zoo, report, routed, scored, seen, told
from harness.channels.kernels import next_token_distances
from harness.channels.parallel import load_channels
from harness.channels.tokenizer import families
from harness.inference.mixture import nearer

pytest.importorskip("gguf", reason="relatives are made with gguf: pip install '.[test]'")
pytest.importorskip("xllamacpp", reason="needs the extra `local`")

from tests.zoo.build import RELATIVES, adversary, build


def run(config: Path, *options: str) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", config.name, "--quiet", *options],
        cwd=config.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return config.parent / "results" / config.stem


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(build(tmp_path_factory.mktemp("zoo"), ("noise", "duplicated"), "small.yaml"))


@pytest.mark.parametrize("relative", ["noise", "duplicated"])
def test_weights_show_in_raw_next_tokens(small: Path, relative: str) -> None:
    found = load_channels(("logprobs",))["logprobs"](stored(small))
    assert found is not None
    raw = [p.startswith("stubs") for p in found.prompts]
    mean = np.nanmean(found.values[raw], axis=0)
    at = found.models.index
    assert mean[at("smol"), at(relative)] > max(mean[at("smol"), at(m)] for m in ("gemma", "qwen05")) + 0.02


def test_changed_weights_are_not_the_same_ones_and_the_same_are(small: Path) -> None:
    """On raw next tokens of real servers, with no more than twelve prompts and two controls."""
    table = stored(small)
    raw = table.only([i for i, p in enumerate(table.prompts) if p.surface == "completion" and p.family == "stubs"])
    at = raw.models.index
    others = [at("gemma"), at("qwen05")]
    p = {n: nearer(next_token_distances(raw, [at("smol"), at(n), *others])) for n in ("smol", "noise", "duplicated")}
    # No prompt speaks against it. A control may miss some: a piece of a character is no answer.
    assert min(abs(p["smol"] - 0.7**n) for n in range(9, 13)) < 1e-9
    assert min(p["noise"], p["duplicated"]) > 0.5


def test_tokenizer_family_of_real_servers(small: Path) -> None:
    lines = {o.model: o.value.split()[0] for o in families(stored(small))}
    assert {m: lines[m] for m in ("smol", "noise", "duplicated")} == dict.fromkeys(
        ("smol", "noise", "duplicated"), "smollm2"
    )
    assert lines["qwen05"] == "qwen3"  # one vocabulary since Qwen 2.5


@pytest.mark.slow
def test_whole_zoo(tmp_path: Path) -> None:
    table = zoo(run(build(tmp_path, tuple(RELATIVES))))
    assert len(table) > 10
    cells = [line.strip("| ").split(" | ") for line in table]
    ranks = {row[0]: row[1:] for row in cells if len(row) == 7}
    assert set(ranks["logprobs"]) == {"1"}
    assert {int(r) for r in ranks["continuations"]} <= {1, 2}
    assert set(STRANGERS) <= set(stored(tmp_path / "results" / "zoo").models)


@pytest.fixture(scope="module")
def played(small: Path) -> Zoo:
    return Zoo.read(small.parent.parent / "small.yaml")


def tricked(played: Zoo, name: str) -> tuple[dict[str, Seen], frozenset[str]]:
    """What the channels see of a trick on `noise`, and what is told of it and not of `noise` as it is."""
    trick = replace(RECORDED[name], base="noise")
    bare = scored(played, played.answers["noise"], "noise", ("kinship",))
    done = scored(played, played.changed(trick), "noise", ("kinship",))
    return seen(done, played.lineages()), told(done) - told(bare)


@pytest.mark.parametrize("name", ["logprobs stripped", "logprobs of qwen05"])
def test_a_trick_that_takes_logprobs_away_is_told_and_leaves_the_other_channels(played: Zoo, name: str) -> None:
    at, noticed = tricked(played, name)
    assert at["stubs"].rank == at["chat logprobs"].rank == 0
    assert noticed
    assert at["tokenizer"].rank == 1


def test_the_tokens_of_another_model_are_of_another_text(played: Zoo) -> None:
    assert "taken out (logprobs of other text)" in tricked(played, "logprobs of qwen05")[1]


@pytest.mark.parametrize("name", ["rounded to integers", "top 20 cut to top 5", "candidate named"])
def test_a_trick_that_leaves_logprobs_readable_hides_nothing(played: Zoo, name: str) -> None:
    assert tricked(played, name)[0]["stubs"].rank == 1


def test_usage_that_is_padded_by_a_constant_hides_no_tokenizer_and_made_up_usage_is_told(played: Zoo) -> None:
    assert tricked(played, "usage + 11")[0]["tokenizer"].rank == 1
    assert "tokenizer: family" in tricked(played, "usage: characters / 4")[1]


@pytest.mark.parametrize("by", ["prompt", "call"])
def test_routing_passes_another_models_whole_answers_through(played: Zoo, by: Literal["prompt", "call"]) -> None:
    mine, theirs = ({(r.prompt, r.sample): r for r in played.answers[m]} for m in ("noise", "qwen05"))
    out = played.changed(RecordedTrick("routed", "routing", routed(0.5, by, "qwen05"), "noise"))
    away = {(r.prompt, r.sample) for r in out if r.logprobs != mine[r.prompt, r.sample].logprobs}
    assert {r.endpoint for r in out} == {"noise"}
    assert 0.25 * len(out) < len(away) < 0.75 * len(out)
    assert all(r.text == theirs[r.prompt, r.sample].text for r in out if (r.prompt, r.sample) in away)
    prompts = {p for p, _ in away}
    whole = [p for p in prompts if all((p, s) in away for q, s in mine if q == p and mine[q, s].logprobs)]
    assert (len(whole) == len(prompts)) == (by == "prompt")


@pytest.mark.slow
def test_the_adversarys_table_of_real_models(tmp_path: Path) -> None:
    build(tmp_path)
    for config in adversary(tmp_path):
        run(config, *(("--limit", "6") if config.stem == "adversary" else ()))
    lines = list(report(tmp_path))
    rows = {cells[0]: cells for line in lines if len(cells := line.strip("| ").split(" | ")) > 8}
    assert {t.name for t in RECORDED.values()} | {"honest", "stranger", "raw completions templated"} <= set(rows)
    assert rows["requantised"][4][-3:] == rows["brief"][4][-3:] == "(1)", (
        "raw stubs see past quantisation and system prompts"
    )
    assert rows["logprobs stripped"][4] == "-"
