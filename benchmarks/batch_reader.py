"""Read many answers to one question at once: log-likelihoods of tokens under a local model, the question read once.

    python -m benchmarks.batch_reader NAME=GGUF [NAME=GGUF ...]

The command holds batches to reading one answer after the other, each behind its question in one plain pass: by how
much logprobs of tokens and means of answers differ at most, and what time each takes. It needs torch, transformers
and gguf (`pip install -e ".[transformers]"`). One core does it all.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.channels.likelihoods import Heard

Floats = NDArray[np.float64]
ROWS = 128  # tokens whose logits are made at once: of a vocabulary of 262,000 those of a batch would be half a gigabyte
BATCH = 1024  # tokens of answers in one pass
ANSWERS = (
    "Paris is the capital of France, and it has been for most of the time since Clovis made it his seat in 508.",
    "I'm sorry, but I can't help with that. Is there anything else that you would like to know about this topic?",
    "1. **Tea**: warm, bitter, cheap.\n2. **Coffee**: dark, loud, awake.\n\nIn short: it depends on *you*, and when.",
    "Das weiß ich nicht genau. 私は知りません。 Et pourtant, elle tourne!",
    "Certainly! " + "The answer is long, as the question was asked by somebody who has time to read. " * 4,
)


@dataclass(frozen=True)
class BatchReader:
    """A model in transformers that reads several answers to one question at once, the question only once.

    The numbers are those of `harness.endpoints.engine_server`: bfloat16 where the processor knows it.
    """

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, path: Path) -> BatchReader:
        """From a GGUF file, or a folder of safetensors."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from harness.endpoints.engine_server import fast_numbers

        torch.set_num_threads(1)
        folder, told = (str(path), {}) if path.is_dir() else (str(path.parent), {"gguf_file": path.name})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **told)
        tokenizer = AutoTokenizer.from_pretrained(folder, **told)
        return cls(model.to(dtype=fast_numbers(torch)).eval(), tokenizer)

    def before(self, question: str, template: str) -> list[int]:
        """Tokens that stand before the answer; those that the question has when an answer follows it."""
        t = self.tokenizer
        begun = [t.bos_token_id] if t("a").input_ids[0] == t.bos_token_id else []
        if template == "chat":
            asked = [{"role": "user", "content": question}]
            text = t.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            return list(t(text, add_special_tokens=False).input_ids)
        if template == "none" or not question:
            return begun or [t.eos_token_id]
        text = f"{question}\n\n"
        told = t(text + "A", add_special_tokens=False, return_offsets_mapping=True)
        return begun + [i for i, (_, end) in zip(told.input_ids, told.offset_mapping, strict=True) if end <= len(text)]

    def read(self, question: str, texts: Sequence[str], template: str) -> list[Heard]:
        """Every answer to one question."""
        told = [self.tokenizer(t, add_special_tokens=False, return_offsets_mapping=True) for t in texts]
        values = self.logprobs(self.before(question, template), [t.input_ids for t in told])
        ends = [np.array([end for _, end in t.offset_mapping], dtype=np.int64) for t in told]
        return [Heard(v, e) for v, e in zip(values, ends, strict=True)]

    def logprobs(self, before: Sequence[int], rows: Sequence[Sequence[int]]) -> list[Floats]:
        """Logprobs of the tokens of each row, as they follow ``before``; rows of like length go together."""
        import torch

        out: dict[int, Floats] = {}
        with torch.inference_mode():
            head = self.model.base_model(torch.tensor([list(before)]), use_cache=True)
            for some in _batches([len(r) for r in rows]):
                out |= dict(zip(some, self._batch(head, [rows[i] for i in some]), strict=True))
        return [out[i] for i in range(len(rows))]

    def logprobs_one_by_one(self, before: Sequence[int], rows: Sequence[Sequence[int]]) -> list[Floats]:
        """The same without a cache, batches or padding: what `logprobs` is held to."""
        import torch

        out = []
        with torch.inference_mode():
            for row in rows:
                ids = torch.tensor([[*before, *row]])
                logits = self.model(ids).logits[0, len(before) - 1 : -1].float().log_softmax(-1)
                out.append(logits.gather(1, torch.tensor(row)[:, None])[:, 0].double().numpy())
        return out

    def _batch(self, head: Any, rows: Sequence[Sequence[int]]) -> Iterator[Floats]:
        """The keys and values of the question, which went through the model once, are repeated for each answer."""
        import torch

        longest = max(map(len, rows)) - 1  # the last token of an answer is only told
        seen = [head.last_hidden_state[:, -1]]
        if longest:
            ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest)
            for r, row in enumerate(rows):
                ids[r, : len(row) - 1], mask[r, : len(row) - 1] = torch.tensor(row[:-1], dtype=torch.long), 1
            known = copy.deepcopy(head.past_key_values)
            known.batch_repeat_interleave(len(rows))
            whole = torch.cat([torch.ones(len(rows), head.last_hidden_state.shape[1]), mask], 1).long()
            body = self.model.base_model(ids, attention_mask=whole, past_key_values=known)
            seen += [body.last_hidden_state[mask.bool()]]
        wanted = [row[0] for row in rows] + [token for row in rows for token in row[1:]]
        states = torch.cat([seen[0].repeat(len(rows), 1), *seen[1:]])
        values = self._of_tokens(states, torch.tensor(wanted))
        rest = np.split(values[len(rows) :], np.cumsum([len(row) - 1 for row in rows])[:-1])
        return (np.concatenate([values[r : r + 1], rest[r]]) for r in range(len(rows)))

    def _of_tokens(self, states: Any, wanted: Any) -> Floats:
        """Logprob of each token wanted after its state; logits are made of a few states at a time."""
        out = []
        for some, tokens in zip(states.split(ROWS), wanted.split(ROWS), strict=True):
            logits = self.model.lm_head(some).float()
            out.append((logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)).double().numpy())
        return np.concatenate(out)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows of like length, as many as have `BATCH` tokens with what the longest makes the others wait.

    >>> [b for b in _batches([300, 10, 400, 500])]
    [[1, 0], [2], [3]]
    """
    some: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if some and (len(some) + 1) * lengths[i] > BATCH:
            yield some
            some = []
        some.append(i)
    if some:
        yield some


def main() -> None:
    """Hold batches to single answers, and print a row a reader."""
    print("| reader | tokens | most, a token | mean, a token | most, an answer's mean | s in batches | s one by one |")
    print("|---|---|---|---|---|---|---|")
    for name, path in (each.split("=", 1) for each in sys.argv[1:]):
        reader = BatchReader.load(Path(path))
        before = reader.before("What should I say?", "bare")
        rows = [reader.tokenizer(t, add_special_tokens=False).input_ids for t in ANSWERS * 4]
        took = [time.process_time()]
        many = reader.logprobs(before, rows)
        took.append(time.process_time())
        single = reader.logprobs_one_by_one(before, rows)
        took.append(time.process_time())
        apart = np.abs(np.concatenate(many) - np.concatenate(single))
        means = max(abs(float(a.mean() - b.mean())) for a, b in zip(many, single, strict=True))
        cells = [f"{apart.max():.3f}", f"{apart.mean():.4f}", f"{means:.4f}", *(f"{s:.1f}" for s in np.diff(took))]
        print(f"| {name} | {len(apart)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
