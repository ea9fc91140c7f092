"""Config: what a user may write, read and checked. Other rooms take it from this door."""

from __future__ import annotations

from harness.config.prompts import (
    PromptSet,
    available,
    content_hash,
    draw,
    expand,
    load_set,
    require_channels,
    shipped_folder,
)
from harness.config.providers import PLAIN, Provider, provider, providers
from harness.config.schema import (
    Called,
    Campaign,
    Collect,
    Endpoint,
    Local,
    OpenAIChat,
    Price,
    Recorded,
    Remote,
    Weights,
)
from harness.config.secrets import (
    Redactor,
    environment,
    key_of,
    looks_like_key,
    may_be_variable,
    open_to_others,
    private_seed,
    public_address,
    require_keys,
    without_keys,
)
from harness.config.yaml import load_config, read_text

__all__ = [
    "PLAIN",
    "Called",
    "Campaign",
    "Collect",
    "Endpoint",
    "Local",
    "OpenAIChat",
    "Price",
    "PromptSet",
    "Provider",
    "Recorded",
    "Redactor",
    "Remote",
    "Weights",
    "available",
    "content_hash",
    "draw",
    "environment",
    "expand",
    "key_of",
    "load_config",
    "load_set",
    "looks_like_key",
    "may_be_variable",
    "open_to_others",
    "private_seed",
    "provider",
    "providers",
    "public_address",
    "read_text",
    "require_channels",
    "require_keys",
    "shipped_folder",
    "without_keys",
]
