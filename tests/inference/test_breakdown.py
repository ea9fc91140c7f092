"""What the report shows of single prompts is of those prompts, also where the pair left some unanswered."""

from __future__ import annotations

import numpy as np

from harness.inference.assessment import Compared
from harness.inference.breakdown import contributions, telling
from harness.records import Similarity

NAMES = ("suspect", "candidate", *(f"c{i}" for i in range(6)))
PROMPTS = tuple(f"q{i:02}" for i in range(30))
LOUDEST, GAPS = 20, (0, 1, 2, 7, 19)


def compared() -> Compared:
    """A channel in which the pair is close on one prompt, and has no answers to some before it."""
    rng, n = np.random.default_rng(1), len(NAMES)
    values = rng.normal(0.3, 0.02, (len(PROMPTS), n, n))
    values[LOUDEST, 0, 1] = values[LOUDEST, 1, 0] = 0.9
    values = np.triu(values, 1)
    values += values.transpose(0, 2, 1)
    values[:, range(n), range(n)] = np.nan
    values[list(GAPS), 0, :] = values[list(GAPS), :, 0] = np.nan
    whole = Similarity("wording", NAMES, PROMPTS, values.astype(np.float32), np.ones(n), "cosine", "text")
    return Compared.of(whole, NAMES)


def test_the_loudest_prompt_is_named_though_others_before_it_have_no_answer() -> None:
    first = telling(compared(), 3)[0]
    assert first.prompt == PROMPTS[LOUDEST]
    assert first.similarity > 0.85


def test_prompts_rows_and_contributions_go_together() -> None:
    c = compared()
    assert c.prompts == tuple(p for i, p in enumerate(PROMPTS) if i not in GAPS)
    assert len(c.prompts) == len(c.values) == len(c.residuals) == len(contributions(c))
    assert c.prompts[int(np.nanargmax(contributions(c)))] == PROMPTS[LOUDEST]
