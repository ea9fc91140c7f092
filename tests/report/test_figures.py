"""Figures: drawn by Vega, the same bytes each time; nothing in them that a stranger wrote runs; all can be read."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.inference.breakdown import ChannelDetail, Detail, Overview, overview
from harness.records import Similarity
from harness.report.figures import BROAD, SLIM, strip, strips, timeline, tippett_curve
from harness.report.heatmap import MOST, colour_step, heatmap, short
from harness.report.renderer import COLOURS, Renderer
from tests.support import ROOT
from tests.support.browser import contrast, resize
from tests.support.drawn import elements
from tests.support.hostile_campaign import HOSTILE, campaign

VEGA = ROOT / "harness" / "report" / "vega"
RELEASED = {  # of the files as they are in the releases on npm, the line that names a source map taken out
    "vega.min.js": "8f6a3587cf8d4f42c7e08120e3eb05d067e746d554e39d2dcf52acc0bd5ba28f",
    "vega-lite.min.js": "388b00cec0404f1b30604f03b0f78ffaaeb9bf7f24c5ebbbbfdad9abf7a73126",
}


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


def models(n: int, doubled: float = 0.0) -> Overview:
    """Strangers, of which the last two are doubles of one another by ``doubled``; names of strangers, too."""
    values = np.random.default_rng(n).normal(size=(n, n))
    matrix = (values + values.T) / np.sqrt(2.0)
    if doubled:
        matrix[-1, -2] = matrix[-2, -1] = doubled
    np.fill_diagonal(matrix, np.nan)
    names = [
        f"{HOSTILE[i % len(HOSTILE)]}-{i}" if i % 4 == 3 else f"a-house.Model-{i:02}-70B-Instruct" for i in range(n)
    ]
    return Overview(tuple(names), matrix, ())


def roles(o: Overview) -> dict[str, tuple[str, str]]:
    known = {n: ("control", f"lineage {i // 2}" if i < 12 else "") for i, n in enumerate(o.names)}
    return {**known, o.names[0]: ("suspect", ""), o.names[1]: ("candidate", "<i>one</i>")}


def pool(n: int) -> Detail:
    o = models(n, 6.0)
    matrix = np.nan_to_num(o.matrix)
    return Detail(o.names[0], o.names[1], o.names, matrix, (ChannelDetail("wording", "text", matrix, matrix),))


def test_vega_is_as_released() -> None:
    assert {name: hashlib.sha256((VEGA / name).read_bytes()).hexdigest() for name in RELEASED} == RELEASED


def test_the_same_numbers_give_the_same_bytes(renderer: Renderer) -> None:
    o = models(9)
    again = Renderer()
    assert heatmap(renderer, "k", o, roles(o)) == heatmap(again, "k", o, roles(o))
    figure = strip(pool(8)).figure
    assert figure.svg(renderer, "s") == figure.svg(again, "s")


def test_nothing_in_a_figure_runs_or_breaks_the_policy(renderer: Renderer) -> None:
    o = models(14)
    found = heatmap(renderer, "k", o, roles(o))
    assert found is not None
    for svg in (found.cells, found.tree, strip(pool(14)).figure.svg(renderer, "s")):
        drawn = elements(svg)
        assert {e.tag for e in drawn} <= {"all", "svg", "title", "desc", "g", "path", "line", "rect", "text", "tspan"}
        names = {name for e in drawn for name in e.attrib}
        assert not {n for n in names if n.startswith("on") or "href" in n or n == "style"}
        named = [e.tag for e in drawn if "id" in e.attrib or "class" in e.attrib]
        assert named == ["svg", "title", "desc"] * svg.count("<svg")
        assert not set("\u202e\x1b\x00") & set(svg)
        assert "<script>window.pwned" in "".join(e.get("data-tip", "") for e in drawn)


def test_the_engine_reaches_neither_environment_nor_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_API_KEY", "sk-very-secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.js").write_text("exports.told = 1")
    engine = Renderer()._js
    assert engine.evaljs("[typeof process, typeof require, typeof fetch]") == ["undefined"] * 3
    assert engine._funcs == {}, "nothing of Python can be called"
    every = """Object.getOwnPropertyNames(globalThis).map(
        n => { try { return n + JSON.stringify(globalThis[n]) } catch { return n } })"""
    assert "very-secret" not in str(engine.evaljs(every))
    for name in ("fs", "os", "std", "./mine.js", "dukpy/jscore/fs"):
        engine.evaljs(f"globalThis.got = 0; import({name!r}).then(() => {{ got = 1 }}, () => {{ got = 2 }}); 0")
        assert engine.evaljs("got") == 2, name


def test_text_that_looks_like_an_expression_is_text(renderer: Renderer) -> None:
    name = "{signal: 'x'} datum.x; ${1} {{ 7 * 191 }} [0]"
    o = Overview((name, "b", "c", "d", "e", "f"), models(6).matrix, ())
    found = heatmap(renderer, "k", o, {})
    assert found is not None
    assert any(e.get("data-tip", "").startswith("1: ") or name in e.get("data-tip", "") for e in elements(found.tree))
    assert name in found.tree.unescape()


@pytest.mark.parametrize("n", [6, 20, 60])
def test_one_doubled_control_leaves_the_map_readable(renderer: Renderer, n: int) -> None:
    plain, doubled = models(n), models(n, 400.0)
    assert colour_step(doubled.matrix) <= 2 * colour_step(plain.matrix)
    found = heatmap(renderer, "k", doubled, roles(doubled))
    assert found is not None
    tones = [e.get("fill", "") for e in elements(found.cells) if " with " in e.get("data-tip", "")]
    assert len(tones) == n * (n - 1), "each pair once, on a wide screen and on a phone"
    assert len(set(tones)) >= 4, "all alike but one"
    joins = [float(x) for x in re.findall(r'd="M([\d.]+),', found.tree)]
    assert np.ptp(joins) > 40, "all joins in one place"


def test_a_sign_is_seen_without_colour(renderer: Renderer) -> None:
    o = models(10)
    found = heatmap(renderer, "k", o, {})
    assert found is not None
    size = {"up": set(), "down": set()}
    for e in elements(found.cells):
        if " with " in (tip := e.get("data-tip", "")):
            side = re.search(r"h([\d.]+)v([\d.]+)", e.get("d", ""))
            assert side is not None
            size["up" if "up" in e.get("fill", "") else "down"].add(float(side[1]))
            assert ("−" in tip.rsplit(":", 1)[1]) is ("down" in e.get("fill", ""))
    assert min(size["up"]) > 1.2 * max(size["down"])


def test_values_and_names_are_told_where_there_is_room_and_always_by_touch(renderer: Renderer) -> None:
    for n in (5, 60):
        o = models(n)
        found = heatmap(renderer, "k", o, roles(o))
        assert found is not None
        sizes = [float(e.get("font-size", "12px")[:-2]) for e in elements(found.cells) if e.tag == "text"]
        assert min(sizes) >= 11
        tips = [e.get("data-tip", "") for e in elements(found.cells)]
        assert sum(" with " in t for t in tips) == n * (n - 1)
    assert short("a" * 22) == "a" * 22
    assert len(short("b" * 90)) == 22


@pytest.mark.parametrize("role", ["suspect", ""])
def test_a_map_of_more_models_than_fit_has_those_closest_to_the_pair(renderer: Renderer, role: str) -> None:
    n = MOST + 10
    o = models(n, 400.0)
    for far in range(4, 14):
        o.matrix[far] = o.matrix[:, far] = -9.0
    near = o.matrix.copy()
    near[0, 4] = near[4, 0] = 9.0
    found = heatmap(renderer, "k", replace(o, matrix=near), {o.names[0]: (role, ""), o.names[1]: (role, "")})
    assert found is not None
    assert (found.mapped, found.models, found.marked) == (MOST, n, bool(role))
    for part, shown in ((found.cells, MOST), (found.tree, n)):
        tips = {e.get("data-tip", "") for e in elements(part)}
        names = {tip.split(": ", 1)[1] for tip in tips if re.match(r"\d+: ", tip)}
        assert len(names) == shown
        assert names.isdisjoint(o.names[5:14]) is (shown == MOST)
        assert {o.names[i] for i in (0, 4, n - 1, n - 2)} <= names | (
            {o.names[n - 1], o.names[n - 2]} if role else set()
        )
    assert heatmap(renderer, "k", models(MOST), {}).mapped == MOST  # type: ignore[union-attr]


def test_axes_have_titles_with_units_and_kinds_have_a_legend(renderer: Renderer) -> None:
    drawn = strip(pool(8)).figure.svg(renderer, "s")
    assert "spread over all pairs" in drawn
    assert "accused pair" in drawn
    assert "another pair" in drawn
    curve = tippett_curve([-1.0, 0.0, 1.0], [1.0, 0.9, 0.5], [1.0, 0.2, 0.0], [(0.5, "a and b")]).svg(renderer, "c")
    for word in ("log10 likelihood ratio", "share of known pairs", "known kin", "known unrelated", "stroke-dasharray"):
        assert word in curve, word
    o = models(8)
    found = heatmap(renderer, "k", o, roles(o))
    assert found is not None
    assert "excess, in units" in found.cells
    assert found.marked
    assert [name for _, _, name in found.lineages] == ["lineage 1", "lineage 2", "lineage 3"]


def test_many_pairs_are_counted_and_the_closest_stay(renderer: Renderer) -> None:
    few, many = strip(pool(8)), strip(pool(60))
    assert len(many.figure.svg(renderer, "s")) < 60_000
    assert few.ranks[0][1].endswith("of 28")
    assert "pairs from" not in few.figure.svg(renderer, "s")
    assert len(many.rivals) == 3
    assert "pairs from" in many.figure.svg(renderer, "s")
    assert many.ranks[0][1].endswith("of 1770")


@pytest.mark.parametrize("name", ["m", "W" * 64])
def test_a_long_name_takes_no_room_from_a_figure(renderer: Renderer, name: str) -> None:
    runs = [(datetime(2026, 11, day, tzinfo=UTC), "same", "p .4") for day in (1, 8, 15)]
    figure = timeline([(name, runs)])
    assert figure is not None
    for width in (BROAD, SLIM):
        drawn = elements(renderer.figure(figure.spec(width), "t", "", ""))
        assert 0.9 * width < float(drawn[1].get("width", "")) < 1.1 * width
        marks = [e for e in drawn if name in e.get("data-tip", "")]
        at = [float(re.findall(r"[\d.]+", e.get("transform", ""))[0]) for e in marks]
        assert at[-1] - at[0] > 0.6 * width


def test_figures_of_many_pairs_stay_small(renderer: Renderer) -> None:
    """Nineteen suspects against one candidate, in six channels."""
    d = pool(20)
    found = strips([replace(d, channels=d.channels * 6)] * 19)
    assert sum(len(s.figure.svg(renderer, "s")) for s in found) < 2_000_000
    assert strips([]) == []


def test_a_branch_has_its_support_and_a_tree_its_scale(renderer: Renderer) -> None:
    """On real resampling: two models that are one another's kin stay together, strangers do not."""
    rng = np.random.default_rng(4)
    values = 0.3 + rng.normal(0.0, 0.05, (40, 7, 7))
    values = (values + values.transpose(0, 2, 1)) / 2
    values[:, [0, 1], [1, 0]] += 0.2
    values[:, range(7), range(7)] = np.nan
    ids = tuple(f"q{i}" for i in range(40))
    s = Similarity("wording", tuple("abcdefg"), ids, values.astype(np.float32), np.ones(7), "cosine", "text")
    o = overview([s])
    assert o is not None
    support = {b.members: b.support for b in o.branches}
    assert support[0, 1] == 1.0
    assert min(support.values()) < 0.9
    again = overview([s])
    assert again is not None
    assert again.branches == o.branches
    found = heatmap(renderer, "k", o, {})
    assert found is not None
    assert found.supported
    assert "2 models: a branch in 100% of resampled prompts" in found.tree
    assert "join: mean excess" in found.tree


@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-12, 1e6])
@pytest.mark.parametrize("n", [3, 4, 13])
@pytest.mark.filterwarnings("error")
def test_wild_numbers_are_drawn(renderer: Renderer, n: int, scale: float) -> None:
    o = models(n)
    wild = o.matrix * scale
    lone = wild.copy()
    wild[0, 1] = wild[1, 0] = 1e9
    lone[1:, 1:] = np.nan
    gaps = ChannelDetail("gaps", "text", np.full((n, n), np.nan), np.full((n, n), np.nan))
    for matrix in (wild, o.matrix * scale):
        found = heatmap(renderer, "k", replace(o, matrix=matrix), {})
        assert found is not None
        assert not re.search("NaN|Infinity", found.cells + found.tree)
    for matrix in (np.nan_to_num(lone), lone):
        d = Detail(o.names[0], o.names[1], o.names, matrix, (ChannelDetail("w", "text", matrix, matrix), gaps))
        assert not re.search("NaN|Infinity", strip(d).figure.svg(renderer, "s"))


def test_a_figure_that_stands_alone_has_its_colours(renderer: Renderer) -> None:
    alone = renderer.alone(tippett_curve([0.0, 1.0], [1.0, 0.5], [1.0, 0.0], []).spec(720), "A & B")
    assert elements(alone)
    assert set(re.findall(r"var\(--(\w+)\)", alone)) <= set(COLOURS)


def test_colours_of_the_map_carry_its_numbers() -> None:
    """Ink on every tone, in light, dark and print, with the contrast that WCAG asks of text."""
    style = (ROOT / "harness" / "report" / "templates" / "report.css").read_text()
    for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colours = dict(re.findall(r"--(\w+): (#\w+)", block))
        for tone in [f"{side}{i}" for side in ("up", "down") for i in range(1, 5)]:
            assert contrast(colours["ink"], colours[tone]) >= 4.5, tone
        for i in range(8):
            assert contrast(colours["card"], colours[f"k{i}"]) >= 4.5, i


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign(tmp_path_factory.mktemp("figures"), 6, 40, 60)


SHOWN = "const t = document.querySelector('.tip'); return t.hidden ? '' : t.textContent"
MARK = """const e = [...document.querySelectorAll('#models [data-tip]')].find(
    m => m.checkVisibility() && m.dataset.tip.includes(' with '));
    e.scrollIntoView({block: 'center', inline: 'center'}); const r = e.getBoundingClientRect();
    return [e.dataset.tip, r.left + r.width / 2, r.top + r.height / 2]"""


def test_a_mark_tells_what_it_is_to_the_mouse(report: Path, page: Any) -> None:
    resize(page, 1200, 900)
    page.get(report.as_uri())
    told, x, y = page.execute_script(MARK)
    assert page.execute_script(SHOWN) == ""
    page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
    assert page.execute_script(SHOWN) == told
    page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 3, "y": 3})
    assert page.execute_script(SHOWN) == ""
    assert page.get_log("browser") == []


def test_a_mark_tells_what_it_is_to_a_finger_beside_it(report: Path, page: Any) -> None:
    resize(page, 375, 800, phone=True)
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    page.get(report.as_uri())
    told, x, y = page.execute_script(MARK)
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert page.execute_async_script(f"setTimeout(() => arguments[0]((() => {{{SHOWN}}})()), 400)") == told
    box = page.execute_script(
        "const r = document.querySelector('.tip').getBoundingClientRect(); return [r.left, r.right]"
    )
    assert 0 <= box[0] < box[1] <= 375
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    small = """const e = document.querySelector('#pairs svg.slim path[data-tip]'), r = e.getBoundingClientRect();
        const at = {bubbles: true, clientX: r.right + 6, clientY: r.top};
        e.closest('.drawn').dispatchEvent(new MouseEvent('click', at)); return 1"""
    page.execute_script(small)
    assert " with " in page.execute_script(SHOWN)


def press(page: Any, key: str) -> None:
    for kind in ("rawKeyDown", "keyUp"):
        page.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, "key": key, "code": key})


def test_arrow_keys_go_from_mark_to_mark(report: Path, page: Any) -> None:
    resize(page, 1200, 900)
    page.get(report.as_uri())
    page.execute_script("document.querySelector('#models .drawn').focus()")
    told = []
    for key in ("Home", "ArrowRight", "ArrowDown", "ArrowLeft", "End"):
        press(page, key)
        told.append(page.execute_script(SHOWN))
    assert told[0]
    assert told[1] == told[3]
    assert len({*told}) == 4
    assert page.execute_script("return document.querySelector('.tip').getAttribute('aria-live')") == "polite"
    press(page, "Escape")
    assert page.execute_script(SHOWN) == ""


def test_paper_has_the_wide_figure_and_names_the_rivals(report: Path, page: Any) -> None:
    for width in (375, 1200):
        resize(page, width, 800)
        page.get(report.as_uri())
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        seen = "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).length"
        assert (page.execute_script(seen, "svg.slim"), page.execute_script(seen, "svg.broad") > 0) == (0, True)
        paper = page.execute_script("return document.querySelector('#pairs').innerText")
        assert re.search(r"the closest are, in the first row: 1 m0\d with m0\d \(", paper)
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("width", [375, 1200])
def test_a_figure_in_the_text_fits_and_its_text_can_be_read(report: Path, page: Any, width: int) -> None:
    resize(page, width, 900, phone=width < 400)
    page.get(report.as_uri())
    sizes = """return [...document.querySelectorAll('svg.fit')].filter(e => e.checkVisibility()).map(e => {
        const r = e.getBoundingClientRect();
        return [e.parentElement.scrollWidth - e.parentElement.clientWidth, 12 * r.width / e.viewBox.baseVal.width]})"""
    found = page.execute_script(sizes)
    assert len(found) >= 3
    assert max(over for over, _ in found) <= 0
    assert min(size for _, size in found) >= 11.0
