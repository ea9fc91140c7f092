"""The questions: what each looks at, how it is judged, and its words. A new question is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.inference import identity, kinship, teaching
from harness.inference.assessment import Case
from harness.inference.findings import NAN, Finding, Wording, holm
from harness.inference.stopping import stop_at
from harness.inference.verdicts import Judgement, inconclusive
from harness.records import Watch, unwatched


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


def ask(cases: Sequence[Case], wanted: Collection[str], watch: Watch = unwatched) -> list[Finding]:
    """Put the wanted questions to every case, then judge all findings together; ``watch`` is told of each."""
    put = [(case, name) for case in cases for name in QUESTIONS if name in wanted]
    found: list[Finding] = []
    for case, name in put:
        watch("judging", f"{name} of {case.suspect.name} and {case.candidate.name}", len(found), len(put))
        found.append(QUESTIONS[name].find(case))
    best: dict[tuple[str, str], float] = {}
    if "kinship" in wanted and all(c.progress is None for c in cases):  # at a stage each pair spends its own share
        for suspect in dict.fromkeys(c.suspect.name for c in cases):
            own = [c for c in cases if c.suspect.name == suspect]
            best |= {(suspect, c.candidate.name): p for c, p in zip(own, kinship.best_of_many(own), strict=True)}
    judged = decide(
        [replace(f, p_best=best.get((f.suspect, f.candidate), NAN)) if f.question == "kinship" else f for f in found]
    )
    at = {(c.suspect.name, c.candidate.name): c.progress for c in cases}
    return [f if (here := at[f.suspect, f.candidate]) is None else replace(f, stop=stop_at(f, here)) for f in judged]


def decide(findings: Sequence[Finding]) -> list[Finding]:
    """Correct for all looks of the campaign, then give each finding its verdict.

    Tests for a difference, of equivalence as served, and of equivalence on raw completion are three families, each
    with its own error rate.
    """
    families = ([f.p_same for f in findings], [f.p_weights for f in findings])
    return [
        _judged(replace(f, p_adjusted=p, p_same_adjusted=same, p_weights_adjusted=weights))
        for f, p, same, weights in zip(findings, _adjusted(findings), *map(holm, families), strict=True)
    ]


def _adjusted(findings: Sequence[Finding]) -> list[float]:
    """p-values corrected for all looks: by Holm, but all candidates of one suspect that were tested as the best of many
    are one look, with a share of alpha of its own (Bonferroni), among which `p_best` corrects already.

    Kinship has to stand on less, too: its own p counts where it is the larger one.
    """
    grouped = [f.p_best == f.p_best and f.p_value == f.p_value for f in findings]
    suspects = {f.suspect for f, g in zip(findings, grouped, strict=True) if g}
    alone = holm([NAN if g else f.p_value for f, g in zip(findings, grouped, strict=True)])
    others = sum(p == p for p in alone)
    looks = others + len(suspects)
    return [
        min(1.0, max(f.p_best * looks, f.p_value)) if g else min(1.0, p * looks / others) if p == p else p
        for f, p, g in zip(findings, alone, grouped, strict=True)
    ]


def _judged(f: Finding) -> Finding:
    if f.obstacle is not None:
        return replace(f, judgement=inconclusive("nothing to compare"))
    return replace(f, judgement=QUESTIONS[f.question].judge(f))
