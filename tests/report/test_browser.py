"""report.html in a real browser: hostile text does nothing, filters work, nothing is fetched, and it opens fast."""

from __future__ import annotations

import csv
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.inference.likelihood import LikelihoodTable
from harness.report.browser import LENGTHS, MOST
from harness.report.html import tippett_of
from tests.support import ROOT
from tests.support.browser import requests, resize
from tests.support.hostile_campaign import campaign, scored


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign(tmp_path_factory.mktemp("report"), 20, 450, 120)


def visible(page: Any) -> list[str]:
    script = (
        "return [...document.querySelectorAll('[data-item]')].filter(e => e.checkVisibility()).map(e => e.dataset.item)"
    )
    return page.execute_script(script)


def choose(page: Any, name: str, value: str) -> None:
    script = "const e = document.querySelector(`[name=${arguments[0]}]`); e.value = arguments[1];"
    page.execute_script(script + "e.dispatchEvent(new Event('input', {bubbles: true}))", name, value)


def test_large_report_opens_fast_and_hostile_text_is_only_text(report: Path, page: Any) -> None:
    assert report.stat().st_size < 3_000_000
    resize(page, 1200, 900)
    start = time.perf_counter()
    page.get(report.as_uri())
    assert page.execute_script("return document.readyState") == "complete"
    assert time.perf_counter() - start < 3.0
    assert page.execute_script("return window.pwned") is None
    assert page.execute_script("return document.scripts.length") == 1
    assert page.execute_script("return document.querySelectorAll('img, iframe, object').length") == 0
    links = "return [...document.links].map(a => a.getAttribute('href')).filter(h => !h.startsWith('#'))"
    assert page.execute_script(links) == ["answers.html"]
    text = page.execute_script("return document.getElementById('prompts').textContent")
    assert "<script>window.pwned = 1</script>" in text or "onerror=" in text
    assert "1337" not in text
    assert not set("\u202e\x1b\x00") & set(page.execute_script("return document.documentElement.textContent"))
    assert requests(page) == []
    assert page.get_log("browser") == []


def test_all_answers_of_a_large_campaign_fit_into_three_megabytes(report: Path, page: Any) -> None:
    answers = report.with_name("answers.html")
    assert MOST * 0.4 < answers.stat().st_size < 3_000_000, "too large, or cut more than it need be"
    start = time.perf_counter()
    page.get(answers.as_uri())
    while page.execute_script("return document.querySelectorAll('article').length") < 20:
        assert time.perf_counter() - start < 8.0
    text = page.execute_script("return document.querySelector('.lead').textContent")
    assert any(f"cut at {length} characters" in text for length in LENGTHS)
    assert page.get_log("browser") == []


def test_policy_stops_what_escaping_let_through(report: Path, page: Any) -> None:
    page.get(report.as_uri())
    page.execute_script("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned=9\">')")
    time.sleep(0.2)
    assert page.execute_script("return window.pwned") is None
    assert any("Content Security Policy" in e["message"] for e in page.get_log("browser"))
    requests(page)


def test_search_and_filters(report: Path, page: Any) -> None:
    page.get(report.as_uri())
    everything = visible(page)
    assert {"verdict", "strip", "prompt"} <= set(everything)
    choose(page, "search", "no such words anywhere")
    assert visible(page) == []
    assert page.execute_script("return document.getElementById('count').textContent").startswith("0 of ")
    choose(page, "search", "what would explain")
    assert visible(page) == ["verdict"]
    page.execute_script("document.getElementById('filter').reset()")
    choose(page, "search", "")
    assert visible(page) == everything
    choose(page, "models", "m07")
    assert visible(page) == []
    choose(page, "models", "m01")
    assert visible(page) == everything


def test_verdict_in_words_is_the_first_thing(report: Path, page: Any) -> None:
    resize(page, 375, 812, phone=True)
    page.get(report.as_uri())
    first = "const e = document.querySelector('.glance a'); return [e.textContent, e.getBoundingClientRect().bottom]"
    text, bottom = page.execute_script(first)
    assert text == ("m00 and m01: closer than unrelated models are, as kin or as taught: text alone cannot tell which.")
    assert bottom < 500, "not on the first screen of a phone"
    below = page.execute_script("return document.querySelector('.glance li').textContent")
    assert "What would settle it: a channel that sees weights, such as logprobs or ratings (kinship)." in below
    assert "KIN-OR-TAUGHT" in below
    headline = page.execute_script("return document.querySelector('.card .verdict').textContent")
    assert headline == (
        "m00 is closer to m01 than unrelated models are. Text alone cannot tell shared weights from shared teaching."
    )
    page.execute_script("document.querySelector('.glance a').click()")
    assert page.execute_script("return location.hash") == "#v0"
    page.execute_script("document.querySelector(\"#v0 a[href='#t0']\").click()")
    assert "m00 and m01" in page.execute_script("return document.querySelector('#t0').textContent")


def test_tippett_plot_of_the_calibration_in_use(report: Path, page: Any) -> None:
    page.get(report.as_uri())
    points = LikelihoodTable.shipped().about["tippett"]
    text = page.execute_script("return document.getElementById('calibration').textContent")
    assert f"for {points['controls']} control lineages and {points['prompts']} prompts" in text
    assert "m00 and m01, log10 LR" in text
    assert re.search(r"Cllr / Cllr_min, shares weights0\.\d\d / 0\.\d\d \(\d+ controls, \d+ prompts\)", text)
    lines = """return [...document.querySelectorAll('#calibration svg.broad path[data-tip^="known"]')].map(
        e => [e.dataset.tip, e.getAttribute('stroke'), e.getAttribute('stroke-dasharray') || '', e.getTotalLength()])"""
    (kin, *kin_look, kin_long), (unrelated, *unrelated_look, unrelated_long) = page.execute_script(lines)
    assert (kin, unrelated) == ("known kin", "known unrelated")
    assert all(a != b for a, b in zip(kin_look, unrelated_look, strict=True)), "told apart in black and white, too"
    assert min(kin_long, unrelated_long) > 400
    inside = """const frame = document.querySelector('#calibration svg.broad').getBoundingClientRect();
        return [...document.querySelectorAll('#calibration svg.broad *')].map(e => e.getBoundingClientRect()).every(
            r => r.left >= frame.left - 2 && r.right <= frame.right + 2 && r.bottom <= frame.bottom + 2)"""
    assert page.execute_script(inside)


def test_four_models_are_drawn_raw_and_six_by_excess(tmp_path: Path, page: Any) -> None:
    """By excess, opposite pairs of four are one: the strangers m02 and m03 would be as orange as the pair."""
    fill = """const at = (...pair) => [...document.querySelectorAll('#models svg [data-tip]')].find(
        e => pair.some(p => e.dataset.tip.startsWith(p + ':')));
        const both = [at('m00 with m01', 'm01 with m00'), at('m02 with m03', 'm03 with m02')];
        return both.map(e => e.getAttribute('fill'))"""
    for models, excess in ((4, False), (6, True)):
        (folder := tmp_path / str(models)).mkdir()
        page.get(campaign(folder, models, 40, 120).as_uri())
        pair, strangers = page.execute_script(fill)
        assert pair in ("var(--up3)", "var(--up4)")
        assert "down" in strangers or strangers == "var(--up1)"
        text = page.execute_script("return document.querySelector('#models').textContent")
        assert ("scaled excess" in text, "raw similarity" in text) == (excess, not excess)
        title = page.execute_script("return document.querySelector('#models svg').textContent")
        assert ("excess, in units of its spread" in title) is excess
        caption = page.execute_script("return document.querySelector('#pairs figcaption').textContent")
        assert ("by raw similarity" in caption) is not excess
        tied = "Level with the pair by excess: m02 with m03, as opposite pairs of four models always do."
        assert (tied in caption) is not excess
        close = page.execute_script("return document.querySelector('.card .facts').textContent")
        assert ("no other is closer; level with it: m02 with m03, as opposite pairs of four" in close) is not excess
        ranked = page.execute_script("return document.querySelector('#pairs caption').textContent")
        assert ("by raw similarity" in ranked) is not excess
    assert page.get_log("browser") == []


@pytest.mark.parametrize(
    "points", [None, {}, {"log10_lr": [0.0]}, {"log10_lr": [], "kin": [], "unrelated": []}, "text",
               {"log10_lr": [0.0, 1.0], "kin": [1.0], "unrelated": [1.0]},
               {"log10_lr": ["x"], "kin": ["x"], "unrelated": ["x"]}],
)  # fmt: skip
def test_a_calibration_without_points_is_drawn_as_its_line(points: Any) -> None:
    assert tippett_of({} if points is None else {"tippett": points}) is None


def test_a_report_without_verdicts_leads_with_the_attribution(tmp_path: Path, page: Any) -> None:
    page.get(campaign(tmp_path, 6, 12, 40, ("attribution",)).as_uri())
    assert page.execute_script("return document.querySelector('.glance a').textContent").startswith(
        "m00 is none of the known models"
    )
    gone = "return document.querySelectorAll('#verdicts, #calibration, form, .card').length"
    assert page.execute_script(gone) == 0
    links = "return [...document.querySelectorAll('a')].filter(a => !document.querySelector(a.hash)).length"
    assert page.execute_script(links) == 0
    assert page.get_log("browser") == []
    assert requests(page) == []


def test_recorded_children(recorded_data: Path, tmp_path: Path, page: Any) -> None:
    root = ROOT
    source = yaml.safe_load((root / "examples" / "recorded" / "r1-children.yaml").read_text())
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**source, "results": "results"}))
    report = scored(config, 60, RECORDED_DATA=str(recorded_data))
    with (report.parent / "summary.csv").open(newline="") as f:
        verdicts = {row["suspect"]: row["verdict"] for row in csv.DictReader(f)}
    page.get(report.as_uri())
    assert visible(page).count("verdict") == len(verdicts) == 2
    choose(page, "models", "r1-1776")
    assert visible(page).count("verdict") == 1
    choose(page, "verdict", verdicts["r1-1776"])
    shown = page.execute_script("return [...document.querySelectorAll('.card')].find(e => !e.hidden).textContent")
    assert "r1-1776" in shown
    assert verdicts["r1-1776"] in shown
    assert requests(page) == []
    assert page.get_log("browser") == []
