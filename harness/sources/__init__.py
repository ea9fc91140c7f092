"""Answers of strangers' files: CSV, spreadsheets, JSON, Parquet, logs of tools and APIs. This is the room's door."""

from __future__ import annotations

from harness.sources.entries import Account, Coverage, Entry, Gathered, Reading, Role, Unread
from harness.sources.gathering import gather

__all__ = ["Account", "Coverage", "Entry", "Gathered", "Reading", "Role", "Unread", "gather"]
