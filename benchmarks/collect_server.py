"""A server that answers at once with prepared bytes, in a process of its own: what is measured is the client.

``python -m benchmarks.collect_server [PEM]`` prints its port and serves until its standard input closes; over TLS if it
is given a file with certificate and key. The model name in a request chooses the answer: ``small`` is one sentence,
``large`` 200 tokens with 20 top_logprobs each, of words drawn at random, as equal ones would compress to nothing;
``slow`` is ``small`` after 0.33 s on average.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
from string import ascii_lowercase

TOKENS, TOP = 200, 20


def answer(size: str) -> bytes:
    """The whole HTTP reply: about 0.4 kB of JSON for ``small``, about 300 kB for ``large``."""
    logprobs = None
    if size == "large":
        rng = random.Random(1)
        logprobs = {"content": [_token(rng) for _ in range(TOKENS)]}
    text = " word" * (TOKENS if size == "large" else 40)
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    usage = {"prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60}
    reply = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": size, "choices": [choice]}
    body = json.dumps({**reply, "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _token(rng: random.Random) -> dict[str, object]:
    words = [" " + "".join(rng.choices(ascii_lowercase, k=rng.randint(2, 8))) for _ in range(TOP)]
    top = [
        {"token": w, "logprob": -rng.random() - k * rng.random(), "bytes": list(w.encode())}
        for k, w in enumerate(words)
    ]
    return {**top[0], "top_logprobs": top}


MEAN = 0.33  # seconds
REPLIES = {size: answer(size) for size in ("small", "large")}


class Server(asyncio.Protocol):
    """Counts bytes of requests, looks for the model name, writes the answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.index(b"content-length:") + 15
            length = int(head[at:].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            if b'"slow"' in body:
                wait = random.expovariate(1 / MEAN)
                asyncio.get_running_loop().call_later(wait, self._transport.write, REPLIES["small"])
            else:
                self._transport.write(REPLIES["large" if b'"large"' in body else "small"])


async def serve(certificate: str = "") -> None:
    """Serve on a free loopback port."""
    loop, context = asyncio.get_running_loop(), None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=1024, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
