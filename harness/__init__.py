"""Behavioral black-box probing: whose model is this, with an error rate that is known.

The names below are the Python API; each is imported when it is first used, so that ``import harness`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.campaign import Scores, run_campaign, score, write
    from harness.config import Campaign, load_config
    from harness.errors import HarnessError
    from harness.inference.findings import Finding
    from harness.report.words import limits, sentence


__version__ = "0.1.0"
__all__ = [
    "Campaign",
    "Finding",
    "HarnessError",
    "Scores",
    "limits",
    "load_config",
    "run_campaign",
    "score",
    "sentence",
    "write",
]
_HOME = {
    "Campaign": "harness.config",
    "Finding": "harness.inference.findings",
    "HarnessError": "harness.errors",
    "Scores": "harness.campaign",
    "limits": "harness.report.words",
    "load_config": "harness.config",
    "run_campaign": "harness.campaign",
    "score": "harness.campaign",
    "sentence": "harness.report.words",
    "write": "harness.campaign",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module where it lives (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
