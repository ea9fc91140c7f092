"""Verdict words and the rules that choose between them: numbers in, a word with its ground out. No sentences.

Everything else in the project takes its verdicts from here (a law that tests/test_house.py holds).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from harness.inference.excess import reaches

Verdict = Literal[
    "SAME-LIKE",
    "SAME-WEIGHTS-LIKE",
    "DIFFERENT-LIKE",
    "KIN-LIKE",
    "KIN-OR-TAUGHT",
    "TAUGHT-LIKE",
    "UNRELATED-LIKE",
    "INCONCLUSIVE",
]
Ground = Literal[
    "not judged yet",
    "nothing to compare",
    "self-check failed",
    "unlike conditions",
    "unlike suspect",
    "too few controls",
    "weights agree",
    "weights silent",
    "too close for teaching",
    "ratio disagrees",
    "base not excluded",
    "silence unheard",
    "text alone",
    "no closer",
    "does not stand",
    "gaps decide",
    "not unusual enough",
    "no sign",
    "answers differ",
    "only chat differs",
    "raw hardly differs",
    "raw alike, chat differs",
    "raw alike, chat open",
    "gaps hide a difference",
    "no controls",
    "corrected away",
    "too few prompts for sameness",
    "not shown to be the same",
    "shown to be the same",
]

SILENT = 0.5
"""p at or above which a channel that sees weights counts as silent. Measured on 86 models with EQ-Bench ratings
(`python -m benchmarks.lineage`, stage origin): see benchmarks/README.md for how often close kin are that silent."""


@dataclass(frozen=True)
class Judgement:
    """A verdict, what it rests on, and the channels that decided it or saw nothing."""

    verdict: Verdict
    ground: Ground
    decisive: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether anything is said of the pair at all."""
        return self.verdict != "INCONCLUSIVE"


def inconclusive(ground: Ground, decisive: Iterable[str] = ()) -> Judgement:
    """Cannot tell, and why."""
    return Judgement("INCONCLUSIVE", ground, tuple(decisive))


UNJUDGED = inconclusive("not judged yet")


def weights_speaking(p_values: Mapping[str, float], alpha: float) -> tuple[str, ...]:
    """Channels that see weights and find the pair unusually close, at ``alpha`` over all of them.

    Parameters
    ----------
    p_values : mapping from channel to float
        p-value of every channel that sees weights; NaN where it has none, which is no look.
    alpha : float
        Error rate shared among them (Bonferroni, as they are dependent).

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> weights_speaking({"logprobs": 0.01, "ratings": 0.04}, alpha=0.05)
    ('logprobs',)
    >>> weights_speaking({"ratings": 0.04}, alpha=0.05)
    ('ratings',)
    """
    tested = {channel: p for channel, p in p_values.items() if p == p}
    return tuple(channel for channel, p in tested.items() if reaches(p * len(tested), alpha))


def related(p_values: Mapping[str, float], alpha: float, too_close: tuple[str, ...] = ()) -> Judgement:
    """A pair whose text is unusually close: kin if a channel that sees weights agrees, or if a channel of text finds it
    too close for teaching; else kin or taught."""
    if speaking := weights_speaking(p_values, alpha):
        return Judgement("KIN-LIKE", "weights agree", speaking)
    if too_close:
        return Judgement("KIN-LIKE", "too close for teaching", too_close)
    return Judgement("KIN-OR-TAUGHT", "text alone")


def taught(text_p: float, p_values: Mapping[str, float], alpha: float, *, hidden: bool = False) -> Judgement:
    """A pair whose habits of wording were compared: kin, taught, one of the two, or no sign of either.

    Parameters
    ----------
    text_p : float
        p-value of what the text says; NaN without.
    p_values : mapping from channel to float
        As for `weights_speaking`; if all of them are at least `SILENT`, weights are not what the two share.
    alpha : float
    hidden : bool
        Kin would be silent, too, as when only one of the two thinks before it answers: then silence says nothing.

    Returns
    -------
    Judgement

    Examples
    --------
    >>> taught(0.01, {"ratings": 0.8}, alpha=0.05).verdict
    'TAUGHT-LIKE'
    >>> taught(0.01, {"ratings": 0.8}, alpha=0.05, hidden=True).verdict
    'KIN-OR-TAUGHT'
    >>> taught(0.01, {}, alpha=0.05).verdict
    'KIN-OR-TAUGHT'
    """
    found = related(p_values, alpha)
    if found.decisive:
        return found
    if not reaches(text_p, alpha):
        return inconclusive("no sign")
    tested = {channel: p for channel, p in p_values.items() if p == p}
    if tested and min(tested.values()) >= SILENT:
        if hidden:
            return Judgement("KIN-OR-TAUGHT", "silence unheard", silent=tuple(tested))
        return Judgement("TAUGHT-LIKE", "weights silent", silent=tuple(tested))
    return found


def unrelated(decisive: Iterable[str] = ()) -> Judgement:
    """No closer than unrelated models are, and a shared base is excluded: by a ratio, or as these channels saw none."""
    return Judgement("UNRELATED-LIKE", "no closer", tuple(decisive))


def different(decisive: Iterable[str], silent: Iterable[str], *, only_chat: bool) -> Judgement:
    """Two endpoints whose answers are told apart; ``only_chat`` where raw completions are not."""
    ground: Ground = "only chat differs" if only_chat else "answers differ"
    return Judgement("DIFFERENT-LIKE", ground, tuple(decisive), tuple(silent))


def same() -> Judgement:
    """Two endpoints that are shown to be nearer than a mixture of different models, by a test with an error rate."""
    return Judgement("SAME-LIKE", "shown to be the same")


def same_weights(decisive: Iterable[str], silent: Iterable[str]) -> Judgement:
    """Two endpoints that are as good as one on raw completion: ``decisive`` channels tell them apart in chat, if any,
    ``silent`` ones see nothing where no system prompt reaches, and a test with an error rate says how near they are."""
    told = tuple(decisive)
    return Judgement(
        "SAME-WEIGHTS-LIKE", "raw alike, chat differs" if told else "raw alike, chat open", told, tuple(silent)
    )


def hardly_different(found: Judgement) -> Judgement:
    """Two endpoints that are told apart on raw completion too, and are near there by a test with an error rate."""
    return Judgement(found.verdict, "raw hardly differs", found.decisive, found.silent)
