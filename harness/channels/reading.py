"""What every channel does first: take the answers apart from reasoning, cut them into words, count what is usable."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.responses import Responses

# Scripts written without spaces (Thai to Khmer, kana, Han): one character is one word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+")
_TAGS = r"(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|inner_monologue|seed:think)"
_OPEN = (
    rf"(?:<\|?{_TAGS}\|?>|<\|begin_of_thought\|>|◁think▷|\[THINK\]|<\|channel\|>(?:analysis|thought)"
    r"|[#*\s]*(?:Thinking|Thinking Process|Thought Process)(?:\.\.\.|…|:|\*\*)[*\s:]*\n)"
)
_CLOSE = (
    rf"(?<!`)(?:</{_TAGS}>|<\|/{_TAGS}\|>|<\|end_of_thought\|>|◁/think▷|\[/THINK\]|\.\.\.done thinking\.?"
    r"|<\|channel\|>final<\|message\|>|assistantfinal)"
)
_HEADED = re.compile(  # some print headings for marks
    r"\A[#*\s]*(?:Thinking|Thinking process|Thought process)[*:]*\s*\n.*?"
    r"\n[#*\s]*(?:Final )?(?:Answer|Response)\b[*\s:]*",
    re.DOTALL | re.IGNORECASE,
)
_HINTS = ("</", "▷", "|>", "THINK]", "done thinking", "assistantfinal")
_WRAPPER = re.compile(
    r"\A\s*(?:<answer>|<output>|<\|begin_of_solution\|>)|(?:</answer>|</output>|<\|end_of_solution\|>|<\|return\|>)\s*\Z"
)
_THROUGH_LAST_CLOSE = re.compile(rf"\A.*{_CLOSE}", re.DOTALL | re.IGNORECASE)
_LEADING_OPEN = re.compile(rf"\A\s*{_OPEN}.*", re.DOTALL | re.IGNORECASE)


def split_reasoning(text: str) -> tuple[str, str]:
    """(reasoning, answer) of a text that may carry its thoughts inline.

    All up to the last closing mark is reasoning, also where the opening one is missing; a leading block that never
    closes is all reasoning. Left in, thoughts make all thinking models look like kin.
    """
    head = text[:60]
    if not ("<" in head or "hought" in head or "hinking" in head or any(h in text for h in _HINTS)):
        return "", text
    found = _THROUGH_LAST_CLOSE.match(text) or _HEADED.match(text) or _LEADING_OPEN.match(text)
    return (found.group().strip(), _WRAPPER.sub("", text[found.end() :]).strip()) if found else ("", text)


def words(text: str, most: int | None = None) -> list[str]:
    """Lower-cased words, at most ``most``; single characters in scripts written without spaces."""
    if most is not None:
        text = text[: 16 * most]  # ample for so many words, and bounds the time
    found = _WORD.findall(text.lower())
    return found if most is None else found[:most]


def all_answers(responses: Responses, prompt: int, model: int) -> list[str]:
    """Every usable sample of one answer, reasoning taken out."""
    texts = (split_reasoning(responses.text[r])[1] for r in responses.usable(prompt, model))
    return [t for t in texts if t.strip()]


def first_answer(responses: Responses, prompt: int, model: int) -> str | None:
    """The first usable sample, reasoning taken out."""
    return next(iter(all_answers(responses, prompt, model)), None)


def answers(responses: Responses, prompts: Sequence[int]) -> list[list[str | None]]:
    """Answer text by prompt and model, reasoning taken out: the first usable sample, or None."""
    return [[first_answer(responses, p, m) for m in range(len(responses.models))] for p in prompts]


def coverage(responses: Responses, prompts: Sequence[int], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the prompts put to each model that it answered usably, (m,); NaN where none were put.

    ``usable`` is bool (p, m) over ``prompts``.
    """
    asked = responses.asked[list(prompts)]
    with np.errstate(invalid="ignore"):
        return np.where(asked.any(0), (usable & asked).sum(0) / np.maximum(asked.sum(0), 1), np.nan)
