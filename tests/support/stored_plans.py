"""Campaigns with a store that holds answers written for a test."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from harness.config.endpoint import Called
from harness.endpoints.apis import jobs, model_name, planned_keys
from harness.plan import STORE, Plan, prepare
from harness.records import Response
from harness.store.store import Store

LOGPROBS = '{"content":[{"token":"a","logprob":-0.1,"top_logprobs":[{"token":"a","logprob":-0.1}]}]}'


def answered(config: Path, texts: Sequence[str], name: str = STORE, **fields: object) -> Plan:
    """The plan of a config, its called endpoints answered with ``texts`` in turn."""
    plan = prepare(config, {})
    keys = list(planned_keys(plan.campaign, plan.prompts))
    with Store(plan.folder / name) as store:
        store.set_plan(plan.prompts, keys, plan.prompt_hashes)
        called = [e for e in plan.campaign.endpoints if isinstance(e, Called)]
        asked = chain.from_iterable(jobs(e, plan.prompts, model_name(e)) for e in called)
        store.add_many((answer(k, texts[i % len(texts)], **fields) for i, k in enumerate(keys)), asked)
    return plan


def answer(key: tuple[str, str, int, str], text: str, **fields: object) -> Response:
    blob = zlib.compress(LOGPROBS.encode())
    made = Response(*key, "ok" if text.strip() else "empty", text, prompt_tokens=7, seconds=0.125, logprobs=blob)
    return replace(made, **fields)  # type: ignore[arg-type]
