"""Geometry of the report's figures: numbers in, coordinates out; templates/figures.j2 draws them as inline SVG.

Our own SVG and no plotting library: a page without network or `eval` cannot use one that draws in the browser, a static
renderer would add 30 MB to every installation, and lines of our own take colour from CSS (dark mode, print) and carry
titles for a screen reader. Coordinates are in CSS pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from harness.inference.breakdown import Detail, Measure, Overview
from harness.inference.findings import Finding
from harness.inference.likelihood import Ratios
from harness.inference.survey import Survey
from harness.report.numbers import interval, number

Floats = NDArray[np.float64]
WIDTH, LEFT, RIGHT = 680.0, 130.0, 20.0
ROW = 40.0
LONGEST_AXIS = 10.0  # of a forest plot: times the second largest effect, and no shorter than this


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A linear scale from ``low``..``high`` to ``start``..``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[Tick]:
        """Five or so round numbers."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        first = math.ceil(self.low / step)
        marks = [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [Tick(self(v), f"{v:.10g}") for v in marks]


def axis(values: Sequence[float], start: float, end: float) -> Axis:
    """A scale that holds all finite values and zero, with a little room."""
    finite = [v for v in values if math.isfinite(v)] + [0.0]
    low, high = min(finite), max(finite)
    room = (high - low or 1.0) * 0.06
    return Axis(low - room, high + room, start, end)


@dataclass(frozen=True)
class Dot:
    """One pair of a strip plot; ``y`` is jittered by a fixed pattern so that dots do not hide one another. ``tied`` is
    level with the accused pair, and drawn beside its large dot instead of under it."""

    x: float
    y: float
    label: str
    accused: bool
    tied: bool = False


@dataclass(frozen=True)
class Strip:
    """Where the accused pair lies among all pairs of the pool, a row a channel, all channels together first."""

    axis: Axis
    height: float
    rows: tuple[tuple[str, float, tuple[Dot, ...], str], ...]  # name, y, dots, rank in words
    measure: Measure = "excess"


BESIDE = 11.0  # off the row's line, where a dot of a tied pair is seen whole beside the large one


def strip(d: Detail, channels: bool = True) -> Strip:
    """All rows on one axis, in the scale of the verdict; without ``channels`` only the first."""
    matrices = d.drawn() if channels else d.drawn()[:1]
    upper = np.triu_indices(len(d.names), 1)
    pairs = [f"{d.names[i]} with {d.names[j]}" for i, j in zip(*upper, strict=True)]
    scaled = [(name, m[upper]) for name, m in matrices]
    scale = axis([float(v) for _, row in scaled for v in row], LEFT, WIDTH - RIGHT)
    rows = []
    for r, (name, row) in enumerate(scaled):
        y = 24.0 + ROW * r
        tied = np.abs(row - row[0]) <= 1e-9
        dots = [
            Dot(scale(float(v)), y + _jitter(i, bool(tied[i])), f"{pairs[i]}: {v:.2f}", i == 0, bool(tied[i]) and i > 0)
            for i, v in enumerate(row)
            if math.isfinite(v)
        ]
        level = int(tied.sum()) - 1
        with_it = f", {level} level" if level > 0 else ""
        rank = 1 + int((row > row[0] + 1e-9).sum())
        rows.append((name, y, tuple(reversed(dots)), f"{rank} of {len(dots)}{with_it}"))
    return Strip(scale, 24.0 + ROW * len(rows) + 22.0, tuple(rows), d.measure)


def _jitter(i: int, tied: bool) -> float:
    return BESIDE * (1.0 if i % 2 else -1.0) if tied and i else ((i * 7) % 11 - 5) * 1.6


@dataclass(frozen=True)
class Bar:
    """One channel of a forest plot."""

    name: str
    note: str
    y: float
    x: float
    low: float | None
    high: float | None
    text: str
    counted: bool
    beyond: bool = False  # off the axis: the mark stands at its end, and only the number says how far


@dataclass(frozen=True)
class Forest:
    """Effects of a finding's channels with their intervals."""

    axis: Axis
    height: float
    bars: tuple[Bar, ...]


def forest(f: Finding) -> Forest | None:
    """None where no channel has an effect.

    A channel that agrees alike on every prompt has an effect in the hundreds, beside which all others would be one
    point: the axis ends where those can still be read.
    """
    rows = [
        (e.name, e.sees, e.scaled(e.effect), e.scaled(e.effect_low), e.scaled(e.effect_high), e.part == "counted")
        for e in f.evidence
        if math.isfinite(e.effect)
    ]
    if not rows:
        return None
    reach = sorted(max(abs(v) for v in row[2:5] if math.isfinite(v)) for row in rows)
    edge = reach[-1] if len(reach) < 2 else max(LONGEST_AXIS * reach[-2], LONGEST_AXIS)
    held = [max(-edge, min(edge, v)) for row in rows for v in row[2:5] if math.isfinite(v)]
    scale = axis(held, LEFT, WIDTH - 140)
    bars = []
    for i, (name, sees, effect, low, high, counted) in enumerate(rows):
        whole = math.isfinite(low) and math.isfinite(high)
        text = f"{number(effect)} {interval(low, high)}"
        beyond = abs(effect) > edge
        left, right = (scale(max(-edge, low)), scale(min(edge, high))) if whole and not beyond else (None, None)
        at = scale(max(-edge, min(edge, effect)))
        bars.append(Bar(name, sees, 22.0 + 34.0 * i, at, left, right, text, counted, beyond))
    return Forest(scale, 22.0 + 34.0 * len(bars) + 18.0, tuple(bars))


@dataclass(frozen=True)
class Cell:
    """A square of the heat map; ``strength`` 0..1 is its opacity."""

    x: float
    y: float
    strength: float
    sign: str
    label: str


@dataclass(frozen=True)
class Heat:
    """Excess or raw similarity of all models (`Overview`), in the order of the tree beside it."""

    names: tuple[str, ...]
    size: float
    left: float
    top: float
    tree: float
    cells: tuple[Cell, ...]
    branches: tuple[str, ...]  # points of polylines
    measure: Measure = "excess"
    supports: tuple[tuple[float, float, str], ...] = ()

    @property
    def width(self) -> float:
        """Of the whole figure."""
        return self.left + self.size * len(self.names) + self.tree + (30 if self.supports else 12)

    @property
    def height(self) -> float:
        """Of the whole figure."""
        return self.top + self.size * len(self.names) + 8


def survey_map(s: Survey) -> Heat | None:
    """The matrix of a survey beside its tree, with the support of each branch in percent."""
    support = {frozenset(s.names[i] for i in b.members): b.support for b in s.branches}
    return heat(Overview(s.names, s.matrix, ()), support)


def heat(o: Overview, support: Mapping[frozenset[str], float] | None = None) -> Heat | None:
    """Average linkage on (largest value - value); None for fewer than three models. ``support`` is written beside the
    joins of these models."""
    m = len(o.names)
    if m < 3 or not np.isfinite(o.matrix[np.triu_indices(m, 1)]).all():
        return None
    distance = np.nanmax(o.matrix) - (o.matrix + o.matrix.T) / 2
    np.fill_diagonal(distance, 0.0)
    links = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    tree = dendrogram(links, no_plot=True)
    order = tree["leaves"]
    size = max(16.0, min(34.0, 420.0 / m))
    left, room = 10.0 + 7.2 * max(len(_short(n)) for n in o.names), 150.0
    top = left
    most = float(np.nanmax(np.abs(o.matrix))) or 1.0
    cells = [
        Cell(
            round(left + size * c, 1), round(top + size * r, 1), round(abs(float(v := o.matrix[i, j])) / most, 3),
            "plus" if v > 0 else "minus", f"{o.names[i]} with {o.names[j]}: {v:.2f}",
        )
        for r, i in enumerate(order) for c, j in enumerate(order) if i != j
    ]  # fmt: skip
    deepest = max(max(d) for d in tree["dcoord"]) or 1.0
    start = left + size * m + 6
    branches = [
        " ".join(
            f"{start + room * d / deepest:.1f},{top + size * (i / 10.0):.1f}"
            for i, d in zip(icoord, dcoord, strict=True)
        )
        for icoord, dcoord in zip(tree["icoord"], tree["dcoord"], strict=True)
    ]
    supports = tuple(
        (start + room * height / deepest + 2, top + size * (at + 0.5) + 3, f"{100 * known:.0f}")
        for under, at, height in _joins(links, order, o.names)
        if support is not None and (known := support.get(under)) is not None and len(under) < m
    )
    return Heat(
        tuple(_short(o.names[i]) for i in order), size, left, top, room, tuple(cells), tuple(branches), o.measure,
        supports,
    )  # fmt: skip


def _joins(links: Floats, order: Sequence[int], names: Sequence[str]) -> list[tuple[frozenset[str], float, float]]:
    """Of each join of a tree the models under it, its place among the leaves and its height."""
    at = [float(list(order).index(i)) for i in range(len(names))]
    under = [frozenset([n]) for n in names]
    for a, b, *_ in links.tolist():
        under.append(under[int(a)] | under[int(b)])
        at.append((at[int(a)] + at[int(b)]) / 2)
    return [(u, x, float(h)) for u, x, h in zip(under[len(names) :], at[len(names) :], links[:, 2], strict=True)]


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"


@dataclass(frozen=True)
class Curve:
    """Lines of a plot in a frame: ``x`` and ``y`` are its axes, points are those of polylines."""

    x: Axis
    y: Axis
    lines: tuple[tuple[str, str], ...]  # class, points
    marks: tuple[tuple[float, float, str], ...] = ()


def ratio_line(ratios: Ratios, scores: Sequence[tuple[float, str]]) -> Curve:
    """log10 LR against the effect of the calibrated channel, flat at its bounds, with the pairs that were judged."""
    finite = [s for s, _ in scores if math.isfinite(s)]
    x = axis([-1.5, 4.0, *finite], 60.0, WIDTH - RIGHT)
    y = axis([*ratios.bounds, 2.0, -2.0], 250.0, 14.0)
    grid = np.linspace(x.low, x.high, 160)
    points = " ".join(f"{x(float(a))},{y(float(b))}" for a, b in zip(grid, ratios.shares_weights(grid), strict=True))
    marks = tuple((x(s), y(float(ratios.shares_weights([s])[0])), name) for s, name in scores if math.isfinite(s))
    return Curve(x, y, (("known", points),), marks)


def tippett_curve(
    at: Sequence[float], kin: Sequence[float], unrelated: Sequence[float], asked: Sequence[tuple[float, str]]
) -> Curve:
    """Share of known pairs that reach each log10 LR; marks: the ratios of this campaign."""
    x = axis([*at, *(v for v, _ in asked)], 60.0, WIDTH - RIGHT)
    y = Axis(0.0, 1.04, 250.0, 14.0)
    lines = [
        (name, " ".join(f"{x(a)},{y(b)}" for a, b in zip(at, shares, strict=True)))
        for name, shares in (("kin", kin), ("unrelated", unrelated))
    ]
    return Curve(x, y, tuple(lines), tuple((x(v), y(0.0), name) for v, name in asked if math.isfinite(v)))
