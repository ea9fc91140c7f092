"""The one place that talks to a model: AsyncOpenAI on its own transport, raw bytes out, bounded."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
from openai import APITimeoutError, AsyncOpenAI, DefaultAioHttpClient, Omit

from harness.collect.connections import is_loopback, watch_connections
from harness.collect.failures import failure, filtered, is_filtered, read_error
from harness.collect.ratelimit import retry_after, until_reset
from harness.errors import CallError

_ERROR_BYTES = 65_536
_SHORTEST_SECRET = 8  # local servers are given "EMPTY" or "x", which may well stand in an answer
_KNOWN_HEADERS = re.compile(r"accept|content-type|user-agent|authorization|x-stainless-.*", re.IGNORECASE)
_ESCAPED = re.compile(rb"(?<!\\)((?:\\\\)*)\\u00([2-7][0-9a-fA-F])")
NO_KEY = "none"  # what servers without keys are sent; the client insists on one


@dataclass(frozen=True, slots=True)
class Reply:
    """The body of a success, and the seconds for which the server's rate-limit headers say that a limit is used up."""

    content: bytes
    rest: float


class Wire:
    """One client for one endpoint; every call is one attempt, retries are decided elsewhere.

    A redirect is an error, so a key never follows one to another host. The key is cut out of whatever a server
    says about it.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None,
        *,
        timeout: float,
        max_bytes: int,
        connections: int,
        key_header: str = "Authorization",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key or ""
        self._forms = _forms(self._key) if len(self._key) >= _SHORTEST_SECRET else ()
        self._timeout = timeout
        self._headers: dict[str, Any] = {
            "Content-Type": "application/json",
            "X-Stainless-Raw-Response": "stream",
            **_headers(key_header, key),
        }
        self._max_bytes = max_bytes
        self._clock = clock
        http_client = DefaultAioHttpClient(
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 30.0), pool=None),
            event_hooks={"response": [self._refuse]},
            trust_env=not is_loopback(base_url),  # no proxy is asked for this machine
        )
        watch_connections(http_client)
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=key or NO_KEY,
            max_retries=0,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 30.0), pool=None),
            http_client=http_client,
        )
        # The client adds headers from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, whoever is asked.
        self._headers |= {n: Omit() for n in self._client.default_headers if not _KNOWN_HEADERS.fullmatch(n)}

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.close()

    def redact(self, text: str) -> str:
        """``text`` without this endpoint's key, plain, in base64 or percent-encoded."""
        for form in self._forms:
            text = text.replace(form, "[key]")
        return text

    async def post(self, path: str, body: bytes, within: float | None = None) -> Reply:
        """Send one request and read the reply, within so many seconds. Raises `CallError` and nothing else."""
        seconds = self._timeout if within is None else within
        try:
            async with asyncio.timeout(seconds):
                return await self._post(path, body)
        except CallError:
            raise
        except TimeoutError:
            raise self._late(seconds) from None
        except Exception as e:  # three libraries lie below, and a broken server gets exceptions of all three through
            raise self._error(e) from None

    def _late(self, seconds: float) -> CallError:
        return CallError(f"no full reply within {seconds:.3g} s", kind="timeout", retry=True)

    def _error(self, error: BaseException) -> CallError:
        """What lies under the client's layers of exceptions; they call a refused connection a timeout."""
        root = error
        while root.__cause__ is not None and not isinstance(root, CallError):
            root = root.__cause__
        if isinstance(root, CallError):  # from `_refuse`
            return root
        if isinstance(root, ssl.SSLCertVerificationError):
            hint = "is `base_url` right? SSL_CERT_FILE names a file of further authorities to trust"
            said = f"the server's certificate is not trusted: {root.verify_message}"
            return CallError(said, hint, kind="connection", fatal=True)
        if isinstance(error, APITimeoutError) and (isinstance(root, TimeoutError) or not isinstance(root, OSError)):
            return self._late(self._timeout)
        text = self.redact(f"no connection: {str(root) or type(root).__name__}")[:300]
        return CallError(text, kind="connection", retry=True)

    async def _post(self, path: str, body: bytes) -> Reply:
        response = await self._client.post(
            path,
            cast_to=httpx2.Response,
            content=body,
            options={"headers": self._headers},
        )
        content, whole = await _read(response, self._max_bytes)
        if not whole:
            raise CallError(f"the reply is larger than {self._max_bytes:,} bytes", kind="too_large")
        # A server may echo the header back: the key is cut out before anything is kept, spelled in escapes or not.
        if self._forms and b"\\u00" in content:
            content = _ESCAPED.sub(_spelled_out, content)
        for form in self._forms:
            content = content.replace(form.encode(), b"[key]")
        return Reply(content, until_reset(response.headers, self._clock()))

    async def _refuse(self, response: httpx2.Response) -> None:
        """Anything but a success, before the client reads an error page of any size into memory."""
        if response.status_code < 300:
            return
        content, _ = await _read(response, _ERROR_BYTES)
        try:
            error = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            error = content.decode("utf-8", "replace")
        _, code, message = read_error(error)
        status, now = response.status_code, self._clock()
        text = self.redact(f"HTTP {status}: {message}")[:400]
        if is_filtered(status, error):
            raise filtered(status, text)
        wait = retry_after(response.headers, now)
        raise failure(status, code, text, wait if wait is not None else until_reset(response.headers, now) or None)


def _spelled_out(escape: re.Match[bytes]) -> bytes:
    """A JSON escape of a printable ASCII character as that character; quotes and backslashes stay escaped."""
    character = bytes([int(escape[2], 16)])
    return escape[0] if character in (b'"', b"\\", b"\x7f") else escape[1] + character


def _headers(key_header: str, key: str | None) -> Mapping[str, Any]:
    """Where the key goes, if not where the client puts it."""
    return {} if key_header == "Authorization" or not key else {key_header: key, "Authorization": Omit()}


def _forms(key: str) -> tuple[str, ...]:
    """The key as a server may write it back."""
    encoded = base64.b64encode(key.encode()).decode().rstrip("=")
    found = {key, encoded, urllib.parse.quote(key, safe=""), key.replace("/", "\\/")}
    return tuple(sorted(found, key=len, reverse=True))


async def _read(response: httpx2.Response, limit: int) -> tuple[bytes, bool]:
    """The first ``limit`` bytes of a body, and whether that is all of it. The connection is given back."""
    chunks, size = [], 0
    try:
        async for chunk in response.aiter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                break
    finally:
        with contextlib.suppress(Exception):  # a reset while closing must not hide what was read
            await response.aclose()
    return b"".join(chunks)[:limit], size <= limit
