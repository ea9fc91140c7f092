"""answers.html in a real browser: answers as text, in order of contribution, with marks, notes and a link to share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import axe_core, dark, requests, resize, violations
from tests.support.hostile_campaign import campaign

SHOWN = "return [...document.querySelectorAll('article')].map(e => e.dataset.prompt)"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign(tmp_path_factory.mktemp("answers"), 6, 60, 120).with_name("answers.html")


def wait(page: Any, script: str, wanted: Callable[[Any], bool]) -> Any:
    """What a script gives as soon as it is what is wanted; the last thing that it gave after five seconds."""
    until = time.monotonic() + 5.0
    while not wanted(found := page.execute_script(script)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def open_page(page: Any, path: Path, fragment: str = "") -> list[str]:
    page.get("about:blank")
    page.get(path.as_uri() + fragment)
    return wait(page, SHOWN, bool)


def choose(page: Any, name: str, value: str) -> None:
    script = "const e = document.querySelector(`[name=${arguments[0]}]`); e.value = arguments[1];"
    page.execute_script(script + "e.dispatchEvent(new Event('input', {bubbles: true}))", name, value)


def test_every_answer_is_text_and_nothing_is_fetched(answers: Path, page: Any) -> None:
    requests(page)
    shown = open_page(page, answers)
    assert len(shown) == 20
    page.execute_script("document.getElementById('more').click(); document.getElementById('more').click()")
    assert sorted(page.execute_script(SHOWN)) == sorted(f"q{i:03}" for i in range(60))
    assert page.execute_script("return window.pwned") is None
    assert (
        page.execute_script("return document.querySelectorAll('#list img, #list script, #list a, #list svg').length")
        == 0
    )
    text = page.execute_script("return document.getElementById('list').textContent")
    assert "<script>window.pwned = 1</script>" in text
    assert not set("\u202e\x1b\x00") & set(text)
    assert requests(page) == []
    assert page.get_log("browser") == []


def test_what_speaks_loudest_comes_first(answers: Path, page: Any) -> None:
    open_page(page, answers)
    read = "return [...document.querySelectorAll('.parts li')].map(e => parseFloat(e.textContent.split(': ')[1]))"
    shares = page.execute_script(read)
    assert shares == sorted(shares, reverse=True)
    choose(page, "order", "against")
    against = wait(page, read, lambda found: bool(found) and found[0] < shares[-1])
    assert against == sorted(against)
    choose(page, "order", "file")
    assert wait(page, SHOWN, lambda found: found[:2] == ["q000", "q001"])[:2] == ["q000", "q001"]


def test_three_columns_with_what_they_share_or_do_not(answers: Path, page: Any) -> None:
    open_page(page, answers)
    heads = "return [...document.querySelector('article').querySelectorAll('h4')].map(e => e.textContent)"
    assert page.execute_script(heads) == ["m00", "m01", "m02"]
    assert page.execute_script("return document.querySelectorAll('mark').length") > 0
    choose(page, "mark", "own")
    marks = "return [document.querySelectorAll('mark').length, document.querySelectorAll('.own').length]"
    assert wait(page, marks, lambda found: found[0] == 0)[1] > 0
    choose(page, "b", "0")  # the first column beside itself has no word of its own
    own = "return document.querySelector('.columns').children[1].querySelectorAll('.own').length"
    assert wait(page, own, lambda found: found == 0) == 0
    choose(page, "c", "")
    assert wait(page, heads, lambda found: len(found) == 2) == ["m00", "m00"]


def test_a_link_brings_back_what_was_chosen(answers: Path, page: Any) -> None:
    open_page(page, answers)
    choose(page, "search", "q007")
    assert wait(page, SHOWN, lambda found: found == ["q007"]) == ["q007"]
    fragment = page.execute_script("return location.hash")
    assert fragment == "#search=q007"
    assert open_page(page, answers, "#search=q011&c=5") == ["q011"]
    assert page.execute_script("return document.querySelector('[name=c]').value") == "5"
    assert len(open_page(page, answers, "#a=99&by=%3Cb%3E&order=nonsense")) == 20


def test_notes_leave_in_a_file_and_come_back(answers: Path, page: Any, tmp_path: Path) -> None:
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    (prompt,) = open_page(page, answers, "#search=q003")
    note = "const e = document.querySelector('textarea'); e.value = arguments[0]; e.dispatchEvent(new Event('input'))"
    page.execute_script(note, "both <b>misspell</b> it")
    page.execute_script("document.getElementById('save').click()")
    saved = tmp_path / "notes.json"
    until = time.monotonic() + 10.0
    while not saved.exists() and time.monotonic() < until:
        time.sleep(0.05)
    told = json.loads(saved.read_text("utf-8"))
    assert told["notes"] == {prompt: "both <b>misspell</b> it"}
    page.execute_script("localStorage.clear()")
    open_page(page, answers, "#search=q003")
    value = "const e = document.querySelector('textarea'); return e ? e.value : ''"
    assert page.execute_script(value) == ""
    page.find_element("id", "load").send_keys(str(saved))
    assert wait(page, value, bool) == "both <b>misspell</b> it"
    saved.write_text(json.dumps({**told, "responses_sha256": "0" * 64}), "utf-8")
    page.find_element("id", "load").send_keys(str(saved))
    said = "return document.getElementById('count').textContent"
    assert "not about these answers" in wait(page, said, lambda found: "notes" in found)
    page.execute_script("localStorage.clear()")


@pytest.mark.parametrize(("width", "shade"), [(375, "light"), (1200, "dark")])
def test_it_fits_and_axe_finds_nothing(answers: Path, page: Any, width: int, shade: str) -> None:
    resize(page, width, 900, phone=width < 400)
    dark(page, shade == "dark")
    open_page(page, answers)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    if (axe := axe_core()) is not None:
        assert violations(page, axe) == []
    dark(page, False)
