"""Real relatives of a real model: what each channel sees of them, through the real pipeline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.channels import STRANGERS, stored, zoo
from harness.channels.parallel import load_channels
from harness.channels.tokenizer import families

pytest.importorskip("gguf", reason="relatives are made with gguf: pip install '.[test]'")
pytest.importorskip("xllamacpp", reason="needs the extra `local`")

from tests.zoo.build import RELATIVES, build


def run(config: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", config.name, "--quiet"],
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
