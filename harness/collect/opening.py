"""How the file of a store is opened: to write, to read beside a writer, and where nothing can be written."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from harness.collect.schema import FORMAT, SCHEMA
from harness.errors import StoreError

_PATIENCE = 30.0  # seconds: a lock of somebody who only looks is no reason to end a run


def for_writing(path: Path) -> sqlite3.Connection:
    """A connection that writes, with all tables there. Raises `sqlite3.Error`."""
    db = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.executescript(SCHEMA)
    db.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (str(FORMAT),))
    return db


def for_reading(path: Path, *, shared: bool = False) -> sqlite3.Connection:
    """A connection that cannot write, not even fold the log into the file: that is the writer's to do.

    SQLite needs a file beside a store in WAL mode. Where it cannot make one, and no log is left that it would have to
    read, the store is taken as it is. ``shared`` is for use in more than one thread. Raises `sqlite3.Error`.
    """
    try:
        return _connected(path, "mode=ro", shared)
    except sqlite3.OperationalError:
        if os.access(path.parent, os.W_OK) or _has_log(path):
            raise
        return _connected(path, "mode=ro&immutable=1", shared)


def _connected(path: Path, how: str, shared: bool) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?{how}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_PATIENCE, check_same_thread=not shared)
    try:
        db.execute("PRAGMA query_only = ON")
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    return db


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def check_format(path: Path, db: sqlite3.Connection) -> None:
    """`StoreError` unless the store is of this format."""
    try:
        found = db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    except sqlite3.Error as e:
        raise StoreError(f"{path}: {e}", "is this a store of `harness run`?") from e
    if found and str(found[0]) != str(FORMAT):
        said = str(found[0])[:20]
        raise StoreError(f"{path}: written in format {said}, this is {FORMAT}", "use the version that wrote it")
