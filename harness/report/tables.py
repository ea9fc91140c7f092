"""Findings -> CSV files: stable columns, RFC 4180, no cell that a spreadsheet would run as a formula."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.inference.findings import Finding

if TYPE_CHECKING:
    from harness.inference.attribution import Attribution

SUMMARY = (
    *(
        "question",
        "suspect",
        "candidate",
        "verdict",
        "sentence",
        "p_value",
        "p_smallest_possible",
        "p_adjusted",
        "p_candidate",
    ),
    *("log10_lr", "log10_lr_low", "log10_lr_high", "lr_words", "effect", "effect_low", "effect_high"),
    *("control_lineages", "controls", "prompts", "coverage", "limits"),
)
EVIDENCE = (
    *("question", "suspect", "candidate", "channel", "sees", "unit", "similarity", "controls_low", "controls_high"),
    *("effect", "effect_low", "effect_high", "p_value", "prompts", "coverage", "note"),
)

ATTRIBUTION = (
    *("suspect", "attributed_to", "p_unknown", "p_smallest_possible", "known_model", "probability_if_known", "answers"),
    "note",
)


def summary_csv(findings: Iterable[Finding]) -> str:
    """One row a suspect, candidate and question."""
    return _csv(
        SUMMARY,
        (
            [
                f.question, f.suspect, f.candidate, f.verdict, f.sentence, f.p_value, f.p_floor, f.p_adjusted,
                f.p_candidate, f.log10_lr, f.log10_lr_low, f.log10_lr_high, f.lr_words,
                f.effect, f.effect_low, f.effect_high,
                len(f.control_lineages), " ".join(f.control_lineages), f.prompts, f.coverage, "; ".join(f.limits),
            ]
            for f in findings
        ),
    )  # fmt: skip


def evidence_csv(findings: Iterable[Finding]) -> str:
    """One row a finding and channel."""
    return _csv(
        EVIDENCE,
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
        ATTRIBUTION,
        (
            [a.suspect, a.best, a.p_unknown, a.p_floor, name, share, a.answers, a.note]
            for a in attributions
            for name, share in sorted(a.probabilities.items(), key=lambda kv: -kv[1]) or [("", float("nan"))]
        ),
    )


def cell(value: object) -> str:
    """One CSV cell: numbers to six digits, NaN empty, and text that cannot become a formula."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    text = str(value)
    if (isinstance(value, str) and text.lstrip()[:1] in ("=", "+", "-", "@", "|", "%")) or text[:1] in ("\t", "\r"):
        return "'" + text  # OWASP, CSV injection
    return text


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([cell(v) for v in row] for row in rows)
    return out.getvalue()
