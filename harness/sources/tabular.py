"""Rows of a table to answers: samples in lists, parts of messages, ratings, thoughts; what is not text is an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from harness.endpoints import ESCAPED, count, parsed, read_cell
from harness.records import Surface
from harness.sources.calls import conversation, reply_in
from harness.sources.cells import at, is_blank, not_text, opened, text_of, texts_in
from harness.sources.columns import Layout, column_values
from harness.sources.entries import Entry, Found, Role, Row, Skipped

_LOOKED_AT = 300  # cells of which it is guessed whether they are lists
MOST_CHARS = 2_000_000  # of one answer


def read_table(source: str, rows: Sequence[Row], layout: Layout, model: str) -> Iterator[Found]:
    """Answers of a table in a layout; ``model`` is whose they are where neither row nor column says so.

    `ConfigError` where answers are no text: with their type, and with the paths of the texts in them.
    """
    lists = {column for _, column in layout.outputs if _are_lists(rows, column)}
    for row in rows:
        if _is_other(row, layout):
            continue
        for column in text_of(row.get(ESCAPED)).split():  # an export of ours
            row = {**row, column: text_of(row.get(column)).removeprefix("'")}
        yield from _answers(source, row, layout, model, lists)


def other_rows(rows: Sequence[Row], layout: Layout) -> list[Row]:
    """Rows of JSON lines that have none of the columns which a layout reads as prompt and answer."""
    return [row for row in rows if _is_other(row, layout)]


def _is_other(row: Row, layout: Layout) -> bool:
    read = (
        c for c in (layout.roles.get("prompt"), layout.roles.get("prompt_id"), *(c for _, c in layout.outputs)) if c
    )
    return all(c not in row and at(row, c) is None for c in read)


def _answers(source: str, row: Row, layout: Layout, model: str, lists: set[str]) -> Iterator[Found]:
    found = {role: at(row, column) for role, column in layout.roles.items()}
    prompt, system = _prompt(source, row, found, layout)
    if prompt is None and is_blank(found.get("prompt_id")):
        yield Skipped("no prompt", _short(row, layout))
        return
    own = text_of(found.get("model")).strip()
    columns = Counter(named for named, _ in layout.outputs)
    place: Counter[str | None] = Counter()
    for named, column in layout.outputs:
        several, number_of_column = columns[named] > 1, place[named]
        place[named] += 1
        name = named or own or ("" if "model" in layout.roles else model)
        value = at(row, column)
        if value is None or value != value or (is_blank(value) and (layout.shape == "wide" or several)):
            yield Skipped("no answer", name)
        elif not name:
            yield Skipped("no model", _short(row, layout))
        else:
            samples = _samples(source, column, value, as_list=column in lists)
            for number, (text, thoughts, scales) in enumerate(samples):
                given = count(found.get("sample"))
                sample = number_of_column if several else number if len(samples) > 1 else given
                if len(text) > MOST_CHARS:
                    yield Skipped("too long", name)
                else:
                    yield _entry(name, prompt, system, text, thoughts, sample, scales, found)


def _entry(
    model: str, prompt: str | None, system: str, text: str, thoughts: str, sample: int | None,
    scales: tuple[str, ...], found: Mapping[Role, Any],
) -> Entry:  # fmt: skip
    apart = read_cell(found.get("reasoning"))
    surface: Surface = "completion" if found.get("surface") == "completion" else "chat"
    logprobs = found.get("logprobs")
    identity = text_of(found.get("prompt_id")).strip()
    return Entry(
        model=model,
        prompt=prompt,
        output=text,
        prompt_id=identity or None,
        sample=sample,
        system=system,
        surface=surface,
        reasoning=apart.thoughts or apart.answer or thoughts,
        refusal=text_of(found.get("refusal")),
        finish_reason=text_of(found.get("finish_reason")),
        prompt_tokens=count(found.get("prompt_tokens")),
        completion_tokens=count(found.get("completion_tokens")),
        logprobs=None if is_blank(logprobs) else _packed(logprobs),
        scales=_listed(found.get("scales")) or scales,
        channels=_listed(found.get("channels")),
    )


def _packed(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()


def _listed(value: Any) -> tuple[str, ...]:
    """Names in a cell: a list, or a text with commas or spaces between them."""
    value = opened(value)
    if isinstance(value, list):
        return tuple(text_of(v).strip() for v in value if not is_blank(v))
    text = text_of(value)
    parts = text.split(",") if "," in text else text.split()
    return tuple(p.strip() for p in parts if p.strip())


def _prompt(source: str, row: Row, found: Mapping[Role, Any], layout: Layout) -> tuple[str | None, str]:
    """The prompt as text, None if there is none, and the system prompt."""
    value = found.get("prompt")
    system = read_cell(found.get("system")).answer
    if is_blank(value):
        return None, system
    if asked := conversation(value):
        return asked[0].prompt, asked[0].system or system
    text = text_of(value)
    if isinstance(value, list | dict):
        inside = [t for _, t in texts_in(value)]
        text = read_cell(value).answer or (inside[0] if len(inside) == 1 else "")
        if not text:
            raise not_text(source, layout.roles["prompt"], value, "prompt")
    more = text_of(row.get(layout.inputs)).strip() if layout.inputs else ""
    return (f"{text}\n\n{more}" if more else text), system


def _samples(source: str, column: str, value: Any, *, as_list: bool) -> list[tuple[str, str, tuple[str, ...]]]:
    """The answers of one cell: text, thoughts, and the scales that it rates on."""
    if as_list and isinstance(value, str):
        value = parsed(value)
    if isinstance(value, list) and value and all(isinstance(v, str | None) for v in value):
        return [(v, "", ()) for v in value if v is not None]
    if texts := _draws(value):
        return [(text, "", ()) for text in texts]
    if isinstance(value, str):
        inside = parsed(value) if value.strip()[:1] in ("{", "[") else None
        if isinstance(inside, dict) and (reply := reply_in(inside)):
            return [(s.answer, s.thoughts, ()) for s in reply.samples]
        said = read_cell(value)
        return [(said.answer, said.thoughts, _rated(inside))]
    if isinstance(value, list | dict):
        return _of_structure(source, column, value)
    if isinstance(value, bytes):
        raise not_text(source, column, value)
    return [(text_of(value), "", ())]


def _draws(value: Any) -> list[str]:
    """Texts of samples that stand with something beside each, ``[{"text": ..., "logprob": ...}, ...]``; parts of one
    message have a type, or nothing beside."""
    if not isinstance(value, list) or len(value) < 2:
        return []
    if not all(isinstance(v, dict) and len(v) > 1 and "type" not in v and "role" not in v for v in value):
        return []
    key = next((k for k in ("text", "output", "response", "completion", "generation", "answer") if k in value[0]), "")
    texts = [v.get(key) for v in value]
    return [t for t in texts if isinstance(t, str)] if all(isinstance(t, str) for t in texts) else []


def _of_structure(source: str, column: str, value: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    if reply := reply_in(value):
        return [(s.answer, s.thoughts, ()) for s in reply.samples]
    if (talk := conversation(value)) and talk[1]:
        return [(talk[1], talk[2], ())]
    if scales := _rated(value):
        return [("\n".join(f"{k}: {text_of(value[k])}" for k in scales), "", scales)]
    said = read_cell(value)
    if not said.answer.strip() and not said.thoughts:
        raise not_text(source, column, value)
    return [(said.answer, said.thoughts, ())]


def _rated(value: Any) -> tuple[str, ...]:
    """The scales of an answer that is nothing but numbers by name."""
    if not isinstance(value, dict) or len(value) < 2:
        return ()
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in value.values())
    return tuple(map(str, value)) if numbers else ()


def _are_lists(rows: Sequence[Row], column: str) -> bool:
    """Whether texts in a column are lists of samples that a table wrote out: all are, and all of one length."""
    cells = [v for v in column_values(rows[:_LOOKED_AT], column) if not is_blank(v)]
    if not cells or not all(isinstance(v, str) and v.strip()[:1] == "[" for v in cells):
        return False
    lists = [parsed(v) for v in cells]
    return all(isinstance(v, list) and len(v) > 1 and all(isinstance(x, str) for x in v) for v in lists) and (
        len({len(v) for v in lists}) == 1
    )


def _short(row: Row, layout: Layout) -> str:
    """The first text of a row, to find it by."""
    return next((text_of(v)[:60] for v in row.values() if isinstance(v, str) and v.strip()), "")
