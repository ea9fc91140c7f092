"""Store: answers, requests and notes in SQLite. Other rooms take it from this door."""

from __future__ import annotations

from harness.store.database import FORMAT
from harness.store.merging import Seal, check, copy_store, foreign, forged_requests, require_whole, reuse, seal
from harness.store.provenance import (
    endpoint_summary,
    forget_endpoint,
    mixtures,
    note_endpoint,
    note_run,
    noted_endpoints,
    notes_digest,
    packages,
    recorded_between,
    reused,
    runs,
    spent,
    stated,
)
from harness.store.store import Attempt, Store, batches, key_of
from harness.store.table import echoes, stored_table

__all__ = [
    "FORMAT",
    "Attempt",
    "Seal",
    "Store",
    "batches",
    "check",
    "copy_store",
    "echoes",
    "endpoint_summary",
    "foreign",
    "forged_requests",
    "forget_endpoint",
    "key_of",
    "mixtures",
    "note_endpoint",
    "note_run",
    "noted_endpoints",
    "notes_digest",
    "packages",
    "recorded_between",
    "require_whole",
    "reuse",
    "reused",
    "runs",
    "seal",
    "spent",
    "stated",
    "stored_table",
]
