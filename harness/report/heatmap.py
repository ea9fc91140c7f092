"""Heat map of all pairs of models, and the tree beside it, as Vega-Lite specifications.

Colour steps are set by the usual pair and not by the largest: one control that is another's double leaves the map
readable. A pair that is further apart than expected is a small square, so that its sign is seen without colour. Of more
models than fit on a page the tree has all, and the map those that are closest to suspects and candidates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram

from harness.inference.branches import links_of
from harness.inference.breakdown import Overview
from harness.inference.survey import Survey
from harness.report import words
from harness.report.figures import ACCENT, CARD, Rows, layer, literal, measured, pixels, text
from harness.report.renderer import Renderer, Spec

Floats = NDArray[np.float64]
MANY = 12  # models: map and tree stand one above the other
MOST = 60  # models of a map: so many cells of the smallest size and a name are as wide as the page
STEPS = 4  # of colour on each side of 0
SMALLEST, LARGEST, ROOM, SLIM = 12.0, 34.0, 440.0, 300.0  # pixels of a cell, of the map, and of that on a phone
FEW = 6  # models whose names fit on a phone, beside the map; of more their numbers stand there
ROOMY = 30.0  # pixels of a cell that its number fits into
LONGEST = 22  # characters of a name
SPARE, LEAST_SPARE = 0.15, 2.5  # of a cell's side and in pixels, round the square of a negative one
STEADY = 0.5  # support from which a branch is marked with it
TONES = 8  # colours of lineages
MARKS = {"suspect": "▲ ", "candidate": "● "}
SIDE = 220.0  # pixels: least width of a colour bar
TREE, TALL = {"slim": 110.0, "broad": 180.0}, 300.0  # width of a tree's branches; of a tall one on a wide screen
ROBUST = 1.4826  # spread of normal numbers, in medians of their absolute values


@dataclass(frozen=True)
class Map:
    """The map and the tree as drawn, and what their signs mean: lineages by letter, and the marks of roles. The map
    has ``mapped`` of the ``models`` that the tree has."""

    cells: Markup
    tree: Markup
    lineages: tuple[tuple[int, str, str], ...]  # tone, letter, name
    marked: bool
    supported: bool
    mapped: int
    models: int


@dataclass(frozen=True)
class Leaf:
    """One model in its place: its number in the figure, and how it is named there."""

    number: int
    name: str
    label: str
    mark: str
    letter: str
    tone: int


@dataclass(frozen=True)
class _Figure:
    leaves: tuple[Leaf, ...]
    order: tuple[int, ...]
    matrix: Floats
    step: float
    title: str
    room: float = ROOM

    @property
    def size(self) -> float:
        return max(SMALLEST, min(LARGEST, self.room / len(self.leaves)))

    @property
    def height(self) -> float:
        return self.size * len(self.leaves)


def survey_map(renderer: Renderer, s: Survey, roles: Mapping[str, tuple[str, str]]) -> Map | None:
    """The matrix of a survey beside its tree, with the support of each branch in percent."""
    return heatmap(renderer, "survey", Overview(s.names, s.matrix, (), branches=s.branches), roles)


def heatmap(
    renderer: Renderer,
    key: str,
    o: Overview,
    roles: Mapping[str, tuple[str, str]],
) -> Map | None:
    """Average linkage on (largest value - value); None for fewer than three models.

    Parameters
    ----------
    key : str
        Unique in the page.
    o : Overview
        Values of all pairs, and the support of the branches, which is written beside their joins.
    roles : mapping
        (role, lineage) of a model.
    """
    m = len(o.names)
    if m < 3 or not np.isfinite(o.matrix[np.triu_indices(m, 1)]).all():
        return None
    links = links_of(o.matrix, ordered=True)
    order = tuple(int(i) for i in dendrogram(links, no_plot=True)["leaves"])
    letters = _letters([roles.get(n, ("", ""))[1] for n in o.names])
    leaves = tuple(_leaf(k, o.names[i], *roles.get(o.names[i], ("", "")), letters) for k, i in enumerate(order, 1))
    f = _Figure(leaves, order, o.matrix, colour_step(o.matrix), words.measured(o.measure))
    room = _with_room(o, roles, order)
    some = replace(f, leaves=tuple(leaves[k] for k in room), order=tuple(order[k] for k in room))
    told = "Only the pairs below the diagonal are drawn. The numbers are in the table below."
    cells = Markup("").join(
        renderer.figure(_cells(g), f"{key}-map-{look}", "How alike all models are", told, f"own {look}")
        for look, g in (("broad", some), ("slim", _on_a_phone(some)))
    )
    support = {frozenset(o.names[i] for i in b.members): b.support for b in o.branches}
    tree = Markup("").join(
        renderer.figure(
            _tree(f, links, o.names, support, TALL if m > MANY and look == "broad" else width),
            f"{key}-{look}", "Tree of all models, by average linkage", "Joins further right are closer.", f"own {look}",
        ) for look, width in TREE.items()
    )  # fmt: skip
    named = tuple((tone, letter, name) for name, (tone, letter) in letters.items())
    return Map(cells, tree, named, any(leaf.mark for leaf in leaves), bool(o.branches), len(room), m)


def _with_room(o: Overview, roles: Mapping[str, tuple[str, str]], order: Sequence[int]) -> list[int]:
    """Places in the tree of the models that the map has room for: those closest to a suspect or a candidate, after
    these themselves where there is room for all of them; where nobody is one, the models with the closest pairs."""
    if len(order) <= MOST:
        return list(range(len(order)))
    asked = np.array([roles.get(n, ("", ""))[0] in MARKS for n in o.names])
    known = np.where(np.isfinite(o.matrix), o.matrix, -np.inf)
    closest = known[:, asked if asked.any() else ~asked].max(1)
    if asked.sum() <= MOST:
        closest[asked] = np.inf
    kept = set(np.argsort(-closest, kind="stable")[:MOST].tolist())
    return [k for k, i in enumerate(order) if i in kept]


def _on_a_phone(f: _Figure) -> _Figure:
    """The same in less room, with numbers for names where those would not fit: the tree below has both."""
    if len(f.leaves) <= FEW:
        return f
    return replace(f, room=SLIM, leaves=tuple(replace(leaf, label=str(leaf.number), letter="") for leaf in f.leaves))


def colour_step(matrix: Floats) -> float:
    """Width of a step of colour: about the spread of the usual pairs, as a round number, whatever a few pairs are.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.random.default_rng(0).normal(size=(20, 20))
    >>> values[0, 1] = values[1, 0] = 400.0
    >>> colour_step(values)
    1.0
    """
    size = np.abs(matrix[np.triu_indices(len(matrix), 1)])
    largest = float(size.max())
    spread = min(ROBUST * float(np.median(size)) or largest, largest / (STEPS - 1)) or 1.0
    power = 10.0 ** math.floor(math.log10(spread))
    return min((m * power for m in (1.0, 2.0, 5.0, 10.0)), key=lambda step: abs(math.log(step / spread)))


def short(name: str) -> str:
    """A name cut in its middle: those of one house differ at their ends.

    >>> short("a-maker/A-very-long-name-7B-Instruct")
    'a-maker/A-v…B-Instruct'
    """
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[1 - half :]}"


def _leaf(number: int, name: str, role: str, lineage: str, letters: Mapping[str, tuple[int, str]]) -> Leaf:
    tone, letter = letters.get(lineage, (0, ""))
    return Leaf(number, name, f"{number}  {MARKS.get(role, '')}{short(name)}", MARKS.get(role, ""), letter, tone)


def _letters(lineages: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Tone and letter of each lineage that more than one model is of."""
    several = sorted({n for n in lineages if n and lineages.count(n) > 1})
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return {name: (i % TONES, alphabet[i % len(alphabet)]) for i, name in enumerate(several)}


def _cells(f: _Figure) -> Spec:
    """The lower half, a square a pair, with its number where there is room; names on the diagonal and a colour bar."""
    s, whole, m = f.size, f.height, len(f.leaves)
    x, y = pixels("x", whole), pixels("y", whole)
    to: dict[str, Any] = {"x2": {"field": "x2"}, "y2": {"field": "y2"}}
    cells = [_cell(f, r, c) for r in range(m) for c in range(r)]
    values = [{**c, "x": c["mx"], "y": c["my"]} for c in cells if s >= ROOMY]
    asked = [{**c, "x": c["ox"], "x2": c["ox2"], "y": c["oy"], "y2": c["oy2"]} for c in cells if c["asked"]]
    outline = {"type": "rect", "fill": "transparent", "stroke": ACCENT, "strokeWidth": 2.5, "opacity": 1}
    figure = {
        "width": whole, "height": whole,
        "layer": [
            layer(cells, {"type": "rect", "opacity": 1}, True, x=x, y=y, fill=literal("fill"), **to),
            *([text(values, "shown", x=x, y=y)] if values else []),
            layer(asked, outline, x=x, y=y, **to),
            *_names(f, [s * r + 5.0 for r in range(m)]),
        ],
    }  # fmt: skip
    return {"vconcat": [figure, _bar(f, max(whole, SIDE))], "spacing": 14, "padding": 3}


def _cell(f: _Figure, r: int, c: int) -> dict[str, object]:
    s, i, j = f.size, f.order[r], f.order[c]
    a, b = f.leaves[c], f.leaves[r]
    value = float(f.matrix[i, j])
    left, top = s * c, s * r
    inset = 0.5 if value >= 0 else max(SPARE * s, LEAST_SPARE)
    return {
        "x": left + inset, "x2": left + s - inset, "y": top + inset, "y2": top + s - inset, "fill": tone(value, f.step),
        "mx": left + s / 2, "my": top + s / 2, "shown": signed(value, 1 if abs(value) < 100 else 0),
        "asked": a.mark != b.mark and a.mark != "" != b.mark,
        "ox": left, "ox2": left + s, "oy": top, "oy2": top + s, "tip": f"{a.name} with {b.name}: {signed(value, 2)}",
    }  # fmt: skip


def signed(value: float, digits: int) -> str:
    """A number with a minus that is one."""
    return f"{value:.{digits}f}".replace("-", "−")


def tone(value: float, step: float) -> str:
    """The page's colour of a value, in steps; the last holds all beyond it."""
    return f"var(--{'up' if value >= 0 else 'down'}{1 + int(min(STEPS - 1, abs(value) / step))})"


def _names(f: _Figure, at: Sequence[float]) -> list[Spec]:
    """Lineage, number and name of each model, from ``at`` to the right."""
    most = f.height
    x, y = pixels("x", most), pixels("y", most)
    lettered = 18.0 if any(leaf.letter for leaf in f.leaves) else 0.0
    rows: Rows = [
        {
            "y": (middle := f.size * (r + 0.5)), "top": middle - 6, "bottom": middle + 6, "text": leaf.label,
            "x": start + lettered, "left": start, "right": start + 13, "centre": start + 6.5, "letter": leaf.letter,
            "tone": f"var(--k{leaf.tone})", "marked": bool(leaf.mark), "tip": f"{leaf.number}: {leaf.name}",
        }
        for r, (leaf, start) in enumerate(zip(f.leaves, at, strict=True))
    ]  # fmt: skip
    boxes = [row for row in rows if row["letter"]]
    to: dict[str, Any] = {"x2": {"field": "right"}, "y2": {"field": "bottom"}}
    name = {"type": "text", "align": "left", "fontSize": 12 if f.size >= 14 else 11}
    strong, told = {**name, "fontWeight": 600, "fill": ACCENT}, {"field": "text"}
    return [
        layer(boxes, {"type": "rect", "opacity": 1}, x=pixels("left", most), y=pixels("top", most),
              fill=literal("tone"), **to),
        text(boxes, "letter", "center", CARD, x=pixels("centre", most), y=y),
        layer([row for row in rows if not row["marked"]], name, True, x=x, y=y, text=told),
        layer([row for row in rows if row["marked"]], strong, True, x=x, y=y, text=told),
    ]  # fmt: skip


def _bar(f: _Figure, width: float) -> Spec:
    """The colour bar: its outermost steps hold all that is beyond."""
    edges = [f.step * k for k in range(-STEPS, STEPS + 1)]
    held: Rows = [
        {
            "x": a,
            "x2": b,
            "y": 0.0 if a >= 0 else 3.0,
            "y2": 14.0 if a >= 0 else 11.0,
            "fill": tone((a + b) / 2, f.step),
        }
        for a, b in itertools.pairwise(edges)
    ]
    x = measured(
        "x",
        edges[0],
        edges[-1],
        f.title,
        int(width),
        values=edges[1:-1],
        tickCount=99,
        labelOverlap=False,
        format="~g",
        offset=3,
        domain=False,
    )
    shape: dict[str, Any] = {
        "x2": {"field": "x2"},
        "y": pixels("y", 14),
        "y2": {"field": "y2"},
        "fill": literal("fill"),
    }
    return {"width": width, "height": 14, **layer(held, {"type": "rect", "opacity": 1}, x=x, **shape)}


def _tree(
    f: _Figure, links: Floats, names: Sequence[str], support: Mapping[frozenset[str], float], width: float
) -> Spec:
    """Joins at the mean value across them; what is beyond the colour bar's end is drawn at its end."""
    whole, top = f.height, float(np.nanmax(f.matrix))
    high = min(top, f.step * STEPS)
    joined = _joins(links, f.order, names)
    low = min(high, top - max(heights[0] for _, _, heights in joined))
    room = (high - low or 1.0) * 0.05
    leaf = high + room
    lines: Rows = []
    known: Rows = []
    for n, (under, (first, second), heights) in enumerate(joined):
        join, left, right = (leaf if h < 0 else min(high, top - h) for h in heights)
        corners = ((left, first), (join, first), (join, second), (right, second))
        lines += [{"join": n, "order": k, "x": v, "y": f.size * (at + 0.5)} for k, (v, at) in enumerate(corners)]
        if (share := support.get(under, 0.0)) >= STEADY and len(under) < len(names):
            tip = f"{len(under)} models: a branch in {share:.0%} of resampled prompts"
            known.append(
                {"x": join, "y": f.size * ((first + second) / 2 + 0.5), "text": f"{100 * share:.0f}", "tip": tip}
            )
    x = measured(
        "x", low - room, leaf, f"join: mean {f.title}", int(width + 80), tickCount=4, titleAnchor="start", offset=6
    )
    y = pixels("y", whole)
    line = {"type": "line", "stroke": "var(--soft)", "strokeWidth": 1.4}
    above = {"type": "text", "align": "right", "baseline": "bottom", "dx": -3, "dy": -1}
    return {
        "width": width, "height": whole, "padding": 3,
        "resolve": {"scale": {"x": "independent"}},  # of joins by value, of names by pixel
        "layer": [{"layer": [
            layer(lines, line, x=x, y=y, detail={"field": "join"}, order={"field": "order", "type": "quantitative"}),
            layer(known, above, True, x=x, y=y, text={"field": "text"}),
        ]}, {"layer": _names(f, [width + 6.0] * len(f.leaves))}],
    }  # fmt: skip


Join = tuple[frozenset[str], tuple[float, float], tuple[float, float, float]]


def _joins(links: Floats, order: Sequence[int], names: Sequence[str]) -> list[Join]:
    """Of each join of a tree the models under it, the places of its two sides, and heights: its own and theirs,
    which is negative for a model."""
    at = [float(list(order).index(i)) for i in range(len(names))]
    under, height, out = [frozenset([n]) for n in names], [-1.0] * len(names), []
    for a, b, h, _ in links.tolist():
        a, b = sorted((int(a), int(b)), key=lambda i: at[i])
        out.append((under[a] | under[b], (at[a], at[b]), (h, height[a], height[b])))
        under.append(under[a] | under[b])
        at.append((at[a] + at[b]) / 2)
        height.append(h)
    return out
