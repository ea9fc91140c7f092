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
from harness.collect.provenance import reused, runs, spent
from harness.collect.schema import FORMAT
from harness.collect.store import Store
from harness.config import Campaign, Remote
from harness.prompts import content_hash
from harness.versions import packages

CALIBRATION = "calibration-used.json"
_SECRET_NAME = re.compile(r"(x-)?(api[-_]?)?(key|token|secret|password)|(proxy-)?authorization", re.IGNORECASE)
_IN_URL = re.compile(r"(://)[^/\s@]+(@)|([?&][^=&\s]*(?:key|token|secret|sig|password)[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def facts(campaign: Campaign, prompt_hashes: Mapping[str, str], store: Path) -> dict[str, Any]:
    """All of the manifest but the files. The config holds no keys by construction, only names of variables."""
    config = public_config(campaign)
    endpoints, failures = endpoint_summary(store)
    money = costs(campaign, store)
    responses, prompts, taken = store_hashes(store)
    return {
        "format": 1,
        "store_format": FORMAT,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "campaign": campaign.campaign,
        "config": config,
        "config_sha256": config_hash(config),
        "prompts_sha256": dict(prompt_hashes),
        "stored_prompts_sha256": prompts,
        "responses_sha256": responses,
        "reused": taken,
        "runs": _runs(store),
        "endpoints": endpoints,
        "failures": failures,
        "costs": money,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": packages(),
    }


def manifest_json(known: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The manifest as JSON text: ``known`` from `facts`, and the hashes of the files by name."""
    content = {**known, "files_sha256": {name: _sha(text) for name, text in sorted(files.items())}}
    return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def store_hashes(path: Path) -> tuple[str, str, list[dict[str, object]]]:
    """SHA-256 of all answers of the plan in the order of their keys, that of its prompts, and what was reused.

    Of the rows, not of the file: SQLite may lay the same rows out in other ways.
    """
    digest = hashlib.sha256()
    with Store(path, readonly=True) as store:
        for r in store.responses():
            digest.update(content_digest(r))
        taken = [{"endpoint": e, "source": s, "answers": n} for e, s, n in reused(store)]
        return digest.hexdigest(), content_hash(store.prompts()), taken


def _runs(path: Path) -> list[dict[str, Any]]:
    with Store(path, readonly=True) as store:
        return runs(store)


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
    query = "SELECT DISTINCT endpoint, model_asked, model_answered, system_fingerprint, provider FROM responses"
    for endpoint, *found in db.execute(query):
        entry = out.setdefault(endpoint, {k: set() for k in ("asked", "answered", "fingerprints", "providers")})
        for names, value in zip(entry.values(), found, strict=True):
            if value:
                names.add(value)  # type: ignore[attr-defined]
    for endpoint, entry in out.items():
        for key, names in entry.items():
            entry[key] = sorted(names)  # type: ignore[call-overload]
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
