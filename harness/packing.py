"""`harness pack`: all that another person needs to score again, offline, in one zip; the same bytes every time."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path

import yaml
from pydantic import ValidationError

from harness.campaign import STORE
from harness.collect.joining import batches
from harness.collect.provenance import copy_notes
from harness.collect.store import Store
from harness.config import Campaign
from harness.errors import StoreError
from harness.report.manifest import CALIBRATION
from harness.verifying import MANIFEST, read_manifest, verify_folder

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
    part = out.with_name(f".{out.name}.part")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            files = {f"{inside}/{n}": folder / n for n in [*names, MANIFEST]}
            files[f"{inside}/{STORE}"] = copy_store(folder / STORE, Path(scratch) / STORE)
            files[CALIBRATION] = folder / CALIBRATION
            _zip(part, campaign.campaign, texts, files)
        part.replace(out)
    except OSError as e:
        raise StoreError(f"{out}: {e.strerror or e}", "choose another place") from e
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
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


def copy_store(source_path: Path, target_path: Path) -> Path:
    """A new store of all answers, its rows in the order of their keys: the same bytes every time.

    Answers to earlier plans go with it: what the manifest says of endpoints and costs counts them.
    """
    with Store(source_path, readonly=True) as source, Store(target_path) as target:
        target.set_plan(source.prompts(), (key for key, _ in source.plan_keys()), source.prompt_hashes())
        for batch in batches(source.all_responses()):
            target.add_many(batch)
            target.copy_requests(source, {r.request_hash for r in batch})
        copy_notes(target, source)
    with contextlib.closing(sqlite3.connect(target_path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")  # one file, readable where nothing can be written
        db.execute("VACUUM")
    return target_path


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
