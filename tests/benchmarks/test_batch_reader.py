"""Answers read in batches get the logprobs that each has alone behind its question, whatever the model is made of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.batch_reader import BATCH, BatchReader, _batches

SIZES: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {"Llama": {}, "Qwen2": {}, "Gemma3": {"head_dim": 8, "sliding_window": 16}}


class Letters:
    """A tokenizer with a token for each character, and no mark at the beginning."""

    bos_token_id, eos_token_id = None, 1

    def __call__(self, text: str, **_: Any) -> Any:
        ends = [(i, i + 1) for i in range(len(text))]
        return SimpleNamespace(input_ids=[min(ord(c), 299) for c in text], offset_mapping=ends)


def reader(kind: str) -> BatchReader:
    """A model of this architecture that knows nothing, in single precision."""
    torch = pytest.importorskip("torch", reason="the readers of the benchmark need the extra [transformers]")
    made = pytest.importorskip("transformers", reason="the readers of the benchmark need the extra [transformers]")
    torch.manual_seed(1)
    config = getattr(made, f"{kind}TextConfig" if kind == "Gemma3" else f"{kind}Config")(**SIZES, **KINDS[kind])
    return BatchReader(getattr(made, f"{kind}ForCausalLM")(config).eval(), Letters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_says_what_single_answers_say(kind: str) -> None:
    given, rng = reader(kind), np.random.default_rng(1)
    rows = [rng.integers(2, 300, n).tolist() for n in (1, 40, 3, 40, 17, 2, 90)]
    before = rng.integers(2, 300, 25).tolist()
    together, alone = given.logprobs(before, rows), given.logprobs_one_by_one(before, rows)
    assert [len(x) for x in together] == [len(row) for row in rows]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert np.abs(given.logprobs([7, 7, 7], rows)[1] - together[1]).max() > 1e-3  # and the question counts


def test_what_was_read_ends_where_the_answer_ends() -> None:
    answers = ["A first answer.", "No.", "A first answer."]
    one, two, three = reader("Llama").read("Well?", answers, "bare")
    assert one.ends.tolist() == list(range(1, 16))
    assert len(two.values) == 3
    np.testing.assert_allclose(one.values, three.values, atol=1e-5)


def test_every_row_is_in_one_batch_and_none_is_larger_than_it_may_be() -> None:
    lengths = np.random.default_rng(1).integers(1, 300, 60).tolist()
    found = list(_batches(lengths))
    assert sorted(i for some in found for i in some) == list(range(60))
    assert max(len(some) * max(lengths[i] for i in some) for some in found) <= BATCH
    assert list(_batches([BATCH + 1, 1])) == [[1], [0]]
