"""Presets: named lists of prompt sets, so that a campaign can say `set: preset:quick`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.config import PromptUse
from harness.errors import ConfigError
from harness.loading import read_yaml
from harness.prompts import shipped_folder

_PREFIX = "preset:"


class _Preset(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompts: tuple[PromptUse, ...]


def expand(uses: Iterable[PromptUse], folder: Path) -> list[PromptUse]:
    """Prompt uses with every preset replaced by what it stands for.

    What a use says beside its preset (a limit, say) goes for every set in it. Presets are looked for in
    ``folder``/presets, then among the project's own. `ConfigError` for one that nobody knows.
    """
    out: list[PromptUse] = []
    for use in uses:
        if not use.set.startswith(_PREFIX):
            out.append(use)
            continue
        changes = use.model_dump(exclude={"set"}, exclude_unset=True)
        out += [u.model_copy(update=changes) for u in _read(use.set.removeprefix(_PREFIX), folder).prompts]
    return out


def available_presets(folder: Path) -> list[str]:
    """Names of the presets in a folder of prompt sets."""
    return sorted(p.stem for p in (folder / "presets").glob("*.yaml"))


def _read(name: str, folder: Path) -> _Preset:
    known = sorted({*available_presets(folder), *available_presets(shipped_folder())})
    if name not in known:
        raise ConfigError(f"there is no preset {name!r}", f"known: {', '.join(known) or 'none'}")
    path = next(d for f in (folder, shipped_folder()) if (d := f / "presets" / f"{name}.yaml").is_file())
    try:
        return _Preset.model_validate(read_yaml(path).values)
    except ValidationError as e:
        raise ConfigError(f"{path}: {e.errors()[0]['msg']}", "a preset is `prompts:` with a list of sets") from None
