"""Anthropic's and Gemini's own APIs over a real socket: what is sent, with which headers, and how replies are read."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.check import check_endpoints
from harness.config.yaml import load_config
from harness.endpoints import APIS, UNKNOWN, Answer, learn, request_body
from harness.endpoints.batch_apis import ANTHROPIC, OPENAI
from harness.endpoints.quotas import read_quotas, until_reset
from harness.errors import CallError, ConfigError, EndpointError
from harness.plan import prepare
from harness.records import Prompt
from harness.store.store import Store
from harness.token_logprobs import decode_logprobs
from tests.endpoints.test_providers import spy, with_prompts
from tests.support import Write, payloads
from tests.support.fault_server import FaultServer, Request, ok, says
from tests.support.running import KEY


def read(kind: str, value: Any) -> Answer:
    return APIS[kind].read(payloads.encode(value))


def test_anthropic_over_a_socket(run_on: Any) -> None:
    seen: list[Request] = []
    with FaultServer({"good": [spy(seen)], "fine": ["ok"]}) as server:
        endpoint = {"kind": "anthropic-messages", "system_prompt": "Be brief.", "params": {"top_k": 5}}
        run = run_on(server, ("good", "fine"), n=2, samples=1, endpoint=endpoint)
        with_prompts(run, top_logprobs=5, temperature=1.5).go()
        answer = run.answers("good")[0]
    assert seen[0].path == "/v1/messages"
    assert json.loads(seen[0].body) == {
        "model": "good",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Question number 0?"}],
        "max_tokens": 8,
        "temperature": 1.0,
        "top_k": 5,
    }
    assert {r.headers["anthropic-version"] for r in seen} == {"2023-06-01"}
    assert {r.headers["x-api-key"] for r in seen} == {KEY}
    assert not [r for r in seen if "authorization" in r.headers]
    assert (answer.text, answer.outcome, answer.reasoning) == ("answer 0", "ok", "Capitals.")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.logprobs) == (9, 7, None)
    assert (answer.model_answered, answer.response_id, answer.finish_reason) == ("served-model", "msg_1", "end_turn")


def test_anthropic_has_a_limit_where_the_prompt_has_none(write_campaign: Write) -> None:
    path = write_campaign("https://x.example/v1/messages", endpoint={"kind": "anthropic-messages"})
    endpoint = load_config(path).endpoints[0]
    prompt = Prompt("p", "f", "Q?", "chat")
    body = request_body(prompt, endpoint, "chat", 0, "m")  # type: ignore[arg-type]
    assert body == {"model": "m", "messages": [{"role": "user", "content": "Q?"}], "max_tokens": 4096}
    assert endpoint.base_url == "https://x.example/v1"  # type: ignore[union-attr]


REFUSED = {"stop_details": {"type": "refusal", "category": "cyber", "explanation": "Not this."}}


@pytest.mark.parametrize(
    ("reply", "outcome", "text", "refusal"),
    [
        (payloads.anthropic("half an", stop="max_tokens"), "truncated", "half an", ""),
        (payloads.anthropic("half an", stop="model_context_window_exceeded"), "truncated", "half an", ""),
        (payloads.anthropic("x", stop="stop_sequence"), "ok", "x", ""),
        (payloads.anthropic(stop="refusal", content=[], **REFUSED), "filtered", "", "Not this."),
        (payloads.anthropic("half an", stop="refusal"), "filtered", "half an", ""),
        (payloads.anthropic(content=[]), "empty", "", ""),
        (payloads.anthropic(stop="max_tokens", content=[{"type": "thinking", "thinking": "Hm"}]), "empty", "", ""),
        (payloads.anthropic(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ok", "ab", ""),
        (payloads.anthropic(content="plain"), "ok", "plain", ""),
    ],
)
def test_anthropic_outcomes(reply: Any, outcome: str, text: str, refusal: str) -> None:
    answer = read("anthropic-messages", reply)
    assert (answer.outcome, answer.text, answer.refusal) == (outcome, text, refusal)


def test_anthropic_hides_thoughts() -> None:
    content = [{"type": "redacted_thinking", "data": "EmwK"}, {"type": "text", "text": "4"}]
    answer = read("anthropic-messages", payloads.anthropic(content=content))
    assert (answer.text, answer.reasoning, answer.reasoning_field) == ("4", "", "redacted_thinking")


def said(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("reply", "kind", "fatal"),
    [
        (says(said("authentication_error", "invalid x-api-key"), 401), "auth", True),
        (says(said("invalid_request_error", "Your credit balance is too low."), 400), "quota", True),
        (says(said("not_found_error", "model: claude-x"), 404), "not_found", True),
        (says(said("overloaded_error", "Overloaded"), 529), "http", False),
        (says(said("rate_limit_error", "This request would exceed the rate limit"), 429), "rate_limit", False),
        (says(said("rate_limit_error", "slow down")), "rate_limit", False),
        (says({"type": "message"}), "malformed", False),
    ],
)
def test_anthropic_errors(run_on: Any, reply: Any, kind: str, fatal: bool) -> None:
    with FaultServer({"good": [reply], "fine": ["ok"]}) as server:
        endpoint = {"kind": "anthropic-messages"}
        run = run_on(server, ("fine", "good"), n=1, samples=1, endpoint=endpoint, collect={"attempts": 1})
        try:
            run.go()
        except EndpointError:
            pass
        else:
            assert not fatal
        assert run.failures() == [("good", kind, 1)]


def test_anthropic_rate_headers() -> None:
    now = datetime(2026, 1, 15, 14, 23, tzinfo=UTC)
    reset = (now + timedelta(seconds=15)).strftime("%Y-%m-%dT%H:%M:%SZ")
    names = ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset")
    assert until_reset(read_quotas(dict(zip(names, ("0", reset), strict=True)), now.timestamp())) == 15
    assert until_reset(read_quotas(dict(zip(names, ("17", reset), strict=True)), now.timestamp())) == 0
    assert until_reset(read_quotas(dict(zip(names, ("0", "2026-99-99T00:00:00Z"), strict=True)), now.timestamp())) == 0


def test_gemini_over_a_socket(run_on: Any) -> None:
    seen: list[Request] = []
    with FaultServer({"good": [spy(seen)], "fine": ["ok"]}) as server:
        params = {"seed": 1, "top_p": 0.9, "thinkingConfig": {"includeThoughts": True}, "safetySettings": []}
        endpoint = {"kind": "gemini", "system_prompt": "Be brief.", "params": params}
        run = run_on(server, ("good", "fine"), n=2, samples=2, endpoint=endpoint)
        with_prompts(run, top_logprobs=5, temperature=0.5).go()
        answer = run.answers("good")[0]
        with Store(run.store, readonly=True) as store:
            stored = store.request(answer.request_hash)
    assert seen[0].path == "/v1/models/good:generateContent"
    body = json.loads(seen[0].body)
    seeds = {json.loads(r.body)["generationConfig"].pop("seed") for r in seen}
    assert len(seeds) == 4, "a seed in `params` is a root: each call sends one of its own"
    del body["generationConfig"]["seed"]
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Question number 0?"}]}],
        "safetySettings": [],
        "generationConfig": {
            "maxOutputTokens": 8,
            "temperature": 0.5,
            "topP": 0.9,
            "responseLogprobs": True,
            "logprobs": 5,
            "thinkingConfig": {"includeThoughts": True},
        },
    }
    assert {r.headers["x-goog-api-key"] for r in seen} == {KEY}
    assert not [r for r in seen if "authorization" in r.headers]
    assert (answer.outcome, answer.reasoning) == ("ok", "Capitals.")
    assert answer.text.startswith("answer ")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.reasoning_tokens) == (9, 7, 4)
    assert (answer.model_answered, answer.response_id) == ("served-model", "r_1")
    logprobs = decode_logprobs(answer.logprobs)
    assert logprobs is not None
    assert [len(t) for t in logprobs.top] == [3, 3]
    assert logprobs.values.tolist() == [-0.5, -0.5]
    assert stored is not None
    assert stored[1] in {r.body for r in seen}


BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}
THOUGHT = {"promptTokenCount": 9, "thoughtsTokenCount": 8, "totalTokenCount": 17}


@pytest.mark.parametrize(
    ("reply", "outcome", "completion"),
    [
        (payloads.gemini("half an", finish="MAX_TOKENS"), "truncated", 7),
        (payloads.gemini(None, finish="MAX_TOKENS", usageMetadata=THOUGHT), "empty", 8),
        (payloads.gemini(None, finish="SAFETY"), "filtered", 7),
        (payloads.gemini("half an", finish="RECITATION"), "filtered", 7),
        (payloads.gemini(None, finish="PROHIBITED_CONTENT"), "filtered", 7),
        (BLOCKED, "filtered", None),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "filtered", None),
        ({"usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}}, "empty", 0),
        (payloads.gemini(candidates=[{"finishReason": "OTHER", "index": 0}]), "empty", 7),
        (payloads.gemini("x", usageMetadata={"promptTokenCount": 9, "totalTokenCount": 12}), "ok", 3),
        (payloads.gemini("x", usageMetadata="none"), "ok", None),
    ],
)
def test_gemini_outcomes(reply: Any, outcome: str, completion: int | None) -> None:
    answer = read("gemini", reply)
    assert (answer.outcome, answer.completion_tokens) == (outcome, completion)


def test_a_blocked_prompt_says_why() -> None:
    assert read("gemini", BLOCKED).refusal == "blockReason: PROHIBITED_CONTENT"


@pytest.mark.parametrize("value", [{}, {"candidates": []}, {"candidates": "none"}, {"candidates": [5]}])
def test_gemini_without_an_answer_is_asked_again(value: Any) -> None:
    with pytest.raises(CallError) as caught:
        read("gemini", value)
    assert caught.value.retry


@pytest.mark.parametrize(
    "found",
    [
        {"chosenCandidates": [{"token": "a", "logProbability": -1}, {}], "topCandidates": [{"candidates": None}]},
        {"chosenCandidates": [{"token": "a", "logProbability": -1}, 5], "topCandidates": "x"},
    ],
)
def test_odd_gemini_logprobs_lose_no_answer(found: Any) -> None:
    reply = payloads.gemini("x")
    reply["candidates"][0]["logprobsResult"] = found
    logprobs = decode_logprobs(read("gemini", reply).logprobs)
    assert logprobs is not None
    assert logprobs.values[0] == -1
    assert logprobs.tokens[0] == b"a"


def google(message: str) -> Any:
    return says({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}, 400)


LESSONS = [
    ("Logprobs is not enabled for models/gemini-2.5-flash", "responseLogprobs", {"temperature", "topP"}),
    ("Unable to submit request because temperature may only be 1.", "temperature", {"responseLogprobs", "topP"}),
    ("* GenerateContentRequest.generation_config.top_p: not supported", "topP", {"responseLogprobs", "temperature"}),
]


@pytest.mark.parametrize(("message", "refused", "kept"), LESSONS)
def test_what_gemini_refuses_is_learned_once(run_on: Any, message: str, refused: str, kept: set[str]) -> None:
    def step(request: Request) -> Any:
        return google(message)(request) if refused in json.loads(request.body)["generationConfig"] else ok(request)

    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=3, samples=1, endpoint={"kind": "gemini", "params": {"top_p": 0.9}})
        with_prompts(run, top_logprobs=5, temperature=0.5).go()
        assert server.asked["good"] == 3 + 1
        with Store(run.store, readonly=True) as store:
            bodies = [json.loads(store.request(r.request_hash)[1]) for r in run.answers("good")]  # type: ignore[index]
    assert len(bodies) == 3
    for body in bodies:
        assert kept <= body["generationConfig"].keys()
        assert not {refused, "seed"} & body["generationConfig"].keys()


@pytest.mark.parametrize("kind", ["gemini", "anthropic-messages"])
def test_a_model_without_a_system_role_gets_it_in_the_question(run_on: Any, kind: str) -> None:
    def step(request: Request) -> Any:
        body = json.loads(request.body)
        refuse = "systemInstruction" in body or "system" in body
        return google("Developer instruction is not enabled for models/x")(request) if refuse else ok(request)

    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        endpoint = {"kind": kind, "system_prompt": "Be brief."}
        run = run_on(server, ("good", "fine"), n=2, samples=1, endpoint=endpoint)
        run.go()
        texts = [json.loads(body) for model, body in server.delivered if model == "good"]
    assert all("Be brief.\\n\\nQuestion number" in json.dumps(body) for body in texts)
    assert len(texts) == 2


def test_of_temperature_and_top_p_the_second_goes() -> None:
    error = CallError("`temperature` and `top_p` cannot both be specified for this model.", kind="http", status=400)
    body = {"model": "m", "messages": [], "temperature": 1.0, "top_p": 0.9}
    found = learn(UNKNOWN, body, error)
    assert found is not None
    assert found.refuses == {"top_p"}


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ({"kind": "gemini", "provider": "gemini"}, "https://generativelanguage.googleapis.com/v1beta"),
        ({"kind": "gemini"}, "https://generativelanguage.googleapis.com/v1beta"),
        ({"kind": "anthropic-messages"}, "https://api.anthropic.com/v1"),
        ({"kind": "anthropic-messages", "provider": "anthropic"}, "https://api.anthropic.com/v1"),
        ({"kind": "anthropic-messages", "provider": "deepseek"}, "https://api.deepseek.com/anthropic/v1"),
        ({"kind": "openai-responses"}, "https://api.openai.com/v1"),
    ],
)
def test_a_kind_has_an_address_of_its_own(write_campaign: Write, endpoint: dict[str, str], address: str) -> None:
    path = write_campaign("x", endpoint=endpoint)
    config = yaml.safe_load(path.read_text())
    for e in config["endpoints"]:
        del e["base_url"]
    path.write_text(yaml.safe_dump(config))
    assert load_config(path).endpoints[0].base_url == address  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["system", "contents", "systemInstruction", "system_instruction"])
def test_params_do_not_write_the_question(write_campaign: Write, name: str) -> None:
    path = write_campaign("https://x.example/v1", endpoint={"kind": "gemini", "params": {name: "x"}})
    with pytest.raises(ConfigError, match="may not hold"):
        load_config(path)


def test_vertex_takes_its_key_as_a_bearer(run_on: Any) -> None:
    seen: list[Request] = []
    with FaultServer({"good": [spy(seen)], "fine": ["ok"]}) as server:
        endpoint = {"kind": "gemini", "provider": "vertex"}
        run_on(server, ("good", "fine"), n=1, samples=1, endpoint=endpoint).go()
    assert [r.key for r in seen] == [KEY]
    assert "x-goog-api-key" not in seen[0].headers


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_WORDS = [
    "text",
    "parts",
    "type",
    "thinking",
    "candidates",
    "token",
    "logProbability",
    "id",
    "body",
    "message",
    "error",
]
_ANY = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=10,
)
_LINE = {"custom_id": "x", "response": {"status_code": 400, "body": {}}, "result": {"type": "errored"}, "error": None}
_STATE = {"id": "b", "status": "failed", "errors": {}, "output_file_id": "f", "processing_status": "ended"}
PLACES: list[tuple[Any, dict[str, Any], tuple[str, ...]]] = [
    (APIS["anthropic-messages"].read, payloads.anthropic(), (*payloads.anthropic(), "error", "stop_details")),
    (APIS["gemini"].read, payloads.gemini(), (*payloads.gemini(), "promptFeedback", "error")),
    (APIS["gemini"].read, payloads.gemini()["candidates"][0], ("content", "finishReason", "index", "logprobsResult")),
    (OPENAI.line, _LINE, tuple(_LINE)),
    (OPENAI.state, _STATE, tuple(_STATE)),
    (ANTHROPIC.line, _LINE, tuple(_LINE)),
    (ANTHROPIC.state, _STATE, tuple(_STATE)),
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PLACES), st.data())
def test_no_json_in_the_place_of_a_field_raises_anything_else(
    where: tuple[Any, dict[str, Any], tuple[str, ...]], data: st.DataObject
) -> None:
    reading, reply, places = where
    value = {**reply, data.draw(st.sampled_from(places)): data.draw(_ANY)}
    if "finishReason" in value:
        value = {"candidates": [value]}
    with contextlib.suppress(CallError):
        reading(json.dumps(value).encode())


@pytest.mark.parametrize(("kind", "logprobs"), [("gemini", "3"), ("anthropic-messages", "none")])
def test_check_shows_what_an_api_can_do(write_campaign: Write, kind: str, logprobs: str) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        plan = prepare(write_campaign(server.url, endpoint={"kind": kind}), {})
        good, _ = check_endpoints(plan, {}, offline=False)
    assert (good["state"][:2], good["model"]) == ("up", "served-model")
    assert (good["logprobs"], good["usage"], good["system"], good["reasoning"]) == (logprobs, "yes", "yes", "parts")


@pytest.mark.parametrize(
    ("kind", "reply"),
    [
        ("gemini", payloads.gemini()),
        ("anthropic-messages", payloads.anthropic()),
        ("openai-responses", payloads.response()),
    ],
)
def test_the_only_reply_of_a_list_is_read(kind: str, reply: Any) -> None:
    assert APIS[kind].read(payloads.encode([reply])).text == "Paris."
    for busy in (
        [{"error": {"code": 429, "message": "slow"}}],
        [{"error": {"message": "slow", "type": "rate_limit_error"}}],
    ):
        with pytest.raises(CallError) as caught:
            APIS[kind].read(payloads.encode(busy))
        assert (caught.value.kind, caught.value.retry) == ("rate_limit", True)


def test_a_response_without_output_that_was_paid_is_an_empty_answer() -> None:
    answer = APIS["openai-responses"].read(payloads.encode(payloads.response(output=None)))
    assert (answer.outcome, answer.completion_tokens) == ("empty", 7)
