"""Bytes of a reply -> `Answer`, by shape: typed, once, and without believing that 200 means success."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.collect.failures import failure, read_error
from harness.errors import CallError
from harness.responses import Outcome

_FILTERED = frozenset({"content_filter", "content-filter", "safety", "blocklist", "prohibited_content", "recitation"})
_BROKEN_OFF = frozenset({"error", "insufficient_system_resource"})
_TRUNCATED = frozenset({"length", "max_tokens", "model_length"})


# Only what an answer cannot do without is typed: one odd field beside it must not lose a paid answer.
class _Message(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: Any = None
    index: Any = 0
    error: Any = None
    logprobs: msgspec.Raw = msgspec.Raw()  # left as it is: unpacking it costs ten times the rest


class _Reply(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: Any = None
    model: Any = None
    id: Any = None
    system_fingerprint: Any = None
    provider: Any = None
    usage: Any = None


_DECODER = msgspec.json.Decoder(_Reply)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one reply says, before it is keyed to the job that asked."""

    outcome: Outcome
    text: str
    reasoning: str
    refusal: str
    finish_reason: str
    model: str
    system_fingerprint: str
    provider: str
    response_id: str
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    logprobs: bytes | None


def parse(content: bytes) -> Answer:
    """Read one reply of chat or plain completions.

    Raises `CallError` if it is not an answer: an error inside a 200, HTML, cut or mistyped JSON.
    """
    reply = _decode(content)
    if reply.error:
        raise _inner_error(reply.error)
    if not reply.choices:
        raise _malformed("no choices", content)
    choice = min(reply.choices, key=lambda c: c.index if isinstance(c.index, int) else 0)
    finish = _string(choice.finish_reason)
    if choice.error or finish.lower() in _BROKEN_OFF:
        raise _inner_error(choice.error or f"finish_reason is {finish}")
    if choice.message is None and choice.text is None:
        raise _malformed("neither message nor text", content)
    message = choice.message or _Message(content=choice.text)
    text, refusal = _text(message.content), _string(message.refusal)
    usage = reply.usage if isinstance(reply.usage, dict) else {}
    details = usage.get("completion_tokens_details")
    return Answer(
        outcome=outcome_of(text, refusal, finish),
        text=text,
        reasoning=_string(message.reasoning_content) or _string(message.reasoning),
        refusal=refusal,
        finish_reason=finish,
        model=_string(reply.model),
        system_fingerprint=_string(reply.system_fingerprint),
        provider=_string(reply.provider),
        response_id=_string(reply.id),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        reasoning_tokens=_count(details.get("reasoning_tokens")) if isinstance(details, dict) else None,
        logprobs=_pack(choice.logprobs),
    )


def _decode(content: bytes) -> _Reply:
    try:
        return _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:  # NaN and Infinity are no JSON, lone surrogates no text, but servers send them: mended, and read again
        value = json.loads(content, parse_constant=lambda _: None, parse_float=_finite)
        return _DECODER.decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError, msgspec.DecodeError) as e:
        raise _malformed(str(e)[:120], content) from None


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _malformed(what: str, content: bytes) -> CallError:
    excerpt = repr(content[:80].decode("utf-8", "replace"))
    return CallError(f"the reply is not the JSON expected ({what}): {excerpt}", kind="malformed", retry=True)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else None


def _pack(raw: msgspec.Raw) -> bytes | None:
    content = bytes(raw)
    return zlib.compress(content, 1) if len(content) > 4 else None  # "null" and "{}" say nothing


def _text(content: str | list[Any] | None) -> str:
    if isinstance(content, list):
        return "".join(_string(part.get("text")) for part in content if isinstance(part, dict))
    return content or ""


def outcome_of(text: str, refusal: str, finish: str) -> Outcome:
    """What became of a question, from what came back."""
    if finish.lower() in _FILTERED:
        return "filtered"
    if not text.strip():
        return "refused" if refusal else "empty"
    return "truncated" if finish.lower() in _TRUNCATED else "ok"


def _inner_error(error: Any) -> CallError:
    status, code, message = read_error(error)
    return failure(status, code, f"error inside a 200 reply: {message[:300]}")
