"""What tests share: servers, campaigns, recordings, and where the checkout is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
Write = Callable[..., Path]
CARD: dict[str, Any] = {
    "family": "tiny",
    "version": 1,
    "purpose": "tests",
    "discriminates": "nothing",
    "source": "written here",
    "queries": 3,
    "languages": ["en"],
    "surface": "chat",
    "max_tokens": 8,
    "samples": 2,
    "temperature": None,
    "top_logprobs": None,
    "channels": ["wording"],
}
