"""Stored answers -> a table that others can read; a batch of rows in memory at a time, whatever the store's size."""

from __future__ import annotations

import csv
import io
import itertools
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from harness.campaign import STORE, Plan
from harness.collect.store import Store
from harness.collect.tables import ESCAPED
from harness.errors import ConfigError
from harness.logprobs import unpack
from harness.report.tables import cell
from harness.responses import Response

BATCH = 1_000  # rows
_WHOLE = ("sample", "prompt_tokens", "completion_tokens", "reasoning_tokens", "attempts")
Row = dict[str, Any]
Writer = Callable[[BinaryIO, Iterable[list[Row]], list[str]], None]


def export_answers(plan: Plan, fmt: str, out: Path | None, stdout: BinaryIO, *, logprobs: bool = False) -> int:
    """Write the plan's answers; returns how many. Columns fit an endpoint of kind ``recorded``.

    ``logprobs`` adds the server's own JSON as text. A file or folder appears whole or not at all.
    """
    if fmt not in FORMATS:
        raise ConfigError(f"there is no format {fmt!r}", f"known: {', '.join(FORMATS)}")
    if out is None and fmt != "jsonl":
        raise ConfigError(f"{fmt} needs a place", "add --out PATH")
    counter = itertools.count()
    with Store(plan.folder / STORE, readonly=True) as store:
        texts = {p.id: (p.family, p.text, p.surface) for p in store.prompts()}
        rows = (_row(r, *texts[r.prompt], logprobs) for r, _ in zip(store.responses(), counter, strict=False))
        columns = [*_row(_EMPTY, "", "", "", logprobs)]
        if out is None:
            _jsonl(stdout, _batches(rows), columns)
        else:
            _whole(out, fmt, _batches(rows), columns)
    return next(counter)


def _whole(out: Path, fmt: str, batches: Iterable[list[Row]], columns: list[str]) -> None:
    part = out.with_name(f".{out.name}.part")
    try:
        if fmt == "dataset":
            if out.exists():
                raise ConfigError(f"{out} is there already", "remove it, or choose another place")
            part.mkdir(parents=True)
            _dataset(part, batches, columns)
        else:
            with part.open("wb") as target:
                FORMATS[fmt](target, batches, columns)
        part.replace(out)
    except OSError as e:
        raise ConfigError(f"{out}: {e.strerror or e}", "choose another place") from e
    finally:
        with suppress(OSError):
            shutil.rmtree(part) if part.is_dir() else part.unlink()


def _row(response: Response, family: str, prompt: str, surface: str, logprobs: bool) -> Row:
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
    except zlib.error:
        return None


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def _jsonl(target: BinaryIO, batches: Iterable[list[Row]], columns: list[str]) -> None:
    encoder = msgspec.json.Encoder()
    for batch in batches:
        target.write(encoder.encode_lines(batch))


def _csv(target: BinaryIO, batches: Iterable[list[Row]], columns: list[str]) -> None:
    text = io.TextIOWrapper(target, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
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


def _parquet(target: BinaryIO, batches: Iterable[list[Row]], columns: list[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(columns)
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def _dataset(folder: Path, batches: Iterable[list[Row]], columns: list[str]) -> None:
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
