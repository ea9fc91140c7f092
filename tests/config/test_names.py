"""Maker and lineage of a model, guessed from its name: right for what is well known, `?` for the rest, seldom wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.names import held, read
from harness.config.providers import guessed, maker_named, makers_of, providers, roots_of, well_known

TABLES = ("alpaca_eval_dev", "eqbench_v2", "ratings_2025", "speechmap", "wildbench")


@pytest.mark.parametrize(
    ("name", "maker", "lineage"),
    [
        ("deepseek-ai/DeepSeek-R1-0528", "DeepSeek", "deepseek-v3"),
        ("gpt-4.1-2025-04-14", "OpenAI", "gpt-4.1"),
        ("perplexity_r1-1776", "Perplexity", "deepseek-v3"),
        ("microsoft_mai-ds-r1", "Microsoft", "deepseek-v3"),
        ("tngtech_deepseek-r1t-chimera", "TNG", "deepseek-v3"),
        ("anthropic_claude-3-5-haiku-20241022", "Anthropic", "claude-3.5"),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", "Anthropic", "claude-3.7"),
        ("deepseek-r1-distill-qwen-32b", "DeepSeek", "qwen2.5"),
        ("unsloth/DeepSeek-R1-0528-Qwen3-8B-GGUF", "DeepSeek", "qwen3"),
        ("bartowski/Llama-3.2-1B-Instruct-GGUF/Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Meta", "llama-3.2"),
        ("meta-llama/Llama-3.3-70B-Instruct", "Meta", "llama-3.1"),
        ("nvidia/Llama-3.1-Nemotron-70B-Instruct-HF", "NVIDIA", "llama-3.1"),
        ("NousResearch__Nous-Hermes-2-Yi-34B-GGUF", "Nous", "yi"),
        # somebody's tune of a well-known base: the base is known, who made it is not
        ("princeton-nlp/Llama-3-Instruct-8B-SimPO", None, "llama-3"),
        ("Llama-3-8B-WizardLM-196K", None, "llama-3"),
        ("lxuechen__phi-2-dpo", None, "phi-2"),
        # the owner is known, the name tells no root
        ("AIDC-AI/Marco-o1", "Alibaba", None),
        ("bytedance-seed_something-new", None, None),
        ("optimus-alpha", None, None),
        ("openrouter_quasar-alpha", None, None),
        ("Mixtral_34Bx2_MoE_60B", None, None),
        ("qwen-max", "Alibaba", None),
        ("nova", None, None),
        ("", None, None),
    ],
)
def test_what_a_name_tells(name: str, maker: str | None, lineage: str | None) -> None:
    assert (guessed(name).maker, guessed(name).lineage) == (maker, lineage)


def test_a_lineage_is_the_name_of_itself_and_of_its_maker() -> None:
    """So that `lineage: llama-3` beside a tune tells that Meta made its root."""
    roots = {k.lineage for k in well_known() if k.lineage not in (None, "?")}
    assert len(roots) > 80
    assert [r for r in roots if guessed(r).lineage != r] == []
    assert makers_of("Acme", "llama-3", guessed("acme-chat")) == ("Acme", "Meta")
    assert makers_of("?", "acme-root", guessed("perplexity/r1-1776")) == ("Perplexity", "DeepSeek")
    assert makers_of(None, None, guessed("gpt-4o")) == ("OpenAI", None)


def test_one_maker_has_one_name() -> None:
    assert {maker_named(n) for n in ("Qwen", "alibaba", "Alibaba Cloud", "ALIBABA-NLP")} == {"Alibaba"}
    assert maker_named("Aurora Labs") == "Aurora Labs"
    assert [k.maker for k in well_known() if k.maker and maker_named(k.maker) != k.maker] == []


def test_roots_are_what_is_said_and_what_the_names_tell() -> None:
    assert roots_of("deepseek-r1", guessed("deepseek-r1")) == {"deepseekr1", "deepseekv3"}
    assert roots_of("Qwen-2.5", guessed("ours")) == {"qwen2.5"}
    assert roots_of("?", guessed("ours")) == roots_of(None, guessed("")) == frozenset()
    assert roots_of("ours", guessed("deepseek-r1"), said_only=True) == {"ours"}


@pytest.mark.parametrize("table", TABLES)
def test_recorded_models_are_guessed_right_or_not_at_all(table: str, recorded_data: Path) -> None:
    found = held(read(recorded_data / f"{table}_lineage.csv"))
    assert found.models >= 15
    assert found.share("lineage", "wrong") == 0.0, found.wrong
    assert found.share("maker", "wrong") <= 0.03, found.wrong
    assert found.share("lineage", "right") >= 0.75
    assert found.share("maker", "right") >= 0.55


def test_of_a_wrong_guess_it_is_said_what_is_true() -> None:
    row = {"model": "gpt-4o", "organisation": "Acme", "series": "gpt-4o", "relation": "sft", "base_model": "x"}
    found = held([row, row | {"model": "mystery"}])
    assert found.wrong == (("gpt-4o", "maker", "OpenAI", "Acme"),)
    assert (found.share("lineage", "right"), found.share("lineage", "unknown")) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "host", "own"),
    [
        ("bedrock", "bedrock-runtime.eu-west-1.amazonaws.com", True),
        ("bedrock", "evil.execute-api.eu-west-1.amazonaws.com", False),
        ("bedrock", "bedrock-runtime.a.b.amazonaws.com", False),
        ("volcengine", "ark.cn-beijing.volces.com", True),
        ("volcengine", "tos.cn-beijing.volces.com", False),
        ("azure", "mine.openai.azure.com", True),
        ("openai", "api.openai.com.evil.example", False),
        ("zhipu", "open.bigmodel.cn", True),
    ],
)
def test_a_providers_hosts_are_its_own_and_not_what_others_may_rent_beside_it(name: str, host: str, own: bool) -> None:
    assert providers()[name].serves(host) == own
