"""Behavioral black-box probing: whose model is this, with an error rate that is known."""

from __future__ import annotations

__version__ = "0.1.0"
