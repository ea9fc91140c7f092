"""Providers by name: addresses, headers and quirks. Data in providers.yaml, no code per provider."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter


@dataclass(frozen=True)
class Provider:
    """What is particular about one provider; the default is a server of which nothing is known.

    ``path`` and ``api_version`` stand before and behind the paths of the API (Azure), ``body`` is sent with every
    request, ``refuses`` names parameters that are not sent. ``top_logprobs`` is the most alternatives a token, 0 where
    there are no logprobs; ``logprobs_is_count``: the number is written into ``logprobs`` itself.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    title: str = "any OpenAI-compatible server"
    base_url: str | None = None
    api_key_env: str | None = None
    key_header: str = "Authorization"
    path: str = ""
    api_version: str | None = None
    max_tokens: str = "max_tokens"
    top_logprobs: int = 100
    logprobs_is_count: bool = False
    refuses: tuple[str, ...] = ()
    body: dict[str, Any] = field(default_factory=dict)
    pins_upstream: bool = False
    reasoning: str = ""
    kinds: tuple[str, ...] = ("openai-chat",)
    note: str = ""
    source: str = ""


PLAIN = Provider()


@functools.cache
def providers() -> dict[str, Provider]:
    """All providers by name."""
    text = Path(__file__).with_name("providers.yaml").read_text(encoding="utf-8")
    found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    return TypeAdapter(dict[str, Provider]).validate_python(found)


def provider(name: str | None) -> Provider:
    """The provider called ``name``; `PLAIN` for none. ``KeyError`` for a name that nobody has."""
    return PLAIN if name is None else providers()[name]
