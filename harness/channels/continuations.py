"""Channel `continuations`: do two models carry a broken-off sentence on with the same words?

Source: PhyloLM (Yax et al. 2025): contexts as genes, first characters as alleles, Nei's genetic similarity (Nei 1972).
Sees shared weights, without logprobs. Robust to system prompts and chat templates, which do not reach raw prompts, and
to answers cut short. Coarse with few samples a prompt: 60 prompts with 4 samples see kinship, 12 with 2 see nothing
(benchmarks/channels.md). Wants temperature 1; blind where prompts go through chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import by_prompt, cosines, moved, similarity
from harness.channels.choices import chosen, frequencies, start_chars
from harness.records import Probe, Responses, Similarity

READS = ("text",)  # see `harness.channels.parallel`
Floats = NDArray[np.float64]


def continuations(responses: Responses) -> Similarity | None:
    """Nei similarity of the distributions of first characters and first words, (p, m, m) in [0, 1]."""
    prompts = responses.where("continuations")
    values, usable = by_prompt(responses, prompts, lambda p, m: chosen(responses, p, m), nei)
    return similarity(responses, prompts, values, usable, channel="continuations", unit="Nei", sees="weights")


def probe(responses: Responses, rounds: int, rng: np.random.Generator) -> Probe | None:
    """`continuations` in one pool, with ``rounds`` placebos: each model's samples of other prompts."""
    whole, prompts = continuations(responses), responses.where("continuations")
    if whole is None:
        return None
    shifts = [moved(len(prompts), len(responses.models), rng) for _ in range(rounds)]
    return Probe(whole, tuple(replace(whole, values=_moved(responses, prompts, by)) for by in shifts if by is not None))


def _moved(responses: Responses, prompts: Sequence[int], by: NDArray[np.int64]) -> NDArray[np.float32]:
    at = {p: i for i, p in enumerate(prompts)}
    values, _ = by_prompt(
        responses, prompts, lambda p, m: chosen(responses, prompts[(at[p] + int(by[m])) % len(prompts)], m), nei
    )
    return values


def first_word(answer: str) -> list[str]:
    """View: the first word, as one allele."""
    return answer.split(" ")[:1]


def nei(samples: Sequence[Sequence[str]]) -> Floats:
    """Nei's similarity of every pair of k models with one or more answers each, (k, k); mean of two kinds of allele.

    With p and q the frequencies of alleles: sum of p q over the root of the sums of p squared and of q squared.
    """
    return (cosines(frequencies(samples, start_chars)) + cosines(frequencies(samples, first_word))) / 2
