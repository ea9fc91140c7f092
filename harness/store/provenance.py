"""Provenance notes: endpoint fingerprints, runs, package versions, reused answers, costs and mixtures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from harness.errors import StoreError
from harness.records import CHARACTERS_PER_TOKEN, Response
from harness.store.chain import HASH
from harness.store.database import NOTES, for_reading
from harness.store.store import Store

Stating = Literal["model_answered", "system_fingerprint", "provider", "finish_reason"]
_PACKAGES = (
    *("behavioral-probing-harness", "openai", "httpx", "httpx2", "aiohttp", "datasets", "scikit-learn", "tenacity"),
    *("pyyaml", "numpy", "scipy", "lir", "msgspec", "pyarrow", "joblib", "xllamacpp"),
)


def packages() -> dict[str, str]:
    """Version by package, of those that are installed."""
    return {p: v for p in _PACKAGES if (v := _version(p))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


_NAMED = 4  # values that a sentence names


def note_endpoint(store: Store, name: str, fingerprint: str, description: str) -> None:
    """Record the fingerprint of the endpoint behind a name, see `harness.endpoints.local.endpoint_fingerprint`."""
    store.insert("INSERT OR IGNORE INTO endpoints VALUES (?, ?, ?)", [(name, fingerprint, description)])


def forget_endpoint(store: Store, name: str) -> None:
    """Take back what is noted of a name under which nobody has answered."""
    store.insert("DELETE FROM endpoints WHERE name = ?", [(name,)])


def noted_endpoints(store: Store) -> list[tuple[str, str, str]]:
    """(name, fingerprint, description as JSON) of every identity that was asked under a name."""
    return store.rows("endpoints", "SELECT name, fingerprint, json FROM endpoints ORDER BY 1, 2")


def note_run(store: Store, started_at: str, told: Mapping[str, Any]) -> None:
    """Record a run: when it began (UTC, ISO 8601) and with which versions. Said again, it is replaced."""
    store.insert("INSERT OR REPLACE INTO runs VALUES (?, ?)", [(started_at, json.dumps(told, sort_keys=True))])


def runs(store: Store) -> list[dict[str, Any]]:
    """Every run that wrote into a store, in order. An answer belongs to the last that began before it came."""
    rows = store.rows("runs", "SELECT started_at, json FROM runs ORDER BY 1, 2")
    try:
        return [{"started_at": at, **json.loads(told)} for at, told in rows]
    except (ValueError, TypeError, RecursionError) as e:
        raise StoreError(f"{store.path}: its runs cannot be read ({type(e).__name__})", "is the file damaged?") from e


def note_reused(store: Store, responses: Iterable[Response], source: str) -> None:
    """Record that answers were taken from another store."""
    rows = ((r.endpoint, r.prompt, r.sample, r.request_hash, source) for r in responses)
    store.insert("INSERT OR IGNORE INTO reused VALUES (?, ?, ?, ?, ?)", rows)


def reused(store: Store) -> list[tuple[str, str, int]]:
    """(endpoint, source, count) of the plan's answers that were taken from other stores."""
    return store.rows(
        "reused",
        "SELECT endpoint, source, COUNT(*) FROM reused JOIN plan USING (endpoint, prompt, sample) "  # noqa: S608
        f"WHERE request_hash = {HASH} GROUP BY 1, 2 ORDER BY 1, 2",
    )


def spent(store: Store) -> list[tuple[str, int, int]]:
    """(endpoint, prompt tokens, completion tokens) paid for what is stored.

    As servers counted; where one did not, characters by four, as in `harness.collect.context`.
    """
    asked = f"COALESCE(r.prompt_tokens, LENGTH(q.body) / {CHARACTERS_PER_TOKEN}, 0)"
    wrote = f"COALESCE(r.completion_tokens, (LENGTH(r.text) + LENGTH(r.reasoning)) / {CHARACTERS_PER_TOKEN}, 0)"
    return store.rows(
        "reused",
        f"SELECT r.endpoint, SUM({asked}), SUM({wrote}) FROM responses r "  # noqa: S608
        "LEFT JOIN requests q ON q.id = r.request "
        "LEFT JOIN reused u ON (u.endpoint, u.prompt, u.sample) = (r.endpoint, r.prompt, r.sample) "
        f"AND u.request_hash = {HASH} WHERE u.endpoint IS NULL GROUP BY r.endpoint",
    )


def copy_notes(target: Store, source: Store) -> None:
    """Copy provenance notes from another store: fingerprints, runs, reused answers and failed calls."""
    for table, columns in NOTES.items():
        rows = source.rows(table, f"SELECT {', '.join(columns)} FROM {table}")  # noqa: S608
        target.add_missing(table, columns, rows)


def notes_digest(store: Store) -> str:
    """SHA-256 of all that `copy_notes` takes over, in an order of its own; rows that are there twice count once."""
    digest = hashlib.sha256()
    for table, columns in NOTES.items():
        names = ", ".join(columns)
        query = f"SELECT DISTINCT {names} FROM {table} ORDER BY {names}"  # noqa: S608
        for row in store.rows(table, query):
            digest.update(json.dumps([table, *row], default=repr).encode() + b"\n")
    return digest.hexdigest()


def mixtures(store: Store) -> dict[str, str]:
    """Endpoints that said more than one thing of who answers, and what, with counts. A mixture is not one model."""
    out: dict[str, list[str]] = {}
    columns: tuple[tuple[Stating, str], ...] = (
        ("model_answered", "model"), ("system_fingerprint", "fingerprint"), ("provider", "provider"),
    )  # fmt: skip
    for column, what in columns:
        for endpoint, values in stated(store, column).items():
            if len(values) > 1:
                told = ", ".join(f"{value} ({count})" for value, count in values[:_NAMED])
                more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
                out.setdefault(endpoint, []).append(f"{len(values)} {what}s: {told}{more}")
    return {endpoint: "; ".join(parts) for endpoint, parts in out.items()}


def stated(store: Store, column: Stating) -> dict[str, list[tuple[str, int]]]:
    """What the answers of each endpoint state of who gave them, with counts, commonest first."""
    found: dict[str, list[tuple[str, int]]] = {}
    query = (
        f"SELECT endpoint, {column}, COUNT(*) FROM plan "  # noqa: S608
        f"JOIN responses USING (endpoint, prompt, sample, request) WHERE {column} != '' GROUP BY 1, 2 "
        "ORDER BY 1, 3 DESC, 2"
    )
    for endpoint, value, count in store.rows("responses", query):
        found.setdefault(endpoint, []).append((value[:80], count))
    return found


def recorded_between(store: Store) -> dict[str, tuple[str, str]]:
    """When the first and the last answer of each endpoint came, as the store has it; none that came without a time."""
    query = (
        "SELECT endpoint, MIN(received_at), MAX(received_at) FROM plan "
        "JOIN responses USING (endpoint, prompt, sample, request) WHERE received_at != '' GROUP BY 1"
    )
    return {endpoint: (first, last) for endpoint, first, last in store.rows("responses", query)}


_LONGEST, _NAMED = 200, 50  # characters of a name, and names, that are listed of what an endpoint said of itself


def endpoint_summary(path: Path) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Per endpoint: models asked and answered, fingerprints, outcomes, tokens, times; and failures still open."""
    db = for_reading(path)
    out: dict[str, dict[str, object]] = {}
    said = ("model_asked", "model_answered", "system_fingerprint", "provider")
    columns = ", ".join(f"substr({c}, 1, {_LONGEST})" for c in said)  # a server may say anything, at any length
    query = f"SELECT DISTINCT endpoint, {columns} FROM responses"  # noqa: S608
    for endpoint, *found in db.execute(query):
        entry = out.setdefault(endpoint, {k: set() for k in ("asked", "answered", "fingerprints", "providers")})
        for names, value in zip(entry.values(), found, strict=True):
            if value:
                names.add(value)  # type: ignore[attr-defined]
    for endpoint, entry in out.items():
        for key, names in entry.items():
            entry[key] = _first(names)  # type: ignore[arg-type]
        row = db.execute(
            "SELECT COUNT(*), SUM(prompt_tokens), SUM(completion_tokens), SUM(attempts), MIN(received_at), "
            "MAX(received_at) FROM responses WHERE endpoint = ?",
            (endpoint,),
        ).fetchone()
        entry |= dict(
            zip(
                ("answers", "prompt_tokens", "completion_tokens", "attempts", "first", "last"),
                row,
                strict=True,
            )
        )
        counts = db.execute(
            "SELECT outcome, COUNT(*) FROM responses WHERE endpoint = ? GROUP BY 1 ORDER BY 1", (endpoint,)
        )
        entry["outcomes"] = dict(counts)
        # Servers take the parameter and leave it out of the answer: what was asked for and what came are two things.
        asked = "SELECT COUNT(*), COUNT(r.logprobs) FROM responses r JOIN requests q ON q.id = r.request "
        found = db.execute(f"{asked} WHERE r.endpoint = ? AND instr(q.body, ?)", (endpoint, b'"logprobs":'))
        entry["logprobs"] = dict(zip(("asked", "came"), found.fetchone(), strict=True))
    db.close()
    with Store(path, readonly=True) as store:
        failures = [{"endpoint": e, "kind": k, "calls": n} for e, k, n in store.failures()]
    return dict(sorted(out.items())), failures


def _first(names: set[str]) -> list[str]:
    more = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return sorted(names)[:_NAMED] + more
