"""CSV and terminal output: RFC 4180, nothing a spreadsheet or a terminal would act on."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from harness.inference.controls import Model, Pool
from harness.inference.findings import NAN, ChannelEvidence, Finding, blank_finding
from harness.report.tables import EVIDENCE, SUMMARY, cell, evidence_csv, summary_csv
from harness.report.terminal import findings_json, plain, print_findings


def finding() -> Finding:
    evidence = (ChannelEvidence("wording", "text", "cosine", 3, 1.0, raw=0.5),)
    pool = Pool("=cmd|' /C calc'!A0", 'p,"q"', (Model("c", "control", "root"),))
    return replace(blank_finding("kinship", pool), sentence="line one\nline two", p_value=0.25, evidence=evidence)


def test_csv_reads_back_and_holds_no_formula() -> None:
    (row,) = csv.DictReader(io.StringIO(summary_csv([finding()]), newline=""))
    assert tuple(row) == SUMMARY
    assert row["suspect"].startswith("'=")
    assert row["candidate"] == 'p,"q"'
    assert row["sentence"] == "line one\nline two"
    assert (row["p_value"], row["log10_lr"]) == ("0.25", "")
    (line,) = csv.DictReader(io.StringIO(evidence_csv([finding()]), newline=""))
    assert tuple(line) == EVIDENCE
    assert summary_csv([finding()]).count("\r\n") == 2


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "  =1", "|x", "%x"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")


def test_numbers_stay_numbers() -> None:
    assert (cell(-1.5), cell(-3), cell(NAN), cell("plain")) == ("-1.5", "-3", "", "plain")


def test_terminal_shows_no_escape_sequence() -> None:
    out = io.StringIO()
    print_findings([replace(finding(), sentence="\x1b[2Jgone \u202eabc")], out)
    assert "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
    assert "gone" in out.getvalue()
    assert plain("a\x07b") == "a\ufffdb"


def test_json_has_null_for_what_is_not_there() -> None:
    (found,) = json.loads(findings_json([finding()]))
    assert found["log10_lr"] is None
    assert found["evidence"][0]["raw"] == 0.5
