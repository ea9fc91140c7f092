"""CSV and terminal output: RFC 4180, nothing a spreadsheet or a terminal would act on."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from harness.inference import breakdown
from harness.inference.assessment import Compared
from harness.inference.breakdown import FEWEST, ChannelDetail, Detail, overview, standardised, telling
from harness.inference.excess import additive_residuals, excess
from harness.inference.findings import NAN, Caveat, ChannelEvidence, Finding
from harness.inference.verdicts import different, inconclusive
from harness.records import Similarity
from harness.report import figures, words
from harness.report.dictionary import FILES, dictionary
from harness.report.heatmap import heatmap
from harness.report.renderer import Renderer
from harness.report.tables import cell, csv_text
from harness.report.terminal import findings_json, print_findings
from harness.report.text import Piece, excerpt, harmless, plain, shared_runs, window
from tests.support import ROOT
from tests.support.drawn import elements, marks, svg_of
from tests.support.results import made, read, results


def finding() -> Finding:
    evidence = (ChannelEvidence("wording", "text", "cosine", 3, 1.0, raw=0.5),)
    blank = Finding("kinship", "=cmd|' /C calc'!A0", 'p,"q"', ("root",), 0.05)
    said = Caveat("too few shared prompts", names=("line one\nline two", "b"))
    return replace(blank, obstacle=said, p_value=0.25, evidence=evidence)


def test_csv_reads_back_and_holds_no_formula() -> None:
    found = results([finding()])
    (row,) = read("summary", found)
    assert tuple(row) == tuple(FILES["summary"].columns)
    assert row["suspect"].startswith("'=")
    assert row["candidate"] == 'p,"q"'
    assert row["sentence"].startswith("Cannot tell: line one\nline two and b have")
    assert (row["p_value"], row["log10_lr"]) == ("0.25", "")
    (line,) = read("evidence", found)
    assert tuple(line) == tuple(FILES["evidence"].columns)
    assert csv_text(made("summary", found)).count("\r\n") == 2


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
    found = results([wild])
    (row,) = read("summary", found)
    assert row["sentence"].startswith('Cannot tell: a "b"\nc, d\n\n=e and f')
    obstacle, first, second = read("limits", found)
    assert (obstacle["part"], obstacle["kind"]) == ("obstacle", "too few shared prompts")
    assert (first["kind"], first["limit"]) == ("mixed models", "'\t=x answered as z;z")
    assert second["limit"].startswith("identity needs")
    assert row["candidate"] == "a\ufffdb\ufffd[2J\ufffdc\ufffd"
    (control,) = read("controls", found)
    assert len(control["lineage"]) <= 32_767
    assert control["lineage"].startswith("'=")
    assert control["lineage"].endswith("[…]")
    assert csv_text(made("summary", found)).encode()[:8] == b"question"


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


def test_one_row_a_pair_and_its_conclusion_first_on_the_terminal() -> None:
    few = replace(
        finding(), suspect="nova", candidate="mother", obstacle=None, judgement=inconclusive("too few controls")
    )
    kinship = replace(few, p_value=1 / 3, p_floor=1 / 3, p_adjusted=1 / 3, control_lineages=("a", "b"))
    apart = different(["text (chat)"], ["text (completion)"], only_chat=True)
    identity = replace(kinship, question="identity", judgement=apart, p_value=0.002, p_adjusted=0.004)
    row, *statements = read("conclusions", results([kinship, identity]))
    assert [(s["part"], s["term"], s["question"], s["count"]) for s in statements] == [
        ("says", "served apart", "", ""),
        ("says", "raw text not told apart", "", ""),
        ("open", "", "kinship", ""),
        ("would settle", "more controls", "kinship", "3"),
    ]
    assert statements[-1]["words"] == "three more control lineages (kinship)"
    out = io.StringIO()
    print_findings([kinship, identity], out)
    first, second, blank, header, *_ = out.getvalue().splitlines()
    assert (row["part"], row["words"]) == ("conclusion", f"{first} {second.strip()}")
    assert (blank, header.split()[0]) == ("", "question")
    records = json.loads(findings_json([kinship, identity]))
    assert [r["question"] for r in records] == ["kinship", "identity"]
    assert records[0]["conclusion"] == records[1]["conclusion"]
    assert records[0]["conclusion"]["sentence"] == row["words"]
    assert records[0]["conclusion"]["remedies"] == [
        {"kind": "more controls", "questions": ["kinship"], "count": 3, "looks": 1}
    ]


def test_an_effect_without_spread_is_shown_as_it_is() -> None:
    """A channel that agrees alike on every prompt has a large effect and an interval of no width."""
    agreed = ChannelEvidence("wording", "text", "cosine", 12, 1.0, raw=1.0, effect=2291.7, effect_low=2291.7,
                             effect_high=2291.7, p=0.067, weight=1.0)  # fmt: skip
    other = ChannelEvidence("logprobs", "weights", "1 - JSD", 12, 1.0, raw=0.9, effect=1.2, effect_low=0.8,
                            effect_high=1.5, p=0.2, weight=0.2)  # fmt: skip
    f = replace(finding(), effect=1.5, evidence=(agreed, other))
    out = io.StringIO()
    print_findings([f], out)
    told = "cosine 1 (no controls to compare), effect 2292 alike on every prompt, p = 0.067, 12 prompts"
    assert told in out.getvalue()
    first, _ = read("evidence", results([f]))
    assert (first["effect"], first["effect_low"], first["effect_high"]) == ("2291.7", "2291.7", "2291.7")
    drawn = figures.forest(f)
    assert drawn is not None
    large, small = marks(drawn)
    assert large.tip == "wording: 2292 alike on every prompt"
    assert "beyond the axis" in svg_of(drawn)
    assert large.x > small.x
    lengths = [float(e.get("x2", "0")) for e in elements(svg_of(drawn)) if e.get("stroke-width") == "2.5"]
    assert max(abs(length) for length in lengths) > 10, "the other channel is a point beside it"
    alone = figures.forest(replace(f, evidence=(agreed,)))
    assert alone is not None
    assert "beyond the axis" not in svg_of(alone)


def agreement(n: int, prompts: int = 12) -> Similarity:
    """The first two of n models alike to 1.0 on every prompt, all others to a few hundredths."""
    one = np.random.default_rng(0).uniform(0.004, 0.038, (n, n))
    one = np.triu(one, 1) + np.triu(one, 1).T
    one[0, 1] = one[1, 0] = 1.0
    one[range(n), range(n)] = np.nan
    values = np.repeat(one[None], prompts, 0).astype(np.float32)
    ids = tuple(f"q{i}" for i in range(prompts))
    return Similarity("wording", tuple("abcdefgh"[:n]), ids, values, np.ones(n), "cosine", "text")


@pytest.mark.parametrize("n", [3, 4, 5, 6, 8])
@pytest.mark.filterwarnings("error")
def test_figures_of_perfect_agreement_show_the_pair_closest_and_warn_of_nothing(n: int) -> None:
    s = agreement(n)
    if n < FEWEST:
        page = overview([s])
        assert page is not None
        assert page.measure == "raw"
        assert page.matrix[0, 1] == np.nanmax(page.matrix) > 1.0
        assert np.nanmax(page.matrix[2:, 2:], initial=-np.inf) < 0
        drawn = heatmap(Renderer(), "k", page, {})
        assert drawn is not None
        found = re.findall(r'fill="var\(--(\w+)\)"[^>]*data-tip="(\w with \w)', drawn.cells)
        tones = {pair: tone for tone, pair in found}
        assert len(tones) == n * (n - 1) // 2
        up = [pair for pair, tone in tones.items() if tone.startswith("up")]
        assert up in (["a with b"], ["b with a"])
    if n < 4:
        return
    compared = Compared.of(s, s.models)
    raw = ChannelDetail("wording", "text", compared.matrix, standardised(s.values))
    d = Detail("a", "b", s.models, compared.matrix, (raw,))
    assert d.measure == ("raw" if n < FEWEST else "excess")
    if n < FEWEST:
        assert [rank for _, rank in figures.strip(d).ranks] == [f"1 of {n * (n - 1) // 2}"] * 2
    effect = float(compared.matrix[0, 1])
    assert sum(t.contribution for t in telling(compared, 12)) == pytest.approx(effect)


def test_a_prompt_has_its_share_of_an_effect_that_knows_no_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever unit the effect has, single prompts sum to it, and none is lost."""
    compared = Compared.of(agreement(6), tuple("abcdef"))
    monkeypatch.setattr(breakdown, "excess_of", lambda residuals: np.full((6, 6), 40.0))
    monkeypatch.setattr(Compared, "noise", 0.0)
    found = telling(compared, 12)
    assert len(found) == 12
    assert [t.contribution for t in found] == pytest.approx([40.0 / 12] * 12)


def test_opposite_pairs_of_four_tie_by_excess_and_are_not_hidden() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((30, 4, 4))
    values = values + values.transpose(0, 2, 1)
    values[:, 0, 1] = values[:, 1, 0] = values[:, 0, 1] + 1.0
    values[:, range(4), range(4)] = np.nan
    ids = tuple(f"q{i}" for i in range(30))
    s = Similarity("wording", tuple("abcd"), ids, values.astype(np.float32), np.ones(4), "cosine", "text")
    compared = Compared.of(s, s.models)
    four = Detail(
        "a", "b", s.models, compared.matrix, (ChannelDetail("wording", "text", compared.matrix, standardised(values)),)
    )
    assert four.place() == (1, 6, (("c", "d"),))
    said = words.drawn(four.measure, four.place()[2], 4)
    assert said.endswith("Level with the pair by excess: c with d, as opposite pairs of four models always do.")
    assert "c with d" in words.place(*four.place(), 4)
    by_excess = {(i, j): float(compared.matrix[i, j]) for i, j in ((0, 1), (2, 3))}
    assert by_excess[0, 1] == pytest.approx(by_excess[2, 3])
    drawn = figures.strip(four)
    first = min(mark.y for mark in marks(drawn.figure))
    at = {mark.tip[:8]: mark for mark in marks(drawn.figure) if mark.y < first + 30}
    assert drawn.ranks[0][1] == "1 of 6"
    assert at["a with b"].x > at["c with d"].x + 100


def test_a_pair_level_with_the_accused_is_drawn_beside_it() -> None:
    matrix = np.full((6, 6), 0.1)
    matrix[0, 1] = matrix[1, 0] = matrix[2, 3] = matrix[3, 2] = 2.0
    np.fill_diagonal(matrix, np.nan)
    d = Detail("a", "b", tuple("abcdef"), matrix, ())
    assert d.place() == (1, 15, (("c", "d"),))
    drawn = figures.strip(d)
    assert [rank for _, rank in drawn.ranks] == ["1 of 15, 1 level"]
    (accused,) = [m for m in marks(drawn.figure) if m.tip.startswith("a with b")]
    (tied,) = [m for m in marks(drawn.figure) if m.tip.startswith("c with d")]
    assert tied.x == accused.x
    assert tied.shape != accused.shape
    assert abs(tied.y - accused.y) >= 6.5 + 3.2, "under the large dot"


def test_data_dictionary_describes_every_column() -> None:
    page = ROOT / "docs" / "data-dictionary.md"
    assert page.read_text("utf-8") == dictionary(), "python -m harness.report.tables > docs/data-dictionary.md"
    assert all(len(text) > 5 for d in FILES.values() for text in (c.about for c in d.columns.values()))


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
    assert harmless("a\x00b\u202ec\ud800d", 99) == "a\ufffdb\ufffdc\ufffdd"
    assert harmless("x" * 1_000_000, 10) == "x" * 10 + " […]"
    assert excerpt("two\r\nlines  here") == "two lines here"
