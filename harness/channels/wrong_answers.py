"""Channel `mistakes`: given that two models are both wrong, are they wrong in the same way?

Source: shared knowledge boundaries (KBF 2026, DuFFin 2025); error consistency (Geirhos et al. 2020), here over the
wrong answers themselves. Right answers are gaps: models that are right share the truth. A wrong answer that many give
weighs less. Robust to style and system prompts. Blind where models are right, or wrong in a popular way; a student
may take mistakes over from a teacher, hence "text".
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import by_prompt, first_answer, similarity, words
from harness.records import Prompt, Responses, Similarity

READS = ("text",)  # see `harness.channels.parallel`
Floats = NDArray[np.float64]

_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")
_SAID = re.compile(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*"|-?[\d.]+|true|false|null)', re.IGNORECASE)
_FINAL = re.compile(r"answer\W{0,3}[:：]\W*(\w[^\n]*)", re.IGNORECASE)
RIGHT: frozenset[str] = frozenset()  # nothing was said instead of the right answer


def mistakes(responses: Responses) -> Similarity | None:
    """Rarity-weighted overlap of wrong answers, (p, m, m) from 0; NaN where one of the two is right."""
    prompts = [p for p in responses.where("mistakes") if responses.prompts[p].fields.get("answer")]

    def read(p: int, m: int) -> frozenset[str] | None:
        text = first_answer(responses, p, m)
        text = final(text, responses.prompts[p]) if text else None
        return wrong_answer(text, responses.prompts[p]) if text else None

    values, usable = by_prompt(responses, prompts, read, same_mistakes)
    return similarity(responses, prompts, values, usable, channel="mistakes", unit="weighted overlap", sees="text")


def final(text: str, prompt: Prompt) -> str | None:
    """What follows the last "Answer:" where the prompt asks for such a line, else the text; None if cut before it."""
    if "answer: " not in prompt.text.casefold() or "json" in prompt.text.casefold():
        return text
    found = _FINAL.findall(text)
    return found[-1] if found else None


def wrong_answer(text: str, prompt: Prompt) -> frozenset[str]:
    """What was said instead of the right answer: a number, the value of a JSON key, or words; `RIGHT` if nothing."""
    accepted = [str(a).casefold() for a in prompt.fields["answer"]]
    said = _SAID.search(text)
    if said or "json" in prompt.text.casefold():
        value = _plain(said[1]) if said else ""
        return RIGHT if value in accepted else frozenset({value or "(no answer)"})
    plain = text.casefold().replace("’", "'")
    if any(_holds(plain, a) for a in accepted):
        return RIGHT
    numbers = _NUMBER.findall(plain)
    if numbers and all(_NUMBER.search(a) for a in accepted):
        return frozenset({numbers[0].replace(",", "").rstrip(".")})
    asked = set(words(prompt.text))
    return frozenset(w for w in words(text) if w not in asked) or frozenset({"(nothing new)"})


def _plain(value: str) -> str:
    try:
        return str(json.loads(value)).strip().casefold()
    except ValueError:
        return value.strip('" ').casefold()


def _holds(text: str, accepted: str) -> bool:
    """Whether an accepted answer stands in a text; digits and words not as part of longer ones."""
    left = r"(?<![\d.,])" if accepted[:1].isdigit() else r"(?<!\w)" if accepted[:1].isalpha() else ""
    right = r"(?!\d|[.,]\d)" if accepted[-1:].isdigit() else r"(?!\w)" if accepted[-1:].isalpha() else ""
    if accepted.startswith("n't"):
        left = ""
    return re.search(left + re.escape(accepted) + right, text) is not None


def same_mistakes(answers: Sequence[frozenset[str]]) -> Floats:
    """Shared rarity over the rarity of the union, (k, k); rarity is -log of the share of wrong models that say it."""
    k = len(answers)
    wrong = [i for i in range(k) if answers[i] != RIGHT]
    out = np.full((k, k), np.nan)
    df = Counter(w for a in answers for w in a)
    rarity = {w: float(np.log((1 + len(wrong)) / n)) for w, n in df.items()}
    for i in wrong:
        for j in wrong:
            union = sum(rarity[w] for w in answers[i] | answers[j])
            shared = sum(rarity[w] for w in answers[i] & answers[j])
            # Jaccard in rarity, times the mean rarity of what is shared: a common slip is weak evidence.
            out[i, j] = shared / union * shared / max(1, len(answers[i] & answers[j]))
    return out
