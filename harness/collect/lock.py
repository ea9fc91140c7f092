"""One writer at a time: a lock beside a store, which is gone with its process."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from harness.errors import StoreError


def lock_beside(path: Path) -> sqlite3.Connection:
    """Held until closed or until the process is gone. A file of its own, so that readers are let in meanwhile."""
    lock = sqlite3.connect(path.with_name(f".{path.name}.lock"), isolation_level=None, timeout=0.0)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as e:
        lock.close()
        if e.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        hint = "wait for it, or give this campaign another name"
        raise StoreError(f"{path.parent}: another run is writing here", hint) from None
    return lock
