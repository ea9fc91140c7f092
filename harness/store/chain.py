"""Hash chain of stored answers: each is hashed with all before it, so a changed, removed or added one shows.

As in a transparency log (RFC 9162) or Haber and Stornetta, "How to Time-Stamp a Digital Document" (1991): whoever kept
the head of the chain has a proof of every answer up to it. The head stands in the manifest and in the report.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import msgspec

from harness.records import Key, Prompt, Response

COLUMNS = tuple(f.name for f in fields(Response))
SCHEMA = """
CREATE TABLE IF NOT EXISTS chain (
  position INTEGER PRIMARY KEY, endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT, link BLOB
);
"""
_LINES = msgspec.json.Encoder()
_START = b"\0" * 32
_KEY = "endpoint, prompt, sample, request_hash"
_ANSWERS = (
    f"SELECT position, link, {', '.join(COLUMNS)}, responses.rowid FROM chain "  # noqa: S608
    f"LEFT JOIN responses USING ({_KEY}) ORDER BY position"
)


@dataclass(frozen=True, slots=True)
class Tip:
    """The last link: how many answers the chain has, and the hash of them all."""

    answers: int = 0
    link: bytes = _START

    def next(self, row: Sequence[Any]) -> Tip:
        """The tip with one more answer, given as its stored row."""
        return Tip(self.answers + 1, hashlib.sha256(self.link + content_digest(Response(*row))).digest())


def content_digest(r: Response) -> bytes:
    """SHA-256 of all that is stored of an answer."""
    return hashlib.sha256(msgspec.json.encode(r)).digest()


def begun(db: sqlite3.Connection) -> Tip:
    """The tip of a store that is written to; answers of an earlier version, which made no chain, are chained first."""
    last = db.execute("SELECT position, link FROM chain ORDER BY position DESC LIMIT 1").fetchone()
    if last is not None:
        return Tip(*last)
    rows = db.execute(f"SELECT {', '.join(COLUMNS)} FROM responses ORDER BY {_KEY}")  # noqa: S608
    tip = Tip()
    db.execute("BEGIN IMMEDIATE")
    for row in rows:
        tip = tip.next(row)
        append(db, [(tip, row)])
    db.execute("COMMIT")
    return tip


def append(db: sqlite3.Connection, links: Sequence[tuple[Tip, Sequence[Any]]]) -> None:
    """Write the links of answers, inside the transaction that writes the answers."""
    rows = ((tip.answers, *row[:4], tip.link) for tip, row in links)
    db.executemany("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)", rows)


def copy_chain(target: sqlite3.Connection, source: sqlite3.Connection) -> None:
    """Take over a chain as it is, link by link; a store of an earlier version has none."""
    if not there(source):
        return
    target.execute("DELETE FROM chain")
    rows = source.execute(f"SELECT position, {_KEY}, link FROM chain ORDER BY position")  # noqa: S608
    target.executemany("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)", rows)


def there(db: sqlite3.Connection) -> bool:
    """Whether a store has a chain."""
    found = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'chain'").fetchone()
    return found is not None and db.execute("SELECT 1 FROM chain").fetchone() is not None


def head(db: sqlite3.Connection) -> dict[str, object]:
    """How many answers are chained, and the head worked out from the answers themselves, those that are gone left out.

    Nothing of a store of an earlier version.
    """
    if not there(db):
        return {}
    tip = Tip()
    for _, _, *row, rowid in db.execute(_ANSWERS):
        if rowid is not None:
            tip = tip.next(row)
    return {"answers": tip.answers, "head": tip.link.hex()}


def broken(db: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with the answers by their chain, beginning with the first that is changed or gone."""
    if not there(db):
        return
    tip = Tip()
    for position, link, *row, rowid in db.execute(_ANSWERS):
        where = f"answer {position} ({row[0]} / {row[1]} / sample {row[2]})"
        if rowid is None:
            yield f"{where} was removed"
            return
        tip = tip.next(row)
        if (tip.answers, tip.link) != (position, link):
            yield f"{where} was changed, or one before it removed"
            return
    (stored,) = db.execute("SELECT COUNT(*) FROM responses").fetchone()
    if stored != tip.answers:
        yield f"{stored - tip.answers} answers are not in the chain of those that came in"


def plan_digest(db: sqlite3.Connection) -> str:
    """SHA-256 of the prompts and keys of the plan."""
    digest = hashlib.sha256()
    for query in (
        "SELECT position, id, json FROM prompts ORDER BY position",
        f"SELECT {_KEY} FROM plan ORDER BY {_KEY}",  # noqa: S608
    ):
        rows = db.execute(query)
        while part := rows.fetchmany(1_000):
            digest.update(_LINES.encode_lines(part))
    return digest.hexdigest()


class GivenPlan:
    """SHA-256 of a plan in the order in which it is given: made again, the same plan has the same."""

    def __init__(self, prompts: Sequence[Prompt], hashes: Mapping[str, str]) -> None:
        told = repr((prompts, sorted(hashes.items())))  # texts may hold what is no UTF-8
        self._digest = hashlib.sha256(told.encode("utf-8", "surrogatepass"))

    def through(self, keys: Iterable[Key]) -> Iterator[Key]:
        """The keys again, each of them hashed."""
        rest = iter(keys)
        while part := list(islice(rest, 1_000)):
            self._digest.update(msgspec.json.encode(part))
            yield from part

    def hexdigest(self) -> str:
        """The hash of all that was given until now."""
        return self._digest.hexdigest()
