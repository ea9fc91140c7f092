"""Requests and jobs: campaign and prompts -> every call with the exact body that it will send. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from harness.config import Called, Campaign, Remote
from harness.endpoints.apis import APIS, model_name, provider_of
from harness.endpoints.quirks import Quirks, adapted
from harness.records import Job, Key, Prompt, Surface, request_hash

UNKNOWN = Quirks()


def surface_for(prompt: Prompt, endpoint: Called) -> Surface | None:
    """How a prompt reaches an endpoint, or None if it cannot.

    A chat prompt can be written out for an endpoint that only completes text; a raw stub put into a chat is
    another question, so it is not asked there.
    """
    if prompt.surface in endpoint.surfaces:
        return prompt.surface
    return "completion" if prompt.surface == "chat" else None


def request_body(
    prompt: Prompt, endpoint: Called, surface: Surface, sample: int, model: str, learned: Quirks = UNKNOWN
) -> dict[str, Any]:
    """The request as a mapping: what the prompt's card and the config say, as provider and server take it.

    ``params`` of the endpoint stand over all else, but for what the server refused before (``learned``). A ``seed``
    among them is a root: each call sends one drawn from it, the endpoint, the prompt and the sample, so that samples
    are not copies of each other, nor of another endpoint's.
    """
    provider = provider_of(endpoint)
    body = APIS[endpoint.kind].write(adapted(_plain(prompt, endpoint, surface, model), Quirks.of(provider)))
    body |= _provider_body(endpoint) | endpoint.params
    body = adapted(body, learned)
    if isinstance(body.get("seed"), int):
        digest = hashlib.sha256(f"{body['seed']}:{endpoint.name}:{prompt.id}:{sample}".encode()).digest()
        body["seed"] = int.from_bytes(digest[:4], "big") >> 1
    return body


def _plain(prompt: Prompt, endpoint: Called, surface: Surface, model: str) -> dict[str, Any]:
    """The request to a server of which nothing is known."""
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
    return body


def _provider_body(endpoint: Called) -> dict[str, Any]:
    """What a provider gets with every request; the upstream is pinned where there is one to pin."""
    body = provider_of(endpoint).body
    if isinstance(endpoint, Remote) and endpoint.upstream:
        return body | {"provider": {"order": [endpoint.upstream], **body.get("provider", {})}}
    return body


def jobs(endpoint: Called, prompts: Sequence[Prompt], model: str, learned: Quirks = UNKNOWN) -> Iterator[Job]:
    """All calls to one endpoint: first samples of every prompt, then second ones, so that a run cut short is even.

    Samples of one prompt share body and hash, unless each has a seed of its own.
    """
    seeded = isinstance(endpoint.params.get("seed"), int)
    made: dict[str, tuple[bytes, str]] = {}
    for sample in range(max((p.samples for p in prompts), default=0)):
        for prompt in prompts:
            surface = surface_for(prompt, endpoint)
            if surface is None or sample >= prompt.samples:
                continue
            if seeded or sample == 0:
                body = msgspec.json.encode(request_body(prompt, endpoint, surface, sample, model, learned))
                made[prompt.id] = body, request_hash(surface, body)
            yield Job(endpoint.name, prompt.id, sample, surface, *made[prompt.id])


def planned_keys(
    campaign: Campaign, prompts: Sequence[Prompt], learned: Mapping[str, Quirks] | None = None
) -> Iterator[Key]:
    """Keys of all calls of a campaign, as far as it is known by endpoint name what is refused."""
    called = [e for e in campaign.endpoints if isinstance(e, Called)]
    known = learned or {}
    return (j.key for e in called for j in jobs(e, prompts, model_name(e), known.get(e.name, UNKNOWN)))
