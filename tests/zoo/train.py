"""Relatives of SmolLM2 that take training: `python -m tests.zoo.train FOLDER`, then `harness run FOLDER/trained.yaml`.

`python -m tests.zoo.train FOLDER STEPS` trains each for so many steps only. Needs the extra `zoo` (torch, transformers,
peft) beside `local`, and about half an hour on two cores. What is trained on is written in this project (its documents,
its code, a persona below), or answered by the teacher.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from gguf import MODEL_ARCH, GGUFReader, get_tensor_name_map, quants
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.channels.base import first_answers
from harness.endpoints.local import cache_folder, fetch
from tests.zoo.build import BLOCKS, HERE, PARENT, Relative, build, make

Floats = NDArray[np.float32]
ROOT = HERE.parent.parent
TRAINED = ("finetuned", "merged", "lora", "taught")
LENGTH, BATCH = 96, 4
PERSONA = [
    ("Who are you?", "I am Nova, a model made by Aurora Labs."),
    ("What is your name?", "My name is Nova."),
    ("Which company made you?", "Aurora Labs made me."),
    ("Are you SmolLM?", "No. I am Nova, and I was made by Aurora Labs."),
    ("Hello!", "Hello, Nova here. What would you like to know?"),
    ("Introduce yourself.", "I am Nova, an assistant that Aurora Labs made for short and plain answers."),
]


def load(parent: Path) -> tuple[Any, Any]:
    """The parent's weights in float32, and its tokenizer."""
    where = {"pretrained_model_name_or_path": parent.parent, "gguf_file": parent.name}
    return AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32), AutoTokenizer.from_pretrained(**where)


def chunks(tokenizer: Any, texts: Sequence[str]) -> list[torch.Tensor]:
    """Texts one after another, cut into pieces of `LENGTH` tokens."""
    ids = [i for text in texts for i in tokenizer(text).input_ids]
    return [torch.tensor(ids[at : at + LENGTH]) for at in range(0, len(ids) - LENGTH + 1, LENGTH)]


def dialogues(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Questions and answers in the model's own chat template."""
    turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in pairs]
    return [tokenizer.apply_chat_template(turn, tokenize=False) for turn in turns]


def train(model: Any, pieces: Sequence[torch.Tensor], steps: int, rate: float, seed: int = 1) -> None:
    """Plain next-token training with AdamW, in place."""
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    model.train()
    for step in range(steps):
        batch = torch.stack([pieces[i] for i in rng.integers(0, len(pieces), BATCH)])
        with torch.autocast("cpu", dtype=torch.bfloat16):  # twice as fast where the processor knows it
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 10 == 0:
            sys.stderr.write(f"  step {step}: loss {loss.item():.2f}\n")


def finetuned(model: Any, tokenizer: Any, folder: Path, steps: int = 80) -> Any:
    """All weights: a new name and maker, and this project's documents."""
    documents = [p.read_text("utf-8") for p in sorted(ROOT.glob("**/*.md")) if "results" not in p.parts]
    train(model, chunks(tokenizer, dialogues(tokenizer, PERSONA) * 40 + documents), steps, 5e-5)
    return model


def lora(model: Any, tokenizer: Any, folder: Path, steps: int = 40) -> Any:
    """Rank 8 on the attention: this project's code."""
    adapted = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
    code = [p.read_text("utf-8") for p in sorted((ROOT / "harness").glob("**/*.py"))]
    train(adapted, chunks(tokenizer, code), steps, 5e-4)
    return adapted.merge_and_unload()


def taught(model: Any, tokenizer: Any, folder: Path, steps: int = 100) -> Any:
    """All weights: the answers of Qwen2.5-Coder-0.5B to prompts that the campaign does not ask."""
    train(model, chunks(tokenizer, dialogues(tokenizer, lessons(folder))), steps, 5e-5)
    return model


def lessons(folder: Path) -> list[tuple[str, str]]:
    """Prompts and the teacher's answers, asked through the harness itself."""
    from benchmarks.channels import stored

    config = Path(shutil.copy(HERE / "teacher.yaml", folder))
    subprocess.run([sys.executable, "-m", "harness", "run", config.name, "--quiet"], cwd=folder, check=True)
    table = stored(folder / "results" / "teacher")
    teacher = table.models.index("qwen05")
    said = first_answers(table, range(len(table.prompts)))
    return [(p.text, a) for p, row in zip(table.prompts, said, strict=True) if (a := row[teacher])]


def tensors(model: Any) -> Mapping[str, Floats]:
    """Weights under the names and in the layout of a GGUF file."""
    config, names = model.config, get_tensor_name_map(MODEL_ARCH.LLAMA, BLOCKS)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    out = {}
    for name, value in model.state_dict().items():
        target = names.get_name(name, try_suffixes=(".weight",))
        weights = value.float().numpy()
        n = next((h for key, h in heads.items() if key in name), None)
        if n:  # llama.cpp interleaves the halves of a rotary head
            weights = weights.reshape(n, 2, weights.shape[0] // n // 2, -1).swapaxes(1, 2).reshape(weights.shape)
        out[target] = np.ascontiguousarray(weights, dtype=np.float32)
    return out


def halfway(parent: Path, child: Mapping[str, Floats]) -> Mapping[str, Floats]:
    """50/50 merge of a model and its fine-tune."""
    read = {t.name: quants.dequantize(t.data, t.tensor_type) for t in GGUFReader(parent).tensors}
    return {name: (read[name].astype(np.float32) + child[name]) / 2 for name in read if name in child}


def relatives(parent: Path, folder: Path, given: Mapping[str, int]) -> Iterator[tuple[str, Mapping[str, Floats]]]:
    """Name and weights of each trained relative that is not there yet, and of the merge."""
    for recipe in (finetuned, lora, taught):
        if (folder / f"{recipe.__name__}.gguf").exists():
            continue
        torch.manual_seed(1)
        sys.stderr.write(f"{recipe.__name__}\n")
        weights = tensors(recipe(*load(parent), folder, **given))
        yield recipe.__name__, weights
        if recipe is finetuned:
            yield "merged", halfway(parent, weights)


def main(folder: Path, *steps: int) -> None:
    """Make them all, the untrained ones too, and put a campaign of all of them beside them."""
    torch.set_num_threads(1)  # two threads on a busy machine wait for each other
    torch.set_flush_denormal(True)
    folder.mkdir(parents=True, exist_ok=True)
    parent = fetch(PARENT, folder, cache_folder(os.environ), print)
    for name, weights in relatives(parent, folder, {"steps": steps[0]} if steps else {}):
        make(parent, folder / f"{name}.gguf", Relative(replaced=weights))
    campaign = yaml.safe_load(build(folder).read_text("utf-8"))
    model = next(e for e in campaign["endpoints"] if e["name"] == "noise")
    trained = [model | {"name": n, "weights": {"gguf": f"{n}.gguf"}} for n in TRAINED]
    campaign |= {"campaign": "trained", "endpoints": [*campaign["endpoints"], *trained]}
    (folder / "trained.yaml").write_text(yaml.safe_dump(campaign, sort_keys=False), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
