"""Hash chain of stored answers: each is hashed with all before it, so a changed, removed or added one shows.

As in a transparency log (RFC 9162) or Haber and Stornetta, "How to Time-Stamp a Digital Document" (1991): whoever kept
the head of the chain has a proof of every answer up to it. The head stands in the manifest and in the report.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import msgspec

from harness.records import Key, Prompt, Response

COLUMNS = tuple(f.name for f in fields(Response))
CHAIN = "chain"  # note: how many answers are chained, and the last link
_HEX = "CASE typeof(hash) WHEN 'blob' THEN lower(hex(hash)) ELSE hash END"
HASH = f"(SELECT {_HEX} FROM requests WHERE id = request)"  # noqa: S608 - of the request that ``request`` numbers
SELECTED = ", ".join(f"{HASH} AS request_hash" if c == "request_hash" else c for c in COLUMNS)  # a `Response`
ORDER = "endpoint, prompt, sample, request_hash"
IN_ORDER = (  # the plan's answers, by prompt, endpoint and sample
    f"SELECT responses.position, {HASH} AS request_hash FROM plan "  # noqa: S608
    "JOIN responses USING (endpoint, prompt, sample, request) ORDER BY prompt, endpoint, sample, request_hash"
)
NUMBER = "(SELECT id FROM requests WHERE hash = ?)"
_MARKS = ", ".join(NUMBER if c == "request_hash" else "?" for c in COLUMNS)
ADD = f"INSERT INTO responses VALUES (?, {_MARKS}, ?)"  # noqa: S608 - position, columns with the hash `packed`, link
AT_HASH = COLUMNS.index("request_hash")
MENTION = "INSERT OR IGNORE INTO requests (hash) VALUES (?)"
SENT = (
    "INSERT INTO requests (hash, surface, body) VALUES (?, ?, ?) "
    "ON CONFLICT (hash) DO UPDATE SET surface = excluded.surface, body = excluded.body WHERE body IS NULL"
)
_ENCODER = msgspec.json.Encoder()
_Row = msgspec.defstruct("_Row", [(c, Any) for c in COLUMNS])  # encoded as a `Response`, and made in less time
_START = b"\0" * 32
_ANSWERS = f"SELECT position, link, {SELECTED} FROM responses WHERE link IS NOT NULL ORDER BY position"  # noqa: S608
_NOTE = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_SHA256 = re.compile("[0-9a-f]{64}")
_END = re.compile("([0-9]{1,15}) ([0-9a-f]{64})")


def packed(request_hash: str) -> bytes | str:
    """A hash as it is stored: 32 bytes; what is no SHA-256 in hexadecimal stays the text that it is."""
    return bytes.fromhex(request_hash) if _SHA256.fullmatch(request_hash) else request_hash


def unpacked(stored: bytes | str) -> str:
    """The hash that `packed` made shorter."""
    return stored.hex() if isinstance(stored, bytes) else stored


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


@dataclass(frozen=True, slots=True)
class Chained:
    """A chain as it was read once, from end to end: its last link, the `content_digest` of every answer, 32 bytes each,
    in the order in which they came, and what is ``broken`` in it, or nothing."""

    tip: Tip = Tip()
    digests: bytes = b""
    broken: str = ""

    def digest(self, position: int) -> bytes:
        """SHA-256 of all that is stored of the answer at a position, which begins at 1."""
        return self.digests[(position - 1) * len(_START) : position * len(_START)]

    @property
    def head(self) -> dict[str, object]:
        """How many answers are chained, and their head, as `head` works them out."""
        return {"answers": self.tip.answers, "head": self.tip.link.hex()} if self.tip.answers else {}


def begun(db: sqlite3.Connection) -> Tip:
    """The tip of a store that is written to; answers of an early version, which made no chain, are chained first."""
    noted = _noted(db)
    if noted is not None:
        return noted
    last = db.execute(
        "SELECT position, link FROM responses WHERE link IS NOT NULL ORDER BY position DESC LIMIT 1"
    ).fetchone()
    if last is not None:
        return Tip(*last)
    tip = Tip()
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE responses SET position = -position WHERE position > 0")
    rows = f"SELECT {SELECTED} FROM responses WHERE position = ?"  # noqa: S608
    for at, _ in db.execute(f"SELECT position, {HASH} AS request_hash FROM responses ORDER BY {ORDER}").fetchall():  # noqa: S608
        tip = tip.next(db.execute(rows, (at,)).fetchone())
        db.execute("UPDATE responses SET position = ?, link = ? WHERE position = ?", (tip.answers, tip.link, at))
    note(db, tip)
    db.execute("COMMIT")
    return tip


def note(db: sqlite3.Connection, tip: Tip) -> None:
    """Write down where the chain ends, inside the transaction that writes the answers."""
    if tip.answers:
        db.execute(_NOTE, (CHAIN, f"{tip.answers} {tip.link.hex()}"))


def _noted(db: sqlite3.Connection) -> Tip | None:
    """Where the chain ends, as it is written down; None where nothing is, or nothing that is an end."""
    found = db.execute("SELECT value FROM meta WHERE key = ?", (CHAIN,)).fetchone()
    told = _END.fullmatch(str(found[0])) if found else None
    return Tip(int(told[1]), bytes.fromhex(told[2])) if told else None


def there(db: sqlite3.Connection) -> bool:
    """Whether a store has a chain."""
    return db.execute("SELECT 1 FROM responses WHERE link IS NOT NULL").fetchone() is not None


def head(db: sqlite3.Connection) -> dict[str, object]:
    """How many answers are chained, and the head worked out from the answers themselves, those that are gone left out.

    Nothing of a store of an early version.
    """
    if not there(db):
        return {}
    tip = Tip()
    for _, _, *row in db.execute(_ANSWERS):
        tip = tip.next(row)
    return {"answers": tip.answers, "head": tip.link.hex()}


def read(db: sqlite3.Connection) -> Chained:
    """Hash all answers again, and say what is wrong by their chain: the first of them that is changed or gone.

    Of a store of an early version, which has no chain, nothing is read.
    """
    if not there(db):
        return Chained()
    digests, at, end, sha256, encode = bytearray(), 0, _START, hashlib.sha256, _ENCODER.encode
    for position, link, *row in db.execute(_ANSWERS):
        digest = sha256(encode(_Row(*row))).digest()
        digests += digest
        at, end = at + 1, sha256(end + digest).digest()
        if position != at or link != end:
            where = f"{row[0]} / {row[1]} / sample {row[2]}"
            gone = f"answer {at} (before {where}) was removed"
            changed = f"answer {position} ({where}) was changed, or one before it removed"
            return Chained(Tip(at, end), broken=gone if position > at else changed)
    tip = Tip(at, end)
    return Chained(tip, bytes(digests), _wrong_end(db, tip))


def _wrong_end(db: sqlite3.Connection, tip: Tip) -> str:
    """What is wrong with the end of a chain whose links hold, or nothing."""
    noted = _noted(db)
    if noted != tip:
        gone = noted is not None and noted.answers > tip.answers
        return f"answer {tip.answers + 1} and all after it were removed" if gone else "its chain has another end"
    (stored,) = db.execute("SELECT COUNT(*) FROM responses").fetchone()
    return f"{stored - tip.answers} answers are not in the chain of those that came in" if stored != tip.answers else ""


def plan_digest(db: sqlite3.Connection) -> str:
    """SHA-256 of the prompts and keys of the plan."""
    digest = hashlib.sha256()
    for query in (
        "SELECT position, id, json FROM prompts ORDER BY position",
        f"SELECT endpoint, prompt, sample, {HASH} AS request_hash FROM plan ORDER BY {ORDER}",  # noqa: S608
    ):
        rows = db.execute(query)
        while part := rows.fetchmany(1_000):
            digest.update(_ENCODER.encode_lines(part))
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
