"""What to ask: campaign and prompts -> jobs, each with the exact request it will send. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.config import Called
from harness.responses import Prompt, Surface

PATHS: dict[Surface, str] = {"chat": "/chat/completions", "completion": "/completions"}


@dataclass(frozen=True, slots=True)
class Job:
    """One call: key and body. The body is the JSON that goes over the wire, byte for byte."""

    endpoint: str
    prompt: str
    sample: int
    surface: Surface
    body: bytes
    request_hash: str


def request_hash(surface: str, body: bytes) -> str:
    """SHA-256 of what is asked: any change of prompt or parameter is another key."""
    return hashlib.sha256(surface.encode() + b"\n" + body).hexdigest()


def surface_for(prompt: Prompt, endpoint: Called) -> Surface | None:
    """How a prompt reaches an endpoint, or None if it cannot.

    A chat prompt can be written out for an endpoint that only completes text; a raw stub put into a chat is
    another question, so it is not asked there.
    """
    if prompt.surface in endpoint.surfaces:
        return prompt.surface
    return "completion" if prompt.surface == "chat" else None


def request_body(prompt: Prompt, endpoint: Called, surface: Surface, sample: int, model: str) -> dict[str, Any]:
    """The request as a mapping: only what the prompt's card and the config say, nothing hidden.

    A ``seed`` among the endpoint's params is a root: each call sends one drawn from it, the endpoint, the prompt and
    the sample, so that samples are not copies of each other, nor of another endpoint's.
    """
    body: dict[str, Any] = {"model": model}
    if surface == "chat":
        messages = [{"role": "user", "content": prompt.text}]
        if endpoint.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": endpoint.system_prompt})
        body["messages"] = messages
    else:
        written = endpoint.template.replace("{prompt}", prompt.text) if prompt.surface == "chat" else prompt.text
        body["prompt"] = written
    for key in ("max_tokens", "temperature", "top_p"):
        if (value := getattr(prompt, key)) is not None:
            body[key] = value
    if prompt.top_logprobs:
        body |= (
            {"logprobs": True, "top_logprobs": prompt.top_logprobs}
            if surface == "chat"
            else {"logprobs": prompt.top_logprobs}
        )
    body |= endpoint.params
    if isinstance(body.get("seed"), int):
        digest = hashlib.sha256(f"{body['seed']}:{endpoint.name}:{prompt.id}:{sample}".encode()).digest()
        body["seed"] = int.from_bytes(digest[:4], "big") >> 1
    return body


def jobs(endpoint: Called, prompts: Sequence[Prompt], model: str) -> Iterator[Job]:
    """All calls to one endpoint: first samples of every prompt, then second ones, so that a run cut short is even."""
    for sample in range(max((p.samples for p in prompts), default=0)):
        for prompt in prompts:
            surface = surface_for(prompt, endpoint)
            if surface is None or sample >= prompt.samples:
                continue
            body = msgspec.json.encode(request_body(prompt, endpoint, surface, sample, model))
            yield Job(endpoint.name, prompt.id, sample, surface, body, request_hash(surface, body))
