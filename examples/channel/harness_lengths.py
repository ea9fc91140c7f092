"""Channel `lengths`: do two models answer a prompt at the same length?

An example of a channel from outside. Length is a habit of post-training and says nothing of weights; it was measured on
nothing, so it is reported only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import by_prompt, first_answer, similarity, words
from harness.records import Responses, Similarity

PER_PROMPT = True  # each prompt is treated by itself, so prompts may be spread over processes


def lengths(responses: Responses) -> Similarity | None:
    """Minus the absolute log ratio of words, (p, m, m); 0 is the same length. None without prompts for `wording`."""
    prompts = responses.where("wording")

    def read(prompt: int, model: int) -> int | None:
        text = first_answer(responses, prompt, model)
        return len(words(text)) or None if text else None  # a gap, not a zero

    values, usable = by_prompt(responses, prompts, read, alike)
    return similarity(responses, prompts, values, usable, channel="lengths", unit="-|log ratio|", sees="reported")


def alike(counts: Sequence[int]) -> NDArray[np.float64]:
    """Similarity of k answers with so many words, (k, k)."""
    logs = np.log(np.asarray(counts, dtype=np.float64))
    return -np.abs(logs[:, None] - logs)
