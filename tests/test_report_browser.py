"""report.html in a real browser: hostile text does nothing, filters work, nothing is fetched, and it opens fast."""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from browser import axe_core, browser, chromium, dark, press_tab, requests, resize, violations

from harness import scoring
from harness.campaign import prepare, run
from harness.collect.runner import World

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</script></style></textarea><script>window.pwned = 2</script>",
    '"><img src=x onerror="window.pwned = 3">',
    "<a href='javascript:window.pwned=4'>click</a> {{ 7 * 191 }} {% raw %}",
    "\u202eright to left\u2066 \x1b[2J\x00 end",
    "an entity &amp; <svg onload=window.pwned=5>",
)
WORDS = ("amber", "bridge", "candle", "delta", "ember", "forest", "garden", "harbour", "island", "jungle")


def answer(rng: np.random.Generator, model: int, prompt: int, length: int) -> str:
    """Words of a model's own preference, with something hostile among them; the first two models share theirs."""
    taste = np.random.default_rng(max(model, 1)).dirichlet(np.ones(len(WORDS)))
    said = " ".join(rng.choice(WORDS, length, p=taste))
    return f"{said} {HOSTILE[prompt % len(HOSTILE)]} {said[:200]}"


def campaign(folder: Path, models: int, prompts: int, length: int) -> Path:
    """A campaign on recorded answers that no one would wish for, scored by the real pipeline; path of its report."""
    rng = np.random.default_rng(1)
    names = [f"m{i:02}" for i in range(models)]
    rows = [
        {"model": n, "prompt_id": f"q{p:03}", "prompt": f"{p} {HOSTILE[p % 4]}", "output": answer(rng, i, p, length)}
        for i, n in enumerate(names) for p in range(prompts)
    ]  # fmt: skip
    rows[0]["output"] = "<b>" * 333_334  # a megabyte
    (folder / "answers.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    roles = ["suspect", "candidate", *["control"] * (models - 2)]
    endpoints = [
        {"name": n, "role": r, "lineage": n, "kind": "recorded", "path": "answers.jsonl"}
        for n, r in zip(names, roles, strict=True)
    ]
    config = {
        "campaign": "hostile", "prompts": [{"set": "recorded"}], "endpoints": endpoints,
        "analysis": {"questions": ["kinship"], "bootstrap": 200, "channels": ["wording"]},
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return scored(path)


def scored(config: Path, limit: int | None = None, **environ: str) -> Path:
    plan = prepare(config, environ, limit)
    run(plan, World(environ, plan.base), {}, asyncio.Event())
    return next(p for p in scoring.write(plan, scoring.score(plan)) if p.name == "report.html")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign(tmp_path_factory.mktemp("report"), 20, 450, 120)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign(tmp_path_factory.mktemp("small"), 6, 40, 120)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if chromium() is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver, or set CHROMIUM")
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def visible(page: Any) -> list[str]:
    script = (
        "return [...document.querySelectorAll('[data-item]')].filter(e => e.checkVisibility()).map(e => e.dataset.item)"
    )
    return page.execute_script(script)


def choose(page: Any, name: str, value: str) -> None:
    script = "const e = document.querySelector(`[name=${arguments[0]}]`); e.value = arguments[1];"
    page.execute_script(script + "e.dispatchEvent(new Event('input', {bubbles: true}))", name, value)


def test_large_report_opens_fast_and_hostile_text_is_only_text(report: Path, page: Any) -> None:
    assert report.stat().st_size < 15_000_000
    resize(page, 1200, 900)
    start = time.perf_counter()
    page.get(report.as_uri())
    assert page.execute_script("return document.readyState") == "complete"
    assert time.perf_counter() - start < 3.0
    assert page.execute_script("return window.pwned") is None
    assert page.execute_script("return document.scripts.length") == 1
    assert (
        page.execute_script("return document.querySelectorAll('img, iframe, a:not([href^=\"#\"]), object').length") == 0
    )
    text = page.execute_script("return document.getElementById('prompts').textContent")
    assert "<script>window.pwned = 1</script>" in text or "onerror=" in text
    assert "1337" not in text
    assert not set("\u202e\x1b\x00") & set(page.execute_script("return document.documentElement.textContent"))
    assert requests(page) == []
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


@pytest.mark.parametrize("width", [320, 375, 1200])
@pytest.mark.parametrize("shade", ["light", "dark"])
def test_page_fits_and_has_contrast(report: Path, page: Any, width: int, shade: str) -> None:
    resize(page, width, 800, phone=width < 400)
    dark(page, shade == "dark")
    page.get(report.as_uri())
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    names = ("page", "card", "wash", "ink", "soft", "accent", "close", "near", "far", "open", "mark")
    look = "const s = getComputedStyle(document.documentElement);"
    script = f"{look} return arguments[0].map(n => s.getPropertyValue('--' + n).trim())"
    colour = dict(zip(names, page.execute_script(script, list(names)), strict=True))
    for front in ("ink", "soft", "accent", "close", "near", "far", "open"):
        for back in ("page", "card"):
            assert contrast(colour[front], colour[back]) >= 4.5, (front, back)
    assert contrast(colour["soft"], colour["wash"]) >= 4.5
    assert contrast(colour["ink"], colour["mark"]) >= 4.5


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio of two hex colours."""

    def light(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_structure_for_screen_reader_and_keyboard(report: Path, page: Any) -> None:
    page.get(report.as_uri())
    count = "return document.querySelectorAll(arguments[0]).length"
    for one in (
        "main",
        "header",
        "nav[aria-label]",
        "footer",
        "h1",
        "html[lang]",
        "form[role=search]",
        "[role=status]",
    ):
        assert page.execute_script(count, one) == 1, one
    unnamed = "svg:not([role=img]), table:not(:has(caption)), th:not([scope]), section:not([aria-labelledby])"
    assert page.execute_script(count, unnamed) == 0
    assert page.execute_script(count, "svg[role=img]") == page.execute_script(count, "svg > title + desc") > 0
    assert page.execute_script(
        "return [...document.querySelectorAll('input, select')].every(e => e.labels.length == 1)"
    )
    twice = "const i = [...document.querySelectorAll('[id]')].map(e => e.id); return i.length - new Set(i).size"
    assert page.execute_script(twice) == 0
    levels = page.execute_script("return [...document.querySelectorAll('h1,h2,h3,h4,h5')].map(e => +e.tagName[1])")
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    named = (
        "[...document.querySelectorAll('[aria-labelledby]')].flatMap(e => e.getAttribute('aria-labelledby').split(' '))"
    )
    lost = f"return {named}.filter(i => !document.getElementById(i))"
    assert page.execute_script(lost) == []


@pytest.mark.parametrize("shade", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1200])
def test_axe_finds_nothing(small: Path, page: Any, shade: str, width: int) -> None:
    if (axe := axe_core()) is None:
        pytest.skip("no axe-core here: pip install --no-deps axe-playwright-python, or set AXE_CORE to axe.min.js")
    resize(page, width, 900, phone=width < 400)
    dark(page, shade == "dark")
    page.get(small.as_uri())
    assert violations(page, axe) == []
    page.execute_script("document.querySelector('.badge').style.color = 'GrayText'; document.title = ''")
    assert {v.split(":")[0] for v in violations(page, axe)} >= {"document-title"}, "axe does not see a fault"
    page.get("about:blank")
    requests(page)


def test_keyboard_reaches_everything_and_shows_where_it_is(small: Path, page: Any) -> None:
    resize(page, 375, 800, phone=True)
    page.get(small.as_uri())
    wanted = "input, select, button, summary, a[href], [tabindex='0']"
    shown = f'return [...document.querySelectorAll("{wanted}")].filter(e => e.checkVisibility()).length'
    scrolls = """return [...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && e.tabIndex < 0 &&
        ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1).length"""
    assert page.execute_script(scrolls) == 0
    count = page.execute_script(shown)
    seen: list[str] = []
    for _ in range(count + 2):
        press_tab(page)
        kind, ring, at = page.execute_script(
            "const e = document.activeElement, s = getComputedStyle(e);"
            "return [e.tagName, s.outlineStyle + ' ' + parseFloat(s.outlineWidth), "
            "e === document.body ? -1 : [...document.querySelectorAll('*')].indexOf(e)]"
        )
        if at < 0:
            break
        assert ring.split()[0] != "none"
        assert float(ring.split()[1]) >= 2, (kind, ring)
        seen.append(f"{kind} {at}")
    assert len(set(seen)) == count
    assert {"INPUT", "SELECT", "BUTTON", "SUMMARY", "A", "DIV"} <= {s.split()[0] for s in seen}


def test_recorded_children(recorded_data: Path, tmp_path: Path, page: Any) -> None:
    root = Path(__file__).resolve().parent.parent
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
