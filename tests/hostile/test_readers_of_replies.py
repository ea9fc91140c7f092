"""Replies and logprobs made up by the thousand: an answer or a typed error, and nothing else."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config.secrets import Redactor
from harness.endpoints import failures, responses_api
from harness.endpoints.client import as_utf8
from harness.endpoints.replies import Answer, parse, without_key
from harness.endpoints.server_errors import read_error
from harness.errors import CallError
from harness.token_logprobs import LOGPROB_FLOOR, ZERO, decode_logprobs, packed, spoken
from tests.support import payloads

KEY = "test-key-0123456789abcdef"
REDACT = Redactor(KEY)
FEW, MANY = 2_000, 100_000
NAMES = [
    *("choices", "message", "content", "text", "logprobs", "tokens", "token_logprobs", "top_logprobs", "index",
      "output"),
    *("usage", "error", "code", "token", "logprob", "bytes", "reasoning", "finish_reason", "status", "refusal", "type"),
    *("prompt_tokens", "completion_tokens_details", "reasoning_tokens", "incomplete_details", "innererror", "metadata"),
]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([KEY, "error", "failed", "content_filter", "\ud800", "thinking", "<think>", 10**400, -(2**63),
                       1e308,
                       "length", "x" * 300, "\\u0000", [[[[[[]]]]]], "text", "reasoning", "assistant"])
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=25,
)
GOOD = [
    payloads.encode(v)
    for v in (
        payloads.with_logprobs(payloads.chat("an answer", reasoning_content="thoughts"), payloads.chat_logprobs()),
        payloads.with_logprobs(payloads.completion(" answer"), payloads.completion_logprobs()),
        payloads.response("answer", True),
        {"error": {"message": "no", "code": "429", "metadata": {"raw": "{}"}}},
    )
]


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A good reply with pieces of it cut out, doubled or overwritten."""
    content = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        piece = draw(
            st.binary(max_size=4)
            | st.sampled_from([b"\\u", b'"', b"{", b"[" * 50, b"null", b"-", b"1e999", b"\xff", b","])
        )
        content[at : at + draw(st.integers(0, 6))] = piece
    return bytes(content)


@st.composite
def replaced(draw: st.DrawFn) -> bytes:
    """A good reply with a value of another kind at some place in it."""
    value = json.loads(draw(st.sampled_from(GOOD)))
    target = value
    for _ in range(draw(st.integers(0, 6))):
        keys = (
            list(target) if isinstance(target, dict) else list(range(len(target))) if isinstance(target, list) else []
        )
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if not isinstance(target[key], dict | list) or draw(st.booleans()):
            target[key] = draw(VALUES)
            break
        target = target[key]
    return json.dumps(value).encode()


REPLIES = broken() | replaced() | st.binary(max_size=300) | VALUES.map(lambda v: json.dumps(v).encode())


def read(content: bytes) -> None:
    """All that is done with a reply between the socket and the store."""
    body = REDACT.body(as_utf8(content, "application/json"))
    failed: list[CallError] = []
    for reader in (parse, responses_api.read):
        try:
            answer = without_key(reader(body), REDACT.text)
        except CallError as e:
            failed.append(e)
            continue
        assert isinstance(answer, Answer)
        assert KEY not in answer.text + answer.reasoning + answer.refusal + answer.model
        assert answer.outcome in ("ok", "truncated", "refused", "filtered", "empty")
        for count in (answer.prompt_tokens, answer.completion_tokens, answer.reasoning_tokens):
            assert count is None or 0 <= count < 1 << 53
        if answer.logprobs is not None:
            look_at(answer.logprobs)
    assert all(e.kind and KEY not in REDACT.text(e.message) for e in failed)
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(body)
        said = read_error(value)
        assert isinstance(failures.from_status(said.status, said, said.message), CallError)


def look_at(blob: bytes) -> None:
    """Stored logprobs: arrays that fit one another, or None."""
    found = decode_logprobs(blob)
    spoken(blob)
    decode_logprobs(blob, 2)
    if found is None:
        return
    assert len(found.tokens) == len(found.values) == len(found.top)
    known = found.values[np.isfinite(found.values)]
    assert np.all((known > LOGPROB_FLOOR) & (known <= ZERO))
    assert not np.isinf(found.values).any()


TOKENS = st.fixed_dictionaries(
    {}, optional={"token": LEAVES, "logprob": LEAVES, "bytes": LEAVES |
                  st.lists(st.integers(-2, 300) | LEAVES, max_size=4),
                  "top_logprobs": LEAVES | st.lists(st.fixed_dictionaries({}, optional=
                  {"token": LEAVES, "logprob": LEAVES}))}
)  # fmt: skip
SHAPES = st.fixed_dictionaries(
    {}, optional={"content": LEAVES | st.lists(TOKENS | LEAVES, max_size=4),
                  "tokens": LEAVES | st.lists(LEAVES, max_size=4),
                  "token_logprobs": LEAVES | st.lists(LEAVES, max_size=4),
                  "top_logprobs": LEAVES | st.lists(st.dictionaries(st.text(max_size=3), LEAVES) | LEAVES, max_size=4)}
)  # fmt: skip
BLOBS = (
    (SHAPES | VALUES).map(lambda v: zlib.compress(json.dumps(v).encode()))
    | st.binary(max_size=200)
    | st.binary(max_size=200).map(zlib.compress)
    | broken().map(lambda b: zlib.compress(b)[:-3])
    | SHAPES.map(lambda v: packed(json.dumps(v).encode()))
    | broken().map(lambda b: packed(b)[:-3])
    | st.binary(max_size=60).map(lambda b: packed(b"{}")[:6] + b)
)


def fuzz(check: Callable[[bytes], None], inputs: st.SearchStrategy[bytes], count: int) -> None:
    settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))(given(inputs)(check))()


@pytest.mark.parametrize(("check", "inputs"), [(read, REPLIES), (look_at, BLOBS)], ids=["replies", "logprobs"])
def test_some_thousand(check: Callable[[bytes], None], inputs: st.SearchStrategy[bytes]) -> None:
    fuzz(check, inputs, FEW)


@pytest.mark.slow
@pytest.mark.parametrize(("check", "inputs"), [(read, REPLIES), (look_at, BLOBS)], ids=["replies", "logprobs"])
def test_a_hundred_thousand(check: Callable[[bytes], None], inputs: st.SearchStrategy[bytes]) -> None:
    fuzz(check, inputs, MANY)


@pytest.mark.parametrize("value", [None, "text", 5, b"", b"x", b"\x78\x9c", zlib.compress(b"\xff"),
                                   zlib.compress(b"[" * 10**6),
                                   zlib.compress(b'{"content":[{"bytes":[1e400]}]}'),
                                   zlib.compress(b'{"tokens":["\\ud800"]}')])  # fmt: skip
def test_a_blob_that_is_none_is_no_logprobs(value: Any) -> None:
    assert decode_logprobs(value) is None


def test_a_bomb_is_cut() -> None:
    bomb = zlib.compress(b" " * 200_000_000)
    assert decode_logprobs(bomb) is None
    assert all(len(t) <= 64_000_000 for t in spoken(bomb))
