"""HTTP client of one endpoint: AsyncOpenAI on its own transport, raw bytes out, bounded in time and size.

The only module that opens sockets. It takes half a second to import, so it is imported where a call is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import select
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import msgspec
from openai import APITimeoutError, AsyncOpenAI, DefaultAioHttpClient, Omit

from harness.clock import Clock
from harness.config import Called, Collect, Redactor, key_of
from harness.endpoints import failures
from harness.endpoints.apis import provider_of
from harness.endpoints.proxies import proxy_for
from harness.endpoints.quotas import Quota, read_quotas, retry_after, server_time, until_reset
from harness.endpoints.server_errors import read_error
from harness.errors import CallError, EndpointError

CERTIFICATES = "SSL_CERT_FILE"


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


def authorities(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Whose certificates are trusted: the usual authorities, and those in the file that SSL_CERT_FILE names.

    `EndpointError` if that file cannot be read.
    """
    import certifi  # what the client's own transport trusts

    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    if further := environ.get(CERTIFICATES):
        try:
            context.load_verify_locations(cafile=further)
        except (OSError, ssl.SSLError) as e:
            what = "is not there" if not Path(further).is_file() else "holds no certificates"
            raise EndpointError(
                f"{CERTIFICATES} names {further}, which {what}", f"mend the path, or unset {CERTIFICATES}"
            ) from e
    return context


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
    """The body of a success, and what its headers say of the server's rate limits."""

    content: bytes
    quotas: tuple[Quota, ...] = ()


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
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        at_home = is_loopback(base_url)  # no proxy is asked for this machine
        self._proxy = None if at_home else proxy_for(base_url, environ)
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
            trust_env=not at_home,
            verify=authorities(environ),
        )
        watch_connections(http_client)
        self._client = AsyncOpenAI(
            base_url=base_url.partition("?")[0],  # its query stands behind the path, see `path_of`
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
        through = f" through {self._proxy}" if self._proxy else ""
        return failures.unreachable(self.redact(f"{str(root) or type(root).__name__}{through}"))

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
        now = server_time(response.headers, self._clock.now().timestamp())
        return Reply(self._redactor.body(content), read_quotas(response.headers, now))

    async def _refuse(self, response: httpx2.Response) -> None:
        """Anything but a success, before the client reads an error page of any size into memory."""
        if response.status_code < 300:
            return
        content, _ = await _read(response, _ERROR_BYTES)
        try:
            error = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            error = content.decode("utf-8", "replace")
        said, status = read_error(error), response.status_code
        asked = f" (asked: {response.url.copy_with(query=None)})" if status < 400 or status in (404, 405) else ""
        text = self.redact(f"HTTP {status}: {said.message[:300]}{asked}")[:600]
        now = server_time(response.headers, self._clock.now().timestamp())
        wait = retry_after(response.headers, now)
        if wait is None:
            wait = until_reset(read_quotas(response.headers, now)) or None
        raise failures.from_status(status, said, text, wait)


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
    client = Client(
        address,
        key_of(endpoint, environ),
        timeout=settings.call_timeout,
        max_bytes=int(settings.max_body_mb * 1e6),
        connections=endpoint.concurrency,
        key_header=provider_of(endpoint).key_header,
    )
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
