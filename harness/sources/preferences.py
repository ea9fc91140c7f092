"""Files of comparisons: two answers a row (arenas, judges), a list of them (UltraFeedback), in turns (FastChat)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.endpoints import read_cell
from harness.sources.calls import conversation
from harness.sources.cells import opened, text_of
from harness.sources.entries import Asked, Entry, Found, Row, Skipped

_SIDES = (("a", "b"), ("1", "2"), ("left", "right"))
_MODELS = ("model", "generator", "model_name", "model_id")
_ANSWERS = ("response", "output", "answer", "conversation", "completion", "messages", "text")
_PROMPTS = ("prompt", "instruction", "question", "input", "query", "user_prompt", "full_conversation")


def _sided(row: Row, words: tuple[str, ...], side: str) -> str:
    """The column of one side: ``model_a``, ``generator_1``, ``left_response``; "" if there is none."""
    plain = {re.sub(r"[^a-z0-9]+", "_", str(k).casefold()): k for k in row}
    return next((plain[n] for w in words for n in (f"{w}_{side}", f"{w}{side}", f"{side}_{w}") if n in plain), "")


def _sides(row: Row) -> tuple[str, str] | None:
    for pair in _SIDES:
        if all(_sided(row, _MODELS, s) and _sided(row, _ANSWERS, s) for s in pair):
            return pair
    return None


def is_pair(row: Row) -> bool:
    """Whether a row holds answers of two named models to one prompt."""
    return _sides(row) is not None


def read_pairs(rows: Iterable[Row]) -> Iterator[Found]:
    """Both answers of every row; of a conversation the first answer, for what follows depends on it."""
    for row in rows:
        sides = _sides(row)
        if sides is None:
            yield Skipped("no answer")
            continue
        asked = next((row[k] for k in _PROMPTS if row.get(k) is not None), None)
        for side in sides:
            value, model = opened(row[_sided(row, _ANSWERS, side)]), text_of(row[_sided(row, _MODELS, side)])
            yield _one(value, asked, model)


def _list_of(row: Row) -> str:
    """The column with a list of answers, each with its model's name; "" if there is none."""
    for column, value in row.items():
        first = value[0] if isinstance(value := opened(value), list) and value else None
        if isinstance(first, dict) and _first_of(first, _MODELS) and _first_of(first, _ANSWERS) is not None:
            return column
    return ""


def _first_of(found: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((found[k] for k in names if found.get(k) is not None), None)


def is_list(row: Row) -> bool:
    """Whether a row holds a prompt and a list of answers of named models."""
    return bool(_list_of(row)) and _first_of(row, _PROMPTS) is not None


def read_lists(rows: Iterable[Row]) -> Iterator[Found]:
    """Every answer of the list in each row."""
    for row in rows:
        answers = opened(row.get(_list_of(row)))
        if not isinstance(answers, list):
            yield Skipped("no answer")
            continue
        for answer in (a for a in answers if isinstance(a, dict)):
            model = text_of(_first_of(answer, _MODELS))
            yield _one(opened(_first_of(answer, _ANSWERS)), _first_of(row, _PROMPTS), model)


def _one(value: Any, asked: Any, model: str) -> Found:
    found = conversation(_first_answer(value))
    if found is not None and found[1]:
        return Entry(model, found[0].prompt, found[1], system=found[0].system, reasoning=found[2])
    prompt = opened(asked)
    if isinstance(value, list) and isinstance(prompt, list) and value and prompt:  # turns, as two lists
        value, prompt = value[0], prompt[0]
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    said, question = read_cell(value), conversation(prompt)
    if not model:
        return Skipped("no model")
    if value is None:
        return Skipped("no answer", model)
    text = question[0].prompt if question else read_cell(prompt).answer
    return Entry(model, text or None, said.answer, reasoning=said.thoughts)


def _first_answer(value: Any) -> Any:
    """A conversation up to the first answer."""
    if not isinstance(value, list):
        return value
    roles = [str(m.get("role") or m.get("from") or "").lower() if isinstance(m, dict) else "" for m in value]
    end = next((i + 1 for i, role in enumerate(roles) if role in ("assistant", "model", "gpt")), len(value))
    return value[:end]


def is_turns(row: Row) -> bool:
    """Whether a row is one of FastChat: questions in turns, or answers in turns by choice."""
    choices = row.get("choices")
    answered = isinstance(choices, list) and any(isinstance(c, dict) and "turns" in c for c in choices)
    return "question_id" in row and (answered or isinstance(row.get("turns"), list))


def read_turns(rows: Iterable[Row], name: str) -> Iterator[Found]:
    """First turns of FastChat's answers, and the questions that another file calls by ``question_id``."""
    for row in rows:
        prompt_id = text_of(row["question_id"])
        if isinstance(turns := row.get("turns"), list) and turns:
            first = turns[0]
            yield Asked(prompt_id, str(first.get("content", "")) if isinstance(first, dict) else str(first))
            continue
        model = text_of(row.get("model_id") or row.get("model")) or name
        choices = [c for c in row.get("choices") or () if isinstance(c, dict) and c.get("turns")]
        if not choices:
            yield Skipped("no answer", prompt_id)
        for number, choice in enumerate(choices):
            first = choice["turns"][0]
            said = read_cell(first if not isinstance(first, dict) else first.get("content"))
            sample = number if len(choices) > 1 else None
            yield Entry(model, None, said.answer, prompt_id, sample=sample, reasoning=said.thoughts)
