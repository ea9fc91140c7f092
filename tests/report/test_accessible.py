"""report.html for those who see it otherwise: on a phone, in the dark, by keyboard, by screen reader."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import axe_core, contrast, dark, press_tab, requests, resize, violations
from tests.support.hostile_campaign import campaign


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign(tmp_path_factory.mktemp("small"), 6, 40, 120, ("kinship", "teaching", "identity", "attribution"))


@pytest.mark.parametrize("width", [320, 375, 1200])
@pytest.mark.parametrize("shade", ["light", "dark"])
def test_page_fits_and_has_contrast(small: Path, page: Any, width: int, shade: str) -> None:
    resize(page, width, 800, phone=width < 400)
    dark(page, shade == "dark")
    page.get(small.as_uri())
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


def test_structure_for_screen_reader_and_keyboard(small: Path, page: Any) -> None:
    page.get(small.as_uri())
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
    named = page.execute_script(count, "svg[role=img][aria-label*='. ']")
    assert page.execute_script(count, "svg[role=img]") == named > 0
    assert page.execute_script(count, "svg title") == 0, "the browser would show it over what a mark tells"
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


def test_a_phone_shows_the_accused_pair_without_scrolling(small: Path, page: Any) -> None:
    resize(page, 320, 800, phone=True)
    page.get(small.as_uri())
    rights = """const accused = (e) => /^m0[01] with m0[01]: /.test(e.dataset.tip) && e.checkVisibility();
        const shown = [...document.querySelectorAll('svg [data-tip]')].filter(accused);
        return shown.map(e => e.getBoundingClientRect().right)"""
    found = page.execute_script(rights)
    assert len(found) >= 3
    assert 0 < max(found) <= 320


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
