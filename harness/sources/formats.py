"""Files to rows: CSV and its kin, JSON, Parquet, spreadsheets, Inspect's logs, folders, data sets of the Hub.

What a file is, its first bytes say; its ending is asked only where they do not. Everything is bounded.
"""

from __future__ import annotations

import gzip
import itertools
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from harness.config import hub_name
from harness.endpoints import bare_environment, parquet_batches
from harness.errors import ConfigError
from harness.files import open_regular
from harness.sources import workbook
from harness.sources.delimited import by_heading, decoded, table_rows
from harness.sources.documents import json_rows
from harness.sources.entries import Row, Sheet, Unread

T = TypeVar("T")
MOST_BYTES = 1 << 29  # of one file, unpacked; JSON takes some ten times as much in memory
MOST_ROWS = 2_000_000
MOST_FILES = 2_000  # of one folder
ENDINGS = (
    *(".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".eval", ".gz", ".tab"),
    *(".feather", ".arrow", ".md", ".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"),
)
_ZSTD = 93  # how Inspect packs its logs; the zip of Python 3.11 to 3.13 does not read it
_WEB_PAGE = (
    "a web page",
    "download the file itself, not the page; a table of it opens in a spreadsheet, to be saved as XLSX",
)
_NOT_ANSWERS: Mapping[bytes, tuple[str, str]] = {  # first bytes -> what this is, what to do
    b"%PDF": ("a PDF", "export the table from where it came, as CSV or XLSX"),
    b"SQLite format 3": ("a database", "export the table with the answers, as CSV"),
    b"\x80\x04": ("a pickle", "pickles can run code and are never opened: save as Parquet or JSONL"),
    b"\x80\x05": ("a pickle", "pickles can run code and are never opened: save as Parquet or JSONL"),
    b"\x93NUMPY": ("an array of NumPy", "save texts as CSV or JSONL"),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file", "git lfs pull"),
    **dict.fromkeys((b"<!DOCTYPE", b"<!doctype", b"<html"), _WEB_PAGE),
    b"\x28\xb5\x2f\xfd": ("packed with Zstandard", "unpack it first: zstd -d FILE"),
    b"BZh": ("packed with bzip2", "unpack it first: bunzip2 FILE"),
    b"\xfd7zXZ": ("packed with xz", "unpack it first: unxz FILE"),
    b"7z\xbc\xaf": ("packed with 7-Zip", "unpack it first"),
    b"Obj\x01": ("an Avro file", "save it as Parquet or JSONL"),
    b"ORC": ("an ORC file", "save it as Parquet or JSONL"),
    b"\x89HDF": ("an HDF5 file", "save the texts as Parquet or JSONL"),
    b"\x89PNG": ("a picture", "name the file with the texts"),
}
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"


def open_source(source: str) -> Iterator[Sheet | Unread]:
    """Sheets of a file, of every file in a folder, or of a data set ``hf:NAME[:SPLIT]``.

    `ConfigError` for what cannot be read, in one line; in a folder that is an `Unread`, and the rest goes on.
    """
    if source.startswith("hf:"):
        yield in_one_line(source, lambda: _hub(source))
        return
    path = Path(source).expanduser()
    if not path.is_dir():
        yield from in_one_line(source, lambda: list(_file(path, source)))
        return
    if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
        yield from in_one_line(source, lambda: list(_saved(path, source)))
        return
    files = [p for p in sorted(path.rglob("*")) if p.is_file() and not _hidden(p.relative_to(path))]
    if len(files) > MOST_FILES:
        raise ConfigError(f"{source}: {len(files):,} files", f"at most {MOST_FILES:,}: name the folder that matters")
    for file in files:
        if file.suffix.lower() not in ENDINGS:
            continue
        try:
            yield from in_one_line(str(file), lambda file=file: list(_file(file, str(file))))  # type: ignore[misc]
        except ConfigError as e:
            yield Unread(str(file), e.message.removeprefix(f"{file}: "))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__")) for part in path.parts)


def in_one_line(source: str, work: Callable[[], T]) -> T:
    """What ``work`` gives; whatever a reader raises becomes a `ConfigError` of one line that names the source."""
    try:
        return work()
    except ConfigError as e:
        raise e if e.message.startswith(source) else ConfigError(f"{source}: {e.message}", e.hint) from e
    except OSError as e:
        raise ConfigError(f"{source}: {e.strerror or e}", "check the path") from e
    except Exception as e:  # readers raise their own kinds; the reader of this needs one line
        said = (str(e) or type(e).__name__).splitlines()[0][:200]
        raise ConfigError(f"{source}: {said}", "is the file whole? open it in the program that wrote it") from e


def _file(path: Path, source: str) -> Iterator[Sheet]:
    with open_regular(path) as f:
        start = f.read(64)
    if not start:
        raise ConfigError(f"{source}: the file is empty", "is this the right one?")
    for mark, (what, hint) in _NOT_ANSWERS.items():
        if start.startswith(mark):
            raise ConfigError(f"{source}: this is {what}", hint)
    if path.suffix.lower() in (".yaml", ".yml"):
        raise ConfigError(f"{source}: this is YAML", "save it as JSON, an object an answer: model, prompt, output")
    if start.startswith(b"ARROW1"):
        yield Sheet(source, path.stem, "Arrow", tuple(_arrow(path)), path.parent.name)
    elif start.startswith(b"PAR1"):
        yield Sheet(source, path.stem, "Parquet", tuple(_parquet(path)), path.parent.name)
    elif start.startswith(b"PK\x03\x04"):
        yield from _zip(path, source)
    elif start.startswith(_OLD_EXCEL):
        yield from _workbook(path, source)
    elif start.startswith(b"\x1f\x8b"):
        with gzip.open(path) as f:
            yield _text(_bounded(f, source), path.with_suffix(""), source)
    elif path.stat().st_size > MOST_BYTES:
        raise _too_large(source)
    else:
        with path.open("rb") as f:
            yield _text(_bounded(f, source), path, source)


def _too_large(source: str) -> ConfigError:
    return ConfigError(f"{source}: more than {MOST_BYTES >> 20:,} MB", "split it, or make it a Parquet file")


def _bounded(file: Any, source: str) -> bytes:
    data: bytes = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise _too_large(source)
    return data


def _text(data: bytes, path: Path, source: str) -> Sheet:
    text, encoding = decoded(data)
    if (head := text[:4096]).count("\0") * 50 > len(head):  # one may stand in an answer
        raise ConfigError(f"{source}: this is no text: it holds zero bytes", "save the answers as CSV, JSON or Parquet")
    text = text.removeprefix("\ufeff")
    name, folder, start = path.stem, path.parent.name, text.lstrip()[:1]
    is_json = (
        path.suffix.lower() in (".json", ".jsonl", ".ndjson") or start == "{" or text.lstrip()[:2] in ("[{", "[\n")
    )
    if is_json and start in ("{", "["):
        rows, form = json_rows(text, source), "JSON" if path.suffix.lower() == ".json" else "JSON lines"
        return Sheet(source, name, form, _counted(rows), folder, encoding)
    if is_json:
        raise ConfigError(f"{source}:1: this is no JSON", f"it begins with {text.lstrip()[:20]!r}")
    found, delimiter, torn = table_rows(text)
    if not found:
        raise ConfigError(f"{source}: no table in it", "a first line with headings, then one line a row")
    return Sheet(source, name, "text", _counted(found), folder, encoding, delimiter, torn=torn)


def _counted(rows: list[Row]) -> tuple[Row, ...]:
    if len(rows) > MOST_ROWS:
        raise ConfigError(f"{len(rows):,} rows", f"at most {MOST_ROWS:,}: split the file")
    return tuple(rows)


def _parquet(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        if file.metadata.num_rows > MOST_ROWS:
            raise ConfigError(f"{file.metadata.num_rows:,} rows", f"at most {MOST_ROWS:,}: split the file")
    read = 0
    for batch in parquet_batches(path):
        read += batch.nbytes
        if read > 4 * MOST_BYTES:
            raise ConfigError(f"more than {4 * MOST_BYTES >> 20:,} MB unpacked", "split the file")
        yield from batch.to_pylist()


def _arrow(path: Path) -> Iterator[Row]:
    """Rows of an Arrow file, which Feather's second version is, too."""
    import pyarrow as pa

    read = rows = 0
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as found:
        for number in range(found.num_record_batches):
            batch = found.get_batch(number)
            read, rows = read + batch.nbytes, rows + batch.num_rows
            if read > 4 * MOST_BYTES or rows > MOST_ROWS:
                raise ConfigError(f"more than {MOST_ROWS:,} rows or {4 * MOST_BYTES >> 20:,} MB", "split the file")
            yield from batch.to_pylist()


def _zip(path: Path, source: str) -> Iterator[Sheet]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(m.file_size for m in members) > MOST_BYTES:
            raise ConfigError(f"{source}: more than {MOST_BYTES >> 20:,} MB unpacked", "split it")
        names = {m.filename for m in members}
        if "header.json" in names or "_journal/start.json" in names:
            yield Sheet(source, path.stem, "Inspect log", tuple(_inspect(archive)), path.parent.name)
            return
    if any(n.startswith("word/") for n in names):
        raise ConfigError(f"{source}: this is a text document", "copy its table into a spreadsheet and save that")
    if not any(n in names for n in ("xl/workbook.xml", "xl/workbook.bin", "content.xml")):
        raise ConfigError(f"{source}: this is a zip file", "unpack it, and name the folder or the files")
    yield from _workbook(path, source)


def _inspect(archive: zipfile.ZipFile) -> Iterator[Row]:
    """A row a sample, as Inspect's JSON log has it; a run that was cut short has no header, but its journal."""
    names = archive.namelist()
    head = next(n for n in ("header.json", "_journal/start.json") if n in names)
    header = json_rows(_member(archive, head).decode("utf-8", "replace"), head)[0]
    for name in sorted(n for n in names if n.startswith("samples/") and n.endswith(".json")):
        found = json_rows(_member(archive, name).decode("utf-8", "replace"), name)
        yield {"eval": header.get("eval"), "samples": found, "status": header.get("status")}


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != _ZSTD:
        with archive.open(info) as f:
            return _bounded(f, name)
    import pyarrow as pa

    file: BinaryIO = archive.fp  # type: ignore[assignment]
    file.seek(info.header_offset)
    lengths = struct.unpack("<HH", file.read(30)[26:30])  # of the name and of the extra field, which stand before it
    file.seek(sum(lengths), 1)
    packed = pa.BufferReader(file.read(info.compress_size))
    return _bounded(pa.CompressedInputStream(packed, "zstd"), name)


_WORKBOOK_SECONDS = 120.0


def _workbook(path: Path, source: str) -> Iterator[Sheet]:
    command = [sys.executable, "-P", workbook.__file__, str(path.absolute())]
    bare = bare_environment(os.environ)
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_WORKBOOK_SECONDS, env=bare)  # noqa: S603
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        said = f"{source}: no spreadsheet that fits into memory and {_WORKBOOK_SECONDS:g} s"
        raise ConfigError(said, "is there a lone cell far from the others? save the table alone, as CSV") from None
    found = workbook.sheets(done.stdout)
    for name, grid in found:
        rows, torn = by_heading(grid)
        if rows:
            only = len(found) == 1
            yield Sheet(
                source, path.stem if only else name, "spreadsheet", _counted(rows), path.parent.name,
                is_sheet=not only, torn=torn,
            )  # fmt: skip


def _hub(source: str) -> Sheet:
    from datasets import load_dataset

    repo, split = hub_name(source)
    rows = load_dataset(repo, split=split, streaming=True)
    return Sheet(source, repo.rpartition("/")[2], "data set", tuple(itertools.islice(map(dict, rows), MOST_ROWS)))


def _saved(path: Path, source: str) -> Iterator[Sheet]:
    from datasets import Dataset, load_from_disk

    found = load_from_disk(str(path))
    for name, part in {path.name: found}.items() if isinstance(found, Dataset) else found.items():
        yield Sheet(source, name, "data set", _counted(part.to_list()), path.name)
