"""Gemini's generateContent (``kind: gemini``): requests and replies from and to chat completions.

Source: https://ai.google.dev/api/generate-content. Vertex AI has the same API at addresses of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from harness.endpoints.failures import malformed
from harness.endpoints.parts import read_parts
from harness.endpoints.replies import Answer, Usage, alone, count, decode, ends, inner_error, outcome_of, pack, string

_CONFIG = "generationConfig"
_NAMES = {"max_tokens": "maxOutputTokens", "max_completion_tokens": "maxOutputTokens", "top_p": "topP"}
# What stands beside the parameters in a request; all else that a config wants sent belongs among them.
_BESIDE = frozenset(
    {"tools", "toolConfig", "safetySettings", "cachedContent", "labels", "modelArmorConfig", "serviceTier", "store"}
)


class _Reply(msgspec.Struct, rename="camel"):
    candidates: Any = None
    prompt_feedback: Any = None
    usage_metadata: Any = None
    model_version: Any = None
    response_id: Any = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Reply)
Fields = Mapping[str, Any]


def write(body: dict[str, Any]) -> dict[str, Any]:
    """A chat completions body as this API wants it; the model stands in the path, the parameters in an object."""
    out: dict[str, Any] = {}
    for message in body["messages"]:
        parts = [{"text": message["content"]}]
        if message["role"] == "system":
            out["systemInstruction"] = {"parts": parts}
        else:
            out["contents"] = [{"role": "user", "parts": parts}]
    apart = ("model", "messages", "logprobs", "top_logprobs")
    config = {_NAMES.get(k, k): v for k, v in body.items() if k not in apart}
    if body.get("logprobs"):
        config |= {"responseLogprobs": True, "logprobs": body.get("top_logprobs", 1)}
    return out | {_CONFIG: config}


def join(body: dict[str, Any], more: Fields) -> dict[str, Any]:
    """``body`` with what a config wants sent: parameters go among the parameters, over those that are there."""
    beside = {k: v for k, v in more.items() if k in _BESIDE}
    written = more.get(_CONFIG) if isinstance(more.get(_CONFIG), dict) else {}
    among = {_NAMES.get(k, k): v for k, v in more.items() if k not in _BESIDE and k != _CONFIG}
    return {**body, **beside, _CONFIG: {**body[_CONFIG], **(written or {}), **among}}


def read(content: bytes) -> Answer:
    """Read one reply. Raises `CallError` as `harness.endpoints.replies.parse` does.

    A prompt that was blocked has no candidate, an answer that was blocked or thought too long one without parts: what
    was paid is an answer.
    """
    reply = decode(alone(content), _DECODER)
    if reply.error:
        raise inner_error(reply.error)
    usage = _usage(_fields(reply.usage_metadata))
    blocked = string(_fields(reply.prompt_feedback).get("blockReason"))
    candidates = [c for c in reply.candidates if isinstance(c, dict)] if isinstance(reply.candidates, list) else []
    if not candidates and not blocked and not usage.paid:
        raise malformed("no candidates", content)
    first: Fields = min(candidates, key=lambda c: count(c.get("index")) or 0, default={})
    finish = string(first.get("finishReason")) or ("content_filter" if blocked else "")
    if ends("broken", finish):
        raise inner_error(f"finishReason is {finish}")
    said = read_parts(_fields(first.get("content")).get("parts"))
    refusal = f"blockReason: {blocked}" if blocked else string(first.get("finishMessage"))
    return Answer(
        outcome=outcome_of(said.answer, "", finish),
        text=said.answer,
        reasoning=said.thoughts,
        refusal=refusal,
        finish_reason=finish,
        model=string(reply.model_version),
        system_fingerprint="",
        provider="",
        response_id=string(reply.response_id),
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        logprobs=_logprobs(_fields(first.get("logprobsResult"))),
        reasoning_field=said.field,
    )


def _fields(value: Any) -> Fields:
    return value if isinstance(value, dict) else {}


def _usage(usage: Fields) -> Usage:
    """Tokens as chat completions count them: thoughts are part of what was written. Numbers that are 0 are left out."""
    asked, total = count(usage.get("promptTokenCount")), count(usage.get("totalTokenCount"))
    thoughts, answered = count(usage.get("thoughtsTokenCount")), count(usage.get("candidatesTokenCount"))
    written = (answered or 0) + (thoughts or 0)
    if answered is None and thoughts is None:
        return Usage(asked, max(0, total - asked) if total is not None and asked is not None else None, None)
    return Usage(asked, written, thoughts)


def _logprobs(found: Fields) -> bytes | None:
    """In the shape of chat completions: ``{"content": [...]}``, one entry a token, its alternatives in it."""
    chosen, tops = found.get("chosenCandidates"), found.get("topCandidates")
    if not isinstance(chosen, list) or not chosen:
        return None
    tops = tops if isinstance(tops, list) else []
    alternatives = [_fields(t).get("candidates") for t in tops[: len(chosen)]]
    alternatives += [None] * (len(chosen) - len(alternatives))
    entries = [
        _token(c) | {"top_logprobs": [_token(a) for a in others] if isinstance(others, list) else []}
        for c, others in zip(chosen, alternatives, strict=True)
    ]
    return pack(msgspec.json.encode({"content": entries}))


def _token(value: Any) -> dict[str, Any]:
    fields = _fields(value)
    number = fields.get("logProbability")
    known = isinstance(number, int | float) and not isinstance(number, bool)
    return {"token": string(fields.get("token")), "logprob": number if known else None}
