"""index.html of `harness view`: all campaigns, two of them compared, and what monitoring found over time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.report import figures
from harness.report.citing import minute
from harness.report.html import asset, packed, policy, shown
from harness.report.renderer import Renderer
from harness.report.words import TONES

MARKS = {"same": ("far", "○"), "differs": ("close", "●"), "cannot tell": ("open", "–")}
_OTHER = ("open", "–")


@dataclass(frozen=True)
class Told:
    """One verdict as its table has it."""

    question: str
    suspect: str
    candidate: str
    verdict: str
    p: str
    log10_lr: str


@dataclass(frozen=True)
class Shelved:
    """One campaign: ``folder`` is relative to the page, ``pages`` are those of its pages that are there."""

    name: str
    folder: str
    written_at: str
    models: int
    answers: int
    responses_sha256: str
    pages: tuple[str, ...]
    verdicts: tuple[Told, ...]


@dataclass(frozen=True)
class Watched:
    """What one run of `harness monitor` found of one endpoint."""

    campaign: str
    stamp: str
    endpoint: str
    state: str
    sentence: str
    calls: int


@dataclass(frozen=True)
class Shelf:
    """All that a page shows, campaigns by when they were written, the last first."""

    campaigns: tuple[Shelved, ...]
    watches: tuple[Watched, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """The monitor runs of one endpoint of one campaign, in the order of their time."""

    campaign: str
    endpoint: str
    runs: tuple[tuple[str, str, str, Watched], ...]  # when, tone, mark, what was found


def shelf_html(shelf: Shelf) -> str:
    """The page as one HTML text that needs no network."""
    style, script = asset("report.css") + asset("shelf.css"), asset("shelf.js") + asset("tips.js")
    renderer = Renderer()
    environment = Environment(
        loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=shown,
    )  # fmt: skip
    return environment.get_template("shelf.html.j2").render(
        style=Markup(style),  # noqa: S704 (our own files)
        script=Markup(script),  # noqa: S704
        policy=policy(style, script),
        campaigns=shelf.campaigns,
        tones={t.verdict: TONES.get(t.verdict, _OTHER) for c in shelf.campaigns for t in c.verdicts},
        lines=lines(shelf.watches),
        timeline=timeline(shelf.watches),
        draw=lambda figure, key: figure.svg(renderer, key),
        unread=shelf.unread,
        link=lambda c, page: "/".join(quote(part) for part in (*c.folder.split("/"), page)),
        minute=minute,
        block=packed(json.dumps([_compared(c) for c in shelf.campaigns])),
    )


def lines(watches: Sequence[Watched]) -> list[Line]:
    """Monitor runs by campaign and endpoint."""
    by: dict[tuple[str, str], list[Watched]] = {}
    for w in sorted(watches, key=lambda w: w.stamp):
        by.setdefault((w.campaign, w.endpoint), []).append(w)
    return [
        Line(campaign, endpoint, tuple((_when(w.stamp), *MARKS.get(w.state, _OTHER), w) for w in runs))
        for (campaign, endpoint), runs in sorted(by.items())
    ]


def timeline(watches: Sequence[Watched]) -> figures.Figure | None:
    """The runs whose folder is named by a time, as a figure."""
    rows = [
        (
            f"{line.endpoint} of {line.campaign}",
            [(at, w.state, w.sentence) for *_, w in line.runs if (at := _time(w.stamp))],
        )
        for line in lines(watches)
    ]
    return figures.timeline([row for row in rows if row[1]])


def _time(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _when(stamp: str) -> str:
    """The time that names a run's folder, as people read it; the name itself where it is none.

    Examples
    --------
    >>> _when("20261126T161500"), _when("by hand")
    ('2026-11-26 16:15', 'by hand')
    """
    at = _time(stamp)
    return f"{at:%Y-%m-%d %H:%M}" if at else stamp


def _compared(c: Shelved) -> dict[str, object]:
    """What the page's script compares."""
    return {
        "label": str(shown(f"{c.name}, {minute(c.written_at)}")),
        "sha256": c.responses_sha256,
        "verdicts": [[str(shown(cell)) for cell in _cells(t)] for t in c.verdicts],
    }


def _cells(t: Told) -> tuple[str, ...]:
    return t.question, t.suspect, t.candidate, t.verdict, t.p, t.log10_lr
