"""Teaching: valid under its null, sees a pupil, and tells it from kin only by a channel that sees weights."""

from __future__ import annotations

import numpy as np
import pytest

from harness.channels.stylometry import habit_counts, opening_counts
from harness.inference.excess import max_null_p, smallest_p
from harness.inference.findings import Caveat, ChannelEvidence, Finding, Settings
from harness.inference.pool import Model
from harness.inference.questions import decide
from harness.inference.teaching import habit_similarity, judge, lean, power, powers, s_norm, teaching
from harness.inference.verdicts import taught
from harness.records import Prompt, Response, Responses, Similarity
from harness.report.words import limits, sentence

SETTINGS = Settings(0.05, 0.9, 199, 100, 0)


def counts(m: int, taught: float, seed: int, blocks: int = 8) -> np.ndarray:
    """Bigram counts of m models; model 0 leans to the habits of model 1."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(2.0, 1.0, (m, 300)) * rng.gamma(1.0, 1.0, 300)
    rates[0] = (1 - taught) * rates[0] + taught * rates[1]
    out: np.ndarray = rng.poisson(rates, (blocks, m, 300)).astype(np.float32)
    return out


def find(m: int, taught: float, seed: int = 0) -> Finding:
    models = [Model("s", "suspect", None), Model("c", "candidate", "root")]
    models += [Model(f"k{i}", "control", f"r{i}") for i in range(m - 2)]
    return teaching(models[0], models[1], models, [counts(m, taught, seed)], [x.name for x in models], [], [], SETTINGS)


def test_null_is_valid() -> None:
    p = []
    for seed in range(400):
        e = lean(habit_similarity(counts(10, 0.0, seed, 1)), habit_similarity(counts(10, 0.0, 1000 + seed, 1)))
        p.append(max_null_p(e, e[0, 1]))
    assert np.mean(np.array(p) <= 0.1) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 400)


def test_controls_without_text_channels_are_missing() -> None:
    assert sentence(find(12, 0.8)).startswith("Cannot tell: fewer than two control")


@pytest.mark.parametrize(
    ("text", "evidence", "verdict"),
    [
        (0.01, [], "KIN-OR-TAUGHT"),
        (0.01, [0.01], "KIN-LIKE"),
        (0.01, [0.8], "TAUGHT-LIKE"),
        (0.01, [0.3], "KIN-OR-TAUGHT"),
        (0.01, [0.04, 0.9], "KIN-OR-TAUGHT"),
        (0.30, [0.8], "INCONCLUSIVE"),
        (float("nan"), [], "INCONCLUSIVE"),
    ],
)
def test_only_weights_tell_derived_from_taught(text: float, evidence: list[float], verdict: str) -> None:
    seen = {f"channel {i}": p for i, p in enumerate(evidence)}
    assert taught(text, seen, 0.05).verdict == verdict


def table(m: int) -> Responses:
    rng = np.random.default_rng(0)
    taste = rng.dirichlet(np.full(40, 0.3), m)
    taste[0] = 0.3 * taste[0] + 0.7 * taste[1]
    prompts = [Prompt(f"p{i}", "f", "", channels=("wording",)) for i in range(30)]
    texts = [Response(f"m{j}", p.id, 0, "", "ok", " ".join(f"w{w}" for w in rng.choice(40, 60, p=taste[j])))
             for p in prompts for j in range(m)]  # fmt: skip
    return Responses.of([f"m{j}" for j in range(m)], prompts, texts)


def asked() -> tuple[list[Model], list[np.ndarray], Responses, Similarity]:
    """Twelve models, the first a pupil of the second, with their habits, their answers and how alike these are."""
    from harness.channels.wording import wording

    answers = table(12)
    models = [Model("m0", "suspect", None), Model("m1", "candidate", "r1")]
    models += [Model(f"m{i}", "control", f"r{i}") for i in range(2, 12)]
    found = wording(answers)
    assert found is not None
    habits = [habit_counts(answers), opening_counts(answers)]
    return models, habits, answers, found


def test_a_pupil_is_seen_through_the_whole_path() -> None:
    models, habits, answers, found = asked()
    assert [h.shape[:2] for h in habits] == [(20, 12), (20, 12)]
    finding = teaching(models[0], models[1], models, habits, answers.models, [found], [], SETTINGS)
    judged = decide([finding])[0]
    assert judged.verdict == "KIN-OR-TAUGHT"
    assert judged.p_value == pytest.approx(2 / (12 * 11))
    assert judged.effect_low < judged.effect < judged.effect_high
    few = teaching(models[0], models[1], models[:5], habits, answers.models, [found], [], SETTINGS)
    assert "takes 5" in sentence(decide([few])[0])


def rows() -> np.ndarray:
    """Cosines of ten models as they come, with gaps."""
    out = habit_similarity(counts(10, 0.5, 3))
    out[2, 5] = out[5, 2] = np.nan
    return out


def test_another_order_of_the_models_is_the_same_matrix_in_that_order() -> None:
    """So the accused pair is a random pair under the null, and its rank among all pairs is exact."""
    rng = np.random.default_rng(0)
    tables = [counts(9, 0.4, 1), counts(9, 0.0, 2)]
    plain = lean(*map(habit_similarity, tables))
    for _ in range(20):
        order = rng.permutation(9)
        moved = lean(*(habit_similarity(t[:, order]) for t in tables))
        assert np.allclose(moved, plain[np.ix_(order, order)], atol=1e-6, equal_nan=True)
        with_gaps = np.ix_([*order, 9], [*order, 9])
        assert np.allclose(s_norm(rows()[with_gaps]), s_norm(rows())[with_gaps], equal_nan=True)
    assert np.isfinite(plain[0, 1])
    assert np.allclose(plain, plain.T, equal_nan=True)


def test_s_norm_is_the_mean_of_two_z_scores_that_leave_the_pair_out() -> None:
    e = rows()
    normed = s_norm(e)
    for i, j in ((0, 1), (3, 7), (2, 4)):
        others = [np.delete(e[a], [i, j]) for a in (i, j)]
        z = [(e[i, j] - np.nanmean(o)) / np.nanstd(o) for o in others]
        assert normed[i, j] == pytest.approx(np.mean(z), abs=1e-6)
    assert np.isnan(normed[2, 5])
    assert np.isnan(normed.diagonal()).all()


def test_in_a_pool_of_four_opposite_pairs_stay_equal() -> None:
    for seed in range(50):
        e = lean(habit_similarity(counts(4, 0.0, seed)), habit_similarity(counts(4, 0.0, 100 + seed)))
        assert max_null_p(e, e[0, 1]) >= smallest_p(2) - 1e-12


def test_a_kind_of_habit_in_which_all_are_alike_changes_nothing() -> None:
    e, flat = habit_similarity(counts(8, 0.5, 0)), habit_similarity(np.ones((4, 8, 5)))
    assert np.allclose(lean(e, flat), lean(e), equal_nan=True)


def beginning(text: str) -> Responses:
    prompts = [Prompt(f"p{i}", "f", "", channels=("wording",)) for i in range(4)]
    said = [Response(m, p.id, 0, "", "ok", t) for p in prompts for m, t in (("a", text), ("b", "No. I can not."))]
    return Responses.of(["a", "b"], prompts, said)


def test_openings_are_the_first_words_of_the_models_own_answer() -> None:
    found = opening_counts(beginning("Sure, here is one: a list of things, and no more."), blocks=2)
    assert found.shape == (2, 2, 6)  # "sure", "sure here", "sure here is", and the same of the other
    assert found.sum(0).tolist() == [[4, 4, 4, 0, 0, 0], [0, 0, 0, 4, 4, 4]]
    thought = opening_counts(beginning("<think>Well, what now?</think>Sure, here is one: a list."), blocks=2)
    assert thought.tolist() == found.tolist()
    assert opening_counts(beginning("Sure."), blocks=1)[0, 0].tolist() == [4, 0, 0, 0]
    assert opening_counts(beginning(""), blocks=1)[0, 0].tolist() == [0, 0, 0]


def test_the_power_of_the_test_is_told_with_every_answer() -> None:
    models, habits, answers, found = asked()
    for suspect, candidate, pool in ((0, 1, models), (5, 6, models), (0, 1, models[:5])):
        others = [m if i not in (suspect, candidate) else Model(m.name, "other", m.lineage)
                  for i, m in enumerate(pool)]  # fmt: skip
        controls = [Model(m.name, "control", m.lineage or "r0") for i, m in enumerate(others)
                    if i not in (suspect, candidate)]  # fmt: skip
        pair = (Model(f"m{suspect}", "suspect", None), Model(f"m{candidate}", "candidate", "x"))
        f = decide([teaching(*pair, [*pair, *controls], habits, answers.models, [found], [], SETTINGS)])[0]
        told = f.told("power")
        assert told is not None
        measured = power(len(f.control_lineages), f.prompts, f.alpha)
        assert told.values[:3] == (measured.found, measured.low, measured.high)
        text = next(line for line in limits(f) if "this test" in line)
        if len(controls) < 5:
            assert "with 3 control lineages this test finds no pupil at 0.05" in text
        else:
            assert f"found {100 * measured.found:.0f} in 100" in text
            assert f"with {measured.controls} controls and {measured.prompts} prompts" in text


def test_the_power_is_that_of_conditions_which_are_not_better() -> None:
    assert all(0 <= r.low <= r.found <= r.high <= 1 and r.strangers <= r.alpha for r in powers())
    assert {r.alpha for r in powers()} == {0.05, 0.01}
    for controls, prompts, alpha in ((19, 100, 0.05), (18, 399, 0.04), (40, 5000, 0.2), (13, 32, 0.01)):
        r = power(controls, prompts, alpha)
        assert r.controls <= controls
        assert r.prompts <= prompts
        assert r.alpha <= alpha
    assert power(8, 100, 0.01).high == 0  # 8 controls allow no p of .01
    assert power(16, 10, 0.05).prompts == min(r.prompts for r in powers())  # fewer than were measured


def taught_finding(p_ratings: float, *kinds: str) -> Finding:
    ratings = ChannelEvidence("ratings", "weights", "product", 50, 1.0, p=p_ratings)
    caveats = tuple(Caveat(k, names=("c", "s")) for k in kinds)  # type: ignore[arg-type]
    return Finding("teaching", "s", "c", ("k",) * 16, 0.05, p_value=0.01, p_adjusted=0.01, p_floor=0.006,
                   caveats=caveats, evidence=(ratings,))  # fmt: skip


@pytest.mark.parametrize("kind", ["only one thinks", "one may think"])
def test_where_one_thinks_the_silence_of_weights_makes_no_pupil(kind: str) -> None:
    assert judge(taught_finding(0.8)).verdict == "TAUGHT-LIKE"
    unheard = judge(taught_finding(0.8, kind))
    assert (unheard.verdict, unheard.ground) == ("KIN-OR-TAUGHT", "silence unheard")
    assert judge(taught_finding(0.01, kind)).verdict == "KIN-LIKE"  # close in spite of it is close
    assert judge(taught_finding(0.3, kind)).ground == "text alone"
    text = sentence(decide([taught_finding(0.8, kind)])[0])
    assert "c thinks before it answers" in text
    assert "its silence does not tell a pupil from kin" in text


def test_a_silent_model_is_no_evidence() -> None:
    silent = counts(8, 0.0, 0)
    silent[:, 0] = 0
    assert np.isnan(habit_similarity(silent)[0]).all()
