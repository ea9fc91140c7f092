"""CSV and terminal output: RFC 4180, nothing a spreadsheet or a terminal would act on."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from harness.inference.assessment import Compared
from harness.inference.breakdown import telling
from harness.inference.excess import additive_residuals, excess
from harness.inference.findings import NAN, Caveat, ChannelEvidence, Finding
from harness.records import Similarity
from harness.report.tables import EVIDENCE, FILES, SUMMARY, cell, dictionary, evidence_csv, summary_csv
from harness.report.terminal import findings_json, print_findings
from harness.report.text import Piece, excerpt, harmless, plain, shared_runs, window
from tests.support import ROOT


def finding() -> Finding:
    evidence = (ChannelEvidence("wording", "text", "cosine", 3, 1.0, raw=0.5),)
    blank = Finding("kinship", "=cmd|' /C calc'!A0", 'p,"q"', ("root",), 0.05)
    said = Caveat("too few shared prompts", names=("line one\nline two", "b"))
    return replace(blank, obstacle=said, p_value=0.25, evidence=evidence)


def test_csv_reads_back_and_holds_no_formula() -> None:
    (row,) = csv.DictReader(io.StringIO(summary_csv([finding()]), newline=""))
    assert tuple(row) == tuple(SUMMARY)
    assert row["suspect"].startswith("'=")
    assert row["candidate"] == 'p,"q"'
    assert row["sentence"].startswith("Cannot tell: line one\nline two and b have")
    assert (row["p_value"], row["log10_lr"]) == ("0.25", "")
    (line,) = csv.DictReader(io.StringIO(evidence_csv([finding()]), newline=""))
    assert tuple(line) == tuple(EVIDENCE)
    assert summary_csv([finding()]).count("\r\n") == 2


@pytest.mark.parametrize(
    "text",
    [*("=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "  =1", "|x", "%x", "\ufeff=1", "\u3000@x", "\u200b+1", "\xa0-1"),
     *("\x00=1", "＝1", "＋1", "－1", "＠x", "﹦1", "\ufeff ＝1", "\u202e=1")],
)  # fmt: skip
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")


def test_a_long_or_hostile_cell_fits_one_cell_of_one_row() -> None:
    wild = replace(
        finding(),
        control_lineages=("=" * 1_000_000,),
        candidate="a\x00b\x1b[2J\u202ec\ud800",
        obstacle=Caveat("too few shared prompts", names=('a "b"\r\nc, d\n\n=e', "f")),
        caveats=(Caveat("mixed models", names=("\t=x", "z;z")), Caveat("no samples")),
    )
    (row,) = csv.DictReader(io.StringIO(summary_csv([wild]), newline=""))
    assert row["sentence"].startswith('Cannot tell: a "b"\nc, d\n\n=e and f')
    assert row["limits"].startswith("'\t=x answered as z;z; identity needs")
    assert row["candidate"] == "a\ufffdb\ufffd[2J\ufffdc?"
    assert len(row["controls"]) <= 32_767
    assert row["controls"].endswith("[…]")
    assert summary_csv([wild]).encode()[:8] == b"question"


def test_numbers_stay_numbers() -> None:
    assert (cell(-1.5), cell(-3), cell(NAN), cell("plain")) == ("-1.5", "-3", "", "plain")


def test_terminal_shows_no_escape_sequence() -> None:
    out = io.StringIO()
    wild = Caveat("too few shared prompts", names=("\x1b[2Jgone \u202eabc", "b"))
    print_findings([replace(finding(), obstacle=wild)], out)
    assert "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
    assert "gone" in out.getvalue()
    assert plain("a\x07b") == "a\ufffdb"


def test_json_has_null_for_what_is_not_there() -> None:
    (found,) = json.loads(findings_json([finding()]))
    assert found["log10_lr"] is None
    assert found["evidence"][0]["raw"] == 0.5


def test_data_dictionary_describes_every_column() -> None:
    page = ROOT / "docs" / "data-dictionary.md"
    assert page.read_text() == dictionary(), "python -m harness.report.tables > docs/data-dictionary.md"
    assert all(len(text) > 5 for _, columns in FILES.values() for text in columns.values())


def test_telling_prompts_sum_to_the_effect() -> None:
    rng = np.random.default_rng(3)
    values = rng.random((40, 6, 6))
    values = values + values.transpose(0, 2, 1)
    values[:, 0, 1] = values[:, 1, 0] = values[:, 0, 1] + 0.2
    values[:, range(6), range(6)] = np.nan
    names = tuple("abcdef")
    ids = tuple(f"p{i}" for i in range(40))
    s = Similarity("wording", names, ids, values.astype(np.float32), np.ones(6), "cosine", "text")
    compared = Compared.of(s, names)
    found = telling(compared, 40)
    assert sum(t.contribution for t in found) == pytest.approx(excess(s.values)[0, 1], rel=1e-6)
    best = int(np.argmax(additive_residuals(s.values)[:, 0, 1]))
    assert found[0].prompt == f"p{best}"
    assert found[-1].contribution < 0 < found[0].contribution
    assert len(telling(compared, 2)) == 4


def test_shared_runs_are_marked_and_nothing_is_lost() -> None:
    a, b = "The quick brown fox jumps; then it sleeps.", "A QUICK, brown fox jumps far"
    left, right = shared_runs(a, b)
    assert "".join(p.text for p in left) == a
    assert "".join(p.text for p in right) == b
    assert [p.text for p in left if p.shared] == ["quick brown fox jumps"]
    assert [p.text for p in right if p.shared] == ["QUICK, brown fox jumps"]
    assert not any(p.shared for p in shared_runs("one two three", "one two three")[0])


def test_window_shows_the_longest_shared_run_whole() -> None:
    shared = "the very same words stand in both of these answers"
    pieces = [Piece("before " * 200, False), Piece("a short shared run ", True), Piece("between " * 200, False),
              Piece(shared, True), Piece(" after" * 200, False)]  # fmt: skip
    seen = window(pieces, 300)
    text = "".join(p.text for p in seen)
    assert [p.text for p in seen if p.shared] == [shared]
    assert len(text) <= 304
    assert text.startswith("… between")
    assert text.endswith("after …")
    assert window([Piece("short", False)], 300) == [Piece("short", False)]
    assert window([], 300) == []
    assert "".join(p.text for p in window([Piece("x" * 900, False)], 300)) == "x" * 300 + " …"


def test_text_of_a_model_is_made_harmless() -> None:
    assert harmless("a\x00b\u202ec\ud800d", 99) == "a\ufffdb\ufffdc?d"
    assert harmless("x" * 1_000_000, 10) == "x" * 10 + " […]"
    assert excerpt("two\r\nlines  here") == "two lines here"
