"""The report's sentences: one for every verdict, p as a frequency, a likelihood ratio as how many times."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from harness.inference.findings import FAILED, Caveat, CaveatKind, ChannelEvidence, Finding
from harness.inference.questions import QUESTIONS
from harness.inference.verdicts import Ground, Judgement, Verdict
from harness.records import Removal, Removed
from harness.report.caveats import caveat, noticed, removal
from harness.report.words import error_rate, headline, innocent, sentence, sure


def finding(question: str = "kinship", **values: object) -> Finding:
    return replace(Finding(question, "nova", "mother", ("root",), 0.05), **values)  # type: ignore[arg-type]


HEADLINES = [(name, verdict) for name, q in QUESTIONS.items() for verdict in q.wording.headlines]
GROUNDS = [(name, ground) for name, q in QUESTIONS.items() for ground in q.wording.grounds]


@pytest.mark.parametrize(("question", "verdict"), HEADLINES)
def test_every_verdict_is_a_plain_sentence(question: str, verdict: Verdict) -> None:
    judged = Judgement(verdict, "not judged yet")
    f = finding(question, judgement=judged, p_value=0.2, p_adjusted=0.2, p_floor=0.01)
    text = headline(f)
    assert "nova" in text
    assert "mother" in text
    assert text.endswith(".")
    assert not any(c.isdigit() or c in "{}" for c in text)
    assert innocent(f)
    assert "5 in 100" in error_rate(f)


def test_every_verdict_word_can_be_told() -> None:
    assert {verdict for _, verdict in HEADLINES} == set(get_args(Verdict))


@pytest.mark.parametrize(("question", "ground"), GROUNDS)
def test_every_ground_is_a_sentence_that_leaves_no_blank(question: str, ground: Ground) -> None:
    weights = ChannelEvidence("logprobs", "weights", "1 - JSD", 9, 1.0, p=0.6)
    judged = Judgement("INCONCLUSIVE", ground, ("wording",), ("style",))
    failed = Caveat("positive control failed", names=("mother",))
    p = {"p_value": 0.2, "p_adjusted": 0.4, "p_floor": 0.01, "p_same": 0.01, "share_excluded": 0.2, "p_weights": 0.001}
    f = finding(question, judgement=judged, log10_lr=1.2, caveats=(failed,), **p)
    text = sentence(replace(f, evidence=(weights,)))
    assert text.endswith(".")
    assert not set("{}") & set(text)
    assert "nan" not in text


@pytest.mark.parametrize("kind", get_args(CaveatKind))
def test_every_caveat_has_words(kind: CaveatKind) -> None:
    pairs = (("x", "y"),) * 5
    names = ("mother", "c0") if kind in ("candidate's null", "mixed models") else ("mother", "c0", "c1", "c2")
    if kind == "does not stand":
        names = ("first words", "without the question", "gaps")
    channel = "thoughts" if kind == "taken out" else "wording"
    text = caveat(Caveat(kind, channel, names, (3.0, 4.0, 1.0), pairs))
    assert len(text) > 10
    assert text.startswith("FAILED ") == (kind in FAILED)


@pytest.mark.parametrize("kind", get_args(Removed))
def test_all_that_is_taken_out_has_words(kind: Removed) -> None:
    taken = Removal("nova", kind, 60, 61, "Powered by\nthe gateway", "end")
    text = caveat(removal(taken))
    assert text.startswith("of nova's answers 60 of 61 ")
    assert "at the end: “Powered by the gateway”" in text
    (told,) = noticed([taken])
    assert (told.channel, told.model, told.what) == ("reading", "nova", kind)
    assert told.value in text.replace("of nova's answers 60 of 61", "60 of 61 answers")


@pytest.mark.parametrize(
    ("question", "p", "said"),
    [
        ("kinship", 1 / 105, "about 1 in 105 would be at least this close (p = 0.0095;"),
        ("kinship", 1 / 3, "about 33 in 100 would be at least this close"),
        ("teaching", 0.011, "about 1 in 91 would share at least as many habits"),
        ("identity", 0.002, "If both were one model, served alike, about 1 in 500 comparisons"),
        ("kinship", float("nan"), "No p-value could be computed"),
    ],
)
def test_p_is_a_frequency(question: str, p: float, said: str) -> None:
    assert said in sure(finding(question, p_value=p, p_adjusted=p))


@pytest.mark.parametrize(
    ("lr", "said", "bound"),
    [
        (2.1, "130 times as likely between close kin as between models that share no weights", True),
        (-1.24, "17 times as likely between models that share no weights as between close kin", False),
        (0.2, "1.6 times as likely between close kin", False),
    ],
)
def test_likelihood_ratio_is_how_many_times(lr: float, said: str, bound: bool) -> None:
    f = finding(p_value=0.01, p_adjusted=0.01, log10_lr=lr, log10_lr_least=-1.6, log10_lr_most=2.1)
    assert said in sure(f)
    assert ("supports no stronger ratio" in sure(f)) is bound


def test_counts_are_written_out() -> None:
    assert caveat(Caveat("unanswered calls", values=(1_234_567, 2_000_000))).startswith("1234567 of 2000000 planned")
    assert "19 known lineages at 0.05" in caveat(Caveat("too few known lineages", values=(19, 0.05)))
