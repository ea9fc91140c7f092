"""What a server's error means for the run: ask again, give up on this call, or give up on the endpoint."""

from __future__ import annotations

from typing import Any

from harness.errors import CallError

_NO_CREDIT = frozenset({"insufficient_quota", "insufficient_balance", "billing_hard_limit_reached"})
_NO_MODEL = frozenset({"model_not_found", "model_not_available"})
_FILTERED = frozenset(
    {"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation_blocked"}
    | {"data_inspection_failed", "datainspectionfailed", "content_blocked", "sensitive_words_detected"}
)
_TRANSIENT = frozenset({408, 409, 425, 429})


def failure(status: int | None, code: str, text: str, wait: float | None = None) -> CallError:
    """`CallError` for an HTTP status (None: not known), the server's own code for it, and what it says."""
    if code in _NO_CREDIT or status == 402:
        return CallError(text, "the account has no credit left", kind="quota", status=status, fatal=True)
    if status in (401, 403):
        hint = "check the key in the variable that api_key_env names"
        return CallError(text, hint, kind="auth", status=status, fatal=True)
    if status == 404 or code in _NO_MODEL:
        return CallError(text, "check `base_url` and `model`", kind="not_found", status=status, fatal=True)
    if status is not None and 300 <= status < 400:
        return CallError(text, "write the final address into base_url", kind="redirect", status=status, fatal=True)
    if status == 429:
        return CallError(text, kind="rate_limit", status=status, retry=True, wait=wait)
    again = status is None or status in _TRANSIENT or status >= 500
    return CallError(text, kind="http", status=status, retry=again, wait=wait)


def is_refusal(error: CallError) -> bool:
    """Whether this request is not taken by a server that is well: one more of the same kind would not be either."""
    return error.status in (400, 413, 422) and not error.retry and not error.fatal


def read_error(value: Any) -> tuple[int | None, str, str]:
    """(status, code, message) of an error as servers write it: an object, an object in ``error``, or plain text."""
    if isinstance(value, dict) and value.get("error"):
        value = value["error"]
    if not isinstance(value, dict):
        return None, "", str(value)
    code = value.get("code")
    number = str(code)
    status = int(number) if number.isascii() and number.isdecimal() and len(number) == 3 else None
    code = code if isinstance(code, str) else value.get("type")
    return status, str(code or ""), str(value.get("message") or value)


def is_filtered(status: int | None, value: Any) -> bool:
    """Whether an error is a filter's answer to the prompt: Azure's 400 ``content_filter``, a moderation's 403."""
    if isinstance(value, dict) and value.get("error"):
        value = value["error"]
    if not isinstance(value, dict):
        return False
    inner, metadata = value.get("innererror"), value.get("metadata")
    codes = [value.get("code"), value.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    flagged = isinstance(metadata, dict) and ("flagged_input" in metadata or "reasons" in metadata)
    return any(isinstance(c, str) and c.lower() in _FILTERED for c in codes) or (status == 403 and flagged)


def filtered(status: int | None, text: str) -> CallError:
    """What a filter says instead of an answer. The pool stores it as the answer that it is."""
    return CallError(text, kind="filtered", status=status)
