"""Instances of kinds that no report was about: other words, languages, nesting, statuses, headers; one meaning."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from harness.endpoints.apis import UNKNOWN
from harness.endpoints.failures import from_status
from harness.endpoints.quirks import adapted, learn
from harness.endpoints.quotas import read_quotas, retry_after
from harness.endpoints.replies import parse, unknown_finish
from harness.endpoints.server_errors import read_error
from harness.errors import CallError
from tests.support import payloads

BODY = {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def told(status: int, value: Any) -> CallError:
    said = read_error(value)
    return from_status(status, said, said.message)


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (400, {"error": {"message": "Incorrect API key provided: sk-xx.", "type": "invalid_request_error"}}),
        (400, {"errors": [{"code": "UNAUTHENTICATED", "message": "x"}]}),
        (400, [{"error": {"status": "UNAUTHENTICATED", "message": "Request had invalid credentials."}}]),
        (400, {"message": "The API key has expired"}),
        (403, {"message": "Missing Authentication Token"}),
        (500, {"error": {"message": "Invalid API-key provided.", "code": "InvalidApiKey"}}),
        (422, {"detail": "API token is missing"}),
        (400, {"error_code": 110, "error_msg": "Access token invalid or no longer valid"}),
        (400, {"error": {"message": "API 密钥无效"}}),
        (400, {"error": {"message": "La clé API n'est pas valide", "code": "invalid_api_key"}}),
        (400, '{"fault": {"faultstring": "Invalid ApiKey", "detail": {"errorcode": "oauth.v2.InvalidApiKey"}}}'),
        (401, ""),
        (400, {"error": {"message": "You didn't provide an API key."}}),
    ],
)
def test_a_bad_key_is_a_bad_key(status: int, value: Any) -> None:
    error = told(status, value)
    assert (error.kind, error.fatal) == ("auth", True)


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (429, {"error": {"message": "Your account has insufficient funds."}}),
        (429, {"error": {"message": "You have run out of credits. Top up your account."}}),
        (403, {"code": "AccountOverdueError", "message": "The account has an overdue balance."}),
        (400, {"error": {"type": "billing_not_active", "message": "Your account is not active."}}),
        (429, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
        (403, {"error": {"message": "账户余额不足，请充值后再试"}}),
        (429, {"error": {"message": "您的免费额度已用完"}}),
        (500, {"error": {"message": "用户额度不足, 剩余额度: ¥0.00", "code": "insufficient_user_quota"}}),
        (402, {"detail": "Payment Required"}),
        (429, {"error": {"message": "Monthly spending limit reached.", "code": "insufficient_quota"}}),
        (400, {"error": {"message": "Your credit balance is too low."}}),
        (429, {"error": {"message": "Prepaid credits exhausted, please add credits."}}),
        (403, {"error": {"message": "Sie haben kein Guthaben mehr.", "code": "insufficient_balance"}}),
        (429, {"error": {"message": "残高が不足しています", "type": "insufficient_balance"}}),
    ],
)  # fmt: skip
def test_an_empty_balance_is_no_pace(status: int, value: Any) -> None:
    error = told(status, value)
    assert (error.kind, error.fatal, error.retry) == ("quota", True, False)


@pytest.mark.parametrize(
    ("status", "value", "wait"),
    [
        (429, {"detail": "Too Many Requests"}, None),
        (400, {"error": {"message": "Requests per minute exceeded, retry in 3s"}}, 3.0),
        (503, {"error": {"type": "engine_overloaded", "message": "x"}}, None),
        (429, {"error": {"message": "Rate limit hit", "retry_after": "20"}}, 20.0),
        (429, {"error": {"details": [{"retryDelay": {"seconds": 9}}], "message": "x"}}, 9.0),
        (429, {"error": {"message": "Request was throttled. Expected available in 12 seconds."}}, 12.0),
        (429, {"error": {"message": "Please wait 2m before trying again"}}, 120.0),
        (429, {"error": {"message": "触发限流，请30秒后再试"}}, 30.0),
        (429, {"error": {"message": "请在 15 秒后重试"}}, 15.0),
        (403, {"error": {"message": "请求过于频繁"}}, None),
        (429, {"error": {"message": "Try again in 1 minute and 5 seconds."}}, 65.0),
        (429, {"parameters": {"retry_after": 4}, "message": "slow"}, 4.0),
        (429, {"error": {"message": "slow", "data": {"retryAfter": "6s"}}}, 6.0),
    ],
)
def test_too_often_is_waited_for(status: int, value: Any, wait: float | None) -> None:
    error = told(status, value)
    assert (error.kind, error.retry, error.wait) == ("rate_limit", True, wait)


@pytest.mark.parametrize(
    ("message", "most"),
    [
        ("logprobs: the maximum allowed value is 5", 5),
        ("top_logprobs should be <= 11", 11),
        ("`top_logprobs` cannot be greater than 3", 3),
        ("Only up to 8 top_logprobs are supported", 8),
        ("Input value 20 for top_logprobs is out of range [0, 10]", 10),
        ("top_logprobs exceeds the limit of 5", 5),
        ("top_logprobs 最大值为 5", 5),
        ("top_logprobs 必须在 0 到 7 之间", 7),
        ("The value of top_logprobs must not exceed 12", 12),
        ("top_logprobs darf höchstens 5 sein (max: 5)", 5),
    ],
)
def test_the_number_allowed_is_taken(message: str, most: int) -> None:
    body = {**BODY, "logprobs": True, "top_logprobs": 20}
    found = learn(UNKNOWN, body, told(400, {"error": {"message": message}}))
    assert found is not None
    assert adapted(body, found)["top_logprobs"] == most


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (422, {"detail": [{"loc": ["body", "seed"], "type": "extra_forbidden", "msg": "Extra inputs"}]}),
        (400, {"error": {"message": "Unrecognized request argument supplied: seed"}}),
        (400, {"error": {"message": "Unknown field: seed"}}),
        (400, {"errors": [{"field": "seed", "message": "is not allowed"}]}),
        (400, {"error": {"parameter": "seed", "message": "unsupported"}}),
        (400, "litellm.UnsupportedParamsError: provider does not support parameters: ['seed']"),
        (400, {"error": {"message": "参数 seed 不支持"}}),
        (400, {"error": {"message": "Der Parameter 'seed' wird nicht unterstützt"}}),
        (422, {"error": {"message": "el parámetro 'seed' no es compatible con este modelo"}}),
        (422, {"message": 'body: property "seed" is unsupported'}),
        (400, {"error": {"message": json.dumps([{"error": {"message": "no", "param": "seed"}}])}}),
    ],
)  # fmt: skip
def test_a_refused_parameter_is_left_out(status: int, value: Any) -> None:
    body = {**BODY, "seed": 7}
    found = learn(UNKNOWN, body, told(status, value))
    assert found is not None
    assert "seed" not in adapted(body, found)


@pytest.mark.parametrize(
    "message",
    [
        "System messages are not supported by this model",
        "Invalid role: system. Allowed roles are user and assistant.",
        "'system' is not one of ['user', 'assistant'] - 'messages.0.role'",
        "This model does not support system prompts",
        "Unexpected role 'system' after nothing",
        "该模型不支持 system 消息",
        "roles must alternate between user and assistant",
        "Systemnachrichten werden von diesem Modell nicht unterstützt",
        "システムメッセージはサポートされていません",
        "Le message système n'est pas pris en charge",
    ],
)
def test_a_role_that_is_not_there_is_folded(message: str) -> None:
    found = learn(UNKNOWN, BODY, told(400, {"error": {"message": message}}))
    assert found is not None
    assert [m["role"] for m in adapted(BODY, found)["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("MAX_TOKENS", "truncated"),
        ("max_output_tokens", "truncated"),
        ({"reason": "length"}, "truncated"),
        ({"type": "max_tokens"}, "truncated"),
        ("Content_Filter", "filtered"),
        ("PROHIBITED_CONTENT", "filtered"),
        ("RECITATION", "filtered"),
        ("guardrail_intervened", "filtered"),
        ("end_turn", "ok"),
        ("STOP", "ok"),
        ("</s>", "ok"),
    ],
)
def test_why_an_answer_ended(reason: Any, outcome: str) -> None:
    answer = parse(payloads.encode(payloads.chat("some text", finish=reason)))
    assert answer.outcome == outcome


BROKEN = ["network_error", "TIMEOUT", "server_error", "cancelled", "connection_error", "Interrupted", {"type": "abort"}]


@pytest.mark.parametrize("reason", BROKEN, ids=str)
def test_an_answer_that_broke_off_is_asked_again(reason: Any) -> None:
    with pytest.raises(CallError) as caught:
        parse(payloads.encode(payloads.chat("half an ans", finish=reason)))
    assert caught.value.retry


@pytest.mark.parametrize("reason", ["OTHER_ERROR", "gave_up", "</s>x", {"type": "spent"}], ids=str)
def test_a_reason_that_nobody_knows_is_counted(reason: Any) -> None:
    answer = parse(payloads.encode(payloads.chat("some text", finish=reason)))
    assert (answer.text, unknown_finish(answer.finish_reason)) == ("some text", True)


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Paris."}]},
        {"content": "Paris.", "reasoning": "Hm."},
        {"content": "Paris.", "reasoning": [{"text": "Hm."}]},
        {"content": "Paris.", "reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]},
        {"content": "Paris.", "thinking": "Hm."},
        {"content": "Paris.", "thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]},
        {"content": "Paris.", "provider_specific_fields": {"reasoning_content": "Hm."}},
        {"content": [{"type": "reasoning", "reasoning": "Hm."}, {"type": "output_text", "text": "Paris."}]},
    ],
)  # fmt: skip
def test_thoughts_are_no_part_of_the_answer(message: dict[str, Any]) -> None:
    value = payloads.chat("x")
    value["choices"][0]["message"] = {"role": "assistant", **message}
    answer = parse(payloads.encode(value))
    assert (answer.text, answer.reasoning) == ("Paris.", "Hm.")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7.5"}, 7.5),
        ({"retry-after": "7s"}, 7.0),
        ({"retry-after": "1m5s"}, 65.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:09 GMT"}, 9.0),
        ({"retry-after": "2026-03-01T12:00:11Z"}, 11.0),
        ({"retry-after": str(int(NOW) + 4)}, 4.0),
        ({"retry-after": "30 seconds"}, 30.0),
        ({"retry-after": "1 minute, 5 seconds"}, 65.0),
        ({"retry-after": "PT1M30S"}, 90.0),
        ({"retry-after": "P1DT1S"}, 86401.0),
        ({"retry-after": "250 milliseconds"}, 0.25),
        ({"retry-after": "30, 40"}, 30.0),
        ({"retry-after": '"30"'}, 30.0),
        ({"retry-after": "30; slow down"}, 30.0),
        ({"retry-after": "Sunday, 01-Mar-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 01 Mar 2026 13:00:30 +0100"}, 30.0),
        ({"retry-after-ms": "1500ms"}, 1.5),
        ({"x-retry-after": "5"}, 5.0),
        ({"x-ratelimit-reset-after": "5.5"}, 5.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "30 parsecs"}, None),
        ({"retry-after": "-3"}, 0.0),
    ],
)
def test_every_form_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "unit", "limit", "window"),
    [
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": "1s"}, "requests", 60, 60),
        ({"X-RateLimit-Limit-Requests-Minute": "30"}, "requests", 30, 60),
        ({"x-rate-limit-limit": "40", "x-rate-limit-reset": "5"}, "requests", 40, 60),
        ({"ratelimit-limit": "100, 100;w=60", "ratelimit-reset": "5"}, "requests", 100, 60),
        ({"ratelimit": "limit=10, remaining=3, reset=2", "ratelimit-policy": "10;w=10"}, "requests", 10, 10),
        ({"ratelimit": '"default";r=50;t=30', "ratelimit-policy": '"default";q=100;w=60'}, "requests", 100, 60),
        ({"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-reset": "2026-03-01T12:00:05Z"},
         "requests", 50, 60),
        ({"x-ratelimit-limit-tokens": "6000", "x-ratelimit-reset-tokens": "20ms"}, "tokens", 6000, 60),
        ({"x-ratelimit-limit-tokens-day": "500000"}, "tokens", 500000, 86400),
        ({"x-tokenlimit-limit": "900"}, "tokens", 900, 60),
    ],
)  # fmt: skip
def test_a_limit_by_any_spelling(headers: dict[str, str], unit: str, limit: float, window: float) -> None:
    (found,) = read_quotas({k.lower(): v for k, v in headers.items()}, NOW)
    assert (found.unit, found.limit) == (unit, limit)
    if "x-tokenlimit-limit" not in headers:  # says no window
        assert found.window == window
