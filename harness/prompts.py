"""Prompt sets -> `Prompt`s, through `datasets`: read, checked, hashed, drawn."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.config import PromptUse
from harness.errors import ConfigError, meant
from harness.loading import read_text, read_yaml
from harness.prompt_format import FIELDS, check_card, check_rows
from harness.responses import Prompt


@dataclass(frozen=True)
class PromptSet:
    """A family of prompts with its card and the SHA-256 of all that reaches the wire."""

    name: str
    card: dict[str, Any]
    prompts: tuple[Prompt, ...]
    sha256: str


def content_hash(prompts: Sequence[Prompt]) -> str:
    """SHA-256 of prompts in order: any change of text or setting is another set."""
    text = json.dumps([asdict(p) for p in prompts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def shipped_folder() -> Path:
    """The project's own prompt sets: beside the package in a checkout, inside it when installed."""
    here = Path(__file__).resolve().parent
    inside = here / "_prompts"
    return inside if inside.is_dir() else here.parent / "prompts"


def available(folder: Path) -> list[str]:
    """Names of the prompt sets in a folder."""
    files = [*folder.glob("*.yaml"), *folder.glob("*.jsonl")]
    return sorted(p.stem for p in files if not p.name.endswith(".card.yaml"))


def load_set(name: str, folder: Path) -> PromptSet:
    """Read one prompt set: a name in ``folder`` or among the project's own, a path, or ``hf:NAME``.

    Raises `ConfigError` with file, line and field for anything that is not in the documented format.
    """
    if name.startswith("hf:"):
        return _from_hub(name)
    path = _find(name, folder)
    if path.suffix == ".jsonl":
        card = read_yaml(path.with_suffix(".card.yaml"))
        rows = _jsonl_rows(path)
    else:
        card = read_yaml(path)
        if not isinstance(card.values, dict) or set(card.values) - {"card", "prompts"}:
            raise ConfigError(
                f"{path}:1: a prompt file has `card:` and `prompts:` and nothing else",
                "see prompts/README.md",
            )
        written = card.values.get("prompts") or []
        if not isinstance(written, list):
            raise ConfigError(f"{path}:{card.line(('prompts',))}: `prompts:` is a list", "begin each with `- id:`")
        rows = [(card.line(("prompts", i)), r) for i, r in enumerate(written)]
    checked = check_card(path, card)
    prompts = check_rows(path, rows, checked)
    return _as_set(path.stem, checked, prompts)


def _as_set(name: str, card: dict[str, Any], rows: list[dict[str, Any]]) -> PromptSet:
    from datasets import Dataset  # heavy; only when prompts are read

    dataset = Dataset.from_list([{"row": json.dumps(r)} for r in rows])
    prompts = tuple(_prompt(card, json.loads(r["row"])) for r in dataset)
    return PromptSet(name, card, prompts, content_hash(prompts))


def _prompt(card: dict[str, Any], row: dict[str, Any]) -> Prompt:
    return Prompt(
        id=row["id"],
        family=card["family"],
        text=row["text"],
        language=row.get("language") or card["languages"][0],
        group=row.get("group", ""),
        surface=card["surface"],
        samples=card["samples"],
        max_tokens=card["max_tokens"],
        temperature=card["temperature"],
        top_logprobs=card["top_logprobs"],
        channels=tuple(card["channels"]),
        fields={k: row[k] for k in FIELDS if k in row},
    )


def _find(name: str, folder: Path) -> Path:
    tried = [
        folder / name,
        *(d / f"{name}{s}" for d in (folder, shipped_folder()) for s in (".yaml", ".jsonl")),
    ]
    for path in tried:
        if path.is_file():
            return path
    known = sorted({*available(folder), *available(shipped_folder())})
    raise ConfigError(f"there is no prompt set {name!r}", meant(name, known))


def _from_hub(name: str) -> PromptSet:
    from datasets import load_dataset

    repo, _, split = name.removeprefix("hf:").partition(":")
    try:
        dataset = load_dataset(repo, split=split or "train")
    except Exception as e:  # the Hub's own errors are many; the reader needs one line
        raise ConfigError(
            f"data set {repo!r}: {str(e).splitlines()[0][:200]}", "is the name right, is there a network?"
        ) from e
    rows = [{"id": str(r.get("id", i)), "text": r.get("text") or r.get("prompt")} for i, r in enumerate(dataset)]
    if not rows or not all(isinstance(r["text"], str) for r in rows):
        raise ConfigError(f"data set {repo!r} has no `text` or `prompt` column", f"it has: {dataset.column_names}")
    card: dict[str, Any] = {
        "family": repo.replace("/", "-"),
        "languages": ["en"],
        "surface": "chat",
        "samples": 1,
    }
    card |= {"max_tokens": 256, "temperature": 0.0, "top_logprobs": None, "channels": ["wording", "style"]}
    return _as_set(name, card, rows)


def _jsonl_rows(path: Path) -> list[tuple[int, Any]]:
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except (ValueError, RecursionError) as e:
            raise ConfigError(f"{path}:{number}: not JSON: {e}", "one JSON object a line") from e
    return rows


def draw(use: PromptUse, prompts: Sequence[Prompt], seed: int, hold_back: float = 0.0) -> tuple[Prompt, ...]:
    """Apply a campaign's overrides, leave out a share of ``hold_back``, and draw ``limit`` of the rest.

    Only the seed decides which. A prompt and its twin are drawn together, or neither.
    """
    units: dict[str, list[int]] = {}
    for i, p in enumerate(prompts):
        units.setdefault(str(p.fields.get("twin", p.id)), []).append(i)
    most = round(len(prompts) * (1.0 - hold_back))
    most = max(1, min(most, use.limit or most))
    order = list(units.values())
    random.Random(f"{seed}:{use.set}").shuffle(order)  # noqa: S311 - a reproducible draw, not a secret
    keep: set[int] = set()
    for unit in order:
        if len(keep) + len(unit) <= most or not keep:
            keep.update(unit)
    chosen = [p for i, p in enumerate(prompts) if i in keep]
    changes = use.model_dump(include={"samples", "max_tokens", "temperature", "top_p", "surface"}, exclude_none=True)
    if use.top_logprobs is not None:
        changes["top_logprobs"] = use.top_logprobs or None
    return tuple(replace(p, **changes) for p in chosen)
