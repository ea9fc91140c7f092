"""Decoding logprobs in every shape and with every flaw that servers have."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import pytest

from harness.endpoints.replies import parse
from harness.token_logprobs import Logprobs, decode_logprobs, packed, unpack
from tests.support import payloads


def decode(logprobs: Any, reply: dict[str, Any] | None = None) -> Logprobs | None:
    return decode_logprobs(
        parse(payloads.encode(payloads.with_logprobs(reply or payloads.chat("x"), logprobs))).logprobs
    )


@pytest.mark.parametrize("reply", [payloads.chat("x"), payloads.completion("x")])
@pytest.mark.parametrize("shape", [payloads.chat_logprobs(3, 4), payloads.completion_logprobs(3, 4)])
def test_both_shapes_on_both_surfaces(reply: dict[str, Any], shape: dict[str, Any]) -> None:
    found = decode(shape, reply)
    assert found is not None
    assert found.tokens == (b" t0",) * 3
    np.testing.assert_allclose(found.values, [-0.5] * 3)
    assert found.top[0] == {b" t0": -0.5, b" t1": -1.5, b" t2": -2.5, b" t3": -3.5}


def test_first_entry_null() -> None:
    shape = payloads.completion_logprobs(2, 2)
    shape |= {"token_logprobs": [None, -0.5], "top_logprobs": [None, {" t0": -0.5}]}
    found = decode(shape)
    assert found is not None
    assert math.isnan(found.values[0])
    assert found.top == ({}, {b" t0": -0.5})


@pytest.mark.parametrize("floor", [-9999.0, -100.0, -1e30, None, float("-inf"), float("nan")])
def test_floors_are_not_probabilities(floor: float | None) -> None:
    shape = payloads.completion_logprobs(1, 1)
    shape["top_logprobs"] = [{" t0": -0.5, "rare": floor}]
    found = decode(shape)
    assert found is not None
    assert found.top == ({b" t0": -0.5},)


def test_positive_values_are_not_logprobs() -> None:
    shape = payloads.completion_logprobs(1, 1)
    shape["top_logprobs"] = [{" t0": -0.5, "odd": 3.0}]
    found = decode(shape)
    assert found is not None
    assert found.top == ({b" t0": -0.5},)


def test_byte_fragments_are_told_apart() -> None:
    halves = [{"token": "\ufffd", "logprob": -1.0, "bytes": [b]} for b in (0xC3, 0xC2)]
    found = decode({"content": [{**halves[0], "top_logprobs": halves}]})
    assert found is not None
    assert set(found.top[0]) == {b"\xc3", b"\xc2"}


def test_two_ids_of_one_string_add_up() -> None:
    twice = [{"token": "a", "logprob": math.log(0.25)}, {"token": "a", "logprob": math.log(0.5)}]
    found = decode({"content": [{"token": "a", "logprob": math.log(0.25), "top_logprobs": twice}]})
    assert found is not None
    assert found.top[0][b"a"] == pytest.approx(math.log(0.75))


@pytest.mark.parametrize(
    "shape",
    [
        {"content": []},
        {"content": None},
        {"tokens": [], "token_logprobs": []},
        {"content": [{"token": "a", "logprob": 0.0, "top_logprobs": [{"token": t, "logprob": 0.0} for t in "ab"]}]},
        {"content": [{"token": "a", "logprob": -9999.0, "top_logprobs": []}]},
        {"tokens": ["a"], "token_logprobs": [-9999.0]},
        {"tokens": ["a"], "token_logprobs": [None]},
        {"content": "none"},
        {"content": [{"token": 5, "logprob": "low"}]},
        {"unknown": [1, 2, 3]},
        [1, 2, 3],
        "yes",
        True,
    ],
)
def test_present_but_useless_is_none(shape: Any) -> None:
    assert decode(shape) is None


def test_lists_of_different_lengths_do_not_misalign() -> None:
    found = decode({"tokens": ["a", "b", "c"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}]})
    assert found is None or (len(found.tokens) == len(found.values) == len(found.top))


@pytest.mark.parametrize("values", [[256], [-1], [0, 999]])
def test_impossible_bytes_fall_back_on_the_text(values: list[int]) -> None:
    found = decode({"content": [{"token": "a", "logprob": -1.0, "bytes": values}]})
    assert found is not None
    assert found.tokens == (b"a",)


@pytest.mark.parametrize("content", [b"{}", b'{"content": [' + b" " * 100_000 + b"]}", bytes(range(256)) * 99])
def test_what_is_packed_is_unpacked_byte_for_byte(content: bytes) -> None:
    assert unpack(packed(content)) == unpack(zlib.compress(content)) == content


def test_no_more_is_unpacked_than_is_read() -> None:
    assert len(unpack(packed(bytes(70_000_000)))) == 64_000_000


@pytest.mark.parametrize(
    "blob",
    [None, b"", b"not zlib", zlib.compress(b"not json"), zlib.compress(b"[]"), packed(b"[]"), packed(b"{}" * 99)[:-4]],
)
def test_a_broken_blob_is_none(blob: bytes | None) -> None:
    assert decode_logprobs(blob) is None
