"""Findings -> CSV files: stable columns, RFC 4180, no cell that a spreadsheet would run as a formula."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.channels.observed import Observation
from harness.channels.reading import first_answer
from harness.inference.detail import Detail
from harness.inference.findings import Finding
from harness.report.columns import ATTRIBUTION, EVIDENCE, OBSERVATIONS, PROMPTS, SUMMARY
from harness.report.passages import excerpt, harmless
from harness.responses import Responses

if TYPE_CHECKING:
    from harness.inference.attribution import Attribution

MOST_CHARACTERS = 32_000  # a cell of a spreadsheet holds 32,767
_FORMULA = frozenset("=+-@|%")


def summary_csv(findings: Iterable[Finding]) -> str:
    """One row a suspect, candidate and question."""
    return _csv(
        tuple(SUMMARY),
        (
            [
                f.question, f.suspect, f.candidate, f.verdict, f.sentence, f.p_value, f.p_floor, f.p_adjusted,
                f.p_candidate, f.log10_lr, f.log10_lr_low, f.log10_lr_high,
                f.log10_lr_least, f.log10_lr_most, f.lr_words,
                f.effect, f.effect_low, f.effect_high,
                len(f.control_lineages), " ".join(f.control_lineages), f.prompts, f.coverage, "; ".join(f.limits),
            ]
            for f in findings
        ),
    )  # fmt: skip


def evidence_csv(findings: Iterable[Finding]) -> str:
    """One row a finding and channel."""
    return _csv(
        tuple(EVIDENCE),
        (
            [
                f.question, f.suspect, f.candidate, e.channel, e.sees, e.unit, e.raw, e.control_low, e.control_high,
                e.effect, e.effect_low, e.effect_high, e.p, e.prompts, e.coverage, e.note,
            ]
            for f in findings
            for e in f.evidence
        ),
    )  # fmt: skip


def attribution_csv(attributions: Iterable[Attribution]) -> str:
    """One row a suspect and known model, likeliest first; the probabilities of a suspect sum to 1."""
    return _csv(
        tuple(ATTRIBUTION),
        (
            [a.suspect, a.best, a.p_unknown, a.p_floor, name, share, a.answers, a.note]
            for a in attributions
            for name, share in sorted(a.probabilities.items(), key=lambda kv: -kv[1]) or [("", float("nan"))]
        ),
    )


def prompts_csv(details: Iterable[Detail], table: Responses) -> str:
    """One row a kinship verdict, channel and telling prompt, strongest first; answers as excerpts."""
    at = {p.id: i for i, p in enumerate(table.prompts)}
    rows: list[Sequence[object]] = []
    for d in details:
        parties = [table.models.index(name) for name in (d.suspect, d.candidate)]
        for c in d.channels:
            count = {"for": 0, "against": 0}
            for t in c.telling:
                side = "for" if t.contribution > 0 else "against"
                count[side] += 1
                prompt = table.prompts[at[t.prompt]]
                said = [excerpt(first_answer(table, at[t.prompt], m) or "") for m in parties]
                rows.append(
                    ["kinship", d.suspect, d.candidate, c.channel, side, count[side], t.prompt, prompt.family,
                     t.contribution, t.similarity, t.unit, excerpt(prompt.text), *said]
                )  # fmt: skip
    return _csv(tuple(PROMPTS), rows)


def observations_csv(observations: Iterable[Observation]) -> str:
    """One row a model and observation."""
    rows = ([o.channel, o.model, o.what, excerpt(o.value)] for o in observations)
    return _csv(tuple(OBSERVATIONS), rows)


def cell(value: object) -> str:
    """One CSV cell: numbers to six digits, NaN empty, and text that cannot become a formula; nothing of it is lost."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    text = str(value)
    return "'" + text if isinstance(value, str) and _could_be_formula(text) else text


def _could_be_formula(text: str) -> bool:
    """OWASP, CSV injection: also after what a spreadsheet may skip (space, BOM, marks without width), or full width."""
    if text[:1] in ("\t", "\r", "\n"):
        return True
    first = next((c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf")), "")
    return unicodedata.normalize("NFKC", first)[:1] in _FORMULA if first else False


def _fitting(text: str) -> str:
    """A cell of a table to look at: without control characters, and no longer than a spreadsheet takes."""
    return harmless(text, MOST_CHARACTERS)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([_fitting(cell(v)) for v in row] for row in rows)
    return out.getvalue()
