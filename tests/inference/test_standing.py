"""Kinship stands only if it stands without what a wrapper makes alike, and on less of the answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from harness.channels.parallel import compare, load_channels, probes
from harness.channels.reading import read
from harness.inference.assessment import Compared, assess, bounds, loudest_left_out
from harness.inference.excess import max_null_p
from harness.inference.findings import Finding, Settings
from harness.inference.kinship import kinship
from harness.inference.likelihood import shipped_tables
from harness.inference.pool import Model
from harness.inference.questions import decide
from harness.records import Probe, Prompt, Response, Responses, Similarity
from harness.report.words import limits, sentence

SETTINGS = Settings(0.05, 0.9, 99, 50, seed=1)
CONTROLS, PROMPTS, WORDS = 8, 48, 40
VOCABULARY = [a + b for a in "ba de fi go ku la me ni po ru".split() for b in "lar mon tis vek zul".split()]  # noqa: SIM905
Change = Callable[[list[str], int, int, np.random.Generator], str]


def answers(change: Change, kin: float = 0.0) -> Responses:
    """A suspect m0, a candidate m1 and controls; each prompt has words of its own, each model its taste among them.

    ``kin`` is how much of m0's taste is m1's. ``change(words, model, prompt, rng)`` is what a host makes of an answer.
    """
    rng = np.random.default_rng(5)
    prompts = [
        Prompt(f"q{i}", "f", f"Number {i * 7919}, please?", channels=("wording", "verbatim")) for i in range(PROMPTS)
    ]
    names = [f"m{j}" for j in range(CONTROLS + 2)]
    said = []
    for i, p in enumerate(prompts):
        topic = rng.choice(len(VOCABULARY), 30, replace=False)
        tastes = rng.dirichlet(np.full(30, 0.3), len(names))
        tastes[0] = np.maximum(kin * tastes[1] + (1 - kin) * tastes[0], 0)
        tastes[0] /= tastes[0].sum()
        for j, name in enumerate(names):
            words = [VOCABULARY[k] for k in topic[rng.choice(30, WORDS, p=tastes[j])]]
            text = change(words, j, i, rng)
            said.append(Response(name, p.id, 0, "", "ok" if text else "empty", text))
    return Responses.of(names, prompts, said, asked=np.ones((PROMPTS, len(names)), dtype=bool))


def judged(responses: Responses, with_probes: bool = True) -> Finding:
    table = read(responses)
    roles = ("suspect", "candidate", *["control"] * CONTROLS)
    models = [Model(n, r, n) for n, r in zip(table.models, roles, strict=True)]
    found = compare(load_channels(("wording", "verbatim")), table)

    def measured(names: tuple[str, ...], channels: tuple[str, ...]) -> dict[str, Probe]:
        return probes(channels, table.among([table.models.index(n) for n in names]), 3, 1) if with_probes else {}

    assessed = assess(models[0], models[1], models, found, SETTINGS, measured)  # type: ignore[arg-type]
    return decide([kinship(assessed, lambda _: [], shipped_tables(), SETTINGS)])[0]


def plain(words: list[str], model: int, prompt: int, rng: np.random.Generator) -> str:
    return " ".join(words)


def rewritten(words: list[str], model: int, prompt: int, rng: np.random.Generator) -> str:
    """One proxy in front of both puts its own words in for some, everywhere."""
    jargon = [f"{w}{end}" for w in VOCABULARY for end in ("ly", "ness")]
    return " ".join(rng.choice(jargon) if model < 2 and rng.random() < 0.6 else w for w in words)


def emptied(share: float, words: list[str], model: int, prompt: int, rng: np.random.Generator) -> str:
    return "" if model == 0 and rng.random() < share else " ".join(words)


def test_kin_are_found_and_strangers_are_not() -> None:
    assert judged(answers(plain, kin=0.6)).verdict == "KIN-OR-TAUGHT"
    assert judged(answers(plain)).verdict in ("UNRELATED-LIKE", "INCONCLUSIVE")


def test_a_proxy_that_rewrites_both_makes_no_kin() -> None:
    bare, found = judged(answers(rewritten), with_probes=False), judged(answers(rewritten))
    assert bare.p_value <= 0.05
    assert found.verdict != "KIN-OR-TAUGHT"
    assert any("even on unlike prompts" in limit for limit in limits(found))
    assert judged(answers(rewritten, kin=0.8)).p_value < found.p_value


def test_a_few_loud_prompts_carry_no_verdict() -> None:
    """The same cached pages behind both, for eight of the questions, changed enough to be no copies."""

    def cached(words: list[str], model: int, prompt: int, rng: np.random.Generator) -> str:
        if model > 1 or prompt >= 8:
            return " ".join(words)
        page = np.random.default_rng(prompt).permutation(VOCABULARY)[:30]
        return " ".join(w if rng.random() < 0.9 else words[0] for w in page)

    found = judged(answers(cached))
    assert judged(answers(cached), with_probes=False).p_value <= found.p_value
    assert found.judgement.ground == "does not stand"
    assert "without the few prompts that speak most for it" in sentence(found)
    assert np.isnan(found.log10_lr)


@pytest.mark.parametrize("share", [0.12, 0.3])
def test_missing_answers_do_not_hide_kin(share: float) -> None:
    found = judged(answers(partial(emptied, share), kin=0.8))
    assert found.verdict == "KIN-OR-TAUGHT"
    assert not any("answered only 0%" in limit for limit in limits(found))


def test_missing_answers_do_not_clear_either() -> None:
    found = judged(answers(partial(emptied, 0.4), kin=-0.05))
    assert found.judgement.ground == "gaps decide"
    assert found.p_value > 0.05 >= found.p_least


def test_half_of_the_answers_or_fewer_are_too_few() -> None:
    found = judged(answers(partial(emptied, 0.6), kin=0.9))
    assert "no channel has enough usable answers" in sentence(found)


def pool(pair: float, missing: int = 0) -> Compared:
    """A channel of six models in which the first two are closer on every prompt by ``pair``."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 0.05, (40, 6, 6)).astype(np.float32)
    values = np.triu(values, 1) + np.triu(values, 1).transpose(0, 2, 1)
    values[:, [0, 1], [1, 0]] += pair
    values[:missing, 0, :] = values[:missing, :, 0] = np.nan
    values[:, range(6), range(6)] = np.nan
    names = tuple("abcdef")
    coverage = np.array([1 - missing / 40, 1, 1, 1, 1, 1.0])
    return Compared.of(
        Similarity("wording", names, tuple(map(str, range(40))), values, coverage, "cosine", "text"), names
    )


def test_bounds_hold_the_effect_and_widen_with_the_gaps() -> None:
    whole, few, many = pool(0.05), pool(0.05, 6), pool(0.05, 16)
    assert bounds(whole) == (whole.matrix[0, 1], whole.matrix[0, 1])
    widths = []
    for c in (few, many):
        low, high = bounds(c)
        assert low < c.matrix[0, 1] < high
        widths.append(high - low)
    assert (few.missing, many.missing) == (6, 16)
    assert widths[1] > 2 * widths[0]


def test_what_speaks_loudest_is_left_out() -> None:
    c = pool(0.0)
    left = loudest_left_out(c)
    assert np.allclose(left, left.T, equal_nan=True)
    assert left[0, 1] < c.matrix[0, 1]
    steady = loudest_left_out(pool(0.1))
    assert max_null_p(steady, steady[0, 1]) == pytest.approx(1 / 15)
