"""Count the tokens of the `tokenizer` prompts by tokenizer family: writes harness/channels/tokenizer_families.json.

    python -m benchmarks.tokenizer_reference qwen3=PATH/tokenizer.json smollm2=MODEL.gguf cl100k ...

A source is a `tokenizer.json`, a GGUF file with byte-level BPE, a tekken file, a SentencePiece model, or a
`.tiktoken` file; `cl100k` without a path asks quicktok.
Needs tokenizers, gguf, mistral-common, tiktoken or quicktok-v1, as the sources do.
Only counts leave this script, no vocabulary.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "harness" / "channels" / "tokenizer_families.json"
PROMPTS = ROOT / "prompts" / "tokenizer.yaml"
Count = Callable[[str], int]
_PATTERN = (  # Qwen 3.5 and later
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def counter(source: str) -> Count:
    """How many tokens a text has for one source."""
    path = Path(source)
    if not path.exists():
        return _quick(source)
    if path.suffix == ".gguf":
        return _gguf(path)
    if path.suffix == ".tiktoken":
        return _tiktoken(path)
    if path.name.startswith("tekken"):
        return _tekken(path)
    if path.suffix == ".json":
        return _hugging_face(path)
    return _sentencepiece(path)


def _hugging_face(path: Path) -> Count:
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(path))
    return lambda text: len(made.encode(text, add_special_tokens=False).ids)


def _gguf(path: Path) -> Count:
    from gguf import GGUFReader
    from tokenizers import Tokenizer, models, pre_tokenizers

    fields = GGUFReader(path).fields
    tokens: Any = fields["tokenizer.ggml.tokens"].contents()
    merges: Any = fields["tokenizer.ggml.merges"].contents()
    pairs = [tuple(pair.split(" ")) for pair in merges]
    made = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=pairs))
    digits = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return lambda text: len(made.encode(text, add_special_tokens=False).ids)


def _tiktoken(path: Path) -> Count:
    import tiktoken

    ranks = {base64.b64decode(a): int(b) for a, b in (x.split() for x in path.read_bytes().splitlines() if x)}
    made = tiktoken.Encoding("reference", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(made.encode(text, disallowed_special=()))


def _tekken(path: Path) -> Count:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    made = Tekkenizer.from_file(path)
    return lambda text: len(made.encode(text, bos=False, eos=False))


def _sentencepiece(path: Path) -> Count:
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

    made = SentencePieceTokenizer(path)
    return lambda text: len(made.encode(text, bos=False, eos=False))


def _quick(name: str) -> Count:
    import quicktok

    made = quicktok.get_encoding({"cl100k": "cl100k_base", "o200k": "o200k_base"}.get(name, name))
    return lambda text: len(made.encode(text))


def main(arguments: list[str]) -> None:
    """Write the table: for each family the counts of every string."""
    texts = {p["id"]: p["text"] for p in yaml.safe_load(PROMPTS.read_text("utf-8"))["prompts"]}
    table = {}
    for argument in sorted(arguments):
        name, _, source = argument.partition("=")
        count = counter(source or name)
        table[name] = {i: count(t) - count("x") for i, t in texts.items()}
    TABLE.write_text(json.dumps(table, separators=(",", ":")).replace('},"', '},\n"') + "\n", "utf-8")
    print(f"{len(table)} families, {len(texts)} strings -> {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
