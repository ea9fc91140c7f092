"""report.html: one file that needs no network, cannot run what a model said, and reads like a page of print.

Jinja escapes everything; a strict Content-Security-Policy (only this style and this script, by hash) stands behind it
in case that ever fails. No attribute holds code or style, so the policy needs no exception.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.channels.base import first_answer
from harness.inference.breakdown import ChannelDetail, Detail, overview
from harness.inference.conclusion import Conclusion, conclusions
from harness.inference.findings import NAN, Attribution, Finding
from harness.inference.likelihood import LikelihoodTable
from harness.inference.survey import Survey
from harness.records import Observation, Responses, Similarity
from harness.report import figures, heatmap, naming, numbers, survey_words, words
from harness.report.caveats import stopped
from harness.report.citing import asked_of, cited, may_write, propositions
from harness.report.renderer import Renderer
from harness.report.text import Piece, harmless, shared_runs, short, window


@dataclass(frozen=True)
class Pair:
    """The conclusion on one pair, in words, what it supports and what not, with the cards of its verdicts."""

    tone: str
    joined: str
    supported: tuple[str, ...]
    unsupported: tuple[str, ...]
    settles: str
    stopped: tuple[str, ...]
    cards: tuple[Card, ...]


def pairs_of(found: Sequence[Conclusion], shown: Sequence[Card]) -> list[Pair]:
    """Each conclusion with the cards it joins."""
    by: dict[tuple[str, str], list[Card]] = {}
    for card in shown:
        by.setdefault((card.finding.suspect, card.finding.candidate), []).append(card)
    return [
        Pair(words.conclusion_tone(c), words.joined(c), *may_write(c), words.settles(c), _stops(own), tuple(own))
        for c in found
        for own in [by[c.suspect, c.candidate]]
    ]


def _stops(shown: Sequence[Card]) -> tuple[str, ...]:
    return tuple(f"{c.finding.question}: {stopped(c.finding)}." for c in shown if c.finding.stop is not None)


@dataclass(frozen=True)
class Card:
    """One verdict with its sentences; ``prompts`` is the key of the section with its telling prompts, if it has one."""

    key: str
    finding: Finding
    tone: str
    mark: str
    headline: str
    asked: str
    propositions: tuple[str, str]
    sure: str
    error_rate: str
    close: str
    compared: str
    innocent: tuple[str, ...]
    sentence: str
    limits: tuple[str, ...]
    notes: tuple[str, ...]
    effect: str
    zero: str
    forest: figures.Figure | None
    prompts: str
    together: str


def cards(findings: Sequence[Finding], details: Sequence[Detail]) -> list[Card]:
    """A card for each finding, in their order."""
    at = {(d.suspect, d.candidate): (i, d) for i, d in enumerate(details)}
    asked = Counter((f.suspect, f.candidate) for f in findings)
    joined = {(c.suspect, c.candidate): words.concluded(c) for c in conclusions(findings)}
    together = {pair: text if asked[pair] > 1 else "" for pair, text in joined.items()}
    return [_card(i, f, at.get(pair := (f.suspect, f.candidate)), together[pair]) for i, f in enumerate(findings)]


def _card(i: int, f: Finding, found: tuple[int, Detail] | None, together: str) -> Card:
    tone, mark = words.TONES[f.verdict]
    kin = found if f.question == "kinship" else None
    k = len(f.control_lineages)
    return Card(
        key=f"v{i}",
        finding=f,
        tone=tone,
        mark=mark,
        headline=words.headline(f),
        asked=words.asked(f),
        propositions=propositions(f),
        sure=words.sure(f),
        error_rate=words.error_rate(f),
        close=words.place(*kin[1].place(), len(kin[1].names)) if kin else "",
        compared=f"{k} control {'lineage' if k == 1 else 'lineages'}: {', '.join(f.control_lineages)}."
        if k
        else "None.",
        innocent=words.innocent(f),
        sentence=words.sentence(f),
        limits=tuple(words.limits(f)),
        notes=tuple(words.channel_note(e) for e in f.evidence),
        effect=words.effect(f),
        zero=words.zero(f),
        forest=figures.forest(f),
        prompts=f"t{kin[0]}" if kin and any(c.telling for c in kin[1].channels) else "",
        together=together,
    )


BUDGET = 1_000_000  # characters of answers in one file, so that it stays under 3 MB
LONGEST, SHORTEST = 6000, 240  # characters of one answer


@dataclass(frozen=True)
class Material:
    """All that goes into a report. ``roles`` maps a model to (role, lineage); ``facts`` is the manifest so far."""

    campaign: str
    roles: Mapping[str, tuple[str, str]]
    findings: Sequence[Finding]
    similarities: Sequence[Similarity]
    responses: Responses
    details: Sequence[Detail]
    observations: Sequence[Observation]
    attributions: Sequence[Attribution]
    calibrations: Mapping[str, LikelihoodTable]
    facts: Mapping[str, Any]
    survey: Survey | None = None


@dataclass(frozen=True)
class Calibrated:
    """The figure of the calibration: its kind, the ratios of this campaign by pair, and what the Tippett plot is of."""

    kind: str
    curve: figures.Figure
    asked: Sequence[tuple[float, str]]
    points: Mapping[str, Any]


@dataclass(frozen=True)
class Telling:
    """One prompt with both answers in pieces."""

    channel: str
    side: str
    prompt: str
    family: str
    text: str
    contribution: float
    similarity: float
    unit: str
    suspect: Sequence[Piece]
    candidate: Sequence[Piece]


def report_html(m: Material) -> str:
    """The report as one HTML text."""
    style, script = asset("report.css"), asset("report.js") + asset("tips.js")
    environment = Environment(
        loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=shown,
    )  # fmt: skip
    renderer = Renderer()
    told = [words.drawn(d.measure, d.place()[2], len(d.names)) for d in m.details]
    strips = list(zip(m.details, figures.strips(m.details), told, strict=True))
    page = overview(m.similarities) if m.survey is None else None  # a survey has its own map
    verdicts = cards(m.findings, m.details)
    asked = asked_of(m.facts, m.roles)
    return environment.get_template("report.html.j2").render(
        m=m,
        style=Markup(style),  # noqa: S704 (our own files)
        script=Markup(script),  # noqa: S704
        policy=policy(style, script),
        cards=verdicts,
        draw=lambda figure, key: figure.svg(renderer, key),
        pairs=pairs_of(conclusions(m.findings), verdicts),
        attributed=[(a, naming.attributed(a)) for a in m.attributions],
        attribution_basis=[naming.attribution_basis(a) for a in m.attributions],
        attribution_notes=[naming.attribution_note(a) for a in m.attributions],
        asked=asked,
        cited=cited(m.campaign, m.facts, asked),
        strips=strips,
        page=page,
        heat=heatmap.heatmap(renderer, "models", page, m.roles) if page else None,
        mapped=words.mapped(page.measure) if page else "",
        curve=_curve(m),
        described=_described(_used(m), _size(m)),
        calibration=_used(m).channel,
        telling=_telling(m),
        survey=survey_words,
        survey_heat=heatmap.survey_map(renderer, m.survey, m.roles) if m.survey else None,
        window=window,
        numbers=numbers,
        observed=_by_channel(m.observations),
        coverage=_coverage(m),
        glossary=words.GLOSSARY,
        families=sorted({p.family for p in m.responses.prompts}),
    )


def shown(value: object) -> object:
    """Whatever reaches the page is harmless text first; Markup is ours."""
    if isinstance(value, float):
        return "–" if value != value else short(value)
    return harmless(value, 1_000_000) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def asset(name: str) -> str:
    """One of our own files that go into a page whole."""
    return (files("harness.report") / "templates" / name).read_text("utf-8")


def packed(text: str) -> str:
    """Text as a block of data in a page (gzip, base64), that its own script unpacks; the same text, the same block."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode()


def policy(style: str, script: str) -> str:
    """Content-Security-Policy of a page that holds this one style and this one script."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _used(m: Material) -> LikelihoodTable:
    """The calibration behind the first ratio of the campaign; without any that of wording, or the first there is."""
    used = next((f.ratio_channel for f in m.findings if f.ratio_channel), "wording")
    return m.calibrations.get(used) or next(iter(m.calibrations.values()))


def _size(m: Material) -> tuple[int, int]:
    """Control lineages and prompts of the first verdict on kinship."""
    first = next((f for f in m.findings if f.question == "kinship" and f.control_lineages), None)
    return (16, 100) if first is None else (len(first.control_lineages), first.prompts)


def _curve(m: Material) -> Calibrated | None:
    """The Tippett plot if the calibration holds its points, else its line at this campaign's size."""
    if not any(f.question == "kinship" for f in m.findings):
        return None
    judged = [f for f in m.findings if f.log10_lr == f.log10_lr and f.ratio_channel in ("", _used(m).channel)]
    pairs = [f"{f.suspect} and {f.candidate}" for f in judged]
    table = _used(m)
    if points := tippett_of(table.about):
        asked = [(f.log10_lr, name) for f, name in zip(judged, pairs, strict=True)]
        curve = figures.tippett_curve(points["log10_lr"], points["kin"], points["unrelated"], asked)
        return Calibrated("tippett", curve, asked, points)
    effects = [next((e.effect for e in f.evidence if e.channel == table.channel), NAN) for f in judged]
    ratios = table.at(*_size(m))
    if ratios is None:
        return None
    asked = [(f.log10_lr, name) for f, name in zip(judged, pairs, strict=True)]
    return Calibrated("line", figures.ratio_line(ratios, list(zip(effects, pairs, strict=True))), asked, {})


def tippett_of(about: Mapping[str, Any]) -> dict[str, Any] | None:
    """The Tippett points of a calibration file, with the shares that mislead; None if it has none that can be drawn."""
    points = about.get("tippett")
    if not isinstance(points, Mapping):
        return None
    arrays = [points.get(name) for name in ("log10_lr", "kin", "unrelated")]
    lists = [a for a in arrays if isinstance(a, list) and a and all(isinstance(v, float | int) for v in a)]
    if len(lists) != 3 or len({len(a) for a in lists}) != 1:
        return None
    at, kin, unrelated = lists
    zero = next((i for i, v in enumerate(at) if v >= 0), len(at) - 1)
    return {**points, "kin_below": 1.0 - kin[zero], "unrelated_above": unrelated[zero]}


def _described(table: LikelihoodTable, size: tuple[int, int]) -> dict[str, str]:
    """What the calibration says of itself, in a few rows, at the campaign's size."""
    known = {"h1": "One side", "h2": "Other side", "source": "Fitted on", "models": "Models", "lineages": "Lineages",
             "fitted_at": "Fitted at", "limits": "Limits"}  # fmt: skip
    said = {label: str(table.about[key]) for key, label in known.items() if key in table.about}
    return said | {f"Cllr / Cllr_min, {name}": text for name, text in costs_of(table.about, *size).items()}


def costs_of(about: Mapping[str, Any], controls: int, prompts: int) -> dict[str, str]:
    """Costs of each proposition on families held out, at the largest measured size that is not above the campaign's."""
    found: dict[str, tuple[tuple[int, int], str]] = {}
    checks = about.get("validation")
    for check in checks if isinstance(checks, list) else []:
        try:
            at, cost = (int(check["controls"]), int(check["prompts"])), float(check["cllr"])
            least = f"{float(check['cllr_min']):.2f}"
            name = str(check["proposition"])
        except (KeyError, TypeError, ValueError):  # a file of an earlier version, or somebody else's
            continue
        if at[0] <= controls and at[1] <= prompts and at >= found.get(name, (at, ""))[0]:
            found[name] = at, f"{cost:.2f} / {least} ({at[0]} controls, {at[1]} prompts)"
    return {name: text for name, (_, text) in found.items()}


def _telling(m: Material) -> list[tuple[Detail, list[Telling]]]:
    total = sum(len(c.telling) for d in m.details for c in d.channels)
    most = max(SHORTEST, min(LONGEST, BUDGET // max(2 * total, 1)))
    at = {p.id: i for i, p in enumerate(m.responses.prompts)}
    # What one can see with one's own eyes comes first: wording shows in two answers, a distribution does not.
    return [
        (
            d,
            [
                _one(m.responses, d, t, at[t.prompt], most, c.spread)
                for c in sorted(d.channels, key=_readable)
                for t in c.telling
            ],
        )
        for d in m.details
    ]


def _readable(c: ChannelDetail) -> tuple[int, str]:
    return {"wording": 0, "mistakes": 1, "ratings": 2}.get(c.channel, 3), c.channel


def _one(table: Responses, d: Detail, t: Any, at: int, most: int, spread: float) -> Telling:
    a, b = (harmless(first_answer(table, at, table.models.index(n)) or "", most) for n in (d.suspect, d.candidate))
    prompt = table.prompts[at]
    suspect, candidate = shared_runs(a, b)
    return Telling(
        t.channel, "for" if t.contribution > 0 else "against", prompt.id, prompt.family, harmless(prompt.text, 1500),
        t.contribution / spread, t.similarity, t.unit, suspect, candidate,
    )  # fmt: skip


def _by_channel(observations: Sequence[Observation]) -> dict[str, list[Observation]]:
    out: dict[str, list[Observation]] = {}
    for o in observations:
        out.setdefault(o.channel, []).append(o)
    return out


def _coverage(m: Material) -> list[tuple[str, list[float]]]:
    return [(name, [float(s.coverage[i]) for s in m.similarities]) for i, name in enumerate(m.responses.models)]
