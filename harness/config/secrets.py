"""API keys: read from the environment or a secrets file, recognised in texts and addresses, and cut out of them."""

from __future__ import annotations

import ipaddress
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.config import disguises
from harness.config.endpoint import Called, Local
from harness.config.providers import hostname, provider, providers
from harness.config.schema import Campaign
from harness.errors import ConfigError, EndpointError
from harness.files import open_regular

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_MAX_BYTES = 100_000
_SHORTEST_SEED = 16
_SECRET = re.compile(
    r"://[^/\s@]+:[^/\s@]+@|\b(sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{30,}|gsk_[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,})"
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def looks_like_key(text: str) -> bool:
    """Whether a text holds a password in an address, or a key as the large providers write theirs."""
    return _SECRET.search(text) is not None


def may_be_variable(text: str) -> bool:
    """Whether a text can be a variable's name rather than the key itself, which must not be repeated to anybody.

    Long names with digits are taken for names if they are upper case in words: MY_KEY_2024_FOR_TESTS.
    """
    if not _VARIABLE.fullmatch(text) or looks_like_key(text):
        return False
    random = len(text) >= 16 and any(c.isdigit() for c in text)
    return not random or ("_" in text and text == text.upper())


def environment(campaign: Campaign, base: Path, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, over what the campaign's secrets file says. `ConfigError` if that file cannot be read."""
    if campaign.secrets is None:
        return environ
    return {**read_secrets(base / campaign.secrets), **environ}


def read_secrets(path: Path) -> dict[str, str]:
    """NAME=value lines, quotes and ``export`` allowed, # for comments. No error repeats a value."""
    try:
        with open_regular(path) as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES:,} bytes", "is this the secrets file?")
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror or e}", "`secrets:` names a file of NAME=value lines") from e
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8", "save the file as UTF-8") from None
    found = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigError(f"{path}:{number}: not NAME=value", "write one key a line: EXAMPLE_API_KEY=...")
        name, value = match.groups()
        found[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return found


def open_to_others(campaign: Campaign, base: Path) -> str | None:
    """A warning if other users of the machine can read the secrets file."""
    if campaign.secrets is None:
        return None
    path = base / campaign.secrets
    try:
        mode = path.stat().st_mode
    except OSError:
        return None  # reading it says what is wrong
    return f"{path}: others can read this file; chmod 600 {path}" if mode & 0o077 else None


def is_this_machine(url: str) -> bool:
    """Whether an address is of this machine beyond doubt: an address of the loopback, or ``localhost``."""
    host = hostname(url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def leak_of(endpoint: Called) -> tuple[str, str] | None:
    """Why the key of an endpoint may not be sent to where it would go, and what to write instead; None if it may.

    A provider's variable goes to that provider's hosts, and no key in plain http to another machine.
    """
    if isinstance(endpoint, Local):
        return None
    name, host = endpoint.api_key_env, hostname(endpoint.base_url)
    hint = "give that host a variable of its own: `api_key_env: ITS_NAME`, or `api_key_env: null` for no key"
    if name is None:
        own = provider(endpoint.provider).api_key_env
        if own is None or "api_key_env" in endpoint.model_fields_set or is_this_machine(endpoint.base_url):
            return None
        return f"{own} goes to {provider(endpoint.provider).title} only, not to {host}", hint
    owners = [p for p in providers().values() if p.api_key_env == name]
    if owners and not any(p.serves(host) for p in owners):
        return f"{name} goes to {owners[0].title} only, not to {host}", hint
    plain = urlsplit(endpoint.base_url).scheme.lower() != "https" and not is_this_machine(endpoint.base_url)
    if plain and not endpoint.allow_http:
        said = f"{name} would go to {host} over plain http, where all on the way can read it"
        return said, "write https://, or `allow_http: true` if all of that network is yours"
    return None


def key_of(endpoint: Called, environ: Mapping[str, str]) -> str | None:
    """The key an endpoint's config names, from the environment; `EndpointError` if it is not there."""
    if isinstance(endpoint, Local) or endpoint.api_key_env is None:
        return None
    if (leak := leak_of(endpoint)) is not None:
        raise EndpointError(f"endpoint {endpoint.name!r}: {leak[0]}", leak[1])
    key = environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise EndpointError(
            f"endpoint {endpoint.name!r}: environment variable {endpoint.api_key_env} is not set",
            f"export {endpoint.api_key_env}=... and run again, or write it into a file that `secrets:` names",
        )
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(
            f"endpoint {endpoint.name!r}: the key in {endpoint.api_key_env} has characters that no header can carry",
            "copy it again: only letters, digits and signs",
        )
    return key


def private_seed(campaign: Campaign, base: Path, environ: Mapping[str, str]) -> str:
    """The seed that fills templates anew, empty if the campaign names none. No error repeats it.

    `ConfigError` if the variable is not set, or if what it holds is so short that it could be guessed.
    """
    if campaign.private_seed_env is None:
        return ""
    seed = environment(campaign, base, environ).get(campaign.private_seed_env, "").strip()
    if len(seed) < _SHORTEST_SEED:
        what = "is too short for a private seed" if seed else "is not set"
        hint = f"{_SHORTEST_SEED} characters or more that nobody can guess: `openssl rand -hex 16`; keep it to rerun"
        raise ConfigError(f"private_seed_env: environment variable {campaign.private_seed_env} {what}", hint)
    return seed


def require_keys(endpoints: Iterable[Called], environ: Mapping[str, str]) -> None:
    """`EndpointError` that names every variable which is missing or of no use, and an endpoint that needs it."""
    found: dict[str, EndpointError] = {}
    for endpoint in endpoints:
        try:
            key_of(endpoint, environ)
        except EndpointError as e:
            found.setdefault(str(getattr(endpoint, "api_key_env", "")), e)
    if len(found) == 1:
        raise next(iter(found.values()))
    if found:
        raise EndpointError(
            "; ".join(e.message for e in found.values()),
            "export each and run again, or write them into a file that `secrets:` names",
        )


_SHORTEST = 8  # local servers are given "EMPTY" or "x", which may well stand in an answer
_LONG = 16  # characters of a key that no sentence spells by chance, with what stands between them left out
_GONE = "[key]"
_JSON = re.compile(r"\\{1,8}u00([2-7][0-9a-fA-F])|\\{1,8}x([2-7][0-9a-fA-F])|\\{1,8}([/\"'\\])|\\{1,8}[nrt]")
_PERCENT = re.compile(r"%(?:25)*([2-7][0-9a-fA-F])")
_ENTITY = re.compile(r"&(?:amp;)*#(?:x0*([2-7][0-9a-fA-F])|0*(3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6]));", re.IGNORECASE)
_BETWEEN = re.compile(r"[^!-~]+")
_IN_BASE64 = "[A-Za-z0-9+/_-]*"
_RUN = re.compile("[A-Za-z0-9+/_-]{8,}")
_ESCAPED = re.compile(rb"(?<!\\)((?:\\\\)*)\\(?:u00([2-7][0-9a-fA-F])|/)")


class Redactor:
    """Cuts one key out of whatever a server says: plain, in base64 at any offset, in hex, percent-encoded or escaped.

    A long one also in every encoding that the standard library undoes, and in one such encoding of another.

    Base64 of ``Bearer KEY`` or ``user:KEY`` holds the key at another offset than that of the key alone, so what is
    looked for is the part of it that depends on the key only, at each of the three offsets and in both alphabets. What
    is spelled in escapes is found in a copy in which they are undone, once more for escapes of escapes; of a long key
    also what stands between its characters (spaces, line ends, zeros of UTF-16, dashes, the backslashes and stars of
    Markdown, colours of a terminal) is left out there, and letter case does not count. What is found there and cannot
    be cut out by itself takes the whole text with it.

    Without a key, or with one too short to be a secret, everything stays as it is.
    """

    __slots__ = ("_cores", "_cut", "_folded", "_forms", "_in_bytes", "_key", "_long", "_raw", "_spelled")

    def __init__(self, key: str | None) -> None:
        self._key = key if key and len(key) >= _SHORTEST else ""
        self._forms: tuple[str, ...] = ()
        self._long = self._key.encode() if len(self._key) >= _LONG else b""
        if not self._key:
            return
        codes = self._key.encode()
        cores = {core for offset in range(3) for core in _base64_cores(codes, offset)}
        self._cores = sorted(cores)
        self._forms = (self._key, codes.hex(), codes.hex().upper(), *sorted(cores))
        self._folded = tuple({f for f in map(_folded, self._forms) if len(f) >= _LONG})
        plain = sorted({*self._forms[:3], json.dumps(self._key)[1:-1]}, key=len, reverse=True)
        runs = "|".join(f"(?:{re.escape(core)}){_IN_BASE64}" for core in sorted(cores))
        self._raw = re.compile("|".join([*map(re.escape, plain), runs]))  # a letter before it may be that of an escape
        self._in_bytes = tuple(form.encode() for form in {*self._forms, json.dumps(self._key)[1:-1]})
        self._cut = re.compile("|".join(map(re.escape, plain)))
        between = "[^!-~]*" if len(self._key) >= _LONG else ""
        self._spelled = re.compile(between.join(map(_spellings, self._key)))

    @property
    def has_key(self) -> bool:
        """Whether there is a key to cut out."""
        return bool(self._key)

    def text(self, said: str) -> str:
        """``said`` with `[key]` wherever the key stood."""
        if self._held(said):
            said = self._cut.sub(_GONE, said)
            said = _RUN.sub(lambda run: _GONE if any(core in run[0] for core in self._cores) else run[0], said)
            said = self._spelled.sub(_GONE, said)
        said = self._undisguised(said)
        return _GONE if self._held(said) else said

    def _undisguised(self, said: str) -> str:
        """A text without the runs that hold the key in an encoding, or in two; see `disguises`."""
        if not self._long or len(said) < len(self._long):
            return said
        for solid in (False, True):
            content = said.encode("utf-8", "surrogatepass")
            found = disguises.spans(content, self._long, solid=solid)
            for start, end, _ in sorted(found, reverse=True):
                content = content[:start] + _GONE.encode() + content[end:]
            said = content.decode("utf-8", "surrogatepass") if found else said
        return said

    def body(self, content: bytes) -> bytes:
        """A JSON body without the key, also where it is spelled in escapes of single characters (``\\u0073k-...``).

        The first cut, before anything is read. What only reading brings out is cut by `text`.
        """
        if not self._key:
            return content
        content = self._plainly_cut(content)
        return disguises.without(content, self._long, _GONE.encode()) if self._long else content

    def _plainly_cut(self, content: bytes) -> bytes:
        if b"\\u00" in content or b"\\/" in content:
            content = _ESCAPED.sub(_spelled_out, content)
        if b"%" not in content and b"\0" not in content and not any(form in content for form in self._in_bytes):
            return content
        text = content.decode("utf-8", "surrogateescape")
        if any(form in text for form in (*self._forms, json.dumps(self._key)[1:-1])):
            text = self._raw.sub(_GONE, text)
        if "%" in text and self._key in _unquoted(text):
            text = self._spelled.sub(_GONE, text)
        if "\0" in text and self._held(text):  # no JSON, and in no encoding that was declared
            text = _GONE
        return text.encode("utf-8", "surrogateescape")

    def _held(self, said: str) -> bool:
        """Whether the key stands in a text, however it is spelled."""
        if not self._key:
            return False
        if any(form in copy for copy in self._copies(said) for form in self._forms):
            return True
        bare = _folded(said) if self._folded and len(said) >= _LONG else b""
        return any(form in bare for form in self._folded)

    def _copies(self, said: str) -> Iterator[str]:
        """A text as it stands, and with one spelling after the other undone."""
        yield said
        if "\0" in said:
            yield said.replace("\0", "")
        plain = said
        for _ in range(2):
            before = plain
            if "\\" in plain:
                plain = _JSON.sub(_undone, plain)
            if "%" in plain:
                plain = _unquoted(plain)
            if "#" in plain:
                plain = _ENTITY.sub(lambda m: chr(int(m[1], 16) if m[1] else int(m[2])), plain)
            if plain == before:
                break
            yield plain
        if len(self._key) >= _LONG and not (said.isascii() and said.isalnum()):
            yield _BETWEEN.sub("", said)
            if plain != said:
                yield _BETWEEN.sub("", plain)


_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|0[xX]")
_NO_LETTERS = bytes(c for c in range(256) if not chr(c).isalnum() or c > 127)


def _folded(text: str) -> bytes:
    """Letters and digits of a text in lower case, without what colours it or says that digits are hexadecimal."""
    if "\x1b" in text or "0x" in text or "0X" in text:
        text = _COLOUR.sub("", text)
    return text.encode("ascii", "ignore").translate(None, _NO_LETTERS).lower()


def _undone(escape: re.Match[str]) -> str:
    """What an escape of JSON or Python stands for; nothing for the end of a line."""
    code = escape[1] or escape[2]
    return chr(int(code, 16)) if code else escape[3] or ""


def _unquoted(text: str) -> str:
    """``text`` with printable ASCII that is percent-encoded, once or again, as it is."""
    return _PERCENT.sub(lambda m: chr(int(m[1], 16)), text)


def _base64_cores(codes: bytes, offset: int) -> Iterator[str]:
    """What base64 of any text with these bytes, ``offset`` (mod 3) from its start, is sure to hold; both alphabets."""
    first, last = -(-8 * offset // 6), 8 * (offset + len(codes)) // 6
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(b"\0" * offset + codes).decode()[first:last]


def _spellings(character: str) -> str:
    """A pattern of one character as such, escaped as JSON, Python or HTML do, or percent-encoded."""
    code = ord(character)
    digits = "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in f"{code:02x}")
    entity = f"&(?:amp;)*#(?:[xX]0*{digits}|0*{code});"
    escape = f"\\\\{{1,8}}(?:u00|x){digits}"
    return f"(?:%(?:25)*{digits}|{escape}|{entity}|\\\\{{0,8}}{re.escape(character)})"


def _spelled_out(escape: re.Match[bytes]) -> bytes:
    """A JSON escape of a printable ASCII character as that character; quotes and backslashes stay escaped, shortly."""
    character = bytes([int(escape[2], 16)]) if escape[2] else b"/"
    if character == b"\x7f":
        return escape[0]
    return escape[1] + (b"\\" + character if character in b'"\\' else character)


_PARTS = re.compile(r"([^:/?#]*://)([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_SECRET_NAME = re.compile(r".*(key|token|secret|password|passwd|credential|signature)|sig", re.IGNORECASE | re.DOTALL)


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


_SECRET_FIELD = re.compile(r"(x-)?(api[-_]?)?(key|token|secret|password)|(proxy-)?authorization", re.IGNORECASE)
_IN_URL = re.compile(r"(://)[^/\s@]+(@)|([?&][^=&\s]*(?:key|token|secret|sig|password)[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def names_key(field: str) -> bool:
    """Whether a field of this name holds a key: ``api_key``, ``X-Token``, ``authorization``, ..."""
    return _SECRET_FIELD.fullmatch(field) is not None


def without_keys(value: Any, name: str = "") -> Any:
    """A JSON value with `[key]` for what its field or its place in an address says is one."""
    if isinstance(value, dict):
        return {k: without_keys(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [without_keys(v, name) for v in value]
    if not isinstance(value, str):
        return value
    return "[key]" if names_key(name) else _IN_URL.sub(lambda m: f"{m[1] or m[3]}[key]{m[2] or ''}", value)
