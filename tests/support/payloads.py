"""Reply bodies as real servers send them: chat and completions, with logprobs in every shape seen."""

from __future__ import annotations

import json
from typing import Any


def chat(text: str | None = "Paris.", *, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion; ``message`` adds fields such as refusal or reasoning_content."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "served-model",
        "system_fingerprint": "fp_1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    }


def completion(text: str = " Paris.", *, finish: str = "stop") -> dict[str, Any]:
    """A plain completion."""
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "model": "served-model",
        "choices": [{"index": 0, "text": text, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }


def response(text: str = "Paris.", logprobs: bool = False, **fields: Any) -> dict[str, Any]:
    """An answer of the Responses API, with a reasoning summary."""
    part = {"type": "output_text", "text": text, "annotations": []}
    part |= {"logprobs": chat_logprobs()["content"]} if logprobs else {}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Capitals."}]}
    message = {"type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 9, "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 4}}
    reply = {"id": "resp_1", "object": "response", "status": "completed", "model": "served-model", "error": None}
    return {**reply, "output": [thought, message], "usage": usage, **fields}


def reordered(body: bytes) -> bytes:
    """The same answer with its fields in another order and one of them twice."""
    value = json.loads(body)
    turned = json.dumps(dict(reversed(value.items())))
    return f'{{"model": "first", {turned[1:]}'.encode()


def chat_logprobs(tokens: int = 2, top: int = 3) -> dict[str, Any]:
    """The chat shape: ``content`` with one entry a token."""
    alternatives = [
        {"token": f" t{k}", "logprob": -0.5 - k, "bytes": list(f" t{k}".encode())} for k in range(max(top, 1))
    ]
    entry = {**alternatives[0], "top_logprobs": alternatives[:top]}
    return {"content": [entry] * tokens, "refusal": None}


def completion_logprobs(tokens: int = 2, top: int = 3) -> dict[str, Any]:
    """The completions shape: parallel lists."""
    return {
        "tokens": [" t0"] * tokens,
        "token_logprobs": [-0.5] * tokens,
        "top_logprobs": [{f" t{k}": -0.5 - k for k in range(top)}] * tokens,
        "text_offset": list(range(tokens)),
    }


def with_logprobs(reply: dict[str, Any], logprobs: Any) -> dict[str, Any]:
    """``reply`` with ``logprobs`` in its first choice."""
    first, *rest = reply["choices"]
    return {**reply, "choices": [{**first, "logprobs": logprobs}, *rest]}


def encode(value: Any) -> bytes:
    """JSON as lax servers write it: NaN and Infinity included."""
    return json.dumps(value).encode()


def compact(value: Any) -> bytes:
    """JSON without spaces, as the harness sends it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
