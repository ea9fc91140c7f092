"""What servers say went wrong, in their shapes and languages -> what it means for the run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.endpoints.apis import UNKNOWN
from harness.endpoints.failures import from_status
from harness.endpoints.quirks import Quirks, adapted, learn
from harness.endpoints.server_errors import read_error
from harness.errors import CallError

BODY = {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}


def told(status: int, value: Any) -> CallError:
    said = read_error(value)
    return from_status(status, said, said.message)


@pytest.mark.parametrize(
    ("status", "value", "kind"),
    [
        (400, [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}], "auth"),
        (400, [{"error": {"message": "x", "details": [{"reason": "API_KEY_INVALID"}]}}], "auth"),
        (400, {"error": {"code": "1001", "message": "令牌已过期或验证不正确"}}, "auth"),
        (401, {"detail": "Unauthorized"}, "auth"),
        (403, "Forbidden", "auth"),
        (429, {"error": {"code": "1113", "message": "Insufficient balance. Please recharge."}}, "quota"),
        (429, {"error": {"message": "余额不足或无可用资源包,请充值。"}}, "quota"),
        (400, {"code": "Arrearage", "message": "Access denied, please make your account good."}, "quota"),
        (403, {"error": {"message": "Your account is in arrears."}}, "quota"),
        (402, {"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}}, "quota"),
        (400, {"error": {"message": "Your credit balance is too low to access the API."}}, "quota"),
        (429, {"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing.",
                         "status": "RESOURCE_EXHAUSTED"}}, "rate_limit"),
        (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota."}}, "quota"),
        (400, {"__type": "ThrottlingException", "message": "Too many requests, please wait"}, "rate_limit"),
        (403, {"error": {"message": "API rate limit exceeded for user"}}, "rate_limit"),
        (429, {"error": {"code": "1302", "message": "您当前使用该API的并发数过高"}}, "rate_limit"),
        (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}, "filtered"),
        (400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}, "filtered"),
        (403, {"error": {"code": 403, "message": "x", "metadata": {"reasons": ["violence"]}}}, "filtered"),
        (400, {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "x"}}, "filtered"),
        (400, {"error": {"message": "The model `gpt-9` does not exist or you do not have access to it."}}, "not_found"),
        (400, {"error": {"code": "1211", "message": "模型不存在,请检查模型代码。"}}, "not_found"),
        (404, "<html>nginx</html>", "not_found"),
        (400, {"error": {"message": "temperature must be at most 1", "param": "temperature"}}, "http"),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, "http"),
        (500, {"error": {"message": "internal"}}, "http"),
        (503, {"error": {"message": "rate limit reached"}}, "rate_limit"),
    ],
)  # fmt: skip
def test_what_a_server_says_went_wrong(status: int, value: Any, kind: str) -> None:
    assert told(status, value).kind == kind


def test_an_empty_balance_ends_and_a_busy_server_does_not() -> None:
    broke, busy = told(429, {"error": {"message": "余额不足"}}), told(429, {"error": {"message": "请求过于频繁"}})
    assert (broke.fatal, broke.retry, busy.fatal, busy.retry) == (True, False, False, True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (
            [{"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}}],
            34.5,
        ),
        ({"error": {"message": "Rate limit reached. Please try again in 1m30s."}}, 90.0),
        ({"error": {"message": "Please try again in 850ms."}}, 0.85),
        ({"error": {"message": "Too many requests. Retry after 7 seconds"}}, 7.0),
        ({"error": {"message": "请求过于频繁,请5秒后重试"}}, 5.0),
        ({"error": {"metadata": {"headers": {"Retry-After": "12"}}, "message": "x"}}, 12.0),
        ({"retry_after_ms": 1500, "message": "slow down"}, 1.5),
        ({"error": {"message": "slow down"}}, None),
    ],
)
def test_how_long_to_wait_stands_in_the_words(value: Any, seconds: float | None) -> None:
    assert told(429, value).wait == seconds


def lesson(body: dict[str, Any], status: int, value: Any, quirks: Quirks = UNKNOWN) -> dict[str, Any] | None:
    """What is sent after a refusal; None if nothing was learned."""
    found = learn(quirks, body, told(status, value))
    return None if found is None else adapted(body, found)


@pytest.mark.parametrize(
    ("message", "most"),
    [
        ("Requested sample logprobs of 20, which is greater than max allowed: 10 (parameter=logprobs, value=20)", 10),
        ("Invalid value for 'top_logprobs': must be less than or equal to 5.", 5),
        ("top_logprobs must be between 0 and 8", 8),
        ("Range of top_logprobs should be [0, 5]", 5),
        ("top_logprobs 的取值范围为 0~6", 6),
        ("参数 top_logprobs 不能超过 4", 4),
        ("Value error, top_logprobs: maximum value is 15", 15),
    ],
)
def test_a_number_that_is_told_is_a_limit_and_not_a_refusal(message: str, most: int) -> None:
    body = {**BODY, "logprobs": True, "top_logprobs": 20}
    sent = lesson(body, 400, {"error": {"message": message}})
    assert sent is not None
    assert (sent["top_logprobs"], sent["logprobs"]) == (most, True)


def test_a_limit_in_a_field_is_read_as_well() -> None:
    body = {**BODY, "logprobs": True, "top_logprobs": 20}
    detail = [
        {"type": "less_than_equal", "loc": ["body", "top_logprobs"], "msg": "Input should be smaller", "ctx": {"le": 7}}
    ]
    sent = lesson(body, 422, {"detail": detail})
    assert sent is not None
    assert sent["top_logprobs"] == 7


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "This value is not valid for the chosen model.", "param": "temperature"}},
        {"detail": [{"loc": ["body", "temperature"], "msg": "Extra inputs are not permitted"}]},
        {"error": {"message": "不支持 'temperature' 参数"}},
        {"error": {"message": json.dumps({"error": {"message": "no", "param": "temperature"}})}},
        [{"error": {"message": "Unsupported value: 'temperature'"}}],
    ],
)  # fmt: skip
def test_a_refused_parameter_is_found_wherever_it_is_named(value: Any) -> None:
    sent = lesson({**BODY, "temperature": 0.5}, 400, value)
    assert sent is not None
    assert "temperature" not in sent


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                   "param": "messages[0].role"}},
        {"error": {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}},
        {"error": {"message": "System role not supported"}},
        {"error": {"message": "Developer instruction is not enabled for models/gemma-3"}},
        {"error": {"message": "messages 参数非法:不支持 system 角色"}},
    ],
)  # fmt: skip
def test_a_refused_system_role_is_folded_into_the_question(value: Any) -> None:
    sent = lesson(BODY, 400, value)
    assert sent is not None
    assert sent["messages"] == [{"role": "user", "content": "Be brief.\n\nHi"}]


def test_where_both_names_of_the_length_are_refused_it_is_left_out() -> None:
    body = {**BODY, "max_tokens": 8}
    first = learn(UNKNOWN, body, told(400, {"error": {"message": "Unsupported parameter: 'max_tokens'"}}))
    assert first is not None
    once = adapted(body, first)
    assert once["max_completion_tokens"] == 8
    second = learn(first, once, told(400, {"error": {"message": "Unknown parameter: 'max_completion_tokens'"}}))
    assert second is not None
    assert not {"max_tokens", "max_completion_tokens"} & adapted(body, second).keys()
    assert (
        learn(second, adapted(body, second), told(400, {"error": {"message": "Unknown parameter: 'max_tokens'"}}))
        is None
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "detail", "message", "code", "param", "loc", "ctx", "le", "status", "retryDelay", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from([200, 400, 401, 403, 404, 422, 429, 500, 529]))
def test_no_error_is_too_odd_to_be_read(value: Any, status: int) -> None:
    error = told(status, value)
    learn(UNKNOWN, {**BODY, "temperature": 1.0, "logprobs": True, "top_logprobs": 20}, error)
    assert isinstance(error.message, str)
