"""Providers by name, and models by their well-known names. Data in providers.yaml and models.yaml, no code for one."""

from __future__ import annotations

import functools
import re
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
    return TypeAdapter(dict[str, Provider]).validate_python(_data("providers.yaml"))


def _data(name: str) -> Any:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe


def provider(name: str | None) -> Provider:
    """The provider called ``name``; `PLAIN` for none. ``KeyError`` for a name that nobody has."""
    return PLAIN if name is None else providers()[name]


@dataclass(frozen=True)
class WellKnown:
    """What the name of a model tells: who made it, the month it came out (YYYY-MM), whether it thinks; None: unknown.

    ``name`` is the pattern that was found; ``hides``: thoughts that it has do not come with the answer.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str = ""
    maker: str | None = None
    released: str | None = None
    thinks: bool | None = None
    hides: bool = False


NOBODY = WellKnown()


@functools.cache
def well_known() -> tuple[WellKnown, ...]:
    """All names known, in the order in which they are tried."""
    return TypeAdapter(tuple[WellKnown, ...]).validate_python(_data("models.yaml"))


@functools.lru_cache(4096)
def guessed(name: str) -> WellKnown:
    """Maker, month of release and thinking of a model, guessed from its name; `NOBODY` where the name tells nothing.

    Examples
    --------
    >>> guessed("openrouter/meta-llama/Llama-3.1-70B-Instruct").released
    '2024-07'
    >>> guessed("our-own-model") is NOBODY
    True
    """
    plain = name.lower().replace("_", "-")
    return next((k for k in well_known() if re.search(k.name, plain)), NOBODY)
