"""manifest.json: what went in, what came out, and with which versions, so that others can check."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.collect.budget import cost_of
from harness.collect.joining import content_digest
from harness.collect.opening import for_reading
from harness.collect.provenance import notes_digest, reused, runs, spent
from harness.collect.schema import FORMAT
from harness.collect.store import Store
from harness.config import Campaign, Remote
from harness.prompts import content_hash
from harness.versions import packages

CALIBRATION = "calibration-used.json"
_LONGEST, _NAMED = 200, 50  # characters of a name, and names, that are listed of what an endpoint said of itself
_SECRET_NAME = re.compile(r"(x-)?(api[-_]?)?(key|token|secret|password)|(proxy-)?authorization", re.IGNORECASE)
_IN_URL = re.compile(r"(://)[^/\s@]+(@)|([?&][^=&\s]*(?:key|token|secret|sig|password)[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def facts(campaign: Campaign, prompt_hashes: Mapping[str, str], store: Path) -> dict[str, Any]:
    """All of the manifest but the files. The config holds no keys by construction, only names of variables."""
    config = public_config(campaign)
    return {
        "format": 1,
        "store_format": FORMAT,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "campaign": campaign.campaign,
        "config": config,
        "config_sha256": config_hash(config),
        "prompts_sha256": dict(prompt_hashes),
        **of_store(store),
        "costs": costs(campaign, store),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": packages(),
    }


def manifest_json(known: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The manifest as JSON text: ``known`` from `facts`, and the hashes of the files by name."""
    content = {**known, "files_sha256": {name: _sha(text) for name, text in sorted(files.items())}}
    return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def of_store(path: Path) -> dict[str, Any]:
    """What the manifest says that follows from the store alone, so that anybody can work it out again.

    ``responses_sha256`` is over all answers of the plan in the order of their keys; ``notes_sha256`` over whom names
    stood for, the runs, and which calls were reused, failed or tried again. Both are of rows, not of the file: SQLite
    may lay the same rows out in other ways.
    """
    digest = hashlib.sha256()
    endpoints, failures = endpoint_summary(path)
    with Store(path, readonly=True) as store:
        for r in store.responses():
            digest.update(content_digest(r))
        return {
            "stored_prompts_sha256": content_hash(store.prompts()),
            "responses_sha256": digest.hexdigest(),
            "notes_sha256": notes_digest(store),
            "reused": [{"endpoint": e, "source": s, "answers": n} for e, s, n in reused(store)],
            "runs": runs(store),
            "endpoints": endpoints,
            "failures": failures,
        }


def config_hash(config: Mapping[str, object]) -> str:
    """SHA-256 of a config as the manifest holds it."""
    return _sha(json.dumps(config, sort_keys=True))


def public_config(campaign: Campaign) -> dict[str, object]:
    """The config as others may see it: names of variables stay, whatever looks like a key itself goes."""
    public: dict[str, object] = _public(campaign.model_dump(mode="json"))
    return public


def _public(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _public(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_public(v, name) for v in value]
    if not isinstance(value, str):
        return value
    return "[key]" if _SECRET_NAME.fullmatch(name) else _IN_URL.sub(lambda m: f"{m[1] or m[3]}[key]{m[2] or ''}", value)


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
        asked = "SELECT COUNT(*), COUNT(r.logprobs) FROM responses r JOIN requests q ON q.hash = r.request_hash "
        found = db.execute(f"{asked} WHERE r.endpoint = ? AND instr(q.body, ?)", (endpoint, b'"logprobs":'))
        entry["logprobs"] = dict(zip(("asked", "came"), found.fetchone(), strict=True))
    db.close()
    with Store(path, readonly=True) as store:
        failures = [{"endpoint": e, "kind": k, "calls": n} for e, k, n in store.failures()]
    return dict(sorted(out.items())), failures


def _first(names: set[str]) -> list[str]:
    more = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return sorted(names)[:_NAMED] + more


def costs(campaign: Campaign, path: Path) -> dict[str, object]:
    """Money in the currency of the configured prices: by endpoint, in all, and which called endpoints have no price.

    Of tokens as servers counted them, for answers that are stored and were not reused from an earlier campaign.
    """
    with Store(path, readonly=True) as store:
        used = {name: (prompt, completion) for name, prompt, completion in spent(store)}
    called = [e for e in campaign.endpoints if isinstance(e, Remote)]
    by_endpoint = {e.name: cost_of(e.price, *used.get(e.name, (0, 0))) for e in called if e.price}
    return {
        "endpoints": {name: round(cost, 6) for name, cost in by_endpoint.items()},
        "total": round(sum(by_endpoint.values()), 6),
        "no_price": [e.name for e in called if not e.price],
    }


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
