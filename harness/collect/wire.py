"""The one place that talks to a model: AsyncOpenAI on its own transport, raw bytes out, bounded."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import time
from collections.abc import Callable, Mapping

import httpx2
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    DefaultAioHttpClient,
)

from harness.collect.failures import failure, read_error
from harness.errors import CallError

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
        self._key = key
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
            ),
        )

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.close()

    def redact(self, text: str) -> str:
        """``text`` without this endpoint's key."""
        return text.replace(self._key, "[key]") if self._key else text

    async def post(self, path: str, body: bytes) -> bytes:
        """Send one request, return the body of the reply. Raises `CallError`, never anything of the client's own."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(path, body)
        except (TimeoutError, APITimeoutError):
            raise CallError(f"no full reply within {self._timeout:g} s", kind="timeout", retry=True) from None
        except APIStatusError as e:
            raise self._status_error(e) from None
        except (APIConnectionError, httpx2.HTTPError, OSError) as e:
            cause = e.__cause__ or e
            raise CallError(
                self.redact(f"no connection: {str(cause) or type(cause).__name__}")[:300],
                kind="connection",
                retry=True,
            ) from None

    async def _post(self, path: str, body: bytes) -> bytes:
        response = await self._client.post(
            path,
            cast_to=httpx2.Response,
            content=body,
            options={"headers": {"Content-Type": "application/json", "X-Stainless-Raw-Response": "stream"}},
        )
        chunks, size = [], 0
        try:
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > self._max_bytes:
                    raise CallError(f"the reply is larger than {self._max_bytes:,} bytes", kind="too_large")
                chunks.append(chunk)
        finally:
            with contextlib.suppress(Exception):  # a reset while closing must not hide what was read
                await response.aclose()
        content = b"".join(chunks)
        # A server may echo the header back: the key is cut out before anything is kept.
        return content.replace(self._key.encode(), b"[key]") if self._key else content

    def _status_error(self, error: APIStatusError) -> CallError:
        _, code, message = read_error(error.body or error.message)
        text = self.redact(f"HTTP {error.status_code}: {message}")[:400]
        return failure(error.status_code, code, text, retry_after(error.response.headers, self._clock()))


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
