"""What response headers say about when to call again."""

from __future__ import annotations

import contextlib
import email.utils
import re
from collections.abc import Mapping

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds a server asks to wait: ``retry-after-ms``, then ``retry-after`` in seconds or as an HTTP date."""
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after")
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    return None


def until_reset(headers: Mapping[str, str], now: float) -> float:
    """Seconds until a limit that is used up is full again, 0 if none is.

    Reads ``x-ratelimit-remaining-*`` with ``x-ratelimit-reset-*`` for requests and tokens: "1m30s", seconds, or a
    moment in seconds or milliseconds since 1970.
    """
    longest = 0.0
    for suffix in ("", "-requests", "-tokens"):
        with contextlib.suppress(KeyError, ValueError):
            if 0 <= float(headers[f"x-ratelimit-remaining{suffix}"]) < 1:
                longest = max(longest, seconds(headers[f"x-ratelimit-reset{suffix}"], now))
    return longest


def seconds(text: str, now: float) -> float:
    """A duration ("1m30s", "20ms", "7") or a moment since 1970 as seconds from now; ``ValueError`` for neither."""
    text = text.strip().lower()
    if _DURATION.fullmatch(text):
        return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd])", text))
    value = float(text)
    if value > 1e11:
        value /= 1000
    return max(0.0, value - now if value > 1e9 else value)
