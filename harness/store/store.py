"""SQLite store of answers: each is committed when it arrives, and keyed so that none is asked twice."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

import msgspec

from harness.errors import CallError, NoLocksError, StoreError
from harness.records import Job, Key, Outcome, Prompt, Response
from harness.store import chain
from harness.store.chain import ADD, AT_HASH, COLUMNS, HASH, MENTION, NUMBER, ORDER, SELECTED, SENT, Chained, packed
from harness.store.database import (
    PLAN_DIGEST,
    PLAN_GIVEN,
    check_format,
    for_reading,
    for_writing,
    lock_beside,
    refuse_code,
    require_locks,
)
from harness.store.reserve import Reserve

_NAMES = ("endpoint", "prompt", "finish_reason", "model_asked", "model_answered", "provider",
          "system_fingerprint", "response_id", "received_at")  # fmt: skip
_COUNTS = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
_DAMAGED = "this store is damaged, or was not written by harness; take it from where it came from again"


@contextlib.contextmanager
def _read(path: Path, what: str) -> Iterator[None]:
    """What goes wrong in reading what somebody may have written into a store is a `StoreError`."""
    try:
        yield
    except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError, msgspec.MsgspecError) as e:
        raise StoreError(f"{path}: its {what} cannot be read ({type(e).__name__})", _DAMAGED) from e


def _prompt(text: str) -> Prompt:
    msgspec.json.decode(text, type=Prompt)  # of the right types; and read again, for 0 is not to become 0.0
    told = json.loads(text)
    return Prompt(**{**told, "channels": tuple(told["channels"])})


_ROW = attrgetter(*COLUMNS)
_PART = 200  # answers that are read at once
_KEY = f"endpoint = ? AND prompt = ? AND sample = ? AND request = {NUMBER}"
_ANSWERED = f"SELECT 1 FROM responses WHERE {_KEY}"  # noqa: S608
_PLANNED = f"SELECT 1 FROM plan WHERE {_KEY}"  # noqa: S608
_PROGRESS = (
    f"SELECT endpoint, prompt, sample, {HASH} AS request_hash, responses.position FROM plan "  # noqa: S608
    f"LEFT JOIN responses USING (endpoint, prompt, sample, request) ORDER BY {ORDER}"
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a call that got no answer: why, and for how many seconds the server asked to be left alone."""

    key: Key
    number: int
    kind: str
    status: int | None
    wait: float | None
    at: str


class Store:
    """Answers of one campaign in ``FOLDER/responses.sqlite``; a context manager.

    One writer at a time: a second run on the same folder is refused. Every `add` is a transaction of its own; what is
    given to `put` is committed by `commit` or by whatever is read or written next. kill -9 and a power cut lose nothing
    that was committed.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self.reserve = Reserve(path)
        self._lock: sqlite3.Connection | None = None
        self._waiting: dict[Key, tuple[Response, Job, Sequence[Attempt]]] = {}
        if readonly and not path.is_file():
            raise StoreError(f"{path}: no answers are stored here", "run `harness run` first")
        try:
            if not readonly:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._lock = lock_beside(path)
            self._connection = for_reading(path) if readonly else for_writing(path)
        except StoreError:
            if self._lock is not None:
                self._lock.close()
            raise
        except (sqlite3.Error, OSError) as e:
            raise StoreError(f"{path}: {e}", "may you write there, and is there room on the disk?") from e
        try:
            check_format(path, self._db)
            refuse_code(path, self._db)
            self._tip = chain.Tip() if readonly else chain.begun(self._db)
        except (sqlite3.Error, TypeError) as e:  # a table that is not there, or has other columns
            self.close()
            raise StoreError(f"{path}: {e}", "it is damaged or forged; leave it out") from None
        except StoreError:
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"{self.path}: {error}", _DAMAGED) from error

    def close(self) -> None:
        """Let go of the file; who wrote folds the log into it, unless a reader is still there a second later."""
        try:
            self.commit()
        finally:
            if self._lock is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA busy_timeout = 1000")
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()
            if self._lock is not None:
                self._lock.close()

    @property
    def _db(self) -> sqlite3.Connection:
        """The connection, with all committed that waited: whoever reads sees everything."""
        if self._waiting:
            self.commit()
        return self._connection

    def set_plan(self, prompts: Iterable[Prompt], keys: Iterable[Key], hashes: Mapping[str, str] | None = None) -> None:
        """Record the prompts and keys of this plan. Answers to earlier plans stay, but only these are scored.

        ``hashes`` are the SHA-256 of the prompt sets, by name.
        """
        prompts = list(prompts)
        given = chain.GivenPlan(prompts, hashes or {})
        with self._transaction():
            self._db.execute("DELETE FROM prompts")
            self._db.execute("DELETE FROM plan")
            self._db.executemany(
                "INSERT INTO prompts VALUES (?, ?, ?)",
                ((p.id, i, json.dumps(asdict(p), ensure_ascii=True)) for i, p in enumerate(prompts)),
            )
            self._add_plan(given.through(keys))
            text = json.dumps(dict(hashes or {}), sort_keys=True)
            notes = [("prompt_hashes", text), (PLAN_DIGEST, chain.plan_digest(self._db))]
            notes.append((PLAN_GIVEN, given.hexdigest()))
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", notes)

    def _add_plan(self, keys: Iterator[Key]) -> None:
        """Write keys, and forget requests of earlier plans that were never sent."""
        add = f"INSERT OR IGNORE INTO plan VALUES (?, ?, ?, {NUMBER})"  # noqa: S608
        for part in batches(keys):
            self._db.executemany(MENTION, {(packed(key[3]),) for key in part})
            self._db.executemany(add, [(*key[:3], packed(key[3])) for key in part])
        self._db.execute(
            "DELETE FROM requests WHERE body IS NULL "
            "AND id NOT IN (SELECT request FROM plan) AND id NOT IN (SELECT request FROM responses)"
        )

    def ensure_plan(
        self, prompts: Sequence[Prompt], keys: Callable[[], Iterable[Key]], hashes: Mapping[str, str] | None = None
    ) -> None:
        """As `set_plan`, but nothing is written if this very plan stands there, whole: a million keys take a while."""
        noted, given = self.note(PLAN_DIGEST), chain.GivenPlan(list(prompts), hashes or {})
        if noted is not None and noted == chain.plan_digest(self._db):
            deque(given.through(keys()), maxlen=0)
            if self.note(PLAN_GIVEN) == given.hexdigest():
                return
        self.set_plan(prompts, keys(), hashes)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if not self.path.exists():  # SQLite writes on into a file that nobody can reach any more
            raise StoreError(f"{self.path}: was removed during the run", "its answers are lost; run again")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as e:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            require_locks(self.path.parent)
            raise StoreError(f"{self.path}: {e}", "is the disk full? nothing stored so far is lost") from e

    def add(self, response: Response, job: Job | None = None, tried: Iterable[Attempt] = ()) -> None:
        """Commit one answer, the request that got it and what was ``tried`` before. A key that is there is an error."""
        self._surely(lambda: self.add_many([response], [job] if job else [], tried))

    def put(self, response: Response, job: Job, tried: Sequence[Attempt] = ()) -> None:
        """As `add`, but committed together with others, by `commit`."""
        self._waiting[key_of(response)] = response, job, tried
        if len(self._waiting) >= MOST_WAITING:
            self.commit()

    def commit(self) -> bool:
        """Commit what was `put`; whether there was anything."""
        if not self._waiting:
            return False
        waited, self._waiting = self._waiting, {}
        responses, jobs, tried = zip(*waited.values(), strict=True)
        self._surely(lambda: self.add_many(responses, jobs, [a for attempts in tried for a in attempts]))
        return True

    def _surely(self, write: Callable[[], None]) -> None:
        """Write what is paid for; if the disk is full, in the room that was reserved for it."""
        try:
            write()
        except StoreError as e:
            if isinstance(e, NoLocksError) or not self.reserve.give():
                raise
            with contextlib.suppress(sqlite3.Error):  # the log's place is room, too
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            write()

    def add_many(self, responses: Iterable[Response], asked: Iterable[Job] = (), tried: Iterable[Attempt] = ()) -> None:
        """Commit answers in one transaction."""
        tip = self._tip
        with self._transaction():
            self._db.executemany(SENT, ((packed(j.request_hash), j.surface, j.body) for j in asked))
            for batch in batches(iter(responses)):
                rows = []
                for r in batch:
                    row = [v if v.__class__ is not str else _storable(v) for v in _ROW(r)]
                    tip = tip.next(row)
                    row[AT_HASH] = packed(r.request_hash)
                    rows.append((tip.answers, *row, tip.link))
                self._add_rows(rows)
            chain.note(self._db, tip)
            self._add_attempts(tried)
        self._tip = tip

    def _add_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write answers with their positions and links, hashes `packed`."""
        self._db.executemany(MENTION, {(row[AT_HASH + 1],) for row in rows})
        self._db.executemany(ADD, rows)

    def add_failure(self, job: Job, error: CallError, at: str, tried: Iterable[Attempt] = ()) -> None:
        """Record that a call failed for now; running again asks it again."""
        row = *job.key, error.kind, error.status, _storable(str(error)), at
        attempts = tuple(tried)

        def write() -> None:
            with self._transaction():
                self._db.execute("INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                self._add_attempts(attempts)

        self._surely(write)

    def _add_attempts(self, tried: Iterable[Attempt]) -> None:
        rows = ((*a.key, a.number, a.kind, a.status, a.wait, a.at) for a in tried)
        self._db.executemany("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def rows(self, table: str, query: str) -> list[Any]:
        """What ``query`` finds; nothing in stores of earlier versions, which do not have every table."""
        there = self._db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        return list(self._db.execute(query)) if there else []

    def each(self, query: str, values: Sequence[object] = ()) -> Iterator[Any]:
        """What ``query`` finds, with ``values`` for its marks, a row in memory at a time. Raises `sqlite3.Error`."""
        return iter(self._db.execute(query, values))

    def insert(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Write rows in one transaction."""
        with self._transaction():
            self._db.executemany(sql, rows)

    def add_missing(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Write those rows that are not there yet; the table need not have a key. Sorted once, so linear in rows."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        with self._transaction():
            self._db.execute(f"CREATE TEMP TABLE incoming AS SELECT {names} FROM {table} WHERE 0")  # noqa: S608
            self._db.executemany(f"INSERT INTO incoming VALUES ({marks})", rows)  # noqa: S608
            new = f"SELECT * FROM incoming EXCEPT SELECT {names} FROM {table}"  # noqa: S608
            self._db.execute(f"INSERT OR IGNORE INTO {table} ({names}) {new}")
            self._db.execute("DROP TABLE incoming")

    def answered(self, key: Key) -> bool:
        """Whether a key has its answer. Keys stay in the file: a plan of millions needs no memory."""
        return key in self._waiting or self._connection.execute(_ANSWERED, _packed(key)).fetchone() is not None

    def answered_calls(self, endpoint: str, sample: int) -> set[tuple[str, str]]:
        """(prompt, request hash) of all calls of one sample that have their answer by now, read with one statement."""
        query = f"SELECT prompt, {HASH} FROM responses WHERE endpoint = ? AND sample = ?"  # noqa: S608
        return set(self._db.execute(query, (endpoint, sample)))

    def progress(self) -> dict[str, tuple[int, int]]:
        """How many calls of the plan each endpoint has, and how many of them are answered."""
        rows = self._db.execute(
            "SELECT endpoint, COUNT(*), COUNT(position) FROM plan "
            "LEFT JOIN responses USING (endpoint, prompt, sample, request) GROUP BY endpoint"
        )
        return {endpoint: (planned, answered) for endpoint, planned, answered in rows}

    def planned(self, key: Key) -> bool:
        """Whether a key is of the plan."""
        return self._db.execute(_PLANNED, _packed(key)).fetchone() is not None

    def first_calls(self, endpoint: str) -> set[tuple[str, str]]:
        """(prompt, request hash) of the first sample of every planned call of an endpoint."""
        query = f"SELECT prompt, {HASH} FROM plan WHERE endpoint = ? AND sample = 0"  # noqa: S608
        return set(self._db.execute(query, (endpoint,)))

    def planned_request(self, endpoint: str, prompt: str, sample: int) -> bytes | None:
        """The body of a planned call that was sent; None if there is none."""
        found = self._db.execute(
            "SELECT body FROM plan JOIN requests ON id = request WHERE endpoint = ? AND prompt = ? AND sample = ?",
            (endpoint, prompt, sample),
        ).fetchone()
        return found[0] if found else None

    def answered_endpoints(self) -> set[str]:
        """Names of the endpoints that have answers, be it to this plan or to an earlier one."""
        return {name for (name,) in self._db.execute("SELECT DISTINCT endpoint FROM responses")}

    def without_request(self) -> dict[str, int]:
        """How many of the plan's answers have no stored request, by endpoint; those that were recorded have none."""
        return dict(
            self._db.execute(
                "SELECT endpoint, COUNT(*) FROM plan JOIN responses USING (endpoint, prompt, sample, request) "
                "WHERE request NOT IN (SELECT id FROM requests WHERE body IS NOT NULL) GROUP BY 1"
            )
        )

    def plan_keys(self) -> Iterator[tuple[Key, bool]]:
        """Keys of the plan in order, and whether each is answered."""
        for *key, row in self._db.execute(_PROGRESS):
            yield (key[0], key[1], key[2], key[3]), row is not None

    def prompt_hashes(self) -> dict[str, str]:
        """SHA-256 of the plan's prompt sets, by name; empty in a store of an earlier version."""
        found = self._db.execute("SELECT value FROM meta WHERE key = 'prompt_hashes'").fetchone()
        with _read(self.path, "hashes of prompt sets"):
            return {str(k): str(v) for k, v in json.loads(found[0]).items()} if found else {}

    def note(self, key: str) -> str | None:
        """What `set_note` wrote."""
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def chain(self) -> dict[str, object]:
        """How many answers are chained, and the head of their chain; nothing in a store of an earlier version."""
        return chain.head(self._db)

    def take_answers(self, source: Store) -> None:
        """Take over all answers as they are: in the order in which they came, with the links of their chain."""
        rows = source.each(f"SELECT position, {SELECTED}, link FROM responses ORDER BY position")  # noqa: S608
        for batch in batches(rows):
            hashes = {row[AT_HASH + 1] for row in batch}
            with self._transaction():
                self._add_rows([(*row[: AT_HASH + 1], packed(row[AT_HASH + 1]), *row[AT_HASH + 2 :]) for row in batch])
            self.copy_requests(source, hashes)
        end = source.note(chain.CHAIN)
        if end is not None:
            self.set_note(chain.CHAIN, end)
        self._tip = chain.begun(self._db) if end is not None else self._tip

    def damage(self) -> str:
        """What shows that answers or plan are not as they were written, or nothing. Raises `sqlite3.Error`."""
        return self.read_through().broken

    def read_through(self) -> Chained:
        """File, plan and every answer read once; what is ``broken`` is `damage`."""
        torn = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if torn != "ok":
            return Chained(broken=f"the file is damaged: {' '.join(str(torn).split())[:80]}")
        noted = self.note(PLAN_DIGEST)
        if noted is not None and noted != chain.plan_digest(self._db):
            return Chained(broken="prompts or plan were changed")
        return chain.read(self._db)

    def notes(self) -> list[tuple[str, str]]:
        """What was noted of the campaign, by key, but for what belongs to the file itself."""
        return list(
            self._db.execute("SELECT key, value FROM meta WHERE key NOT IN ('format', ?) ORDER BY key", (chain.CHAIN,))
        )

    def set_note(self, key: str, value: str) -> None:
        """Remember something about this campaign, such as what an endpoint refuses."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def keys(self) -> set[Key]:
        """Keys of all stored answers."""
        return set(self._db.execute(f"SELECT endpoint, prompt, sample, {HASH} FROM responses"))  # noqa: S608

    def prompts(self) -> list[Prompt]:
        """The prompts of the campaign in their order."""
        with _read(self.path, "prompts"):
            rows = self._db.execute("SELECT json FROM prompts ORDER BY position")
            return [_prompt(text) for (text,) in rows]

    @contextlib.contextmanager
    def strict(self) -> Iterator[None]:
        """Texts that are no UTF-8 are an ``sqlite3.Error`` meanwhile; elsewhere they are read with a mark in them."""
        lenient, self._db.text_factory = self._db.text_factory, str
        try:
            yield
        finally:
            self._db.text_factory = lenient

    def require_types(self) -> None:
        """`StoreError` if an answer has a number where a name belongs, or the reverse: SQLite takes anything anywhere.

        Texts and logprobs are looked at when they are read; one that is none is a gap of its own.
        """
        named = ", ".join(f"'{o}'" for o in get_args(Outcome))
        wrong = [f"typeof({c}) != 'text'" for c in _NAMES] + [
            f"typeof({c}) != 'integer'" for c in ("sample", "attempts", "request")
        ]
        wrong += [f"typeof({c}) NOT IN ('integer', 'null')" for c in _COUNTS] + [f"outcome NOT IN ({named})"]
        found = self._db.execute(f"SELECT rowid FROM responses WHERE {' OR '.join(wrong)} LIMIT 1").fetchone()  # noqa: S608
        if found is not None:
            raise StoreError(f"{self.path}: answer {found[0]} is of the wrong types", _DAMAGED)

    def asked(self) -> set[tuple[str, str]]:
        """(endpoint, prompt) pairs of the plan."""
        return set(self._db.execute("SELECT DISTINCT endpoint, prompt FROM plan"))

    def responses(self) -> Iterator[Response]:
        """The plan's answers, by prompt, endpoint and sample."""
        return self._in_order(chain.IN_ORDER)

    def all_responses(self) -> Iterator[Response]:
        """All answers, also those to earlier plans, by key."""
        return self._in_order(f"SELECT position, {HASH} AS request_hash FROM responses ORDER BY {ORDER}")  # noqa: S608

    def _in_order(self, query: str) -> Iterator[Response]:
        """The answers whose positions a query finds first of each row."""
        rows = self._db.execute(query)
        while part := [at for at, _ in rows.fetchmany(_PART)]:  # texts are not sorted with their keys
            marks = ", ".join("?" * len(part))
            some = f"SELECT position, {SELECTED} FROM responses WHERE position IN ({marks})"  # noqa: S608
            found = {at: row for at, *row in self._db.execute(some, part)}
            yield from (Response(*found[at]) for at in part)

    def copy_requests(self, source: Store, hashes: Iterable[str]) -> None:
        """Take over the requests with these hashes, where the source has them."""
        found = ((packed(h), *request) for h in sorted(hashes) if (request := source.request(h)) is not None)
        with self._transaction():
            self._db.executemany(SENT, found)

    def failures(self) -> list[tuple[str, str, int]]:
        """(endpoint, kind, count) of calls that failed and have no answer since."""
        return list(
            self._db.execute(
                "SELECT f.endpoint, f.kind, COUNT(DISTINCT f.prompt || char(0) || f.sample) FROM failures f "  # noqa: S608
                "JOIN plan p USING (endpoint, prompt, sample) "
                "LEFT JOIN responses r USING (endpoint, prompt, sample, request) "
                f"WHERE r.endpoint IS NULL AND f.request_hash = {HASH} GROUP BY f.endpoint, f.kind ORDER BY 1, 2"
            )
        )

    def request(self, request_hash: str) -> tuple[str, bytes] | None:
        """(surface, body) of a stored request."""
        query = "SELECT surface, body FROM requests WHERE hash = ? AND body IS NOT NULL"
        found = self._db.execute(query, (packed(request_hash),)).fetchone()
        return (found[0], found[1]) if found else None


def _packed(key: Key) -> tuple[str, str, int, bytes | str]:
    return *key[:3], packed(key[3])


def _storable(value: object) -> object:
    # Lone surrogates have no UTF-8; SQLite would refuse the whole answer for one of them.
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    return value


BATCH = 1_000  # answers
MOST_WAITING = 256  # answers that are committed together


def key_of(r: Response) -> Key:
    """The key of an answer."""
    return r.endpoint, r.prompt, r.sample, r.request_hash


def batches(rows: Iterator[Any], size: int = BATCH) -> Iterator[list[Any]]:
    """Lists of at most ``size`` rows."""
    while batch := list(islice(rows, size)):
        yield batch
