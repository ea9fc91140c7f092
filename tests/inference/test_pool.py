"""Which controls count: one a lineage and one a maker, none of the pair's own; chosen without a look at the pair."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import run_campaign, write
from harness.config.schema import Campaign
from harness.inference.assessment import assess
from harness.inference.findings import Caveat, Settings
from harness.inference.identity import find
from harness.inference.pool import Model, agreed_pool, controls_of, pool_for
from harness.records import ControlRule, Similarity
from harness.report.caveats import caveat
from harness.report.words import limits, sentence
from tests.inference.test_assessment import case

SETTINGS = Settings(0.05, 0.9, 99, 100, 1)
PAIR = [Model("s", "suspect", None, "Theirs"), Model("c", "candidate", "root", "Ours")]


def control(name: str, maker: str | None = None, root_maker: str | None = None, lineage: str | None = "") -> Model:
    return Model(name, "control", name if lineage == "" else lineage, maker, root_maker=root_maker)


def covered(models: list[Model], *shares: float, seed: int = 0) -> Similarity:
    """One channel, with the coverage of each model, pair first."""
    m, rng = len(models), np.random.default_rng(seed)
    values = rng.normal(0.3, 0.1, (40, m, m))
    values = np.triu(values, 1) + np.triu(values, 1).transpose(0, 2, 1)
    values[:, range(m), range(m)] = np.nan
    ids = tuple(f"q{i}" for i in range(40))
    coverage = np.array([*shares, *[1.0] * (m - len(shares))])
    return Similarity(
        "wording", tuple(x.name for x in models), ids, values.astype(np.float32), coverage, "cosine", "text"
    )


def names(controls: list[Model], rule: ControlRule = "one a maker") -> tuple[str, ...]:
    return tuple(m.name for m in controls_of(*PAIR, [*PAIR, *controls], rule))


def told(controls: list[Model], rule: ControlRule = "one a maker") -> dict[str, tuple[str, ...]]:
    return {c.kind: c.names for c in pool_for(*PAIR, [*PAIR, *controls], [], 0.0, rule).left_out}


def test_one_a_maker_and_none_of_the_pair_s() -> None:
    controls = [control("a1", "A"), control("a2", "a"), control("b", "B"), control("x", "OURS"), control("y", "theirs")]
    assert names(controls) == ("a1", "b")
    assert told(controls) == {"of the pair's makers": ("x", "y"), "maker counted already": ("a2",)}
    assert names(controls, "every lineage") == ("a1", "a2", "b", "x", "y")
    (repeat,) = pool_for(*PAIR, [*PAIR, *controls], [], 0.0, "every lineage").left_out
    assert repeat == Caveat("makers repeat", values=(5, 4))
    assert told([control("a", "A"), control("b", "B")], "every lineage") == {}


def test_who_made_the_root_is_a_maker_too() -> None:
    tune, base = control("tune", "Acme", "A"), control("base", "A")
    assert names([tune, base]) == ("tune",)
    assert names([control("kin", "Acme", "Ours"), base]) == ("base",)
    suspect = replace(PAIR[0], root_maker="A")
    assert controls_of(suspect, PAIR[1], [suspect, PAIR[1], tune, base, control("b", "B")]) == [control("b", "B")]


def test_an_unknown_maker_costs_no_control_and_is_told() -> None:
    controls = [
        control("u1"),
        control("u2"),
        control("a", "A"),
        control("u3", lineage=None),
        control("u4", lineage=None),
    ]
    assert names(controls) == ("u1", "u2", "a", "u3", "u4")  # nor does an unknown lineage
    pool = pool_for(*PAIR, [*PAIR, *controls], [], 0.0)
    assert pool.lineages == ("u1", "u2", "a", "u3", "u4")
    assert pool.left_out == (Caveat("makers unknown", names=("u1", "u2", "u3", "u4"), values=(4, 5)),)
    assert "the maker of 4 of 5 controls is unknown" in caveat(pool.left_out[0])


def test_of_several_the_best_covered_counts_and_of_equals_the_first() -> None:
    models = [*PAIR, control("a1", "A"), control("a2", "A"), control("a3", "A"), control("b", "B")]
    assert pool_for(*PAIR, models, [covered(models, 1, 1, 0.91, 0.95, 0.95)], 0.9).names == ("s", "c", "a2", "b")
    assert pool_for(*PAIR, models, [covered(models, 1, 1, 0.95, 0.95, 0.5)], 0.9).names == ("s", "c", "a1", "b")
    thin = pool_for(*PAIR, models, [covered(models, 1, 1, 0.5, 0.91, 0.5)], 0.9)
    assert thin.names == ("s", "c", "a2", "b")
    assert [c.names for c in thin.left_out] == [("a1",), ("a3",)]  # for their gaps, not for their maker


@given(
    makers=st.lists(st.sampled_from(["A", "B", "C", "Ours", None]), min_size=2, max_size=9),
    seed=st.integers(0, 99),
    low=st.integers(2, 10),
)
def test_the_choice_never_looks_at_what_was_said(makers: list[str | None], seed: int, low: int) -> None:
    """Other similarities of whatever pair leave the pool as it is, so the rank in it stays exact."""
    models = [*PAIR, *(control(f"k{i}", m) for i, m in enumerate(makers))]
    shares = [1.0] * len(models)
    shares[min(low, len(models) - 1)] = 0.93
    one, other = (agreed_pool(*PAIR, models, [covered(models, *shares, seed=s)], 0.9)[0] for s in (seed, seed + 1000))
    assert one == other
    chosen = [m for c in one.controls for m in c.makers]
    assert len(chosen) == len(set(chosen))
    assert "ours" not in chosen
    assert {m.casefold() for m in makers if m} - {"ours"} == set(chosen)  # no maker is lost
    assert sum(not c.makers for c in one.controls) == makers.count(None)


def houses(rng: np.random.Generator, kin: float) -> tuple[list[Model], Similarity]:
    """Sixteen controls of eight makers, two of each; models of one maker are as close as kin."""
    models = [*PAIR, *(control(f"k{i}", f"M{i // 2}") for i in range(16))]
    s = covered(models, seed=int(rng.integers(1 << 30)))
    values = s.values + np.float32(0)
    for i in range(2, 18, 2):
        values[:, i, i + 1] += 0.2
        values[:, i + 1, i] += 0.2
    values[:, 0, 1] += kin
    values[:, 1, 0] += kin
    return models, replace(s, values=values.astype(np.float32))


def test_makers_that_repeat_hide_kin_and_one_a_maker_finds_it() -> None:
    rng = np.random.default_rng(5)
    found: dict[tuple[str, float], int] = {}
    rules: tuple[ControlRule, ...] = ("one a maker", "every lineage")
    for kin in (0.0, 0.15):
        for _ in range(30):
            models, s = houses(rng, kin)
            for rule in rules:
                a = assess(*PAIR, models, [s], replace(SETTINGS, controls=rule))
                found[rule, kin] = found.get((rule, kin), 0) + (a.evidence[0].p <= 0.05)
    assert found["one a maker", 0.15] >= 28
    assert found["every lineage", 0.15] <= 10
    assert found["one a maker", 0.0] <= 5  # of 30 at 5 %


def test_too_few_makers_are_never_passed_over_in_silence() -> None:
    models = [*PAIR, control("a1", "A"), control("a2", "A"), control("x", "Ours")]
    a = assess(*PAIR, models, [covered(models)], SETTINGS)
    assert a.obstacle == Caveat("too few control lineages")
    said = [caveat(c) for c in a.caveats]
    assert [s for s in said if "a2" in s and "`analysis: controls: every lineage`" in s]
    assert [s for s in said if "x" in s and "maker of suspect or candidate" in s]
    assert assess(*PAIR, models, [covered(models)], replace(SETTINGS, controls="every lineage")).obstacle is None


def test_identity_keeps_the_siblings() -> None:
    """The sharpest control of "is it this very model" is one of the same maker."""
    plain = case(np.random.default_rng(1), 0.0, 0.0)
    same = tuple(replace(m, maker="Ours") for m in plain.models)
    assert find(replace(plain, suspect=same[0], candidate=same[1], models=same)).control_lineages == (
        "k0", "k1", "k2", "k3", "k4", "k5",
    )  # fmt: skip


def recorded(folder: Path, **analysis: Any) -> Campaign:
    """Nine models on 30 prompts: the kin of the candidate share its words, all others have their own."""
    rng = np.random.default_rng(3)
    own = {"suspect": "c", "kin": "c"}
    with (folder / "answers.csv").open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["model", "prompt_id", "prompt", "output"])
        for i in range(30):
            shared = [f"t{i}w{n}" for n in rng.integers(0, 20, 200)]
            for m in ("suspect", "c", "kin", "house", *(f"k{j}" for j in range(6))):
                stock = np.random.default_rng(sum(map(ord, own.get(m, m)))).integers(0, 3000, 40)
                words = [*rng.choice(shared, 20), *(f"v{n}" for n in rng.choice(stock, 20))]
                rows.writerow([m, f"q{i}", f"question {i}", " ".join(words)])
    place = {"kind": "recorded", "path": "answers.csv"}
    roles = [("suspect", "suspect", None), ("c", "candidate", "root"), ("kin", "relative", "root")]
    ends = [{"name": n, "role": r, "lineage": x, **place} for n, r, x in roles]
    ends.append({"name": "house", "role": "control", "lineage": "other", "maker": "Ours", **place})
    ends[1]["maker"] = "Ours"
    ends += [{"name": f"k{j}", "role": "control", "lineage": f"r{j}", "maker": f"M{j}", **place} for j in range(6)]
    return Campaign.model_validate(
        {"campaign": "t", "prompts": [{"set": "recorded"}], "endpoints": ends,
         "analysis": {"questions": ["kinship"], "bootstrap": 100, **analysis}}
    )  # fmt: skip


def test_relatives_are_shown_apart_and_never_counted(tmp_path: Path) -> None:
    config = recorded(tmp_path)
    scores = run_campaign(config, base=tmp_path)
    (found,) = scores.findings
    assert found.control_lineages == tuple(f"r{j}" for j in range(6))
    assert [s for s in limits(found) if "house" in s and "shown apart" in s]
    shown = {o.model: o for o in scores.observations if o.channel == "relatives" and o.what.endswith("in wording")}
    assert set(shown) == {"kin", "house"}
    kin, house = (float(shown[n].value.split()[1]) for n in ("kin", "house"))
    assert kin > 2 * house > 0
    assert "controls at most" in shown["kin"].value
    page = next(p for p in write(config, scores, base=tmp_path) if p.name == "report.html").read_text("utf-8")
    assert "Relatives of the accused" in page
    switched = recorded(tmp_path, controls="every lineage").model_copy(update={"campaign": "u"})
    (every,) = run_campaign(switched, base=tmp_path).findings
    assert every.control_lineages == ("other", *(f"r{j}" for j in range(6)))
    assert sentence(every) != sentence(found)


@pytest.mark.parametrize("kind", ["maker counted already", "of the pair's makers"])
def test_a_long_list_is_cut(kind: Any) -> None:
    said = caveat(Caveat(kind, names=tuple(f"m{i}" for i in range(12))))
    assert "m7 and 4 more" in said
    assert "m8" not in said
