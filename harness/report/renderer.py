"""Render Vega-Lite specifications to SVG, offline: Vega's own scripts in an embedded JavaScript engine, no browser.

Why this way: QuickJS (`dukpy`, MIT, 17 MB, no dependencies) with Vega and Vega-Lite (BSD-3, 0.8 MB, in ``vega/``) loads
in 0.1 CPU s and draws in 0.04 to 0.1, in 20 MB. `vl-convert-python` is 84 MB and takes 0.4 CPU s and 90 MB; with
matplotlib come eight packages and 97 MB, and no tooltips. ``python benchmarks/figures.py`` measures the first.

Colours in a specification are variables of the page (``var(--accent)``), so one drawing serves light, dark and print.
What a mark tells when it is pointed at stands in ``data-tip``. No attribute holds style or code: the page's policy
forbids both. The same specification gives the same bytes, on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

import dukpy
from markupsafe import Markup

from harness.report.text import excerpt

Spec = Mapping[str, Any]
"""A Vega-Lite specification."""
SCRIPTS = ("shell.js", "vega.min.js", "vega-lite.min.js", "draw.js")
KEPT = {
    "d", "x", "y", "x1", "x2", "y1", "y2", "transform", "fill", "fill-opacity", "stroke", "stroke-width",
    "stroke-dasharray", "stroke-linecap", "stroke-opacity", "opacity", "font-size", "font-weight", "text-anchor", "dy",
}  # fmt: skip
USUAL = {"opacity": "1", "fill-opacity": "1", "transform": "translate(0,0)", "font-size": "12px", "stroke-width": "1"}
_LONG = re.compile(r"-?\d+\.\d\d+")
_NAMESPACE = "{http://www.w3.org/2000/svg}"
LONGEST = 300  # characters of a label

COLOURS: Mapping[str, tuple[str, str]] = {
    "ink": ("#1d2026", "#e9e7e2"), "soft": ("#555b66", "#a9afba"), "line": ("#dddad3", "#343941"),
    "card": ("#ffffff", "#1b1e23"), "accent": ("#4338a8", "#b8b0ff"), "close": ("#a83a0a", "#ffa07a"),
    "far": ("#0a5a9c", "#86bfff"),
}  # fmt: skip
"""Of a figure that stands alone, in light and in dark."""


class _Engine(dukpy.JSInterpreter):  # type: ignore[misc]
    """QuickJS without what dukpy adds: the environment, in which keys are, a console, and modules from files."""

    def _init_process(self) -> None: ...

    def _init_console(self) -> None: ...

    def _init_require(self) -> None: ...


class Renderer:
    """An embedded JavaScript engine with Vega-Lite loaded; for one thread."""

    def __init__(self) -> None:
        self._js = _Engine()
        for name in SCRIPTS:
            self._js.evaljs((files("harness.report") / "vega" / name).read_text("utf-8") + "\n;0")

    def figure(self, spec: Spec, key: str, title: str, told: str, look: str = "fit") -> Markup:
        """An inline SVG with its title and description for a screen reader.

        Parameters
        ----------
        spec : Spec
            Vega-Lite; strangers' text may stand in it anywhere but as an expression, and is cleaned.
        key : str
            Unique in the page, begins the ids.
        title, told : str
            What it is, and what it shows.
        look : str
            Classes of the element.
        """
        root = self._drawn(spec)
        name, size = excerpt(title, LONGEST), {k: root.attrib[k] for k in ("width", "height", "viewBox")}
        inner = "".join(_markup(e) for e in _tidy(root))
        head = Markup(
            '<svg role="img" class="{look}" aria-labelledby="{key}-t {key}-d" width="{width}" height="{height}" '
            'viewBox="{viewBox}">\n<title id="{key}-t">{name}</title><desc id="{key}-d">{told}</desc>\n'
        ).format(look=look, key=key, name=name, told=excerpt(told, 1000), **size)
        return head + Markup(inner) + Markup("\n</svg>")  # noqa: S704 (escaped as it was made)

    def alone(self, spec: Spec, title: str) -> str:
        """The same as a file of its own, with its colours, light and dark."""
        light, dark = (";".join(f"--{n}:{pair[i]}" for n, pair in COLOURS.items()) for i in (0, 1))
        style = f":root{{{light};background:var(--card)}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
        drawn = str(self.figure(spec, "figure", title, ""))
        start = '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="12px" '
        return drawn.replace("<svg ", start, 1).replace("<title", f"<style>{style}</style><title", 1) + "\n"

    def _drawn(self, spec: Spec) -> ElementTree.Element:
        self._js.evaljs("draw(dukpy.spec);0", spec=_clean({**spec, "config": CONFIG}))
        drawn = self._js.evaljs("drawn")
        if drawn is None:
            raise RuntimeError(f"Vega could not draw a figure: {self._js.evaljs('failed')}")
        return ElementTree.fromstring(drawn)  # noqa: S314 (Vega's own, not a stranger's)


def _clean(value: Any) -> Any:
    """All text of a specification, without what breaks a page or its XML."""
    if isinstance(value, str):
        return excerpt(value, LONGEST)
    if isinstance(value, Mapping):
        return {k: _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    return None if isinstance(value, float) and value != value else value


def _tidy(parent: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Children without what is not seen; groups that only hold are replaced by what they hold."""
    for e in parent:
        tag = e.tag.removeprefix(_NAMESPACE)
        told = e.get("aria-label") if e.get("aria-roledescription") == TOLD else None
        held = list(_tidy(e))
        mine = {
            k: _LONG.sub(lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), v)
            for k, v in e.attrib.items()
            if k in KEPT and USUAL.get(k) != v
        }
        unseen = {"fill", "stroke"}.isdisjoint(mine) or e.get("display") == "none"
        if "stroke" not in mine and tag != "g":
            mine.pop("stroke-width", None)
        if (tag == "g" and not held) or (tag in ("path", "line", "rect") and unseen) or mine.get("opacity") == "0":
            continue
        if tag == "g" and not mine:
            yield from held
            continue
        out = ElementTree.Element(tag, {**mine, **({"data-tip": told} if told else {})})
        out.text = e.text if tag in ("text", "tspan") else None
        out.extend(held)
        yield out


def _markup(e: ElementTree.Element) -> str:
    return ElementTree.tostring(e, encoding="unicode")


TOLD = "told"  # marks with a tooltip
CONFIG: Mapping[str, Any] = {
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "mark": {"aria": False},
    "axis": {
        "labelColor": "var(--soft)", "titleColor": "var(--soft)", "domainColor": "var(--soft)",
        "tickColor": "var(--soft)", "gridColor": "var(--line)", "labelFontSize": 11, "titleFontSize": 12,
        "titleFontWeight": "normal", "tickCount": 6,
    },
    "legend": {
        "labelColor": "var(--ink)", "titleColor": "var(--soft)", "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "normal", "orient": "bottom", "labelLimit": 0, "symbolStrokeWidth": 2,
        "offset": 6, "rowPadding": 2,
    },
    "text": {"fill": "var(--ink)", "fontSize": 12},
    "title": {"color": "var(--ink)", "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
}  # fmt: skip
"""What all figures share: colours of the page, one size of text."""
