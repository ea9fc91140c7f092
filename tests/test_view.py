"""`harness view`: one page over many campaigns, of whatever stands in their folders."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ConfigError
from harness.monitor import CHANGES
from harness.report.shelf_page import shelf_html
from harness.view import LARGEST, shelf
from tests.support.browser import axe_core, dark, requests, resize, violations
from tests.support.command_line import harness, one_line
from tests.support.hostile_campaign import campaign

HOSTILE = "<script>window.pwned = 1</script>\x1b[2J\u202e"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two campaigns in one folder, the second written later and with another verdict, and three monitor runs."""
    folder = tmp_path_factory.mktemp("view")
    campaign(folder, 6, 40, 120)
    root = folder / "results"
    later = root / "later"
    later.mkdir()
    for path in (root / "hostile").iterdir():
        if path.suffix in (".html", ".csv", ".json"):
            (later / path.name).write_bytes(path.read_bytes())
    told = json.loads((later / "manifest.json").read_text("utf-8"))
    told |= {"written_at": "2099-01-01T10:00:00+00:00", "campaign": f"later {HOSTILE}", "responses_sha256": "0" * 64}
    (later / "manifest.json").write_text(json.dumps(told), "utf-8")
    table = (later / "summary.csv").read_text("utf-8")
    assert "INCONCLUSIVE" in table
    (later / "summary.csv").write_text(table.replace("INCONCLUSIVE", "KIN-LIKE"), "utf-8")
    for stamp, state in (("20260901T040000", "same"), ("20261001T040000", "same"), ("20261101T040000", "differs")):
        run = root / "hostile" / "monitor" / stamp
        run.mkdir(parents=True)
        found = {"endpoint": "m00", "state": state, "sentence": HOSTILE, "calls": 30}
        (run / CHANGES).write_text(json.dumps([found]), "utf-8")
    return root


def test_campaigns_verdicts_and_runs_are_read(results: Path) -> None:
    found = shelf(results)
    assert [c.folder for c in found.campaigns] == ["later", "hostile"]
    assert [c.verdicts[0].verdict for c in found.campaigns] == ["KIN-LIKE", "INCONCLUSIVE"]
    assert found.campaigns[1].models == 6
    assert found.campaigns[1].pages == ("report.html", "answers.html")
    assert [(w.stamp[:6], w.state) for w in found.watches] == [
        ("202609", "same"),
        ("202610", "same"),
        ("202611", "differs"),
    ]
    assert found.unread == ()


def test_the_page_compares_two_and_shows_the_time_line(results: Path, page: Any) -> None:
    done = harness("view", results, cwd=results)
    assert (done.returncode, done.stdout) == (0, "index.html: open it in a browser\n")
    resize(page, 375, 800, phone=True)
    page.get((results / "index.html").as_uri())
    row = "return [...document.querySelectorAll('#rows tr:first-child td')].map(e => e.textContent)"
    cells = page.execute_script(row)
    assert [*cells[:4], cells[5], cells[7]] == ["kinship", "m00", "m01", "INCONCLUSIVE", "KIN-LIKE", "yes"]
    assert page.execute_script("return location.hash") == "#before=1&now=0"
    pick = "const e = document.getElementById('before'); e.value = '0'; e.dispatchEvent(new Event('input'))"
    page.execute_script(pick)
    assert page.execute_script(row)[7] == "no"
    assert "very same" in page.execute_script("return document.getElementById('said').textContent")
    runs = page.execute_script("return [...document.querySelectorAll('.runs summary')].map(e => e.textContent)")
    assert [r.split()[-1] for r in runs] == ["same", "same", "differs"]
    assert runs[0].startswith("2026-09-01 04:00")
    folded = "return document.querySelector('#monitor summary').textContent"
    assert page.execute_script(folded) == "3 runs, the last 2026-11-01 04:00: ● differs"
    links = "return [...document.querySelectorAll('tbody a')].map(e => e.href)"
    assert all(Path(link.removeprefix("file://")).is_file() for link in page.execute_script(links))
    assert page.execute_script("return document.documentElement.scrollWidth") <= 375
    assert page.execute_script("return window.pwned") is None
    assert not set("\u202e\x1b") & set(page.execute_script("return document.documentElement.textContent"))
    assert requests(page) == []
    assert page.get_log("browser") == []


def test_runs_are_drawn_over_time(results: Path, page: Any) -> None:
    (results / "page.html").write_text(shelf_html(shelf(results)), "utf-8")
    resize(page, 1200, 900)
    page.get((results / "page.html").as_uri())
    marks = """return [...document.querySelectorAll('#monitor svg.broad [data-tip]')].map(
        e => [e.dataset.tip, e.getAttribute('fill'), e.getBoundingClientRect().left])"""
    found = page.execute_script(marks)
    assert [tip.split(": ")[1].split(".")[0] for tip, *_ in found] == ["same", "same", "differs"]
    assert found[0][0].startswith("m00 of hostile, 2026-09-01 04:00: same. <script>window.pwned = 1</script>")
    assert found[0][1] != found[2][1]
    months = [b[2] - a[2] for a, b in itertools.pairwise(found)]
    assert months[0] == pytest.approx(months[1], rel=0.1)
    assert "time of the run (UTC)" in page.execute_script("return document.querySelector('#monitor svg').textContent")
    assert page.get_log("browser") == []


@pytest.mark.parametrize("shade", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1200])
def test_axe_finds_nothing(results: Path, page: Any, shade: str, width: int) -> None:
    if (axe := axe_core()) is None:
        pytest.skip("no axe-core here: pip install --no-deps axe-playwright-python, or set AXE_CORE to axe.min.js")
    (results / "page.html").write_text(shelf_html(shelf(results)), "utf-8")
    resize(page, width, 900, phone=width < 400)
    dark(page, shade == "dark")
    page.get((results / "page.html").as_uri())
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert violations(page, axe) == []
    page.execute_script(
        "document.querySelector('main select').removeAttribute('id');"
        "document.querySelector('main select').parentElement.replaceWith(document.querySelector('main select'))"
    )
    assert {v.split(":")[0] for v in violations(page, axe)} == {"select-name"}, "axe does not see a fault"


def test_links_hold_from_where_the_page_is(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert harness("view", results, "--out", out, cwd=tmp_path).returncode == 0
    text = out.read_text("utf-8")
    for c in shelf(results, tmp_path).campaigns:
        assert (tmp_path / c.folder / "report.html").is_file()
        assert f'href="{c.folder}/report.html"' in text


def test_nothing_is_a_traceback(tmp_path: Path) -> None:
    assert "no folder" in one_line(harness("view", tmp_path / "none", cwd=tmp_path), 2)
    assert "no campaign" in one_line(harness("view", tmp_path, cwd=tmp_path), 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", b"{"),
        ("manifest.json", b"[" * 100_000),
        ("manifest.json", b"\x00\xff\xfe"),
        ("summary.csv", b'question,"\x00\r'),
        ("summary.csv", b"question\n" + b"x," * 300_000),
        ("monitor/x/changes.json", b'{"a": 1}'),
        ("monitor/x/changes.json", b"[[[]]]"),
        ("monitor/x/changes.json", b'[{"endpoint": 1}]'),
    ],
)
def test_what_cannot_be_read_is_named_and_the_rest_is_shown(
    results: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / "good").symlink_to(results / "hostile")  # a link out of the folder is not followed
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        for path in (results / "hostile").glob("*.*"):
            if path.suffix in (".csv", ".json"):
                (folder / path.name).write_bytes(path.read_bytes())
    (broken / name).parent.mkdir(parents=True, exist_ok=True)
    (broken / name).write_bytes(content)
    found = shelf(tmp_path)
    assert "whole" in {c.folder for c in found.campaigns}
    assert "good" not in {c.folder for c in found.campaigns}
    shown = {c.folder: c for c in found.campaigns}.get("broken")
    assert found.unread or (shown is not None and not any(t.suspect for t in shown.verdicts))
    assert "<html" in shelf_html(found)


def test_a_file_that_is_too_large_is_not_read(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    with (folder / "manifest.json").open("wb") as f:
        f.truncate(LARGEST + 1)
    with pytest.raises(ConfigError, match="no campaign"):
        shelf(tmp_path)
