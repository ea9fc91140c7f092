"""The benchmark of identity in stages stops where a difference is plain, and asks everything where there is none."""

from __future__ import annotations

import numpy as np

from benchmarks.identity import MIXED, SAMPLES, draw_pair, staged
from harness.channels.kernels import spectrum
from harness.plan import stage_sizes

PROMPTS = 32
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdgknt"]


def pools() -> list[list[str]]:
    """Answers of sixteen models to each prompt, of five words each."""
    rng = np.random.default_rng(1)
    return [[" ".join(rng.choice(WORDS, 5)) for _ in range(2 * MIXED)] for _ in range(PROMPTS)]


def outcome(share: float, seed: int) -> tuple[bool, bool, int]:
    a, b = draw_pair(pools(), share, np.random.default_rng(seed), PROMPTS)
    return staged([(spectrum(x + y), len(x)) for x, y in zip(a, b, strict=True)], 500, seed)


def test_a_swap_is_found_at_the_first_stage_and_in_full() -> None:
    assert outcome(1.0, 1) == (True, True, stage_sizes(PROMPTS)[0])


def test_the_same_endpoint_is_asked_everything() -> None:
    found = [outcome(0.0, seed) for seed in range(4)]
    assert [at for *_, at in found].count(PROMPTS) >= 3
    assert sum(early for _, early, _ in found) <= 1


def test_each_prompt_has_as_many_samples_as_the_table_counts_calls() -> None:
    a, b = draw_pair(pools(), 0.5, np.random.default_rng(1), PROMPTS)
    assert {len(x) for x in (*a, *b)} == {SAMPLES}
    assert len(a) == len(b) == PROMPTS
