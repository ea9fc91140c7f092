"""Tables of all pairs: every pair of every channel, squares that agree with them, typed twins, in seconds."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness.inference.breakdown import all_pairs
from harness.inference.excess import excess
from harness.records import Observation, Similarity
from harness.report.dictionary import CHANGES, FILES, SCHEMA_VERSION
from harness.report.notebook import frame, parquet
from harness.report.tables import Table, csv_text, tables
from tests.support.results import Found, alike, read, results


def campaign(models: int = 7) -> Found:
    """Two channels, of which one finds the first pair; one answer is missing."""
    gap = alike("style", models, 30, seed=1)
    gap.values[3, 2] = gap.values[3, :, 2] = np.nan
    return results(similarities=[alike("wording", models, 40, closer=0.1), gap])


def test_every_pair_of_every_channel_has_a_row_with_who_its_models_are() -> None:
    rows = read("pairs", campaign())
    assert tuple(rows[0]) == tuple(FILES["pairs"].columns)
    assert len(rows) == 2 * 7 * 6 // 2
    assert len({(r["channel"], r["a"], r["b"]) for r in rows}) == len(rows)
    first = rows[0]
    assert (first["a"], first["b"], first["role_a"], first["lineage_b"]) == ("m0", "m1", "control", "root of m1")
    assert float(first["raw"]) == pytest.approx(float(first["expected"]) + float(first["residual"]), abs=1e-5)
    assert float(first["residual_low"]) > 0  # the pair that is closer
    assert {r["prompts"] for r in rows if r["channel"] == "style" and "m2" in (r["a"], r["b"])} == {"29"}


def test_pairs_are_ordered_as_excess_orders_them() -> None:
    s = alike("wording", 8, 60, seed=4)
    at = np.triu_indices(8, 1)
    assert np.array_equal(np.argsort(all_pairs(s).residual[at]), np.argsort(excess(s.values)[at]))
    assert np.nanstd(all_pairs(s).excess) == pytest.approx(1.0, abs=0.05)


def test_the_interval_of_a_residual_holds_what_repetition_shows() -> None:
    """Of 300 collections of 25 prompts the residual of all prompts together lies in about 95 % of the intervals."""
    s = alike("wording", 6, 300 * 25, seed=2)
    truth = all_pairs(s).residual[0, 1]
    parts = [all_pairs(replace(s, prompts=s.prompts[i : i + 25], values=s.values[i : i + 25]))
             for i in range(0, 7500, 25)]  # fmt: skip
    held = [bool(p.low[0, 1] <= truth <= p.high[0, 1]) for p in parts]
    assert 0.91 < np.mean(held) < 0.985


@pytest.mark.parametrize("models", [2, 3])
@pytest.mark.filterwarnings("error")
def test_few_models_have_raw_similarities_and_no_residuals(models: int) -> None:
    rows = read("pairs", campaign(3) if models == 3 else results(similarities=[alike("wording", 2, 5)]))
    assert all(r["raw"] and not (r["expected"] or r["residual"] or r["residual_low"] or r["excess"]) for r in rows)


@pytest.mark.filterwarnings("error")
def test_models_without_an_answer_in_common_have_empty_cells() -> None:
    s = alike("wording", 5, 4)
    s.values[:2, 0], s.values[:2, :, 0] = np.nan, np.nan
    s.values[2:, 1], s.values[2:, :, 1] = np.nan, np.nan
    first = read("pairs", results(similarities=[s]))[0]
    assert (first["raw"], first["residual"], first["prompts"]) == ("", "", "0")


def test_a_square_holds_what_the_rows_hold() -> None:
    found = campaign()
    rows = {(r["channel"], r["a"], r["b"]): r for r in read("pairs", found)}
    for channel in ("wording", "style"):
        square = read(f"matrix-{channel}", found)
        assert [r["measure"] for r in square] == ["raw"] * 7 + ["residual"] * 7
        for r in square:
            for other in (m for m in r if m not in ("measure", "model")):
                key = (channel, *sorted((r["model"], other)))
                assert r[other] == (rows[key][r["measure"]] if key in rows else "")


def test_a_channel_of_any_name_has_a_file_of_its_own_in_this_folder() -> None:
    names = ["../../etc/x", "a/b", "a:b", "A-b", "=cmd", "", "con\x00", "é" * 300]
    found = results(similarities=[alike(n, 4, 5) for n in names])
    files = [t.name for t in tables(found) if t.name.startswith("matrix-")]
    assert len({f.casefold() for f in files}) == len(names)
    assert all(f.isascii() and set(f) <= set("abcdefghijklmnopqrstuvwxyzA0123456789-") for f in files)
    assert max(map(len, files)) < 80


def test_every_table_says_which_columns_it_has_and_no_cell_is_a_list() -> None:
    for t in tables(campaign()):
        assert all(len(row) == len(t.columns) for row in t.rows)
        assert all(isinstance(v, str | int | float | bool | None) for row in t.rows for v in row)
    assert "control_lineages" in FILES["summary"].columns
    assert not {"controls", "limits"} & set(FILES["summary"].columns)
    assert max(CHANGES) == SCHEMA_VERSION


@pytest.mark.parametrize("name", [n for n in FILES if n != "matrix-CHANNEL"])
def test_a_typed_twin_reads_back_as_the_csv_file_does(name: str) -> None:
    kinds = {c: k.kind for c, k in FILES[name].columns.items()}
    made = {"text": ("a", "=1"), "number": (0.25, float("nan")), "count": (3, None), "yes or no": (True, None)}
    rows = [[made[kind][i] for kind in kinds.values()] for i in (0, 1)]
    table = Table(name, kinds, rows)
    arrow = pq.read_table(io.BytesIO(parquet(table)))
    assert arrow.schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
    types = {"text": "string", "number": "double", "count": "int64", "yes or no": "bool"}
    assert [str(f.type) for f in arrow.schema] == [types[k] for k in kinds.values()]
    read_back = list(csv.DictReader(io.StringIO(csv_text(table), newline="")))
    for row, typed in zip(read_back, arrow.to_pylist(), strict=True):
        for column, kind in kinds.items():
            value = typed[column]
            shown = "" if value is None else {True: "yes", False: "no"}[value] if kind == "yes or no" else str(value)
            assert row[column] == shown
    assert parquet(table) == parquet(table)
    pd.testing.assert_frame_equal(frame(table), frame(table))
    assert list(frame(table).columns) == list(kinds)


def test_a_table_without_rows_is_typed_too() -> None:
    table = Table("x", {"a": "text", "b": "count"}, [])
    assert pq.read_table(io.BytesIO(parquet(table))).num_rows == len(frame(table)) == 0


def test_the_mark_of_utf_8_is_an_option() -> None:
    (table, *_) = tables(campaign())
    assert csv_text(table, bom=True) == "\ufeff" + csv_text(table)


def test_observations_say_what_was_looked_at_where_nothing_was_seen() -> None:
    nothing = read("observations", campaign())
    assert [r["channel"] for r in nothing] == ["metadata", "tokenizer", "identity", "refusals", "reading", "relatives"]
    assert {r["what"] for r in nothing} == {"looked at"}
    assert "of 7 models: 0 with an observation" in nothing[0]["value"]
    assert "not asked" in nothing[1]["value"]
    seen = replace(campaign(), observations=(Observation("reading", "m0", "markup", "=1 of 2"),))
    first, *rest = read("observations", seen)
    assert (first["model"], first["value"]) == ("m0", "'=1 of 2")
    assert next(r for r in rest if r["channel"] == "reading")["value"].endswith("1 with an observation")


def test_tables_of_118_models_and_eight_channels_take_seconds() -> None:
    one = alike("wording", 118, 100)
    found = results(similarities=[Similarity(f"c{i}", *_rest(one)) for i in range(8)])
    began = time.process_time()
    texts = {t.name: csv_text(t) for t in tables(found)}
    assert texts["pairs"].count("\r\n") == 1 + 8 * 118 * 117 // 2
    assert time.process_time() - began < 20


def _rest(s: Similarity) -> tuple[object, ...]:
    return s.models, s.prompts, s.values, s.coverage, s.unit, s.sees
