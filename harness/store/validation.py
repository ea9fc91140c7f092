"""Validation of stores that somebody else wrote: every row is checked before one of them is believed."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from harness.errors import StoreError
from harness.records import Prompt, Response, request_hash
from harness.store.store import COLUMNS, NOTES, Store

Whole = Annotated[int, Meta(ge=0, le=2**53)]  # counts, positions and samples
_Status = Annotated[int, Meta(ge=0, le=999)]
_Seconds = Annotated[float, Meta(ge=0, le=1e12)]
_BOUNDED: Mapping[Any, Any] = {int: Whole, int | None: Whole | None, float: _Seconds}
_KEY = {"endpoint": str, "prompt": str, "sample": Whole, "request_hash": str}
_NOTE = {
    **_KEY,
    "name": str,
    "fingerprint": str,
    "json": str,
    "source": str,
    "kind": str,
    "status": _Status | None,
    "message": str,
    "at": str,
    "number": Whole,
    "wait": float | None,
    "started_at": str,
}
_FIELDS = {f.name for f in fields(Prompt)}
_HINTS = get_type_hints(Response)
_NEEDED: Mapping[str, Mapping[str, Any]] = {
    "meta": {"key": str, "value": str},
    "prompts": {"id": str, "position": Whole, "json": str},
    "requests": {"hash": str, "surface": Literal["chat", "completion"], "body": bytes},
    "plan": _KEY,
    "responses": {c: _BOUNDED.get(_HINTS[c], _HINTS[c]) for c in COLUMNS},
    "failures": {c: _NOTE[c] for c in NOTES["failures"]},
}
_OTHERS: Mapping[str, Mapping[str, Any]] = {  # not in stores of every version
    table: {c: _NOTE[c] for c in NOTES[table]} for table in ("endpoints", "reused", "attempts", "runs")
}


class _Limits(msgspec.Struct):
    max_tokens: str
    top_logprobs: Whole
    refuses: list[str]


class _Learned(msgspec.Struct):
    of: list[str]
    limits: _Limits


@contextlib.contextmanager
def foreign(path: Path) -> Iterator[Store]:
    """The store at ``path``, to read. `StoreError`, in one line, if anything in it is not what a run writes."""
    with Store(path, readonly=True) as store:
        check(store)
        if forged := forged_requests(store):
            said = f"{len(forged)} requests are not what their hashes say, such as {forged[0][:12]}"
            raise StoreError(f"{store.path}: {said}", "it is damaged or forged; leave it out")
        yield store


def forged_requests(store: Store) -> list[str]:
    """Hashes of stored requests whose surface and body are not what was hashed."""
    rows = store.each("SELECT hash, surface, body FROM requests ORDER BY hash")
    return [found for found, surface, body in rows if request_hash(surface, body) != found]


def check(store: Store) -> None:
    """`StoreError` unless all tables are there and every row has the types and ranges that a run writes."""
    where = "its schema"
    try:
        kinds = dict(store.each("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view')"))
        for table, columns in {**_NEEDED, **_OTHERS}.items():
            where = f"table {table}"
            if table in kinds or table in _NEEDED:
                if not str(kinds.get(table, "")).upper().startswith("CREATE TABLE"):
                    raise ValueError("not there, or no plain table")
                _check_rows(store, table, columns)
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as e:  # msgspec's and json's are ValueErrors
        raise StoreError(
            f"{store.path}: not as a run writes it: {where}: {str(e)[:120]}", "it is damaged or forged; leave it out"
        ) from None


def _check_rows(store: Store, table: str, columns: Mapping[str, Any]) -> None:
    row_type = msgspec.defstruct("Row", list(columns.items()))
    for row in store.each(f"SELECT {', '.join(columns)} FROM {table}"):  # noqa: S608
        values = dict(zip(columns, row, strict=True))
        msgspec.convert(values, row_type, builtin_types=(bytes,))
        if table == "meta":
            _check_note(values["key"], values["value"])
        elif "json" in values:
            found = json.loads(values["json"])
            msgspec.convert(found, Prompt if table == "prompts" else dict[str, Any])
            if table == "prompts" and (
                found.keys() - Prompt.__dataclass_fields__.keys() or found["id"] != values["id"]
            ):
                raise ValueError(f"prompt {values['id'][:40]!r} has other fields than a prompt")


def _check_note(key: str, value: str) -> None:
    if key == "prompt_hashes":
        msgspec.convert(json.loads(value), dict[str, str])
    elif key.startswith("learned/"):
        msgspec.convert(json.loads(value), _Learned)
