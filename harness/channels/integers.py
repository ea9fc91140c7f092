"""Channel `integers`: which numbers does a model write when it is asked for a long list of random ones?

Source: one request of some 300 integers tells many models apart (ModelTrace 2026); answer distributions compared by
1 - Jensen-Shannon divergence (Lin 1991). One cheap call. Robust to layout and to a list cut short; another temperature
moves it, and a model that runs code or counts upwards shows nothing. Reported only: it has one prompt.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import by_prompt, first_answer, similarity
from harness.channels.choices import frequencies, overlap
from harness.records import Responses, Similarity

READS = ("text",)  # see `harness.channels.parallel`
Floats = NDArray[np.float64]

LEAST = 40  # numbers, with fewer of which there is no habit to see
MOST = 600  # that are looked at
_NUMBER = re.compile(r"(?<![\w.])\d{1,4}(?![\w]|\.\d)")
_LISTED = re.compile(r"^\s*\d{1,3}[.):]\s+", re.MULTILINE)  # the number of a line is not one of those asked for


def integers(responses: Responses) -> Similarity | None:
    """1 - Jensen-Shannon divergence (base 2) of the numbers written, (p, m, m) in [0, 1]; mean of four views."""
    prompts = responses.where("integers")
    values, usable = by_prompt(responses, prompts, lambda p, m: written(first_answer(responses, p, m)), mean_overlap)
    return similarity(responses, prompts, values, usable, channel="integers", unit="1 - JSD", sees="reported")


def written(text: str | None) -> list[int] | None:
    """The integers of an answer, in order; None with fewer than `LEAST`.

    Examples
    --------
    >>> written("1. 427\\n2. 13\\n" * 20)[:3], written("42, 7") is None
    ([427, 13, 427], True)
    """
    found = [int(n) for n in _NUMBER.findall(_LISTED.sub("", text or ""))][:MOST]
    return found if len(found) >= LEAST else None


def whole(numbers: Sequence[int]) -> list[str]:
    """View: the numbers themselves."""
    return [str(n) for n in numbers]


def endings(numbers: Sequence[int]) -> list[str]:
    """View: last two digits."""
    return [f"{n % 100:02d}" for n in numbers]


def beginnings(numbers: Sequence[int]) -> list[str]:
    """View: first digit, and how many there are."""
    return [f"{str(n)[0]}/{len(str(n))}" for n in numbers]


def steps(numbers: Sequence[int]) -> list[str]:
    """View: from one number to the next, in hundreds."""
    return [str((b - a) // 100) for a, b in itertools.pairwise(numbers)]


VIEWS: tuple[Callable[[Sequence[int]], list[str]], ...] = (whole, endings, beginnings, steps)


def mean_overlap(lists: Sequence[Sequence[int]]) -> Floats:
    """Mean over the views of 1 - JSD, (k, k), for k models with a list each."""
    views = [overlap(frequencies([view(numbers) for numbers in lists], lambda seen: [seen])) for view in VIEWS]
    return np.asarray(np.mean(views, axis=0), dtype=np.float64)
