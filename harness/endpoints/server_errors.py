"""Read what a server says went wrong: kind, refused parameters, seconds to wait, number allowed, in any shape.

The shapes are those of OpenAI, Azure, Google, Anthropic, FastAPI (vLLM, TGI), OpenRouter, Baidu, MiniMax, Z.ai,
Alibaba, DeepSeek, LiteLLM, Zod, NestJS and plain text. The words of a server are all there is to read; which they are,
in which languages, is data: `server_words.yaml`.
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
    *("error", "errors", "detail", "details", "base_resp", "innererror", "inner_error", "Error", "metadata"),
    *("parameters", "data", "fault", "cause", "causes", "issues", "violations", "fieldViolations", "field_violations"),
    *("invalid_params", "invalidParams", "validation_errors", "validationErrors"),
)
_TEXTS = (
    *("message", "msg", "error_msg", "error_message", "status_msg", "errorMessage", "detail", "description", "raw"),
    *("Message", "title"),
)
_CODES = ("code", "type", "status", "reason", "error_code", "status_code", "errorCode", "error_type", "kind", "__type")
_NAMED = ("param", "parameter", "field", "path", "property", "propertyPath", "param_name", "parameter_name", "params")
_KEY_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "api_key"})
_MOST_ALLOWED = ("le", "maximum", "max_value", "max_allowed")
_MEANT: Mapping[int, Trouble] = {401: "auth", 402: "quota", 429: "rate_limit"}  # a status in the body of another one
_WAITS = ("retrydelay", "retry_delay", "retry_after", "retryafter", "retry_after_seconds", "retry-after")
_VAGUE = frozenset({400, 422, 500, 502, 503})  # statuses under which servers send errors of others
_DEEPEST = 6
_MOST = 200  # objects of one error that are looked at
_WRAPS = frozenset({"body", "query", "loc", "request", "extra_body"})


@dataclass(frozen=True)
class Words:
    """How servers call one kind of trouble: ``codes`` always, ``pattern`` only under one of ``statuses``."""

    codes: frozenset[str]
    statuses: frozenset[int]
    pattern: re.Pattern[str]


@dataclass(frozen=True)
class Vocabulary:
    """What servers write, in the languages that they write in.

    ``troubles`` for what went wrong, by kind; ``finish`` for why an answer ended, by what that means; ``refused`` of
    whatever is not taken, ``flatly`` of what is not taken at all, ``number`` of a number that is not; ``role`` for the
    role of the system; ``wait`` matches a time to wait, its units are ``units``, in seconds.
    """

    troubles: Mapping[Trouble, Words]
    finish: Mapping[str, frozenset[str]]
    refused: re.Pattern[str]
    flatly: re.Pattern[str]
    number: re.Pattern[str]
    role: re.Pattern[str]
    wait: re.Pattern[str]
    units: Mapping[str, float]


@functools.cache
def vocabulary() -> Vocabulary:
    """The words of `server_words.yaml`."""
    data = yaml.safe_load(Path(__file__).with_name("server_words.yaml").read_text(encoding="utf-8"))
    troubles: dict[Trouble, Words] = {
        kind: Words(frozenset(w["codes"]), frozenset(w["statuses"]), _any_of(w["words"]))
        for kind, w in data["errors"].items()
    }
    finish = {meaning: frozenset(words) for meaning, words in data["finish"].items()}
    refused, flatly, number = (_any_of(words) for words in (data["refused"], data["flatly"], data["number"]))
    units = {unit: float(seconds) for seconds, words in data["wait"]["units"].items() for unit in words}
    wait = _wait_pattern(data["wait"], units)
    return Vocabulary(troubles, finish, refused, flatly, number, _any_of(data["role"]), wait, units)


def _any_of(words: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


def _wait_pattern(words: Mapping[str, list[str]], units: Mapping[str, float]) -> re.Pattern[str]:
    """Durations between a word for coming again and a preposition, or before a word for afterwards."""
    longest = sorted(units, key=len, reverse=True)
    one = rf"\d{{1,9}}(?:\.\d{{1,9}})?\s{{0,3}}(?:{'|'.join(longest)})(?![a-z])\.?(?:,|\s|and\b){{0,5}}"
    again, before, after = ("|".join(words[k]) for k in ("again", "before", "after"))
    return re.compile(
        rf"(?:{again})[\s:]{{0,5}}(?:(?:{before})[\s:]{{0,5}}){{0,2}}(?P<then>(?:{one})+|\d{{1,9}}(?:\.\d{{1,9}})?)"
        rf"|(?P<first>(?:{one}){{1,4}})(?:{after})",
        re.IGNORECASE,
    )


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
        troubles = vocabulary().troubles
        for kind, known in troubles.items():
            if known.codes & self.codes and (status is None or status < 500 or kind == "rate_limit"):
                return kind
        if any(p.lower().rpartition(".")[2] in _KEY_HEADERS for p in self.parameters):
            return "auth"
        said = (kind for kind, w in troubles.items() if (status or 0) in w.statuses and w.pattern.search(self.message))
        return next(said, _MEANT.get(self.status or 0, "") if not status or status in _VAGUE else "")


def read_error(value: Any) -> ServerError:
    """Read an error as servers write it: an object, a list of one, text, or JSON written into text."""
    objects = list(_objects(value, 0))[:_MOST]
    return ServerError(
        message=_message(value, objects),
        status=next((s for o in objects for c in _CODES if (s := _status(o.get(c))) is not None), None),
        codes=frozenset(c for o in objects for c in _codes(o)),
        parameters=tuple(dict.fromkeys(p for o in objects for p in _parameters(o))),
        most=next((float(o[k]) for o in objects for k in _MOST_ALLOWED if isinstance(o.get(k), int | float)), None),
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
        for name in (*_TEXTS, "error", "errors"):
            value_of = found.get(name)
            for text in value_of if isinstance(value_of, list) else [value_of]:
                if isinstance(text, str) and text.strip() and _written(text) is None:
                    told[text.strip()] = None
    kept = [t for t in told if t and not any(t != u and t in u for u in told)]
    if kept:
        return "; ".join(kept)
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return "; ".join(value)
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
    return str(value).strip().lower().rpartition("#")[2] if _status(value) is None else ""  # com.amazon#AccessDenied


def _parameters(found: Mapping[str, Any]) -> Iterator[str]:
    """Names in ``param`` and its like, in FastAPI's ``loc``, or the keys of ``errors``; paths have points in them."""
    for name in (*_NAMED, "loc"):
        place = found.get(name)
        if isinstance(place, str) and (text := place.strip().strip("`'\"")):
            yield text
        elif isinstance(place, list) and (words := [str(p) for p in place if str(p) not in _WRAPS]):
            yield ".".join(words)
    if isinstance(by_name := found.get("errors"), dict):
        yield from map(str, by_name)


def _wait(objects: list[Mapping[str, Any]], message: str) -> float | None:
    for found in objects:
        for name, value in found.items():
            if name.lower() in _WAITS and (wait := _seconds(value)) is not None:
                return wait
            if name.lower() in ("retry_after_ms", "retry-after-ms") and (wait := _seconds(value)) is not None:
                return wait / 1000
    match = vocabulary().wait.search(message)
    return None if match is None else _told(match["then"] or match["first"])


def _told(text: str) -> float | None:
    """Durations in the units of any language, added up; seconds where there is no unit."""
    units = vocabulary().units
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([^\W\d]*)", text)
    return sum(float(n[:12]) * units.get(unit.lower(), 1.0) for n, unit in parts if unit.lower() != "and") or None


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
