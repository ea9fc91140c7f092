"""Cells of strangers' tables: text, paths into nested values, and errors that name a type and the path to its text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import ConfigError

_DEEPEST = 12
_LISTED = 5  # paths in an error


def at(row: Any, path: str) -> Any:
    """The value at a dotted path: a column of that very name first, else key by key; None where there is none.

    Examples
    --------
    >>> at({"response": {"choices": [{"text": "Paris"}]}}, "response.choices.0.text")
    'Paris'
    >>> at({"attributes": {"gen_ai.completion.0.content": "Paris"}}, "attributes.gen_ai.completion.0.content")
    'Paris'
    """
    if isinstance(row, Mapping) and path in row:
        return row[path]
    keys, value = path.split("."), row
    while keys:
        value = opened(value)
        if isinstance(value, Mapping):  # a key may hold points itself: the longest that is there
            ends = (n for n in range(len(keys), 0, -1) if ".".join(keys[:n]) in value)
            if (end := next(ends, 0)) == 0:
                return None
            value, keys = value[".".join(keys[:end])], keys[end:]
        elif isinstance(value, list) and keys[0].isdecimal() and int(keys[0]) < len(value):
            value, keys = value[int(keys[0])], keys[1:]
        else:
            return None
    return value


def opened(value: Any) -> Any:
    """A value that is written as JSON in a text, read; everything else as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return value
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return value


def is_blank(value: Any) -> bool:
    """Whether a cell is empty: nothing, not a number, or a text without a visible character."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def text_of(value: Any) -> str:
    """A plain cell as text, whole numbers without the point that a spreadsheet adds; "" where it is empty."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    return value if isinstance(value, str) else str(value)


def texts_in(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Paths of all texts in a nested value, with the text."""
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        yield path, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield from texts_in(inside, f"{path}.{key}" if path else str(key), depth + 1)


def type_of(value: Any) -> str:
    """The type of a value in a reader's words.

    Examples
    --------
    >>> type_of({"a": 1}), type_of([{"a": 1}]), type_of(b"x")
    ('an object', 'a list of objects', 'bytes')
    """
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        kinds = {type_of(v).split(" ", 1)[-1] for v in value}
        return f"a list of {'s and '.join(sorted(kinds))}s" if kinds else "an empty list"
    return {bytes: "bytes", bool: "true or false", int: "a number", float: "a number", str: "a text"}.get(
        type(value), type(value).__name__
    )


def not_text(source: str, column: str, value: Any, role: str = "output") -> ConfigError:
    """The error for a column that should be text and is not: its type, and the paths of the texts in it."""
    value = opened(value)
    found = sorted(texts_in(value, column), key=lambda f: -len(f[1]))
    paths = ", ".join(f"--{role}-column {p}" for p, _ in found[:_LISTED])
    hint = (
        f"name the text in it, the longest first: {paths}" if paths else "there is no text in it: name another column"
    )
    return ConfigError(f"{source}: column {column!r} holds {type_of(value)}, not text", hint)
