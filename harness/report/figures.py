"""Figures of the report as Vega-Lite specifications: numbers in, a specification out; `renderer` draws it.

A figure that stands in the text is drawn twice, for a wide screen and for a phone: text has one size on both.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from harness.inference.breakdown import Detail
from harness.inference.findings import Finding
from harness.inference.likelihood import Ratios
from harness.report import words
from harness.report.numbers import interval, number
from harness.report.renderer import TOLD, Renderer, Spec

Floats = NDArray[np.float64]
Rows = list[dict[str, Any]]
BROAD, SLIM = 720, 300  # CSS pixels
MARGIN, AXIS = 24, 44  # pixels round a plot, and of an upright axis with its title
INK, ACCENT, SOFT, CARD, CLEAR = "var(--ink)", "var(--accent)", "var(--soft)", "var(--card)", "transparent"
LONGEST_AXIS = 10.0  # of a forest plot: times the second largest effect, and no shorter than this
LETTER = 5.9  # pixels of a letter, on average


@dataclass(frozen=True)
class Figure:
    """A figure before it is drawn: what it is, what it shows, and its specification at a width in pixels."""

    title: str
    told: str
    spec: Callable[[int], Spec]

    def svg(self, renderer: Renderer, key: str) -> Markup:
        """Both drawings; the page's style shows the one that fits."""
        broad = renderer.figure(self.spec(BROAD), f"{key}-b", self.title, self.told, "fit broad")
        return broad + renderer.figure(self.spec(SLIM), f"{key}-s", self.title, self.told, "fit slim")


def layered(width: int, height: float, layers: Sequence[Spec], aside: int = 0) -> Spec:
    """Layers on one another, about ``width`` pixels wide, ``aside`` of them for an upright axis; ``height`` is without
    the axis below."""
    return {"width": width - MARGIN - aside, "height": height, "padding": 3, "layer": list(layers)}


def layer(data: Rows, mark: Mapping[str, Any], tip: bool = False, **encoding: Any) -> Spec:
    """Marks of ``data``; with ``tip`` each shows its field "tip" when it is pointed at."""
    told = {"aria": True, "ariaRoleDescription": TOLD} if tip else {}
    described = {"description": {"field": "tip"}} if tip else {}
    return {"data": {"values": data}, "mark": {**mark, **told}, "encoding": {**encoding, **described}}


def text(data: Rows, field: str, align: str = "center", fill: str = INK, limit: float = 0, **encoding: Any) -> Spec:
    """Text that stands in the field ``field`` of ``data``, cut at ``limit`` pixels."""
    return layer(
        data, {"type": "text", "align": align, "fill": fill, "limit": limit}, text={"field": field}, **encoding
    )


def pixels(field: str, most: float) -> Spec:
    """Placed by pixels, from the left or the top."""
    return {"field": field, "type": "quantitative", "axis": None, "scale": _exact(0.0, most, range=[0, most])}


def measured(field: str, low: float, high: float, title: str = "", width: int = BROAD, **axis: Any) -> Spec:
    """Placed by a number on an axis with a title."""
    shown = {"title": wrapped(title, width), "grid": False, **axis}
    return {"field": field, "type": "quantitative", "scale": _exact(low, high), "axis": shown}


def _exact(low: float, high: float, **more: Any) -> Spec:
    return {"domain": [low, high], "nice": False, "zero": False, **more}


def wrapped(text: str, width: int) -> list[str]:
    """A title in lines that fit."""
    return textwrap.wrap(text, int(width / LETTER))


def literal(field: str) -> Spec:
    """Taken as it stands in the data: a colour, a size."""
    return {"field": field, "type": "nominal", "scale": None, "legend": None}


def kinds(looks: Mapping[str, Mapping[str, Any]], present: Sequence[str], width: int) -> dict[str, Spec]:
    """Marks by their field "kind", each told apart by shape and size as well as by colour; a legend for two or more."""
    names = [k for k in looks if k in present]
    if len(names) < 2:
        return {channel: {"value": value} for name in names for channel, value in looks[name].items()}
    return {
        channel: {
            "field": "kind", "type": "nominal", "legend": legend(width),
            "scale": {"domain": names, "range": [looks[k][channel] for k in names]},
        }
        for channel in ("shape", "fill", "stroke", "size", "fillOpacity")
    }  # fmt: skip


def legend(width: int) -> Spec:
    """Beside one another on a wide screen, under one another on a phone."""
    return {"title": None, "direction": "vertical", "columns": 3 if width >= BROAD else 1, "columnPadding": 18}


def look(shape: str, fill: str, stroke: str, size: float, solid: float = 1.0) -> Spec:
    """How marks of one kind look."""
    return {"shape": shape, "fill": fill, "stroke": stroke, "size": size, "fillOpacity": solid}


ASKED, LEVEL, OTHER = "the accused pair", "level with it", "another pair"
PAIRS = {
    ASKED: look("diamond", ACCENT, CARD, 190),
    LEVEL: look("circle", CARD, ACCENT, 60),
    OTHER: look("circle", SOFT, CLEAR, 34, 0.45),
}
SPAN = {"grid": False, "tickCount": 6}


def span(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis that holds all finite values and zero, with a little room."""
    finite = [v for v in values if math.isfinite(v)] + [0.0]
    low, high = min(finite), max(finite)
    room = (high - low or 1.0) * 0.06
    return low - room, high + room


def zeros(lines: Sequence[float], x: Spec, y: Spec, reach: float = 13.0) -> Spec:
    """Where 0 is, a dashed stretch a row."""
    data: Rows = [{"v": 0, "y": line - reach, "y2": line + reach} for line in lines]
    mark = {"type": "rule", "stroke": SOFT, "strokeDash": [3, 3]}
    return layer(data, mark, x={**x, "field": "v"}, y={**y, "field": "y"}, y2={"field": "y2"})


ROW, TOP, LINE = 64.0, 8.0, 42.0
MOST_DOTS, ALL_DOTS = 300, 4000  # of one row and of a report; beyond, bars count the pairs and the closest stay dots
RIVALS = 3  # that are numbered in the figure and named below it
BINS = 40


@dataclass(frozen=True)
class Strip:
    """Where the accused pair lies among all pairs of the pool: the figure, the rank in each row, the closest others."""

    figure: Figure
    ranks: tuple[tuple[str, str], ...]
    rivals: tuple[str, ...]


def strips(details: Sequence[Detail]) -> list[Strip]:
    """Those of a report, which share the dots that there may be, so that it stays small."""
    rows = sum(len(d.drawn()) for d in details)
    return [strip(d, min(MOST_DOTS, ALL_DOTS // rows)) for d in details]


def strip(d: Detail, most: int = MOST_DOTS) -> Strip:
    """A row a channel, all channels together first, in the scale of the verdict; ``most`` dots a row."""
    upper = np.triu_indices(len(d.names), 1)
    pairs = [f"{d.names[i]} with {d.names[j]}" for i, j in zip(*upper, strict=True)]
    rows = [(name, matrix[upper]) for name, matrix in d.drawn()]
    ranks = tuple((name, _rank(values)) for name, values in rows)
    first = rows[0][1]
    closest = [
        int(i) for i in np.argsort(-np.nan_to_num(first, nan=-np.inf), kind="stable") if i and first[i] == first[i]
    ]
    rivals = closest[:RIVALS]
    ends = span([float(v) for _, row in rows for v in row])
    title = words.measured(d.measure)

    def spec(width: int) -> Spec:
        height = TOP + ROW * len(rows)
        x = measured("x", *ends, title, width, **SPAN)
        y = pixels("y", height)
        dots, bars = _marks(rows, pairs, most)
        numbers = _numbered([float(first[i]) for i in rivals], (ends[1] - ends[0]) / width)
        lines = [TOP + ROW * r + LINE for r in range(len(rows))]
        said: Rows = [{"y": TOP + ROW * r, "name": n, "rank": k} for r, (n, k) in enumerate(ranks)]
        bar = {"type": "rect", "fill": SOFT, "fillOpacity": 0.45}
        return layered(width, height, [
            layer([{"y": line} for line in lines], {"type": "rule", "stroke": "var(--line)"}, y=y),
            zeros(lines, x, y),
            *([layer(bars, bar, True, x=x, x2={"field": "x2"}, y=y, y2={"field": "y2"})] if bars else []),
            layer(dots, {"type": "point", "strokeWidth": 1.6, "opacity": 1}, True, x=x, y=y,
                  **kinds(PAIRS, [row["kind"] for row in dots], width)),
            text(numbers, "n", x=x, y=y),
            text(said, "name", "left", limit=0.6 * width, x={"value": 0}, y=y),
            text(said, "rank", "right", SOFT, x={"value": "width"}, y=y),
        ])  # fmt: skip

    told = "A mark a pair of models, a row a channel; the accused pair is the diamond. The ranks are in a table below."
    figure = Figure(f"Where {d.suspect} and {d.candidate} lie among all pairs", told, spec)
    return Strip(figure, ranks, tuple(f"{pairs[i]} ({number(float(first[i]))})" for i in rivals))


def _numbered(at: Sequence[float], pixel: float) -> Rows:
    """Numbers over the dots they name, one above the other where dots are close."""
    rows: Rows = []
    for n, x in enumerate(at, 1):
        near = [row["y"] for row in rows if abs(row["x"] - x) < 10 * pixel]
        rows.append({"x": x, "y": min(near, default=TOP + LINE - 4) - 11, "n": str(n)})
    return rows


def _rank(values: Floats) -> str:
    level = int((np.abs(values - values[0]) <= 1e-9).sum()) - 1
    place = f"{1 + int((values > values[0] + 1e-9).sum())} of {int(np.isfinite(values).sum())}"
    return f"{place}, {level} level" if level > 0 else place


def _marks(rows: Sequence[tuple[str, Floats]], pairs: Sequence[str], most: int) -> tuple[Rows, Rows]:
    """Dots of all rows, those of the accused pair last so that nothing hides them, and bars where dots are too many."""
    dots: Rows = []
    bars: Rows = []
    for r, (_, values) in enumerate(rows):
        line = TOP + ROW * r + LINE
        shown = np.flatnonzero(np.isfinite(values))
        if len(shown) > most:
            bars += _bars(values[shown], line)
            shown = shown[np.argsort(-values[shown], kind="stable")][: 4 * RIVALS]
            shown = np.unique([*shown, *np.flatnonzero(np.abs(values - values[0]) <= 1e-9)])
        for i in (int(i) for i in shown):
            kind = OTHER if abs(values[i] - values[0]) > 1e-9 else LEVEL if i else ASKED
            at = line + (0.0 if kind == ASKED else _jitter(i) if kind == OTHER else 11.0 if i % 2 else -11.0)
            dots.append({"x": float(values[i]), "y": at, "kind": kind, "tip": f"{pairs[i]}: {values[i]:.2f}"})
    return sorted(dots, key=lambda dot: [OTHER, LEVEL, ASKED].index(dot["kind"])), bars


def _bars(values: Floats, line: float) -> Rows:
    counts, edges = np.histogram(values, BINS)
    tall = 22.0 / max(int(counts.max()), 1)
    return [
        {"x": a, "x2": b, "y": line, "y2": line - tall * n, "tip": f"{n} pairs from {a:.2f} to {b:.2f}"}
        for n, (a, b) in zip(counts.tolist(), itertools.pairwise(edges.tolist()), strict=True)
        if n
    ]


def _jitter(i: int) -> float:
    """Off the line by a fixed pattern, so that dots do not hide one another."""
    return ((i * 7) % 11 - 5) * 1.6


COUNTED, SHOWN, BEYOND = "part of the verdict", "shown, without weight", "beyond the axis"
EFFECTS = {
    COUNTED: look("circle", ACCENT, ACCENT, 90),
    SHOWN: look("circle", CARD, SOFT, 90),
    BEYOND: look("triangle-right", ACCENT, ACCENT, 110),
}
BAR = 44.0


def forest(f: Finding) -> Figure | None:
    """Effects of a finding's channels with their 95 % intervals; None where no channel has an effect.

    A channel that agrees alike on every prompt has an effect in the hundreds, beside which all others would be one
    point: the axis ends where those can still be read, and the number says how far the mark lies beyond.
    """
    rows = [
        (e, e.scaled(e.effect), e.scaled(e.effect_low), e.scaled(e.effect_high))
        for e in f.evidence
        if math.isfinite(e.effect)
    ]
    if not rows:
        return None
    reach = sorted(max(abs(v) for v in row[1:] if math.isfinite(v)) for row in rows)
    edge = reach[-1] if len(reach) < 2 else max(LONGEST_AXIS * reach[-2], LONGEST_AXIS)
    held: Rows = []
    for i, (e, effect, low, high) in enumerate(rows):
        beyond = abs(effect) > edge
        kind = BEYOND if beyond else COUNTED if e.part == "counted" else SHOWN
        whole = math.isfinite(low) and math.isfinite(high) and not beyond
        ends = (max(-edge, low), min(edge, high)) if whole else (None, None)
        said = f"{number(effect)} {interval(low, high)}"
        held.append({
            "label": i, "name": f"{e.name}, sees {e.sees}" if e.sees in ("weights", "text") else e.name, "text": said,
            "x": max(-edge, min(edge, effect)), "low": ends[0], "high": ends[1], "kind": kind,
            "tip": f"{e.name}: {said}",
        })  # fmt: skip
    told = "Points with 95 % intervals; hollow points carry no weight. The numbers are in the table below."
    return Figure(
        f"Effect of each channel: {f.suspect} and {f.candidate}", told, lambda w: _forest(w, held, words.axis(f))
    )


def _forest(width: int, held: Rows, title: str) -> Spec:
    height = TOP + BAR * len(held)
    ends = span([v for row in held for v in (row["x"], row["low"], row["high"]) if v is not None])
    rows = [{**row, "y": TOP + BAR * row["label"], "line": TOP + BAR * row["label"] + 22} for row in held]
    x, line, label = measured("x", *ends, title, width, **SPAN), pixels("line", height), pixels("y", height)
    low, high = {**x, "field": "low"}, {"field": "high"}
    span_of: Any = {"x": low, "x2": high, "y": line}
    known, bar = [row for row in rows if row["low"] is not None], {"type": "rule", "strokeWidth": 2.5}
    return layered(width, height, [
        layer(rows, {"type": "rule", "stroke": "var(--line)"}, y=line),
        zeros([row["line"] for row in rows], x, line, 11.0),
        *(layer([row for row in known if (row["kind"] == SHOWN) is faint], {**bar, "stroke": ink}, **span_of)
          for faint, ink in ((True, SOFT), (False, ACCENT))),
        layer(rows, {"type": "point", "strokeWidth": 2, "opacity": 1}, True, x=x, y=line,
              **kinds(EFFECTS, [row["kind"] for row in rows], width)),
        text(rows, "name", "left", limit=0.55 * width, x={"value": 0}, y=label),
        text(rows, "text", "right", SOFT, x={"value": "width"}, y=label),
    ])  # fmt: skip


LINES = {"known kin": ("var(--close)", [1, 0]), "known unrelated": ("var(--far)", [6, 4])}
HERE = {"a pair of this campaign": look("diamond", ACCENT, CARD, 150)}


def ratio_line(ratios: Ratios, scores: Sequence[tuple[float, str]]) -> Figure:
    """log10 LR against the effect of the calibrated channel, flat at its bounds, with the pairs that were judged."""
    finite = [(s, name) for s, name in scores if math.isfinite(s)]
    low, high = span([-1.5, 4.0, *(s for s, _ in finite)])
    grid = np.linspace(low, high, 160)
    line = [(float(a), float(b)) for a, b in zip(grid, ratios.shares_weights(grid), strict=True)]
    marks = [(s, float(ratios.shares_weights([s])[0]), name) for s, name in finite]
    ends = (low, high), span([*ratios.bounds, 2.0, -2.0])
    titles = "effect of the calibrated channel, in its own noise", "log10 likelihood ratio"
    told = "Flat where its bounds are. Marks: the pairs of this campaign."
    return Figure("From effect to likelihood ratio", told, lambda w: _curve(w, {"": line}, marks, ends, titles))


def tippett_curve(
    at: Sequence[float], kin: Sequence[float], unrelated: Sequence[float], asked: Sequence[tuple[float, str]]
) -> Figure:
    """Share of known pairs that reach each log10 LR; marks: the ratios of this campaign."""
    marks = [(v, 0.0, name) for v, name in asked if math.isfinite(v)]
    shares = zip(LINES, (kin, unrelated), strict=True)
    lines = {name: list(zip(map(float, at), map(float, share), strict=True)) for name, share in shares}
    ends = span([*at, *(m[0] for m in marks)]), (0.0, 1.0)
    titles = "log10 likelihood ratio", "share of known pairs at or above it"
    told = "Two falling lines, of pairs that are known to be kin or unrelated. Marks: the pairs of this campaign."
    return Figure("Tippett plot of the calibration", told, lambda w: _curve(w, lines, marks, ends, titles))


Points = Mapping[str, Sequence[tuple[float, float]]]
Ends = tuple[tuple[float, float], tuple[float, float]]


def _curve(
    width: int, lines: Points, marks: Sequence[tuple[float, float, str]], ends: Ends, titles: tuple[str, str]
) -> Spec:
    """Lines by name in a frame, with a grid, and marks on them."""
    height, named = 230, any(lines)
    x, y = measured("x", *ends[0], titles[0], width, **SPAN), measured("y", *ends[1], titles[1], height, grid=True)
    points = [{"x": a, "y": b, "line": name, "tip": name} for name, line in lines.items() for a, b in line]
    looks = {
        channel: {
            "field": "line", "type": "nominal", "legend": {**legend(width), "symbolSize": 500},
            "scale": {"domain": [*LINES], "range": [look[i] for look in LINES.values()]},
        }
        for i, channel in enumerate(("stroke", "strokeDash"))
    } if named else {}  # fmt: skip
    mark = {
        "type": "line",
        "strokeWidth": 2.4,
        **({"interpolate": "step-before"} if named else {"stroke": "var(--close)"}),
    }
    dots = [
        {"x": a, "y": b, "tip": f"{name}, log10 LR {a if named else b:.2f}", "kind": next(iter(HERE))}
        for a, b, name in marks
    ]
    here = layer(
        dots, {"type": "point", "strokeWidth": 1.5, "opacity": 1}, True, x=x, y=y, **kinds(HERE, [*HERE], width)
    )
    zero = layer([{"v": 0}], {"type": "rule", "stroke": SOFT, "strokeDash": [3, 3]}, x={**x, "field": "v"})
    return layered(
        width, height, [zero, layer(points, mark, named, x=x, y=y, **looks), *([here] if dots else [])], AXIS
    )


STATES = {
    "differs": look("circle", "var(--close)", "var(--close)", 120),
    "same": look("circle", CARD, "var(--far)", 100),
    "cannot tell": look("stroke", CLEAR, "var(--open)", 120),
}
DAY = 86_400_000.0  # milliseconds


def timeline(lines: Sequence[tuple[str, Sequence[tuple[datetime, str, str]]]]) -> Figure | None:
    """When runs of `monitor` found a difference: a row an endpoint, of (when, state, what it tells)."""
    times = [when.timestamp() * 1000 for _, runs in lines for when, _, _ in runs]
    if not times:
        return None
    room = max(0.04 * (max(times) - min(times)), DAY / 2)
    rows = [
        {"x": when.timestamp() * 1000, "y": TOP + BAR * r + 22, "kind": state if state in STATES else "cannot tell",
         "tip": f"{name}, {when:%Y-%m-%d %H:%M}: {state}. {told}"}
        for r, (name, runs) in enumerate(lines) for when, state, told in runs
    ]  # fmt: skip

    def spec(width: int) -> Spec:
        height = TOP + BAR * len(lines)
        named: Rows = [
            {"y": TOP + BAR * r, "line": TOP + BAR * r + 22, "name": name} for r, (name, _) in enumerate(lines)
        ]
        axis = {"title": "time of the run (UTC)", "grid": False, "tickCount": 5 if width < BROAD else 9}
        scale = {"type": "utc", "domain": [min(times) - room, max(times) + room], "nice": False}
        x: Spec = {"field": "x", "type": "temporal", "scale": scale, "axis": axis}
        y = pixels("y", height)
        return layered(width, height, [
            layer(named, {"type": "rule", "stroke": "var(--line)"}, y=pixels("line", height)),
            text(named, "name", "left", limit=width - MARGIN, x={"value": 0}, y=y),
            layer(rows, {"type": "point", "strokeWidth": 2, "opacity": 1}, True, x=x, y=y,
                  **kinds(STATES, [str(row["kind"]) for row in rows], width)),
        ])  # fmt: skip

    return Figure(
        "What monitoring found, over time", "A mark a run, a row an endpoint; the list below says the same.", spec
    )
