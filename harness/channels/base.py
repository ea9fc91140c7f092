"""The reading room: answers without their reasoning, words, and similarities by prompt, shared by all channels.

An answer is taken apart at most once, whatever number of channels look at it: `answer` and `thoughts` keep where both
stand in the text (`Responses.cached`), not a copy of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.records import Responses, Sees, Similarity

Floats = NDArray[np.floating]
Item = TypeVar("Item")

# Scripts written without spaces (Thai to Khmer, kana, Han): one character is one word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[^\W{_UNSPACED}]+|[{_UNSPACED}]")
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


def find_reasoning(text: str) -> tuple[int, int, int, int] | None:
    """Where reasoning and answer stand in a text, as (start, end, start, end); None if all of it is answer.

    All up to the last closing mark is reasoning, also where the opening one is missing; a leading block that never
    closes is all reasoning. Left in, thoughts make all thinking models look like kin.
    """
    head = text[:60]
    if not ("<" in head or "hought" in head or "hinking" in head or any(h in text for h in _HINTS)):
        return None
    found = _THROUGH_LAST_CLOSE.match(text) or _HEADED.match(text) or _LEADING_OPEN.match(text)
    if found is None:
        return None
    start, end = found.end(), len(text)
    for wrapper in _WRAPPER.finditer(text[found.end() :]):  # at most one at either end
        if wrapper.start() == 0:
            start = found.end() + wrapper.end()
        else:
            end = found.end() + wrapper.start()
    return *_stripped(text, 0, found.end()), *_stripped(text, start, end)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The same stretch without white space at its ends."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), max(start, start + len(part.rstrip()))


def split_reasoning(text: str) -> tuple[str, str]:
    """(reasoning, answer) of a text that may carry its thoughts inline."""
    found = find_reasoning(text)
    return (text[found[0] : found[1]], text[found[2] : found[3]]) if found else ("", text)


def _reasoning_at(responses: Responses, row: int) -> tuple[int, int, int, int] | None:
    return find_reasoning(responses.text[row])


def answer(responses: Responses, row: int) -> str:
    """The text of one row, inline reasoning taken out."""
    found = responses.cached(_reasoning_at, row)
    return responses.text[row][found[2] : found[3]] if found else responses.text[row]


def thoughts(responses: Responses, row: int) -> str:
    """The reasoning of one row: what the server returned apart, else what stands in the text."""
    if apart := responses.reasoning[row].strip():
        return apart
    found = responses.cached(_reasoning_at, row)
    return responses.text[row][found[0] : found[1]] if found else ""


def answer_rows(responses: Responses, prompt: int, model: int) -> Iterator[int]:
    """Rows of the usable samples that say something besides reasoning."""
    for row in responses.usable(prompt, model):
        found = responses.cached(_reasoning_at, row)
        if found is None or found[2] < found[3]:
            yield row


def all_answers(responses: Responses, prompt: int, model: int) -> list[str]:
    """Every usable sample of one model's answer to one prompt, reasoning taken out."""
    return [answer(responses, row) for row in answer_rows(responses, prompt, model)]


def first_answer(responses: Responses, prompt: int, model: int) -> str | None:
    """The first usable sample, reasoning taken out."""
    return next((answer(responses, row) for row in answer_rows(responses, prompt, model)), None)


def first_answers(responses: Responses, prompts: Sequence[int]) -> list[list[str | None]]:
    """Answer text by prompt and model, (p, m), reasoning taken out: the first usable sample, or None."""
    return [[first_answer(responses, p, m) for m in range(len(responses.models))] for p in prompts]


def words(text: str, most: int | None = None) -> list[str]:
    """Lower-cased words, at most ``most``; single characters in scripts written without spaces."""
    if most is not None:
        text = text[: 16 * most]  # ample for so many words, and bounds the time
    found = _WORD.findall(text.lower())
    return found if most is None else found[:most]


def answered_share(responses: Responses, prompts: Sequence[int], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Coverage: the share of the prompts put to each model that it answered usably, (m,); NaN where none were put.

    ``usable`` is bool (p, m) over ``prompts``.
    """
    asked = responses.asked[list(prompts)]
    with np.errstate(invalid="ignore"):
        return np.where(asked.any(0), (usable & asked).sum(0) / np.maximum(asked.sum(0), 1), np.nan)


def numbered(lists: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Every word as a number, in the order in which words first occur, (all words,); and the words by number."""
    known = dict.fromkeys(chain.from_iterable(lists))
    number = dict(zip(known, range(len(known)), strict=True))
    ids = np.array(list(map(number.__getitem__, chain.from_iterable(lists))), dtype=np.int64)
    return ids, tuple(known)


def by_prompt(
    responses: Responses,
    prompts: Sequence[int],
    read: Callable[[int, int], Item | None],
    pairwise: Callable[[list[Item]], Floats],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Similarities (p, m, m) of what ``read(prompt, model)`` finds in the answers, and who had something, (p, m).

    ``pairwise`` gets what the k models that answered one prompt said and returns (k, k); its diagonal is ignored.
    """
    m = len(responses.models)
    values = np.full((len(prompts), m, m), np.nan, dtype=np.float32)
    usable = np.zeros((len(prompts), m), dtype=bool)
    for i, p in enumerate(prompts):
        found = {j: item for j in range(m) if (item := read(p, j)) is not None}
        at = list(found)
        usable[i, at] = True
        if len(at) > 1:
            values[i][np.ix_(at, at)] = pairwise(list(found.values()))
        np.fill_diagonal(values[i], np.nan)
    return values, usable


def similarity(
    responses: Responses,
    prompts: Sequence[int],
    values: Floats,
    usable: NDArray[np.bool_],
    *,
    channel: str,
    unit: str,
    sees: Sees,
) -> Similarity | None:
    """Similarity record of one channel; None where no prompt serves the channel or nobody answered usably."""
    if not len(prompts) or not usable.any():
        return None
    return Similarity(
        channel=channel,
        models=responses.models,
        prompts=tuple(responses.prompts[p].id for p in prompts),
        values=np.asarray(values, dtype=np.float32),
        coverage=answered_share(responses, prompts, usable),
        unit=unit,
        sees=sees,
    )


def cosines(vectors: Floats | csr_matrix) -> NDArray[np.float64]:
    """Cosine of every pair of rows, (k, k); 0 with a row of zeros."""
    if isinstance(vectors, csr_matrix):
        dots = np.asarray((vectors @ vectors.T).todense(), dtype=np.float64)
    else:
        dots = np.asarray(vectors @ vectors.T, dtype=np.float64)
    norm = np.sqrt(np.maximum(np.diag(dots), 0.0))
    scale = norm[:, None] * norm
    out: NDArray[np.float64] = np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)
    return out
