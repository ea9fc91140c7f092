"""Store: answers, requests and notes in SQLite. Other rooms take it from this door."""

from __future__ import annotations

from harness.store.merging import check, copy_store, foreign, forged_requests, reuse
from harness.store.provenance import (
    endpoint_summary,
    finish_reasons,
    mixtures,
    note_endpoint,
    note_run,
    noted_endpoints,
    notes_digest,
    packages,
    reused,
    runs,
    spent,
)
from harness.store.store import FORMAT, Attempt, Store, batches, content_digest, key_of
from harness.store.table import stored_table

__all__ = [
    "FORMAT",
    "Attempt",
    "Store",
    "batches",
    "check",
    "content_digest",
    "copy_store",
    "endpoint_summary",
    "finish_reasons",
    "foreign",
    "forged_requests",
    "key_of",
    "mixtures",
    "note_endpoint",
    "note_run",
    "noted_endpoints",
    "notes_digest",
    "packages",
    "reuse",
    "reused",
    "runs",
    "spent",
    "stored_table",
]
