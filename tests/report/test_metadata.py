"""Answers that contradict what was asked: names, hosts, token counts and claims."""

from __future__ import annotations

from harness.config.endpoint import OpenAIChat
from harness.records import Prompt, Response, Responses
from harness.report.metadata import Stated, contradictions, same_name

DIRECT = Prompt("identity-001", "identity", "Who made you?", group="direct", channels=("identity",))


def endpoint(model: str, **more: str) -> OpenAIChat:
    return OpenAIChat.model_validate({"name": "s", "role": "suspect", "kind": "openai-chat", "model": model} | more)


def said(text: str) -> Responses:
    return Responses.of(["s"], [DIRECT], [Response("s", DIRECT.id, 0, "h", "ok", text)])


def test_a_snapshot_is_the_model_and_a_sibling_is_not() -> None:
    assert same_name("openai/gpt-4o", "gpt-4o-2024-08-06")
    assert same_name("o1", "o1-2024-12-17")
    assert same_name("meta-llama/llama-3.1-8b-instruct", "Llama-3.1-8B-Instruct")
    assert not same_name("gpt-4o", "gpt-4o-mini")
    assert not same_name("gpt-4", "gpt-4.1")
    assert not same_name("claude-3-opus", "gpt-4o")


def test_another_model_host_and_maker_are_told() -> None:
    e = endpoint("openai/gpt-4o", provider="openrouter", upstream="azure")
    stated = Stated({"gpt-4o-2024-08-06": 30, "qwen2.5-72b-instruct": 10}, {"Azure": 30, "Nebius": 10})
    found = contradictions([e], {"s": stated}, said("I was made by Anthropic."))
    assert [(o.channel, o.model, o.what) for o in found] == [
        ("metadata", "s", "model"), ("metadata", "s", "provider"), ("metadata", "s", "self-report"),
    ]  # fmt: skip
    assert found[0].value.startswith("10 of 40 answers say that qwen2.5-72b-instruct")
    assert "Nebius" in found[1].value
    assert "Anthropic" in found[2].value


def test_what_agrees_and_what_nobody_knows_is_silent() -> None:
    stated = Stated({"gpt-4o-2024-08-06": 30}, {"Azure": 30})
    assert contradictions([endpoint("gpt-4o")], {"s": stated}, said("I am ChatGPT, made by OpenAI.")) == ()
    assert contradictions([endpoint("mystery-1")], {}, said("I was made by Anthropic.")) == ()
