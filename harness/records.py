"""Records passed from step to step: prompts, calls, responses, tables of responses, similarities, observations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Surface = Literal["chat", "completion"]
Question = Literal["kinship", "identity", "teaching", "attribution", "survey"]
ControlRule = Literal["one a maker", "every lineage"]  # which of the controls count
Outcome = Literal["ok", "truncated", "refused", "filtered", "empty"]
Sees = Literal["weights", "text", "reported", "samples"]
Removed = Literal[
    # stands in an answer and is not the model's
    "thoughts", "prompt echo", "template marks", "second turn", "encoding", "comments", "markup", "furniture",
    "canned answers", "stray marks", "blank space", "hidden characters", "look-alike letters",
    # is no draw of its own
    "rows written twice", "equal draws",
    # logprobs that are not this answer's, or not on its scale
    "logprobs of other text", "logprobs unreadable", "logprobs rescaled", "logprobs of unknown scale",
    "logprobs not this model's",
]  # fmt: skip
USABLE: frozenset[Outcome] = frozenset({"ok", "truncated"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question as every endpoint gets it, with the request settings of its family.

    ``fields`` holds what only some families have: ``answer``, ``scales``, ``rung``, ``twin``, ``claim``; ``fresh`` is
    true of a prompt that a private seed filled, whose ``twin`` is the one that ships.
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
    logprobs: bytes | None = None  # the server's own JSON, compressed, see `harness.token_logprobs`
    attempts: int = 1
    seconds: float = 0.0
    received_at: str = ""  # UTC, ISO 8601


@dataclass(frozen=True, slots=True)
class Furniture:
    """What one endpoint says whatever it is asked, so that it is not its model's answer.

    ``runs`` are runs of 8 or 4 words, ``words`` single words and pairs, ``canned`` whole answers; all in lower case,
    words with a digit as "#". ``alone``: some answers are nothing but these runs, and numbers. ``stray``: its closing
    marks of thoughts stand behind the answer and hide it.
    """

    runs: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    canned: frozenset[str] = frozenset()
    alone: bool = False
    stray: bool = False


T = TypeVar("T")
Work = Callable[["Responses", int], T]
Works = Callable[["Responses", Sequence[int]], Sequence[T]]  # for many rows at once


class Vocabulary(dict[str, int]):
    """Words by number, in the order in which they were first met: ``vocabulary[word]`` numbers a new one."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


class WordIds(bytes):
    """The words of one answer by their numbers in the `Vocabulary` of its table, int32."""

    @property
    def array(self) -> NDArray[np.int32]:
        """The numbers, (words,)."""
        return np.frombuffer(self, dtype=np.int32)


COLUMNS = ("text", "reasoning", "logprobs", "prompt_tokens", "response_id", "reasoning_tokens")
"""Columns of `Responses` that can stay behind; the outcome of every answer goes everywhere."""


class RowCache:
    """Results by row of a table, each worked out at most once; the table and all its parts share one.

    A row costs 8 bytes a function and what the function returns, `WordIds` by ``vocabulary``: a million stay in memory.
    """

    def __init__(self, size: int, vocabulary: Vocabulary | None = None) -> None:
        self._size = size
        self.vocabulary = Vocabulary() if vocabulary is None else vocabulary
        self.found: dict[Work[Any] | Works[Any], list[Any]] = {}  # `...` where nothing was worked out yet
        self._unsent: dict[Work[Any] | Works[Any], list[Any]] = {}

    def column(self, work: Work[Any] | Works[Any], sent: bool = True) -> list[Any]:
        """Results of one function, by row."""
        held = self.found if sent else self._unsent
        found = held.get(work)
        return held.setdefault(work, [...] * self._size) if found is None else found

    def take(self, rows: NDArray[np.int64]) -> RowCache:
        """A copy for some of the rows."""
        out = RowCache(len(rows), self.vocabulary)
        out.found = {work: [found[r] for r in rows] for work, found in self.found.items()}
        return out

    def only(self, works: Iterable[Work[Any]]) -> RowCache:
        """Another cache that knows what some functions have worked out, and nothing else."""
        out = RowCache(self._size, self.vocabulary)
        out.found = {work: self.column(work) for work in works}
        return out

    def update(self, known: RowCache, rows: NDArray[np.int64]) -> None:
        """Take over what a copy for these rows holds."""
        words = known.vocabulary
        here = np.array([self.vocabulary[w] for w in words] if words is not self.vocabulary else [], dtype=np.int32)
        for work, theirs in known.found.items():
            mine = self.column(work)
            for row, result in zip(rows, theirs, strict=True):
                if isinstance(result, WordIds) and words is not self.vocabulary:
                    mine[row] = WordIds(here[result.array].tobytes())
                elif result is not ...:
                    mine[row] = result


def _take(column: Any, rows: Sequence[int]) -> Any:
    """Some rows of a column; one that is not in memory stays where it is."""
    return column.take(rows) if hasattr(column, "take") else [column[r] for r in rows]


@dataclass(frozen=True)
class Responses:
    """Table of all answers of a campaign: columns of rows sorted by (prompt, model, sample).

    ``models`` (m,) and ``prompts`` (p,) name the axes. The columns have one entry per answer; ``start`` is int64
    (p * m + 1,): the answers of prompt i by model j are rows ``start[i * m + j] : start[i * m + j + 1]``.
    ``asked`` is bool (p, m): the prompt was put to the model, answered or not. ``furniture`` is what each model says
    whatever it is asked, as far as it was looked for (`harness.channels.reading.read`); ``doubted`` are models, and
    temperatures asked for, whose logprobs are not to be believed (`harness.channels.logprobs.honest_logprobs`).
    """

    models: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    start: NDArray[np.int64]
    asked: NDArray[np.bool_]
    outcome: Sequence[Outcome]
    text: Sequence[str]
    reasoning: Sequence[str]
    logprobs: Sequence[bytes | None]
    prompt_tokens: Sequence[int | None]
    response_id: Sequence[str] = ()  # none at all, or one a row
    reasoning_tokens: Sequence[int | None] = ()  # none at all, or one a row
    furniture: Mapping[str, Furniture] = field(default_factory=dict)
    doubted: frozenset[tuple[str, float | None]] = frozenset()
    # Not of __init__, so that `dataclasses.replace` with other texts begins with an empty cache.
    _cache: RowCache = field(init=False, repr=False, compare=False)
    _origin: NDArray[np.int64] = field(init=False, repr=False, compare=False)  # of each row, in the whole table

    def __post_init__(self) -> None:
        if not len(self.response_id):
            object.__setattr__(self, "response_id", [""] * len(self.outcome))
        if not len(self.reasoning_tokens):
            object.__setattr__(self, "reasoning_tokens", [None] * len(self.outcome))
        self._share(RowCache(len(self.outcome)), np.arange(len(self.outcome), dtype=np.int64))

    def _share(self, cache: RowCache, origin: NDArray[np.int64]) -> Responses:
        object.__setattr__(self, "_cache", cache)
        object.__setattr__(self, "_origin", origin)
        return self

    def __getstate__(self) -> dict[str, Any]:
        # A worker gets what is known of its own rows, not of the whole table.
        own = {"_cache": self.known(), "_origin": np.arange(len(self._origin), dtype=np.int64)}
        return self.__dict__ | own

    def cached(self, work: Work[T], row: int) -> T:
        """``work(self, row)``, worked out at most once for this row of the whole table, whichever part asks."""
        found, at = self._cache.column(work), self._origin[row]
        if found[at] is ...:
            found[at] = work(self, row)
        result: T = found[at]
        return result

    def all_cached(self, work: Works[T], rows: Sequence[int], *, sent: bool = True) -> list[T]:
        """``work(self, rows)``, result by row, as `cached`: of the rows not known yet, all at once.

        What is not ``sent`` is sooner made again than it comes back from a worker.
        """
        found, at = self._cache.column(work, sent), self._origin[list(rows)].tolist()
        if new := [(r, a) for r, a in zip(rows, at, strict=True) if found[a] is ...]:
            for (_, a), result in zip(new, work(self, [r for r, _ in new]), strict=True):
                found[a] = result
        return [found[a] for a in at]

    @property
    def vocabulary(self) -> Vocabulary:
        """Numbers of words, one for the table and all its parts."""
        return self._cache.vocabulary

    def known(self) -> RowCache:
        """What was worked out of these rows so far; small enough to come back from a worker."""
        return self._cache.take(self._origin)

    def learn(self, known: RowCache) -> None:
        """Take over what a copy of this table, in a worker, has worked out."""
        self._cache.update(known, self._origin)

    def rows(self, prompt: int, model: int) -> range:
        """Rows of the answers of one model to one prompt, both by index."""
        at = prompt * len(self.models) + model
        return range(int(self.start[at]), int(self.start[at + 1]))

    def cell(self, row: int) -> tuple[Prompt, str]:
        """The prompt and the model whose answer a row holds."""
        at = int(np.searchsorted(self.start, row, side="right")) - 1
        return self.prompts[at // len(self.models)], self.models[at % len(self.models)]

    def usable(self, prompt: int, model: int) -> list[int]:
        """Those rows whose answer can be compared: not refused by the server, filtered or empty."""
        return [r for r in self.rows(prompt, model) if self.outcome[r] in USABLE and self.cached(_says, r)]

    def where(self, channel: str) -> list[int]:
        """Indices of the prompts whose family serves ``channel``."""
        return [i for i, p in enumerate(self.prompts) if channel in p.channels]

    def only(self, prompts: Sequence[int]) -> Responses:
        """The same table with some of the prompts, by index."""
        m = len(self.models)
        cells = [r for p in prompts for r in range(int(self.start[p * m]), int(self.start[(p + 1) * m]))]
        counts = np.diff(self.start).reshape(len(self.prompts), m)[list(prompts)]
        return self.picked(
            self.models, tuple(self.prompts[p] for p in prompts), counts, self.asked[list(prompts)], cells
        )

    def among(self, models: Sequence[int]) -> Responses:
        """The same table with some of the models, by index."""
        cells = [r for p in range(len(self.prompts)) for m in models for r in self.rows(p, m)]
        counts = np.diff(self.start).reshape(len(self.prompts), len(self.models))[:, list(models)]
        names = tuple(self.models[m] for m in models)
        return self.picked(names, self.prompts, counts, self.asked[:, list(models)], cells)

    def without(self, rows: Iterable[int]) -> Responses:
        """The same table without some rows."""
        kept = np.ones(len(self.outcome), dtype=bool)
        kept[list(rows)] = False
        before = np.concatenate([[0], np.cumsum(kept)])[self.start]
        return self.picked(self.models, self.prompts, np.diff(before), self.asked, np.flatnonzero(kept).tolist())

    def picked(
        self,
        models: tuple[str, ...],
        prompts: tuple[Prompt, ...],
        counts: NDArray[np.int64],
        asked: NDArray[np.bool_],
        rows: Sequence[int],
    ) -> Responses:
        part = Responses(
            models=models,
            prompts=prompts,
            start=np.concatenate([[0], np.cumsum(counts.ravel())]).astype(np.int64),
            asked=asked,
            outcome=_take(self.outcome, rows),
            text=_take(self.text, rows),
            reasoning=_take(self.reasoning, rows),
            logprobs=_take(self.logprobs, rows),
            prompt_tokens=_take(self.prompt_tokens, rows),
            response_id=_take(self.response_id, rows),
            reasoning_tokens=_take(self.reasoning_tokens, rows),
            furniture=self.furniture,
            doubted=self.doubted,
        )
        return part._share(self._cache, self._origin[np.asarray(rows, dtype=np.int64)])

    def furnished(self, furniture: Mapping[str, Furniture], kept: Iterable[Work[Any]]) -> Responses:
        """The same table with what each model says whatever it is asked; of the cache it keeps what ``kept`` found."""
        return replace(self, furniture=furniture)._share(self._cache.only((_says, *kept)), self._origin)

    def doubting(self, doubted: frozenset[tuple[str, float | None]], **more: Any) -> Responses:
        """The same table with models and temperatures whose logprobs are not to be believed, and with ``more``."""
        return replace(self, doubted=doubted, **more)._share(self._cache, self._origin)

    def loaded(self, columns: Iterable[str] = COLUMNS) -> Responses:
        """The same table with columns in memory, for a worker that cannot read the store; all others empty."""
        blank = {"text": "", "reasoning": "", "response_id": ""}
        held: dict[str, Any] = {c: [blank.get(c)] * len(self.outcome) for c in COLUMNS}
        held |= {c: list(getattr(self, c)) for c in columns}
        return replace(self, outcome=list(self.outcome), **held)._share(self._cache, self._origin)

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
            response_id=[a.response_id for a in kept],
            reasoning_tokens=[a.reasoning_tokens for a in kept],
        )


def _says(responses: Responses, row: int) -> bool:
    return bool(responses.text[row].strip())


@dataclass(frozen=True)
class Similarity:
    """Raw similarities of one channel; nothing in here is evidence before inference compares it with controls.

    Attributes
    ----------
    channel : name of the channel.
    models : (m,) names; prompts : (p,) ids of the prompts measured.
    values : float32 (p, m, m), symmetric, larger is more alike, in ``unit``. NaN on the diagonal and wherever one
        of the two models gave nothing usable: a refusal is a gap, not a zero.
    coverage : float64 (m,), share of the prompts put to the model that it answered usably; NaN if none were.
    unit : what the numbers are, e.g. "cosine".
    sees : "weights" if the channel follows shared weights, "text" if it follows wording that a teacher also leaves,
        "reported" if it is shown and never counted, "samples" if it compares samples of one model.
    words : usual number of words of an answer that were compared; NaN of a channel that compares no words.
    """

    channel: str
    models: tuple[str, ...]
    prompts: tuple[str, ...]
    values: NDArray[np.float32]
    coverage: NDArray[np.float64]
    unit: str
    sees: Sees
    words: float = float("nan")

    def counts(self) -> NDArray[np.int64]:
        """Prompts on which each pair was compared, (m, m)."""
        out: NDArray[np.int64] = np.isfinite(self.values).sum(axis=0)
        return out


@dataclass(frozen=True)
class Probe:
    """One channel measured again in one pool, in ways that show whether it is the models that are alike.

    ``similarity`` is the channel among these models alone; ``placebo`` the same with each model's answers moved to
    other prompts, every model's by another number: what a wrapper makes alike stays so, what a model shares is gone.
    ``variants`` are the channel on less of the answers, by name.
    """

    similarity: Similarity
    placebo: tuple[Similarity, ...] = ()
    variants: Mapping[str, Similarity] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """One line of a report: ``model`` showed ``what``, namely ``value``."""

    channel: str
    model: str
    what: str
    value: str


@dataclass(frozen=True, slots=True)
class Removal:
    """What was taken out of one model's answers before they were compared, and in how many of how many of them.

    ``example`` is a stranger's text; ``kind`` says what it is and why it is not the model's own words; ``where`` it
    mostly stood, if that is worth telling.
    """

    model: str
    kind: Removed
    answers: int
    of: int
    example: str = ""
    where: Literal["", "begin", "end"] = ""


ReferenceGap = Literal[
    # why a model of a pack of references, or some of its answers, does not count: known before anybody is asked
    "reference of another era",
    "reference thinks otherwise",
    "reference with a system prompt",
    "reference asked itself",
    "reference asked other things",
    "reference cut elsewhere",
    "reference sampled otherwise",
    # seen in the answers
    "reference in another language",
    "reference much shorter",
    "reference further in manner",
]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What of one model of a pack of references does not count, and why: its answers to so many of so many prompts."""

    model: str
    why: ReferenceGap
    prompts: int = 0
    of: int = 0


Key = tuple[str, str, int, str]


@dataclass(frozen=True, slots=True)
class Job:
    """One call: key and body. The body is the JSON that is sent, byte for byte."""

    endpoint: str
    prompt: str
    sample: int
    surface: Surface
    body: bytes
    request_hash: str

    @property
    def key(self) -> Key:
        """The key of the answer; a key is asked once."""
        return self.endpoint, self.prompt, self.sample, self.request_hash


def request_hash(surface: Surface, body: bytes) -> str:
    """SHA-256 of the request: any change of prompt or parameter is another key."""
    return hashlib.sha256(surface.encode() + b"\n" + body).hexdigest()


Step = Literal["reading", "comparing", "judging", "attributing", "surveying", "observing", "writing"]
"""What is done between the last answer and the tables, in this order."""
Watch = Callable[[Step, str, int, int], None]
"""Is told what begins: the step, what of it (a channel, a pair and its question, a file), how many are done, of how
many; 0 of 0 where nobody can tell."""


def unwatched(step: Step, what: str, done: int, of: int) -> None:
    """For whoever does not watch."""


CHARACTERS_PER_TOKEN = 4  # a rule of thumb for English; where a server counts, its count is used
