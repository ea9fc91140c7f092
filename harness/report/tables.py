"""Results -> tables: stable typed columns, as CSV (RFC 4180) with no cell that a spreadsheet would run as a formula.

Every table is made once, as rows; `csv_text` writes them for spreadsheets, `harness.report.notebook` gives them types.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from harness.channels.base import first_answer
from harness.inference.breakdown import AllPairs, Detail, all_pairs
from harness.inference.conclusion import Conclusion, conclusions
from harness.inference.findings import FAILED, Attribution, Caveat, ChannelEvidence, Finding, Match
from harness.inference.greedy import Greedy
from harness.inference.liking import Liking
from harness.inference.pool import Model
from harness.inference.survey import Survey
from harness.records import Observation, Responses, Similarity
from harness.report import caveats, naming, reading_words, survey_words, words
from harness.report.dictionary import FILES, MATRIX, Kind, dictionary
from harness.report.text import excerpt, harmless

Row = Sequence[object]  # text, numbers, bool; None and NaN where there is nothing


class Results(Protocol):
    """What tables are made of: all that was found of a campaign, and who its models are."""

    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def similarities(self) -> Sequence[Similarity]: ...
    @property
    def responses(self) -> Responses: ...
    @property
    def details(self) -> Sequence[Detail]: ...
    @property
    def observations(self) -> Sequence[Observation]: ...
    @property
    def attributions(self) -> Sequence[Attribution]: ...
    @property
    def survey(self) -> Survey | None: ...
    @property
    def models(self) -> Sequence[Model]: ...
    @property
    def likings(self) -> Sequence[Liking]: ...
    @property
    def followings(self) -> Sequence[Greedy]: ...


@dataclass(frozen=True)
class Table:
    """A table by name, its columns with their types, and its rows."""

    name: str
    columns: Mapping[str, Kind]
    rows: Sequence[Row]


def tables(r: Results) -> list[Table]:
    """Every table of a campaign, in the order of the data dictionary; one without rows is there, unless its question
    was not asked."""
    compared = [(s, all_pairs(s)) for s in r.similarities]
    makers: Mapping[str, Callable[[], Iterable[Row]]] = {
        "summary": lambda: map(_summary, r.findings),
        "conclusions": lambda: (row for c in conclusions(r.findings) for row in _conclusion(c)),
        "evidence": lambda: (_evidence(f, e) for f in r.findings for e in f.evidence),
        "limits": lambda: _limits(r),
        "controls": lambda: ((*_of(f), lineage) for f in r.findings for lineage in f.control_lineages),
        "pairs": lambda: (row for s, found in compared for row in _pairs(s, found, r.models)),
        "prompts": lambda: _prompts(r.details, r.responses),
        "observations": lambda: _observations(r),
        "attribution": lambda: (_match(a, m) for a in r.attributions for m in a.ranked or [Match("")]),
        "survey": lambda: () if r.survey is None else _survey(r.survey),
        "readings": lambda: reading_words.rows(r.likings, r.followings),
    }
    found = [table_of(name, make()) for name, make in makers.items()]
    at = next(i for i, t in enumerate(found) if t.name == "prompts")
    found[at:at] = matrices(compared)
    return [t for t in found if t.rows or t.name not in _IF_ASKED]


_IF_ASKED = ("attribution", "survey", "readings")


def table_of(name: str, rows: Iterable[Row]) -> Table:
    """A table with the columns that the data dictionary says."""
    return Table(name, {column: c.kind for column, c in FILES[name].columns.items()}, list(rows))


def _of(f: Finding) -> tuple[str, str, str]:
    return f.question, f.suspect, f.candidate


def _summary(f: Finding) -> Row:
    stop = (None, None, None) if f.stop is None else (f.stop.rule, f.stop.stage, f.stop.stages)
    made = math.isfinite(f.effect_low) and math.isfinite(f.effect_high)
    wide = made and f.effect_high - f.effect_low > 1e-9 * max(abs(f.effect_low), abs(f.effect_high))
    return [
        *_of(f), f.verdict, words.sentence(f), f.p_value, f.p_floor, f.p_adjusted, f.p_candidate,
        f.log10_lr, f.log10_lr_low, f.log10_lr_high, f.log10_lr_least, f.log10_lr_most, f.log10_lr_base,
        f.ratio_channel, f.log10_lr_taught, words.lr_words(f), f.effect, f.effect_low, f.effect_high,
        len(f.control_lineages), f.prompts, f.coverage, f.p_same, f.p_same_adjusted, f.share_excluded,
        f.p_weights, f.p_weights_adjusted, *stop, f.p_stage, f.bound,
        ("bootstrap" if wide else "alike on every prompt" if made else "none") if f.effect == f.effect else "",
    ]  # fmt: skip


def _conclusion(c: Conclusion) -> Iterator[Row]:
    """Each statement on a pair; what would settle several questions has a row for each."""
    pair = (c.suspect, c.candidate)
    yield *pair, "conclusion", "", "", None, words.concluded(c)
    for clause in c.clauses:
        yield *pair, "says", clause, "", None, words.clause(clause)
    for conflict in c.conflicts:
        yield *pair, "contradiction", conflict, "", None, words.conflict(conflict)
    for question in c.open:
        yield *pair, "open", "", question, None, ""
    for remedy, said in zip(c.remedies, words.remedies(c), strict=True):
        for question in remedy.questions:
            yield *pair, "would settle", remedy.kind, question, remedy.count or None, said


def _evidence(f: Finding, e: ChannelEvidence) -> Row:
    effect = e.scaled
    return [
        *_of(f), e.name, e.sees, e.unit, e.raw, e.control_low, e.control_high,
        effect(e.effect), effect(e.effect_low), effect(e.effect_high), e.p, e.prompts, e.coverage,
        "" if e.part == "counted" and e.caveat is None else words.channel_note(e), e.part, e.weight,
        e.expected, e.residual, e.effect_low * e.size, e.effect_high * e.size,
        effect(e.peer_low), effect(e.peer_high), e.effect,
    ]  # fmt: skip


def _limits(r: Results) -> Iterator[Row]:
    for f in r.findings:
        first = [] if f.obstacle is None else [f.obstacle]
        for number, c in enumerate((*first, *f.caveats), 1):
            part = "obstacle" if c is f.obstacle else "failed self-check" if c.kind in FAILED else "limit"
            yield *_of(f), number, part, c.kind, c.channel, caveats.caveat(c)
    for a in r.attributions:
        if a.caveat is not None:
            yield "attribution", a.suspect, "", 1, "obstacle", a.caveat.kind, a.caveat.channel, caveats.caveat(a.caveat)
    if r.survey is not None:
        known: dict[str, Caveat] = {caveats.caveat(c): c for c in r.survey.caveats}
        for number, said in enumerate(survey_words.limits(r.survey), 1):
            of = known.get(said)
            yield "survey", "", "", number, "limit", of.kind if of else "", of.channel if of else "", said


def _pairs(s: Similarity, found: AllPairs, models: Sequence[Model]) -> Iterator[Row]:
    """All pairs of a channel's models, in their order."""
    by = {m.name: m for m in models}
    told = [(by[n].role, by[n].lineage or "", by[n].maker or "") for n in s.models]
    at = np.triu_indices(len(s.models), 1)
    numbers = [
        m[at].tolist()
        for m in (found.raw, found.expected, found.residual, found.low, found.high, found.excess, found.prompts)
    ]
    for i, j, *values in zip(*(a.tolist() for a in at), *numbers, strict=True):
        known = (x for pair in zip(told[i], told[j], strict=True) for x in pair)
        yield s.channel, s.sees, s.unit, s.models[i], s.models[j], *known, *values


def matrices(compared: Iterable[tuple[Similarity, AllPairs]]) -> Iterator[Table]:
    """A table a channel: raw similarities as a square, then residuals. No two have one name, letter case aside."""
    taken: set[str] = set()
    for s, found in compared:
        name = base = MATRIX.replace("CHANNEL", re.sub(r"[^A-Za-z0-9_-]+", "-", s.channel)[:48].strip("-") or "channel")
        while name.casefold() in taken:
            name = f"{base}-{len(taken) + 1}"
        taken.add(name.casefold())
        columns: dict[str, Kind] = {c: known.kind for c, known in FILES[MATRIX].columns.items()}
        rows = [
            (measure, model, *row)
            for measure, square in (("raw", found.raw), ("residual", found.residual))
            for model, row in zip(s.models, square.tolist(), strict=True)
        ]
        yield Table(name, columns | dict.fromkeys(s.models, "number"), rows)


def _prompts(details: Iterable[Detail], table: Responses) -> Iterator[Row]:
    """Telling prompts of each kinship verdict and channel, strongest first; answers as excerpts."""
    at = {p.id: i for i, p in enumerate(table.prompts)}
    for d in details:
        parties = [table.models.index(name) for name in (d.suspect, d.candidate)]
        for c in d.channels:
            count = {"for": 0, "against": 0}
            for t in c.telling:
                side = "for" if t.contribution > 0 else "against"
                count[side] += 1
                prompt = table.prompts[at[t.prompt]]
                said = [excerpt(first_answer(table, at[t.prompt], m) or "") for m in parties]
                yield ["kinship", d.suspect, d.candidate, c.channel, side, count[side], t.prompt, prompt.family,
                       t.contribution / c.spread, t.similarity, t.unit, excerpt(prompt.text), *said]  # fmt: skip


_LOOKED_AT: Mapping[str, str] = {  # channel of observations -> what was looked for, and in what
    "metadata": "what answers state of model, host, token counts and maker, against what was asked",
    "tokenizer": "which tokenizer family token counts fit, and whether raw completions go through a template",
    "identity": "which maker models name when they are asked",
    "refusals": "how far models go before they decline",
    "reading": "what in answers is not the model's own words",
    "relatives": "how close known kin of suspect and candidate are",
}
_SERVED = ("tokenizer", "identity", "refusals")  # by prompts of their own: without these nothing was asked


def _observations(r: Results) -> Iterator[Row]:
    """What was observed, and of each channel once what was looked at: nothing seen is not nothing looked for."""
    for o in r.observations:
        yield o.channel, o.model, o.what, excerpt(o.value)
    for channel, looked in _LOOKED_AT.items():
        seen = {o.model for o in r.observations if o.channel == channel}
        asked = channel not in _SERVED or bool(r.responses.where(channel)) or bool(seen)
        of = f"{looked}, of {len(r.responses.models)} models: {len(seen)} with an observation"
        yield channel, "", "looked at", of if asked else f"{looked}: not asked, as no prompts serve it"


def _match(a: Attribution, m: Match) -> Row:
    """A suspect and a known model; the probabilities of a suspect sum to 1."""
    return [
        a.suspect, a.best, a.p_unknown, a.p_floor, m.name, m.probability, a.answers, naming.attribution_note(a), a.tier,
        m.name in a.named, a.rule, a.lineages, a.prompts or None, m.z, m.score, m.p, m.p_conformal, m.p_carried,
        m.lineage, m.maker, *m.recorded,
    ]  # fmt: skip


def _survey(s: Survey) -> Iterator[Row]:
    for p, known in survey_words.table_rows(s):
        yield [p.a, p.b, *known, p.relation, p.excess, p.p, p.q, p.stands, p.group or None, p.support,
               survey_words.note(p)]  # fmt: skip


MOST_CHARACTERS = 32_000  # a cell of a spreadsheet holds 32,767
_FORMULA = frozenset("=+-@|%")
BOM = "\ufeff"


def csv_text(table: Table, *, bom: bool = False) -> str:
    """A table as CSV; with ``bom`` it begins with the mark by which Excel knows UTF-8."""
    out = io.StringIO()
    out.write(BOM if bom else "")
    writer = csv.writer(out, lineterminator="\r\n")
    known: dict[str, str] = {}  # names and terms come again in every row, and cleaning takes time

    def written(value: object) -> str:
        if not isinstance(value, str):
            return cell(value)
        if (found := known.get(value)) is None:
            found = known[value] = safe(value)
        return found

    writer.writerow(map(written, table.columns))
    writer.writerows(map(written, row) for row in table.rows)
    return out.getvalue()


def cell(value: object) -> str:
    """One CSV cell: numbers to six digits, NaN and None empty, and text that cannot become a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return guarded(value) if isinstance(value, str) else str(value)


def safe(text: str) -> str:
    """A text for a cell to look at: no formula, without control characters, no longer than a spreadsheet takes."""
    return harmless(guarded(text), MOST_CHARACTERS)


def guarded(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet would run; nothing of it is lost."""
    return "'" + text if _could_be_formula(text) else text


def _could_be_formula(text: str) -> bool:
    """OWASP, CSV injection: also after what a spreadsheet may skip (space, BOM, marks without width), or full width."""
    if text[:1] in ("\t", "\r", "\n"):
        return True
    first = next((c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf")), "")
    return unicodedata.normalize("NFKC", first)[:1] in _FORMULA if first else False


if __name__ == "__main__":
    import sys

    sys.stdout.write(dictionary())
