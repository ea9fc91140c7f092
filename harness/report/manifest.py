"""manifest.json: what went in, what came out, and with which versions, so that others can check."""

from __future__ import annotations

import hashlib
import json
import platform
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.collect.schema import FORMAT
from harness.collect.store import Store
from harness.config import Campaign

_PACKAGES = (
    *("behavioral-probing-harness", "openai", "httpx", "datasets", "scikit-learn", "tenacity", "pyyaml"),
    *("numpy", "scipy", "lir", "msgspec", "xllamacpp"),
)


def manifest_json(campaign: Campaign, prompt_hashes: Mapping[str, str], store: Path, files: Mapping[str, str]) -> str:
    """The manifest as JSON text. The config holds no keys by construction, only names of variables."""
    config = campaign.model_dump(mode="json")
    endpoints, failures = endpoint_summary(store)
    content = {
        "format": 1,
        "store_format": FORMAT,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "campaign": campaign.campaign,
        "config": config,
        "config_sha256": _sha(json.dumps(config, sort_keys=True)),
        "prompts_sha256": dict(prompt_hashes),
        "responses_sha256": responses_hash(store),
        "files_sha256": {name: _sha(text) for name, text in sorted(files.items())},
        "endpoints": endpoints,
        "failures": failures,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": {p: v for p in _PACKAGES if (v := _version(p))},
    }
    return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def responses_hash(path: Path) -> str:
    """SHA-256 over all answers of the plan in the order of their keys."""
    digest = hashlib.sha256()
    with Store(path, readonly=True) as store:
        for r in store.responses():
            key = f"{r.endpoint}\n{r.prompt}\n{r.sample}\n{r.request_hash}\n{r.outcome}\n{r.text}\n{r.reasoning}\n"
            digest.update(key.encode("utf-8", "surrogatepass"))
            digest.update(r.logprobs or b"")
    return digest.hexdigest()


def endpoint_summary(path: Path) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Per endpoint: models asked and answered, fingerprints, outcomes, tokens, times; and failures still open."""
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
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
    db.close()
    with Store(path, readonly=True) as store:
        failures = [{"endpoint": e, "kind": k, "calls": n} for e, k, n in store.failures()]
    return dict(sorted(out.items())), failures


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
