"""Connections that are fit for another request: a kept one on which bytes came unasked is not."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2


class WatchfulConnector(aiohttp.TCPConnector):
    """Drops a kept connection on which something arrived after its last answer was read.

    aiohttp hands such a connection out again, and what came unasked is then taken for the answer to the next request:
    a server that answers twice would have one question's answer stored under another's. Its own test for this
    (`should_close`) is made when a connection is given back, which is too early.
    """

    async def _get(self, key: Any, traces: Any) -> Any:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()
        return None


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
