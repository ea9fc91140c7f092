"""Channel `logprobs`: how alike two models weigh the first token they could say.

Source: Jensen-Shannon divergence (Lin 1991) of next-token distributions, as in Nikolic et al. 2025 (first token of a
stub) and the logprob tests of Gao et al. 2025. Tokens of different tokenizers are matched by their bytes. Sees shared
weights through system prompts, hosts and light tuning, raw stubs best of all; a sibling can look like a damaged child.
A teacher does not show here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.channels.base import answer, answered_share, moved
from harness.channels.reading import answer_start
from harness.records import Probe, Responses, Similarity
from harness.token_logprobs import Logprobs, Spelled, spelled

Floats = NDArray[np.float64]

LEGIBLE = 0.5  # share of what is listed that must be legible
STEPS = 4  # tokens of each answer that are checked
ALIKE = 12  # bytes of an answer whose end is missing by which it is recognised
_UNSEEN = bytes(range(33)) + b"\x7f"
_HIGH = bytes(range(128, 256))
_SPACES = (b"\xc4\xa0", b"\xc4\x8a", b"\xe2\x96\x81")  # how vocabularies write a space or an end of line
_LOST = b"\xef\xbf\xbd"  # U+FFFD: a piece of a character, and not known which


class Step(msgspec.Struct, array_like=True, frozen=True):
    """One token of an answer as the server told it: what is listed, and what was said.

    ``listed`` are logprobs as float16, most likely first; ``said`` which of them was produced, -1 if none of them, -2
    if that is not known. ``total`` and ``total2`` are sums of probabilities by the natural base and by base 2.
    """

    listed: bytes
    said: int
    total: float
    total2: float

    @property
    def values(self) -> Floats:
        """Listed logprobs, most likely first, (k,)."""
        return np.frombuffer(self.listed, dtype=np.float16).astype(np.float64)


class Opening(msgspec.Struct, array_like=True, frozen=True):
    """What logprobs say of how one answer begins. ``flaw`` is why they say nothing; ``top`` token -> probability."""

    flaw: Literal["", "empty", "unreadable", "other text", "positive"] = ""
    top: dict[bytes, float] = {}
    steps: tuple[Step, ...] = ()


_PACK = msgspec.msgpack.Encoder().encode
_UNPACK = msgspec.msgpack.Decoder(Opening).decode


def logprobs(responses: Responses) -> Similarity | None:
    """1 - Jensen-Shannon divergence (base 2) of first-token distributions, (p, m, m) in [0, 1].

    All are cut to as many alternatives as the endpoint gives that gives fewest.
    """
    prompts = told_prompts(responses)
    return _compared(responses, prompts, _distributions(responses, prompts))


def probe(responses: Responses, rounds: int, rng: np.random.Generator) -> Probe | None:
    """`logprobs` in one pool, with ``rounds`` placebos: first tokens of other prompts, which a wrapper makes alike."""
    prompts = told_prompts(responses)
    cells = list(_distributions(responses, prompts))
    whole = _compared(responses, prompts, cells)
    if whole is None:
        return None
    count, placebo = len(cells), []
    for _ in range(rounds):
        if (by := moved(count, len(responses.models), rng)) is not None:
            shifted = ([cells[(i + d) % count][j] for j, d in enumerate(by)] for i in range(count))
            placebo.append(replace(whole, values=np.stack([agreement(row) for row in shifted]).astype(np.float32)))
    return Probe(whole, tuple(placebo))


def told_prompts(responses: Responses) -> list[int]:
    """Prompts of this channel to which anybody's answer came with logprobs."""
    models = range(len(responses.models))
    return [
        p
        for p in responses.where("logprobs")
        if any(responses.cached(_opening, r) is not None for m in models for r in responses.rows(p, m))
    ]


Cells = list[Mapping[bytes, float] | None]


def _distributions(responses: Responses, prompts: Sequence[int]) -> Iterator[Cells]:
    """First-token distributions of all models, one prompt after the other: all at once are too many to hold."""
    models = range(len(responses.models))
    most = common_number([[len(s) for p in prompts for s in first_tokens(responses, p, m)] for m in models])
    for p in prompts:
        yield [mean_distribution([likeliest(s, most) for s in first_tokens(responses, p, m)]) for m in models]


def _compared(responses: Responses, prompts: Sequence[int], cells: Iterable[Cells]) -> Similarity | None:
    if not prompts:
        return None
    values, usable = [], []
    for row in cells:
        values.append(agreement(row).astype(np.float32))
        usable.append([c is not None for c in row])
    return Similarity(
        channel="logprobs",
        models=responses.models,
        prompts=tuple(responses.prompts[i].id for i in prompts),
        values=np.stack(values),
        coverage=answered_share(responses, prompts, np.array(usable)),
        unit="1 - JSD",
        sees="weights",
    )


def common_number(listed: Sequence[Sequence[int]]) -> int:
    """How many alternatives to compare: the usual number of the model that lists fewest; ``listed`` by model.

    Examples
    --------
    >>> common_number([[20, 20, 19], [5, 5, 3], []])
    5
    """
    return min((int(np.median(n)) for n in listed if n), default=0)


def likeliest(sample: Mapping[bytes, float], most: int) -> Mapping[bytes, float]:
    """The ``most`` likeliest tokens of a distribution; ties with the last of them stay."""
    if len(sample) <= most:
        return sample
    least = sorted(sample.values(), reverse=True)[most - 1]
    return {t: p for t, p in sample.items() if p >= least}


def first_tokens(responses: Responses, prompt: int, model: int) -> list[Mapping[bytes, float]]:
    """Alternatives to the first token of the answer, token -> probability, of every sample that has them.

    None of a model whose logprobs are not to be believed (`Responses.doubted`).
    """
    if responses.models[model] in responses.doubted:
        return []
    packed = (responses.cached(_opening, row) for row in responses.rows(prompt, model))
    return [o.top for p in packed if p is not None and (o := _UNPACK(p)).top]


def _opening(responses: Responses, row: int) -> bytes | None:
    """`Opening` of one answer, packed: a tenth of what it takes as objects. None if there are no logprobs."""
    blob = responses.logprobs[row]
    return None if not blob else _PACK(_read(blob, responses, row))


def _read(blob: bytes, responses: Responses, row: int) -> Opening:
    own = answer(responses, row)
    if not own.strip():
        return Opening("empty")  # what is listed belongs to thoughts, or to nothing
    try:
        told = spelled(blob)
    except ValueError:
        return Opening("unreadable")
    begins = answer_token(told.tokens, responses.text[row], own, answer_start(responses, row))
    said = None
    if begins is None and (said := _alternative(told, own)) is not None:
        begins = 0
    if begins is None:
        return Opening("other text" if told.tokens else "")
    found = told.at(begins, begins + STEPS)
    steps = tuple(_steps(found, said))
    if found.positive and not any(found.top):
        return Opening("positive")
    first = found.top[0] if found.top else {}
    if len(first) < 2 or _merged(found, said):
        return Opening(steps=steps)
    return Opening(top=legible({t: float(np.exp(v)) for t, v in first.items()}), steps=steps)


def _alternative(told: Spelled, own: str) -> bytes | None:
    """What was said, where a server lists one position, and at it the likeliest token instead of the one produced."""
    if len(told.tokens) != 1:
        return None
    text = _visible(own.encode("utf-8", "surrogatepass"))
    fitting = [t for t in told.at(0, 1).top[0] if (v := _visible(t)) and text.startswith(v)]
    return max(fitting, key=len, default=None)


def _steps(found: Logprobs, said: bytes | None) -> Iterator[Step]:
    for i, (token, top) in enumerate(zip(found.tokens, found.top, strict=True)):
        if len(top) < 2:
            continue
        token = said if said is not None and i == 0 else token
        known = bool(token) and _LOST not in token and not _merged(Logprobs((token,), found.values[i:], (top,)), said)
        at = list(top).index(token) if token in top else -1
        values = np.array(list(top.values()))
        yield Step(
            values.astype(np.float16).tobytes(),
            at if known else -2,
            float(np.exp(values).sum()),
            float(np.exp2(values).sum()),
        )


def _merged(found: Logprobs, said: bytes | None) -> bool:
    """Some servers print a character made of several tokens as one, with the alternatives of its last piece.

    Then what was said is likelier than the least alternative listed, yet not in the list.
    """
    top = found.top[0]
    return said is None and found.tokens[0] not in top and float(found.values[0]) > min(top.values()) + 1e-9


def legible(top: Mapping[bytes, float]) -> dict[bytes, float]:
    """A distribution without tokens of which it is not known what they are; empty if those are most of it.

    U+FFFD stands for any piece of a character and an empty text for any special token: two models that list it do not
    share a token. What is left is the distribution given that the token is a known one.

    Examples
    --------
    >>> legible({b"a": 0.5, b"b": 0.25, "\ufffd".encode(): 0.2})
    {b'a': 0.625, b'b': 0.3125}
    """
    known = {t: p for t, p in top.items() if t and _LOST not in t}
    lost = sum(p for t, p in top.items() if t not in known)
    listed = sum(top.values())
    if len(known) < 2 or lost >= (1.0 - LEGIBLE) * listed:
        return {}
    return known if not lost else {t: p / max(1.0 - lost, p) for t, p in known.items()}


def answer_token(tokens: Sequence[bytes], text: str, own: str, start: int | None) -> int | None:
    """Which token the answer begins with; None if the tokens spell another text.

    Parameters
    ----------
    tokens : bytes of every token produced, those of thoughts and special ones among them
    text : the text as stored
    own : the model's own answer in it
    start : where in the text the answer begins, in characters; None if it is not there as it is

    White space is not looked at, nor are characters beyond ASCII where bytes do not agree: servers print pieces of
    them, and spaces, in several ways.

    Examples
    --------
    >>> answer_token([b"<think>", b"Hm", b"</think>", b" Par", b"is"], "Paris", "Paris", 0)
    3
    """
    if not tokens:
        return None
    if start == 0 and text[:1].isspace() and (at := answer_token(tokens, text.lstrip(), own.lstrip(), 0)) is not None:
        return 0 if not any(_visible(t) for t in tokens[:at]) else at
    for drop in (_UNSEEN, _UNSEEN + _HIGH):
        pieces = [_visible(t, drop) for t in tokens]
        whole, mine = (_visible(t.encode("utf-8", "surrogatepass"), drop) for t in (text, own))
        ends = np.cumsum([len(p) for p in pieces])
        said = b"".join(pieces)
        if start is not None:
            skipped = len(_visible(text[:start].encode("utf-8", "surrogatepass"), drop))
            if (at := _found(said, whole, skipped)) is not None:
                return int(np.searchsorted(ends, at, side="right"))
        if (at := _found(said, mine, 0)) is not None:
            return int(np.searchsorted(ends, at, side="right"))
    return None


def _visible(token: bytes, drop: bytes = _UNSEEN) -> bytes:
    for space in _SPACES:
        token = token.replace(space, b" ")
    return token.translate(None, drop)


def _found(said: bytes, text: bytes, skipped: int) -> int | None:
    """Where in what was said a text goes on after the bytes ``skipped`` of it; None if it is not there."""
    if not text or not said or skipped >= len(text):
        return None
    if said.startswith(text):
        return skipped
    if text.startswith(said):  # a list that ends before the text does
        return skipped if skipped < len(said) else None
    if (at := said.rfind(text)) >= 0:
        return at + skipped
    for length in range(min(len(said), len(text)) - 1, max(ALIKE, skipped), -1):
        if said.endswith(text[:length]):
            return len(said) - length + skipped
    return None


def mean_distribution(samples: Sequence[Mapping[bytes, float]]) -> Mapping[bytes, float] | None:
    """Mean over samples, which averages a batching server's noise; None without any."""
    if not samples:
        return None
    tokens = {t for s in samples for t in s}
    return {t: sum(s.get(t, 0.0) for s in samples) / len(samples) for t in tokens}


def agreement(tops: Sequence[Mapping[bytes, float] | None]) -> Floats:
    """1 - JSD of every pair, (m, m); NaN on the diagonal and where one has no distribution.

    The lists are cut at top-k: a token that one model lists and another does not has there at most the least listed
    probability, and at most an even share of what the list leaves over; the rest goes into one remainder bucket.
    """
    m = len(tops)
    out = np.full((m, m), np.nan)
    have = [i for i, t in enumerate(tops) if t]
    if len(have) < 2:
        return out
    vocabulary = {t: k for k, t in enumerate(sorted({t for i in have for t in tops[i] or ()}))}
    dense = np.zeros((len(have), len(vocabulary) + 1))
    for row, i in enumerate(have):
        dense[row] = _with_remainder(tops[i] or {}, vocabulary)
    for a in range(len(have)):
        mean = (dense[a] + dense[a + 1 :]) / 2
        jsd = (_relative_entropy(dense[a], mean) + _relative_entropy(dense[a + 1 :], mean)) / 2
        for b, value in zip(range(a + 1, len(have)), 1.0 - jsd, strict=True):
            out[have[a], have[b]] = out[have[b], have[a]] = value
    return out


def _with_remainder(top: Mapping[bytes, float], vocabulary: Mapping[bytes, int]) -> Floats:
    out = np.zeros(len(vocabulary) + 1)
    for token, p in top.items():
        out[vocabulary[token]] = p
    left = max(0.0, 1.0 - float(out.sum()))
    missing = len(vocabulary) - len(top)
    if missing:
        share = min(min(top.values()), left / (missing + 1))
        out[:-1][out[:-1] == 0.0] = share
        left -= share * missing
    out[-1] = left
    shares: Floats = out / out.sum()
    return shares


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p / q), 0.0)
    total: Floats = terms.sum(-1)
    return total
