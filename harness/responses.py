"""The one record that everything shares: a prompt, the answer to it, and the table of all answers."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

Surface = Literal["chat", "completion"]
Outcome = Literal["ok", "truncated", "refused", "filtered", "empty"]
USABLE: frozenset[str] = frozenset({"ok", "truncated"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question as every endpoint gets it, with the request settings of its family.

    ``fields`` holds what only some families have: ``answer``, ``scales``, ``rung``, ``twin``, ``claim``.
    """

    id: str
    family: str
    text: str
    language: str = "en"
    group: str = ""
    surface: Surface = "chat"
    samples: int = 1
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    channels: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer with its provenance. The key is (endpoint, prompt, sample, request_hash)."""

    endpoint: str
    prompt: str
    sample: int
    request_hash: str
    outcome: Outcome
    text: str
    reasoning: str = ""
    refusal: str = ""
    finish_reason: str = ""
    model_asked: str = ""
    model_answered: str = ""
    system_fingerprint: str = ""
    provider: str = ""
    response_id: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    logprobs: bytes | None = None  # zlib of the server's own JSON, see `decode_logprobs`
    attempts: int = 1
    seconds: float = 0.0
    received_at: str = ""  # UTC, ISO 8601


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Log-probabilities (natural log) of one answer, token by token.

    ``tokens`` are the bytes of the T tokens produced, ``values`` float64 (T,), ``top`` for each position the
    alternatives as ``{token bytes: logprob}``, most likely first. Missing or floor values are left out of ``top``.
    """

    tokens: tuple[bytes, ...]
    values: NDArray[np.float64]
    top: tuple[Mapping[bytes, float], ...]


LOGPROB_FLOOR = -50.0
"""Servers write -9999, -100 or null for "not in my list"; nothing at or under this is a probability."""


class _Top(msgspec.Struct):
    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None


class _Token(_Top):
    top_logprobs: list[_Top] | None = None


class _Shapes(msgspec.Struct):
    content: list[_Token] | None = None  # chat shape
    tokens: list[str] | None = None  # completions shape, parallel lists
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


_DECODER = msgspec.json.Decoder(_Shapes)


def _token_bytes(entry: _Top) -> bytes:
    # Byte fragments of one character all print as U+FFFD; only `bytes` tells them apart.
    if entry.bytes:
        try:
            return bytes(entry.bytes)
        except ValueError:
            pass
    return entry.token.encode("utf-8", "surrogatepass")


_T = TypeVar("_T")


def _padded(values: list[_T | None] | None, n: int) -> list[_T | None]:
    # Servers have sent lists shorter than `tokens`; what is missing is missing, not shifted.
    return [*(values or [])[:n], *[None] * (n - len(values or []))]


def _real(value: float | None) -> bool:
    return value is not None and LOGPROB_FLOOR < value <= 1e-6


def decode_logprobs(blob: bytes | None) -> Logprobs | None:
    """Stored logprobs -> arrays; by shape, not by endpoint (servers mix the two shapes up). None if unusable.

    A list that is present but empty, all zero or all floor is the same as none at all.
    """
    if not blob:
        return None
    try:
        shapes = _DECODER.decode(zlib.decompress(blob))
    except (zlib.error, msgspec.DecodeError):
        return None
    if shapes.content:
        tokens = tuple(_token_bytes(t) for t in shapes.content)
        values = [t.logprob for t in shapes.content]
        tops = [[(_token_bytes(a), a.logprob) for a in t.top_logprobs or ()] for t in shapes.content]
    elif shapes.tokens:
        tokens = tuple(t.encode("utf-8", "surrogatepass") for t in shapes.tokens)
        values = _padded(shapes.token_logprobs, len(tokens))
        lists = _padded(shapes.top_logprobs, len(tokens))
        tops = [[(t.encode("utf-8", "surrogatepass"), v) for t, v in (d or {}).items()] for d in lists]
    else:
        return None
    top = tuple(_alternatives(pairs) for pairs in tops)
    array = np.array([v if _real(v) else np.nan for v in values], dtype=np.float64)
    if not any(top) and not np.any(array < 0):
        return None
    return Logprobs(tokens, array, top)


def _alternatives(pairs: Iterable[tuple[bytes, float | None]]) -> dict[bytes, float]:
    out: dict[bytes, float] = {}
    for token, value in pairs:
        if value is None or not _real(value):
            continue
        # Two ids can decode to one string: their probabilities add.
        out[token] = float(np.logaddexp(out[token], value)) if token in out else value
    if len(out) > 1 and all(v == 0.0 for v in out.values()):
        return {}  # a server that accepts the parameter and fills in zeros
    return dict(sorted(out.items(), key=lambda kv: -kv[1]))


@dataclass(frozen=True)
class Responses:
    """All answers of a campaign as columns, sorted by (prompt, model, sample).

    ``models`` (m,) and ``prompts`` (p,) name the axes. The columns have one entry per answer; ``start`` is int64
    (p * m + 1,): the answers of prompt i by model j are rows ``start[i * m + j] : start[i * m + j + 1]``.
    ``asked`` is bool (p, m): the prompt was put to the model, answered or not.
    """

    models: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    start: NDArray[np.int64]
    asked: NDArray[np.bool_]
    outcome: Sequence[str]
    text: Sequence[str]
    reasoning: Sequence[str]
    logprobs: Sequence[bytes | None]
    prompt_tokens: Sequence[int | None]

    def rows(self, prompt: int, model: int) -> range:
        """Rows of the answers of one model to one prompt, both by index."""
        at = prompt * len(self.models) + model
        return range(int(self.start[at]), int(self.start[at + 1]))

    def usable(self, prompt: int, model: int) -> list[int]:
        """Those rows whose answer can be compared: not refused by the server, filtered or empty."""
        return [r for r in self.rows(prompt, model) if self.outcome[r] in USABLE and self.text[r].strip()]

    def where(self, channel: str) -> list[int]:
        """Indices of the prompts whose family serves ``channel``."""
        return [i for i, p in enumerate(self.prompts) if channel in p.channels]

    def only(self, prompts: Sequence[int]) -> Responses:
        """The same table with some of the prompts, by index."""
        m = len(self.models)
        cells = [r for p in prompts for r in range(int(self.start[p * m]), int(self.start[(p + 1) * m]))]
        counts = np.diff(self.start).reshape(len(self.prompts), m)[list(prompts)]
        return self._picked(
            self.models, tuple(self.prompts[p] for p in prompts), counts, self.asked[list(prompts)], cells
        )

    def _picked(
        self,
        models: tuple[str, ...],
        prompts: tuple[Prompt, ...],
        counts: NDArray[np.int64],
        asked: NDArray[np.bool_],
        rows: Sequence[int],
    ) -> Responses:
        return Responses(
            models=models,
            prompts=prompts,
            start=np.concatenate([[0], np.cumsum(counts.ravel())]).astype(np.int64),
            asked=asked,
            outcome=[self.outcome[r] for r in rows],
            text=[self.text[r] for r in rows],
            reasoning=[self.reasoning[r] for r in rows],
            logprobs=[self.logprobs[r] for r in rows],
            prompt_tokens=[self.prompt_tokens[r] for r in rows],
        )

    def with_twin(self, name: str, twin: str) -> Responses:
        """The same table in which every second sample of one model is another model's: a known positive."""
        at = self.models.index(name)
        order: list[int] = []
        counts = np.zeros((len(self.prompts), len(self.models) + 1), dtype=np.int64)
        asked = np.column_stack([self.asked, self.asked[:, at]])
        for p in range(len(self.prompts)):
            split = list(self.rows(p, at))
            for m in range(len(self.models)):
                rows = split[::2] if m == at else list(self.rows(p, m))
                order += rows
                counts[p, m] = len(rows)
            order += split[1::2]
            counts[p, -1] = len(split[1::2])
            asked[p, -1] = self.prompts[p].samples > 1 and asked[p, at]
        return self._picked((*self.models, twin), self.prompts, counts, asked, order)

    @classmethod
    def of(
        cls,
        models: Sequence[str],
        prompts: Sequence[Prompt],
        answers: Iterable[Response],
        asked: NDArray[np.bool_] | None = None,
    ) -> Responses:
        """Sort answers into columns. Answers of unknown models or prompts are left out."""
        model_at = {m: i for i, m in enumerate(models)}
        prompt_at = {p.id: i for i, p in enumerate(prompts)}
        kept = [a for a in answers if a.endpoint in model_at and a.prompt in prompt_at]
        kept.sort(key=lambda a: (prompt_at[a.prompt], model_at[a.endpoint], a.sample))
        cells = np.array([prompt_at[a.prompt] * len(models) + model_at[a.endpoint] for a in kept], dtype=np.int64)
        start = np.searchsorted(cells, np.arange(len(prompts) * len(models) + 1)).astype(np.int64)
        answered = (np.diff(start) > 0).reshape(len(prompts), len(models))
        return cls(
            models=tuple(models),
            prompts=tuple(prompts),
            start=start,
            asked=answered if asked is None else asked,
            outcome=[a.outcome for a in kept],
            text=[a.text for a in kept],
            reasoning=[a.reasoning for a in kept],
            logprobs=[a.logprobs for a in kept],
            prompt_tokens=[a.prompt_tokens for a in kept],
        )
