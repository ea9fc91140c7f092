"""Verifying a results folder against its manifest, and packing it for others: `harness verify`, `pack`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.collect.agreement import disagreements
from harness.config import Campaign, read_text
from harness.errors import StoreError
from harness.files import replacing
from harness.plan import STORE
from harness.report.manifest import CALIBRATION, config_hash, costs, of_store
from harness.store import Store, check, copy_store, forged_requests, packages

MANIFEST = "manifest.json"
_ADDED = ("notes_sha256",)  # not in manifests of earlier versions
_LABELS = {
    "config_sha256": "config",
    "responses_sha256": "responses",
    "stored_prompts_sha256": "prompts",
    "prompts_sha256": "prompt sets",
    "notes_sha256": "notes",
}


@dataclass(frozen=True)
class Verified:
    """What was checked, what differs, and what is worth knowing though it proves nothing wrong."""

    checked: tuple[str, ...]
    differs: tuple[str, ...]
    notes: tuple[str, ...]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a results folder, with the fields that checks need; `StoreError` if it is not a manifest."""
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
    """Work out again what a manifest says of config, store and files, and compare. `StoreError` if it is not a store.

    What cannot be worked out is not compared: when it was written, on which platform, and with which packages.
    """
    manifest, path = read_manifest(folder), folder / STORE
    config, differs = manifest["config"], []
    with Store(path, readonly=True) as store:
        check(store)
        hashes = store.prompt_hashes()
        differs += [f"requests: {said}" for said in _requests(store, config)]
        differs += [f"config: {said}" for said in _unlike(store, config)]
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
    counts = store.without_request()
    if missing := sum(n for name, n in counts.items() if name in called):
        yield f"{missing} answers have none"


def _unlike(store: Store, config: Mapping[str, Any]) -> Iterator[str]:
    """How the stored plan differs from what the manifest's config asks for; of a config with mistakes nothing."""
    with contextlib.suppress(ValidationError):
        yield from disagreements(Campaign.model_validate(config), None, store)


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


_README = """# {name}: score it again

This pack holds every answer of the campaign "{name}" with the request that got it ({store}), the config without keys,
the prompts, the calibration and the results. Nobody is asked and no key is needed.

    pip install behavioral-probing-harness=={version}
    harness verify {results}           # the files are what manifest.json says
    harness score config.yaml          # compares and decides again, from the stored answers
    sha256sum -c SHA256SUMS            # the tables are the same, byte for byte

The last digits of a number can depend on versions of numpy, scipy and scikit-learn: manifest.json names those that made
these tables, and `harness verify` says which differ from yours. Python was {python}.
"""


def pack_folder(folder: Path, out: Path) -> list[str]:
    """Write the pack of a scored campaign; returns the names of its members. Refuses what `verify` would not pass."""
    manifest = read_manifest(folder)
    if differs := verify_folder(folder).differs:
        raise StoreError(f"{folder}: {differs[0]}", "run `harness score` first, so that results and manifest agree")
    try:
        campaign = Campaign.model_validate(manifest["config"])
    except ValidationError as e:
        raise StoreError(f"{folder}: {e.error_count()} mistakes in the manifest's config", "was it edited?") from e
    names = sorted(manifest["files_sha256"])
    inside = f"results/{campaign.campaign}"
    texts = {
        "README.md": _readme(campaign.campaign, inside, manifest),
        "SHA256SUMS": "".join(f"{manifest['files_sha256'][n]}  {inside}/{n}\n" for n in names if n.endswith(".csv")),
        "config.yaml": _config(campaign),
        "prompts.jsonl": _prompts(folder / STORE),
    }
    with replacing(out, "choose another place") as part, tempfile.TemporaryDirectory() as scratch:
        files = {f"{inside}/{n}": folder / n for n in [*names, MANIFEST]}
        files[f"{inside}/{STORE}"] = copy_store(folder / STORE, Path(scratch) / STORE)
        files[CALIBRATION] = folder / CALIBRATION
        _zip(part, campaign.campaign, texts, files)
    return sorted(f"{campaign.campaign}/{n}" for n in [*texts, *files])


def _readme(name: str, inside: str, manifest: dict[str, object]) -> str:
    versions = manifest.get("packages")
    version = versions.get("behavioral-probing-harness", "") if isinstance(versions, dict) else ""
    return _README.format(
        name=name, results=inside, store=f"{inside}/{STORE}", version=version, python=manifest.get("python")
    )


def _config(campaign: Campaign) -> str:
    """The config with paths that hold inside the pack."""
    analysis = campaign.analysis.model_copy(update={"calibration": Path(CALIBRATION)})
    moved = campaign.model_copy(update={"results": Path("results"), "reuse": (), "analysis": analysis})
    return yaml.safe_dump(moved.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=False)


def _prompts(path: Path) -> str:
    with Store(path, readonly=True) as store:
        return "".join(json.dumps(asdict(p), ensure_ascii=True) + "\n" for p in store.prompts())


def _zip(path: Path, top: str, texts: dict[str, str], files: dict[str, Path]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted([*texts, *files]):
            info = zipfile.ZipInfo(f"{top}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=name.endswith(STORE)) as member:
                if name in texts:
                    member.write(texts[name].encode())
                else:
                    with files[name].open("rb") as content:
                        shutil.copyfileobj(content, member)
