"""Stores of others: every row checked before it is believed, then merged, reused or copied."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from harness.errors import StoreError
from harness.records import Key, Prompt, Response, Surface, request_hash
from harness.store.chain import COLUMNS, IN_ORDER, Chained, content_digest, unpacked
from harness.store.database import NOTES, compact
from harness.store.provenance import copy_notes, note_reused, noted_endpoints
from harness.store.store import Store, batches, key_of

_NAMED = 5  # conflicts that a message names


def merge(
    target: Store,
    sources: Sequence[tuple[Path, Store]],
    prompts: Sequence[Prompt],
    keys: set[Key],
    unlike: Mapping[Path, Mapping[str, str]] | None = None,
) -> Mapping[Path, int]:
    """Add to ``target`` what the sources hold of the plan ``keys``; returns how many answers each added.

    ``unlike`` says of a store which endpoints took there what another store left out. Raises `StoreError`, and adds
    nothing, if prompts differ, if a store has answers to other requests than those of the plan, or if one key has two
    different answers. A shard may lack what it was not asked for.
    """
    conflicts: list[str] = []
    unlike = unlike or {}
    _refuse_strange(target, keys, unlike.get(target.path, {}))
    for path, source in sources:
        told, expected = (json.dumps([asdict(p) for p in ps], sort_keys=True) for ps in (source.prompts(), prompts))
        if told != expected:
            raise StoreError(f"{path}: other prompts than the config's", "merge stores of one config and one version")
        _refuse_strange(source, keys, unlike.get(path, {}))
    seen: dict[Key, bytes] = {}
    for path, source in [(target.path, target), *sources]:
        for r in source.responses():
            digest = content_digest(r)
            if seen.setdefault(key_of(r), digest) != digest:
                conflicts.append(f"{r.endpoint} / {r.prompt} / sample {r.sample} ({path})")
    if conflicts:
        more = f" and {len(conflicts) - _NAMED} more" if len(conflicts) > _NAMED else ""
        raise StoreError(
            f"{len(conflicts)} keys have two different answers: {'; '.join(conflicts[:_NAMED])}{more}",
            "nothing was merged; leave out the store that is wrong",
        )
    return {path: _add(target, source) for path, source in sources}


def _refuse_strange(store: Store, keys: set[Key], unlike: Mapping[str, str]) -> None:
    """An answer to a request with a parameter is not one to the request without it: they make no sample together."""
    strange = Counter(key[0] for key, answered in store.plan_keys() if answered and key not in keys)
    for endpoint, count in strange.items():
        if endpoint in unlike:
            raise StoreError(
                f"{store.path}: {endpoint} gave {count} answers to requests with {unlike[endpoint]}, which another of "
                "these stores left out because the server refused it; answers with it and without it are not one plan",
                "leave out one of the two, merge the rest, and `harness run` asks only what is missing",
            )
    if strange:
        raise StoreError(
            f"{store.path}: another plan than the config's: {strange.total()} answers to requests that it does not "
            "make",
            "were endpoints, parameters or recorded files changed since? another name for the campaign keeps both",
        )


def _add(target: Store, source: Store) -> int:
    added = 0
    for batch in batches(r for r in source.responses() if not target.answered(key_of(r))):
        target.add_many(batch)
        target.copy_requests(source, {r.request_hash for r in batch})
        added += len(batch)
    copy_notes(target, source)
    return added


def reuse(
    target: Store, sources: Iterable[tuple[str, Path]], identities: Mapping[str, str], wanted: Callable[[Key], bool]
) -> int:
    """Take planned answers that are missing from other campaigns' stores; returns how many.

    ``sources`` are (name to record, store), ``identities`` fingerprints of this config's endpoints by name. An answer
    counts only if its key is of the target's plan and ``wanted``, and the source asked, under that endpoint's name,
    nobody but the very endpoint of this config: a name alone does not say who answered.
    """
    taken = 0
    with ExitStack() as stack:
        for label, source in [(label, stack.enter_context(foreign(path))) for label, path in sources]:
            asked: dict[str, set[str]] = {}
            for name, fingerprint, _ in noted_endpoints(source):
                asked.setdefault(name, set()).add(fingerprint)
            same = {n for n, f in identities.items() if asked.get(n) == {f}}
            found = (r for r in source.all_responses() if r.endpoint in same and _missing(target, key_of(r), wanted))
            for batch in batches(found):
                target.add_many(batch)
                target.copy_requests(source, {r.request_hash for r in batch})
                note_reused(target, batch, label)
                taken += len(batch)
    return taken


def _missing(target: Store, key: Key, wanted: Callable[[Key], bool]) -> bool:
    return wanted(key) and target.planned(key) and not target.answered(key)


def copy_store(source_path: Path, target_path: Path) -> Path:
    """A new store of all answers, in the order in which they came: the same bytes every time.

    Answers to earlier plans go with it: what the manifest says of endpoints and costs counts them.
    """
    with Store(source_path, readonly=True) as source, Store(target_path) as target:
        target.set_plan(source.prompts(), (key for key, _ in source.plan_keys()), source.prompt_hashes())
        target.take_answers(source)
        copy_notes(target, source)
        for key, value in source.notes():
            target.set_note(key, value)
    compact(target_path)
    return target_path


Whole = Annotated[int, Meta(ge=0, le=2**53)]  # counts, positions and samples
_Status = Annotated[int, Meta(ge=0, le=999)]
_Seconds = Annotated[float, Meta(ge=0, le=1e12)]
_BOUNDED: Mapping[Any, Any] = {int: Whole, int | None: Whole | None, float: _Seconds}
_KEY = {"endpoint": str, "prompt": str, "sample": Whole, "request_hash": str}
_NUMBERED = {"endpoint": str, "prompt": str, "sample": Whole, "request": Whole}
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
    "requests": {"id": Whole, "hash": str, "surface": Surface | None, "body": bytes | None},
    "plan": _NUMBERED,
    "responses": {c: _BOUNDED.get(_HINTS[c], _HINTS[c]) for c in COLUMNS if c != "request_hash"}
    | {"request": Whole, "position": int, "link": bytes | None},
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
        require_whole(store)
        yield store


def require_whole(store: Store) -> Chained:
    """`StoreError`, in one line, if anything in a store is not what a run wrote: read before it is believed.

    Returns the chain of its answers as it was read, for `seal`.
    """
    check(store)
    try:
        forged, found = forged_requests(store), store.read_through()
    except sqlite3.Error as e:
        forged, found = [], Chained(broken=str(e)[:120])
    said = f"{len(forged)} requests are not what their hashes say, such as {forged[0][:12]}" if forged else found.broken
    if said:
        raise StoreError(f"{store.path}: {said}", "it is damaged or forged; leave it out, or take back an older copy")
    return found


@dataclass(frozen=True)
class Seal:
    """Hashes of a store's answers: the head of its ``chain``, as `Store.chain` says it, and ``responses_sha256`` over
    those of the plan in the order of their keys."""

    chain: Mapping[str, object]
    responses_sha256: str


def seal(store: Store, found: Chained = Chained()) -> Seal:
    """The hashes of a store's answers: of those that `require_whole` ``found``, else they are read again."""
    digest = hashlib.sha256()
    if found.tip.answers:  # what came since was not looked at
        for at, _ in store.each(IN_ORDER):
            digest.update(found.digest(at))
        return Seal(found.head, digest.hexdigest())
    for r in store.responses():
        digest.update(content_digest(r))
    return Seal(store.chain(), digest.hexdigest())


def forged_requests(store: Store) -> list[str]:
    """Hashes of stored requests whose surface and body are not what was hashed."""
    rows = store.each("SELECT hash, surface, body FROM requests WHERE body IS NOT NULL ORDER BY hash")
    return [unpacked(found) for found, surface, body in rows if request_hash(surface, body) != unpacked(found)]


def check(store: Store) -> None:
    """`StoreError` unless all tables are there and every row has the types and ranges that a run writes."""
    where = "its schema"
    try:
        with store.strict():
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
    row_type, names = msgspec.defstruct("Row", list(columns.items())), ", ".join(columns)
    in_turn: Any = list[msgspec.defstruct("InTurn", list(columns.items()), array_like=True)]  # type: ignore[misc]
    told = table in ("meta", "requests") or "json" in columns  # rows of the others hold types and ranges alone
    for part in batches(store.each(f"SELECT {names} FROM {table}")):  # noqa: S608
        if not told:
            with contextlib.suppress(msgspec.ValidationError):
                msgspec.convert(part, in_turn, builtin_types=(bytes,))
                continue
        for row in part:
            _check_row(table, dict(zip(columns, row, strict=True)), row_type)


def _check_row(table: str, values: dict[str, Any], row_type: type) -> None:
    if table == "requests":
        values["hash"] = unpacked(values["hash"])
    msgspec.convert(values, row_type, builtin_types=(bytes,))
    if table == "meta":
        _check_note(values["key"], values["value"])
    elif "json" in values:
        found = json.loads(values["json"])
        msgspec.convert(found, Prompt if table == "prompts" else dict[str, Any])
        if table == "prompts" and (found.keys() - Prompt.__dataclass_fields__.keys() or found["id"] != values["id"]):
            raise ValueError(f"prompt {values['id'][:40]!r} has other fields than a prompt")


def _check_note(key: str, value: str) -> None:
    if key == "prompt_hashes":
        msgspec.convert(json.loads(value), dict[str, str])
    elif key.startswith("learned/"):
        msgspec.convert(json.loads(value), _Learned)
