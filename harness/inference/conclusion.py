"""Conclusion of one pair: what its questions say together, where they contradict one another, what would settle it.

Kinds and numbers only, taken from the verdicts as they stand; `harness.report.words` puts them into words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.inference.excess import controls_needed, reaches
from harness.inference.findings import CaveatKind, Finding
from harness.inference.verdicts import Ground, Verdict
from harness.records import Question

Clause = Literal[
    # as they are served, and where no system prompt reaches
    "served alike",
    "served apart",
    "raw text not told apart",
    "one model on raw text",
    "near on raw text",
    "apart on raw text",
    "only chat compared",
    "not told apart",
    # among unrelated models
    "kin",
    "kin or taught",
    "no closer",
    "shared habits",
    "taught",
    "no sign of teaching",
]
Conflict = Literal[
    "one model, yet no closer",
    "raw text not told apart, yet no closer",
    "shared habits, yet no closer",
    "one model, yet taught",
    "weights speak, yet are silent",
]
RemedyKind = Literal[
    "more controls",
    "unrelated controls",
    "controls alike",
    "one condition",
    "missing answers",
    "more samples",
    "more prompts",
    "evidence of weights",
    "raw completions",
    "fewer looks",
    "steady candidate",
    "ask it",
]

CLAUSES: Mapping[str, Mapping[Verdict, Clause]] = {  # a verdict without a line leaves its question open
    "identity": {
        "SAME-LIKE": "served alike",
        "DIFFERENT-LIKE": "served apart",
        "SAME-WEIGHTS-LIKE": "one model on raw text",
    },
    "kinship": {"KIN-LIKE": "kin", "KIN-OR-TAUGHT": "kin or taught", "UNRELATED-LIKE": "no closer"},
    "teaching": {"KIN-LIKE": "kin", "KIN-OR-TAUGHT": "shared habits", "TAUGHT-LIKE": "taught"},
}
_FURTHER: Mapping[Ground, Clause] = {  # what a ground says besides the verdict
    "only chat differs": "raw text not told apart",
    "raw hardly differs": "near on raw text",
    "raw alike, chat differs": "served apart",
    "not shown to be the same": "not told apart",
    "too few prompts for sameness": "not told apart",
    "no sign": "no sign of teaching",
}
_ONE: frozenset[Clause] = frozenset({"served alike", "one model on raw text"})
_CONFLICTS: tuple[tuple[Conflict, frozenset[Clause], frozenset[Clause]], ...] = (  # one of each side contradict
    ("one model, yet no closer", _ONE, frozenset({"no closer"})),
    ("raw text not told apart, yet no closer", frozenset({"raw text not told apart"}), frozenset({"no closer"})),
    ("shared habits, yet no closer", frozenset({"kin", "shared habits"}), frozenset({"no closer"})),
    ("one model, yet taught", _ONE, frozenset({"taught"})),
    ("weights speak, yet are silent", frozenset({"kin"}), frozenset({"taught"})),
)
_REMEDIES: Mapping[Ground, RemedyKind] = {
    "too few controls": "more controls",
    "no controls": "more controls",
    "not unusual enough": "more prompts",
    "does not stand": "more prompts",
    "unlike conditions": "controls alike",
    "unlike suspect": "one condition",
    "gaps decide": "missing answers",
    "gaps hide a difference": "missing answers",
    "text alone": "evidence of weights",
    "base not excluded": "evidence of weights",
    "ratio disagrees": "more prompts",
    "corrected away": "fewer looks",
    "too few prompts for sameness": "more samples",
    "not shown to be the same": "more samples",
}
_AFTER: Mapping[CaveatKind, RemedyKind] = {  # by what kept a pair from being judged, or the self-check that failed
    "too few control lineages": "more controls",
    "no samples": "more samples",
    "only gaps": "missing answers",
    "no usable channel": "missing answers",
    "no text": "missing answers",
    "too few shared prompts": "missing answers",
    "negative control failed": "unrelated controls",
    "positive control failed": "more prompts",
    "no control told apart": "more samples",
    "told from itself": "steady candidate",
}


@dataclass(frozen=True)
class Remedy:
    """What would settle some questions; ``count`` of it, 0 where no number can be given, enough after correction for
    ``looks`` verdicts that do not stand yet."""

    kind: RemedyKind
    questions: tuple[Question, ...]
    count: int = 0
    looks: int = 1


@dataclass(frozen=True)
class Conclusion:
    """All findings of one pair in one: its ``clauses``, the questions left ``open``, and what would settle them.

    ``follows`` are open questions that another one's verdict answers: who serves the same weights is kin. ``unasked``
    is kinship, where two are told apart and nobody asked whether one is made from the other.
    """

    suspect: str
    candidate: str
    clauses: tuple[Clause, ...]
    conflicts: tuple[Conflict, ...] = ()
    open: tuple[Question, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    follows: tuple[Question, ...] = ()
    unasked: tuple[Question, ...] = ()


def conclusions(findings: Sequence[Finding]) -> list[Conclusion]:
    """One conclusion a pair, in the order of the findings, all of one campaign.

    Examples
    --------
    >>> from harness.inference.verdicts import different, inconclusive
    >>> few = inconclusive("too few controls")
    >>> kinship = Finding("kinship", "nova", "mother", ("a", "b"), 0.05, few, p_value=1 / 3, p_adjusted=1 / 3)
    >>> judged = different(["text (chat)"], ["text (completion)"], only_chat=True)
    >>> identity = Finding("identity", "nova", "mother", ("a", "b"), 0.05, judged, p_value=0.002, p_adjusted=0.004)
    >>> (found,) = conclusions([kinship, identity])
    >>> found.clauses, found.open
    (('served apart', 'raw text not told apart'), ('kinship',))
    >>> found.remedies
    (Remedy(kind='more controls', questions=('kinship',), count=3, looks=1),)
    """
    looks = sum(map(_looks, findings))
    pairs: dict[tuple[str, str], list[Finding]] = {}
    for f in findings:
        pairs.setdefault((f.suspect, f.candidate), []).append(f)
    return [conclude(of_pair, looks) for of_pair in pairs.values()]


def conclude(findings: Sequence[Finding], looks: int = 1) -> Conclusion:
    """What the findings of one pair say together.

    ``looks`` is the number of verdicts of the campaign that do not stand yet: by Holm's correction the next one must
    have a p-value of alpha over their number, which says how many controls it takes.
    """
    first = findings[0]
    order = list(CLAUSES)
    ordered = sorted(findings, key=lambda f: order.index(f.question) if f.question in order else len(order))
    clauses: dict[Clause, None] = {}
    for f in ordered:
        said = _clause(f), _further(f)
        clauses.update((clause, None) for clause in said if clause is not None)
    still: tuple[Question, ...] = tuple(f.question for f in ordered if _is_open(f))
    one = bool(_ONE & clauses.keys())
    unasked: tuple[Question, ...] = ("kinship",)
    if one or "served apart" not in clauses or any(f.question == "kinship" for f in findings):
        unasked = ()
    return Conclusion(
        first.suspect,
        first.candidate,
        tuple(clauses),
        tuple(name for name, one, other in _CONFLICTS if one & clauses.keys() and other & clauses.keys()),
        still,
        (*_remedies(ordered, max(1, looks)), *(_asking(q, first, looks + 1) for q in unasked)),
        follows=("kinship",) if one and "kinship" in still else (),
        unasked=unasked,
    )


def _looks(f: Finding) -> bool:
    """Whether a finding is a test that does not stand, now or when there are controls enough to make it."""
    wants_controls = f.obstacle is not None and f.obstacle.kind == "too few control lineages"
    return wants_controls or (f.p_value == f.p_value and not reaches(f.p_adjusted, f.alpha))


def _clause(f: Finding) -> Clause | None:
    return CLAUSES.get(f.question, {}).get(f.verdict)


def _is_open(f: Finding) -> bool:
    return _clause(f) is None and _further(f) in (None, "not told apart")


def _further(f: Finding) -> Clause | None:
    if f.judgement.ground == "answers differ":
        raw = [e for e in f.evidence if e.part == "counted" and e.surface == "completion"]
        if any(e.name in f.judgement.decisive for e in raw):
            return "apart on raw text"
        return "raw text not told apart" if raw else "only chat compared" if _chats_only(f) else None
    return None if _only_corrected(f) else _FURTHER.get(f.judgement.ground)


def _chats_only(f: Finding) -> bool:
    """Whether there is nothing but chat, where a system prompt of one alone makes a difference."""
    surfaces = {e.surface for e in f.evidence if e.part in ("counted", "abstains")}
    return f.question == "identity" and surfaces == {"chat"}


def _only_corrected(f: Finding) -> bool:
    """No pair is closer, and still there is no verdict: only the correction for other looks stands in the way."""
    return f.at_floor and f.judgement.ground in ("not unusual enough", "no sign")


def _remedies(findings: Iterable[Finding], looks: int) -> tuple[Remedy, ...]:
    """By kind, the questions that it would settle; of controls the most that any of them takes."""
    questions: dict[RemedyKind, list[Question]] = {}
    counts: dict[RemedyKind, int] = {}
    for f in findings:
        kind, count = _remedy(f, looks)
        if kind is not None:
            questions.setdefault(kind, []).append(f.question)
            counts[kind] = max(count, counts.get(kind, 0))
        if _chats_only(f) and _clause(f) in (None, "served apart"):
            questions.setdefault("raw completions", []).append(f.question)
            counts.setdefault("raw completions", 0)
    return tuple(
        Remedy(kind, tuple(asked), counts[kind], looks if counts[kind] > 1 else 1) for kind, asked in questions.items()
    )


def _asking(question: Question, f: Finding, looks: int) -> Remedy:
    """A question that nobody asked, with the control lineages that it lacks in a campaign of so many looks."""
    lacks = max(0, controls_needed(f.alpha / looks) - len(f.control_lineages))
    return Remedy("ask it", (question,), lacks, looks if lacks > 1 else 1)


def _remedy(f: Finding, looks: int) -> tuple[RemedyKind | None, int]:
    ground, hindrance = f.judgement.ground, f.obstacle or f.failed_check
    if ground in ("nothing to compare", "self-check failed"):
        kind = _AFTER.get(hindrance.kind) if hindrance is not None else None
    else:
        kind = _REMEDIES.get(ground)
    if _only_corrected(f):
        kind = "more controls"
    if kind != "more controls":
        return kind, 0
    needed = 1 if f.question == "identity" else controls_needed(f.alpha / looks)
    return kind, max(1, needed - len(f.control_lineages))
