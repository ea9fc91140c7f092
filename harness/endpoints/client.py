"""HTTP client of one endpoint: what the openai client would send, over aiohttp; bounded in time and size.

The openai client takes most of a millisecond to build a request and the objects around it, aiohttp a tenth of that. So
aiohttp sends, and of the openai client are the headers. The only module that opens sockets. It takes half a second to
import, so it is imported where a call is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import aiohttp
import httpx
import msgspec
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from yarl import URL

from harness.clock import Clock
from harness.config import Called, Collect, Redactor, key_of, public_address, without_keys
from harness.endpoints import failures
from harness.endpoints.apis import headers_of
from harness.endpoints.bodies import ACCEPTED, BodyBudget, beginning, unpacked, whole
from harness.endpoints.proxies import proxy_for
from harness.endpoints.quotas import Quota, read_quotas, retry_after, server_time, tells_quotas, until_reset
from harness.endpoints.server_errors import read_error
from harness.errors import CallError, EndpointError

CERTIFICATES = "SSL_CERT_FILE"
T = TypeVar("T")


def one_connection_a_request(most: int, context: ssl.SSLContext) -> aiohttp.TCPConnector:
    """Connections to a server, at most so many at once, of which none is kept after its reply.

    On a kept connection the only thing that ties a reply to its request is the order of both. A server that once sends
    one reply more than it was asked for, be it some milliseconds after the next request has left, has all later answers
    taken for those to the questions before, and nothing in them shows it. Looking whether a connection is clean before
    it is used again comes too early for a late reply. A connection of its own ties an answer to its question whatever
    the server does; what arrives later meets a closed one. It costs a handshake a call (benchmarks/README.md).
    """
    return aiohttp.TCPConnector(limit=most, force_close=True, ssl=context)


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
_KNOWN_HEADERS = re.compile(r"accept|user-agent|x-stainless-.*", re.IGNORECASE)
_JSON = {"Content-Type": "application/json"}
NO_KEY = "none"  # what servers without keys are sent, as the openai client insists on one
MOST_CONNECTING = 30.0  # seconds until there is a connection


def usual_headers(key: str | None) -> Mapping[str, str]:
    """What the openai client sends with every call: the key, what kind of client it is, and on which machine.

    Not what it adds from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, whoever is asked.
    """
    client = AsyncOpenAI(base_url="http://localhost", api_key=key or NO_KEY, http_client=_idle())
    sent = {n: v for n, v in client.default_headers.items() if _KNOWN_HEADERS.fullmatch(n) and isinstance(v, str)}
    return {**sent, **client.auth_headers, "X-Stainless-Raw-Response": "stream", "X-Stainless-Retry-Count": "0"}


@functools.cache
def _idle() -> DefaultAsyncHttpxClient:
    """What the openai client would send with; nothing is sent with it here."""
    return DefaultAsyncHttpxClient(trust_env=False, verify=_shared())


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """What a success says, and what its headers say of the server's rate limits."""

    answer: T
    quotas: tuple[Quota, ...] = ()


def _is_closed(error: BaseException, root: BaseException) -> bool:
    """Whether a connection that there was ended before a reply was whole."""
    broke = isinstance(error, aiohttp.ClientOSError) and isinstance(root, ConnectionError)
    made = not isinstance(error, aiohttp.ClientConnectorError)
    return isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError) or (broke and made)


@dataclass(slots=True)
class Came:
    """Bytes of a reply that have come so far, as they were sent; None until its head is there."""

    size: int | None = None

    async def of(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The pieces of a body as they come."""
        self.size = 0
        async for chunk in response.content.iter_any():
            self.size += len(chunk)
            yield chunk


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
        self._headers = {
            **usual_headers(key),
            "X-Stainless-Read-Timeout": f"{timeout:g}",
            "Connection": "close",
            "Accept-Encoding": ACCEPTED,
            **(headers or {}),
        }
        if key_header != "Authorization" and key:
            del self._headers["Authorization"]
            self._headers[key_header] = key
        self._max_bytes = max_bytes
        self._clock = clock
        self._base = base_url.partition("?")[0].rstrip("/")  # its query stands behind the path, see `path_of`
        if URL(self._base).scheme not in ("http", "https") or not URL(self._base).raw_host:
            raise ValueError(f"{public_address(base_url)} is no http address")
        self._connections, self._authorities = connections, authorities(environ)
        self._url = functools.cache(lambda path: URL(self._base + path, encoded=True))
        self._opened: aiohttp.ClientSession | None = None

    def _session(self) -> aiohttp.ClientSession:
        """What sends the calls; made in the loop that they run in."""
        if self._opened is None:
            connecting = MOST_CONNECTING if self._timeout > MOST_CONNECTING else None
            self._opened = aiohttp.ClientSession(
                connector=one_connection_a_request(self._connections, self._authorities),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connecting),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # `bodies` does that, within bounds
                proxy=None if self._proxy is None else self._proxy.url,
            )
        return self._opened

    async def close(self) -> None:
        """Give back the connections."""
        if self._opened is not None:
            await self._opened.close()

    @property
    def has_key(self) -> bool:
        """Whether there is a key that a server could send back."""
        return self._redactor.has_key

    def redact(self, text: str) -> str:
        """``text`` without this endpoint's key, however a server spells it."""
        return self._redactor.text(text)

    async def post(
        self, path: str, body: bytes, within: float | None = None, *, read: Callable[[bytes], T]
    ) -> Reply[T]:
        """Send one request and ``read`` the reply, within so many seconds. Raises `CallError` and nothing else."""
        return await self._call("POST", path, self._timeout if within is None else within, read, body, _JSON)

    async def get(self, path: str) -> Reply[bytes]:
        """Ask for one thing, such as how far a batch is. Raises `CallError` and nothing else."""
        return await self._call("GET", path, self._timeout, bytes)

    async def upload(self, path: str, content: bytes, fields: Mapping[str, str]) -> Reply[bytes]:
        """Send a file as a form does. Raises `CallError` and nothing else."""
        form = aiohttp.FormData(dict(fields))
        form.add_field("file", content, filename="requests.jsonl", content_type="application/jsonl")
        return await self._call("POST", path, self._timeout, bytes, form)

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a body of any size, one in memory at a time. Raises `CallError` and nothing else."""
        patience = aiohttp.ClientTimeout(total=None, sock_connect=MOST_CONNECTING, sock_read=self._timeout)
        rest = b""
        with self._as_call_error(self._timeout) as came:
            async with self._session().get(self._url(path), allow_redirects=False, timeout=patience) as response:
                await self._refuse(response)
                encoding = response.headers.get("content-encoding", "")
                async for chunk in unpacked(came.of(response), encoding):
                    *complete, rest = (rest + chunk).split(b"\n")
                    if len(rest) > self._max_bytes:
                        raise failures.too_large(self._max_bytes)
                    for line in complete:
                        yield self._redactor.body(line)
                yield self._redactor.body(rest)

    async def _call(
        self,
        method: str,
        path: str,
        seconds: float,
        read: Callable[[bytes], T],
        data: bytes | aiohttp.FormData | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply[T]:
        with self._as_call_error(seconds) as came:
            async with (
                asyncio.timeout(seconds),
                self._session().request(
                    method, self._url(path), data=data, headers=headers, allow_redirects=False
                ) as response,
            ):
                await self._refuse(response)
                return await self._reply(response, came.of(response), read)
        raise AssertionError("a call ends with a reply or an error")

    @contextlib.contextmanager
    def _as_call_error(self, seconds: float) -> Iterator[Came]:
        """Whatever goes wrong in a call of so many seconds as a `CallError`; yields what counts the bytes that came."""
        came = Came()
        try:
            yield came
        except CallError as e:
            e.__context__ = None  # their frames hold the body, and the error outlives its room in memory
            raise e.with_traceback(None) from None
        except Exception as e:  # libraries lie below, and a broken server gets exceptions of all of them through
            raise self._error(e, seconds, came.size) from None

    def _error(self, error: BaseException, seconds: float, came: int | None) -> CallError:
        """What lies under the layers of exceptions."""
        root = error
        while root.__cause__ is not None and not isinstance(root, TimeoutError):
            root = root.__cause__
        if isinstance(root, ssl.SSLCertVerificationError):
            return failures.untrusted(root.verify_message)
        if isinstance(root, TimeoutError):
            return failures.timed_out(seconds, came)
        through = f" through {self._proxy}" if self._proxy else ""
        if _is_closed(error, root):
            return failures.closed_early(came, self.redact(through))
        said = without_keys(str(root)) or type(root).__name__  # of a proxy it may name the address, with its password
        return failures.unreachable(self.redact(f"{said}{through}"))

    async def _reply(
        self, response: aiohttp.ClientResponse, chunks: AsyncIterator[bytes], read: Callable[[bytes], T]
    ) -> Reply[T]:
        headers = response.headers
        with self._budget.body() as number:
            content = await whole(chunks, headers.get("content-encoding", ""), self._max_bytes, self._budget, number)
            # A server may echo the header back: the key is cut out before anything is kept.
            plain = as_utf8(content, headers.get("content-type", ""))
            answer = await self._budget.read(lambda found: read(self._redactor.body(found)), plain)
        return Reply(answer, read_quotas(headers, self._server_time(headers)) if tells_quotas(headers) else ())

    def _server_time(self, headers: Mapping[str, str]) -> float:
        return server_time(headers, self._clock.now().timestamp())

    async def _refuse(self, response: aiohttp.ClientResponse) -> None:
        """`CallError` for anything but a success, with the beginning of its page: it may be of any size."""
        status, headers = response.status, response.headers
        if status < 300:
            return
        encoding = headers.get("content-encoding", "")
        try:
            content = await beginning(_as_far_as_it_goes(response), encoding, _ERROR_BYTES)
        finally:
            response.close()  # what is left of the page is not waited for
        content = as_utf8(content, headers.get("content-type", ""))
        try:
            error = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            error = content.decode("utf-8", "replace")
        said = read_error(error)
        asked = f" (asked: {response.url.with_query(None)})" if status < 400 or status in (404, 405) else ""
        text = f"{self.redact(f'HTTP {status}: {said.message}')[:300]}{self.redact(asked)}"  # half a key is not found
        now = self._server_time(headers)
        wait, quotas = retry_after(headers, now), read_quotas(headers, now)
        if wait is None:
            wait = until_reset(quotas) or None
        raise failures.from_status(status, said, text, wait, quotas)


async def _as_far_as_it_goes(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The pieces of a page of error: its status holds though the connection was closed early."""
    with contextlib.suppress(aiohttp.ClientError):
        async for chunk in response.content.iter_any():
            yield chunk


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
    except (ValueError, OSError) as e:  # of a proxy's address, of files of authorities
        said = without_keys(str(e) or type(e).__name__)
        hint = "look at HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        raise EndpointError(f"endpoint {endpoint.name!r}: cannot be called from this environment: {said}", hint) from e
    try:
        yield client
    finally:
        await client.close()


STALL = 60.0  # seconds without a byte after which a download ends
LEAST = 50_000.0  # bytes a second that a download has in all, the first `STALL` seconds aside


def download(
    url: str,
    write: Callable[[bytes], object],
    expect: Callable[[int], object] = lambda _: None,
    *,
    stall: float = STALL,
    least: float = LEAST,
    clock: Clock = Clock(),
) -> None:
    """Write what is at ``url`` piece by piece, following redirects. `EndpointError` if it cannot be had.

    ``expect`` is told before how many bytes the server says it has, where it says so, and may raise. It ends after
    ``stall`` seconds without a byte, and where so many bytes have taken longer than at ``least`` bytes a second.
    """
    size, began = 0, clock.monotonic()
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=stall) as reply:
            reply.raise_for_status()
            if (declared := reply.headers.get("content-length", "")).isdecimal():
                expect(int(declared[:20]))
            for piece in reply.iter_bytes():  # as they come: who waits for a whole one waits for ever
                write(piece)
                size += len(piece)
                seconds = clock.monotonic() - began
                if seconds > stall + size / least:
                    said = f"{size:,} bytes came in {seconds:.0f} s, fewer than {least:,.0f} a second"
                    raise EndpointError(
                        said, "is the network slow, or the server? run again, or fetch the file by hand"
                    )
    except httpx.ReadTimeout as e:
        raise EndpointError(f"no byte came for {stall:.3g} s, after {size:,} bytes", "run again") from e
    except httpx.HTTPError as e:
        raise EndpointError(str(e), "check the name and the network") from e
