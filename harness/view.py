"""All campaigns of a folder on one page: `harness view results/`. Read only; nothing is asked and no port is opened.

What stands in the folders may be a stranger's: tables are read by the names of their columns, in bounded size, and what
cannot be read is named on the page.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, HarnessError
from harness.evidence import MANIFEST, read_manifest
from harness.monitor import CHANGES
from harness.report.shelf_page import Shelf, Shelved, Told, Watched

SUMMARY, PAGES = "summary.csv", ("report.html", "answers.html")
LARGEST = 20_000_000  # bytes of a table or manifest
MOST = 2_000  # campaigns and monitor runs on a page


def shelf(root: Path, beside: Path | None = None) -> Shelf:
    """Read all campaigns in a folder, and in the folders of it; of each its monitor runs.

    ``beside`` is the folder of the page, to which the links are relative; default: the folder itself. Raises
    `ConfigError` where there is no campaign at all.
    """
    if not root.is_dir():
        raise ConfigError(f"{root}: no folder", "name the folder that holds your campaigns, as `results`")
    campaigns: list[Shelved] = []
    watches: list[Watched] = []
    unread: list[str] = []
    for folder in _folders(root):
        name = os.path.relpath(folder, beside or root)
        try:
            campaigns.append(_campaign(folder, name))
        except HarnessError as e:
            unread.append(e.message)
        for path in sorted(folder.glob(f"monitor/*/{CHANGES}"))[:MOST]:
            try:
                watches += _watched(folder.name, path)
            except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as e:
                unread.append(f"{path}: not what `monitor` writes ({type(e).__name__})")
    if not campaigns and not watches:
        raise ConfigError(f"{root}: no campaign that was scored", "`harness run` or `harness score` writes one")
    campaigns.sort(key=lambda c: (c.written_at, c.folder), reverse=True)
    return Shelf(tuple(campaigns), tuple(watches), tuple(unread))


def _folders(root: Path) -> Iterator[Path]:
    """The folder itself and those in it that hold a manifest; links out of it are not followed."""
    inside = sorted(p for p in root.iterdir() if p.is_dir() and not p.is_symlink())
    for folder in [root, *inside][:MOST]:
        if (folder / MANIFEST).is_file():
            yield folder


def _campaign(folder: Path, name: str) -> Shelved:
    _bounded(folder / MANIFEST)
    manifest = read_manifest(folder)
    endpoints = manifest.get("endpoints")
    told = endpoints if isinstance(endpoints, Mapping) else {}
    answers = (e.get("answers") for e in told.values() if isinstance(e, Mapping))
    return Shelved(
        name=str(manifest.get("campaign", folder.name)),
        folder=Path(name).as_posix(),
        written_at=str(manifest.get("written_at", "")),
        models=len(told),
        answers=sum(a for a in answers if isinstance(a, int)),
        responses_sha256=str(manifest["responses_sha256"]),
        pages=tuple(p for p in PAGES if (folder / p).is_file()),
        verdicts=tuple(_verdicts(folder / SUMMARY)),
    )


def _verdicts(path: Path) -> Iterator[Told]:
    if not path.is_file():
        return
    try:
        rows = list(csv.DictReader(io.StringIO(_bounded(path).decode("utf-8-sig", "replace"))))
    except csv.Error as e:
        raise ConfigError(f"{path}: not a table ({e})", "run `harness score` again") from e
    for row in rows[:MOST]:
        cells = {k: v for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}
        names = ("question", "suspect", "candidate", "verdict", "p_value", "log10_lr")
        yield Told(*(cells.get(name, "") for name in names))


def _watched(campaign: str, path: Path) -> list[Watched]:
    found: Any = json.loads(_bounded(path))
    return [
        Watched(campaign, path.parent.name, str(c["endpoint"]), str(c["state"]), str(c["sentence"]), int(c["calls"]))
        for c in found
    ]


def _bounded(path: Path) -> bytes:
    """A file's bytes, if they are not too many to be what it should be."""
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"{path}: more than {LARGEST:,} bytes", "is it what its name says?")
        return path.read_bytes()
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror or e}", "is it readable?") from e
