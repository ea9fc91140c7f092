"""A verdict as a card of plain sentences: what was asked, how sure, compared with whom, what else would explain it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.inference.detail import Detail
from harness.inference.findings import Finding
from harness.report import figures, words

if TYPE_CHECKING:
    from harness.inference.attribution import Attribution


@dataclass(frozen=True)
class Card:
    """One verdict with its sentences; ``prompts`` is the key of the section with its telling prompts, if it has one."""

    key: str
    finding: Finding
    tone: str
    mark: str
    headline: str
    asked: str
    sure: str
    error_rate: str
    close: str
    compared: str
    innocent: tuple[str, ...]
    forest: figures.Forest | None
    prompts: str


def cards(findings: Sequence[Finding], details: Sequence[Detail], alpha: float) -> list[Card]:
    """A card for each finding, in their order."""
    at = {(d.suspect, d.candidate): (i, d) for i, d in enumerate(details)}
    return [_card(i, f, at.get((f.suspect, f.candidate)), alpha) for i, f in enumerate(findings)]


def _card(i: int, f: Finding, found: tuple[int, Detail] | None, alpha: float) -> Card:
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
        sure=words.sure(f),
        error_rate=words.error_rate(f, alpha),
        close=_place(kin[1]) if kin else "",
        compared=f"{k} control {'lineage' if k == 1 else 'lineages'}: {', '.join(f.control_lineages)}."
        if k
        else "None.",
        innocent=words.innocent(f),
        forest=figures.forest(f),
        prompts=f"t{kin[0]}" if kin and any(c.telling for c in kin[1].channels) else "",
    )


def _place(d: Detail) -> str:
    above, pairs = d.place()
    place = "one of those than which none is closer" if above == 1 else f"number {above}, counted from the closest"
    return f"Among all {pairs} pairs of these {len(d.names)} models it is {place}."


def attributed(a: Attribution) -> str:
    """An attribution in one plain sentence."""
    likeliest = max(a.probabilities, key=lambda name: a.probabilities[name], default="")
    if a.best in a.probabilities:
        return (
            f"Of the known models, {a.suspect} is most like {a.best}, and an unknown model would seldom look so sure."
        )
    if not likeliest:
        return f"{a.suspect} could not be compared with the known models."
    return (
        f"{a.suspect} cannot be put down to any known model: one that is none of these could look as sure. The "
        f"likeliest of those known is {likeliest}."
    )
