"""APIs by name: the path of a call, its request as a plan asks for it, and how its reply is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from harness.config import PLAIN, Called, Campaign, Local, Provider, Remote, provider
from harness.endpoints import anthropic_api, gemini_api, responses_api
from harness.endpoints.quirks import Quirks, adapted
from harness.endpoints.replies import Answer, parse
from harness.records import Job, Key, Prompt, Surface, request_hash

_PATHS: dict[Surface, str] = {"chat": "/chat/completions", "completion": "/completions"}


@dataclass(frozen=True)
class Api:
    """One API. ``write`` turns a body of chat completions or completions into its own.

    ``join`` adds what provider and config want sent over all else. ``key_header`` carries the key, ``headers`` go with
    every call.
    """

    paths: Mapping[Surface, str]
    write: Callable[[dict[str, Any]], dict[str, Any]]
    read: Callable[[bytes], Answer]
    join: Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]] = lambda body, more: {**body, **more}
    key_header: str = "Authorization"
    headers: Mapping[str, str] = field(default_factory=dict)
    gives_logprobs: bool = True


_COMPLETIONS = Api(_PATHS, lambda body: body, parse)
APIS: Mapping[str, Api] = {
    "openai-chat": _COMPLETIONS,
    "openai-completions": _COMPLETIONS,
    "local": _COMPLETIONS,
    "openai-responses": Api({"chat": "/responses"}, responses_api.write, responses_api.read),
    "anthropic-messages": Api(
        {"chat": "/messages"},
        anthropic_api.write,
        anthropic_api.read,
        key_header="x-api-key",
        headers={"anthropic-version": anthropic_api.VERSION},
        gives_logprobs=False,
    ),
    "gemini": Api(
        {"chat": "/models/{model}:generateContent"},
        gemini_api.write,
        gemini_api.read,
        join=gemini_api.join,
        key_header="x-goog-api-key",
    ),
}


def provider_of(endpoint: Called) -> Provider:
    """The provider that an endpoint names, or one of which nothing is known."""
    return provider(endpoint.provider) if isinstance(endpoint, Remote) else PLAIN


def headers_of(endpoint: Called) -> tuple[str, Mapping[str, str]]:
    """The header that carries the key of an endpoint, and the headers that go with all its calls."""
    api = APIS[endpoint.kind]
    return provider_of(endpoint).key_header or api.key_header, api.headers


def path_of(endpoint: Called, surface: Surface) -> str:
    """Path and query of a call, to be put behind the base URL."""
    known = provider_of(endpoint)
    path = known.path + APIS[endpoint.kind].paths[surface]
    if isinstance(endpoint, Remote):
        path = path.replace("{model}", endpoint.model.removeprefix("models/"))
        version = endpoint.api_version or known.api_version
        query = [urlsplit(endpoint.base_url).query, f"api-version={version}" if version else ""]
        return "?".join(filter(None, (path, "&".join(filter(None, query)))))
    return path


def model_name(endpoint: Called) -> str:
    """The model that requests ask for; of a local server what its weights are, not what the endpoint is called."""
    return endpoint.weights.model if isinstance(endpoint, Local) else endpoint.model


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

    ``params`` of the endpoint stand over all else, but for what the server refused before (``learned``); one that is
    None is not sent. A ``seed``
    among them is a root: each call sends one drawn from it, the endpoint, the prompt and the sample, so that samples
    are not copies of each other, nor of another endpoint's.
    """
    api, more = APIS[endpoint.kind], _provider_body(endpoint) | endpoint.params
    if isinstance(more.get("seed"), int):
        digest = hashlib.sha256(f"{more['seed']}:{endpoint.name}:{prompt.id}:{sample}".encode()).digest()
        more["seed"] = int.from_bytes(digest[:4], "big") >> 1
    body = api.write(adapted(_plain(prompt, endpoint, surface, model), Quirks.of(provider_of(endpoint))))
    if more:
        body = {k: v for k, v in body.items() if k not in more or more[k] is not None}
        body = api.join(body, {k: v for k, v in more.items() if v is not None})
    return adapted(body, learned)


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
