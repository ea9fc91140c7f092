"""Bytes of a reply -> an answer, or `CallError`; nothing else ever comes out."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.endpoints.parts import Parts, read_cell
from harness.endpoints.replies import Answer, parse, unknown_finish
from harness.endpoints.responses_api import read as read_responses
from harness.errors import CallError
from harness.token_logprobs import decode_logprobs
from tests.support import payloads


def read(value: Any) -> Answer:
    return parse(payloads.encode(value))


def refused(value: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        parse(value if isinstance(value, bytes) else payloads.encode(value))
    return caught.value


def test_chat_with_all_its_provenance() -> None:
    answer = read({**payloads.chat("Paris."), "provider": "upstream"})
    assert (answer.outcome, answer.text, answer.finish_reason) == ("ok", "Paris.", "stop")
    assert (answer.model, answer.system_fingerprint, answer.provider) == ("served-model", "fp_1", "upstream")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.reasoning_tokens) == (9, 3, None)
    assert answer.logprobs is None


def test_completion() -> None:
    answer = read(payloads.completion(" Paris.", finish="length"))
    assert (answer.outcome, answer.text, answer.system_fingerprint) == ("truncated", " Paris.", "")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (payloads.chat(None), "empty"),
        (payloads.chat("  \n"), "empty"),
        (payloads.chat("", finish="length", reasoning_content="hm"), "empty"),
        (payloads.chat(None, refusal="I can't."), "refused"),
        (payloads.chat("", finish="content_filter"), "filtered"),
        (payloads.chat("half an", finish="content_filter"), "filtered"),
        (payloads.chat("half an", finish="SAFETY"), "filtered"),
        (payloads.chat("half an", finish="length"), "truncated"),
        (payloads.chat("done", finish=None), "ok"),
        (payloads.chat("done", finish="eos"), "ok"),
    ],
)
def test_outcomes_are_not_errors(reply: dict[str, Any], outcome: str) -> None:
    assert read(reply).outcome == outcome


USED = {"prompt_tokens": 9, "total_tokens": 70}


@pytest.mark.parametrize(
    ("choices", "outcome"),
    [
        ([{"index": 0, "finish_reason": "length"}], "empty"),
        ([{"index": 0, "finish_reason": "content_filter", "message": None}], "filtered"),
        ([{"index": 0, "finish_reason": "PROHIBITED_CONTENT"}], "filtered"),
        ([{"index": 0, "finish_reason": "sensitive", "message": {"content": "half an"}}], "filtered"),
        ([{"index": 0, "message": {"content": None, "refusal": "No."}}], "refused"),
        ([{"index": 0, "message": {"tool_calls": [{"id": "1"}]}, "finish_reason": "tool_calls"}], "empty"),
        ([{"index": 0}], "empty"),
        ([], "empty"),
    ],
)
def test_what_was_paid_is_an_answer(choices: list[Any], outcome: str) -> None:
    answer = read({"model": "m", "choices": choices, "usage": USED})
    assert (answer.outcome, answer.prompt_tokens, answer.completion_tokens) == (outcome, 9, 61)


@pytest.mark.parametrize("reply", [{"choices": []}, {"choices": [{"index": 0}]}, {"object": "list", "data": []}])
def test_what_was_not_paid_and_says_nothing_is_asked_again(reply: dict[str, Any]) -> None:
    assert (refused(reply).kind, refused(reply).retry) == ("malformed", True)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, "quota"),
        ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, "http"),
        ({"code": 429, "message": "请求过于频繁"}, "rate_limit"),
        ({"detail": "Invalid API key"}, "auth"),
    ],
)
def test_an_error_inside_a_200_by_any_name(reply: dict[str, Any], kind: str) -> None:
    assert refused(reply).kind == kind


@pytest.mark.parametrize("reason", ["network_error", "abort", "ERROR", {"type": "network_error"}])
def test_an_answer_that_broke_off_is_asked_again(reason: Any) -> None:
    assert refused(payloads.chat("half an ans", finish=reason)).retry


def test_finish_reasons_may_be_objects_and_unknown_ones_are_kept() -> None:
    cut = read(payloads.chat("half", finish={"type": "length", "length": 8}))  # type: ignore[arg-type]
    assert (cut.outcome, cut.finish_reason) == ("truncated", "length")
    odd = read(payloads.chat("whole", finish="gave_up"))
    assert (odd.outcome, odd.finish_reason, unknown_finish(odd.finish_reason)) == ("ok", "gave_up", True)
    assert not any(map(unknown_finish, ("stop", "EOS", "", "content_filter", "network_error", "max_tokens")))


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def test_what_is_streamed_unasked_is_read() -> None:
    whole = json.dumps(payloads.chat("Paris.")).encode()
    assert parse(whole + b"\n\ndata: [DONE]\n\n").text == "Paris."
    assert parse(b"data: " + whole + b"\n\ndata: [DONE]\n\n").text == "Paris."
    pieces = [
        {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "reasoning_content": "hm"}}]},
        {"model": "m", "choices": [{"index": 0, "delta": {"content": "Pa"}, "logprobs": {"content": [1]}}]},
        {"model": "m", "choices": [{"index": 1, "delta": {"content": "Rome"}}]},
        {"model": "m", "choices": [{"index": 0, "delta": {"content": "ris."}, "logprobs": {"content": [2]}}]},
        {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
        {"model": "m", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}},
    ]
    answer = parse(b": keep-alive\n\n" + b"".join(map(event, pieces)) + b"data: [DONE]\n\n")
    assert (answer.text, answer.reasoning, answer.outcome) == ("Paris.", "hm", "truncated")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.model) == (9, 3, "m")
    completion = [{"choices": [{"index": 0, "text": t}]} for t in (" Pa", "ris.")]
    assert parse(b"".join(map(event, completion))).text == " Paris."
    broken = event({"choices": [{"index": 0, "delta": {"content": "Pa"}}]}) + event(
        {"error": {"message": "overloaded"}}
    )
    assert refused(broken).retry


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_apart(field: str) -> None:
    answer = read(payloads.chat("42", **{field: "six times seven"}))
    assert (answer.text, answer.reasoning) == ("42", "six times seven")


T, A = "six times seven is", "It is 42."
THOUGHT_PARTS: list[Any] = [
    {"type": "reasoning", "text": T},
    {"type": "thinking", "thinking": T, "signature": "x"},
    {"type": "thinking", "thinking": [{"type": "text", "text": T}]},
    {"type": "reasoning_content", "reasoning_content": {"text": T}},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": T}]},
    {"type": "reasoning.text", "content": [[{"text": T}]]},
    {"thinking": T},
    {"text": T, "thought": True},
    {"type": "text", "channel": "analysis", "text": T},
    [{"type": "thought", "value": T}],
]
TEXT_PARTS: list[Any] = [
    A,
    {"type": "text", "text": A},
    {"type": "output_text", "text": A},
    {"text": A},
    {"type": "text", "text": {"value": A}},
    {"type": "some_new_part", "text": A},
    {"type": "message", "content": [{"type": "output_text", "text": A}]},
    [[{"type": "text", "text": A}]],
]


@pytest.mark.parametrize("thought", THOUGHT_PARTS)
@pytest.mark.parametrize("text", TEXT_PARTS)
def test_parts_of_thoughts_are_no_answer(thought: Any, text: Any) -> None:
    reply = payloads.chat(None)
    reply["choices"][0]["message"]["content"] = [thought, text, {"type": "tool_use", "text": "no"}]
    answer = read(reply)
    assert (answer.text, answer.reasoning, answer.reasoning_field) == (A, T, "parts")


@pytest.mark.parametrize("thought", THOUGHT_PARTS[:6])
def test_parts_in_recorded_cells(thought: Any) -> None:
    parts = [thought, {"type": "text", "text": A}]
    message = {"role": "assistant", "content": parts}
    for cell in (parts, message, {"choices": [{"message": message}]}):
        for value in (cell, json.dumps(cell), repr(cell)):
            said = read_cell(value)
            assert (said.answer, said.thoughts) == (A, T)


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", '[{"type": "fruit", "text": "plum"}]', '{"reasoning": "a", "answer": "b"}', "{'text': 'x'}", "[x", "[]"],
)
def test_json_that_a_model_answers_in_is_its_answer(text: str) -> None:
    assert read_cell(text) == Parts(text)


@pytest.mark.parametrize(
    "beside",
    [
        {"reasoning_details": [{"type": "reasoning.text", "text": T, "format": "x"}]},
        {
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": T},
                {"type": "reasoning.encrypted", "data": "A"},
            ]
        },
        {"reasoning": [{"text": T}]},
        {"reasoning": {"content": T}},
        {"thinking": T},
        {"thinking_blocks": [{"type": "thinking", "thinking": T, "signature": "x"}]},
        {"provider_specific_fields": {"reasoning_content": T}},
        {"reasoning": T, "reasoning_details": [{"type": "reasoning.text", "text": T}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": T}], "reasoning": T, "reasoning_content": ""},
    ],
)
def test_reasoning_beside_the_answer_in_every_shape(beside: dict[str, Any]) -> None:
    answer = read(payloads.chat(A, **beside))
    assert (answer.text, answer.reasoning) == (A, T)
    assert answer.reasoning_field in beside or answer.reasoning_field == "reasoning_content"


def test_what_is_no_thought_stays_out_of_the_reasoning() -> None:
    answer = read(payloads.chat(A, reasoning_effort="high", reason="stop", annotations=[], reasoning_tokens=4))
    assert (answer.text, answer.reasoning, answer.reasoning_field) == (A, "", "")


@pytest.mark.parametrize("thought", [p for p in THOUGHT_PARTS if isinstance(p, dict)])
def test_thoughts_among_the_items_of_the_responses_api(thought: Any) -> None:
    message = {"type": "message", "content": [thought, {"type": "output_text", "text": A}]}
    for output in ([message], [thought, {"type": "message", "content": [{"type": "text", "text": A}]}]):
        answer = read_responses(payloads.encode(payloads.response() | {"output": output}))
        assert (answer.text, answer.reasoning) == (A, T)


def test_content_in_parts_and_choices_out_of_order() -> None:
    parts = payloads.chat(None)
    parts["choices"][0]["message"]["content"] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read(parts).text == "ab"
    reply = payloads.chat("second")
    reply["choices"] = [{**reply["choices"][0], "index": 1}, payloads.chat("first")["choices"][0]]
    assert read(reply).text == "first"


@pytest.mark.parametrize(
    "change",
    [
        {"id": 17},
        {"system_fingerprint": {"a": 1}},
        {"provider": {"name": "x"}},
        {"usage": "none"},
        {"usage": {"prompt_tokens": "9"}},
        {"usage": {"prompt_tokens": 9.5, "completion_tokens_details": []}},
        {"usage": None},
        {"model": None},
        {"error": None},
        {"created": "yesterday", "object": 5, "choices_extra": [[]]},
    ],
)
def test_a_paid_answer_is_not_lost_for_odd_metadata(change: dict[str, Any]) -> None:
    assert read({**payloads.chat("Paris."), **change}).text == "Paris."


def test_odd_fields_in_the_choice_lose_nothing_either() -> None:
    reply = payloads.chat("Paris.", reasoning={"steps": []}, refusal=False)
    reply["choices"][0] |= {"index": None, "finish_reason": 3}
    assert read(reply).text == "Paris."


def test_not_json_says_what_came() -> None:
    error = refused(b"<html><h1>502 Bad Gateway</h1></html>")
    assert (error.kind, error.retry) == ("malformed", True)
    assert "<html>" in error.message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b'"text"',
        b"{}",
        b'{"choices": []}',
        b'{"choices": [null]}',
        b'{"choices": [5]}',
        b'{"choices": {"a": 1}}',
        b'{"choices": "none"}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {}}]',
        b'{"choices": [{"message": "hello"}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"error": ' + b"[" * 100_000,
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"choices": [{"message": {"content": "\xff\xfe"}}]}',
        b"\xff\xfe{\x00}\x00",
        payloads.encode(payloads.chat("x"))[:60],
    ],
)
def test_what_is_no_answer_is_a_call_error(content: bytes) -> None:
    assert refused(content).kind == "malformed"


@pytest.mark.parametrize(
    ("error", "retry", "fatal"),
    [
        ({"code": 429, "message": "slow"}, True, False),
        ({"code": "429", "message": "slow"}, True, False),
        ({"code": 502, "message": "gateway"}, True, False),
        ({"code": 524}, True, False),
        ("something", True, False),
        ({"code": 400, "message": "bad"}, False, False),
        ({"code": 401, "message": "no"}, False, True),
        ({"code": "insufficient_quota", "message": "pay"}, False, True),
        ({"code": "model_not_found"}, False, True),
    ],
)
def test_an_error_inside_a_200(error: Any, retry: bool, fatal: bool) -> None:
    found = refused({"error": error})
    assert (found.retry, found.fatal) == (retry, fatal)
    assert "inside a 200" in found.message


def test_an_error_inside_a_choice() -> None:
    reply = payloads.chat("", finish="error")
    reply["choices"][0]["error"] = {"code": 502, "message": "upstream"}
    assert "upstream" in refused(reply).message
    assert refused(payloads.chat("cut o", finish="insufficient_system_resource")).retry


def test_nan_infinity_and_lone_surrogates_are_read() -> None:
    reply = payloads.with_logprobs(payloads.chat("x"), payloads.chat_logprobs(1, 2))
    entry = reply["choices"][0]["logprobs"]["content"][0]
    entry["top_logprobs"] = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": float("-inf")}]
    found = decode_logprobs(read(reply).logprobs)
    assert found is not None
    assert found.top == ({b"a": -0.5},)
    nan = payloads.with_logprobs(payloads.chat("x"), {"content": [{"token": "a", "logprob": float("nan")}]})
    assert decode_logprobs(read(nan).logprobs) is None
    assert parse(payloads.encode(payloads.chat("\ud83d lonely"))).text.endswith("lonely")


def test_logprobs_survive_a_lone_surrogate_beside_them() -> None:
    reply = payloads.with_logprobs(payloads.chat("\ud83d"), payloads.chat_logprobs(2, 3))
    reply["choices"][0]["logprobs"]["content"][0]["token"] = "\ud83d"
    found = decode_logprobs(read(reply).logprobs)
    assert found is not None
    assert len(found.tokens) == 2


def test_logprobs_null_is_none() -> None:
    assert read(payloads.with_logprobs(payloads.chat("x"), None)).logprobs is None
    assert read(payloads.with_logprobs(payloads.chat("x"), {})).logprobs is None


def survives(content: bytes) -> None:
    with contextlib.suppress(CallError):
        decode_logprobs(parse(content).logprobs)


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    survives(content)


_NAMES = [
    *("choices", "message", "content", "text", "logprobs", "tokens", "token_logprobs", "top_logprobs", "index"),
    *("usage", "error", "code", "token", "logprob", "bytes", "reasoning", "finish_reason"),
]
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(_JSON)
def test_no_json_raises_anything_else(value: Any) -> None:
    survives(json.dumps(value).encode())


@settings(max_examples=300, deadline=None)
@given(_JSON, st.sampled_from(["message", "logprobs", "usage", "text", "finish_reason", "content"]))
def test_no_json_in_the_place_of_a_field_raises_anything_else(value: Any, place: str) -> None:
    reply = payloads.chat("x")
    choice = reply["choices"][0]
    target = reply if place == "usage" else choice["message"] if place == "content" else choice
    target[place] = value
    survives(json.dumps(reply).encode())


WHOLE = payloads.chat("Paris.")
CHOICE = WHOLE["choices"][0]
DELTAS = [{"model": "m", "choices": [{"index": 0, "delta": {"content": t}}]} for t in ("Pa", "ris.")]
LINES = b"\n".join(json.dumps(d).encode() for d in DELTAS)
ELSEWHERE: dict[str, Any] = {
    "in data": {"code": 0, "msg": "ok", "data": WHOLE},
    "in a result": {"success": True, "result": WHOLE},
    "in a body that is text": {"status_code": 200, "body": json.dumps(WHOLE)},
    "in an output": {"output": {"choices": [CHOICE]}, "usage": {"input_tokens": 9, "output_tokens": 3}},
    "a text in an output": {"output": {"text": "Paris.", "finish_reason": "stop"}, "usage": WHOLE["usage"]},
    "in a list": [WHOLE],
    "in a text": json.dumps(WHOLE),
    "the choice in no list": {**WHOLE, "choices": CHOICE},
    "choices by number": {**WHOLE, "choices": {"0": CHOICE}},
    "a delta for a message": {**WHOLE, "choices": [{"delta": {"content": "Paris."}, "finish_reason": "stop"}]},
    "a message that is text": {**WHOLE, "choices": [{"index": 0, "message": "Paris.", "finish_reason": "stop"}]},
    "no error, written out": {**WHOLE, "error": {"code": 0, "message": ""}},
    "no error, by its status": {**WHOLE, "error": {"code": 200, "message": "OK"}},
    "no error, in a word": {**WHOLE, "error": "none"},
    "JSON lines": LINES,
    "JSON, then twice done": payloads.encode(WHOLE) + b"\n\ndata:[DONE]\n\ndata: [DONE]\n",
    "events after a mark of bytes": b"\xef\xbb\xbf" + b"".join(map(event, DELTAS)),
    "a tab in a text": payloads.encode(payloads.chat("Pa?ris.")).replace(b"?", b"\t"),
}  # fmt: skip


@pytest.mark.parametrize("place", ELSEWHERE)
def test_an_answer_is_read_wherever_it_stands(place: str) -> None:
    value = ELSEWHERE[place]
    answer = parse(value if isinstance(value, bytes) else payloads.encode(value))
    assert (answer.text.replace("\t", ""), answer.outcome) == ("Paris.", "ok")


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "9", "completion_tokens": "3"},
        {"prompt_tokens": 9.0, "completion_tokens": 3.0},
        {"input_tokens": 9, "output_tokens": 3},
        {"promptTokens": 9, "totalTokens": 12},
    ],
)
@pytest.mark.parametrize("beside", [{}, {"choices": None}, {"choices": []}])
def test_tokens_in_any_spelling_were_paid(usage: dict[str, Any], beside: dict[str, Any]) -> None:
    answer = read({"model": "m", "usage": usage, **beside})
    assert (answer.outcome, answer.prompt_tokens, answer.completion_tokens) == ("empty", 9, 3)


def test_a_number_that_was_paid_is_text_and_what_cannot_be_read_is_not_paid_twice() -> None:
    number = payloads.chat("x")
    number["choices"][0]["message"]["content"] = 42
    assert read(number).text == "42"
    for odd in ({"generations": [{"text": "Paris."}], "usage": WHOLE["usage"]}, payloads.chat(True)):  # type: ignore[arg-type]
        assert (refused(odd).kind, refused(odd).retry) == ("malformed", False)
    del number["usage"]
    assert refused(number).retry


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"error": True, "message": "rate limit exceeded"}, "rate_limit"),
        ([{"error": {"code": 429, "message": "slow"}}], "rate_limit"),
        ({"error": ["Invalid API key"]}, "auth"),
        ({"detail": "Not authenticated"}, "auth"),
        ({"code": 429, "msg": "x", "usage": {"prompt_tokens": 9}}, "rate_limit"),
        ({"data": {"error": {"message": "余额不足"}}}, "quota"),
    ],
)
def test_an_error_inside_a_200_in_any_shape(reply: Any, kind: str) -> None:
    assert refused(payloads.encode(reply)).kind == kind


def test_a_web_page_says_what_to_look_at() -> None:
    assert "base_url" in refused(b"\n<!doctype html><html><title>Console</title></html>").hint
    assert refused(b'{"choices": "none"}').hint == ""
