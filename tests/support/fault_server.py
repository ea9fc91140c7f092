"""An OpenAI-compatible server on a real loopback socket that can fail in every way real ones do.

What the n-th request for a model gets is scripted: ``FaultServer({"good": ["ok"], "shaky": ["500", "reset", "ok"]})``;
the last step repeats. A step is a name in `STEPS`, or a function from request to reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import functools
import gzip
import json
import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support import payloads


@dataclass(frozen=True)
class Request:
    """One request as it came over the wire; ``number`` counts those for its model from 0."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    model: str
    number: int
    server: FaultServer
    connection: int = 0  # its number among those to this server

    @property
    def key(self) -> str:
        """The key in the Authorization header, or nothing."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Reply:
    """Bytes to send, whole by default. ``then``: close, hang, drip or reset."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    then: str = "keep"
    after: float = 0.0  # seconds until it is sent
    until: Callable[[], bool] = lambda: True  # it is held back until this is so, for 20 s at most
    stray: bytes = b""  # sent a moment later, unasked; `FaultServer.strays_sent` waits for that
    repeat: int = 1  # the body is sent so many times, without ever being held whole
    again: float = 0.0  # seconds after which the whole reply is sent once more, whatever was asked meanwhile


Step = Callable[[Request], Reply]


def ok(request: Request) -> Reply:
    """What was asked for: chat or completion, logprobs in the shape of its path if asked."""
    asked = json.loads(request.body)
    if request.path.endswith("/responses"):
        return Reply(body=payloads.encode(payloads.response(f"answer {request.number}", "include" in asked)))
    if request.path.endswith("/messages"):
        return Reply(body=payloads.encode(payloads.anthropic(f"answer {request.number}")))
    if request.path.endswith(":generateContent"):
        value = payloads.gemini(f"answer {request.number}")
        if asked["generationConfig"].get("responseLogprobs"):
            value["candidates"][0]["logprobsResult"] = payloads.gemini_logprobs()
        return Reply(body=payloads.encode(value))
    is_chat = "/chat/completions" in request.path
    value = payloads.chat(f"answer {request.number}") if is_chat else payloads.completion(f" answer {request.number}")
    if asked.get("logprobs"):
        shape = payloads.chat_logprobs() if is_chat else payloads.completion_logprobs()
        value = payloads.with_logprobs(value, shape)
    return Reply(body=payloads.encode(value))


def says(value: Any, status: int = 200, **headers: str) -> Step:
    """A step that sends one JSON value."""
    body = payloads.encode(value)
    return lambda _: Reply(status, body, {k.replace("_", "-"): v for k, v in headers.items()})


def _error(message: str, code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "code": code}}


def refuses(message: str, when: Callable[[Any], bool]) -> Step:
    """A step that answers HTTP 400 with ``message`` to bodies that have something it does not take."""
    return lambda r: Reply(400, payloads.encode(_error(message))) if when(json.loads(r.body)) else ok(r)


def _date(_: Request) -> Reply:
    at = email.utils.formatdate(time.time() + 2, usegmt=True)
    return Reply(429, payloads.encode(_error("slow down")), {"Retry-After": at})


def _redirect(request: Request) -> Reply:
    return Reply(307, b"", {"Location": f"{request.server.other_url}{request.path}"})


def _echo_answer(request: Request) -> Reply:
    return Reply(body=payloads.encode(payloads.chat(f"your key is {request.key}", reasoning_content=request.key)))


def _echo_error(request: Request) -> Reply:
    return Reply(400, payloads.encode(_error(f"bad request with Authorization: Bearer {request.key}")))


def _echo_401(request: Request) -> Reply:
    return Reply(401, payloads.encode(_error(f"Incorrect API key provided: {request.key}", "invalid_api_key")))


@functools.cache
def bomb(megabytes: int = 110) -> bytes:
    """A chat reply of so many megabytes in about a thousandth of them."""
    head, tail = payloads.encode(payloads.chat("X")).split(b"X")
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(head), *(packer.compress(b"a" * 1_000_000) for _ in range(megabytes))]
    return b"".join([*pieces, packer.compress(tail), packer.flush()])


def _floor(value: float) -> Any:
    return {"content": [{"token": "a", "logprob": value, "top_logprobs": [{"token": "a", "logprob": value}]}]}


_CHAT = payloads.encode(payloads.chat())
_HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"

STEPS: dict[str, Step] = {
    "ok": ok,
    "429": says(_error("slow down"), 429, retry_after="0"),
    "429-seconds": says(_error("slow down"), 429, retry_after="2"),
    "429-date": _date,
    "429-ms": says(_error("slow down"), 429, retry_after_ms="1500"),
    "429-hour": says(_error("come back later"), 429, retry_after="3600"),
    "429-forever": says(_error("never"), 429, retry_after="inf"),
    "quota": says(_error("You exceeded your current quota", "insufficient_quota"), 429),
    "400": says(_error("Unsupported parameter: 'max_tokens'", "unsupported_parameter"), 400),
    "401": _echo_401,
    "402": says(_error("Insufficient Balance"), 402),
    "404": says(_error("The model `x` does not exist", "model_not_found"), 404),
    "500": says(_error("internal"), 500),
    "503-seconds": says(_error("overloaded"), 503, retry_after="2"),
    "503": says(_error("overloaded"), 503),
    "500-html": lambda _: Reply(500, _HTML),
    "500-huge": lambda _: Reply(500, b"x" * 65536, length=64 << 20, repeat=1024),
    "html": lambda _: Reply(200, _HTML, {"Content-Type": "text/html"}),
    "half-json": lambda _: Reply(body=_CHAT[:40]),
    "reset": lambda _: Reply(body=_CHAT[:40], length=len(_CHAT), then="reset"),
    "close-early": lambda _: Reply(body=_CHAT[:40], length=len(_CHAT), then="close"),
    "long-length": lambda _: Reply(body=_CHAT, length=len(_CHAT) + 100, then="close"),
    "short-length": lambda _: Reply(body=_CHAT, length=20, then="close"),
    "hang": lambda _: Reply(then="hang"),
    "drip": lambda _: Reply(body=_CHAT, then="drip"),
    "huge": lambda _: Reply(body=b" " * 65536, length=64 << 20, repeat=1024),
    "error-429-in-200": says(_error("upstream is rate limited", 429)),
    "error-502-in-200": says(_error("bad gateway upstream", 502)),
    "error-401-in-200": says(_error("no access", 401)),
    "wrong-types": says({"choices": "none", "model": 5}),
    "empty-choices": says({**payloads.chat(), "choices": []}),
    "null-content": says(payloads.chat(None)),
    "refusal": says(payloads.chat(None, refusal="I can't help with that.")),
    "filter": says(payloads.chat("", finish="content_filter")),
    "reasoning": says(payloads.chat("42", reasoning_content="six times seven")),
    "azure-filter": says(_error("The response was filtered", "content_filter"), 400),
    "moderation": says({"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"]}}}, 403),
    "used-up": says(payloads.chat(), x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="1500ms"),
    "huge-header": lambda _: Reply(body=_CHAT, headers={"X-Filler": "x" * 2_000_000}),
    "minus-9999": says(payloads.with_logprobs(payloads.chat(), _floor(-9999.0))),
    "nan": says(payloads.with_logprobs(payloads.chat(), _floor(float("nan")))),
    "reordered": lambda r: Reply(body=payloads.reordered(ok(r).body)),
    "100-mb": lambda _: Reply(body=b" " * 65536, length=100 << 20, repeat=1600),
    "gzip": lambda r: Reply(body=gzip.compress(ok(r).body), headers={"Content-Encoding": "gzip"}),
    "deflate": lambda r: Reply(body=zlib.compress(ok(r).body), headers={"Content-Encoding": "deflate"}),
    "gzip-unused": lambda r: Reply(body=ok(r).body, headers={"Content-Encoding": "gzip"}),
    "deflate-unused": lambda r: Reply(body=b"\n" + ok(r).body, headers={"Content-Encoding": "deflate"}),
    "gzip-cut": lambda r: Reply(body=gzip.compress(ok(r).body)[:-9], headers={"Content-Encoding": "gzip"}),
    "gzip-bomb": lambda _: Reply(body=bomb(), headers={"Content-Encoding": "gzip"}),
    "500-bomb": lambda _: Reply(500, bomb(), {"Content-Encoding": "gzip"}),
    "brotli": lambda r: Reply(body=ok(r).body, headers={"Content-Encoding": "br"}),
    "many-values": lambda _: Reply(body=b'{"x":' + b"[],[" * 5_000_000 + b"0"),
    "utf-16": lambda r: Reply(body=ok(r).body.decode().encode("utf-16")),
    "redirect": _redirect,
    "echo": _echo_answer,
    "echo-400": _echo_error,
}


class FaultServer:
    """Runs in a thread of its own; a context manager. ``seen`` counts requests by (model, body)."""

    def __init__(self, script: Mapping[str, Sequence[str | Step]], delay: float = 0.0) -> None:
        self.script = dict(script)
        self.delay = delay
        self.seen: Counter[tuple[str, bytes]] = Counter()
        self.delivered: Counter[tuple[str, bytes]] = Counter()
        self.asked: Counter[str] = Counter()
        self.other_headers: list[Mapping[str, str]] = []
        self.most_at_once = self.sent_again = self.connections = 0
        self.at_once: Counter[str] = Counter()  # by model
        self._ready = threading.Event()
        self._no_stray_due = threading.Event()
        self._no_stray_due.set()

    def strays_sent(self) -> None:
        """Wait until whatever was to follow a reply unasked has left: only then the next call can be misled by it."""
        assert self._no_stray_due.wait(10)

    def __enter__(self) -> FaultServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the server does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        first = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        second = await asyncio.start_server(self._other, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{first.sockets[0].getsockname()[1]}/v1"
        self.other_url = f"http://127.0.0.1:{second.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._end.wait()
        first.close()
        second.close()

    async def _other(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The second host, to which redirects lead; it only notes who comes and with what."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            _, headers, _ = await _read(reader)
            self.other_headers.append(headers)
        writer.close()

    def beside(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        """What else than calls a server answers; see `tests.support.batch_server`."""
        return None

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one_at_a_time, surplus = asyncio.Lock(), set[asyncio.Task[None]]()
        self.connections += 1
        connection = self.connections
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer, one_at_a_time, surplus, connection):
                pass
        await asyncio.gather(*surplus, return_exceptions=True)
        writer.close()

    async def _send_again(self, writer: asyncio.StreamWriter, reply: Reply, one_at_a_time: asyncio.Lock) -> None:
        await asyncio.sleep(reply.again)
        with contextlib.suppress(OSError):
            async with one_at_a_time:
                await _send(writer, replace(reply, again=0.0))
                self.sent_again += 1

    async def _one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        one_at_a_time: asyncio.Lock,
        surplus: set[asyncio.Task[None]],
        connection: int,
    ) -> bool:
        path, headers, body = await _read(reader)
        if (beside := self.beside(path, headers, body)) is not None:
            return await _send(writer, beside)
        if path.endswith("/models"):
            value = payloads.encode({"data": [{"id": m} for m in self.script]})
            return await _send(writer, Reply(body=value))
        in_path = re.search(r"/models/([^/]+):generateContent$", path)
        model = in_path[1] if in_path else json.loads(body)["model"]
        request = Request(path, headers, body, model, self.asked[model], self, connection)
        self.asked[model] += 1
        self.seen[model, body] += 1
        steps = self.script[model]
        step = steps[min(request.number, len(steps) - 1)]
        reply = (step if callable(step) else STEPS[step])(request)
        self.at_once[model] += 1
        self.most_at_once = max(self.most_at_once, self.at_once.total())
        try:
            await asyncio.sleep(self.delay + reply.after)
            last = time.monotonic() + 20
            while not reply.until() and time.monotonic() < last:
                await asyncio.sleep(0.005)
            if reply.stray:
                self._no_stray_due.clear()
            async with one_at_a_time:
                kept = await _send(writer, reply)
            if reply.stray:
                self._no_stray_due.set()
            if reply.again:
                surplus.add(asyncio.create_task(self._send_again(writer, reply, one_at_a_time)))
        finally:
            self.at_once[model] -= 1
        if kept and reply.status == 200:
            self.delivered[model, body] += 1
        return kept


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return head[0].split(" ")[1], headers, body


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    """Send a reply; whether the connection can be used again."""
    if reply.then == "hang":
        await asyncio.sleep(3600)
    length = len(reply.body) if reply.length is None else reply.length
    head = {"Content-Type": "application/json", "Content-Length": str(length), **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} X", *(f"{k}: {v}" for k, v in head.items()), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    pause: Callable[[], Awaitable[None]] = writer.drain
    pieces = [bytes([b]) for b in reply.body] if reply.then == "drip" else [reply.body] * reply.repeat
    for piece in pieces:
        writer.write(piece)
        await pause()
        if reply.then == "drip":
            await asyncio.sleep(0.1)
    if reply.stray:
        await asyncio.sleep(0.01)
        writer.write(reply.stray)
        await writer.drain()
    if reply.then == "reset":
        await asyncio.sleep(0.02)
        writer.transport.abort()
    return reply.then == "keep"
