"""Read tables of answers: JSONL, CSV, Parquet or a Hub data set, a batch of rows at a time."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.config import hub_name
from harness.errors import ConfigError

BATCH = 1_000  # rows
ESCAPED = "escaped"  # CSV column: cells of the row that an export gave a leading apostrophe, by column
_FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


Row = Mapping[str | None, Any]  # a column that a config leaves out is looked up as None, and is not there


@dataclass(frozen=True)
class Table:
    """Rows that stay in their file until they are read (a CSV's are in memory); ``digest`` is SHA-256 of the file."""

    digest: str
    columns: tuple[str, ...]
    rows: Any  # datasets.Dataset, memory-mapped

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
        digest, rows = _hub(place) if place.startswith("hf:") else _file(Path(file))
    except OSError as e:
        said = e.strerror or told(str(e))
        raise ConfigError(f"endpoint {name!r}: {where}: {said}", f"a relative path starts at {base}") from e
    except ConfigError as e:
        raise ConfigError(f"endpoint {name!r}: {told(e.message)}", e.hint) from e
    except Exception as e:  # readers raise their own kinds; the reader of this needs one line
        said = next(iter((str(e) or type(e).__name__).splitlines()), "")[:200]
        raise ConfigError(f"endpoint {name!r}: {where}: {told(said)}", "is it readable?") from e
    return Table(digest, tuple(rows.column_names), rows)


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
    from datasets import load_dataset

    repo, split = hub_name(where)
    rows = load_dataset(repo, split=split)
    return hashlib.sha256(f"{where}:{rows._fingerprint}".encode()).hexdigest(), rows


def _file(path: Path) -> tuple[str, Any]:
    from datasets import Dataset, load_dataset

    if path.suffix not in _FORMATS:
        raise ConfigError(f"{path} is not .jsonl, .csv or .parquet", "convert it")
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    if path.suffix == ".csv":
        return digest, Dataset.from_pandas(_read_csv(path), preserve_index=False)
    if path.suffix == ".jsonl":
        return digest, Dataset(_read_jsonl(path))
    return digest, load_dataset(_FORMATS[path.suffix], data_files=str(path), split="train")


def _read_jsonl(path: Path) -> Any:
    """JSON lines with every value as text, for the reader of the library makes dates and numbers of answers."""
    import pyarrow as pa

    batches, rows = [], jsonl_rows(path)
    while batch := [{k: _as_text(v) for k, v in row.items()} for row in itertools.islice(rows, 10 * BATCH)]:
        names = dict.fromkeys(k for row in batch for k in row)
        batches.append(
            pa.Table.from_pydict({n: pa.array([row.get(n) for row in batch], pa.large_string()) for n in names})
        )
    if not batches:
        raise ConfigError(f"{path}: no rows", "is this the right file?")
    return pa.concat_tables(batches, promote_options="default")


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else value.encode("utf-8", "replace").decode()
    return msgspec.json.encode(value).decode()


def jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file of JSON lines; `ConfigError` names the first line that is not one."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError) as e:
                raise ConfigError(f"{path}:{number}: {e}", "each line must be one JSON object") from e


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
