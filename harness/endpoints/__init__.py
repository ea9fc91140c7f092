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
from harness.endpoints.banked import (
    Banked,
    as_noted,
    left_of,
    pack_at,
    reference_folders,
    with_references,
)
from harness.endpoints.batch_apis import MOST_BYTES, MOST_CALLS, BatchApi, batch_url, batches_of, id_of
from harness.endpoints.bodies import BodyBudget
from harness.endpoints.failures import is_busy, is_refusal, is_unusable, not_started, out_of_time, stopped
from harness.endpoints.local import Servers, bare_environment, cache_folder, endpoint_fingerprint, unless
from harness.endpoints.packs import Card, Given, Pack, Referee, Sent, open_pack, pack_members
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
    "Banked",
    "BatchApi",
    "BodyBudget",
    "Card",
    "Given",
    "Pack",
    "Quirks",
    "Quota",
    "Recording",
    "Referee",
    "Sent",
    "Servers",
    "as_noted",
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
    "left_of",
    "longest_answer",
    "model_name",
    "not_started",
    "open_pack",
    "out_of_time",
    "pack_at",
    "pack_members",
    "parameters",
    "parquet_batches",
    "parsed",
    "path_of",
    "planned_keys",
    "provider_of",
    "read_cell",
    "reference_folders",
    "request_body",
    "stopped",
    "surface_for",
    "unknown_finish",
    "unless",
    "until_reset",
    "with_references",
    "without_key",
]
