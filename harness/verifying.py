"""`harness verify`: is a results folder what its manifest says?"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.campaign import STORE
from harness.collect.foreign import check, forged_requests
from harness.collect.store import Store
from harness.config import Campaign
from harness.errors import StoreError
from harness.loading import read_text
from harness.report.manifest import config_hash, costs, of_store
from harness.versions import packages

MANIFEST = "manifest.json"
_ADDED = ("notes_sha256",)  # not in manifests of earlier versions
_LABELS = {
    "config_sha256": "config",
    "responses_sha256": "responses",
    "stored_prompts_sha256": "prompts",
    "prompts_sha256": "prompt sets",
    "notes_sha256": "notes",
}
_WITHOUT_REQUEST = (
    "SELECT endpoint, COUNT(*) FROM plan JOIN responses USING (endpoint, prompt, sample, request_hash) "
    "WHERE request_hash NOT IN (SELECT hash FROM requests) GROUP BY 1"
)


@dataclass(frozen=True)
class Verified:
    """What was checked, what differs, and what is worth knowing though it proves nothing wrong."""

    checked: tuple[str, ...]
    differs: tuple[str, ...]
    notes: tuple[str, ...]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a results folder, with the fields that checks need; `StoreError` if it is none."""
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f"{path}: not there", "name the folder of a campaign that was scored: results/NAME")
    try:
        manifest = json.loads(read_text(path))
        files = dict(manifest["files_sha256"])
        expected = (manifest["config"], manifest["config_sha256"], manifest["responses_sha256"])
    except (ValueError, KeyError, TypeError) as e:
        raise StoreError(f"{path}: not a manifest ({type(e).__name__}: {str(e)[:80]})", "run `harness score`") from e
    for name in files:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or ":" in name:
            raise StoreError(f"{path}: {name[:80]!r} is no name of a file in this folder", "this manifest is forged")
    if not isinstance(expected[0], dict):
        raise StoreError(f"{path}: its config is no mapping", "run `harness score`")
    return dict(manifest)


def verify_folder(folder: Path) -> Verified:
    """Work out again what a manifest says of config, store and files, and compare. `StoreError` if the store is none.

    What cannot be worked out is not compared: when it was written, on which platform, and with which packages.
    """
    manifest, path = read_manifest(folder), folder / STORE
    config, differs = manifest["config"], []
    with Store(path, readonly=True) as store:
        check(store)
        hashes = store.prompt_hashes()
        differs += [f"requests: {said}" for said in _requests(store, config)]
    now: dict[str, Any] = {**of_store(path), "config_sha256": config_hash(config), "prompts_sha256": hashes}
    now["campaign"] = config.get("campaign")
    try:
        now["costs"] = costs(Campaign.model_validate(config), path)
    except ValidationError as e:
        differs.append(f"config: {e.error_count()} mistakes in it, so that costs cannot be worked out")
    unknown = [name for name in _ADDED if name not in manifest]
    expected = {_LABELS.get(k, k): (manifest.get(k), _as_json(v)) for k, v in now.items() if k not in unknown}
    expected |= {name: (sha, _file_hash(folder / name)) for name, sha in sorted(manifest["files_sha256"].items())}
    differs += [f"{name} is {_short(found)}, manifest.json says {_short(said)}"
                for name, (said, found) in expected.items() if said != found]  # fmt: skip
    notes = [f"this manifest is of an earlier version: it has no {name}" for name in unknown]
    return Verified((*expected, "requests"), tuple(differs), (*notes, *_versions(manifest)))


def _requests(store: Store, config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the requests of the plan's answers. Endpoints of kind recorded have none."""
    if forged := forged_requests(store):
        yield f"{len(forged)} are not what their hashes say, such as {forged[0][:12]}"
    listed = config.get("endpoints")
    found = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    called = {str(e.get("name")) for e in found if e.get("kind") != "recorded"}
    counts = dict(store.each(_WITHOUT_REQUEST))
    if missing := sum(n for name, n in counts.items() if name in called):
        yield f"{missing} answers have none"


def _as_json(value: object) -> object:
    """As it is after it was written and read."""
    return json.loads(json.dumps(value))


def _short(value: object) -> str:
    if value is None:
        return "missing"
    text = value if isinstance(value, str) else hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    return text[:12]


def _file_hash(path: Path) -> str | None:
    try:
        with path.open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError:
        return None


def _versions(manifest: dict[str, Any]) -> list[str]:
    here = {"python": platform.python_version(), **packages()}
    then = {"python": manifest.get("python"), **dict(manifest.get("packages") or {})}
    return [f"{p} was {then[p]}, here is {here.get(p, 'none')}" for p in then if then[p] != here.get(p)]
