"""Proxies and certificates that the environment names, and addresses as they are asked."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.endpoints.client import Client, authorities
from harness.endpoints.proxies import proxy_for
from harness.errors import CallError, EndpointError
from tests.support.fault_server import FaultServer, Request, ok, says

FAR = "http://model.example/v1"


@pytest.mark.parametrize("variable", ["ALL_PROXY", "http_proxy"])
def test_a_socks_proxy_is_named_and_never_spoken_to(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        monkeypatch.setenv(variable, f"socks5://127.0.0.1:{listener.getsockname()[1]}")

        def listen() -> None:
            try:
                connection, _ = listener.accept()
                heard.append(connection.recv(100))
            except TimeoutError:
                pass

        listening = threading.Thread(target=listen)
        listening.start()
        with pytest.raises(EndpointError, match=f"{variable} names socks5://127.0.0.1.*only HTTP proxies") as caught:
            Client(FAR, "proxy-key-0123456789", timeout=2, max_bytes=1000, connections=1)
        listening.join()
    assert f"unset {variable}" in caught.value.hint
    assert heard == []


@pytest.mark.parametrize("scheme", ["socks5h", "SOCKS5", "socks4", "socks", "quic"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_no_other_kind_of_proxy_is_spoken_to(scheme: str, variable: str) -> None:
    with pytest.raises(EndpointError, match="only HTTP proxies") as caught:
        proxy_for("https://model.example/v1", {variable: f"{scheme}://me:secret@127.0.0.1:1080"})
    assert variable in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_dead_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    async def ask() -> CallError:
        client = Client(FAR, None, timeout=2, max_bytes=1000, connections=1)
        try:
            await client.post("/chat/completions", b"{}", read=bytes)
        except CallError as e:
            return e
        finally:
            await client.close()
        raise AssertionError("nobody listens there")

    error = asyncio.run(ask())
    assert error.kind == "connection"
    assert "through proxy http://127.0.0.1:9 (HTTP_PROXY)" in error.message


@pytest.mark.parametrize(
    ("url", "excepted", "found"),
    [
        ("https://a.example/v1", "", True),
        ("https://a.example/v1", "a.example", False),
        ("https://a.example/v1", ".example", False),
        ("https://a.example/v1", "b.example, *", False),
        ("https://a.example:8443/v1", "a.example:8443", False),
        ("https://a.example:8443/v1", "a.example:80", True),
        ("https://not-a.example/v1", "a.example", True),
    ],
)
def test_no_proxy_excepts_hosts_and_domains(url: str, excepted: str, found: bool) -> None:
    environ = {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": excepted}
    assert (proxy_for(url, environ) is not None) == found


def test_further_authorities_are_added_and_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    usual = authorities({}).cert_store_stats()["x509_ca"]
    assert usual > 20
    import trustme

    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert authorities({"SSL_CERT_FILE": str(tmp_path / "ca.pem")}).cert_store_stats()["x509_ca"] == usual + 1
    (tmp_path / "none.pem").write_text("nothing")
    for wrong, what in (("nope/ca.pem", "is not there"), ("none.pem", "holds no certificates")):
        with pytest.raises(EndpointError, match=what):
            authorities({"SSL_CERT_FILE": str(tmp_path / wrong)})


def test_a_query_in_base_url_stays_behind_the_path(run_on: Any) -> None:
    seen: list[Request] = []

    def spy(request: Request) -> Any:
        seen.append(request)
        return ok(request)

    with FaultServer({"good": [spy], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=1, samples=1)
        run.path.write_text(run.path.read_text().replace(server.url, f"{server.url}/chat/completions?route=a"))
        run.go()
    assert {r.path for r in seen} == {"/v1/chat/completions?route=a"}


def test_a_wrong_address_is_shown_as_it_was_asked(run_on: Any) -> None:
    with FaultServer({"good": [says({"detail": "Not Found"}, 404)], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=1, samples=1)
        with pytest.raises(
            EndpointError, match=r"HTTP 404: Not Found \(asked: http://127.0.0.1:\d+/v1/chat/completions\)"
        ):
            run.go()


def told(raw: bytes, *, reset: bool = False, hang: bool = False) -> CallError:
    """The error of a call whose server sends these bytes and ends the connection, or keeps it and says no more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        writer.write(raw)
        await writer.drain()
        if hang:
            await asyncio.sleep(1.5)
        elif reset:
            await asyncio.sleep(0.05)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        writer.close()

    async def ask() -> CallError:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            client = Client(address, None, timeout=1, max_bytes=10_000, connections=1)
            try:
                await client.post("/chat/completions", b"{}", read=bytes)
            except CallError as e:
                return e
            finally:
                await client.close()
        raise AssertionError("the call went well")

    return asyncio.run(ask())


_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "closed before any reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed before any reply"),
        (_OK + b"Content-Length: 1000\r\n\r\n" + b"{" * 313, "closed early, after 313 bytes of the reply"),
        (_OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n[1, 2\r\n", "closed early, after 5 bytes of the reply"),
        (_OK + b"Transfer-Encoding: chunked\r\n\r\n500\r\n[1", "closed early, after 2 bytes of the reply"),
        (_OK + b"Content-Encoding: gzip\r\nContent-Length: 99\r\n\r\n\x1f\x8b\x08\x00", "closed early, after 4 bytes"),
    ],
)
def test_a_connection_that_is_closed_early_is_said_with_what_came(raw: bytes, said: str, reset: bool) -> None:
    error = told(raw, reset=reset)
    assert said in error.message
    assert (error.kind, error.retry) == ("connection", True)
    assert "no full reply" not in error.message


@pytest.mark.parametrize("reset", [False, True])
def test_an_error_whose_page_breaks_off_keeps_its_status(reset: bool) -> None:
    error = told(b"HTTP/1.1 429 x\r\nRetry-After: 7\r\nContent-Length: 1000\r\n\r\nslow down", reset=reset)
    assert (error.status, error.kind, error.wait) == (429, "rate_limit", 7)
    assert "slow down" in error.message


@pytest.mark.parametrize(
    ("raw", "said"), [(b"", "none had begun"), (_OK + b"Content-Length: 99\r\n\r\n[1, 2", "5 bytes of one came")]
)
def test_a_server_that_says_no_more_is_told_from_one_that_hangs_up(raw: bytes, said: str) -> None:
    error = told(raw, hang=True)
    assert (error.kind, error.message) == ("timeout", f"no full reply within 1 s; {said}")
