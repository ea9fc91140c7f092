"""The two-sample test on kernels, and the finding that is made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.channels.kernels import kernel_coverage, spectrum
from harness.inference.assessment import Grams, View
from harness.inference.findings import ChannelEvidence, Finding, Settings
from harness.inference.identity import identity, two_sample
from harness.inference.mixture import ROUTED, equivalence, nearer
from harness.inference.pool import Model, Pool
from harness.inference.questions import decide
from harness.records import Prompt, Response, Responses
from harness.report.words import limits, sentence

SETTINGS = Settings(alpha=0.05, min_coverage=0.9, permutations=400, bootstrap=200, seed=1)
TEXT: View = ("text", "chat")
WORDS = ("red", "green", "blue", "black", "white")


def draws(rng: np.random.Generator, weights: list[float], n: int) -> list[str]:
    return [str(w) for w in rng.choice(WORDS, n, p=weights)]


def grams(rng: np.random.Generator, a: list[float], b: list[float], prompts: int = 40, n: int = 8) -> Grams:
    return [(spectrum(draws(rng, a, n) + draws(rng, b, n)), n) for _ in range(prompts)]


EVEN = [0.2] * 5
ODD = [0.96, 0.01, 0.01, 0.01, 0.01]


def test_level_is_kept_and_difference_is_found() -> None:
    rng = np.random.default_rng(1)
    null = [two_sample(grams(rng, EVEN, EVEN, 8), 99, rng).p_value for _ in range(150)]
    assert np.mean(np.array(null) <= 0.05) <= 0.10
    power = [two_sample(grams(rng, EVEN, ODD, 8), 99, rng).p_value for _ in range(30)]
    assert np.mean(np.array(power) <= 0.05) > 0.9


def test_one_noisy_prompt_does_not_drown_the_rest() -> None:
    rng = np.random.default_rng(2)
    clear = np.block([[np.ones((4, 4)), np.full((4, 4), 0.99)], [np.full((4, 4), 0.99), np.ones((4, 4))]])
    noise = rng.uniform(0, 1, (8, 8))
    noise = (noise + noise.T) / 2
    np.fill_diagonal(noise, 1.0)
    assert two_sample([(clear, 4)] * 5 + [(noise, 4)], 999, rng).p_value <= 0.01


def test_identical_samples_are_not_told_apart() -> None:
    rng = np.random.default_rng(3)
    assert two_sample([(np.ones((6, 6)), 3)] * 4, 99, rng).p_value == 1.0
    assert np.isnan(two_sample([], 99, rng).p_value)


def finding(rng: np.random.Generator, suspect: list[float], control: list[float]) -> Finding:
    pool = Pool("s", "p", (Model("c", "control", "root"),))
    pairs = {"s": {TEXT: grams(rng, suspect, EVEN)}, "c": {TEXT: grams(rng, control, EVEN)}}
    return decide([identity(pool, lambda a, _: pairs[a], SETTINGS)])[0]


def test_verdicts() -> None:
    rng = np.random.default_rng(5)
    assert finding(rng, EVEN, ODD).verdict == "SAME-LIKE"
    assert finding(rng, ODD, ODD).verdict == "DIFFERENT-LIKE"


def mixed(share: float) -> list[float]:
    """A suspect that answers a share of its calls with the control's model."""
    return [(1 - share) * e + share * o for e, o in zip(EVEN, ODD, strict=True)]


def test_equivalence_keeps_its_level_where_a_share_is_routed() -> None:
    """At the very share that is to be excluded, by the control itself: the hardest point of the null."""
    rng = np.random.default_rng(11)
    p = [equivalence(grams(rng, mixed(ROUTED), EVEN), [grams(rng, ODD, EVEN)], 0.05).p_value for _ in range(200)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    beyond = [equivalence(grams(rng, mixed(0.6), EVEN), [grams(rng, ODD, EVEN)], 0.05).p_value for _ in range(50)]
    assert min(beyond) > 0.05


def test_equivalence_has_power_and_its_bound_covers() -> None:
    rng = np.random.default_rng(12)
    same = [equivalence(grams(rng, EVEN, EVEN), [grams(rng, ODD, EVEN)], 0.05) for _ in range(50)]
    assert np.mean([e.p_value <= 0.05 for e in same]) > 0.8
    assert all((e.p_value <= 0.05) == (e.share <= ROUTED + 1e-9) for e in same)
    bounds = [equivalence(grams(rng, mixed(0.5), EVEN), [grams(rng, ODD, EVEN)], 0.05).share for _ in range(50)]
    assert np.mean(np.array(bounds) < 0.5) <= 0.15
    assert np.median(bounds) < 0.8


def test_every_control_is_a_margin() -> None:
    """One that is as near as the suspect leaves nothing to show, however far the others are."""
    rng = np.random.default_rng(13)
    pair, far, near = grams(rng, EVEN, EVEN), grams(rng, ODD, EVEN), grams(rng, EVEN, EVEN)
    assert equivalence(pair, [far, far], 0.05).p_value <= 0.05 < equivalence(pair, [far, near], 0.05).p_value


def test_too_few_prompts_and_one_sample_show_nothing() -> None:
    rng = np.random.default_rng(14)
    pair, far = grams(rng, EVEN, EVEN), grams(rng, ODD, EVEN)
    assert np.isnan(equivalence(pair[:7], [far], 0.05).p_value)
    assert np.isnan(equivalence(pair, [far[:7]], 0.05).p_value)
    assert np.isnan(equivalence(pair, [], 0.05).share)
    assert np.isnan(equivalence([(g, 1) for g, _ in pair], [far], 0.05).p_value)


def test_equivalence_of_answers_without_spread() -> None:
    one, two = np.ones((8, 8)), np.kron(np.eye(2), np.ones((4, 4)))
    same, apart = [(one, 4)] * 10, [(two, 4)] * 10
    assert equivalence(same, [apart], 0.05) == equivalence(same, [apart, apart], 0.05)
    sure = equivalence(same, [apart], 0.05)  # one routed call of a prompt shows nothing yet
    alone = [(1 - w) ** 4 + 4 * w * (1 - w) ** 3 for w in (0.3, 0.25, 0.24)]
    assert sure.p_value == pytest.approx(alone[0] ** 10)
    assert alone[1] ** 10 < 0.05 < alone[2] ** 10
    assert sure.share == pytest.approx(0.25)
    assert equivalence(apart, [apart], 0.05).p_value == 1.0
    assert equivalence(same, [same], 0.05).p_value == 1.0


@pytest.mark.parametrize(("prompts", "calls"), [(40, 2), (16, 4), (25, 10)])
@pytest.mark.parametrize("share", [0.1, ROUTED])
def test_routing_among_answers_without_spread_is_not_called_the_same(prompts: int, calls: int, share: float) -> None:
    """First-token logprobs hardly vary: two routed calls of one prompt are rare, and then all that there is to see."""
    rng = np.random.default_rng(15)

    def gram(away: int) -> tuple[np.ndarray[Any, Any], int]:
        other = np.r_[np.arange(calls) < away, np.zeros(calls, bool)]
        return np.where(other[:, None] == other, 1.0, 0.85), calls

    control = [gram(calls)] * prompts
    found = [
        equivalence([gram(rng.binomial(calls, share)) for _ in range(prompts)], [control], 0.05) for _ in range(200)
    ]
    level = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean([e.share < share for e in found]) <= level
    assert share < ROUTED or np.mean([e.p_value <= 0.05 for e in found]) <= level


def judged(p: float, p_same: float, looks: int = 1, **more: float) -> Finding:
    """The verdict of one look with these p-values, among others that say nothing."""
    seen = tuple(ChannelEvidence(c, "samples", "u", 9, 1.0, p=q, p_same=p_same) for c, q in {"text": p, **more}.items())
    idle = Finding("identity", "x", "y", ("c",), 0.05, p_value=1.0, p_same=1.0)
    first = Finding("identity", "s", "p", ("c",), 0.05, p_value=p, p_same=p_same, evidence=seen)
    return decide([first, *[idle] * (looks - 1)])[0]


@pytest.mark.parametrize("p", [0.0017, 0.0095, 0.049])
def test_no_correction_turns_a_difference_into_sameness(p: float) -> None:
    found = judged(p, p_same=1e-9, looks=32)
    assert found.p_adjusted > 0.05
    assert (found.verdict, found.judgement.ground) == ("INCONCLUSIVE", "corrected away")
    assert "text sees a difference" in sentence(found)


def test_one_view_that_differs_before_correction_for_views_is_enough() -> None:
    assert judged(0.6, p_same=1e-9, logprobs=0.03).judgement.ground == "corrected away"
    assert judged(0.6, p_same=1e-9, logprobs=0.3).verdict == "SAME-LIKE"


def test_sameness_is_corrected_for_all_looks_too() -> None:
    assert judged(0.6, p_same=0.01).verdict == "SAME-LIKE"
    many = judged(0.6, p_same=0.01, looks=32)
    assert (many.verdict, many.judgement.ground) == ("INCONCLUSIVE", "not shown to be the same")
    weak = judged(0.6, p_same=0.2)
    assert weak.verdict == "INCONCLUSIVE"
    assert "nor shown to be the same" in sentence(weak)
    assert judged(0.6, p_same=float("nan")).judgement.ground == "too few prompts for sameness"


def test_a_share_routed_elsewhere_is_not_the_same() -> None:
    rng = np.random.default_rng(15)
    assert finding(rng, mixed(0.7), ODD).verdict == "DIFFERENT-LIKE"
    assert finding(rng, mixed(0.5), ODD).verdict != "SAME-LIKE"
    same = finding(rng, EVEN, ODD)
    assert same.share_excluded <= ROUTED
    assert f"more than {same.share_excluded:.0%} of them is excluded" in sentence(same)


def test_a_test_that_cannot_tell_controls_apart_says_nothing() -> None:
    found = finding(np.random.default_rng(6), EVEN, EVEN)
    assert found.verdict == "INCONCLUSIVE"
    assert any("cannot tell c from p" in limit for limit in limits(found))


def test_one_sample_a_prompt_is_not_enough() -> None:
    pool = Pool("s", "p", ())
    found = decide([identity(pool, lambda *_: {TEXT: []}, SETTINGS)])[0]
    assert found.verdict == "INCONCLUSIVE"
    assert "two or more samples" in sentence(found)


@pytest.mark.parametrize("texts", [["", "a"], ["\ud800", "\ud800"], ["如何", "如何学习"]])
def test_kernel_takes_any_text(texts: list[str]) -> None:
    gram = spectrum(texts)
    assert np.isfinite(gram).all()
    assert gram.shape == (2, 2)


def with_coverage(coverage: dict[str, float], **weights: list[float]) -> Finding:
    """The finding of two channels whose samples are drawn with these weights, the suspect's; the rest are even."""
    rng = np.random.default_rng(5)
    pool = Pool("s", "p", (Model("c", "control", "root"),))
    pairs: dict[str, dict[View, Grams]] = {
        "s": {(c, "chat"): grams(rng, w, EVEN) for c, w in weights.items()},
        "c": {(c, "chat"): grams(rng, ODD, EVEN) for c in weights},
    }
    shares: dict[View, float] = {(c, "chat"): share for c, share in coverage.items()}
    return decide([identity(pool, lambda a, _: pairs[a], SETTINGS, shares)])[0]


def test_a_channel_with_gaps_abstains_and_says_so() -> None:
    both = with_coverage({"text": 0.97, "logprobs": 0.93}, text=EVEN, logprobs=ODD)
    assert both.verdict == "DIFFERENT-LIKE"
    assert both.coverage == 0.93
    gaps = with_coverage({"text": 0.97, "logprobs": 0.5}, text=EVEN, logprobs=EVEN)
    assert gaps.verdict == "SAME-LIKE"
    assert gaps.coverage == 0.97
    assert "logprobs (chat) abstains for its gaps: only 50% of what was asked can be compared" in limits(gaps)
    assert [e.part for e in gaps.evidence] == ["counted", "abstains"]
    assert [e.coverage for e in gaps.evidence] == [0.97, 0.5]
    differs = with_coverage({"text": 0.97, "logprobs": 0.5}, text=EVEN, logprobs=ODD)
    assert differs.verdict == "INCONCLUSIVE"
    assert "logprobs (chat) tells s from p, but on too few of the answers" in sentence(differs)
    nothing = with_coverage({"text": 0.8, "logprobs": 0.5}, text=ODD, logprobs=ODD)
    assert nothing.verdict == "INCONCLUSIVE"
    assert "too little to compare" in sentence(nothing)
    assert not any(limit.startswith("FAILED") for limit in limits(nothing))


def test_coverage_counts_what_was_asked_of_both() -> None:
    prompts = [
        Prompt("one", "f", "?", samples=1, temperature=1.0),
        Prompt("greedy", "f", "?", samples=4, temperature=0.0),
        Prompt("a", "f", "?", samples=4, temperature=1.0),
        Prompt("b", "f", "?", samples=4, top_logprobs=5),
    ]
    rows = [Response("x", p.id, i, f"{p.id}{i}", "ok", "text") for p in prompts for i in range(p.samples)]
    given = {("a", 0): "refused", ("a", 1): "empty", ("b", 2): "filtered"}
    rows += [
        Response("y", p.id, i, f"{p.id}{i}", given.get((p.id, i), "ok"), "text" if (p.id, i) not in given else "")  # type: ignore[arg-type]
        for p in prompts
        for i in range(p.samples - (p.id == "b"))
    ]
    found = kernel_coverage(Responses.of(("x", "y"), prompts, rows), 0, 1)
    assert found == {"text": 4 / 8, "logprobs": 0.0}  # y: 2 usable of 4 to a, 2 of 4 to b
    assert np.isnan(kernel_coverage(Responses.of(("x", "y"), prompts[:2], rows), 0, 1)["text"])


def test_recorded_answers_are_covered_by_what_the_two_answered() -> None:
    """Nobody knows how often recorded models were asked: a control with more samples is no gap of theirs."""
    prompts = [Prompt(f"p{i}", "recorded", "?", samples=8) for i in range(3)]
    rows = [
        Response(m, p.id, i, f"{p.id}{i}", "ok", "text")
        for m, n in (("x", 5), ("y", 4), ("c", 8)) for p in prompts for i in range(n)
    ]  # fmt: skip
    table = Responses.of(("x", "y", "c"), prompts, rows)
    assert kernel_coverage(table, 0, 1, "recorded")["text"] == 4 / 5
    assert kernel_coverage(table, 0, 1)["text"] == 4 / 8


def on_the_way(ways: np.ndarray[Any, Any], far: np.ndarray[Any, Any], noise: float = 0.0) -> np.ndarray[Any, Any]:
    """Distances (p, 2, 2) of a suspect so much of the way to its one control, and of that control."""
    return np.stack([np.c_[ways**2 * far + noise, 0 * far + noise], np.c_[far + noise, 0 * far + noise]], axis=1)


def test_other_weights_are_called_the_same_no_more_often_than_stated() -> None:
    """At the edge of the null: three prompts in ten are just as far as must be excluded, and nothing tells the rest."""
    rng = np.random.default_rng(21)
    for prompts in (12, 40, 100):
        far = rng.gamma(2.0, 0.06, (2000, prompts))
        beyond = rng.random((2000, prompts)) < ROUTED
        found = [nearer(on_the_way(np.where(b, ROUTED, 0.0), f)) for b, f in zip(beyond, far, strict=True)]
        rate = np.mean(np.array(found) <= 0.05)
        assert 0.0 < rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000), prompts


def test_a_model_that_is_three_tenths_of_the_way_off_is_never_the_same() -> None:
    """As a light fine-tune is: the nearest control times the margin, with a spread over prompts."""
    rng = np.random.default_rng(22)
    ways = ROUTED * rng.lognormal(0.0, 0.5, (500, 40))
    p = [nearer(on_the_way(w, rng.gamma(2.0, 0.06, 40))) for w in ways]
    assert np.mean(np.array(p) <= 0.05) < 0.01
    assert nearer(on_the_way(np.full(40, ROUTED), np.full(40, 0.1))) == 1.0


def test_the_same_weights_are_found_on_few_prompts_and_through_noise() -> None:
    rng = np.random.default_rng(23)
    far = rng.gamma(2.0, 0.06, (200, 20))
    noise = rng.exponential(1e-4, (200, 20))  # of a batching server: up to a tenth of a nat on one token
    quiet = [nearer(on_the_way(np.zeros(20), f)) for f in far]
    loud = [nearer(on_the_way(np.zeros(20), f) + n[:, None, None]) for f, n in zip(far, noise, strict=True)]
    assert quiet == [pytest.approx((1 - ROUTED) ** 20)] * 200
    assert np.mean(np.array(loud) <= 0.05) > 0.95


def test_noise_between_repeats_counts_against_the_same_weights() -> None:
    """What lies between a control and the candidate may be noise alone; then it is no measure of anything."""
    far = np.full(40, 0.1)
    assert nearer(on_the_way(np.zeros(40), 0 * far, noise=0.1)) == 1.0
    assert nearer(on_the_way(np.zeros(40), far, noise=0.005)) < 1e-6 < nearer(on_the_way(np.zeros(40), far, noise=0.01))


def test_every_control_has_to_be_far_and_asked_on_prompts_enough() -> None:
    far = np.full(40, 0.1)
    one = on_the_way(np.full(40, 0.1), far)
    near = np.concatenate([one, one[:, 1:] * 0.01], axis=1)
    assert nearer(one) < 1e-6
    assert nearer(near) == nearer(near[:, [0, 2, 1]]) == 1.0
    unheard = np.concatenate([one, np.full((40, 1, 2), np.nan)], axis=1)
    assert nearer(unheard) == nearer(one)
    few = unheard.copy()
    few[:7, 2] = 0.1, 0.0
    assert np.isnan(nearer(few))
    assert np.isnan(nearer(one[:7]))
    assert np.isnan(nearer(one[:, :1]))
    gaps = one.copy()
    gaps[10:, 0] = np.nan
    assert nearer(gaps) == pytest.approx((1 - ROUTED) ** 10)


RAW: View = ("logprobs", "completion")
CHAT: View = ("logprobs", "chat")


def apart(between: float, prompts: int = 40) -> Grams:
    """Two samples a side of servers that repeat themselves, so far apart."""
    gram = np.ones((4, 4)) - between * np.kron(1 - np.eye(2), np.ones((2, 2)))
    return [(gram, 2)] * prompts


def on_raw(
    chat: float,
    raw: float,
    control: float = 0.1,
    coverage: dict[View, float] | None = None,
    controls: tuple[str, ...] = ("c",),
    way: float | None = None,
) -> Finding:
    """The verdict on a suspect so far from the candidate in chat and on raw completion."""
    pool = Pool("s", "p", tuple(Model(n, "control", n) for n in controls))
    pairs = {n: {CHAT: apart(control), RAW: apart(control)} for n in controls}
    pairs["s"] = {CHAT: apart(chat), RAW: apart(raw)}
    cells = [[d if way is None or d else way**2 * control, 0.0] for d in (raw, *[control] * len(controls))]

    def distances(names: Any) -> Any:
        assert list(names) == ["p", "s", *controls]
        return np.tile(cells, (40, 1, 1))

    return decide([identity(pool, lambda a, _: pairs[a], SETTINGS, coverage or {}, distances)])[0]


def test_one_model_behind_another_prompt_has_a_verdict_of_its_own() -> None:
    found = on_raw(chat=0.05, raw=0.0)
    assert (found.verdict, found.judgement.ground) == ("SAME-WEIGHTS-LIKE", "raw alike, chat differs")
    assert (found.judgement.decisive, found.judgement.silent) == (("logprobs (chat)",), ("logprobs (completion)",))
    assert found.p_weights == found.p_weights_adjusted == pytest.approx((1 - ROUTED) ** 40)
    assert "on logprobs (completion), which no system prompt reaches, they cannot be told apart" in sentence(found)
    assert "MMD squared 0, nearest control 0.2)" in sentence(found)


def test_what_is_the_same_as_served_is_called_so() -> None:
    assert on_raw(chat=0.0, raw=0.0).verdict == "SAME-LIKE"


def test_where_chat_shows_nothing_raw_completion_may() -> None:
    """Chat of which too little was answered has no say, and what it saw is no reason to say nothing of the weights."""
    found = on_raw(chat=0.05, raw=0.0, coverage={CHAT: 0.5})
    assert (found.verdict, found.judgement.ground) == ("SAME-WEIGHTS-LIKE", "raw alike, chat open")
    assert not found.judgement.decisive
    assert "That they answer alike as served is not shown" in sentence(found)


def test_weights_that_are_told_apart_are_not_called_the_same_however_near() -> None:
    """Another precision on a server that repeats itself is a difference; that it is a small one is told."""
    found = on_raw(chat=0.05, raw=0.001)
    assert (found.verdict, found.judgement.ground) == ("DIFFERENT-LIKE", "raw hardly differs")
    assert "in another precision, or lightly tuned" in sentence(found)
    far = on_raw(chat=0.05, raw=0.03)
    assert (far.verdict, far.judgement.ground) == ("DIFFERENT-LIKE", "answers differ")


def test_the_same_weights_take_controls_answers_and_a_test_that_sees_them() -> None:
    for found in (
        on_raw(chat=0.05, raw=0.0, controls=()),
        on_raw(chat=0.05, raw=0.0, coverage={RAW: 0.5}),
        on_raw(chat=0.05, raw=0.0, control=0.0),
    ):
        assert np.isnan(found.p_weights) or found.failed_check
        assert found.verdict != "SAME-WEIGHTS-LIKE"
    unshown = on_raw(chat=0.05, raw=0.0, way=0.5)
    assert (unshown.p_weights, unshown.verdict) == (1.0, "DIFFERENT-LIKE")
    assert unshown.judgement.ground == "only chat differs"


def test_tests_for_the_same_weights_are_corrected_among_themselves() -> None:
    """Ten pairs of which one just passes alone: the other two families are as they were."""
    one = on_raw(chat=0.05, raw=0.0)
    edge = [Finding("identity", "s", str(i), ("c",), 0.05, p_value=0.9, p_weights=0.03) for i in range(10)]
    assert [f.verdict for f in decide(edge[:1])] == ["SAME-WEIGHTS-LIKE"]
    many = decide([one, *edge])
    assert [f.verdict for f in many] == ["SAME-WEIGHTS-LIKE", *["INCONCLUSIVE"] * 10]
    assert many[0].p_weights_adjusted == pytest.approx(11 * one.p_weights)
    assert many[1].p_weights_adjusted == pytest.approx(0.3)
