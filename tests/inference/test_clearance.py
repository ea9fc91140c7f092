"""What a kinship verdict may clear and what it may accuse by text alone: ratios, rates and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.inference.assessment import assess
from harness.inference.findings import Caveat, ChannelEvidence, Finding, Settings
from harness.inference.kinship import judge, kinship, with_rates, with_ratios
from harness.inference.likelihood import LikelihoodTable, shipped_tables
from harness.inference.pool import Model
from harness.inference.verdicts import Judgement
from harness.records import Similarity
from harness.report.html import costs_of
from harness.report.words import sentence

SETTINGS = Settings(alpha=0.05, min_coverage=0.9, permutations=99, bootstrap=100, seed=1)
TABLES = shipped_tables()
K = 14


def found(p: float, **known: Any) -> Finding:
    finding = Finding(
        "kinship", "s", "c", tuple(f"k{i}" for i in range(K)), 0.05, p_value=p, p_adjusted=p, p_floor=0.01
    )
    return replace(finding, **known)


def evidence(channel: str, effect: float, p: float, prompts: int = 100, words: float = 60.0) -> ChannelEvidence:
    sees = "text" if channel == "wording" else "weights"
    return ChannelEvidence(
        channel, sees, "cosine", prompts, 1.0, effect=effect, effect_low=effect, effect_high=effect, p=p,
        words=words if sees == "text" else float("nan"),
    )  # fmt: skip


def weighed(f: Finding, *, two_makers: bool = False, tables: Mapping[str, LikelihoodTable] = TABLES) -> Finding:
    f, caveats = with_ratios(with_rates(f, tables, 0.05), tables, lambda about: (), two_makers=two_makers)
    return replace(f, caveats=tuple(caveats))


def judged(f: Finding) -> Judgement:
    return judge(f)


def said_of(f: Finding) -> str:
    return sentence(replace(f, judgement=judge(f)))


@pytest.mark.parametrize("effect", [0.2, 0.34, 0.6])
def test_a_pair_as_close_as_models_of_one_base_are_is_never_cleared_by_text(effect: float) -> None:
    """The usual effects of a shared base: text must not say that there is none."""
    f = weighed(found(0.4, evidence=(evidence("wording", effect, 0.4),)))
    assert judged(f).verdict == "INCONCLUSIVE"
    assert f.log10_lr > -0.3


def test_an_acquittal_is_earned_by_a_ratio_or_by_a_channel_that_would_have_found_a_base() -> None:
    silent = found(0.8, evidence=(evidence("wording", -0.1, 0.8),))
    by_text = weighed(silent)
    assert judged(by_text).ground == "base not excluded"
    said = said_of(by_text)
    assert "in 100 pairs of one pretrained base" in said
    outlook = by_text.outlook
    assert outlook is not None
    assert (outlook.channel, outlook.calls) == ("ratings", outlook.prompts * (K + 2))
    assert outlook.finds == TABLES["ratings"].rate("base", K, outlook.prompts) > by_text.evidence[0].finds_base + 0.05
    assert f"{outlook.channel} of {outlook.prompts} prompts would find {100 * outlook.finds:.0f} in 100" in said
    assert f"(about {outlook.calls:,} calls)" in said
    most = weighed(found(0.8, evidence=(evidence("ratings", -0.1, 0.8, prompts=TABLES["ratings"].prompts[-1]),)))
    assert most.outlook is None, "nothing that was measured finds more"
    far = weighed(found(0.99, evidence=(evidence("ratings", -3.0, 0.99),)))
    assert max(far.log10_lr, far.log10_lr_base) <= -1.0
    assert judged(far).verdict == "UNRELATED-LIKE"
    weak = replace(far, log10_lr_base=-0.95)  # against close kin it is strong, against a shared base it is not
    assert judged(weak).ground == "base not excluded"
    able = replace(evidence("logprobs", -0.2, 0.7), finds_base=0.85)
    heard = found(0.8, evidence=(able,))
    assert judged(heard) == Judgement("UNRELATED-LIKE", "no closer", ("logprobs",))
    assert "of pairs of one base logprobs would have found 85 in 100" in sentence(
        replace(heard, judgement=judged(heard))
    )
    assert judged(replace(heard, evidence=(replace(able, finds_base=0.79),))).verdict == "INCONCLUSIVE"
    assert judged(replace(heard, evidence=(replace(able, p=0.2),))).verdict == "INCONCLUSIVE"
    assert judged(replace(heard, log10_lr=0.4)).verdict == "INCONCLUSIVE"  # never beside a ratio for shared weights


def test_too_close_for_teaching_makes_kin_of_two_makers_and_of_one_maker_not() -> None:
    close = found(0.01, evidence=(evidence("wording", 2.5, 0.01),))
    two, one = weighed(close, two_makers=True), weighed(close)
    assert judged(two) == Judgement("KIN-LIKE", "too close for teaching", ("wording",))
    assert judged(one).verdict == "KIN-OR-TAUGHT"
    assert two.log10_lr_taught > 0.5
    assert np.isnan(one.log10_lr_taught)
    assert "closer in wording than models of two makers get by teaching" in sentence(
        replace(two, judgement=judged(two))
    )
    taught = weighed(found(0.01, evidence=(evidence("wording", 0.7, 0.01),)), two_makers=True)
    assert judged(taught).verdict == "KIN-OR-TAUGHT"
    assert not judged(weighed(found(0.2, evidence=close.evidence), two_makers=True)).decisive


def test_no_verdict_stands_beside_a_ratio_that_contradicts_it() -> None:
    for effect in np.linspace(-2.0, 3.0, 26):
        for p in (0.01, 0.04, 0.3, 0.9):
            f = weighed(found(p, evidence=(evidence("wording", float(effect), p),)))
            verdict = judged(f).verdict
            assert not (verdict.startswith("KIN") and f.log10_lr <= -np.log10(2)), (effect, p)
            assert not (verdict == "UNRELATED-LIKE" and not max(f.log10_lr, f.log10_lr_base) <= -1.0), (effect, p)


def test_ratings_are_weighed_before_wording_which_hardly_sees_a_base() -> None:
    both = (evidence("wording", 0.3, 0.3), evidence("ratings", 1.6, 0.01))
    f = weighed(found(0.01, evidence=both))
    assert f.ratio_channel == "ratings"
    assert f.log10_lr > 0.5
    assert dict(f.rates).keys() >= {"same maker"}  # what text calls close is told with the rate in force


@pytest.mark.parametrize(
    ("prompts", "words"), [(31, 60.0), (100, 9.0)], ids=["too few prompts", "answers of nine words"]
)
def test_outside_of_what_was_fitted_there_is_no_ratio(prompts: int, words: float) -> None:
    f = weighed(found(0.01, evidence=(evidence("wording", 2.0, 0.01, prompts, words),)))
    assert np.isnan(f.log10_lr)
    assert [c.kind for c in f.caveats] == ["no likelihood ratio"]


def test_what_a_table_was_not_fitted_for_is_told_and_gives_no_ratio() -> None:
    f = found(0.01, evidence=(evidence("wording", 2.0, 0.01),))
    thinking = Caveat("calibrated on no thinkers", names=("s",))
    f, caveats = with_ratios(f, TABLES, lambda about: [thinking] if about["thinks"] is False else [], two_makers=True)
    assert np.isnan(f.log10_lr)
    assert f.too_close == ()
    assert caveats == [thinking]


def test_a_copy_through_a_gateway_is_found() -> None:
    """Alike on each of 40 prompts, strangers as unlike each time: a spread of 0 is not an effect of 0."""
    m = K + 2
    usual = np.random.default_rng(3).uniform(0.004, 0.038, (m, m))
    usual = (usual + usual.T) / 2
    usual[0, 1] = usual[1, 0] = 1.0
    np.fill_diagonal(usual, np.nan)
    names = ("s", "c", *(f"k{i}" for i in range(K)))
    values = np.repeat(usual[None], 40, axis=0).astype(np.float32)
    s = Similarity("wording", names, tuple(map(str, range(40))), values, np.ones(m), "cosine", "text", 60.0)
    models = [Model(n, r, n) for n, r in zip(names, ("suspect", "candidate", *["control"] * K), strict=True)]
    a = assess(models[0], models[1], models, [s], SETTINGS)
    f = kinship(a, lambda _: [], TABLES, SETTINGS, two_makers=True)
    assert f.effect > 2
    assert f.p_value == pytest.approx(f.p_floor)
    assert judge(replace(f, p_adjusted=f.p_value)).verdict == "KIN-LIKE"


def test_costs_are_those_at_the_size_of_the_campaign_and_a_strangers_file_breaks_nothing() -> None:
    about = TABLES["wording"].about
    costs = costs_of(about, 16, 120)
    assert set(costs) == {"shares weights", "close", "base", "taught"}
    assert all(text.endswith("(16 controls, 100 prompts)") for text in costs.values())
    assert costs_of(about, 1, 100) == {}
    for odd in (None, "x", [3], [{"controls": "many"}], [{"controls": 2, "prompts": 32, "cllr": 0.3}]):
        assert costs_of({"validation": odd}, 16, 100) == {}


def test_rates_of_others_are_told_only_where_somebody_could_be_called_close() -> None:
    f = found(0.3, evidence=(evidence("wording", 0.5, 0.3),))
    assert dict(with_rates(f, TABLES, 0.05).rates).keys() == {"same maker", "taught"}
    assert with_rates(replace(f, p_floor=1 / 3), TABLES, 0.05).rates == ()
