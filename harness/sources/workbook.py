"""Spreadsheets, read by a process of their own: two cells far apart are a grid of terabytes, and end the reader.

The library makes a whole grid of each sheet, and where memory does not suffice it ends the process that it is in. So it
has one for itself, with a bound on its memory, without keys; what it reads comes back as sheets of plain cells.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

MOST_MEMORY = 4 << 30  # bytes
_Sheet = tuple[str, list[list[Any]]]


def sheets(data: bytes) -> list[_Sheet]:
    """Names and rows of the sheets in what the reader wrote; ``ValueError`` with its own words where it failed."""
    found = msgspec.msgpack.decode(data)
    if isinstance(found, str):
        raise ValueError(found)
    return [(name, rows) for name, rows in found]


def read(path: str) -> list[_Sheet]:
    """Names and rows of all sheets of a workbook, cells as text, numbers and truth values."""
    from python_calamine import CalamineWorkbook

    book = CalamineWorkbook.from_path(path)
    grids = ((name, book.get_sheet_by_name(name).to_python(skip_empty_area=True)) for name in book.sheet_names)
    return [(name, [list(map(_plain, row)) for row in rows]) for name, rows in grids]


def _plain(cell: object) -> object:
    """Dates and times as text."""
    return cell if isinstance(cell, str | int | float | bool) or cell is None else str(cell)


def main() -> None:
    """``workbook PATH`` writes what `sheets` reads, or what is wrong with the file, to standard output."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    except (ImportError, OSError, ValueError):
        pass  # a system without such bounds: the reader ends alone all the same
    try:
        found: object = read(sys.argv[1])
    except Exception as e:  # the library's errors are its own; the reader of this needs one line
        found = (str(e) or type(e).__name__).splitlines()[0]
    sys.stdout.buffer.write(msgspec.msgpack.encode(found))


if __name__ == "__main__":
    main()
