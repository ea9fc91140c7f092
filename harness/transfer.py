"""Import of recorded outputs, export of stored answers, merging of stores: `harness import`, `export`, `merge`."""

from __future__ import annotations

import csv
import io
import itertools
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from harness.collect.agreement import DRAWN, drawn
from harness.collect.preflight import learned, remember
from harness.config import UNKNOWN, guessed
from harness.endpoints import ESCAPED, Quirks
from harness.errors import ConfigError
from harness.files import replacing
from harness.plan import REFERENCES, Plan, planned, store_at
from harness.records import Response
from harness.report.tables import cell
from harness.sources import Entry
from harness.store import Store, foreign, merging, require_whole
from harness.token_logprobs import unpack

COLUMNS = (
    *("model", "prompt_id", "prompt", "output", "surface", "sample", "reasoning", "refusal", "finish_reason"),
    *("prompt_tokens", "completion_tokens", "logprobs", "scales", "channels"),
)
_NEEDED = ("model", "prompt_id", "prompt", "output", "sample", "reasoning")
_NUMBERS = ("sample", "prompt_tokens", "completion_tokens")
_BATCH = 1_000
Row = dict[str, Any]


def write_answers(target: Path, entries: Sequence[Entry]) -> None:
    """Write answers as a Parquet file that `recorded` endpoints read as it stands, without columns that are empty."""
    import pyarrow as pa
    from pyarrow import parquet

    held = [c for c in COLUMNS if c in _NEEDED or any(getattr(e, c) not in (None, "", ()) for e in entries)]
    schema = pa.schema([(c, pa.int64() if c in _NUMBERS else pa.string()) for c in held])
    with replacing(target, "check the paths") as part:
        target.parent.mkdir(parents=True, exist_ok=True)
        with parquet.ParquetWriter(part, schema, compression="zstd") as writer:
            rows = map(_row_of, entries)
            while batch := list(itertools.islice(rows, _BATCH)):
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def _row_of(entry: Entry) -> Row:
    """An answer as a row: empty texts are none, but for the answer; half a surrogate pair has no place in a file."""
    row = {c: getattr(entry, c) for c in COLUMNS}
    row |= {"scales": ", ".join(entry.scales), "channels": " ".join(entry.channels)}
    texts = {c: v.encode("utf-8", "replace").decode() for c, v in row.items() if isinstance(v, str)}
    return row | {c: v if v or c == "output" else None for c, v in texts.items()}


def blocks_of(path: Path, models: Sequence[str]) -> list[Row]:
    """Endpoints of recorded answers, as a config has them, one a model and each a control.

    Lineage and maker are guessed from the model's name; `?` stands where it tells nothing.
    """
    blocks: list[Row] = []
    used: set[str] = set()
    for model in models:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-._")[:56] or "model"
        numbered = itertools.chain([stem], (f"{stem}-{i}" for i in itertools.count(2)))
        name = next(n for n in numbered if n.casefold() not in used)
        used.add(name.casefold())
        told = guessed(model)
        block = {"name": name, "role": "control", "lineage": told.lineage or UNKNOWN, "maker": told.maker or UNKNOWN,
                 "kind": "recorded", "path": str(path)}  # fmt: skip
        blocks.append(block | ({} if name == model else {"model": model}))
    return blocks


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
        require_whole(store)
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
        target.set_note(DRAWN, drawn(plan.campaign))
        target.set_note(REFERENCES, plan.references)
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
