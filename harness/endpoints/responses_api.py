"""Responses API (``kind: openai-responses``): requests and replies translated from and to chat completions."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.endpoints.failures import malformed, unfinished
from harness.endpoints.parts import read_parts
from harness.endpoints.replies import Answer, Usage, alone, decode, inner_error, outcome_of, pack, string

_FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}


class _Reply(msgspec.Struct):
    output: list[Any] | None = None
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
    reply = decode(alone(content), _DECODER)
    if reply.error or reply.status in ("failed", "cancelled"):
        raise inner_error(reply.error or f"status is {reply.status}")
    usage = Usage.of(reply.usage, "input_tokens", "output_tokens")
    if not isinstance(reply.output, list) and not usage.paid:
        raise malformed("no output", content)
    items = reply.output if isinstance(reply.output, list) else []
    said = read_parts(items)
    messages = [i["content"] for i in items if isinstance(i, dict) and isinstance(i.get("content"), list)]
    parts = [p for content in messages for p in content if isinstance(p, dict)]
    refusal = "".join(string(p.get("refusal")) for p in parts)
    finish = _finish(reply, content)
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
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        logprobs=_logprobs(parts),
        reasoning_field=said.field,
    )


def _finish(reply: _Reply, content: bytes) -> str:
    if reply.status in ("queued", "in_progress"):
        raise unfinished()
    if reply.status == "incomplete":
        details = reply.incomplete_details if isinstance(reply.incomplete_details, dict) else {}
        reason = string(details.get("reason"))
        return _FINISH.get(reason, reason or "length")
    return "stop"


def _logprobs(parts: list[dict[str, Any]]) -> bytes | None:
    """In the shape of chat completions: ``{"content": [...]}``."""
    found = [p["logprobs"] for p in parts if isinstance(p.get("logprobs"), list) and p["logprobs"]]
    return pack(msgspec.json.encode({"content": found[0]})) if len(found) == 1 else None
