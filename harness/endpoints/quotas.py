"""Rate-limit headers of providers: limit, remaining, reset and window of each quota, and ``Retry-After``, in any form.

Names differ between providers and mean the same, so they are data: one pattern an order of words. Read are the headers
of OpenAI, Azure, GitHub, Groq, Cerebras, Mistral, Together, Fireworks, OpenRouter and Anthropic, and the IETF's
``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers, in its forms of 2021, 2023 and 2024).
"""

from __future__ import annotations

import contextlib
import email.utils
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Unit = Literal["requests", "tokens", "part"]  # part: of the tokens, those of prompts or of answers alone


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit that a server told of: at most ``limit`` in ``window`` seconds; None: it did not say.

    ``remaining`` can be used now, and in ``reset`` seconds there will be more: in a fixed window all of it, in a bucket
    it is full then. Headers do not say which of the two it is.
    """

    unit: Unit
    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    window: float | None = None


_NAMES = (
    # x-ratelimit-limit-requests, x-ratelimit-remaining-tokens-minute, ratelimit-reset, ratelimitbysize-limit
    re.compile(
        r"(?:x-)?rate-?limit(?P<size>bysize)?-(?P<field>limit|remaining|reset|renewalperiod)(?:-(?P<of>[a-z-]+))?"
    ),
    re.compile(r"x-(?P<size>token)limit-(?P<field>limit|remaining|reset)(?P<of>)"),  # Together
    re.compile(r"(?P<size>)[a-z]+-ratelimit-(?P<of>[a-z-]+)-(?P<field>limit|remaining|reset)"),  # Anthropic
)
_WINDOWS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0}
_PARTS = ("input", "output", "prompt", "generated")
_POLICY = re.compile(r"(\d+)\s*;\s*w(?:indow)?=(\d+)")
_NAME = re.compile(r"\s*\"[^\"]*\"")
_FIELD = re.compile(r"(\w+)\s*=\s*(\d+(?:\.\d+)?)")
_UNITS = {"ms": 0.001, "mil": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# 1m30s, 7 seconds, PT1M30S (ISO 8601)
_DURATION = re.compile(
    r"p?t?(?:\d+(?:\.\d+)?\s*(?:ms|millisec\w*|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)t?[\s,]*)+"
)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|mil|[smhd])")
_FIRST = re.compile(r"\"?(\d+(?:\.\d+)?)\"?(?:\s*[,;].*)?")  # of several, or before a comment
_RETRY = ("retry-after", "x-retry-after", "x-ratelimit-retry-after", "x-ratelimit-reset-after")


def tells_quotas(headers: Iterable[str]) -> bool:
    """Whether any of these names of headers may be of a quota."""
    return any("limit" in name.lower() for name in headers)


def read_quotas(headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
    """Every quota in the headers of a reply; ``now`` is the server's time in seconds since 1970.

    What cannot be read is left out: a header must never cost an answer.
    """
    found: dict[str, dict[str, float]] = {}
    for name, value in headers.items():
        name = name.lower()
        if "limit" not in name or (match := next((m for p in _NAMES if (m := p.fullmatch(name))), None)) is None:
            continue
        key = f"{match['size'] or ''} {match['of'] or ''}"
        with contextlib.suppress(ValueError):
            found.setdefault(key, {}).update(_field(match["field"], value, now))
    named = [_quota(key, fields) for key, fields in found.items() if key.strip() != "policy"]
    return (*named, *_structured(headers.get("ratelimit", ""), headers.get("ratelimit-policy", "")))


def _field(name: str, value: str, now: float) -> Iterator[tuple[str, float]]:
    """A header's number; a limit may name its windows, as in ``100, 100;w=60, 10000;w=86400``."""
    if name == "reset":
        yield "reset", seconds(value, now)
        return
    number = float(value.split(",")[0].split(";")[0])
    if not math.isfinite(number):
        raise ValueError(value)
    yield {"renewalperiod": "window"}.get(name, name), number
    windows = {float(most): float(window) for most, window in _POLICY.findall(value)} if name == "limit" else {}
    if number in windows:
        yield "window", windows[number]


def _quota(key: str, fields: Mapping[str, float]) -> Quota:
    """What the end of a name says: ``requests-day``, ``req-minute``, ``tokens``, ``input-tokens``."""
    size, _, of = key.partition(" ")
    words = of.split("-")
    unit: Unit = "tokens" if size or "tokens" in words else "requests"
    if any(w in _PARTS for w in words):
        unit = "part"
    limit, remaining, reset = fields.get("limit"), fields.get("remaining"), fields.get("reset")
    window = fields.get("window") or next((_WINDOWS[w] for w in words if w in _WINDOWS), None)
    return Quota(unit, limit, remaining, reset, window or _window(limit, reset, 60.0 if of else 1.0))


def _window(limit: float | None, reset: float | None, least: float) -> float | None:
    """The window of a quota that does not name it: the shortest usual one in which it can reset.

    ``x-ratelimit-limit-requests`` is mostly of a minute (``least``); a bare ``x-ratelimit-limit`` says nothing. Groq
    counts the requests of a day under OpenAI's names: where its bucket resets within a minute, its limit is so high
    that it slows nobody as one of a minute either.
    """
    if limit is None or limit <= 0 or (reset is None and least < 60):
        return None
    return next((w for w in _WINDOWS.values() if w >= max(least, reset or 0.0)), None)


def _structured(state: str, policy: str) -> Iterator[Quota]:
    """``limit=100, remaining=50, reset=30`` of 2023, and ``"name";r=50;t=30`` with ``"name";q=100;w=60`` of 2024."""
    policies = dict(_items(policy))
    for name, told in _items(state):
        rule = policies.get(name, {})
        limit, window = told.get("limit", rule.get("q")), rule.get("w")
        if window is None and limit is not None:
            window = next((float(w) for most, w in _POLICY.findall(policy) if float(most) == limit), None)
        remaining, reset = told.get("remaining", told.get("r")), told.get("reset", told.get("t"))
        yield Quota("requests", limit, remaining, reset, window or _window(limit, reset, 1.0))


def _items(text: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Items of a structured field by name; without names it is one item."""
    for part in re.split(r",\s*(?=\")", text):
        fields = {k.lower(): float(v) for k, v in _FIELD.findall(part)}
        if fields:
            name = _NAME.match(part)
            yield name[0] if name else "", fields


def until_reset(quotas: Iterable[Quota]) -> float:
    """Seconds until every quota that is used up has something left again, 0 if none is."""
    return max((q.reset or 0.0 for q in quotas if q.remaining is not None and q.remaining < 1), default=0.0)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds a server asks to wait: ``retry-after-ms``, then ``retry-after``, in any form that `seconds` reads."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        with contextlib.suppress(KeyError, ValueError):
            return max(0.0, float(headers[name].lower().removesuffix("ms")) / 1000)
    for name in _RETRY:
        with contextlib.suppress(KeyError, ValueError):
            return seconds(headers[name], now)
    return None


def server_time(headers: Mapping[str, str], now: float) -> float:
    """What a server's clock shows, in seconds since 1970: its dates are to be read against it; else our own ``now``."""
    with contextlib.suppress(KeyError, ValueError, TypeError, OverflowError):
        return email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    return now


def seconds(text: str, now: float) -> float:
    """A duration or a moment as seconds from now, none below 0; ``ValueError`` for neither.

    A duration is "1m30s", "20ms", "7", "7 seconds" or "PT7S"; a moment is in
    seconds or milliseconds since 1970, RFC 3339, or an HTTP date.
    """
    text = text.strip()
    small = text.lower()
    if _DURATION.fullmatch(small):
        return durations(small) or 0.0
    first = _FIRST.fullmatch(text)
    try:
        value = float(first[1] if first else text)
    except ValueError:
        return max(0.0, _moment(text) - now)
    if value > 1e11:
        value /= 1000
    return max(0.0, value - now if value > 1e9 else value)


def durations(text: str) -> float | None:
    """Seconds of all durations in a text of small letters, added up: "1m30s", "7 seconds"; None if there is none."""
    parts = _PART.findall(text)
    return sum(float(n) * _UNITS[unit] for n, unit in parts) if parts else None


def _moment(text: str) -> float:
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text).timestamp()
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, OverflowError) as e:
        raise ValueError(text) from e
