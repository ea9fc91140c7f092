"""Addresses of endpoints as others may see them: without keys, whole otherwise."""

from __future__ import annotations

import re
from urllib.parse import unquote

from harness.keys import looks_like_key

_PARTS = re.compile(r"([^:/?#]*://)([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_SECRET_NAME = re.compile(r".*(key|token|secret|password|passwd|credential|signature)|sig", re.IGNORECASE | re.DOTALL)
_GONE = "[key]"


def public_address(url: str) -> str:
    """``url`` without user, password and fragment, and with what looks like a key in its query cut out."""
    found = _PARTS.match(url)
    if found is None:
        return _GONE
    scheme, host, path, query = found.groups()
    shown = "&".join(_shown(part) for part in query.split("&")) if query else ""
    return f"{scheme}{host.rpartition('@')[2]}{path}{'?' if shown else ''}{shown}"


def hides_key(url: str) -> bool:
    """Whether there is a user, a password, or what looks like a key in an address."""
    found = _PARTS.match(url)
    if found is None:
        return False
    return "@" in found[2] or any(_is_secret(part) for part in (found[4] or "").split("&"))


def _shown(part: str) -> str:
    if not _is_secret(part):
        return part
    name, equals, _ = part.partition("=")
    return f"{name}={_GONE}" if equals else _GONE


def _is_secret(part: str) -> bool:
    name, equals, value = part.partition("=")
    named = bool(equals and value) and _SECRET_NAME.fullmatch(unquote(name)) is not None
    return named or looks_like_key(unquote(part))
