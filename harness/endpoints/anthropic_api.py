"""Anthropic's Messages API (``kind: anthropic-messages``): requests and replies from and to chat completions.

Source: https://docs.anthropic.com/en/api/messages. Other makers offer the same API at addresses of their own.
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.endpoints.failures import malformed
from harness.endpoints.parts import read_parts
from harness.endpoints.replies import Answer, alone, count, decode, ends, inner_error, outcome_of, string

VERSION = "2023-06-01"  # of the API; the only one since
_LONGEST = 4096  # this API answers nothing without a limit
_NONE_HERE = frozenset({"messages", "logprobs", "top_logprobs", "max_completion_tokens"})
_ASKED = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class _Reply(msgspec.Struct):
    type: Any = None
    content: Any = None
    error: Any = None
    stop_reason: Any = None
    stop_details: Any = None
    model: Any = None
    id: Any = None
    usage: Any = None


_DECODER = msgspec.json.Decoder(_Reply)


def write(body: dict[str, Any]) -> dict[str, Any]:
    """A chat completions body as this API wants it: the system prompt apart, a limit always, and no logprobs."""
    longest = body.get("max_tokens") or body.get("max_completion_tokens") or _LONGEST
    out = {k: v for k, v in body.items() if k not in _NONE_HERE} | {"max_tokens": longest}
    for message in body["messages"]:
        if message["role"] == "system":
            out["system"] = message["content"]
    out["messages"] = [m for m in body["messages"] if m["role"] != "system"]
    if isinstance(heat := body.get("temperature"), int | float):
        out["temperature"] = min(heat, 1.0)  # the scale ends at 1 here, and more is refused
    return out


def read(content: bytes) -> Answer:
    """Read one reply. Raises `CallError` as `harness.endpoints.replies.parse` does.

    ``stop_reason: refusal`` is a classifier that stopped the model, so the outcome is filtered, whatever came before.
    """
    reply = decode(alone(content), _DECODER)
    finish = string(reply.stop_reason)
    if reply.error or reply.type == "error" or ends("broken", finish):
        raise inner_error(reply.error or f"stop_reason is {finish}")
    usage = reply.usage if isinstance(reply.usage, dict) else {}
    asked = [n for name in _ASKED if (n := count(usage.get(name))) is not None]  # what was cached is not in the first
    written = count(usage.get("output_tokens"))
    if not isinstance(reply.content, list | str) and not (written or finish):
        raise malformed("no content", content)
    said = read_parts(reply.content)
    details = reply.stop_details if isinstance(reply.stop_details, dict) else {}
    refusal = string(details.get("explanation"))
    thoughts = usage.get("output_tokens_details")
    return Answer(
        outcome=outcome_of(said.answer, refusal, finish),
        text=said.answer,
        reasoning=said.thoughts,
        refusal=refusal,
        finish_reason=finish,
        model=string(reply.model),
        system_fingerprint="",
        provider="",
        response_id=string(reply.id),
        prompt_tokens=sum(asked) if asked else None,
        completion_tokens=written,
        reasoning_tokens=count(thoughts.get("thinking_tokens")) if isinstance(thoughts, dict) else None,
        logprobs=None,
        reasoning_field=said.field or ("redacted_thinking" if _hides_thoughts(reply.content) else ""),
    )


def _hides_thoughts(content: Any) -> bool:
    """Whether the model thought and its thoughts came encrypted."""
    parts = content if isinstance(content, list) else []
    return any(isinstance(p, dict) and p.get("type") == "redacted_thinking" for p in parts)
