"""manifest.json: what went in, what came out, and with which versions, so that others can check."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.collect.context import cost_of
from harness.config import Campaign, Remote, content_hash, without_keys
from harness.report.dictionary import SCHEMA_VERSION
from harness.store import FORMAT, Seal, Store, endpoint_summary, notes_digest, packages, reused, runs, seal, spent

CALIBRATION = "calibration-used.json"


def facts(
    campaign: Campaign, prompt_hashes: Mapping[str, str], store: Path, now: datetime, judged: Seal | None = None
) -> dict[str, Any]:
    """All of the manifest but the files. The config holds no keys by construction, only names of variables.

    ``judged`` are the hashes of the answers as they were read before they were judged.
    """
    config = public_config(campaign)
    return {
        "format": 1,
        "store_format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "written_at": now.isoformat(timespec="seconds"),
        "campaign": campaign.campaign,
        "config": config,
        "config_sha256": config_hash(config),
        "prompts_sha256": dict(prompt_hashes),
        **of_store(store, judged),
        "costs": costs(campaign, store),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": packages(),
    }


def manifest_json(known: Mapping[str, Any], files: Mapping[str, str | bytes]) -> str:
    """The manifest as JSON text: ``known`` from `facts`, and the hashes of the files by name."""
    content = {**known, "files_sha256": {name: _sha(text) for name, text in sorted(files.items())}}
    return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def of_store(path: Path, known: Seal | None = None) -> dict[str, Any]:
    """What the manifest says that follows from the store alone, so that anybody can work it out again.

    ``responses_sha256`` is over all answers of the plan in the order of their keys; ``notes_sha256`` over the
    endpoints' fingerprints, the runs, and which calls were reused, failed or tried again. Both are of rows, not of
    the file: SQLite may lay the same rows out in other ways. Hashes of answers that are ``known`` are not worked out.
    """
    endpoints, failures = endpoint_summary(path)
    with Store(path, readonly=True) as store:
        answers = known or seal(store)
        return {
            "stored_prompts_sha256": content_hash(store.prompts()),
            "responses_sha256": answers.responses_sha256,
            "chain": answers.chain,
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
    public: dict[str, object] = without_keys(campaign.model_dump(mode="json"))
    return public


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


def _sha(content: str | bytes) -> str:
    return hashlib.sha256(content.encode("utf-8", "replace") if isinstance(content, str) else content).hexdigest()
