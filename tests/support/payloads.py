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


def anthropic(text: str = "Paris.", *, stop: str | None = "end_turn", **fields: Any) -> dict[str, Any]:
    """An answer of Anthropic's Messages API, as its documentation shows them: thoughts first, cached input apart."""
    thought = {"type": "thinking", "thinking": "Capitals.", "signature": "EqQB"}
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 7}
    reply = {"id": "msg_1", "type": "message", "role": "assistant", "model": "served-model", "stop_sequence": None}
    content = [thought, {"type": "text", "text": text}]
    return {**reply, "content": content, "stop_reason": stop, "usage": {**usage, "service_tier": "standard"}, **fields}


def gemini(text: str | None = "Paris.", *, finish: str = "STOP", **fields: Any) -> dict[str, Any]:
    """An answer of Gemini's generateContent, as its documentation shows them; None for a candidate without parts."""
    thought = {"text": "Capitals.", "thought": True}
    parts = {} if text is None else {"parts": [thought, {"text": text, "thoughtSignature": "Cu8B"}]}
    candidate = {"content": {**parts, "role": "model"}, "finishReason": finish, "index": 0}
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 3, "thoughtsTokenCount": 4, "totalTokenCount": 16}
    reply = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "served-model", "responseId": "r_1"}
    return {**reply, **fields}


def gemini_logprobs(tokens: int = 2, top: int = 3) -> dict[str, Any]:
    """``logprobsResult``: what was chosen and what else might have been, in two lists."""
    others = [{"token": f" t{k}", "tokenId": k, "logProbability": -0.5 - k} for k in range(top)]
    chosen = {"token": " t0", "tokenId": 0, "logProbability": -0.5}
    return {"topCandidates": [{"candidates": others}] * tokens, "chosenCandidates": [chosen] * tokens}


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
