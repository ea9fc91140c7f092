"""Findings in a notebook, pandas data frames and Parquet files: the tables with their types, and verdicts as HTML."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from markupsafe import Markup, escape

from harness.inference.conclusion import conclusions
from harness.inference.findings import Attribution, Finding
from harness.inference.survey import Survey
from harness.report import naming, numbers, survey_words, words
from harness.report.dictionary import SCHEMA_VERSION
from harness.report.tables import Table, safe
from harness.report.text import plain

if TYPE_CHECKING:
    import pandas
    import pyarrow


class Findings(tuple[Finding, ...]):
    """The findings of a campaign: a tuple that a notebook shows as conclusions, verdicts and limits."""

    @overload
    def __getitem__(self, at: SupportsIndex) -> Finding: ...
    @overload
    def __getitem__(self, at: slice) -> Findings: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Finding | Findings:
        found = super().__getitem__(at)
        return Findings(found) if isinstance(at, slice) else found  # type: ignore[arg-type, return-value]

    def _repr_html_(self) -> str:
        """What IPython shows: strangers' names are cleaned and escaped."""
        return shown(self)


def shown(findings: Iterable[Finding], attributions: Iterable[Attribution] = (), survey: Survey | None = None) -> str:
    """Findings as HTML for a cell: what all questions say of each pair, a table of verdicts, and what limits them."""
    found = list(findings)
    parts = [_tag("p", _tag("strong", words.concluded(c))) for c in conclusions(found)]
    if found:
        head = ("question", "suspect", "candidate", "verdict", "p adj.", "effect, 95 %", "log10 LR", "control lineages")
        rows = [_row("th", head), *(_row("td", _cells(f)) for f in found)]
        parts.append(_tag("table", Markup("").join(rows)))
        parts += [_details(f) for f in found]
    parts += [_tag("p", naming.attributed(a)) for a in attributions]
    if survey is not None:
        parts.append(_tag("p", f"{survey_words.headline(survey)} {survey_words.meaning(survey)}"))
    return str(Markup("\n").join(parts))


def _cells(f: Finding) -> tuple[str, ...]:
    return (
        f.question, f.suspect, f.candidate, f.verdict, numbers.number(f.p_adjusted), numbers.effect(f),
        numbers.ratio(f), str(len(f.control_lineages)),
    )  # fmt: skip


def _details(f: Finding) -> Markup:
    limits = Markup("").join(_tag("li", text) for text in words.limits(f))
    said = _tag("summary", f"{f.question}, {f.suspect} and {f.candidate}: {words.sentence(f)}")
    return _tag("details", said + _tag("ul", limits))


def _row(kind: str, cells: Iterable[str]) -> Markup:
    return _tag("tr", Markup("").join(_tag(kind, c) for c in cells))


def _tag(name: str, inside: str) -> Markup:
    """An element; text that is no markup of ours is made harmless and escaped."""
    held = inside if isinstance(inside, Markup) else escape(plain(inside))
    return Markup("<{0}>{1}</{0}>").format(name, held)


def frame(table: Table) -> pandas.DataFrame:
    """A table as a pandas data frame, typed as its columns are; pandas is imported here."""
    import pandas as pd

    types = {"number": "float64", "count": "Int64", "yes or no": "boolean", "text": "object"}
    columns = zip(*table.rows, strict=True) if table.rows else ((),) * len(table.columns)
    return pd.DataFrame({
        safe(name): pd.Series([_typed(v, kind) for v in values], dtype=types[kind])
        for (name, kind), values in zip(table.columns.items(), columns, strict=True)
    })  # fmt: skip


def parquet(table: Table) -> bytes:
    """A table as a Parquet file, the typed twin of its CSV file; the same rows and version give the same bytes."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(_arrow(table), out, compression="zstd")
    return out.getvalue()


def _arrow(table: Table) -> pyarrow.Table:
    import pyarrow as pa

    types = {"number": pa.float64(), "count": pa.int64(), "yes or no": pa.bool_(), "text": pa.string()}
    schema = pa.schema(
        [(safe(name), types[kind]) for name, kind in table.columns.items()],
        metadata={"schema_version": str(SCHEMA_VERSION), "table": table.name},
    )
    columns = list(zip(*table.rows, strict=True)) if table.rows else [()] * len(table.columns)
    kinds = table.columns.values()
    arrays = [
        pa.array([_typed(v, kind) for v in values], field.type)
        for field, kind, values in zip(schema, kinds, columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _typed(value: Any, kind: str) -> Any:
    """A value as its column is typed: nothing is None, and text is as safe as in a cell of the CSV file."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return "" if kind == "text" else None
    return safe(str(value)) if kind == "text" else value
