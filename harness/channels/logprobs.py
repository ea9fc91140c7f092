"""Channel `logprobs`: how alike two models weigh the first token they could say.

Source: Jensen-Shannon divergence (Lin 1991) of next-token distributions, as in Nikolic et al. 2025 (first token of a
stub) and the logprob tests of Gao et al. 2025. Tokens of different tokenizers are matched by their bytes. Sees shared
weights through system prompts, hosts and light tuning, raw stubs best of all; a sibling can look like a damaged child.
A teacher does not show here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.channels.base import answered_share
from harness.records import Responses, Similarity
from harness.token_logprobs import Logprobs, decode_logprobs

Floats = NDArray[np.float64]


_UNPACK = msgspec.msgpack.Decoder(dict[bytes, float])


def logprobs(responses: Responses) -> Similarity | None:
    """1 - Jensen-Shannon divergence (base 2) of first-token distributions, (p, m, m) in [0, 1]."""
    prompts = [
        p
        for p in responses.where("logprobs")
        if any(responses.logprobs[r] for m in range(len(responses.models)) for r in responses.rows(p, m))
    ]
    if not prompts:
        return None
    m = len(responses.models)
    values = np.full((len(prompts), m, m), np.nan, dtype=np.float32)
    usable = np.zeros((len(prompts), m), dtype=bool)
    for i, p in enumerate(prompts):
        tops = [mean_distribution(first_tokens(responses, p, j)) for j in range(m)]
        usable[i] = [t is not None for t in tops]
        values[i] = agreement(tops)
    return Similarity(
        channel="logprobs",
        models=responses.models,
        prompts=tuple(responses.prompts[i].id for i in prompts),
        values=values,
        coverage=answered_share(responses, prompts, usable),
        unit="1 - JSD",
        sees="weights",
    )


def first_tokens(responses: Responses, prompt: int, model: int) -> list[Mapping[bytes, float]]:
    """First-token alternatives, token -> probability, of every sample that has them."""
    packed = (responses.cached(_first_token, row) for row in responses.rows(prompt, model))
    return [_UNPACK.decode(p) for p in packed if p is not None]


def _first_token(responses: Responses, row: int) -> bytes | None:
    """First-token alternatives of one answer, packed: a tenth of what they take as a dictionary."""
    found = decode_logprobs(responses.logprobs[row], positions=1)
    if found is None or not found.top or len(found.top[0]) < 2 or _merged(found):
        return None
    return msgspec.msgpack.encode({t: float(np.exp(v)) for t, v in found.top[0].items()})


def _merged(found: Logprobs) -> bool:
    """Some servers print a character made of several tokens as one, with the alternatives of its last piece.

    Then what was said is likelier than the least alternative listed, yet not in the list.
    """
    top = found.top[0]
    return found.tokens[0] not in top and float(found.values[0]) > min(top.values()) + 1e-3


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
