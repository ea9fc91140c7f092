"""Endpoints: APIs, quirks, replies, local and recorded ones. The client, heavy to import, is taken from its module."""

from __future__ import annotations

from harness.endpoints.answer_files import ESCAPED, count, parquet_batches
from harness.endpoints.apis import (
    APIS,
    UNKNOWN,
    jobs,
    model_name,
    path_of,
    planned_keys,
    provider_of,
    request_body,
    surface_for,
)
from harness.endpoints.batch_apis import MOST_BYTES, MOST_CALLS, BatchApi, batch_url, batches_of, id_of
from harness.endpoints.bodies import BodyBudget
from harness.endpoints.failures import is_busy, is_refusal, is_unusable, not_started, out_of_time, stopped
from harness.endpoints.local import Servers, bare_environment, cache_folder, endpoint_fingerprint, unless
from harness.endpoints.parts import parsed, read_cell
from harness.endpoints.quirks import Quirks, describe, learn, longest_answer, parameters
from harness.endpoints.quotas import Quota, until_reset
from harness.endpoints.recorded import FAMILY, Recording
from harness.endpoints.replies import Answer, filtered_answer, unknown_finish, without_key

__all__ = [
    "APIS",
    "ESCAPED",
    "FAMILY",
    "MOST_BYTES",
    "MOST_CALLS",
    "UNKNOWN",
    "Answer",
    "BatchApi",
    "BodyBudget",
    "Quirks",
    "Quota",
    "Recording",
    "Servers",
    "bare_environment",
    "batch_url",
    "batches_of",
    "cache_folder",
    "count",
    "describe",
    "endpoint_fingerprint",
    "filtered_answer",
    "id_of",
    "is_busy",
    "is_refusal",
    "is_unusable",
    "jobs",
    "learn",
    "longest_answer",
    "model_name",
    "not_started",
    "out_of_time",
    "parameters",
    "parquet_batches",
    "parsed",
    "path_of",
    "planned_keys",
    "provider_of",
    "read_cell",
    "request_body",
    "stopped",
    "surface_for",
    "unknown_finish",
    "unless",
    "until_reset",
    "without_key",
]
