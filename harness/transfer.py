"""Import of recorded outputs, export of stored answers, merging of stores: `harness import`, `export`, `merge`."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from harness.collect.preflight import learned, remember
from harness.config import UNKNOWN, guessed, hub_name
from harness.endpoints import ESCAPED, Quirks, count, jsonl_rows, read_cell
from harness.errors import ConfigError
from harness.files import replacing
from harness.plan import Plan, planned, store_at
from harness.records import Response
from harness.report.tables import cell
from harness.store import Store, foreign, merging
from harness.token_logprobs import unpack

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


def import_outputs(
    sources: Sequence[str],
    out: Path,
    named: Mapping[str, str],
    model: str | None,
    say: Callable[[str], None] = lambda _: None,
) -> Counter[str]:
    """Write ``OUT.parquet`` of the rows of all sources; returns the number of answers by model.

    ``named`` gives columns by role (see `GUESSES`), ``model`` the model of sources without such a column. Without a
    prompt id the prompt's own hash is the id; without a sample number answers count as they stand. ``say`` hears how
    many rows of which model repeat another one word for word.
    """
    import pyarrow as pa
    from pyarrow import parquet

    kinds = [(c, pa.int64() if c in _NUMBERS else pa.string()) for c in GUESSES]
    target = out if out.suffix == ".parquet" else out.with_name(out.name + ".parquet")
    counts: Counter[str] = Counter()
    repeats: Counter[str] = Counter()
    with replacing(target, "check the paths") as part:
        target.parent.mkdir(parents=True, exist_ok=True)
        with parquet.ParquetWriter(part, schema := pa.schema(kinds), compression="zstd") as writer:
            rows = _told_repeats(_normalised(sources, named, model, counts), repeats)
            while batch := list(itertools.islice(rows, _BATCH)):
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
        if not counts:
            raise ConfigError(f"{', '.join(sources)}: no answers there", "check the files")
    for name, count_of in sorted(repeats.items()):
        say(f"{name}: {count_of} of {counts[name]} rows repeat another one of the same prompt word for word")
    return counts


def _told_repeats(rows: Iterable[Row], repeats: Counter[str]) -> Iterator[Row]:
    """The same rows; counts by model those that repeat another one."""
    seen: set[int] = set()
    for row in rows:
        name = hash((row["model"], row["prompt_id"], row["output"]))
        repeats.update([row["model"]] if name in seen else [])
        seen.add(name)
        yield row


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
            out = {role: _kept(role, found.get(role)) for role in GUESSES} | _said(found)
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


def _said(found: Row) -> Row:
    """Answer and thoughts, which may stand in the parts of a message."""
    output, reasoning = read_cell(found.get("output")), read_cell(found.get("reasoning"))
    thoughts = reasoning.thoughts or reasoning.answer or output.thoughts
    return {"output": None if found.get("output") is None else output.answer, "reasoning": thoughts or None}


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

            repo, split = hub_name(source)
            yield from load_dataset(repo, split=split, streaming=True)
            return
        reader = {".jsonl": jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}.get(Path(source).suffix)
        if reader is None:
            raise ConfigError(f"{source}: not .jsonl, .csv or .parquet", "convert it, or write hf:NAME for the Hub")
        yield from reader(Path(source))
    except (ConfigError, GeneratorExit):
        raise
    except OSError as e:
        raise ConfigError(f"{source}: {e.strerror or e}", "check the path") from e
    except Exception as e:  # readers raise their own kinds; the reader of this needs one line
        said = (str(e) or type(e).__name__).splitlines()[0][:200]
        raise ConfigError(f"{source}: {said}", "is it readable?") from e


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            for column in (row.pop(ESCAPED, None) or "").split():
                row[column] = row[column].removeprefix("'")
            yield row


def _parquet_rows(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches(_BATCH):
        yield from batch.to_pylist()


def models_in(source: str) -> dict[str, int]:
    """How many answers of each model a file has that `recorded` endpoints can read as it stands, in order of name.

    `ConfigError` if it lacks one of the columns which that takes, or cannot be read.
    """
    found: Counter[str] = Counter()
    for row in read_rows(source):
        if lacking := {"model", "prompt_id", "output"} - row.keys():
            raise ConfigError(
                f"{source}: no column {', '.join(sorted(lacking))}",
                f"make a file that has it: harness import {source} --out answers",
            )
        found[str(row["model"])] += 1
    return dict(sorted(found.items()))


def yaml_blocks(path: Path, models: Sequence[str]) -> str:
    """What to paste under ``endpoints:``, one block a model; the role is the reader's to choose.

    Lineage and maker are guessed from the model's name; `?` stands where it tells nothing.
    """
    import yaml

    blocks, used = [], set()
    for model in models:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-._")[:56] or "model"
        name = next(n for n in itertools.chain([stem], (f"{stem}-{i}" for i in itertools.count(2))) if n not in used)
        used.add(name)
        told = guessed(model)
        block = {"name": name, "role": "control", "lineage": told.lineage or UNKNOWN, "maker": told.maker or UNKNOWN,
                 "kind": "recorded", "path": str(path)}  # fmt: skip
        blocks.append(block | ({} if name == model else {"model": model}))
    return str(yaml.safe_dump(blocks, sort_keys=False, allow_unicode=False))


BATCH = 1_000  # rows
_WHOLE = ("sample", "prompt_tokens", "completion_tokens", "reasoning_tokens", "attempts")
ExportRow = dict[str, Any]
Writer = Callable[[BinaryIO, Iterable[list[ExportRow]], list[str]], None]


def export_answers(plan: Plan, fmt: str, out: Path | None, stdout: BinaryIO, *, logprobs: bool = False) -> int:
    """Write the plan's answers; returns how many. Columns fit an endpoint of kind ``recorded``.

    ``logprobs`` adds the server's own JSON as text. A file or folder appears whole or not at all.
    """
    if fmt not in FORMATS:
        raise ConfigError(f"there is no format {fmt!r}", f"known: {', '.join(FORMATS)}")
    if out is None and fmt != "jsonl":
        raise ConfigError(f"{fmt} needs a place", "add --out PATH")
    counter = itertools.count()
    with Store(plan.store, readonly=True) as store:
        texts = {p.id: (p.family, p.text, p.surface) for p in store.prompts()}
        store.require_types()
        rows = (
            _row(r, *texts.get(r.prompt, ("", "", "")), logprobs)
            for r, _ in zip(store.responses(), counter, strict=False)
        )
        columns = [*_row(_EMPTY, "", "", "", logprobs)]
        if out is None:
            _jsonl(stdout, _batches(rows), columns)
        else:
            _whole(out, fmt, _batches(rows), columns)
    return next(counter)


def _whole(out: Path, fmt: str, batches: Iterable[list[ExportRow]], columns: list[str]) -> None:
    if fmt == "dataset" and out.exists():
        raise ConfigError(f"{out} is there already", "remove it, or choose another place")
    with replacing(out, "choose another place") as part:
        if fmt == "dataset":
            part.mkdir(parents=True)
            _dataset(part, batches, columns)
        else:
            with part.open("wb") as target:
                FORMATS[fmt](target, batches, columns)


def _row(response: Response, family: str, prompt: str, surface: str, logprobs: bool) -> ExportRow:
    values = asdict(response)
    blob = values.pop("logprobs")
    row = {
        "model": values.pop("endpoint"),
        "prompt_id": values.pop("prompt"),
        "dataset": family,
        "prompt": prompt,
        "surface": surface,
        "output": values.pop("text"),
        **values,
    }
    return row | {"logprobs": _json(blob)} if logprobs else row


def _json(blob: bytes | None) -> str | None:
    try:
        return unpack(blob).decode("utf-8", "replace") if blob else None
    except (zlib.error, TypeError):
        return None


def _batches(rows: Iterator[ExportRow]) -> Iterator[list[ExportRow]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def _jsonl(target: BinaryIO, batches: Iterable[list[ExportRow]], columns: list[str]) -> None:
    encoder = msgspec.json.Encoder()
    for batch in batches:
        target.write(encoder.encode_lines(batch))


def _csv(target: BinaryIO, batches: Iterable[list[ExportRow]], columns: list[str]) -> None:
    text = io.TextIOWrapper(target, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a lone CR ends a row for some readers
    writer.writerow([*columns, ESCAPED])
    for batch in batches:
        for row in batch:
            # Floats here are seconds: exact, unlike in a report.
            cells = ["" if v is None else cell(v) if isinstance(v, str) else str(v) for v in row.values()]
            changed = [c for c, v, w in zip(columns, row.values(), cells, strict=True) if isinstance(v, str) and v != w]
            writer.writerow([*cells, " ".join(changed)])
    text.detach()


def _schema(columns: list[str]) -> Any:
    import pyarrow as pa

    kinds = {**dict.fromkeys(_WHOLE, pa.int64()), "seconds": pa.float64()}
    return pa.schema([(c, kinds.get(c, pa.string())) for c in columns])


def _parquet(target: BinaryIO, batches: Iterable[list[ExportRow]], columns: list[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(columns)
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def _dataset(folder: Path, batches: Iterable[list[ExportRow]], columns: list[str]) -> None:
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:  # the library writes the format that it reads
        table = Path(scratch, "answers.parquet")
        with table.open("wb") as target:
            _parquet(target, batches, columns)
        Dataset.from_parquet(str(table), cache_dir=scratch, batch_size=BATCH).save_to_disk(str(folder))


_EMPTY = Response("", "", 0, "", "ok", "")
FORMATS: dict[str, Writer] = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet, "dataset": _parquet}


def merge_stores(plan: Plan, sources: Sequence[Path]) -> Mapping[Path, int]:
    """Join stores of shards into the campaign's own; returns how many answers each added."""
    called = plan.called
    with ExitStack() as stack:
        read = [(store_at(p), stack.enter_context(foreign(store_at(p)))) for p in sources]
        target = stack.enter_context(Store(plan.store))
        # A shard learns only what its own calls were refused; the campaign's own store may be one.
        known = {path: learned(store, called) for path, store in [(target.path, target), *read]}
        joined = {e.name: reduce(Quirks.joined, [quirks[e.name] for quirks in known.values()]) for e in called}
        unlike = {path: _taken(quirks, joined) for path, quirks in known.items()}
        keys = set(planned(plan, joined))
        added = merging.merge(target, read, plan.prompts, keys, unlike)
        target.set_plan(plan.prompts, keys, plan.prompt_hashes)
        for endpoint in called:
            remember(target, endpoint, joined[endpoint.name])
        return added


def _taken(quirks: Mapping[str, Quirks], joined: Mapping[str, Quirks]) -> dict[str, str]:
    """Which endpoints took parameters in one store that ``joined`` leaves out or changes, and which."""
    out = {}
    for name, all_stores in joined.items():
        one = quirks[name]
        names = sorted(all_stores.refuses - one.refuses)
        names += [f for f in ("max_tokens", "top_logprobs") if getattr(one, f) != getattr(all_stores, f)]
        if names:
            out[name] = ", ".join(f"`{n}`" for n in names)
    return out
