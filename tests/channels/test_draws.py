"""Independent draws: copies are left out and told, and honest samples that agree are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.channels.draws import independent_draws
from harness.records import Prompt, Response, Responses

MODELS = ("red", "green", "blue", "grey")
PROMPTS = 16
Samples = Callable[[int], Sequence[str]]
RNG = np.random.default_rng(5)


def words(count: int) -> str:
    return " ".join(f"w{w}" for w in RNG.integers(0, 500, count))


def drawn(count: int, samples: int = 3) -> Samples:
    """Samples of so many words, each drawn by itself."""
    return lambda _: [words(count) for _ in range(samples)]


def short(samples: int = 3, likely: float = 0.6) -> Samples:
    """One word, mostly the same."""
    return lambda p: ["Paris" if RNG.random() < likely else f"city{RNG.integers(99)}" for _ in range(samples)]


def table(odd: Samples, others: Samples, ids: Callable[[int, int], str] = lambda p, s: "", **prompt: Any) -> Responses:
    """Answers of "red" by ``odd``, of three more endpoints by ``others``."""
    prompts = [Prompt(f"q{i}", "f", "?", channels=("wording",), samples=6, **prompt) for i in range(PROMPTS)]
    found = []
    for m in MODELS:
        for p in range(PROMPTS):
            for s, text in enumerate((odd if m == "red" else others)(p)):
                found.append(Response(m, f"q{p}", s, "h", "ok", text, response_id=ids(p, s) if m == "red" else ""))
    return Responses.of(MODELS, prompts, found)


def left(responses: Responses, model: int = 0) -> list[int]:
    return [len(responses.rows(p, model)) for p in range(PROMPTS)]


def told(responses: Responses) -> list[tuple[str, str, int]]:
    return [(r.model, r.kind, r.answers) for r in independent_draws(responses)[1]]


@pytest.mark.parametrize("honest", [drawn(40), drawn(7), short(), short(5, 0.9), short(2, 1.0)])
def test_honest_samples_stay(honest: Samples) -> None:
    responses = table(honest, honest if honest(0) != ["Paris", "Paris"] else short(2, 0.9))
    assert independent_draws(responses) == (responses, ())


@pytest.mark.parametrize("count", [40, 7, 1])
@pytest.mark.parametrize("times", [2, 3])
def test_rows_written_twice_are_one_answer(count: int, times: int) -> None:
    responses = table(lambda p: [t for t in drawn(count, 2)(p) for _ in range(times)], drawn(40))
    kept, removals = independent_draws(responses)
    assert left(kept) == [2] * PROMPTS
    assert [(r.model, r.kind, r.answers) for r in removals] == [
        ("red", "rows written twice", 2 * PROMPTS * (times - 1))
    ]
    assert left(kept, 1) == [3] * PROMPTS
    assert kept.cell(0)[1] == "red"
    assert kept.text[kept.rows(3, 0)[1]] == responses.text[responses.rows(3, 0)[times]]


def test_short_rows_written_twice_in_a_whole_file() -> None:
    twice: Samples = lambda p: [t for t in short(1)(p) for _ in range(2)]  # noqa: E731
    assert {(m, k) for m, k, _ in told(table(twice, twice))} == {(m, "rows written twice") for m in MODELS}


def test_equal_long_answers_are_no_draws() -> None:
    def half(p: int) -> list[str]:
        one, two = words(40), words(40)
        return [one, one, two] if p % 2 else [one, two, words(40)]

    kept, removals = independent_draws(table(half, drawn(40)))
    assert left(kept) == [3, 2] * (PROMPTS // 2)
    assert (removals[0].kind, removals[0].answers, removals[0].of) == ("equal draws", PROMPTS // 2, 3 * PROMPTS)


def test_an_answer_cache_is_one_draw_where_all_others_vary() -> None:
    cache: Samples = lambda p: [f"city{p}"] * 3  # noqa: E731
    assert told(table(cache, short(3, 0.2))) == [("red", "equal draws", 2 * PROMPTS)]
    assert told(table(cache, short(3, 0.97))) == []  # others agree as well: it may be what models say


def test_a_cache_shows_in_ids() -> None:
    same: Samples = lambda p: [f"city{p}", f"city{p}", f"town{p % 3}"]  # noqa: E731
    responses = table(same, short(), ids=lambda p, s: f"id-{p}-{s // 2}")
    assert told(responses) == [("red", "equal draws", PROMPTS)]
    assert told(table(same, short(), ids=lambda p, s: f"id-{p}-{s}")) == []
    assert told(table(same, short(), ids=lambda p, s: "chatcmpl-1")) == []  # a server that counts nothing


def test_a_greedy_answer_is_asked_for_and_not_told() -> None:
    greedy: Samples = lambda p: [f"{p} " * 40] * 3  # noqa: E731
    responses = table(greedy, drawn(40), temperature=0.0)
    assert independent_draws(responses) == (responses, ())


def test_a_part_without_rows_keeps_its_columns() -> None:
    responses = replace(table(drawn(3), drawn(3)), prompt_tokens=list(range(3 * PROMPTS * len(MODELS))))
    kept = responses.without([0, 5, 6])
    assert list(kept.prompt_tokens) == [i for i in range(3 * PROMPTS * len(MODELS)) if i not in (0, 5, 6)]
    assert [kept.cell(r) for r in range(9)] == [responses.cell(r) for r in range(12) if r not in (0, 5, 6)]
