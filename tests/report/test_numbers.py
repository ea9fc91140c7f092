"""No number seems to contradict its sentence: one scale, what was expected, intervals that are none, bounds."""

from __future__ import annotations

import doctest
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from harness.inference.assessment import assess
from harness.inference.breakdown import detail
from harness.inference.findings import NAN, ChannelEvidence, Finding, Settings
from harness.inference.pool import Model
from harness.inference.verdicts import different, related
from harness.records import Similarity
from harness.report import figures, numbers, words
from harness.report.terminal import findings_json, print_findings
from tests.support.drawn import marks, svg_of
from tests.support.results import read, results

NAMES = ("s", "c", *(f"k{i}" for i in range(6)))


def hubs(channel: str = "wording", seed: int = 0, closer: float = 0.08) -> Similarity:
    """Two controls are much like everybody, and so much like one another; suspect and candidate like nobody but each
    other. By similarity the hubs are closer, by excess the pair is."""
    rng = np.random.default_rng(seed)
    level = np.array([0.0, 0.0, 0.06, 0.06, 0.0, 0.01, 0.02, 0.0])
    values = 0.02 + level[:, None] + level + rng.normal(0, 0.01, (40, 8, 8))
    values[:, 0, 1] += closer
    values = np.triu(values, 1) + np.triu(values, 1).transpose(0, 2, 1)
    values[:, range(8), range(8)] = np.nan
    ids = tuple(f"q{i}" for i in range(40))
    return Similarity(channel, NAMES, ids, values.astype(np.float32), np.ones(8), "cosine", "text")


def judged(*similarities: Similarity) -> tuple[Finding, object]:
    models = [Model(n, r, n, n) for n, r in zip(NAMES, ("suspect", "candidate", *["control"] * 6), strict=True)]
    a = assess(models[0], models[1], models, similarities, Settings(0.05, 0.9, 99, 200, seed=1))
    blank = Finding("kinship", "s", "c", a.pool.lineages, 0.05, related({}, 0.05, ()), p_value=1 / 28, p_floor=1 / 28)
    f = replace(blank, effect=a.effect, effect_low=a.low, effect_high=a.high, evidence=a.evidence, log10_lr=1.0)
    return f, detail(a)


def test_a_pair_that_is_closer_exceeds_what_was_expected_though_hubs_are_more_alike() -> None:
    f, _ = judged(hubs())
    (e,) = f.evidence
    assert e.raw < e.control_high  # what seemed to contradict "closer than unrelated models"
    assert e.residual > e.peer_high * e.size > 0
    assert e.expected == pytest.approx(e.raw - e.residual)
    told = numbers.similarity(e)
    assert told.startswith(f"cosine {numbers.short(e.raw)}, expected {numbers.short(e.expected)}: +")
    assert "controls" not in told
    (row,) = read("evidence", results([f]))
    assert float(row["residual"]) > float(row["others_high"]) * float(row["residual"]) / float(row["effect"])
    assert float(row["similarity"]) == pytest.approx(float(row["expected"]) + float(row["residual"]), abs=1e-5)
    (record,) = json.loads(findings_json([f]))
    assert record["evidence"][0]["effect"] == pytest.approx(float(row["effect"]), rel=1e-4)


def test_one_effect_is_on_one_scale_in_tables_terminal_and_figures() -> None:
    f, found = judged(hubs())
    (row,) = read("summary", results([f]))
    (line,) = read("evidence", results([f]))
    assert row["effect"] == line["effect"]  # of one channel the verdict's effect is the channel's
    out = io.StringIO()
    print_findings([f], out)
    assert f"effect {numbers.short(f.effect)} [" in out.getvalue()
    forest = figures.forest(f)
    assert forest is not None
    assert marks(forest)[0].tip == f"wording: {numbers.effect(f)}"
    assert svg_of(forest).count("stroke-dasharray") == 1, "where 0 is"
    strip = figures.strip(found)  # type: ignore[arg-type]
    assert svg_of(strip.figure).count("stroke-dasharray") == 2
    accused = [m.tip for m in marks(strip.figure) if m.tip.startswith("s with c")]
    assert accused == [f"s with c: {f.effect:.2f}"] * 2
    prompts = read("prompts", replace(results([f]), details=(found,), responses=_asked()))
    assert {r["channel"] for r in prompts} == {"wording"}
    (channel,) = found.channels  # type: ignore[attr-defined]
    assert float(prompts[0]["contribution"]) == pytest.approx(
        channel.telling[0].contribution / channel.spread, rel=1e-4
    )


def _asked() -> object:
    from harness.records import Prompt, Responses

    return Responses.of(NAMES, [Prompt(f"q{i}", "Say.", "set") for i in range(40)], [])


def test_several_channels_and_the_verdict_are_on_one_scale() -> None:
    f, _ = judged(hubs(), hubs("style", seed=5, closer=0.02))
    scaled = [e.scaled(e.effect) for e in f.evidence]
    weights = [e.weight for e in f.evidence]
    assert f.effect == pytest.approx(np.average(scaled, weights=weights))


@pytest.mark.parametrize("seed", range(5))
def test_expected_orders_pairs_as_the_rank_does(seed: int) -> None:
    f, _ = judged(hubs(seed=seed, closer=0.0))
    (e,) = f.evidence
    first = e.p == pytest.approx(1 / 28)
    assert (e.residual > e.peer_high * e.size) == first


def ratio(low: float, value: float, high: float) -> Finding:
    f, _ = judged(hubs())
    edges = {"log10_lr_least": -1.2, "log10_lr_most": 2.11}
    return replace(f, log10_lr=value, log10_lr_low=low, log10_lr_high=high, ratio_channel="wording", **edges)


@pytest.mark.parametrize(
    ("low", "value", "high", "told", "span", "bound"),
    [
        (2.11, 2.11, 2.11, "2.11 or more", "a bound: the calibration supports no more", "most"),
        (-1.2, -1.2, -1.2, "-1.2 or less", "a bound: the calibration supports no less", "least"),
        (0.5, 2.11, 2.11, "2.11 or more", "[0.5, 2.11 or more]", "most"),
        (0.5, 1.0, 2.11, "1", "[0.5, 2.11 or more]", ""),
        (-1.2, 0.1, 1.0, "0.1", "[-1.2 or less, 1]", ""),
        (0.5, 1.0, 1.5, "1", "[0.5, 1.5]", ""),
        (NAN, 1.0, NAN, "1", "no interval", ""),
    ],
)
def test_a_bound_is_called_one(low: float, value: float, high: float, told: str, span: str, bound: str) -> None:
    f = ratio(low, value, high)
    assert (numbers.ratio(f), numbers.ratio_interval(f), f.bound) == (told, span, bound)
    (row,) = read("summary", results([f]))
    assert row["log10_lr_bound"] == bound
    assert ("its calibration goes" in words.sentence(f)) == bool(bound)
    out = io.StringIO()
    print_findings([f], out)
    assert told in out.getvalue()


def test_no_ratio_is_no_bound() -> None:
    f = replace(ratio(NAN, NAN, NAN), log10_lr_least=NAN, log10_lr_most=NAN)
    assert (f.bound, numbers.ratio(f)) == ("", "-")


def test_an_effect_without_an_interval_says_so() -> None:
    of = {"raw": 0.2, "control_low": 0.1, "control_high": 0.3, "effect": 18.7}
    e = ChannelEvidence("text", "samples", "MMD squared", 9, 1.0, **of)  # type: ignore[arg-type]
    told = different(["text (chat)"], [], only_chat=False)
    f = replace(judged(hubs())[0], question="identity", judgement=told, effect=18.7, evidence=(e,))
    f = replace(f, effect_low=NAN, effect_high=NAN)
    assert numbers.effect(f) == numbers.channel_effect(e) == "18.7 no interval"
    out = io.StringIO()
    print_findings([f], out)
    assert "MMD squared 0.2 (controls 0.1 to 0.3), effect 18.7 no interval" in out.getvalue()
    (row,) = read("summary", results([f]))
    assert (row["effect_interval"], row["effect_low"]) == ("none", "")


def test_examples_of_numbers_print_what_they_say() -> None:
    assert doctest.testmod(numbers).failed == 0
