"""Errors in languages, shapes and words that no report was about, and sentences that only look like them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.endpoints.apis import UNKNOWN
from harness.endpoints.failures import from_status
from harness.endpoints.quirks import Quirks, adapted, learn
from harness.endpoints.server_errors import read_error
from harness.errors import CallError
from tests.support import payloads
from tests.support.fault_server import FaultServer, Reply, ok

BODY = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    "logprobs": True,
    "top_logprobs": 20,
    "max_tokens": 64,
    "temperature": 0.7,
    "seed": 3,
}


def told(status: int, value: Any) -> CallError:
    said = read_error(value)
    return from_status(status, said, f"HTTP {status}: {said.message}")


SHAPES: dict[str, Callable[[str], Any]] = {
    "object": lambda m: {"error": {"message": m}},
    "list of one": lambda m: [{"error": {"message": m}}],
    "error is text": lambda m: {"error": m},
    "error is a list": lambda m: {"error": [{"message": m}]},
    "errors are texts": lambda m: {"errors": [m]},
    "message is a list": lambda m: {"message": [m], "statusCode": 400},
    "detail is text": lambda m: {"detail": m},
    "detail is a list": lambda m: {"detail": [{"loc": ["body"], "msg": m, "type": "value_error"}]},
    "plain": lambda m: m,
    "JSON in a text": lambda m: json.dumps({"error": {"message": m}}),
}
LIMITS = {
    "top_logprobs must be at most 5": 5,
    "top_logprobs must be <= 12 and >= 0": 12,
    "top_logprobs should be between 0 and 5 inclusive": 5,
    "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 5, but got 20 instead.": 5,
    "top_logprobs must be in the range 0..5": 5,
    "top_logprobs=20 not allowed (0..10)": 10,
    "maximum value for top_logprobs is 4": 4,
    "too many top_logprobs: 20 > 5": 5,
    "top_logprobs must be one of 0, 1, 2, 3, 4, 5": 5,
    "number of top_logprobs requested (20) is more than allowed (5)": 5,
    "Number of top_logprobs must not be more than 5 for model gpt-4-0613": 5,
    "top_logprobs 取值范围为[0,5]": 5,
    "top_logprobs 参数超出范围，最大支持5": 5,
    "top_logprobsは5以下である必要があります": 5,
    "top_logprobsは0から5の間でなければなりません": 5,
    "top_logprobs는 5 이하여야 합니다": 5,
    "top_logprobs doit être inférieur ou égal à 5": 5,
    "top_logprobs debe ser menor o igual a 5": 5,
    "top_logprobs darf maximal 5 betragen": 5,
    "top_logprobs не должно превышать 5": 5,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("message", LIMITS)
def test_the_number_allowed(message: str, shape: str) -> None:
    found = learn(UNKNOWN, BODY, told(400, SHAPES[shape](message)))
    assert found is not None
    assert adapted(BODY, found)["top_logprobs"] == LIMITS[message]


REFUSED = [
    "temperature パラメータはサポートされていません",
    "「temperature」は使用できません",
    "temperature は無効です",
    "参数temperature无效",
    "请勿传入 temperature 参数",
    "temperature: 该模型固定为1",
    "temperature는 이 모델에서 사용할 수 없습니다",
    "temperature ist bei diesem Modell nicht verfügbar",
    "le paramètre `temperature` est interdit",
    "temperature no es un parámetro válido",
    "Параметр temperature не поддерживается",
    "property temperature should not exist",
    "additional properties are not allowed ('temperature' was unexpected)",
    'json: unknown field "temperature"',
    "temperature: Forbidden field",
    "This model only supports temperature=1",
    "Setting temperature is disabled for this deployment",
    "We do not accept `temperature` here",
    "schema violation at /temperature",
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("message", REFUSED)
def test_a_refused_parameter(message: str, shape: str) -> None:
    found = learn(UNKNOWN, BODY, told(400, SHAPES[shape](message)))
    assert found is not None
    assert BODY.keys() - adapted(BODY, found).keys() == {"temperature"}


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "x", "param": ["temperature"]}},
        {"error": {"message": "x", "param": "body.temperature"}},
        {"error": {"message": "x", "param": "/temperature"}},
        {"error": {"message": "x", "parameter_name": "temperature"}},
        {"errors": [{"path": "temperature", "msg": "x"}]},
        {"errors": {"temperature": ["is not allowed"]}},
        {"errors": {"temperature": "x"}},
        {"error": {"issues": [{"path": ["temperature"], "code": "unrecognized_keys", "message": "Invalid"}]}},
        {"error": {"message": "Invalid", "details": [{"fieldViolations": [{"field": "temperature"}]}]}},
        {"detail": [{"loc": ["body", "ChatCompletionRequest", "temperature"], "msg": "x", "type": "extra_forbidden"}]},
        {"invalid_params": [{"param": "temperature", "reason": "x"}]},
        {"violations": [{"propertyPath": "temperature", "message": "x"}]},
        {"validation_errors": [{"field": "temperature"}]},
    ],
)
def test_a_parameter_in_a_field(value: Any) -> None:
    found = learn(UNKNOWN, BODY, told(422, value))
    assert found is not None
    assert "temperature" not in adapted(BODY, found)


@pytest.mark.parametrize(
    "message",
    [
        "システムロールはサポートされていません",
        "system ロールのメッセージは送信できません",
        "不允许 system 消息",
        "messages[0].role 只能是 user 或 assistant",
        "system 역할은 지원하지 않습니다",
        "роль system не поддерживается",
        "Messages mit der Rolle system sind nicht erlaubt",
        "Le rôle 'system' n'est pas accepté",
        "messages[0].role must be one of user, assistant",
        "messages.0.role: Input should be 'user' or 'assistant'",
        "Only user and assistant roles are supported!",
        "a conversation must start with a user message",
        "first message must have role user",
    ],
)
def test_no_role_of_the_system(message: str) -> None:
    found = learn(UNKNOWN, BODY, told(400, {"error": {"message": message}}))
    assert found is not None
    assert [m["role"] for m in adapted(BODY, found)["messages"]] == ["user"]


KINDS = {
    "auth": [
        (400, "APIキーが正しくありません"),
        (400, "API 키가 유효하지 않습니다"),
        (400, "您的API密钥已失效"),
        (400, "Ungültiger API-Schlüssel"),
        (400, "clé d'API invalide"),
        (400, "Clave de API no válida"),
        (500, "令牌验证失败"),
        (400, "unauthorized"),
        (400, "API key disabled"),
    ],
    "quota": [
        (429, "クレジット残高が不足しています"),
        (429, "잔액이 부족합니다"),
        (403, "账号余额为0"),
        (429, "资源包已用尽"),
        (429, "Guthaben aufgebraucht"),
        (429, "Solde insuffisant"),
        (429, "Saldo insuficiente"),
        (429, "недостаточно средств"),
        (429, "Free quota exhausted"),
        (403, "You have exceeded your monthly included credits. Subscribe to PRO"),
        (400, "Budget has been exceeded! Max budget: 10"),
        (429, "Your trial has ended."),
        (403, "Key limit exceeded (total limit)"),
    ],
    "rate_limit": [
        (400, "リクエストが多すぎます"),
        (503, "レート制限を超えました"),
        (400, "요청이 너무 많습니다"),
        (403, "调用过快"),
        (400, "RPM 已达上限"),
        (403, "Zu viele Anfragen"),
        (400, "Trop de requêtes"),
        (400, "Demasiadas solicitudes"),
        (400, "QPS limit exceeded"),
        (500, "throttled"),
    ],
    "filtered": [
        (400, "コンテンツポリシー違反です"),
        (400, "输入内容不合规"),
        (400, "유해한 콘텐츠가 감지되었습니다"),
        (400, "Der Inhalt verstößt gegen unsere Richtlinien"),
        (400, "Input blocked by safety system"),
        (400, "Prompt violates terms of use"),
    ],
    "not_found": [
        (400, "モデル gpt-9 は存在しません"),
        (400, "找不到模型 x"),
        (400, "모델을 찾을 수 없습니다"),
        (400, "Modell x wurde nicht gefunden"),
        (400, "Le modèle x n'existe pas"),
        (400, "gpt-9 is not a valid model ID"),
        (400, "Model x is not supported"),
    ],
}


@pytest.mark.parametrize(("kind", "status", "message"), [(k, s, m) for k, found in KINDS.items() for s, m in found])
def test_what_went_wrong(kind: str, status: int, message: str) -> None:
    assert {told(status, SHAPES[shape](message)).kind for shape in ("object", "error is text", "plain")} == {kind}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"detail": [{"loc": ["header", "authorization"], "msg": "field required"}]}, "auth"),
        ({"code": 401, "message": "x"}, "auth"),
        ({"error": {"code": 429, "message": "x"}}, "rate_limit"),
        ({"__type": "com.amazon#AccessDeniedException", "Message": "No."}, "auth"),
        ("<html><body><h1>400 Bad Request</h1></body></html>", "http"),
    ],
)
def test_what_stands_in_no_sentence(value: Any, kind: str) -> None:
    assert told(400, value).kind == kind


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("30秒後に再試行してください", 30),
        ("あと30秒お待ちください", 30),
        ("30초 후에 다시 시도하세요", 30),
        ("请 2 分钟后重试", 120),
        ("1分30秒后重试", 90),
        ("请等待30秒", 30),
        ("Bitte versuchen Sie es in 30 Sekunden erneut", 30),
        ("Réessayez dans 30 secondes", 30),
        ("vuelva a intentarlo en 30 segundos", 30),
        ("tente novamente em 30 segundos", 30),
        ("Повторите запрос через 30 секунд", 30),
        ("Try again in about 30 seconds", 30),
        ("Retry-After: 7", 7),
        ("Please try again in 6m0s.", 360),
        ("retry after 500ms", 0.5),
        ("Limit: 60 requests per 60 seconds", None),
        ("20 requests in 24 hours allowed", None),
        ("Limit resets at noon", None),
        ("Used 90000, requested 2000, limit 90000 tokens per 1 minute", None),
    ],
)
def test_how_long_to_wait(message: str, seconds: float | None) -> None:
    assert told(429, {"error": {"message": message}}).wait == seconds


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "A system error occurred",
        "the conversation system is down",
        "The user message is empty",
        "Invalid JSON",
        "max_tokens must be at least 80",
        "max_tokens は 80 以上にしてください",
        "`max_tokens` muss mindestens 80 sein",
        "請求格式錯誤",
        f"Bad Request: {json.dumps(BODY)}",
    ],
)
def test_nothing_is_left_out_for_what_is_no_refusal_of_it(message: str) -> None:
    assert learn(UNKNOWN, BODY, told(400, {"error": {"message": message}})) is None


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (429, "Rate limit reached. Upgrade your plan to increase your limits.", "quota"),
        (429, "Token quota per minute exceeded, used 10000 of 10000", "quota"),
        (429, "Too many requests for your trial plan: 10 per minute", "quota"),
        (400, "Invalid token at position 5", "auth"),
        (500, "Invalid token in JSON at line 1", "auth"),
        (500, "Model is not available right now, overloaded", "not_found"),
        (400, "Unknown model parameter: temperature", "not_found"),
        (400, "Using temperature with this model is not supported", "not_found"),
        (400, "usage policy id missing", "filtered"),
    ],
)
def test_what_only_sounds_like_it(status: int, message: str, kind: str) -> None:
    assert told(status, {"error": {"message": message}}).kind != kind


def lessons(run_on: Any, step: Callable[[Any], Reply], **endpoint: Any) -> dict[str, Any]:
    """What a suspect is sent in the end, over a real socket, by a server that refuses some of it."""
    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=4, samples=1, endpoint=endpoint)
        run.go()
        assert len(run.answers("good")) == 4
        (last,) = [json.loads(b) for (m, b), n in server.delivered.items() if m == "good"][-1:]
    return dict(last)


def test_a_strict_bound_in_japanese_over_a_socket(run_on: Any) -> None:
    def step(request: Any) -> Reply:
        n = json.loads(request.body).get("seed", 0)
        refusal = {"message": ["seedは5未満の値にしてください"], "error": "Bad Request", "statusCode": 400}
        return Reply(400, payloads.encode(refusal)) if n > 5 else ok(request)

    assert "seed" not in lessons(run_on, step, params={"seed": 99, "top_p": 0.5})


def test_who_says_the_same_whatever_is_left_out_was_not_about_it(run_on: Any) -> None:
    """A page of help that names parameters: after all of them were tried, every other call has them again."""
    page = {"error": {"message": "Bad question. Settings: `top_p` is a share, `seed` a number. Rephrase it."}}

    def step(request: Any) -> Reply:
        return Reply(400, payloads.encode(page)) if b"number 1?" in request.body else ok(request)

    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=4, samples=1, endpoint={"params": {"seed": 9, "top_p": 0.5}})
        run.go()
        assert len(run.answers("good")) == 3
        kept = [json.loads(body) for (model, body) in server.delivered if model == "good"]
        assert all({"seed", "top_p"} <= body.keys() for body in kept)


def test_what_is_learned_names_only_what_was_sent() -> None:
    found = learn(
        UNKNOWN, {"model": "m", "messages": []}, told(400, {"error": {"message": "`temperature` is forbidden"}})
    )
    assert found is None
    assert Quirks() == UNKNOWN


@pytest.mark.parametrize(
    "piece", ["1", " ", "1s ", "retry in ", "role ", "model: a", "max ", "[1, ", "`", "残高", "モデル"]
)
def test_an_error_without_end_is_read_in_time(piece: str) -> None:
    message = f"retry 30 s{piece * (60_000 // len(piece))}"
    began = time.process_time()
    learn(UNKNOWN, BODY, told(400, {"error": {"message": message}}))
    assert (
        time.process_time() - began < 5
    )  # 0.5 s at most when this was written; what grows by the square takes minutes
