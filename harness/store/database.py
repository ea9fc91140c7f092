"""The SQLite file of a store: its tables, how it is opened for writing and for reading, and who may be in it."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import NoLocksError, StoreError
from harness.files import real_path
from harness.store import older
from harness.store.chain import COLUMNS


def lock_beside(path: Path) -> sqlite3.Connection:
    """Held until closed or until the process is gone. A file of its own, so that readers are let in meanwhile."""
    lock = sqlite3.connect(path.with_name(f".{path.name}.lock"), isolation_level=None, timeout=0.0)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as e:
        lock.close()
        require_locks(path.parent)
        if e.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        hint = "wait for it, or give this campaign another name"
        raise StoreError(f"{path.parent}: another run is writing here", hint) from None
    return lock


def require_locks(folder: Path) -> None:
    """`NoLocksError` where a drive refuses file locks (ENOLCK, EOPNOTSUPP): NFS or SMB without a lock service.

    SQLite calls that "database is locked" as if somebody else held it, so a file of our own is tried, which nobody can
    hold. Where none can be made, or the system locks in another way, nothing is said.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        return
    with contextlib.suppress(PermissionError, FileNotFoundError), _scratch(folder) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise NoLocksError(
                f"{folder}: this drive cannot lock files ({e.strerror}), and no other run is in the way",
                "put `results:` on a local disk, or mount the share with its lock service; answers stored here stay, "
                "and a copy on a local disk can be read",
            ) from None


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[int]:
    """A new file that nobody else knows, gone afterwards. `OSError` where none can be made."""
    file, name = tempfile.mkstemp(prefix=".locks-", dir=folder)
    try:
        yield file
    finally:
        os.close(file)
        Path(name).unlink(missing_ok=True)


FORMAT = 2
PLAN_DIGEST = "plan_sha256"  # note: of prompts and plan as they were written
PLAN_GIVEN = "plan_given_sha256"  # note: of prompts and plan in the order in which they were given
NOTES = {  # tables of what happened, by name: what a copy of a store takes over
    "endpoints": ("name", "fingerprint", "json"),
    "reused": ("endpoint", "prompt", "sample", "request_hash", "source"),
    "failures": ("endpoint", "prompt", "sample", "request_hash", "kind", "status", "message", "at"),
    "attempts": ("endpoint", "prompt", "sample", "request_hash", "number", "kind", "status", "wait", "at"),
    "runs": ("started_at", "json"),
}
_STORED = ", ".join("request" if c == "request_hash" else c for c in COLUMNS)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS prompts (id TEXT PRIMARY KEY, position INTEGER NOT NULL, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, surface TEXT, body BLOB);
CREATE TABLE IF NOT EXISTS plan (
  endpoint, prompt, sample, request, -- without types, as those of the answers: else their index is of no use
  PRIMARY KEY (endpoint, prompt, sample, request)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS responses (
  position INTEGER PRIMARY KEY, {_STORED}, link BLOB,
  UNIQUE (endpoint, sample, prompt, request)
);
CREATE TABLE IF NOT EXISTS failures (
  endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT,
  kind TEXT, status INTEGER, message TEXT, at TEXT
);
CREATE TABLE IF NOT EXISTS endpoints (name TEXT, fingerprint TEXT, json TEXT, PRIMARY KEY (name, fingerprint));
CREATE TABLE IF NOT EXISTS reused (
  endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT, source TEXT,
  PRIMARY KEY (endpoint, prompt, sample, request_hash)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (started_at TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
  endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT,
  number INTEGER, kind TEXT, status INTEGER, wait REAL, at TEXT
);
"""

_PAGE = 8192  # bytes: of smaller pages an answer of a few hundred words leaves more empty
_PATIENCE = 30.0  # seconds: a lock of somebody who only looks is no reason to end a run


def for_writing(path: Path) -> sqlite3.Connection:
    """A connection that writes, with all tables there. Raises `sqlite3.Error`."""
    db = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE)
    db.execute(f"PRAGMA page_size = {_PAGE}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    refuse_code(path, db)
    if _is_older(db):
        older.upgrade(path, db, SCHEMA, FORMAT)
    db.executescript(SCHEMA)
    db.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (str(FORMAT),))
    return db


def for_reading(path: Path, *, shared: bool = False) -> sqlite3.Connection:
    """A connection that cannot write, not even fold the log into the file: that is the writer's to do.

    SQLite needs a file beside a store in WAL mode. Where it cannot make one, and no log is left that it would have to
    read, the store is taken as it is. ``shared`` is for use in more than one thread. A store of an earlier format is
    left as it is, and a copy in this one's is read. Raises `sqlite3.Error`.
    """
    how = "mode=ro"
    try:
        db = _connected(path, how, shared)
    except sqlite3.OperationalError:
        if os.access(path.parent, os.W_OK) or _has_log(path):
            raise
        how = "mode=ro&immutable=1"
        db = _connected(path, how, shared)
    if not _is_older(db):
        return db
    refuse_code(path, db)
    db.close()
    return _connected(_copy_of(real_path(path), how, _state(path)), "mode=ro", shared)


def _is_older(db: sqlite3.Connection) -> bool:
    """Whether this is a store of an earlier format; of what is none, whoever reads it says so."""
    try:
        return format_of(db) in older.FORMATS
    except sqlite3.Error:
        return False


def _state(path: Path) -> tuple[tuple[int, int], ...]:
    """Size and time of a store and its log: as long as they stay, a copy is one of what is there."""
    files = [f for f in (path, path.with_name(f"{path.name}-wal")) if f.exists()]
    return tuple((s.st_size, s.st_mtime_ns) for s in map(os.stat, files))


@functools.lru_cache(maxsize=2)
def _copied(path: Path, how: str, _: tuple[tuple[int, int], ...]) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """A copy of an older store in this format, and the folder that goes when nobody reads it any more."""
    folder = tempfile.TemporaryDirectory(prefix="harness-store-")
    copy = Path(folder.name) / path.name
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None, uri=True)) as db:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
        db.executescript(SCHEMA)
        older.copy(path, f"{path.as_uri()}?{how}", db, FORMAT)
    return copy, folder


def _copy_of(path: Path, how: str, state: tuple[tuple[int, int], ...]) -> Path:
    return _copied(path, how, state)[0]


def _connected(path: Path, how: str, shared: bool) -> sqlite3.Connection:
    uri = f"{real_path(path).as_uri()}?{how}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0.0, check_same_thread=not shared)
    db.text_factory = lambda content: content.decode("utf-8", "replace")  # one text that is none must not end it all
    try:
        db.execute("PRAGMA query_only = ON")
        db.execute("PRAGMA trusted_schema = OFF")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
        _look(path, db)
    except (sqlite3.Error, StoreError):
        db.close()
        raise
    return db


def _look(path: Path, db: sqlite3.Connection) -> None:
    """The first look into a store: who is refused at once may wait, unless it is the drive that refuses."""
    look = "SELECT 1 FROM sqlite_master"
    try:
        db.execute(look).fetchone()
    except sqlite3.OperationalError:
        require_locks(path.parent)
        db.execute(f"PRAGMA busy_timeout = {_PATIENCE * 1000:.0f}")
        db.execute(look).fetchone()
    db.execute(f"PRAGMA busy_timeout = {_PATIENCE * 1000:.0f}")


def compact(path: Path) -> None:
    """Leave one file without a log beside it, its pages in order: readable where nothing can be written."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("VACUUM")


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


LARGEST = 100_000_000  # bytes of a value or row; a run writes no answer larger than its body, 32 MB


def refuse_code(path: Path, db: sqlite3.Connection) -> None:
    """`StoreError` for a store that does something when it is read or written: a run makes no views or triggers."""
    found = db.execute("SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index')").fetchall()
    found += db.execute("SELECT 'virtual table', name FROM sqlite_master WHERE sql LIKE 'create virtual%'").fetchall()
    if found:
        kind, name = found[0]
        raise StoreError(
            f"{path}: not as a run writes it: it has a {kind} {str(name)[:40]!r}",
            "it is damaged or forged; leave it out",
        )


def format_of(db: sqlite3.Connection) -> str:
    """The format that a store says it has, "" if it says none. Raises `sqlite3.Error` where there is no store."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return ""
    found = db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    return str(found[0]) if found else ""


def check_format(path: Path, db: sqlite3.Connection) -> None:
    """`StoreError` unless the store is of this format."""
    try:
        found = db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    except sqlite3.Error as e:
        raise StoreError(f"{path}: {e}", "is this a store of `harness run`?") from e
    if found and str(found[0]) != str(FORMAT):
        said = str(found[0])[:20]
        raise StoreError(f"{path}: written in format {said}, this is {FORMAT}", "use the version that wrote it")
