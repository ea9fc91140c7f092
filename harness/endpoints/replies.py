"""Parse replies of chat and plain completions into an `Answer`; a reply of status 200 may still be an error."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import msgspec

from harness.endpoints.failures import filtered, from_status, is_filtered, malformed, read_error
from harness.endpoints.parts import read_message
from harness.errors import CallError
from harness.records import Outcome
from harness.token_logprobs import spoken

_FILTERED = frozenset({"content_filter", "content-filter", "safety", "blocklist", "prohibited_content", "recitation"})
_BROKEN_OFF = frozenset({"error", "insufficient_system_resource"})
_TRUNCATED = frozenset({"length", "max_tokens", "model_length"})


# Only what an answer cannot do without is typed: one odd field beside it must not lose a paid answer.
class _Choice(msgspec.Struct):
    message: dict[str, Any] | None = None
    text: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None
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
_MOST_SAID = 4_000  # characters of an error; it is cut short where keys have been cut out of it
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counts them; None where it does not say."""

    prompt: int | None
    completion: int | None
    reasoning: int | None

    @classmethod
    def of(cls, usage: Any, prompt: str = "prompt_tokens", completion: str = "completion_tokens") -> Usage:
        """Read a ``usage`` object, whatever it is."""
        usage = usage if isinstance(usage, dict) else {}
        details = usage.get(f"{completion}_details")
        reasoning = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
        return cls(_count(usage.get(prompt)), _count(usage.get(completion)), reasoning)


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
    reasoning_field: str = ""  # where the reasoning stood, see `harness.endpoints.parts`


def parse(content: bytes) -> Answer:
    """Read one reply of chat or plain completions.

    Raises `CallError` if it is not an answer: an error inside a 200, HTML, cut or mistyped JSON.
    """
    reply = decode(content, _DECODER)
    if reply.error:
        raise inner_error(reply.error)
    if not reply.choices:
        raise malformed("no choices", content)
    choice = min(reply.choices, key=lambda c: c.index if isinstance(c.index, int) else 0)
    finish = string(choice.finish_reason)
    if choice.error or finish.lower() in _BROKEN_OFF:
        raise inner_error(choice.error or f"finish_reason is {finish}")
    if choice.message is None and choice.text is None:
        raise malformed("neither message nor text", content)
    message = _message(choice, content)
    said, refusal = read_message(message), string(message.get("refusal"))
    usage = Usage.of(reply.usage)
    return Answer(
        outcome=outcome_of(said.answer, refusal, finish),
        text=said.answer,
        reasoning=said.thoughts,
        refusal=refusal,
        finish_reason=finish,
        model=string(reply.model),
        system_fingerprint=string(reply.system_fingerprint),
        provider=string(reply.provider),
        response_id=string(reply.id),
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        logprobs=pack(bytes(choice.logprobs)),
        reasoning_field=said.field,
    )


def _message(choice: _Choice, content: bytes) -> dict[str, Any]:
    """The message of a choice, with what a server says beside it; of a plain completion its text."""
    beside = {"reasoning_content": choice.reasoning_content, "reasoning": choice.reasoning}
    message = {"content": choice.text} if choice.message is None else choice.message
    if not isinstance(message.get("content"), str | list | dict | None):
        raise malformed("the content is no text", content)
    return {k: v for k, v in beside.items() if v} | message


def without_key(answer: Answer, redact: Callable[[str], str]) -> Answer:
    """An answer with ``redact`` done to all that a server said in it.

    A key that comes back as an answer comes back in its tokens too, a piece in each: such logprobs are left out.
    """
    texts: dict[str, Any] = {f.name: redact(v) for f in fields(answer) if isinstance(v := getattr(answer, f.name), str)}
    kept = answer.logprobs
    if kept is not None and any(redact(t) != t for t in spoken(kept)):
        kept = None
    return replace(answer, **{**texts, "outcome": answer.outcome}, logprobs=kept)


def filtered_answer(message: str) -> Answer:
    """The answer of a filter that stands before the model: nobody answered, and that is the outcome."""
    return Answer("filtered", "", "", message, "content_filter", "", "", "", "", None, None, None, None)


def decode(content: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Typed values from the JSON that servers send, strict or not; `CallError` if it cannot be read."""
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:  # NaN and Infinity are no JSON, lone surrogates no text, but servers send them: mended, and read again
        text = content.decode("utf-8-sig")  # never by guess: read as UTF-16, a reply says what nobody has looked at
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        return decoder.decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError, msgspec.DecodeError) as e:
        raise malformed(str(e)[:120], content) from None


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def string(value: Any) -> str:
    """``value`` if it is text: an odd field must not lose an answer."""
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else None


def pack(content: bytes) -> bytes | None:
    """Logprobs as they are stored: their JSON, compressed; None if there are none."""
    return zlib.compress(content, 1) if len(content) > 4 else None  # "null" and "{}" say nothing


def outcome_of(text: str, refusal: str, finish: str) -> Outcome:
    """Outcome of an answer: ok, truncated, refused, filtered or empty."""
    if finish.lower() in _FILTERED:
        return "filtered"
    if not text.strip():
        return "refused" if refusal else "empty"
    return "truncated" if finish.lower() in _TRUNCATED else "ok"


def inner_error(error: Any) -> CallError:
    """The error that stands in a reply of status 200."""
    status, code, message = read_error(error)
    if is_filtered(status, error):
        return filtered(status, message)
    return from_status(status, code, f"error inside a 200 reply: {message[:_MOST_SAID]}")
