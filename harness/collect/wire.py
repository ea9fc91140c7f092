"""The one place that talks to a model: AsyncOpenAI on its own transport, raw bytes out, bounded."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import time
from collections.abc import Callable, Mapping

import httpx2
import msgspec
from openai import APITimeoutError, AsyncOpenAI, DefaultAioHttpClient

from harness.collect.failures import failure, read_error
from harness.errors import CallError

_ERROR_BYTES = 65_536
_SHORTEST_SECRET = 8  # local servers are given "EMPTY" or "x", which may well stand in an answer
NO_KEY = "none"  # what servers without keys are sent; the client insists on one


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key or ""
        self._secret = len(self._key) >= _SHORTEST_SECRET
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._clock = clock
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=key or NO_KEY,
            max_retries=0,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 30.0), pool=None),
            http_client=DefaultAioHttpClient(
                follow_redirects=False,
                limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
                timeout=httpx2.Timeout(timeout, connect=min(timeout, 30.0), pool=None),
                event_hooks={"response": [self._refuse]},
            ),
        )

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.close()

    def redact(self, text: str) -> str:
        """``text`` without this endpoint's key."""
        return text.replace(self._key, "[key]") if self._secret else text

    async def post(self, path: str, body: bytes) -> bytes:
        """Send one request, return the body of the reply. Raises `CallError`, never anything of the client's own."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(path, body)
        except CallError:
            raise
        except TimeoutError:
            raise self._late() from None
        except Exception as e:  # three libraries lie below, and a broken server gets exceptions of all three through
            raise self._error(e) from None

    def _late(self) -> CallError:
        return CallError(f"no full reply within {self._timeout:g} s", kind="timeout", retry=True)

    def _error(self, error: BaseException) -> CallError:
        """What lies under the client's layers of exceptions; they call a refused connection a timeout."""
        root = error
        while root.__cause__ is not None and not isinstance(root, CallError):
            root = root.__cause__
        if isinstance(root, CallError):  # from `_refuse`
            return root
        if isinstance(error, APITimeoutError) and (isinstance(root, TimeoutError) or not isinstance(root, OSError)):
            return self._late()
        text = self.redact(f"no connection: {str(root) or type(root).__name__}")[:300]
        return CallError(text, kind="connection", retry=True)

    async def _post(self, path: str, body: bytes) -> bytes:
        response = await self._client.post(
            path,
            cast_to=httpx2.Response,
            content=body,
            options={"headers": {"Content-Type": "application/json", "X-Stainless-Raw-Response": "stream"}},
        )
        content, whole = await _read(response, self._max_bytes)
        if not whole:
            raise CallError(f"the reply is larger than {self._max_bytes:,} bytes", kind="too_large")
        # A server may echo the header back: the key is cut out before anything is kept.
        return content.replace(self._key.encode(), b"[key]") if self._secret else content

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
        text = self.redact(f"HTTP {response.status_code}: {message}")[:400]
        raise failure(response.status_code, code, text, retry_after(response.headers, self._clock()))


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


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds a server asks to wait: ``retry-after-ms``, then ``retry-after`` in seconds or as an HTTP date."""
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after")
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    return None
