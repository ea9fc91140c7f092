"""From numbers to words: Holm over all findings of a campaign, then a verdict and a sentence for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.inference.findings import GAPS, Finding, Settings, Verdict, holm
from harness.inference.pair_rank import controls_needed
from harness.inference.teaching import judge_teaching


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
