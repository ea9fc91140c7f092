"""HTTP client of one endpoint: AsyncOpenAI on its own transport, raw bytes out, bounded in time and size.

The only module that opens sockets. It takes half a second to import, so it is imported where a call is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import msgspec
from openai import APITimeoutError, AsyncOpenAI, DefaultAioHttpClient, Omit

from harness.clock import Clock
from harness.config import Called, Collect, Redactor, key_of, without_keys
from harness.endpoints import failures
from harness.endpoints.apis import headers_of
from harness.endpoints.bodies import ACCEPTED, BodyBudget, beginning, whole
from harness.endpoints.proxies import proxy_for
from harness.endpoints.quotas import Quota, read_quotas, retry_after, server_time, until_reset
from harness.endpoints.server_errors import read_error
from harness.errors import CallError, EndpointError

CERTIFICATES = "SSL_CERT_FILE"
T = TypeVar("T")


def one_connection_a_request(client: httpx2.AsyncClient) -> None:
    """Let the aiohttp transports of a client, those for proxies included, keep no connection after its reply.

    On a kept connection the only thing that ties a reply to its request is the order of both. A server that once sends
    one reply more than it was asked for, be it some milliseconds after the next request has left, has all later answers
    taken for those to the questions before, and nothing in them shows it. Looking whether a connection is clean before
    it is used again comes too early for a late reply. A connection of its own ties an answer to its question whatever
    the server does; what arrives later meets a closed one. It costs a handshake a call (benchmarks/README.md).

    Raises ``AttributeError`` if the client has no such transport: better no run than answers that may be another's.
    """
    for transport in (client._transport, *client._mounts.values()):
        if transport is not None:
            transport.client = _session(transport)  # type: ignore[attr-defined]


def _session(transport: Any) -> Any:
    limits, context = transport.limits, transport.ssl_context

    def make() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=limits.max_connections or 0, force_close=True, ssl=context)
        return aiohttp.ClientSession(connector=connector)

    return make


def authorities(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Whose certificates are trusted: the usual authorities, and those in the file that SSL_CERT_FILE names.

    `EndpointError` if that file cannot be read.
    """
    if not (further := environ.get(CERTIFICATES)):
        return _shared()
    context = _usual()
    try:
        context.load_verify_locations(cafile=further)
    except (OSError, ssl.SSLError) as e:
        what = "is not there" if not Path(further).is_file() else "holds no certificates"
        raise EndpointError(
            f"{CERTIFICATES} names {further}, which {what}", f"mend the path, or unset {CERTIFICATES}"
        ) from e
    return context


def _usual() -> ssl.SSLContext:
    """The usual authorities. It takes 30 ms, and clients are made one an endpoint."""
    import certifi  # what the client's own transport trusts

    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


_shared = functools.cache(_usual)  # nothing is added to this one


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
class Reply(Generic[T]):
    """What a success says, and what its headers say of the server's rate limits."""

    answer: T
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
        headers: Mapping[str, str] | None = None,
        clock: Clock = Clock(),
        budget: BodyBudget | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        at_home = is_loopback(base_url)  # no proxy is asked for this machine
        self._proxy = None if at_home else proxy_for(base_url, environ)
        self._budget = BodyBudget() if budget is None else budget
        self._redactor = Redactor(key)
        self._timeout = timeout
        self._headers: dict[str, Any] = {
            "Content-Type": "application/json",
            "X-Stainless-Raw-Response": "stream",
            "Connection": "close",
            "Accept-Encoding": ACCEPTED,
            **(headers or {}),
            **_headers(key_header, key),
        }
        self._max_bytes = max_bytes
        self._clock = clock
        http_client = DefaultAioHttpClient(
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=connections),
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 30.0), pool=None),
            event_hooks={"response": [self._refuse]},
            trust_env=not at_home,
            verify=authorities(environ),
        )
        one_connection_a_request(http_client)
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

    async def post(
        self, path: str, body: bytes, within: float | None = None, *, read: Callable[[bytes], T]
    ) -> Reply[T]:
        """Send one request and ``read`` the reply, within so many seconds. Raises `CallError` and nothing else."""
        sent = self._client.post(path, cast_to=httpx2.Response, content=body, options={"headers": self._headers})
        return await self._whole(sent, self._timeout if within is None else within, read)

    async def get(self, path: str) -> Reply[bytes]:
        """Ask for one thing, such as how far a batch is. Raises `CallError` and nothing else."""
        sent = self._client.get(path, cast_to=httpx2.Response, options={"headers": self._headers})
        return await self._whole(sent, self._timeout, bytes)

    async def upload(self, path: str, content: bytes, fields: Mapping[str, str]) -> Reply[bytes]:
        """Send a file as a form does. Raises `CallError` and nothing else."""
        files = {"file": ("requests.jsonl", content, "application/jsonl")}
        headers = self._headers | {"Content-Type": "multipart/form-data"}  # the client adds what separates the parts
        sent = self._client.post(
            path, cast_to=httpx2.Response, body=dict(fields), files=files, options={"headers": headers}
        )
        return await self._whole(sent, self._timeout, bytes)

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a body of any size, one in memory at a time. Raises `CallError` and nothing else."""
        try:
            response = await self._client.get(path, cast_to=httpx2.Response, options={"headers": self._headers})
            rest = b""
            try:
                async for chunk in response.aiter_bytes():
                    *complete, rest = (rest + chunk).split(b"\n")
                    if len(rest) > self._max_bytes:
                        raise failures.too_large(self._max_bytes)
                    for line in complete:
                        yield self._redactor.body(line)
                yield self._redactor.body(rest)
            finally:
                await _closed(response)
        except CallError:
            raise
        except Exception as e:
            raise self._error(e) from None

    async def _whole(self, sent: Awaitable[httpx2.Response], seconds: float, read: Callable[[bytes], T]) -> Reply[T]:
        try:
            async with asyncio.timeout(seconds), self._budget.body() as number:
                return await self._reply(await sent, number, read)
        except CallError as e:
            e.__context__ = None  # their frames hold the body, and the error outlives its room in memory
            raise e.with_traceback(None) from None
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
        said = without_keys(str(root)) or type(root).__name__  # of a proxy it may name the address, with its password
        through = f" through {self._proxy}" if self._proxy else ""
        return failures.unreachable(self.redact(f"{said}{through}"))

    async def _reply(self, response: httpx2.Response, number: int, read: Callable[[bytes], T]) -> Reply[T]:
        try:
            encoding = response.headers.get("content-encoding", "")
            content = await whole(response.aiter_raw(), encoding, self._max_bytes, self._budget, number)
        finally:
            await _closed(response)
        # A server may echo the header back: the key is cut out before anything is kept.
        plain = as_utf8(content, response.headers.get("content-type", ""))
        answer = await self._budget.read(lambda found: read(self._redactor.body(found)), plain)
        now = server_time(response.headers, self._clock.now().timestamp())
        return Reply(answer, read_quotas(response.headers, now))

    async def _refuse(self, response: httpx2.Response) -> None:
        """Anything but a success, before the client reads an error page of any size into memory."""
        if response.status_code < 300:
            return
        try:
            content = await beginning(response.aiter_raw(), response.headers.get("content-encoding", ""), _ERROR_BYTES)
        finally:
            await _closed(response)
        content = as_utf8(content, response.headers.get("content-type", ""))
        try:
            error = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            error = content.decode("utf-8", "replace")
        said, status = read_error(error), response.status_code
        asked = f" (asked: {response.url.copy_with(query=None)})" if status < 400 or status in (404, 405) else ""
        text = f"{self.redact(f'HTTP {status}: {said.message}')[:300]}{self.redact(asked)}"  # half a key is not found
        now = server_time(response.headers, self._clock.now().timestamp())
        wait, quotas = retry_after(response.headers, now), read_quotas(response.headers, now)
        if wait is None:
            wait = until_reset(quotas) or None
        raise failures.from_status(status, said, text, wait, quotas)


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


async def _closed(response: httpx2.Response) -> None:
    """Let go of the connection; a reset meanwhile must not hide what was read."""
    with contextlib.suppress(Exception):
        await response.aclose()


@contextlib.asynccontextmanager
async def open_client(
    endpoint: Called, address: str, settings: Collect, environ: Mapping[str, str], budget: BodyBudget | None = None
) -> AsyncIterator[Client]:
    """The client of one endpoint, with its key where its provider wants it; those of one run share a ``budget``."""
    key_header, headers = headers_of(endpoint)
    key = key_of(endpoint, environ)
    try:
        client = Client(
            address,
            key,
            timeout=settings.call_timeout,
            max_bytes=int(settings.max_body_mb * 1e6),
            connections=endpoint.concurrency,
            key_header=key_header,
            headers=headers,
            budget=budget,
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


def download(url: str, write: Callable[[bytes], object], expect: Callable[[int], object] = lambda _: None) -> None:
    """Write what is at ``url`` chunk by chunk, following redirects. `EndpointError` if it cannot be had.

    ``expect`` is told before how many bytes the server says it has, where it says so, and may raise.
    """
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=60.0) as reply:
            reply.raise_for_status()
            if (declared := reply.headers.get("content-length", "")).isdecimal():
                expect(int(declared[:20]))
            for chunk in reply.iter_bytes(_CHUNK):
                write(chunk)
    except httpx.HTTPError as e:
        raise EndpointError(str(e), "check the name and the network") from e
