"""Stores of earlier formats: brought to this one in one transaction by who writes, copied by who only reads.

Format 1 had the hash of a request, as text, in plan, answers and chain. Answers of its first versions have no chain,
and some of its tables were not there yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from harness.errors import StoreError
from harness.store.chain import CHAIN, COLUMNS, packed

FORMATS = ("1",)
_CHANGED = ("requests", "plan", "responses", "chain")  # the other tables are as they were
_ABSENT: Mapping[str, str] = {"reasoning_tokens": "NULL"}  # columns that came later
_NO_CHAIN = (
    "(SELECT 0 AS position, NULL AS link, '' AS endpoint, '' AS prompt, 0 AS sample, '' AS request_hash WHERE 0)"
)
_KEY = "endpoint, prompt, sample, request_hash"


def upgrade(path: Path, db: sqlite3.Connection, schema: str, to: int) -> None:
    """Bring an older store to this format: whole, or not at all if this process is killed or the disk is full.

    `StoreError` if it is damaged, and it is left as it is. Raises `sqlite3.Error`.
    """
    _require_whole(path, db, "main")
    db.execute("BEGIN IMMEDIATE")
    try:
        there = _tables(db, "main")
        for table in there.intersection(_CHANGED):
            db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        for statement in filter(str.strip, schema.split(";")):
            db.execute(statement)
        _fill(db, "old_", there)
        for table in there.intersection(_CHANGED):
            db.execute(f"DROP TABLE old_{table}")
        db.execute("INSERT OR REPLACE INTO meta VALUES ('format', ?)", (str(to),))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    try:
        db.execute("VACUUM")
    except sqlite3.Error:  # no room for it, or a reader is there: the space is used by answers to come
        return


def copy(path: Path, uri: str, db: sqlite3.Connection, to: int) -> None:
    """Fill the empty tables of ``db`` with an older store, which is only read. As `upgrade` but for that."""
    db.execute("ATTACH ? AS old", (uri,))
    _require_whole(path, db, "old")
    db.execute("PRAGMA main.synchronous = OFF")  # of no use after a power cut
    db.execute("BEGIN")
    there = _tables(db, "old")
    for table in there - {*_CHANGED}:
        names = ", ".join(name for _, name, *_ in db.execute(f"PRAGMA main.table_info({table})"))
        if names:
            db.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM old.{table}")  # noqa: S608
    _fill(db, "old.", there)
    db.execute("INSERT OR REPLACE INTO main.meta VALUES ('format', ?)", (str(to),))
    db.execute("COMMIT")
    db.execute("DETACH old")


def _require_whole(path: Path, db: sqlite3.Connection, schema: str) -> None:
    torn = db.execute(f"PRAGMA {schema}.integrity_check(1)").fetchone()[0]
    if torn != "ok":
        said = " ".join(str(torn).split())[:80]
        raise StoreError(f"{path}: the file is damaged: {said}", "it is damaged; take back an older copy")


def _tables(db: sqlite3.Connection, schema: str) -> set[str]:
    query = f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"  # noqa: S608
    return {name for (name,) in db.execute(query)}


def _fill(db: sqlite3.Connection, old: str, there: set[str]) -> None:
    """Requests, plan and answers from tables whose names begin with ``old``; keys and links stay as they are."""
    db.create_function("packed", 1, packed, deterministic=True)
    db.execute(f"INSERT INTO requests (hash, surface, body) SELECT packed(hash), surface, body FROM {old}requests")  # noqa: S608
    for table in ("plan", "responses"):
        db.execute(
            f"INSERT OR IGNORE INTO requests (hash) SELECT packed(request_hash) FROM {old}{table} GROUP BY request_hash"  # noqa: S608
        )
    number = "(SELECT id FROM requests WHERE hash = packed(request_hash))"
    db.execute(
        f"INSERT INTO plan SELECT endpoint, prompt, sample, {number} FROM {old}plan "  # noqa: S608
        "ORDER BY endpoint, prompt, sample"
    )
    schema, _, table = f"{old}responses".rpartition(".")
    known = {name for _, name, *_ in db.execute(f"PRAGMA {schema or 'main'}.table_info({table})")}
    values = ", ".join(number if c == "request_hash" else c if c in known else _ABSENT.get(c, c) for c in COLUMNS)
    links = f"{old}chain" if "chain" in there else _NO_CHAIN
    db.execute(  # answers that no link is of get a position below those that have one
        f"INSERT INTO responses SELECT COALESCE(position, -ROW_NUMBER() OVER (ORDER BY {_KEY})), {values}, link "  # noqa: S608
        f"FROM {old}responses LEFT JOIN {links} USING ({_KEY}) ORDER BY position"
    )
    if "chain" in there:
        last = db.execute(f"SELECT position, link FROM {old}chain ORDER BY position DESC LIMIT 1").fetchone()  # noqa: S608
        if last is not None:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (CHAIN, f"{last[0]} {bytes(last[1]).hex()}"))
