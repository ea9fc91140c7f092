"""Channel `choices`: do two models pick the same things equally often when told to pick at random?

Source: one-token priors (Bruckner 2026, "One Token Is Enough"; fpverify) and random strings (FLIPS); 1 - Jensen-Shannon
divergence (Lin 1991) of answer distributions over samples. Low-entropy habits that see identity and close kinship
cheaply. Robust to case, spaces, punctuation and answers cut short (beginnings are compared). Not robust to another
temperature or system prompt; modes that everyone shares (42, blue) are left to centring. Says nothing of teachers.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import all_answers, by_prompt, similarity, words
from harness.records import Responses, Similarity

READS = ("text",)  # see `harness.channels.parallel`
Floats = NDArray[np.float64]

START_CHARS = 4  # as the alleles of PhyloLM; four tokens may cut a longer word
START_WORDS = 2


def choices(responses: Responses) -> Similarity | None:
    """1 - Jensen-Shannon divergence (base 2) of what was chosen, (p, m, m) in [0, 1]; mean of three views."""
    prompts = responses.where("choices")
    values, usable = by_prompt(responses, prompts, lambda p, m: chosen(responses, p, m), mean_overlap)
    return similarity(responses, prompts, values, usable, channel="choices", unit="1 - JSD", sees="text")


def chosen(responses: Responses, prompt: int, model: int) -> list[str] | None:
    """All samples of an answer, normalised; None without any."""
    return [normalised(t) for t in all_answers(responses, prompt, model)] or None


def normalised(text: str) -> str:
    """Case, width, spaces and punctuation taken out; what is nothing but punctuation stays as it is."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(words(plain)) or plain.strip()


def start_chars(answer: str) -> list[str]:
    """View: the first characters, as one allele."""
    return [answer.replace(" ", "")[:START_CHARS]]


def start_words(answer: str) -> list[str]:
    """View: the first words, as one allele."""
    return [" ".join(answer.split(" ")[:START_WORDS])]


def letter_pairs(answer: str) -> list[str]:
    """View: pairs of neighbouring characters, for strings too long to recur whole."""
    return [answer[i : i + 2] for i in range(max(1, len(answer) - 1))]


VIEWS: tuple[Callable[[str], list[str]], ...] = (start_chars, start_words, letter_pairs)


def mean_overlap(samples: Sequence[Sequence[str]]) -> Floats:
    """Mean over the views of 1 - JSD, (k, k), for k models with one or more answers each."""
    total = np.mean([overlap(frequencies(samples, view)) for view in VIEWS], axis=0)
    return np.asarray(total, dtype=np.float64)


def frequencies(samples: Sequence[Sequence[str]], view: Callable[[str], list[str]]) -> Floats:
    """Relative frequency of each allele, (k, alleles); rows sum to 1."""
    counts = [Counter(allele for answer in mine for allele in view(answer)) for mine in samples]
    column = {a: i for i, a in enumerate(sorted(set().union(*counts)))}
    out = np.zeros((len(counts), len(column)))
    for row, count in enumerate(counts):
        for allele, n in count.items():
            out[row, column[allele]] = n
    shares: Floats = out / out.sum(1, keepdims=True)
    return shares


def overlap(table: Floats) -> Floats:
    """1 - Jensen-Shannon divergence, base 2, of every pair of rows, (k, k)."""

    def plogp(x: Floats) -> Floats:
        return np.asarray(np.where(x > 0, x * np.log2(np.where(x > 0, x, 1.0)), 0.0).sum(-1))

    own = plogp(table)
    out = np.ones((len(table), len(table)))
    for a in range(len(table)):
        mixed = plogp((table[a] + table) / 2)
        out[a] = 1.0 - ((own[a] + own) / 2 - mixed)
    return out
