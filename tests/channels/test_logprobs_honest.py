"""Logprobs belong to the answer, are read on one scale, and are believed only if the answers fit them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.channels.first_tokens import answer_token, first_tokens
from harness.channels.kernels import logprob_kernels, next_token_distances
from harness.channels.logprobs import honest_logprobs, logprobs, probe
from harness.channels.reading import read
from harness.check import unlike_temperatures
from harness.plan import prepare
from harness.records import Prompt, Removed, Response, Responses, Similarity
from harness.token_logprobs import decode_logprobs, spelled
from tests.support import payloads

_NOUNS = """river stone apple window morning system paper answer number garden reason method result table bread water
light road city friend music story question north south summer winter castle forest bridge"""
WORDS = tuple(f" {w}" for w in _NOUNS.split())
SAMPLES, PROMPTS = 4, 24
Listing = Sequence[tuple[bytes, float]]
Blob = Callable[[Listing, str], Any]


def entry(token: bytes, value: float, listed: Listing = ()) -> dict[str, Any]:
    return {
        "token": token.decode("utf-8", "replace"),
        "logprob": value,
        "bytes": list(token),
        "top_logprobs": [entry(t, v) for t, v in listed],
    }


def plain(listed: Listing, text: str) -> Any:
    """Logprobs of an honest server: one token that spells the answer."""
    said = text.encode()
    return {"content": [entry(said, dict(listed).get(said, -9.0), listed)]}


def packed(value: Any) -> bytes:
    return zlib.compress(msgspec.json.encode(value))


def logits(root: str, prompt: int, noise: float = 0.1, model: str = "") -> np.ndarray[Any, np.dtype[np.float64]]:
    def normal(*seed: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.random.default_rng(zlib.crc32(repr(seed).encode())).normal(size=len(WORDS))

    raw = 1.5 * normal("all", prompt) + 1.5 * normal(root, prompt) + noise * normal(root, prompt, model)
    out: np.ndarray[Any, np.dtype[np.float64]] = raw - np.logaddexp.reduce(raw)
    return out


MODELS = {"suspect": "x", "mother": "y", "child": "y", "red": "r", "green": "g", "blue": "b"}


def table(
    blobs: Mapping[str, Blob] = {},
    *,
    temperature: float = 1.0,
    most: Mapping[str, int] = {},
    state: Mapping[str, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {},
    lists: Mapping[str, str] = {},
    said: Callable[[str, str], str] = lambda model, text: text,
) -> Responses:
    """Answers of one word by six models, mother and child kin; what is said is drawn from what is listed.

    ``blobs`` writes a model's logprobs, ``most`` is how many alternatives, ``state`` another scale, ``lists`` the
    root whose logprobs stand there instead.
    """
    prompts = [
        Prompt(f"q{i}", "stubs", f"Question {i}", surface="completion", samples=SAMPLES, max_tokens=1,
               temperature=temperature, top_logprobs=20, channels=("logprobs",))
        for i in range(PROMPTS)
    ]  # fmt: skip
    rng, answers = np.random.default_rng(5), []
    for i, p in enumerate(prompts):
        for model, root in MODELS.items():
            own = logits(root, i, model=model)
            stated = logits(lists.get(model, root), i, model=model)
            if model in state:
                stated = state[model](stated)
            order = np.argsort(-stated)[: most.get(model, 20)]
            listed = [(WORDS[k].encode(), float(stated[k])) for k in order]
            chance = np.exp(own / temperature) if temperature else (own == own.max()) * 1.0
            for s in range(SAMPLES):
                text = WORDS[rng.choice(len(WORDS), p=chance / chance.sum())]
                blob = packed(blobs.get(model, plain)(listed, text))
                answers.append(Response(model, p.id, s, "h", "ok", said(model, text), logprobs=blob))
    return Responses.of(list(MODELS), prompts, answers)


def values(found: Similarity | None) -> Callable[[str, str], float]:
    assert found is not None
    mean = np.nanmean(found.values, axis=0)
    return lambda a, b: float(mean[found.models.index(a), found.models.index(b)])


def kinds(responses: Responses) -> dict[str, set[Removed]]:
    out: dict[str, set[Removed]] = {}
    for r in honest_logprobs(read(responses))[1]:
        out.setdefault(r.model, set()).add(r.kind)
    return out


def silent(responses: Responses, model: str) -> bool:
    """Whether a model's logprobs are a gap everywhere."""
    table_, _ = honest_logprobs(read(responses))
    at = table_.models.index(model)
    return not any(first_tokens(table_, p, at) for p in range(PROMPTS))


def test_honest_endpoints_are_believed_and_kin_are_nearest() -> None:
    honest, taken = honest_logprobs(read(table()))
    assert taken == ()
    assert honest.doubted == frozenset()
    like = values(logprobs(honest))
    strangers = [like(a, b) for a in MODELS for b in MODELS if a < b and MODELS[a] != MODELS[b]]
    assert like("mother", "child") > max(strangers) + 0.1


# Thoughts, echoes, other text


def thinking(listed: Listing, text: str) -> Any:
    thought = [b"<think>", b"\n", b"Okay", b", so", b"</think>", b"\n\n"]
    return {
        "content": [*(entry(t, -1e-4, [(t, -1e-4), (b"The", -12.0)]) for t in thought), *plain(listed, text)["content"]]
    }


@pytest.mark.parametrize("inline", [False, True])
def test_tokens_of_thoughts_are_skipped(inline: bool) -> None:
    thinkers = {"suspect": thinking, "mother": thinking}

    def said(model: str, text: str) -> str:
        return f"<think>\nOkay, so</think>\n\n{text}" if inline and model in thinkers else text

    quirk, base = (logprobs(honest_logprobs(read(t))[0]) for t in (table(thinkers, said=said), table()))
    assert quirk is not None
    assert base is not None
    np.testing.assert_allclose(quirk.values, base.values, atol=1e-6)


def test_an_answer_of_thoughts_alone_gives_none() -> None:
    def cut(listed: Listing, text: str) -> Any:
        return {"content": thinking(listed, text)["content"][:3]}

    cases = table({"suspect": cut, "mother": cut}, said=lambda m, t: "" if m in ("suspect", "mother") else t)
    found = logprobs(cases)
    assert found is not None
    assert found.coverage.tolist() == [0, 0, 1, 1, 1, 1]
    assert logprob_kernels(cases, 0, 1) == []


def test_logprobs_of_another_model_beside_this_text_are_told() -> None:
    """They hold what the other model would have said."""

    def foreign(listed: Listing, text: str) -> Any:
        token = listed[len(text) % 3][0]
        return {"content": [entry(token, dict(listed)[token], listed), entry(b" and", -1.0, [(b" and", -1.0)])]}

    cases = table({"suspect": foreign}, lists={"suspect": "y"})
    assert kinds(cases) == {"suspect": {"logprobs of other text"}}
    assert silent(cases, "suspect")


def test_a_server_that_lists_the_likeliest_token_of_one_position_is_read() -> None:
    def likeliest(listed: Listing, text: str) -> Any:
        return {"content": [entry(*listed[0], listed)]}

    cases = table(dict.fromkeys(MODELS, likeliest), said=lambda m, t: t.strip())
    found = logprobs(honest_logprobs(read(cases))[0])
    assert found is not None
    assert min(found.coverage) > 0.9


@pytest.mark.parametrize(
    ("tokens", "text", "expected"),
    [
        ([" Par", "is"], "Paris", 0),
        (["\n\n", "Paris"], "Paris", 1),
        (["\n\n", "Paris"], "\n\nParis", 0),
        (["<|im_start|>", "Paris", "<|im_end|>"], "Paris", 1),
        (["▁Par", "is"], "Paris", 0),
        (["ĠPar", "is", "Ċ"], "Paris\n", 0),
        (["Paris"], "Paris is a city", 0),
        (["I", " say", " 4", "</think>", "4"], "4", 4),
        (["na", "\ufffd", "\ufffd", "ve"], "naïve", 0),
        (["\ufffd", "\ufffd", "tude"], "étude", 0),
        (["<think>", "</think>", "\ufffd", "\ufffd", "tude"], "étude", 2),
        (["\ufffd"], "Paris", 0),
        (["你", "好"], "你好", 0),
        (["no", "body"], "Paris", None),
        (["hm", "</think>", "The", " answer", " is", " long"], "The answer is long and goes on", 2),
        ([], "Paris", None),
    ],
)
def test_where_an_answer_begins(tokens: list[str], text: str, expected: int | None) -> None:
    assert answer_token([t.encode() for t in tokens], text, text, 0) == expected


# Unknown bytes


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("unknown", ["\ufffd", "", "\ufffdab"])
def test_unknown_tokens_are_not_shared(unknown: str, share: float) -> None:
    """Strangers on hosts that print pieces of characters alike stay strangers, or abstain."""

    def pieces(listed: Listing, text: str) -> Any:
        out = [(unknown.encode() if i >= len(listed) * (1 - share) or (share > 0.5 and i < 3) else t, v)
               for i, (t, v) in enumerate(listed)]  # fmt: skip
        return {"content": [entry(text.encode(), -1.0, out)]}

    like = values(logprobs(table()))
    quirk = logprobs(table({"suspect": pieces, "mother": pieces}))
    assert quirk is not None
    assert (share > 0.5) == (kinds(table({"suspect": pieces})).get("suspect") == {"logprobs unreadable"})
    pair = quirk.values[:, 0, 1]
    assert np.isnan(pair).all() or np.nanmean(pair) < like("suspect", "mother") + 0.02


# Numbers of alternatives and scales


def test_five_alternatives_against_twenty_are_compared_at_five() -> None:
    few, all_few = (values(logprobs(table(most=n))) for n in ({"suspect": 5, "mother": 5}, dict.fromkeys(MODELS, 5)))
    for a, b in (("suspect", "mother"), ("mother", "child"), ("red", "green")):
        assert few(a, b) == pytest.approx(all_few(a, b), abs=1e-6)
    assert few("mother", "child") > few("mother", "red") + 0.1


@pytest.mark.parametrize("step", [1.0, 0.1, 0.01])
def test_a_side_that_rounds_is_compared_with_the_other_rounded_alike(step: float) -> None:
    def rounded(listed: Listing, text: str) -> Any:
        return plain([(t, round(v / step) * step) for t, v in listed], text)

    one, both, none = (
        logprob_kernels(table(dict.fromkeys(some, rounded)), 0, 1) for some in (("suspect",), ("suspect", "mother"), ())
    )
    assert len(one) == len(none) == PROMPTS
    for (mine, _), (alike, _), (exact, _) in zip(one, both, none, strict=True):
        np.testing.assert_allclose(mine, alike, atol=1e-9)
        assert np.abs(mine - exact).max() > 1e-7


def soft(temperature: float) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    def scaled(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out: np.ndarray[Any, Any] = x / temperature - np.logaddexp.reduce(x / temperature)
        return out

    return scaled


SCALES: Mapping[str, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
    "log10": lambda x: x / math.log(10),
    "log2": lambda x: x / math.log(2),
    "probabilities": np.exp,
    "percentages": lambda x: 100 * np.exp(x),
    "renormalised": lambda x: x - np.logaddexp.reduce(np.sort(x)[-20:]),
    "sharpened": soft(0.4),
}


@pytest.mark.parametrize("scale", SCALES)
def test_another_scale_abstains(scale: str) -> None:
    cases = table(state={"suspect": SCALES[scale]})
    assert set(kinds(cases)) == {"suspect"}
    assert silent(cases, "suspect")
    found = logprobs(honest_logprobs(read(cases))[0])
    assert found is not None
    assert found.coverage.tolist() == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("temperature", [0.3, 0.5, 0.7, 1.5])
def test_logprobs_after_temperature_abstain(temperature: float) -> None:
    assert silent(table(state={"suspect": soft(temperature)}, temperature=temperature), "suspect")


def test_logprobs_before_temperature_are_shown_by_draws() -> None:
    assert not silent(table(temperature=0.3), "suspect")


def test_greedy_answers_are_the_likeliest() -> None:
    assert kinds(table(temperature=0.0)) == {}

    def forced(listed: Listing, text: str) -> Any:  # spells the text, with the alternatives of another model
        return {"content": [entry(text.encode(), -6.0, listed), *[entry(b"", -9.0)] * 2]}

    cases = table({"suspect": forced}, temperature=0.0, lists={"suspect": "y"})
    assert kinds(cases) == {"suspect": {"logprobs not this model's"}}
    assert silent(cases, "suspect")


def test_draws_that_do_not_fit_are_told() -> None:
    cases = table({"suspect": lambda d, t: {"content": [entry(t.encode(), dict(d).get(t.encode(), -9.0), d)]}},
                  lists={"suspect": "y"})  # fmt: skip
    assert kinds(cases) == {"suspect": {"logprobs not this model's"}}


# Wrappers, and what cannot be read


def test_a_constant_first_token_is_seen_in_the_placebo() -> None:
    def wrapped(listed: Listing, text: str) -> Any:
        first = [(b"Sure", -0.01), (b"Well", -5.0)]
        return {"content": [entry(b"Sure", -0.01, first), *plain(listed, text)["content"]]}

    both = ("suspect", "mother")
    cases = table(dict.fromkeys(both, wrapped), said=lambda m, t: f"Sure{t}" if m in both else t)
    measured = probe(cases, 3, np.random.default_rng(0))
    assert measured is not None
    assert len(measured.placebo) == 3
    for placebo in measured.placebo:
        like = values(placebo)
        assert like("suspect", "mother") > 0.95
        assert like("mother", "child") < 0.3
    kin = probe(table(), 1, np.random.default_rng(0))
    assert kin is not None
    assert values(kin.similarity)("mother", "child") > values(kin.placebo[0])("mother", "child") + 0.3


PREFACE = "Thank you for asking, and here is what I can tell you about this:"


@pytest.mark.parametrize("said_to_be_sure", [True, False])
def test_a_sentence_that_a_host_puts_in_front_is_no_first_token(said_to_be_sure: bool) -> None:
    """The host lists tokens of it, with alternatives or without: strangers behind it do not share a first token."""

    def fronted(listed: Listing, text: str) -> Any:
        words = [w.encode() for w in PREFACE.split()]
        tops = [] if said_to_be_sure else [(words[0], -0.2), (b"Well", -3.0)]
        return {"content": [*(entry(w, -0.2, tops) for w in words), *plain(listed, text)["content"]]}

    def found(hosted: Sequence[str]) -> Similarity | None:
        cases = table(dict.fromkeys(hosted, fronted), said=lambda m, t: f"{PREFACE}{t}" if m in hosted else t)
        open_ended = tuple(replace(p, channels=("logprobs", "wording")) for p in cases.prompts)
        return logprobs(honest_logprobs(read(replace(cases, prompts=open_ended)))[0])

    bare, quirk = found(()), found(("suspect", "mother"))
    assert bare is not None
    assert quirk is not None
    assert min(quirk.coverage) > 0.8
    seen = np.isfinite(quirk.values)
    np.testing.assert_allclose(quirk.values[seen], bare.values[seen], atol=1e-6)


UNREADABLE = {
    "no UTF-8": zlib.compress(b'{"content":[{"token":"\xe4\xbd","logprob":-0.4}]}'),
    "deep": zlib.compress(b'{"content":' + b"[" * 3000 + b"]" * 3000 + b"}"),
    "no zlib": b"\x00\x01",
    "cut": zlib.compress(b'{"content":[{"token":"ab'),
    "odd types": zlib.compress(b'{"content":[{"token":{},"logprob":[]}]}'),
    "text": "no bytes",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_a_gap_and_told(name: str) -> None:
    whole = table()
    rows = [r for p in range(PROMPTS) for r in whole.rows(p, 0)]
    blobs: Any = [UNREADABLE[name] if r in rows else b for r, b in enumerate(whole.logprobs)]
    broken = Responses(whole.models, whole.prompts, whole.start, whole.asked, whole.outcome, whole.text,
                       whole.reasoning, blobs, whole.prompt_tokens)  # fmt: skip
    honest, taken = honest_logprobs(read(broken))
    assert [(r.model, r.kind, r.answers, r.of) for r in taken] == [("suspect", "logprobs unreadable", 96, 96)]
    found = logprobs(honest)
    assert found is not None
    assert found.coverage[0] == 0


@given(st.binary(max_size=60) | st.binary(max_size=60).map(zlib.compress))
def test_no_bytes_raise_anything_else(blob: bytes) -> None:
    assert decode_logprobs(blob) is None or blob


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["content", "token", "tokens", "bytes", "logprob", "top_logprobs", "token_logprobs"]), inner),
    max_leaves=12,
)  # fmt: skip


@given(_JSON)
def test_no_json_raises_anything_else(value: Any) -> None:
    blob = zlib.compress(payloads.encode(value))
    try:
        found = spelled(blob).at()
    except ValueError:
        assert decode_logprobs(blob) is None
        return
    assert len(found.tokens) == len(found.values) == len(found.top)


def test_check_warns_of_another_temperature(tmp_path: Path) -> None:
    endpoint = {"name": "a", "role": "suspect", "kind": "openai-chat", "model": "a", "params": {"temperature": 0.6}}
    other = {**endpoint, "name": "b", "role": "candidate", "lineage": "b", "params": {}}
    config = {"campaign": "warm", "prompts": [{"set": "choices", "temperature": 0.5}], "endpoints": [endpoint, other],
              "analysis": {"questions": ["identity"]}}  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    families, heated = unlike_temperatures(prepare(path, {}))
    assert "(choices)" in families
    assert " a " in heated
    config |= {"prompts": [{"set": "choices"}], "endpoints": [endpoint | {"params": {}}, other]}
    path.write_text(yaml.safe_dump(config))
    assert unlike_temperatures(prepare(path, {})) == []


def test_distances_of_next_tokens_keep_to_their_prompts_and_to_one_cut() -> None:
    def told(*logs: float) -> bytes:
        return packed(plain([(f"t{i}".encode(), v) for i, v in enumerate(logs)], "t0"))

    even, odd, deep = told(-1.0, -1.1), told(-0.2, -3.0), told(-1.0, -1.1, -3.0)
    prompts = [Prompt(p, "stubs", "?", surface="completion", samples=2, top_logprobs=3) for p in ("a", "b", "c")]
    given = {"p": [even] * 6, "s": [even, even, odd, even, even, even], "c": [deep, deep, deep, deep, odd]}
    rows = [
        Response(m, prompts[i // 2].id, i % 2, f"{m}{i}", "ok", "t0", logprobs=blob)
        for m, blobs in given.items()
        for i, blob in enumerate(blobs)
    ]
    found = next_token_distances(Responses.of(("s", "p", "c"), prompts, rows), [1, 0, 2])
    assert found.shape == (3, 2, 2)
    assert found[[0, 2], 0] == pytest.approx(0.0)
    assert found[1, 0, 0] > 0.01
    assert 0.01 < found[1, 0, 1] < 2 * found[1, 0, 0]  # its two samples differ: half of that is the pair's noise
    assert found[:2, 1, 0] == pytest.approx(0.0)  # the third alternative, which the candidate does not list, is cut
    assert np.isnan(found[2, 1]).all()
