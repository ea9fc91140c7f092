"""Store: answers, requests and notes in SQLite. Other rooms take it from this door."""

from __future__ import annotations

from harness.store.merging import copy_store, reuse
from harness.store.provenance import (
    endpoint_summary,
    endpoints,
    mixtures,
    note_endpoint,
    note_run,
    notes_digest,
    packages,
    reused,
    runs,
    spent,
)
from harness.store.store import FORMAT, Attempt, Store, batches, content_digest, key_of
from harness.store.table import stored_table
from harness.store.validation import check, foreign, forged_requests

__all__ = [
    "FORMAT",
    "Attempt",
    "Store",
    "batches",
    "check",
    "content_digest",
    "copy_store",
    "endpoint_summary",
    "endpoints",
    "foreign",
    "forged_requests",
    "key_of",
    "mixtures",
    "note_endpoint",
    "note_run",
    "notes_digest",
    "packages",
    "reuse",
    "reused",
    "runs",
    "spent",
    "stored_table",
]
