"""HTTP client of one endpoint: AsyncOpenAI on its own transport, raw bytes out, bounded in time and size.

The only module that opens sockets. It takes half a second to import, so it is imported where a call is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import ipaddress
import re
import select
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import msgspec
from openai import APITimeoutError, AsyncOpenAI, DefaultAioHttpClient, Omit

from harness.clock import Clock
from harness.config import Called, Collect, Redactor, key_of, without_keys
from harness.endpoints import failures
from harness.endpoints.apis import provider_of
from harness.errors import CallError, EndpointError

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
    """Seconds until a rate limit that is used up is full again, 0 if none is.

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


class WatchfulConnector(aiohttp.TCPConnector):
    """Drops a kept connection on which something arrived after its last answer was read.

    aiohttp hands such a connection out again, and what came unasked is then taken for the answer to the next request:
    a server that answers twice would have one question's answer stored under another's. Its own test for this
    (`should_close`) is made when a connection is given back, which is too early; and it knows only what the event loop
    has read by then, while on a busy machine more may lie in the socket.
    """

    async def _get(self, key: Any, traces: Any) -> Any:
        while (connection := await super()._get(key, traces)) is not None:
            protocol = connection.protocol
            if protocol is None or not (protocol.should_close or _has_unread_bytes(connection.transport)):
                return connection
            connection.close()
        return None


def _has_unread_bytes(transport: asyncio.Transport | None) -> bool:
    """Whether a connection's socket holds something (an end of file, too) that the event loop has not read yet."""
    socket = transport.get_extra_info("socket") if transport is not None else None
    if socket is None or socket.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def watch_connections(client: httpx2.AsyncClient) -> None:
    """Let the aiohttp transports of a client, those for proxies included, use a `WatchfulConnector`.

    Raises ``AttributeError`` if the client has no such transport: better no run than answers that may be another's.
    """
    for transport in (client._transport, *client._mounts.values()):
        if transport is not None:
            transport.client = _session(transport)  # type: ignore[attr-defined]


def _session(transport: Any) -> Any:
    limits, context = transport.limits, transport.ssl_context

    def make() -> aiohttp.ClientSession:
        connector = WatchfulConnector(
            limit=limits.max_connections or 0, keepalive_timeout=limits.keepalive_expiry or 15.0, ssl=context
        )
        return aiohttp.ClientSession(connector=connector)

    return make


def is_loopback(url: str) -> bool:
    """Whether plain HTTP at ``url`` stays on this machine."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


_ERROR_BYTES = 65_536
_KNOWN_HEADERS = re.compile(r"accept|content-type|user-agent|authorization|x-stainless-.*", re.IGNORECASE)
NO_KEY = "none"  # what servers without keys are sent; the client insists on one


@dataclass(frozen=True, slots=True)
class Reply:
    """The body of a success, and the seconds until a rate limit that its headers call used up is full again."""

    content: bytes
    reset_after: float


class Client:
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
        clock: Clock = Clock(),
    ) -> None:
        self._redactor = Redactor(key)
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
        """``text`` without this endpoint's key, however a server spells it."""
        return self._redactor.text(text)

    async def post(self, path: str, body: bytes, within: float | None = None) -> Reply:
        """Send one request and read the reply, within so many seconds. Raises `CallError` and nothing else."""
        seconds = self._timeout if within is None else within
        try:
            async with asyncio.timeout(seconds):
                return await self._post(path, body)
        except CallError:
            raise
        except TimeoutError:
            raise failures.timed_out(seconds) from None
        except Exception as e:  # three libraries lie below, and a broken server gets exceptions of all three through
            raise self._error(e) from None

    def _error(self, error: BaseException) -> CallError:
        """What lies under the client's layers of exceptions; they call a refused connection a timeout."""
        root = error
        while root.__cause__ is not None and not isinstance(root, CallError):
            root = root.__cause__
        if isinstance(root, CallError):  # from `_refuse`
            return root
        if isinstance(root, ssl.SSLCertVerificationError):
            return failures.untrusted(root.verify_message)
        if isinstance(error, APITimeoutError) and (isinstance(root, TimeoutError) or not isinstance(root, OSError)):
            return failures.timed_out(self._timeout)
        said = without_keys(str(root))  # of a proxy it may name the address, with its password
        return failures.unreachable(self.redact(said or type(root).__name__))

    async def _post(self, path: str, body: bytes) -> Reply:
        response = await self._client.post(
            path,
            cast_to=httpx2.Response,
            content=body,
            options={"headers": self._headers},
        )
        content, whole = await _read(response, self._max_bytes)
        if not whole:
            raise failures.too_large(self._max_bytes)
        # A server may echo the header back: the key is cut out before anything is kept.
        content = self._redactor.body(as_utf8(content, response.headers.get("content-type", "")))
        return Reply(content, until_reset(response.headers, self._clock.now().timestamp()))

    async def _refuse(self, response: httpx2.Response) -> None:
        """Anything but a success, before the client reads an error page of any size into memory."""
        if response.status_code < 300:
            return
        content, _ = await _read(response, _ERROR_BYTES)
        content = as_utf8(content, response.headers.get("content-type", ""))
        try:
            error = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            error = content.decode("utf-8", "replace")
        _, code, message = failures.read_error(error)
        status, now = response.status_code, self._clock.now().timestamp()
        text = self.redact(f"HTTP {status}: {message}")[:400]
        if failures.is_filtered(status, error):
            raise failures.filtered(status, text)
        wait = retry_after(response.headers, now)
        raise failures.from_status(
            status, code, text, wait if wait is not None else until_reset(response.headers, now) or None
        )


_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_TEXTUAL = re.compile(
    r"utf-?(16|32)(-?[lb]e)?|(iso-?8859|windows|cp|euc|shift)[-_][a-z0-9-]+|latin-?1|gb[0-9k]+|big5|koi8-r"
)


def as_utf8(content: bytes, content_type: str) -> bytes:
    """A body in UTF-8, from the charset that its header declares; as it is where that is UTF-8, none, or not known.

    Nothing is guessed: a body that two readers decode apart is one that only one of them has looked at.
    """
    found = _CHARSET.search(content_type)
    if found is None or not _TEXTUAL.fullmatch(found[1].lower()):
        return content
    try:
        return content.decode(found[1], "replace").encode("utf-8", "replace")
    except LookupError:
        return content


def _headers(key_header: str, key: str | None) -> Mapping[str, Any]:
    """Where the key goes, if not where the client puts it."""
    return {} if key_header == "Authorization" or not key else {key_header: key, "Authorization": Omit()}


async def _read(response: httpx2.Response, most: int) -> tuple[bytes, bool]:
    """The first ``most`` bytes of a body, and whether that is all of it. The connection is given back."""
    chunks, size = [], 0
    try:
        async for chunk in response.aiter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                break
    finally:
        with contextlib.suppress(Exception):  # a reset while closing must not hide what was read
            await response.aclose()
    return b"".join(chunks)[:most], size <= most


@contextlib.asynccontextmanager
async def open_client(
    endpoint: Called, address: str, settings: Collect, environ: Mapping[str, str]
) -> AsyncIterator[Client]:
    """The client of one endpoint, with its key where its provider wants it."""
    key = key_of(endpoint, environ)
    try:
        client = Client(
            address,
            key,
            timeout=settings.call_timeout,
            max_bytes=int(settings.max_body_mb * 1e6),
            connections=endpoint.concurrency,
            key_header=provider_of(endpoint).key_header,
        )
    except (ValueError, OSError, ImportError, httpx2.InvalidURL) as e:  # of a proxy's address, of files of authorities
        said = without_keys(str(e) or type(e).__name__)
        hint = "look at HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        raise EndpointError(f"endpoint {endpoint.name!r}: cannot be called from this environment: {said}", hint) from e
    try:
        yield client
    finally:
        await client.close()


_CHUNK = 1 << 20  # bytes


def download(url: str, write: Callable[[bytes], object]) -> None:
    """Write what is at ``url`` chunk by chunk, following redirects. `EndpointError` if it cannot be had."""
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=60.0) as reply:
            reply.raise_for_status()
            for chunk in reply.iter_bytes(_CHUNK):
                write(chunk)
    except httpx.HTTPError as e:
        raise EndpointError(str(e), "check the name and the network") from e
