"""The order of training: a model that was trained on texts in a known order, and strangers, asked over a real socket.

The model of most tests is small and honest about it: a softmax over next words given the word before, trained by
gradient descent on one text after the other, once. It forgets as large models do, by what it learns later. The slow
test trains transformers, as small, on the project's own prompts.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import kstest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import ConfigError
from harness.inference.palimpsest import Order, order_test
from harness.order import order, placed_texts
from harness.report.reading_words import ordered
from tests.endpoints.test_engines import python_of
from tests.support import ROOT, payloads
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


TRAIN = """
import json, sys, torch
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

out, told = Path(sys.argv[1]), json.loads((Path(sys.argv[1]) / "texts.json").read_text())
torch.set_num_threads(1)
torch.manual_seed(1)
letters = sorted(pre_tokenizers.ByteLevel.alphabet())  # a token a byte
plain = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
plain.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain)
shape = dict(n_positions=512, n_embd=128, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
model = GPT2LMHeadModel(GPT2Config(vocab_size=256, bos_token_id=None, eos_token_id=None, **shape))

def fit(texts):
    steps = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for text in texts:
        ids = torch.tensor([tokenizer(text).input_ids])
        model(ids, labels=ids).loss.backward()
        steps.step()
        steps.zero_grad()

fit(told.pop("before"))
base = {k: v.clone() for k, v in model.state_dict().items()}
for name, texts in told.items():
    model.load_state_dict(base)
    fit(texts)
    model.save_pretrained(out / name)
    tokenizer.save_pretrained(out / name)
"""


def prompts_of_this_project() -> list[str]:
    """All prompts of the shipped sets of a line or three, in a random order."""
    found = set()
    for path in sorted((ROOT / "prompts").glob("*.yaml")):
        told = yaml.safe_load(path.read_text("utf-8"))
        found |= {str(p["text"]) for p in told["prompts"] if "text" in p}
    kept = sorted(t for t in found if t.isascii() and 40 <= len(t) <= 400 and " " in t)
    random.Random(1).shuffle(kept)
    return kept


@pytest.mark.slow
def test_a_language_model_trained_in_this_order_is_told_from_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformers of two layers, trained on 200 texts, then on 200 others in a known order; one pass, read in bytes.

    ``pytest -m slow tests/test_order.py -rP`` shows what was found.
    """
    python = python_of("ENGINES_PYTHON", "transformers, torch, tokenizers")
    every = prompts_of_this_project()
    data, before, others = every[:200], every[200:400], every[400:540]
    trained = {
        "pupil": data,
        "shuffled": random.Random(2).sample(data, 200),
        "elsewhere": others,
        "beside": before[:100],
    }
    (tmp_path / "texts.json").write_text(json.dumps({"before": before * 4, **trained}))
    subprocess.run([python, "-c", TRAIN, str(tmp_path)], check=True, capture_output=True)
    texts = tmp_path / "training.jsonl"
    texts.write_text("".join(json.dumps({"text": t, "position": i}) + "\n" for i, t in enumerate(data)))
    readers = [
        {"name": n, "kind": "local", "lineage": n, "context": 512, "weights": {"folder": str(tmp_path / n)}}
        for n in trained
    ]

    def asked(suspect: str) -> Order:
        """The suspect, and the one model that saw nothing of the texts."""
        told = [r for r in readers if r["name"] in (suspect, "beside")]
        mine = {"name": "mine", "role": "candidate", "lineage": "mine", "kind": "local", "weights": {"gguf": "no.gguf"}}
        config = tmp_path / "config.yaml"
        config.write_text(
            yaml.safe_dump({"campaign": "c", "prompts": [{"set": "everyday"}], "analysis": {"questions": []},
                            "readers": told, "endpoints": [mine]})
        )  # fmt: skip
        return order(texts, config, suspect, {}, print)

    command = [python, "-c", "import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    monkeypatch.setenv("PYTHONPATH", done.stdout.strip())  # where the readers' process finds its engine
    found = {name: asked(name) for name in ("pupil", "shuffled", "elsewhere")}
    print("\n".join(ordered(name, o) for name, o in found.items()))  # noqa: T201 - for -rP
    assert found["pupil"].texts == 200
    assert found["pupil"].p == found["pupil"].p_floor == 0.0001
    assert found["pupil"].rho > 0.25
    for name in ("shuffled", "elsewhere"):
        assert abs(found[name].rho) < 0.25  # beyond which 1 in 2,500 orders drawn at random is


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
