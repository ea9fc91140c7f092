"""Bytes of a reply -> `Answer`, by shape: typed, once, and without believing that 200 means success."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.errors import CallError
from harness.responses import Outcome

_FILTERED = frozenset({"content_filter", "content-filter", "safety", "blocklist", "prohibited_content", "recitation"})
_TRUNCATED = frozenset({"length", "max_tokens", "model_length"})


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    index: int = 0
    logprobs: msgspec.Raw = msgspec.Raw()  # left as it is: unpacking it costs ten times the rest


class _Details(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: _Details | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: Any = None
    model: str | None = None
    id: str | None = None
    system_fingerprint: str | None = None
    provider: str | None = None
    usage: _Usage | None = None


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
        raise CallError(f"the reply has no choices: {_excerpt(content)}", kind="malformed", retry=True)
    choice = min(reply.choices, key=lambda c: c.index)
    message = choice.message or _Message(content=choice.text)
    text, reasoning, refusal = (
        _text(message.content),
        message.reasoning_content or message.reasoning,
        message.refusal,
    )
    usage = reply.usage or _Usage()
    finish = choice.finish_reason or ""
    return Answer(
        outcome=_outcome(text, refusal or "", finish),
        text=text,
        reasoning=reasoning or "",
        refusal=refusal or "",
        finish_reason=finish,
        model=reply.model or "",
        system_fingerprint=reply.system_fingerprint or "",
        provider=reply.provider or "",
        response_id=reply.id or "",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else None,
        logprobs=_pack(choice.logprobs),
    )


def _decode(content: bytes) -> _Reply:
    try:
        return _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:  # NaN and Infinity are no JSON, but servers send them; lone surrogates too
        value = json.loads(content, parse_constant=lambda _: None)
        return msgspec.convert(_raw_logprobs(value), _Reply)
    except (ValueError, RecursionError, AttributeError, TypeError) as e:
        raise CallError(
            f"the reply is not the JSON expected ({str(e)[:120]}): {_excerpt(content)}",
            kind="malformed",
            retry=True,
        ) from None


def _raw_logprobs(value: Any) -> Any:
    for choice in value.get("choices") or ():
        if choice.get("logprobs") is not None:
            choice["logprobs"] = msgspec.Raw(json.dumps(choice["logprobs"]).encode())
        else:
            choice.pop("logprobs", None)
    return value


def _pack(raw: msgspec.Raw) -> bytes | None:
    content = bytes(raw)
    return zlib.compress(content, 1) if len(content) > 4 else None  # "null" and "{}" say nothing


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return content or ""


def _outcome(text: str, refusal: str, finish: str) -> Outcome:
    if finish.lower() in _FILTERED:
        return "filtered"
    if not text.strip():
        return "refused" if refusal else "empty"
    return "truncated" if finish.lower() in _TRUNCATED else "ok"


def _inner_error(error: Any) -> CallError:
    status = None
    if isinstance(error, dict):
        code = error.get("code")
        status = code if isinstance(code, int) else None
        error = error.get("message") or error
    transient = status is None or status in (408, 409, 425, 429) or status >= 500
    return CallError(
        f"error inside a 200 reply: {str(error)[:300]}", kind="inner_error", status=status, retry=transient
    )


def _excerpt(content: bytes) -> str:
    return repr(content[:80].decode("utf-8", "replace"))
