"""The report's sentences: one for every verdict, p as a frequency, a likelihood ratio as how many times."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from harness.inference.findings import Finding, Verdict, blank_finding
from harness.inference.pool import Model, Pool
from harness.report.words import error_rate, headline, innocent, sure

POOL = Pool("nova", "mother", (Model("c", "control", "root"),))


def finding(question: str = "kinship", **values: object) -> Finding:
    return replace(blank_finding(question, POOL), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("question", ["kinship", "teaching", "identity"])
@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_every_verdict_is_a_plain_sentence(question: str, verdict: str) -> None:
    f = finding(question, verdict=verdict, p_value=0.2, p_adjusted=0.2, p_floor=0.01)
    text = headline(f)
    assert "nova" in text
    assert "mother" in text
    assert text.endswith(".")
    assert not any(c.isdigit() or c in "{}" for c in text)
    assert innocent(f)
    assert "5 in 100" in error_rate(f, 0.05)


@pytest.mark.parametrize(
    ("question", "p", "said"),
    [
        ("kinship", 1 / 105, "about 1 in 105 would be at least this close (p = 0.0095;"),
        ("kinship", 1 / 3, "about 33 in 100 would be at least this close"),
        ("teaching", 0.011, "about 1 in 91 would share at least as many habits"),
        ("identity", 0.002, "If both were one model, about 1 in 500 comparisons"),
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
    f = finding(p_value=0.01, p_adjusted=0.01, log10_lr=lr, log10_lr_least=-1.6, log10_lr_most=2.1, lr_words="support")
    assert said in sure(f)
    assert ("supports no stronger ratio" in sure(f)) is bound
