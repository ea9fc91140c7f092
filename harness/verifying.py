"""`harness verify`: is a results folder what its manifest says?"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.campaign import STORE
from harness.errors import StoreError
from harness.loading import read_text
from harness.report.manifest import config_hash, store_hashes
from harness.versions import packages

MANIFEST = "manifest.json"


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
    """Recompute all hashes of a results folder."""
    manifest = read_manifest(folder)
    responses, prompts, reused = store_hashes(folder / STORE)
    expected = {
        "config": (manifest["config_sha256"], config_hash(manifest["config"])),
        "responses": (manifest["responses_sha256"], responses),
        "prompts": (manifest.get("stored_prompts_sha256"), prompts),
        "reused": (manifest.get("reused"), reused),
    }
    expected |= {name: (sha, _file_hash(folder / name)) for name, sha in sorted(manifest["files_sha256"].items())}
    differs = [f"{name} is {_short(now)}, manifest.json says {_short(said)}" for name, (said, now) in expected.items()
               if said != now]  # fmt: skip
    return Verified(tuple(expected), tuple(differs), tuple(_versions(manifest)))


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else "missing" if value is None else "other"


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
