"""What a figure shows, read back from its SVG."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from harness.report.figures import BROAD, Figure
from harness.report.renderer import Renderer


@dataclass(frozen=True)
class Mark:
    """A mark that tells something: what, where in pixels of its layer, and how it looks."""

    tip: str
    x: float
    y: float
    fill: str
    shape: str


def elements(svg: str) -> list[ElementTree.Element]:
    """All elements of inline SVG, in their order, below one that holds them."""
    return list(ElementTree.fromstring(f"<all>{svg}</all>").iter())  # noqa: S314 (ours)


def svg_of(figure: Figure, width: int = BROAD) -> str:
    """The figure as it is drawn at a width."""
    return str(Renderer().figure(figure.spec(width), "f", figure.title, figure.told))


def marks(figure: Figure, width: int = BROAD) -> list[Mark]:
    """Its points that tell something."""
    out = []
    for e in elements(svg_of(figure, width)):
        at = re.match(r"translate\(([-\d.]+),([-\d.]+)\)", e.get("transform", ""))
        if at and (tip := e.get("data-tip")):
            out.append(Mark(tip, float(at[1]), float(at[2]), e.get("fill", ""), e.get("d", "")))
    return out
