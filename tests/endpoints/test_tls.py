"""TLS is verified: a key goes to nobody who cannot prove to be the host that the config names."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from harness.endpoints.client import Client, Reply
from harness.errors import CallError

KEY = "tls-key-0123456789abcdef"


async def post(authority: trustme.CA, host: str) -> tuple[Reply | CallError, list[bytes]]:
    """Ask a real TLS server whose certificate is for ``host``: what comes of it, and what the server was sent."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        client = Client(f"https://127.0.0.1:{port}/v1", KEY, timeout=5, max_bytes=1000, connections=1)
        try:
            return await client.post("/chat/completions", b"{}", read=bytes), heard
        except CallError as e:
            return e, heard
        finally:
            await client.close()


@pytest.mark.parametrize(("trusted", "host"), [(False, "127.0.0.1"), (True, "example.org")])
def test_an_unproven_host_gets_nothing(
    trusted: bool, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    if trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    found, heard = asyncio.run(post(authority, host))
    assert isinstance(found, CallError)
    assert found.fatal
    assert not found.retry
    assert "certificate is not trusted" in found.message
    assert "SSL_CERT_FILE" in found.hint
    assert heard == []


def test_an_authority_that_the_user_trusts_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    found, heard = asyncio.run(post(authority, "127.0.0.1"))
    assert isinstance(found, Reply)
    assert found.answer == b"{}"
    assert KEY.encode() in heard[0]
