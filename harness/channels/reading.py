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
_TAGS = r"(?:think|thinking|thought|thoughts|reasoning|reflection|seed:think)"
_OPEN = rf"(?:<\|?{_TAGS}\|?>|<\|begin_of_thought\|>|◁think▷|\[THINK\])"
_CLOSE = rf"(?:</{_TAGS}>|<\|/{_TAGS}\|>|<\|end_of_thought\|>|◁/think▷|\[/THINK\])"
_THROUGH_LAST_CLOSE = re.compile(rf"\A.*{_CLOSE}", re.DOTALL | re.IGNORECASE)
_LEADING_OPEN = re.compile(rf"\A\s*{_OPEN}.*", re.DOTALL | re.IGNORECASE)


def split_reasoning(text: str) -> tuple[str, str]:
    """(reasoning, answer) of a text that may carry its thoughts inline.

    All up to the last closing mark is reasoning, also where the opening one is missing; a leading block that never
    closes is all reasoning. Left in, thoughts make all thinking models look like kin.
    """
    if not ("</" in text or "<" in text[:40] or "▷" in text or "|>" in text or "THINK]" in text):
        return "", text
    found = _THROUGH_LAST_CLOSE.match(text) or _LEADING_OPEN.match(text)
    return (found.group().strip(), text[found.end() :].strip()) if found else ("", text)


def words(text: str, most: int | None = None) -> list[str]:
    """Lower-cased words, at most ``most``; single characters in scripts written without spaces."""
    if most is not None:
        text = text[: 16 * most]  # ample for so many words, and bounds the time
    found = _WORD.findall(text.lower())
    return found if most is None else found[:most]


def answers(responses: Responses, prompts: Sequence[int]) -> list[list[str | None]]:
    """Answer text by prompt and model, reasoning taken out: the first usable sample, or None."""
    out: list[list[str | None]] = []
    for p in prompts:
        row: list[str | None] = []
        for m in range(len(responses.models)):
            texts = (split_reasoning(responses.text[r])[1] for r in responses.usable(p, m))
            row.append(next((t for t in texts if t.strip()), None))
        out.append(row)
    return out


def coverage(responses: Responses, prompts: Sequence[int], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the prompts put to each model that it answered usably, (m,); NaN where none were put.

    ``usable`` is bool (p, m) over ``prompts``.
    """
    asked = responses.asked[list(prompts)]
    with np.errstate(invalid="ignore"):
        return np.where(asked.any(0), (usable & asked).sum(0) / np.maximum(asked.sum(0), 1), np.nan)
