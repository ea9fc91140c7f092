"""Recorded outputs with any column names -> one Parquet that endpoints of kind ``recorded`` read. In bounded memory."""

from __future__ import annotations

import csv
import hashlib
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from harness.collect.tables import ESCAPED, count, jsonl_rows
from harness.errors import ConfigError

GUESSES: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "generator", "model_name", "model_id", "model_asked"),
    "prompt_id": ("prompt_id", "question_id", "qid", "session_id", "id"),
    "prompt": ("prompt", "question", "instruction", "input", "query"),
    "output": ("output", "response", "completion", "answer", "generation", "text"),
    "surface": ("surface",),
    "sample": ("sample", "sample_id", "repeat"),
    "reasoning": ("reasoning", "reasoning_content", "thinking"),
    "refusal": ("refusal",),
    "finish_reason": ("finish_reason", "stop_reason"),
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "logprobs": ("logprobs",),
}
_NUMBERS = ("sample", "prompt_tokens", "completion_tokens")
_BATCH = 1_000
Row = dict[str, Any]


def import_outputs(sources: Sequence[str], out: Path, named: Mapping[str, str], model: str | None) -> Counter[str]:
    """Write ``OUT.parquet`` of the rows of all sources; returns the number of answers by model.

    ``named`` gives columns by role (see `GUESSES`), ``model`` the model of sources without such a column. Without a
    prompt id the prompt's own hash is the id; without a sample number answers count as they stand.
    """
    import pyarrow as pa
    from pyarrow import parquet

    kinds = [(c, pa.int64() if c in _NUMBERS else pa.string()) for c in GUESSES]
    target = out if out.suffix == ".parquet" else out.with_name(out.name + ".parquet")
    part = target.with_name(f".{target.name}.part")
    counts: Counter[str] = Counter()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with parquet.ParquetWriter(part, schema := pa.schema(kinds), compression="zstd") as writer:
            rows = _normalised(sources, named, model, counts)
            while batch := list(itertools.islice(rows, _BATCH)):
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
        if not counts:
            raise ConfigError(f"{', '.join(sources)}: no answers there", "check the files")
        part.replace(target)
    except OSError as e:
        raise ConfigError(f"{e.filename or target}: {e.strerror or e}", "check the paths") from e
    finally:
        with suppress(OSError):
            part.unlink()
    return counts


def _normalised(
    sources: Sequence[str], named: Mapping[str, str], model: str | None, counts: Counter[str]
) -> Iterator[Row]:
    seen: Counter[tuple[str, str]] = Counter()
    for source in sources:
        columns: dict[str, str] | None = None
        for number, row in enumerate(read_rows(source), start=1):
            columns = columns or _columns(source, row, named, model)
            found = {role: row.get(column) for role, column in columns.items()}
            name = str(found["model"]) if "model" in found else str(model)
            prompt_id = str(found["prompt_id"]) if "prompt_id" in found else _prompt_id(found["prompt"])
            sample = count(found.get("sample"))
            if "sample" in columns and sample is None:
                raise ConfigError(f"{source}: row {number}: the sample is no whole number", "see --sample-column")
            cell = (name, prompt_id)
            out = {role: _kept(role, found.get(role)) for role in GUESSES}
            yield out | {"model": name, "prompt_id": prompt_id, "sample": seen[cell] if sample is None else sample}
            seen[cell] += 1
            counts[name] += 1


def _columns(source: str, row: Row, named: Mapping[str, str], model: str | None) -> dict[str, str]:
    """Role -> column of one source: as named, else the first guess that is there."""
    for role, column in named.items():
        if column not in row:
            raise ConfigError(f"{source}: no column {column!r} for {role}", f"it has {', '.join(map(str, row))}")
    guessed = {role: next((g for g in names if g in row), None) for role, names in GUESSES.items()}
    out = {role: named.get(role) or column for role, column in guessed.items() if named.get(role) or column}
    if model is not None and "model" not in named:
        out.pop("model", None)
    elif "model" not in out:
        raise ConfigError(f"{source}: no column names the model", "add --model-column COLUMN or --model NAME")
    if "output" not in out or not ("prompt_id" in out or "prompt" in out):
        hint = f"add --output-column, --prompt-column or --prompt-id-column; it has {', '.join(map(str, row))}"
        raise ConfigError(f"{source}: which columns hold the answer and its prompt?", hint)
    return {role: str(column) for role, column in out.items()}


def _prompt_id(prompt: object) -> str:
    return "p-" + hashlib.sha256(str(prompt).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _kept(role: str, value: object) -> object:
    if role in _NUMBERS:
        return count(value)
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value, enc_hook=str).decode() if role == "logprobs" else str(value)


def read_rows(source: str) -> Iterator[Row]:
    """Rows of a JSONL, CSV or Parquet file, or of a Hub data set ``hf:NAME[:SPLIT]``, one at a time."""
    try:
        if source.startswith("hf:"):
            from datasets import load_dataset

            repo, _, split = source.removeprefix("hf:").partition(":")
            yield from load_dataset(repo, split=split or "train", streaming=True)
            return
        reader = {".jsonl": jsonl_rows, ".csv": _csv, ".parquet": _parquet}.get(Path(source).suffix)
        if reader is None:
            raise ConfigError(f"{source}: not .jsonl, .csv or .parquet", "convert it, or write hf:NAME for the Hub")
        yield from reader(Path(source))
    except (ConfigError, OSError, GeneratorExit):
        raise
    except Exception as e:  # readers raise their own kinds; the reader of this needs one line
        said = (str(e) or type(e).__name__).splitlines()[0][:200]
        raise ConfigError(f"{source}: {said}", "is it readable?") from e


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            for column in (row.pop(ESCAPED, None) or "").split():
                row[column] = row[column].removeprefix("'")
            yield row


def _parquet(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches(_BATCH):
        yield from batch.to_pylist()


def models_in(source: str) -> dict[str, int]:
    """How many answers of each model a file has that `recorded` endpoints can read as it stands, in order of name.

    `ConfigError` if it lacks one of the columns which that takes, or cannot be read.
    """
    found: Counter[str] = Counter()
    try:
        for row in read_rows(source):
            if lacking := {"model", "prompt_id", "output"} - row.keys():
                raise ConfigError(
                    f"{source}: no column {', '.join(sorted(lacking))}",
                    f"make a file that has it: harness import {source} --out answers",
                )
            found[str(row["model"])] += 1
    except OSError as e:
        raise ConfigError(f"{source}: {e.strerror or e}", "check the path") from e
    return dict(sorted(found.items()))


def yaml_blocks(path: Path, models: Sequence[str]) -> str:
    """What to paste under ``endpoints:``, one block a model; the role is the reader's to choose."""
    import yaml

    blocks, used = [], set()
    for model in models:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-._")[:56] or "model"
        name = next(n for n in itertools.chain([stem], (f"{stem}-{i}" for i in itertools.count(2))) if n not in used)
        used.add(name)
        block = {"name": name, "role": "control", "lineage": name, "kind": "recorded", "path": str(path)}
        blocks.append(block | ({} if name == model else {"model": model}))
    return str(yaml.safe_dump(blocks, sort_keys=False, allow_unicode=False))
