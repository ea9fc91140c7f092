"""The documented format of prompt files (prompts/README.md), checked field by field."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, meant
from harness.loading import Document

_CARD: dict[str, Any] = {
    "family": str,
    "version": int,
    "purpose": str,
    "discriminates": str,
    "source": str,
    "queries": int,
    "languages": list,
    "surface": str,
    "max_tokens": int,
    "samples": int,
    "temperature": (int, float, type(None)),
    "top_logprobs": (int, type(None)),
    "channels": list,
}
FIELDS = {"answer": list, "scales": list, "rung": int, "twin": str, "claim": str}
_TYPES: dict[str, type] = {"id": str, "text": str, "language": str, "group": str, **FIELDS}
_MAX_CHARS = 100_000


def check_card(path: Path, document: Document) -> dict[str, Any]:
    """The card of a prompt file, or `ConfigError` with file, line and field."""
    values = document.values if isinstance(document.values, dict) else {}
    card = values.get("card")
    if not isinstance(card, dict):
        raise ConfigError(f"{document.path}:1: the card is missing", "add `card:`; see prompts/README.md")

    def wrong(key: str, what: str, hint: str) -> ConfigError:
        return ConfigError(f"{document.path}:{document.line(('card', key))}: {what}", hint)

    for key in card:
        if key not in _CARD:
            raise wrong(str(key), f"unknown field card.{key}", f"known: {', '.join(_CARD)}")
    for key, kind in _CARD.items():
        if key not in card:
            raise wrong(key, f"card.{key} is missing", "see prompts/README.md")
        if not isinstance(card[key], kind) or isinstance(card[key], bool):
            raise wrong(key, f"card.{key} has the wrong type", f"is {card[key]!r}"[:200])
    for key in ("languages", "channels"):
        if not all(isinstance(x, str) for x in card[key]) or not card["languages"]:
            raise wrong(key, f"card.{key} is a list of names", f"is {card[key]!r}"[:200])
    for name in card["channels"]:
        if name not in channel_names():
            raise wrong("channels", f"card.channels: there is no channel {name!r}", meant(name, channel_names()))
    for key in ("max_tokens", "samples"):
        if card[key] < 1:
            raise wrong(key, f"card.{key} is at least 1", f"is {card[key]}")
    if card["surface"] not in ("chat", "completion"):
        raise wrong("surface", "card.surface is chat or completion", f"is {card['surface']!r}")
    if card["family"] != path.stem:
        raise wrong("family", f"card.family must be {path.stem!r}, as the file is called", "rename one of them")
    return card


def channel_names() -> list[str]:
    """Names of the channels that are installed, without loading them."""
    return sorted(e.name for e in entry_points(group="harness.channels"))


def check_rows(path: Path, rows: list[tuple[int, Any]], card: dict[str, Any]) -> list[dict[str, Any]]:
    """The prompts of a file, given with their lines, or `ConfigError` with file, line and field."""
    seen: dict[str, int] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        if not isinstance(row, dict):
            raise ConfigError(f"{where}: a prompt is a mapping with id and text", "see prompts/README.md")
        for key in row:
            if key not in _TYPES:
                raise ConfigError(f"{where}: unknown field {key!r}", f"known: {', '.join(sorted(_TYPES))}")
        for key in ("id", "text"):
            if not isinstance(row.get(key), str) or not row[key].strip():
                raise ConfigError(f"{where}: {key!r} is missing or empty", "every prompt has id and text")
        for key, value in row.items():
            if not isinstance(value, _TYPES[key]) or not _sendable(value):
                raise ConfigError(f"{where}: {key!r} has the wrong type", f"is {value!r}"[:200])
        if row["id"] in seen:
            raise ConfigError(f"{where}: id {row['id']!r} is already used on line {seen[row['id']]}", "ids are unique")
        if len(row["text"]) > _MAX_CHARS:
            raise ConfigError(f"{where}: text has {len(row['text']):,} characters", f"at most {_MAX_CHARS:,}")
        seen[row["id"]] = line
    if not rows:
        raise ConfigError(f"{path}: no prompts", "add some under `prompts:`")
    if card["queries"] != len(rows):
        raise ConfigError(
            f"{path}: card.queries is {card['queries']}, the file has {len(rows)} prompts", "mend the card"
        )
    return [r for _, r in rows]


def _sendable(value: Any) -> bool:
    """Whether a value survives JSON in UTF-8: no dates, no half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return True
