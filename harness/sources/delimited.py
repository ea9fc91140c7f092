"""Text files as people save them: which encoding (BOM, UTF-16, cp1252 ...), which delimiter, which rows are whole."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from harness.errors import ConfigError
from harness.sources.cells import text_of
from harness.sources.columns import is_heading
from harness.sources.entries import Row

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What spreadsheets of the world write without saying so; the first is taken where nothing else fits.
_CODE_PAGES = [
    *("cp1252", "cp1250", "cp1251", "cp932", "gb18030", "big5", "cp949", "mac_roman"),
    *("cp1254", "cp1253", "cp1257"),
]
_DELIMITERS = ",;\t|~^\x1f\xa6"
_MARKED = re.compile(r"\s*\|?(?:\s*:?-{2,}:?\s*\|)+(?:\s*:?-{2,}:?)?\s*")  # under the headings of a table in Markdown
_LOOKED_AT = 200_000  # characters, of which a dialect is guessed
_ROWS_LOOKED_AT = 300
_LONGEST_HEADING = 150  # characters: some write the whole question above its column
_TIE = 0.02  # difference of disorder that says nothing: short texts fit several code pages
_NULS = 0.2  # share of zero bytes on one side from which bytes are UTF-16


def decoded(data: bytes) -> tuple[str, str]:
    """Bytes as text, and the name of the encoding: by its mark, as UTF-8, as UTF-16, else by its letters.

    Examples
    --------
    >>> decoded("caf\\u00e9".encode("utf-16-le"))
    ('café', 'utf-16-le')
    >>> decoded("Er sagte \\u201eja\\u201c \\u2013 f\\u00fcr ihn hei\\u00dft das nichts.".encode("cp1252"))[1]
    'cp1252'
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _with(data, name)
    if half := _without_mark(data):
        return data.decode(half, "replace"), half
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        name = _by_letters(data)
        return data.decode(name, "replace"), name


def _with(data: bytes, name: str) -> tuple[str, str]:
    try:
        return data.decode(name), name
    except UnicodeDecodeError as e:
        raise ConfigError(f"byte {e.start} is no {name}", "save the file again, as UTF-8") from e


def _without_mark(data: bytes) -> str:
    """UTF-16 by its zero bytes: every second one where the text is mostly Latin."""
    start = data[:4096]
    low, high = start[1::2].count(0), start[0::2].count(0)
    most = max(1, len(start) // 2)
    if low / most > _NULS and high / most < _NULS / 4:
        return "utf-16-le"
    return "utf-16-be" if high / most > _NULS and low / most < _NULS / 4 else ""


def _by_letters(data: bytes) -> str:
    from charset_normalizer import from_bytes

    # A cut may stand in the middle of a character, so only lines with something to tell by are looked at.
    telling = b"\n".join(line for line in data.splitlines() if not line.isascii())[:_LOOKED_AT]
    found = list(from_bytes(telling, cp_isolation=_CODE_PAGES))
    least = min((m.chaos for m in found), default=0.0)
    likely = {name for m in found if m.chaos <= least + _TIE for name in m.could_be_from_charset}
    names = [name for name in _CODE_PAGES if name in likely] or _CODE_PAGES[:1]
    head = data.lstrip().partition(b"\n")[0][:_LOOKED_AT]
    return max(
        names, key=lambda name: _headings_in(head.decode(name, "replace"))
    )  # the first of those that know as many


def _headings_in(line: str) -> int:
    """How many cells of a line are headings that somebody is known to write."""
    return sum(is_heading(cell) for cell in re.split(f"[{re.escape(_DELIMITERS)}]", line))


def delimiter_of(text: str) -> str:
    """The character between cells: the one that cuts most rows into equally many cells, and into more than one.

    Examples
    --------
    >>> delimiter_of('prompt;answer\\n"a; b";yes, of course\\nc;no\\n')
    ';'
    """
    if text[:4].lower() == "sep=":
        return text[4:5]
    found = {d: _agreement(text[:_LOOKED_AT], d) for d in _DELIMITERS}
    return max(found, key=lambda d: found[d])


def _agreement(text: str, delimiter: str) -> tuple[float, int]:
    widths = [len(row) for row in _cells(text, delimiter, most=200) if any(row)]
    if len(text) == _LOOKED_AT:
        widths = widths[:-1]
    if not widths or widths[0] < 2:
        return 0.0, 0
    return Counter(widths)[widths[0]] / len(widths), widths[0]


def _cells(text: str, delimiter: str, most: int = sys.maxsize) -> Iterator[list[str]]:
    csv.field_size_limit(min(sys.maxsize, 1 << 31))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for number, row in enumerate(reader):
        if number >= most:
            return
        yield row


def table_rows(text: str) -> tuple[list[Row], str, int]:
    """Rows by heading, the delimiter, and how many rows are torn: they have more cells than there are headings."""
    if marked := _markdown(text):
        found, broken = by_heading(marked)
        return found, "|", broken
    delimiter = delimiter_of(text)
    if text[:4].lower() == "sep=":
        text = text.partition("\n")[2]
    try:
        cells = list(_cells(text, delimiter))
        rows, torn = by_heading(cells if _has_headings(cells) else [_places(cells), *cells])
    except csv.Error as e:
        raise ConfigError(f"no table: {e}", "save it again as CSV, each text in quotes") from e
    return rows, delimiter, torn


def _markdown(text: str) -> list[list[str]]:
    """Cells of a table in Markdown, whatever stands round it; none if there is none."""
    lines = text.splitlines()
    under = next((i for i, line in enumerate(lines) if i and "|" in line and _MARKED.fullmatch(line)), 0)
    if not under:
        return []
    rows = [lines[under - 1], *itertools.takewhile(lambda line: "|" in line, lines[under + 1 :])]
    bare = (row.strip().removeprefix("|").removesuffix("|") for row in rows)
    return [[c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", row)] for row in bare]


def _has_headings(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line holds headings: none is as long as a sentence, or recurs in its own column."""
    first, *rest = [row for row in rows if any(row)][:_ROWS_LOOKED_AT] or [[]]
    columns = [[row[i] for row in rest if i < len(row)] for i in range(len(first))]
    return not any(len(h) > _LONGEST_HEADING or (h and c.count(h) > 1) for h, c in zip(first, columns, strict=True))


def _places(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"column {i + 1}" for i in range(max(map(len, rows)))]


def by_heading(rows: Iterable[Sequence[object]]) -> tuple[list[Row], int]:
    """Rows under the first line that has two cells or more, and how many are torn. Lines without any text are left out.

    A heading that stands twice gets a number; one that is empty is called by its place.
    """
    headings: list[str] = []
    out: list[Row] = []
    torn = 0
    for row in rows:
        filled = [i for i, v in enumerate(row) if text_of(v).strip()]
        if not headings:
            # One word over several columns is what they have in common; their own headings stand below.
            if len(filled) > 1 and len({text_of(row[i]).strip() for i in filled}) > 1:
                headings = _named([text_of(v).strip() for v in row[: filled[-1] + 1]])
            continue
        if not filled:
            continue
        if filled[-1] >= len(headings):
            torn += 1
            continue
        out.append(dict(zip(headings, [*row, *[None] * len(headings)], strict=False)))
    return out, torn


def _named(headings: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    out = []
    for place, heading in enumerate(headings, start=1):
        name = heading or f"column {place}"
        seen[name] += 1
        out.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return out
