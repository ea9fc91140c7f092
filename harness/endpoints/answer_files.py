"""Read tables of answers: JSONL, CSV, Parquet or a Hub data set, a batch of rows at a time."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.config import hub_rows
from harness.errors import ConfigError
from harness.files import open_regular

BATCH = 1_000  # rows
ESCAPED = "escaped"  # CSV column: cells of the row that an export gave a leading apostrophe, by column
_FORMATS = (".jsonl", ".json", ".csv", ".parquet")
# What is small in a file may be large when it is unfolded: a value that is written once and repeated, cells for keys
# that other rows do not have. It is counted before.
MOST_TIMES = 200  # a Parquet file may become so many times as large; recorded answers become 2 to 20 times
FREE = 64_000_000  # bytes that it may become whatever its size; so much is also kept in memory instead of on disk
MOST_ROWS = 20_000_000
MOST_COLUMNS = 1_000
MOST_LINE = 64_000_000  # bytes of one row of JSON
MOST_IN_MEMORY = 4_000_000_000  # bytes of a file of text, which is read whole
_CONVERT = "make a Parquet file of it: harness import FILE --out answers.parquet"


Row = Mapping[str | None, Any]  # a column that a config leaves out is looked up as None, and is not there


@dataclass(frozen=True)
class Table:
    """Rows that are read when they are needed; ``digest`` is SHA-256 of the file.

    Those of a file of text are in memory, those of a large Parquet file in a folder that is removed with the table.
    """

    digest: str
    columns: tuple[str, ...]
    rows: Any  # datasets.Dataset, memory-mapped
    folder: tempfile.TemporaryDirectory[str] | None = None
    lists: Mapping[str, int] = field(default_factory=dict)  # columns of JSON with lists of texts, and how long one is

    @property
    def kept(self) -> int:
        """Bytes on disk of what stays after the run: of a data set of the Hub, in that library's cache."""
        if self.folder is not None:
            return 0
        files = [Path(f["filename"]) for f in self.rows.cache_files]
        return sum(f.stat().st_size for f in files if f.is_file())

    def read(self, names: Sequence[str], rows: NDArray[np.int64] | None = None) -> Iterator[Row]:
        """These columns of some rows (default: all) in their order."""
        arrow = self.rows.select_columns([n for n in names if n in self.columns]).with_format("arrow")
        count = len(self.rows) if rows is None else len(rows)
        for start in range(0, count, BATCH):
            end = min(start + BATCH, count)
            batch = arrow[start:end] if rows is None else arrow[rows[start:end].tolist()]
            yield from batch.to_pylist()


def open_table(name: str, where: str, base: Path, environ: Mapping[str, str]) -> Table:
    """Open what an endpoint called ``name`` says its answers are in: a path, ``hf:NAME`` or ``hf:NAME:SPLIT``.

    `ConfigError` says in one line what cannot be read, whatever the reader made of it.
    """
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    place = expand(where, environ, name)
    file = os.path.join(base, os.path.expanduser(place))  # noqa: PTH111, PTH118 - of no user's home it makes an error

    def told(said: str) -> str:  # what a variable holds is repeated to nobody
        return said.replace(file, where).replace(place, where) if "${" in where else said

    try:
        return _table(*_hub(place)) if place.startswith("hf:") else _table(*_file(Path(file)))
    except OSError as e:
        said = e.strerror or told(str(e))
        raise ConfigError(f"endpoint {name!r}: {where}: {said}", f"a relative path starts at {base}") from e
    except ConfigError as e:
        raise ConfigError(f"endpoint {name!r}: {told(e.message)}", e.hint) from e
    except Exception as e:  # readers raise their own kinds; the reader of this needs one line
        said = next(iter((str(e) or type(e).__name__).splitlines()), "")[:200]
        raise ConfigError(f"endpoint {name!r}: {where}: {told(said)}", "is it readable?") from e


def _table(
    digest: str,
    rows: Any,
    folder: tempfile.TemporaryDirectory[str] | None = None,
    lists: Mapping[str, int] | None = None,
) -> Table:
    return Table(digest, tuple(rows.column_names), rows, folder, lists or {})


def expand(written: str, environ: Mapping[str, str], name: str) -> str:
    """``${NAME}`` from the environment; `ConfigError` if it is not set."""
    out = written
    if "${" in written and written.startswith("hf:"):
        raise ConfigError(f"endpoint {name!r}: {written}: a variable would be sent to the Hub", "write the name itself")
    for variable in {part.partition("}")[0] for part in written.split("${")[1:]}:
        if variable not in environ:
            raise ConfigError(f"endpoint {name!r}: ${{{variable}}} is not set", f"export {variable}=... and run again")
        out = out.replace(f"${{{variable}}}", environ[variable])
    return os.path.normpath(out) if not out.startswith("hf:") else out


def _hub(where: str) -> tuple[str, Any]:
    rows = hub_rows(where)
    return hashlib.sha256(f"{where}:{rows._fingerprint}".encode()).hexdigest(), rows


def _file(path: Path) -> tuple[Any, ...]:
    from datasets import Dataset

    if path.suffix not in _FORMATS:
        raise ConfigError(f"{path} is not .jsonl, .csv or .parquet", "convert it")
    with open_regular(path) as f:
        if path.suffix == ".parquet":
            _empty(path)  # what is no Parquet file has not to be read for its hash, however large it is
        elif path.stat().st_size > MOST_IN_MEMORY:
            raise ConfigError(f"{path}: more than {MOST_IN_MEMORY:,} bytes of text", _CONVERT)
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    if path.suffix == ".parquet":
        return digest, *_read_parquet(path)
    if path.suffix == ".csv":
        return digest, Dataset.from_pandas(_read_csv(path), preserve_index=False)
    lists: dict[str, int] = {}
    rows = jsonl_rows(path) if path.suffix == ".jsonl" else _json_rows(path)
    return digest, Dataset(_in_columns(path, _noting(rows, lists))), None, lists


def _read_parquet(path: Path) -> tuple[Any, tempfile.TemporaryDirectory[str] | None]:
    """A Parquet file as a data set, and the folder that it is unfolded into if it is large.

    Not by `datasets.load_dataset`, which leaves a copy of the answers in its own cache.
    """
    import pyarrow as pa
    from datasets import Dataset

    batches, size, few = parquet_batches(path), 0, list[Any]()
    for batch in batches:
        few.append(batch)
        size += batch.nbytes
        if size > FREE:
            break
    else:
        return Dataset(pa.Table.from_batches(few) if few else _empty(path)), None
    folder = tempfile.TemporaryDirectory(prefix="recorded-answers-")
    where = str(Path(folder.name) / "answers.arrow")
    with pa.OSFile(where, "wb") as sink, pa.ipc.new_stream(sink, few[0].schema) as out:
        for batch in itertools.chain(few, batches):
            out.write_batch(batch)
    return Dataset.from_file(where), folder


def _empty(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.read_schema(path).empty_table()


def parquet_batches(path: Path) -> Iterator[Any]:
    """Batches of rows of a Parquet file, each counted before repeated values in it are written out.

    `ConfigError` for more than `MOST_ROWS`, or if the file becomes more than `MOST_TIMES` its size.
    """
    import pyarrow as pa
    from pyarrow import compute, parquet

    with parquet.ParquetFile(path) as file:
        texts = [f.name for f in file.schema_arrow if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        about = file.metadata
        packed = sum(about.row_group(g).total_byte_size for g in range(about.num_row_groups))
    long = {pa.string(), pa.large_string(), pa.binary(), pa.large_binary()}
    most, size = max(FREE, MOST_TIMES * path.stat().st_size), 0
    if about.num_rows > MOST_ROWS or about.num_columns > MOST_COLUMNS:
        said = f"{about.num_rows:,} rows of {about.num_columns:,} columns"
        raise ConfigError(f"{path}: {said}", f"at most {MOST_ROWS:,} and {MOST_COLUMNS:,}: split it")
    if packed > most:
        raise _bomb(path, packed)
    with parquet.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(BATCH):
            columns = []
            for column in batch.columns:
                if pa.types.is_dictionary(column.type) and column.type.value_type in long:
                    lengths = compute.binary_length(column.dictionary).take(column.indices)
                    size += compute.sum(lengths).as_py() or 0
                else:
                    size += column.nbytes
                if size > most:
                    raise _bomb(path, size)
                columns.append(column.dictionary_decode() if pa.types.is_dictionary(column.type) else column)
            yield pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _bomb(path: Path, size: int) -> ConfigError:
    return ConfigError(
        f"{path}: {path.stat().st_size:,} bytes become {size:,} and more when they are unfolded",
        f"a table of answers becomes {MOST_TIMES} times its size at most; who made it?",
    )


def _noting(rows: Iterator[dict[str, Any]], lists: dict[str, int]) -> Iterator[dict[str, Any]]:
    """The same rows; which keys have lists of several texts, and of how many, is written into ``lists``."""
    for row in rows:
        for name, value in row.items():
            if isinstance(value, list) and len(value) > 1 and all(isinstance(v, str) for v in value):
                lists[name] = len(value)
        yield row


def _in_columns(path: Path, rows: Iterator[dict[str, Any]]) -> Any:
    """Rows of JSON with every value as text, for the reader of the library makes dates and numbers of answers."""
    import pyarrow as pa

    batches, known = [], dict[str, None]()
    while batch := [{k: _as_text(v) for k, v in row.items()} for row in itertools.islice(rows, 10 * BATCH)]:
        names = dict.fromkeys(k for row in batch for k in row)
        known |= names
        if len(known) > MOST_COLUMNS:
            raise ConfigError(f"{path}: more than {MOST_COLUMNS:,} different keys", "give all rows the same ones")
        batches.append(
            pa.Table.from_pydict({n: pa.array([row.get(n) for row in batch], pa.large_string()) for n in names})
        )
    if not batches:
        raise ConfigError(f"{path}: no rows", "is this the right file?")
    return pa.concat_tables(batches, promote_options="default")


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file that is one list of them, or of lines of JSON."""
    with path.open("rb") as f:
        is_list = f.read(64).lstrip().startswith(b"[")
    if not is_list:
        return jsonl_rows(path)
    content = path.read_bytes()
    try:
        return iter(msgspec.json.decode(content, type=list[dict[str, Any]]))
    except msgspec.DecodeError:
        whole = _object(b'{"rows":' + content + b"}")["rows"]
    return iter(msgspec.convert(whole, type=list[dict[str, Any]]))


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else value.encode("utf-8", "replace").decode()
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return _as_text(value[0])
    return msgspec.json.encode(value).decode()


def jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file of JSON lines; `ConfigError` names the first line that is not one."""
    with path.open("rb") as lines:
        for number in itertools.count(1):
            line = lines.readline(MOST_LINE + 1)
            if not line:
                return
            if len(line) > MOST_LINE:
                raise ConfigError(f"{path}:{number}: a line of more than {MOST_LINE:,} bytes", "one answer a line")
            if not line.strip():
                continue
            try:
                yield _object(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
                raise ConfigError(f"{path}:{number}: {e}", "each line must be one JSON object") from e


def _object(line: bytes) -> dict[str, Any]:
    """A JSON object; NaN and Infinity, which Python writes and no JSON has, are nothing in it."""
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        with contextlib.suppress(ValueError):
            found = json.loads(line, parse_constant=lambda _: None)
            if isinstance(found, dict):
                return found
        raise


def _read_csv(path: Path) -> Any:
    """A CSV with every cell as text: `null` is what a model said, and 007 a name. Undoes what an export escaped."""
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if ESCAPED in table.columns:
        for column in set(table.columns) - {ESCAPED}:
            changed = table[ESCAPED].str.split().map(lambda names, c=column: c in names)
            table.loc[changed, column] = table.loc[changed, column].str.removeprefix("'")
    return table


def count(value: object) -> int | None:
    """A whole number as tables hold it: as such, as a float where others are missing, or as text; else None."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and 0 <= number < 1 << 53 else None
