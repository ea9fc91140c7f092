"""Batch APIs of OpenAI's and of Anthropic's shape: requests as one file, how far a batch is, and lines of its results.

Sources: https://platform.openai.com/docs/guides/batch, https://docs.anthropic.com/en/docs/build-with-claude/batch-processing
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.config import Called
from harness.endpoints.apis import APIS, provider_of
from harness.endpoints.failures import from_status, malformed
from harness.endpoints.replies import decode, string
from harness.endpoints.server_errors import read_error
from harness.errors import CallError
from harness.records import Surface

MOST_CALLS, MOST_BYTES = 10_000, 50_000_000  # of one batch; OpenAI takes 50,000 and 200 MB, Anthropic more
Item = tuple[str, bytes]  # a name of up to 64 letters and digits, and the body of the call
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")


@dataclass(frozen=True)
class BatchState:
    """How far a batch is: whether it has ended, where its results are, and why it has none."""

    ended: bool
    results: tuple[str, ...] = ()
    failed: str = ""


@dataclass(frozen=True)
class BatchApi:
    """One shape. ``write`` makes what is sent of items; ``create`` makes the batch of an uploaded file, None without.

    ``state`` reads how far a batch is, ``line`` what came of one call: its name, and the reply or the error.
    """

    path: str
    write: Callable[[Iterable[Item], str], bytes]
    create: Callable[[str, str], bytes] | None
    state: Callable[[bytes], BatchState]
    line: Callable[[bytes], tuple[str, bytes | CallError]]


def batches_of(endpoint: Called) -> BatchApi | None:
    """The batch API of an endpoint; None where none is known of its provider and kind."""
    if endpoint.kind not in provider_of(endpoint).batches:
        return None
    return ANTHROPIC if endpoint.kind == "anthropic-messages" else OPENAI


def batch_url(endpoint: Called, surface: Surface) -> str:
    """What a call of a batch asks for; OpenAI's shape says it in every line, as on its own host."""
    return f"/v1{APIS[endpoint.kind].paths[surface]}"


def id_of(content: bytes) -> str:
    """The id of a file or a batch that was made. `CallError` if there is none that can stand in a path."""
    found = string(decode(content, _ANYTHING).get("id"))
    if not _ID.fullmatch(found):
        raise malformed("no id", content)
    return found


_ANYTHING = msgspec.json.Decoder(dict[str, Any])


class _Response(msgspec.Struct):
    status_code: Any = None
    body: msgspec.Raw = msgspec.Raw()


class _Result(msgspec.Struct):
    type: Any = None
    message: msgspec.Raw = msgspec.Raw()
    error: Any = None


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: Any = None
    result: _Result | None = None


_LINE = msgspec.json.Decoder(_Line)


def _write_lines(items: Iterable[Item], url: str) -> bytes:
    request = {"method": "POST", "url": url}
    lines = ({"custom_id": name, **request, "body": msgspec.Raw(body)} for name, body in items)
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _create(file: str, url: str) -> bytes:
    return msgspec.json.encode({"input_file_id": file, "endpoint": url, "completion_window": "24h"})


def _openai_state(content: bytes) -> BatchState:
    found = decode(content, _ANYTHING)
    if found.get("status") == "failed":
        return BatchState(True, (), read_error(found.get("errors") or "it failed").message[:300])
    files = [string(found.get(name)) for name in ("output_file_id", "error_file_id")]
    ended = found.get("status") in ("completed", "expired", "cancelled")
    return BatchState(ended, tuple(f"/files/{file}/content" for file in files if _ID.fullmatch(file)))


def _openai_line(content: bytes) -> tuple[str, bytes | CallError]:
    line = decode(content, _LINE)
    if line.response is None:
        return line.custom_id, _failed(line.error or "no response", None)
    status, body = line.response.status_code, bytes(line.response.body)
    if isinstance(status, int) and status >= 300:
        return line.custom_id, _failed(msgspec.json.decode(body) if body else "no body", status)
    return line.custom_id, body


def _write_requests(items: Iterable[Item], _url: str) -> bytes:
    return msgspec.json.encode({"requests": [{"custom_id": n, "params": msgspec.Raw(body)} for n, body in items]})


def _anthropic_state(content: bytes) -> BatchState:
    found = decode(content, _ANYTHING)
    # Where the results are is also said in `results_url`; a server does not choose where the key is sent.
    return BatchState(found.get("processing_status") == "ended", (f"{ANTHROPIC.path}/{id_of(content)}/results",))


def _anthropic_line(content: bytes) -> tuple[str, bytes | CallError]:
    line = decode(content, _LINE)
    result = line.result or _Result()
    if result.type == "succeeded":
        return line.custom_id, bytes(result.message)
    return line.custom_id, _failed(result.error or f"the call is {string(result.type) or 'lost'}", None)


def _failed(error: Any, status: int | None) -> CallError:
    said = read_error(error)
    return from_status(status, said, f"in a batch: {f'HTTP {status}: ' if status else ''}{said.message[:300]}")


OPENAI = BatchApi("/batches", _write_lines, _create, _openai_state, _openai_line)
ANTHROPIC = BatchApi("/messages/batches", _write_requests, None, _anthropic_state, _anthropic_line)
