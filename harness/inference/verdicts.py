"""From numbers to words: Holm over all findings of a campaign, then a verdict and a sentence for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.inference.excess import controls_needed
from harness.inference.findings import GAPS, ChannelEvidence, Finding, Settings, Verdict, holm

SILENT = 0.5
"""p at or above which a channel that sees weights counts as silent. Measured on 86 models with EQ-Bench ratings
(`python -m benchmarks.lineage`, stage origin): see benchmarks/README.md for how often close kin are that silent."""


def origin(text_p: float, evidence: Sequence[ChannelEvidence], alpha: float) -> Verdict:
    """Verdict on a suspect whose text was compared with the candidate's.

    Parameters
    ----------
    text_p : p-value of what the text says, NaN without.
    evidence : of all channels; those that see "weights" are looked at, with ``alpha`` shared among them (Bonferroni:
        they are dependent).
    """
    weights = [e.p for e in evidence if e.sees == "weights" and e.p == e.p]
    if weights and min(weights) * len(weights) <= alpha:
        return "KIN-LIKE"
    if not text_p <= alpha:
        return "INCONCLUSIVE"
    return "TAUGHT-LIKE" if weights and min(weights) >= SILENT else "KIN-OR-TAUGHT"


def judge_teaching(f: Finding, alpha: float) -> tuple[Verdict, str]:
    """Verdict and sentence of a teaching finding whose p-value has been adjusted."""
    k = len(f.control_lineages)
    if f.p_floor > alpha:
        return "INCONCLUSIVE", (
            f"Cannot tell: with {k} control lineages the smallest honest p is {f.p_floor:.2g}; a verdict at {alpha:g} "
            f"takes {controls_needed(alpha)}."
        )
    verdict = origin(f.p_adjusted, f.evidence[1:], alpha)
    shared = f"{f.suspect} shares habits of wording with {f.candidate} beyond chance (p = {f.p_value:.2g})"
    if f.p_adjusted > alpha:
        return "INCONCLUSIVE", (
            f"No sign that {f.suspect} was trained on outputs of {f.candidate} (p = {f.p_value:.2g}, {k} control "
            "lineages); most teaching leaves none, so this speaks neither for nor against it."
        )
    spoken = ", ".join(e.channel for e in f.evidence[1:])
    if verdict == "KIN-LIKE":
        return verdict, f"{shared}, and {spoken} sees shared weights: kinship explains it without teaching."
    if verdict == "TAUGHT-LIKE":
        return verdict, (
            f"{shared}, and {spoken} sees no shared weights: like a model trained on its outputs, on a shared "
            f"teacher's, or on the same public data. Of unrelated pairs at most {alpha:.0%} would be called so."
        )
    return "KIN-OR-TAUGHT", (
        f"{shared}: so do kin, pupils, pupils of one teacher, and models of shared data; no channel that sees weights "
        "tells which."
    )


def decide(findings: Sequence[Finding], settings: Settings) -> list[Finding]:
    """Holm over all findings, then verdict and sentence for each."""
    adjusted = holm([f.p_value for f in findings])
    out = []
    for finding, p in zip(findings, adjusted, strict=True):
        f = replace(finding, p_adjusted=p)
        if not f.sentence:
            verdict, sentence = _JUDGES[f.question](f, settings.alpha)
            f = replace(f, verdict=verdict, sentence=sentence)
        out.append(f)
    return out


def _failed(f: Finding) -> str | None:
    return next((n for n in f.limits if n.startswith("FAILED")), None)


def _judge_kinship(f: Finding, alpha: float) -> tuple[Verdict, str]:
    k = len(f.control_lineages)
    if failed := _failed(f):
        return "INCONCLUSIVE", f"Cannot tell: {failed[7:]}."
    if f.p_floor > alpha:
        rank = "is a pair than which none is closer" if f.p_value <= f.p_floor + 1e-9 else "is not the closest pair"
        return "INCONCLUSIVE", (
            f"Cannot tell: with {k} control lineages the smallest honest p is {f.p_floor:.2g}, so no similarity "
            f"could be called unusual at {alpha:g}; that takes {controls_needed(alpha)} control lineages "
            f"({controls_needed(0.01)} for 0.01). Among those at hand {f.suspect} with {f.candidate} {rank} "
            f"(p = {f.p_value:.2g}){_lr_words(f)}."
        )
    if f.p_adjusted <= alpha:
        weights = [e.channel for e in f.evidence if e.sees == "weights" and e.p <= alpha]
        verdict: Verdict = "KIN-LIKE" if weights else "KIN-OR-TAUGHT"
        tail = f"{', '.join(weights)} sees shared weights" if weights else "no channel that sees weights has spoken"
        return verdict, (
            f"{f.suspect} is closer to {f.candidate} than unrelated models are to one another: of pairs among "
            f"{k} control lineages and these two, chance puts it this high with p = {f.p_value:.2g}; "
            f"{tail}{_lr_words(f)}."
        )
    against = f.log10_lr_high < 0 if f.log10_lr == f.log10_lr else f.p_value >= 0.5
    if against:
        return "UNRELATED-LIKE", (
            f"{f.suspect} is no closer to {f.candidate} than unrelated models are to one another (p = {f.p_value:.2g}, "
            f"{k} control lineages){_lr_words(f)}."
        )
    return "INCONCLUSIVE", (
        f"Cannot tell: {f.suspect} is close to {f.candidate}, but unrelated models are that close too often for a "
        f"verdict at {alpha:g} (p = {f.p_value:.2g}, {f.p_adjusted:.2g} after correction for all comparisons, {k} "
        f"control lineages){_lr_words(f)}."
    )


def _only_chat_differs(differ: list[str], same: list[str]) -> bool:
    return all("(chat)" in c for c in differ) and bool(same) and all("(completion)" in c for c in same)


def _lr_words(f: Finding) -> str:
    if f.log10_lr != f.log10_lr:
        return ""
    return f"; the likelihood ratio of the wording, 10^{f.log10_lr:.1f}, is {f.lr_words}"


def _judge_identity(f: Finding, alpha: float) -> tuple[Verdict, str]:
    speaking = [e for e in f.evidence if not e.note]
    differ = [e.channel for e in speaking if len(speaking) * e.p <= alpha]
    same = [e.channel for e in speaking if e.p > alpha]
    if f.p_adjusted <= alpha and differ:
        tail = f"; on {', '.join(same)} they cannot be told apart" if same else ""
        if _only_chat_differs(differ, same):
            tail += ", as with one model behind two system prompts, which raw completion does not see"
        return "DIFFERENT-LIKE", (
            f"{f.suspect} and {f.candidate} do not answer from one distribution: {', '.join(differ)} tells them apart "
            f"(p = {f.p_value:.2g}){tail}."
        )
    if failed := _failed(f):
        return "INCONCLUSIVE", f"Cannot tell: {failed[7:]}."
    gaps = [e.channel for e in f.evidence if e.note.startswith(GAPS) and len(f.evidence) * e.p <= alpha]
    if gaps:
        return "INCONCLUSIVE", (
            f"Cannot tell: {', '.join(gaps)} tells {f.suspect} from {f.candidate}, but on too few of the answers asked "
            "for to count; on the rest no difference was found."
        )
    if not f.control_lineages:
        return (
            "INCONCLUSIVE",
            "No difference found, but without controls nobody knows whether one could have been.",
        )
    return "SAME-LIKE", (
        f"{f.suspect} and {f.candidate} cannot be told apart (p = {f.p_value:.2g}), by a test that tells every control "
        f"from {f.candidate} on the same prompts."
    )


_JUDGES = {"kinship": _judge_kinship, "identity": _judge_identity, "teaching": judge_teaching}
