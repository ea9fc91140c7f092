"""The order of training: a model that was trained on texts in a known order, and strangers, asked over a real socket.

The model is small and honest about it: a softmax over next words given the word before, trained by gradient descent on
one text after the other, once. It forgets as large models do, by what it learns later; it is no language model of use.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import kstest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import ConfigError
from harness.inference.palimpsest import order_test
from harness.order import order, placed_texts
from tests.support import payloads
from tests.support.fault_server import FaultServer, Reply, Request

WORDS, TEXTS, LENGTH = 60, 120, 25
RATE = 0.5  # of the gradient


def texts(seed: int) -> np.ndarray:
    """Texts by word number, each with turns of phrase of its own."""
    rng = np.random.default_rng(seed)
    out = np.empty((TEXTS, LENGTH), dtype=int)
    for i in range(TEXTS):
        follows = rng.integers(0, WORDS, (WORDS, 2))
        word = int(rng.integers(WORDS))
        for j in range(LENGTH):
            out[i, j] = word
            word = int(follows[word, rng.integers(2)])
    return out


def trained(data: np.ndarray) -> np.ndarray:
    """Logprobs of next words, (words, words), after one pass over texts in this order."""
    weights = np.zeros((WORDS, WORDS))
    for text in data:
        for before, word in itertools.pairwise(text):
            p = np.exp(weights[before] - weights[before].max())
            weights[before] -= RATE * p / p.sum()
            weights[before, word] += RATE
    out: np.ndarray = weights - np.log(np.exp(weights).sum(1, keepdims=True))
    return out


def serves(logprobs: np.ndarray) -> Callable[[Request], Reply]:
    def step(request: Request) -> Reply:
        prompt = json.loads(request.body)["prompt"]
        tokens = re.findall(r"\s*\S+", prompt)
        ids = [int(t.strip()[1:]) for t in tokens]
        values = [None, *(float(logprobs[a, b]) for a, b in itertools.pairwise(ids))]
        shape = {"tokens": tokens, "token_logprobs": values, "top_logprobs": None}
        return Reply(body=payloads.encode(payloads.with_logprobs(payloads.completion(prompt), shape)))

    return step


@pytest.fixture
def setting(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """A file of texts in the order of training, and a config of whoever reads them."""

    def write(url: str) -> tuple[Path, Path]:
        path = tmp_path / "training.csv"
        with path.open("w", newline="") as f:
            rows = csv.writer(f)
            rows.writerow(["text", "position"])
            for i, text in enumerate(texts(1)):
                rows.writerow([" ".join(f"w{w}" for w in text), i])
        readers = [
            {"name": n, "kind": "openai-completions", "base_url": url, "model": n, "lineage": n}
            for n in ("pupil", "stranger", "beside")
        ]
        config = tmp_path / "config.yaml"
        mine = {"name": "mine", "role": "candidate", "lineage": "mine", "kind": "openai-completions", "model": "mine"}
        config.write_text(
            yaml.safe_dump(
                {"campaign": "c", "prompts": [{"set": "everyday"}], "analysis": {"questions": []}, "readers": readers,
                 "endpoints": [mine | {"base_url": url}]}
            )
        )  # fmt: skip
        return path, config

    return write


def test_a_model_trained_in_this_order_is_told_from_strangers(setting: Callable[[str], tuple[Path, Path]]) -> None:
    data = texts(1)
    shuffled = np.random.default_rng(9).permutation(data)
    models = {"pupil": trained(data), "stranger": trained(shuffled), "beside": trained(texts(2))}
    with FaultServer({name: [serves(m)] for name, m in models.items()}) as server:
        path, config = setting(server.url)
        found = {name: order(path, config, name, {}, print, rounds=999) for name in ("pupil", "stranger")}
        assert found["pupil"].p == found["pupil"].p_floor == 0.001
        assert found["pupil"].rho > 0.3
        assert found["stranger"].p > 0.05  # it saw the same texts, in another order
        asked = dict(server.asked)
        assert asked == {"pupil": TEXTS, "stranger": TEXTS, "beside": TEXTS}
        assert order(path, config, "pupil", {}, print, rounds=999) == found["pupil"]
        assert server.asked == asked  # nothing is read twice
        done = CliRunner().invoke(app, ["order", str(path), str(config), "--suspect", "pupil"])
        assert done.exit_code == 0, done.output
        assert "finds later texts likelier" in done.output
        with pytest.raises(ConfigError, match="no reader 'mine'"):
            order(path, config, "mine", {}, print)


def test_strangers_have_uniform_p_values() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(300):
        plain = rng.normal(-1, 0.3, 40)
        found.append(order_test(plain + rng.normal(0, 0.1, 40), plain, rng.permutation(40).astype(float), 199, rng).p)
    assert kstest(found, "uniform").pvalue > 0.01
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.09


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,place\na b,1\n", "a.csv:2: a row needs `text` and `position`"),
        ("text,position\na b,1\nc d,soon\n", "a.csv:3: position 'soon' is no number"),
        ("text,position\na b,nan\n", "is no number"),
        ("text,position\n" + "".join(f"word{i},{i}\n" for i in range(20)), "0 texts of two words"),
        ("text,position\n" + "".join(f"the same,{i}\n" for i in range(20)), "1 texts of two words"),
    ],
)
def test_a_file_that_does_not_do_is_refused(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(ConfigError, match=re.escape(said)):
        placed_texts(path)


def test_texts_may_come_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"text number {i}", "position": i}) + "\n" for i in range(12)))
    assert [p.position for p in placed_texts(path)] == list(range(12))
    path.write_text(path.read_text() + "[1]\n")
    with pytest.raises(ConfigError, match=r"a\.jsonl:13"):
        placed_texts(path)
