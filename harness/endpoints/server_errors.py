"""Read what a server says went wrong: kind, refused parameters, seconds to wait, number allowed, in any shape.

The shapes are those of OpenAI, Azure, Google, Anthropic, FastAPI (vLLM, TGI), OpenRouter, Baidu, MiniMax, Z.ai,
Alibaba, DeepSeek, LiteLLM and plain text, in English and Chinese. The words of a server are all there is to read.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from harness.endpoints.quotas import durations

Trouble = Literal["auth", "quota", "rate_limit", "not_found", "filtered", ""]

_INNER = (
    "error",
    "errors",
    "detail",
    "details",
    "base_resp",
    "innererror",
    "inner_error",
    "Error",
    "metadata",
    "parameters",
    "data",
    "fault",
)
_TEXTS = ("message", "msg", "error_msg", "error_message", "status_msg", "errorMessage", "detail", "description", "raw")
_CODES = ("code", "type", "status", "reason", "error_code", "status_code", "errorCode", "error_type", "kind")
_WAITS = ("retrydelay", "retry_delay", "retry_after", "retryafter", "retry_after_seconds", "retry-after")
_DEEPEST = 6
_MOST = 200  # objects of one error that are looked at
_WRAPS = frozenset({"body", "query", "loc", "request", "extra_body"})

_WAIT = re.compile(
    r"(?:try again|retry|available(?: again)?|wait(?:ing)?|resets?)\s+(?:in|after|for)?\s*"
    r"((?:\d+(?:\.\d+)?\s*(?:ms|[smhd])\w*\s*(?:,|and\b)?\s*)+)|(\d+(?:\.\d+)?)\s*(秒|分钟)后",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Words:
    """How servers call one kind of trouble: ``codes`` always, ``pattern`` only under one of ``statuses``."""

    codes: frozenset[str]
    statuses: frozenset[int]
    pattern: re.Pattern[str]


@functools.cache
def vocabulary() -> tuple[Mapping[Trouble, Words], Mapping[str, frozenset[str]]]:
    """What servers write: for what went wrong, by kind; and for why an answer ended, by what that means."""
    text = Path(__file__).with_name("server_words.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    troubles = {
        kind: Words(frozenset(w["codes"]), frozenset(w["statuses"]), re.compile("|".join(w["words"]), re.IGNORECASE))
        for kind, w in data["errors"].items()
    }
    return troubles, {meaning: frozenset(words) for meaning, words in data["finish"].items()}


@dataclass(frozen=True, slots=True)
class ServerError:
    """What a server says went wrong.

    ``codes`` are its own words for it, in small letters; ``parameters`` names of what it refuses, as far as it says so
    in a field; ``most`` the largest number that it says it takes; ``wait`` seconds until it may be asked again.
    """

    message: str
    status: int | None = None
    codes: frozenset[str] = frozenset()
    parameters: tuple[str, ...] = ()
    most: float | None = None
    wait: float | None = None

    def kind(self, status: int | None) -> Trouble:
        """What it means under an HTTP status: codes are believed before words, and words only where they may mean it.

        Some answer a bad key with 400, an empty balance with 429, a filter with 403.
        """
        troubles, _ = vocabulary()
        for kind, known in troubles.items():
            if known.codes & self.codes and (status is None or status < 500 or kind == "rate_limit"):
                return kind
        said = (kind for kind, w in troubles.items() if (status or 0) in w.statuses and w.pattern.search(self.message))
        return next(said, "")


def read_error(value: Any) -> ServerError:
    """Read an error as servers write it: an object, a list of one, text, or JSON written into text."""
    objects = list(_objects(value, 0))[:_MOST]
    return ServerError(
        message=_message(value, objects),
        status=next((s for o in objects for c in _CODES if (s := _status(o.get(c))) is not None), None),
        codes=frozenset(c for o in objects for c in _codes(o)),
        parameters=tuple(dict.fromkeys(p for o in objects for p in _parameters(o))),
        most=next((float(o["le"]) for o in objects if isinstance(o.get("le"), int | float)), None),
        wait=_wait(objects, _message(value, objects)),
    )


def _objects(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """All objects of an error, the outermost first, those written as text into a message too."""
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        inner = _written(value)
        if inner is not None:
            yield from _objects(inner, depth + 1)
    elif isinstance(value, list):
        for item in value[:_MOST]:
            yield from _objects(item, depth + 1)
    elif isinstance(value, dict):
        yield value
        for name in (*_INNER, *_TEXTS, "ctx", "headers"):
            yield from _objects(value.get(name), depth + 1)


def _written(text: str) -> Any:
    """JSON that makes up a text, or its end; None if there is none."""
    at = min((i for i in (text.find("{"), text.find("[{")) if i >= 0), default=-1)
    if at < 0 or text.rstrip()[-1:] not in ("}", "]"):
        return None
    try:
        return json.loads(text[at:])
    except (ValueError, RecursionError):
        return None


def _message(value: Any, objects: list[Mapping[str, Any]]) -> str:
    """The innermost thing that is said in words; several are joined."""
    told: dict[str, None] = {}
    for found in objects:
        for name in _TEXTS:
            text = found.get(name)
            if isinstance(text, str) and text.strip() and _written(text) is None:
                told[text.strip()] = None
        if isinstance(plain := found.get("error"), str) and _written(plain) is None:
            told[plain.strip()] = None
    kept = [t for t in told if t and not any(t != u and t in u for u in told)]
    if kept:
        return "; ".join(kept)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _status(value: Any) -> int | None:
    number = str(value)
    known = not isinstance(value, bool) and number.isascii() and number.isdecimal() and len(number) == 3
    return int(number) if known and 100 <= int(number) < 600 else None


def _codes(found: Mapping[str, Any]) -> Iterator[str]:
    """An error's words for itself; a moderation (OpenRouter) shows what it flagged instead."""
    yield from (code for name in _CODES if (code := _code(found.get(name))))
    if "flagged_input" in found or isinstance(found.get("reasons"), list):
        yield "moderation_blocked"


def _code(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).strip().lower() if _status(value) is None else ""


def _parameters(found: Mapping[str, Any]) -> Iterator[str]:
    """Names in ``param``, or in FastAPI's ``loc``; ``messages[0].role`` is the role ``system`` or another one."""
    for name in ("param", "parameter", "field"):
        if isinstance(text := found.get(name), str) and text.strip():
            yield text.strip().strip("`'\"")
    place = found.get("loc")
    if isinstance(place, list) and place:
        words = [str(p) for p in place if str(p) not in _WRAPS]
        if words:
            yield words[0] if "messages" not in words else ".".join(words)


def _wait(objects: list[Mapping[str, Any]], message: str) -> float | None:
    for found in objects:
        for name, value in found.items():
            if name.lower() in _WAITS and (wait := _seconds(value)) is not None:
                return wait
            if name.lower() in ("retry_after_ms", "retry-after-ms") and (wait := _seconds(value)) is not None:
                return wait / 1000
    if (match := _WAIT.search(message)) is None:
        return None
    if match[2]:
        return float(match[2]) * (60.0 if match[3] == "分钟" else 1.0)
    return _seconds(match[1])


def _seconds(value: Any) -> float | None:
    """7, "7", "7.5s", "1m30s", or Google's {"seconds": 7}; None for anything else."""
    if isinstance(value, dict):
        value = value.get("seconds")
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if 0 <= value < 1e9 else None
    if not isinstance(value, str):
        return None
    if (wait := durations(value.lower())) is not None:
        return wait
    text = value.strip()
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) else None
