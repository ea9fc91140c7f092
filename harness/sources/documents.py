"""JSON of any layout as rows: JSON lines, arrays, one document behind another, tables by column, texts by model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from harness.config import guessed
from harness.errors import ConfigError
from harness.sources.entries import Row

_DEEPEST = 3  # objects in objects that are searched for rows
_DECODER = json.JSONDecoder(strict=False)  # takes NaN, and a line break inside a text


def json_rows(text: str, path: str) -> list[Row]:
    """Objects of a JSON text, whatever holds them; a document of its own is one row, for a tool's log may be one.

    NaN and Infinity, which Python writes, are read. `ConfigError` names the line that is no JSON.
    """
    first = text.lstrip()[:200_000].partition("\n")[0]
    documents = list(_lines(text, path) if _reads(first) else _one_by_one(text, path))
    return list(_rows(documents[0] if len(documents) == 1 else documents))


def _reads(line: str) -> bool:
    try:
        return isinstance(_read(line), dict)
    except (ValueError, RecursionError):
        return False


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _DECODER.decode(text.strip())


def _lines(text: str, path: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield _read(line)
        except (ValueError, RecursionError) as e:
            said = getattr(e, "msg", None) or type(e).__name__
            raise ConfigError(f"{path}:{number}: {said}", "each line must be one JSON object; is the file cut?") from e


def _one_by_one(text: str, path: str) -> Iterator[Any]:
    place, end = 0, len(text)
    while place < end:
        while place < end and (text[place].isspace() or text[place] in ",\x1e"):
            place += 1
        if place == end:
            return
        try:
            value, place = _DECODER.raw_decode(text, place)
        except json.JSONDecodeError as e:
            raise ConfigError(f"{path}:{e.lineno}: {e.msg}", "the JSON is broken there; is the file cut?") from e
        except RecursionError as e:
            raise ConfigError(f"{path}: nested too deep", "this is no table of answers") from e
        yield value


def _rows(value: Any) -> Iterator[Row]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list) and value and all(isinstance(v, list) for v in value):
        names = [str(v) for v in value[0]]
        yield from (dict(zip(names, row, strict=False)) for row in value[1:])
    elif isinstance(value, list):
        yield from (v if isinstance(v, dict) else {"text": v} for v in value)


def expanded(document: Row, depth: int = 0) -> list[Row]:
    """Rows in a document that no tool is known to write; empty if there is nothing of the kind.

    A list of objects under any key (the longest, with the plain values beside it), columns with lists, a table as
    pandas writes it, or texts by model and prompt.
    """
    if {"columns", "data"} <= document.keys() and isinstance(document["data"], list):
        return list(_rows([document["columns"], *document["data"]]))
    values = list(document.values())
    if len(values) > 1 and all(isinstance(v, list) for v in values) and len({len(v) for v in values}) == 1:
        return [dict(zip(document, row, strict=True)) for row in zip(*values, strict=True)]
    lists = [(len(v), k) for k, v in document.items() if isinstance(v, list) and v and isinstance(v[0], dict)]
    if lists:
        beside = {k: v for k, v in document.items() if isinstance(v, str | int | float)}
        return [beside | row for row in document[max(lists)[1]] if isinstance(row, dict)]
    if values and all(isinstance(v, dict) for v in values) and (table := _by_column(document) or _by_model(document)):
        return table
    inside = [v for v in values if isinstance(v, dict)] if depth < _DEEPEST else []
    return max((expanded(v, depth + 1) for v in inside), key=len, default=[])


def _by_column(document: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """A table as ``DataFrame.to_json`` writes it: under each column the rows by their number."""
    keys = list(next(iter(document.values())))
    if not keys or not all(k.isdecimal() for k in keys) or any(list(v) != keys for v in document.values()):
        return []
    return [{name: column[k] for name, column in document.items()} for k in keys]


def _by_model(document: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Texts by model and prompt, or by prompt and model: models have names that are known, or the shorter ones."""
    inner = dict.fromkeys(k for v in document.values() for k in v)
    if min(len(document), len(inner)) < 2 or not all(
        isinstance(x, str | list) for v in document.values() for x in v.values()
    ):
        return []
    outer_first = _like_models(list(document)) >= _like_models(list(inner))
    pairs = ((a, b, text) for a, under in document.items() for b, text in under.items())
    return [
        {"model": a, "prompt": b, "output": text} if outer_first else {"model": b, "prompt": a, "output": text}
        for a, b, text in pairs
    ]


def _like_models(names: list[str]) -> tuple[float, float]:
    known = sum(bool(guessed(n).name) and " " not in n for n in names) / max(1, len(names))
    return known, -sum(map(len, names)) / max(1, len(names))
