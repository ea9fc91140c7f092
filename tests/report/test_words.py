"""The report's sentences: one for every verdict, p as a frequency, a likelihood ratio as how many times."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from harness.inference.conclusion import (
    CLAUSES,
    Clause,
    Conclusion,
    Conflict,
    Remedy,
    RemedyKind,
    conclude,
    conclusions,
)
from harness.inference.excess import smallest_p
from harness.inference.findings import FAILED, Caveat, CaveatKind, ChannelEvidence, Finding
from harness.inference.questions import QUESTIONS
from harness.inference.verdicts import (
    Ground,
    Judgement,
    Verdict,
    different,
    hardly_different,
    inconclusive,
    same,
    same_weights,
    unrelated,
)
from harness.records import Question, Removal, Removed
from harness.report.caveats import caveat, noticed, removal
from harness.report.words import (
    concluded,
    conclusion_tone,
    error_rate,
    headline,
    innocent,
    joined,
    sentence,
    settles,
    sure,
)


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
    if kind == "references checked":
        names = ("twin", "mother", "c0")
    channel = "thoughts" if kind == "taken out" else "wording"
    numbers = {"power": (0.24, 0.05, 0.45, 0.02, 19.0, 100.0, 0.05), "references checked": (0.05, 0.05, 0.4, 0.05)}
    values = numbers.get(kind, (3.0, 4.0, 1.0))
    text = caveat(Caveat(kind, channel, names, values, pairs))
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
        (2.1, "130 times as likely between models that share weights as between unrelated ones of two makers", True),
        (-1.24, "17 times as likely between unrelated ones of two makers as between models that share weights", False),
        (0.2, "What wording shows is about 1.6 times as likely between models that share weights", False),
    ],
)
def test_likelihood_ratio_is_how_many_times(lr: float, said: str, bound: bool) -> None:
    f = finding(p_value=0.01, p_adjusted=0.01, log10_lr=lr, log10_lr_least=-1.6, log10_lr_most=2.1)
    f = replace(f, ratio_channel="wording")
    assert said in sure(f)
    assert ("supports no stronger ratio" in sure(f)) is bound


def test_counts_are_written_out() -> None:
    assert caveat(Caveat("unanswered calls", values=(1_234_567, 2_000_000))).startswith("1234567 of 2000000 planned")
    assert "19 known lineages at 0.05" in caveat(Caveat("too few known lineages", values=(19, 0.05)))


@pytest.mark.parametrize(
    ("question", "k", "said"),
    [
        ("kinship", 2, "None of the 6 pairs of these 4 models is closer, and 2 control lineages cannot show a "
         "rarer thing than 1 in 3 (p = 0.33;"),
        ("kinship", 13, "None of the 105 pairs of these 15 models is closer, and 13 control lineages cannot show a "
         "rarer thing than 1 in 105 (p = 0.0095;"),
        ("teaching", 5, "None of the 21 pairs of these 7 models is closer"),
        ("identity", 13, "Of all the ways that were tried to deal these answers out between two, none shows such a "
         "difference, and so few cannot show a rarer thing than 1 in 105"),
    ],
)  # fmt: skip
def test_p_at_its_floor_is_no_frequency(question: str, k: int, said: str) -> None:
    controls = tuple(f"k{i}" for i in range(k))
    p = smallest_p(k)
    floor = finding(question, control_lineages=controls, p_value=p, p_adjusted=p, p_floor=p)
    assert sure(floor).startswith(said)
    assert sure(replace(floor, p_value=p * (1 + 1e-12))) == sure(floor)
    seen = sure(replace(floor, p_value=2 * p))
    assert "about" in seen
    assert "cannot show" not in seen


def test_a_p_above_a_tiny_floor_is_not_at_it() -> None:
    assert not finding(p_value=2e-10, p_floor=1e-10).at_floor
    assert not finding(p_value=float("nan"), p_floor=0.1).at_floor
    assert not finding(p_value=0.1).at_floor


def test_rates_of_other_relations_are_quoted_only_where_they_were_measured() -> None:
    without = error_rate(finding())
    assert "same training data are called close more often." in without
    assert [w for w in without.split() if w[0].isdigit()] == ["5", "100"]
    with_it = error_rate(finding(alpha=0.01, rates=(("same vendor", 0.12), ("thinking", 0.004), ("x", 1.0))))
    assert (
        "more often: at 0.01 under these conditions, in 100, 12 of those of one vendor, 0.4 of those that both think, "
        "100 of those called x." in (with_it)
    )


def judged(question: Question, judgement: Judgement, k: int = 2, **values: object) -> Finding:
    p = {"p_value": smallest_p(k), "p_adjusted": smallest_p(k), "p_floor": smallest_p(k), **values}
    return finding(question, judgement=judgement, control_lineages=tuple(f"k{i}" for i in range(k)), **p)


NOVA = (
    judged("kinship", inconclusive("too few controls")),
    judged(
        "identity", different(["text (chat)"], ["text (completion)"], only_chat=True), p_value=0.002, p_adjusted=0.004
    ),
)


def test_one_conclusion_joins_the_questions_of_a_pair() -> None:
    (c,) = conclusions(NOVA)
    assert c == Conclusion(
        "nova", "mother", ("served apart", "raw text not told apart"), (), ("kinship",),
        (Remedy("more controls", ("kinship",), 3),),
    )  # fmt: skip
    assert concluded(c) == (
        "nova and mother: not served identically; on raw text, which a system prompt does not reach, not told apart so "
        "far; whether one is made from the other is open. What would settle it: three more control lineages (kinship)."
    )
    assert conclusion_tone(c) == "near"


def seen(*views: str) -> tuple[ChannelEvidence, ...]:
    """Evidence of channels as they are named, such as "text (chat)"."""
    found = [v.removesuffix(")").split(" (") for v in views]
    return tuple(
        ChannelEvidence(channel, "samples", "MMD squared", 20, 1.0, surface="chat" if of == "chat" else "completion")
        for channel, of in found
    )


def test_of_the_same_weights_nobody_reads_that_kinship_cannot_be_told() -> None:
    same = replace(NOVA[1], judgement=same_weights(["text (chat)"], ["logprobs (completion)"]))
    (c,) = conclusions([NOVA[0], same])
    assert (c.open, c.follows, c.unasked) == (("kinship",), ("kinship",), ())
    assert "the same weights, or hardly changed ones" in joined(c)
    assert "so they are kin" in joined(c)
    assert "cannot" not in joined(c)
    assert conclusion_tone(c) == "close"


def test_a_difference_in_chat_alone_is_not_held_against_two_of_one_model() -> None:
    apart = different(["text (chat)"], [], only_chat=False)
    chat = replace(NOVA[1], judgement=apart, evidence=seen("text (chat)"))
    (c,) = conclusions([NOVA[0], chat])
    assert c.clauses == ("served apart", "only chat compared")
    assert "another system prompt alone makes such a difference" in joined(c)
    assert "whether one is made from the other is open" in joined(c)
    assert [r.kind for r in c.remedies] == ["raw completions", "more controls"]
    assert conclusion_tone(c) == "open"


def test_two_that_differ_on_raw_text_are_told_so_and_what_was_not_asked() -> None:
    apart = different(["text (chat)", "logprobs (completion)"], [], only_chat=False)
    raw = replace(NOVA[1], judgement=apart, evidence=seen("text (chat)", "logprobs (completion)"))
    (alone,) = conclusions([raw])
    assert alone.clauses == ("served apart", "apart on raw text")
    assert alone.unasked == ("kinship",)
    assert alone.remedies == (Remedy("ask it", ("kinship",), 3),)
    assert joined(alone).endswith("whether one is made from the other was not asked.")
    assert settles(alone) == "What would settle it: asking it, with three more control lineages (kinship)."
    assert conclusion_tone(alone) == "far"
    (both,) = conclusions([NOVA[0], raw])
    assert (both.unasked, both.open) == ((), ("kinship",))
    chat = replace(raw, judgement=different(["text (chat)"], [], only_chat=False))
    assert conclude([chat]).clauses == ("served apart", "raw text not told apart")
    near = replace(raw, judgement=hardly_different(apart))
    assert "in another precision or lightly tuned" in joined(conclude([near]))


def test_two_that_are_not_told_apart_are_not_called_one() -> None:
    weak = replace(NOVA[1], judgement=inconclusive("not shown to be the same"), evidence=seen("text (chat)"))
    (c,) = conclusions([weak])
    assert (c.clauses, c.open, c.unasked) == (("not told apart",), ("identity",), ())
    assert joined(c) == "nova and mother: not told apart, and not shown to be one model."
    assert [r.kind for r in c.remedies] == ["more samples", "raw completions"]
    assert conclusion_tone(c) == "open"


def test_further_controls_are_counted_for_all_verdicts_that_do_not_stand() -> None:
    """Three open looks want p at 0.05 / 3: ten lineages give 1/66, nine only 1/55."""
    open_too = [replace(f, suspect=s, p_adjusted=1.0) for f in NOVA for s in ("x", "y")][:2]
    (nova, *_) = conclusions([*NOVA, *open_too])
    assert nova.remedies == (Remedy("more controls", ("kinship",), 8, 3),)
    assert settles(nova) == ("What would settle it: eight more control lineages (kinship, corrected for 3 verdicts).")
    assert smallest_p(10) <= 0.05 / 3 < smallest_p(9)


def test_pairs_are_kept_apart_and_in_order() -> None:
    found = conclusions([*NOVA, *(replace(f, candidate="other") for f in NOVA)])
    assert [(c.suspect, c.candidate) for c in found] == [("nova", "mother"), ("nova", "other")]


KIN = Judgement("KIN-LIKE", "weights agree", ("logprobs",))
TAUGHT = Judgement("TAUGHT-LIKE", "weights silent")
EITHER = Judgement("KIN-OR-TAUGHT", "text alone")
CHAT = different(["text (chat)"], ["text (completion)"], only_chat=True)


@pytest.mark.parametrize(
    ("judgements", "conflict"),
    [
        ({"kinship": unrelated(), "identity": same()}, "one model, yet no closer"),
        ({"kinship": unrelated(), "identity": CHAT}, "raw text not told apart, yet no closer"),
        ({"kinship": unrelated(), "teaching": EITHER}, "shared habits, yet no closer"),
        ({"kinship": unrelated(), "teaching": KIN}, "shared habits, yet no closer"),
        ({"identity": same(), "teaching": TAUGHT}, "one model, yet taught"),
        ({"kinship": KIN, "teaching": TAUGHT}, "weights speak, yet are silent"),
    ],
)
def test_contradictions_are_said(judgements: dict[Question, Judgement], conflict: Conflict) -> None:
    c = conclude([judged(q, j) for q, j in judgements.items()])
    assert c.conflicts == (conflict,)
    assert "These verdicts contradict each other" in joined(c)
    assert conclusion_tone(c) == "open"


@pytest.mark.parametrize(
    "judgements",
    [
        {"kinship": KIN, "identity": different(["text (chat)"], [], only_chat=False)},
        {"kinship": KIN, "identity": same(), "teaching": KIN},
        {"kinship": EITHER, "teaching": TAUGHT},
        {"kinship": KIN, "teaching": KIN},
        {"kinship": unrelated(), "identity": different(["text (chat)"], [], only_chat=False)},
    ],
)
def test_what_goes_together_is_no_contradiction(judgements: dict[Question, Judgement]) -> None:
    c = conclude([judged(q, j) for q, j in judgements.items()])
    assert c.conflicts == ()
    assert c.open == ()
    assert "contradict" not in concluded(c)


def test_no_sign_of_teaching_is_said_unless_only_the_correction_hides_one() -> None:
    plain = conclude([judged("teaching", inconclusive("no sign"), 5, p_value=0.4)])
    assert (plain.clauses, plain.open, plain.remedies) == (("no sign of teaching",), (), ())
    hidden = conclude([judged("teaching", inconclusive("no sign"), 5, p_adjusted=0.095)], looks=2)
    assert (hidden.clauses, hidden.open) == ((), ("teaching",))
    assert hidden.remedies == (Remedy("more controls", ("teaching",), 3, 2),)


@pytest.mark.parametrize(("question", "verdict"), HEADLINES)
def test_every_verdict_but_one_has_its_clause(question: Question, verdict: Verdict) -> None:
    c = conclude([judged(question, Judgement(verdict, "not judged yet"))])
    assert (c.open == (question,)) == (verdict == "INCONCLUSIVE") == (verdict not in CLAUSES[question])


def test_every_kind_of_a_conclusion_has_words() -> None:
    for clause in get_args(Clause):
        assert joined(Conclusion("a", "b", (clause,))).startswith("a and b: ")
    for conflict in get_args(Conflict):
        assert "contradict" in joined(Conclusion("a", "b", (), (conflict,)))
    for kind in get_args(RemedyKind):
        text = settles(Conclusion("a", "b", (), (), (), (Remedy(kind, ("kinship",), 1),)))
        assert not set("{}") & set(text)
        assert text.endswith("(kinship).")


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        (judged("kinship", inconclusive("not unusual enough"), 5, p_adjusted=0.09),
         Remedy("more controls", ("kinship",), 1)),
        (judged("kinship", inconclusive("not unusual enough"), 5, p_value=0.2), Remedy("more prompts", ("kinship",))),
        (judged("identity", inconclusive("no controls"), 0), Remedy("more controls", ("identity",), 1)),
        (judged("kinship", inconclusive("unlike suspect"), 9), Remedy("one condition", ("kinship",))),
        (judged("kinship", inconclusive("unlike conditions"), 9), Remedy("controls alike", ("kinship",))),
        (judged("identity", inconclusive("not shown to be the same"), 9), Remedy("more samples", ("identity",))),
        (judged("kinship", EITHER, 9), Remedy("evidence of weights", ("kinship",))),
        (judged("kinship", inconclusive("nothing to compare"), 1, obstacle=Caveat("too few control lineages"),
                p_value=float("nan")), Remedy("more controls", ("kinship",), 4)),
        (judged("kinship", inconclusive("self-check failed"), 9, caveats=(Caveat("negative control failed"),)),
         Remedy("unrelated controls", ("kinship",))),
    ],
)  # fmt: skip
def test_what_would_settle_it(found: Finding, remedy: Remedy) -> None:
    assert conclude([found]).remedies == (remedy,)
