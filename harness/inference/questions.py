"""The questions: what each looks at, how it is judged, and its words. A new question is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.inference import identity, kinship, teaching
from harness.inference.assessment import Case
from harness.inference.findings import Finding, Wording, holm
from harness.inference.verdicts import Judgement, inconclusive


@dataclass(frozen=True)
class Question:
    """One question about a pair.

    ``find`` looks at a case and gives numbers, ``judge`` turns a finding whose p-value is adjusted into a verdict,
    ``wording`` holds the templates that `harness.report.words` fills in.
    """

    find: Callable[[Case], Finding]
    judge: Callable[[Finding], Judgement]
    wording: Wording


QUESTIONS: Mapping[str, Question] = {
    "kinship": Question(kinship.find, kinship.judge, kinship.WORDING),
    "teaching": Question(teaching.find, teaching.judge, teaching.WORDING),
    "identity": Question(identity.find, identity.judge, identity.WORDING),
}


def ask(cases: Sequence[Case], wanted: Collection[str]) -> list[Finding]:
    """Put the wanted questions to every case, then judge all findings together."""
    return decide([q.find(case) for case in cases for name, q in QUESTIONS.items() if name in wanted])


def decide(findings: Sequence[Finding]) -> list[Finding]:
    """Correct for all looks of the campaign (Holm), then give each finding its verdict.

    Tests for a difference, of equivalence as served, and of equivalence on raw completion are three families, each
    with its own error rate.
    """
    families = ([f.p_value for f in findings], [f.p_same for f in findings], [f.p_weights for f in findings])
    return [
        _judged(replace(f, p_adjusted=p, p_same_adjusted=same, p_weights_adjusted=weights))
        for f, p, same, weights in zip(findings, *map(holm, families), strict=True)
    ]


def _judged(f: Finding) -> Finding:
    if f.obstacle is not None:
        return replace(f, judgement=inconclusive("nothing to compare"))
    return replace(f, judgement=QUESTIONS[f.question].judge(f))
