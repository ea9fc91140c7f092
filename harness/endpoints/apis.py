"""The kinds of API that are asked: the path of a call, how its body is written, and how its reply is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.providers import PLAIN, Provider, provider
from harness.config.schema import Called, Local, Remote
from harness.endpoints import local, responses_api
from harness.endpoints.replies import Answer, parse
from harness.records import Surface

_PATHS: dict[Surface, str] = {"chat": "/chat/completions", "completion": "/completions"}


@dataclass(frozen=True)
class Kind:
    """One API. ``write`` turns a body of chat completions or completions into its own."""

    paths: Mapping[Surface, str]
    write: Callable[[dict[str, Any]], dict[str, Any]]
    read: Callable[[bytes], Answer]


_COMPLETIONS = Kind(_PATHS, lambda body: body, parse)
KINDS: dict[str, Kind] = {
    "openai-chat": _COMPLETIONS,
    "openai-completions": _COMPLETIONS,
    "local": _COMPLETIONS,
    "openai-responses": Kind({"chat": "/responses"}, responses_api.write, responses_api.read),
}


def provider_of(endpoint: Called) -> Provider:
    """The preset an endpoint names, or one that knows nothing."""
    return provider(endpoint.provider) if isinstance(endpoint, Remote) else PLAIN


def path_of(endpoint: Called, surface: Surface) -> str:
    """Path and query of a call, to be put behind the base URL."""
    preset = provider_of(endpoint)
    path = preset.path + KINDS[endpoint.kind].paths[surface]
    if isinstance(endpoint, Remote):
        path = path.replace("{model}", endpoint.model)
        version = endpoint.api_version or preset.api_version
        return f"{path}?api-version={version}" if version else path
    return path


def model_name(endpoint: Called) -> str:
    """The model an endpoint's requests ask for."""
    return local.alias(endpoint) if isinstance(endpoint, Local) else endpoint.model
