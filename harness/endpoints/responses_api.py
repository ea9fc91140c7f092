"""Responses API (``kind: openai-responses``): requests and replies translated from and to chat completions."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.endpoints.failures import malformed, unfinished
from harness.endpoints.replies import Answer, Usage, decode, inner_error, outcome_of, pack, string

_FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}


class _Part(msgspec.Struct):
    type: Any = None
    text: Any = None
    refusal: Any = None
    logprobs: msgspec.Raw = msgspec.Raw()


class _Item(msgspec.Struct):
    type: Any = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None


class _Reply(msgspec.Struct):
    output: list[_Item] | None = None
    status: Any = None
    error: Any = None
    incomplete_details: Any = None
    model: Any = None
    id: Any = None
    usage: Any = None


_DECODER = msgspec.json.Decoder(_Reply)


def write(body: dict[str, Any]) -> dict[str, Any]:
    """A chat completions body as this API wants it; nothing is kept at the provider (``store: false``)."""
    out: dict[str, Any] = {"model": body["model"]}
    for message in body["messages"]:
        out["instructions" if message["role"] == "system" else "input"] = message["content"]
    renamed = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
    out |= {renamed.get(k, k): v for k, v in body.items() if k not in ("model", "messages", "logprobs")}
    if body.get("logprobs"):
        out["include"] = ["message.output_text.logprobs"]
    return out | {"store": False}


def read(content: bytes) -> Answer:
    """Read one reply. Raises `CallError` as `harness.endpoints.replies.parse` does."""
    reply = decode(content, _DECODER)
    if reply.error or reply.status in ("failed", "cancelled"):
        raise inner_error(reply.error or f"status is {reply.status}")
    if not isinstance(reply.output, list):
        raise malformed("no output", content)
    messages = [p for item in reply.output if item.type == "message" for p in item.content or []]
    text = "".join(string(p.text) for p in messages if p.type == "output_text")
    refusal = "".join(string(p.refusal) for p in messages)
    usage = Usage.of(reply.usage, "input_tokens", "output_tokens")
    finish = _finish(reply, content)
    return Answer(
        outcome=outcome_of(text, refusal, finish),
        text=text,
        reasoning=_reasoning(reply.output),
        refusal=refusal,
        finish_reason=finish,
        model=string(reply.model),
        system_fingerprint="",
        provider="",
        response_id=string(reply.id),
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        logprobs=_logprobs(messages),
    )


def _finish(reply: _Reply, content: bytes) -> str:
    if reply.status in ("queued", "in_progress"):
        raise unfinished()
    if reply.status == "incomplete":
        details = reply.incomplete_details if isinstance(reply.incomplete_details, dict) else {}
        reason = string(details.get("reason"))
        return _FINISH.get(reason, reason or "length")
    return "stop"


def _reasoning(items: list[_Item]) -> str:
    """Whole reasoning where a server shows it, else its summaries."""
    thoughts = [i for i in items if i.type == "reasoning"]
    whole = [string(p.text) for i in thoughts for p in i.content or []]
    return "\n\n".join(t for t in whole or [string(p.text) for i in thoughts for p in i.summary or []] if t)


def _logprobs(parts: list[_Part]) -> bytes | None:
    """In the shape of chat completions: ``{"content": [...]}``."""
    found = [bytes(p.logprobs) for p in parts if len(bytes(p.logprobs)) > 4]  # "null" and "[]" say nothing
    return pack(b'{"content":' + found[0] + b"}") if len(found) == 1 else None
