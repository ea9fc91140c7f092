"""What a notebook shows: findings as HTML that runs nothing, and every table as a data frame."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd

from harness import run_campaign, write
from harness.config.yaml import load_config
from harness.inference.findings import Caveat, Finding
from harness.report.notebook import Findings, shown
from tests.support import ROOT, Write
from tests.support.fault_server import FaultServer


class _Seen(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not attrs
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.said += data


def test_findings_are_shown_with_their_limits_and_no_name_is_markup() -> None:
    why = Caveat("too few shared prompts", names=("<img src=x onerror=alert(1)>", "b\x1b[2J"))
    f = Finding("kinship", "<script>alert(1)</script>", "{0}", ("k",), 0.05, obstacle=why, caveats=(why,))
    seen = _Seen(shown([f]))
    assert set(seen.tags) == {"p", "strong", "table", "tr", "th", "td", "details", "summary", "ul", "li"}
    assert "<script>alert(1)</script>" in seen.said
    assert "{0}" in seen.said
    assert "\x1b" not in seen.said
    assert "INCONCLUSIVE" in seen.said
    assert "too few prompts in common" in seen.said


def test_a_slice_of_findings_is_shown_as_all_are() -> None:
    f = Finding("kinship", "s", "c", (), 0.05, obstacle=Caveat("no usable channel"))
    two = Findings((f, replace(f, candidate="d")))
    assert isinstance(two[:1], Findings)
    assert two[:1]._repr_html_() != two._repr_html_()
    assert two[0] is f
    assert [x.candidate for x in two] == ["c", "d"]
    assert Findings()._repr_html_() == ""


def test_frames_are_the_tables_that_are_written(write_campaign: Write, tmp_path: Path) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=4)
        scores = run_campaign(path)
    assert "verdict" in scores._repr_html_()
    frames = scores.to_pandas()
    config = load_config(path)
    config = config.model_copy(update={"report": config.report.model_copy(update={"bom": True, "parquet": True})})
    written = {p.name: p for p in write(config, scores, base=tmp_path)}
    assert {f"{name}.csv" for name in frames} == {n for n in written if n.endswith(".csv")}
    assert {"summary", "evidence", "limits", "pairs", "observations"} <= set(frames)
    for name, frame in frames.items():
        raw = written[f"{name}.csv"].read_bytes()
        assert raw.startswith(b"\xef\xbb\xbf")
        head, *rows = csv.reader(raw.decode("utf-8-sig").splitlines())
        assert head == list(frame.columns)
        assert len(rows) == len(frame)
        twin = pd.read_parquet(written[f"{name}.parquet"])
        assert list(twin.columns) == list(frame.columns)
    assert frames["pairs"].dtypes["raw"] == "float64"
    assert frames["pairs"].dtypes["prompts"] == "Int64"


def test_tables_and_verdicts_need_neither_pandas_nor_arrow(write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=4)
        run_campaign(path)
    code = (
        "import sys, harness; s = harness.score(sys.argv[1]); harness.write(sys.argv[1], s); s._repr_html_(); "
        "print(sorted({'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
