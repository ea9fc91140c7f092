"""Answers read from a stranger's file, and the account of what was guessed of that file: all frozen, all typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.records import Surface

Row = dict[str, Any]
Role = Literal[  # what a column can hold
    "model",
    "prompt_id",
    "prompt",
    "output",
    "system",
    "sample",
    "surface",
    "reasoning",
    "refusal",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "logprobs",
    "scales",
    "channels",
]
Shape = Literal["long", "wide", "pairs", "log"]  # a row an answer; a column a model; two answers a row; a tool's own
ModelsFrom = Literal["a column", "columns", "the name of the file", "the name of the sheet", "the log", "--model"]
Drop = Literal[  # why a row gave no answer
    "no answer",
    "no model",
    "no prompt",
    "call failed",
    "scores, not text",
    "torn row",
    "too long",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer as a file has it. ``prompt`` is None where the file only numbers its prompts.

    ``sample`` is the number that the file gives the answer, None where it gives none; ``logprobs`` is the server's own
    JSON; ``scales`` and ``channels`` are what the prompt serves, where the file says so.
    """

    model: str
    prompt: str | None
    output: str
    prompt_id: str | None = None
    sample: int | None = None
    system: str = ""
    surface: Surface = "chat"
    reasoning: str = ""
    refusal: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: str | None = None
    scales: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that gave no answer: why, and what stands there."""

    why: Drop
    what: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt without an answer, as the input of a batch has it: what another file calls by ``prompt_id``."""

    prompt_id: str
    prompt: str
    system: str = ""


Found = Entry | Skipped | Asked


@dataclass(frozen=True)
class Sheet:
    """Rows of one file or of one sheet of it, before anybody knows what they mean.

    ``name`` is the file's or the sheet's, ``folder`` that of the folder it lies in: either may name a model.
    """

    source: str
    name: str
    format: str
    rows: tuple[Row, ...]
    folder: str = ""
    encoding: str = ""
    delimiter: str = ""
    is_sheet: bool = False
    torn: int = 0  # rows with more cells than headings


@dataclass(frozen=True)
class Reading:
    """What was guessed of one sheet, and what became of its rows.

    ``kind`` is the tool that writes such files, "" for a plain table; ``columns`` are role (or ``model NAME``) and
    heading; with ``is_numbered`` its texts of prompts are not used; ``dropped`` is by reason: how many, and an example.
    """

    source: str
    format: str
    rows: int
    answers: int
    shape: Shape = "long"
    kind: str = ""
    sheet: str = ""
    encoding: str = ""
    delimiter: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    models_from: ModelsFrom = "a column"
    models: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    is_numbered: bool = False
    dropped: Mapping[Drop, tuple[int, str]] = field(default_factory=dict)
    asked: int = 0


@dataclass(frozen=True)
class Unread:
    """A file of a folder that holds no answers, or could not be read, and why."""

    source: str
    why: str


@dataclass(frozen=True)
class Coverage:
    """One model's share: answers, prompts, and most samples of one prompt; ``only`` are prompts nobody else has."""

    model: str
    answers: int
    prompts: int
    samples: int
    empty: int
    only: int


@dataclass(frozen=True)
class Account:
    """All that was guessed of all files.

    ``prompts`` are all there are, ``shared`` those that every model answered, ``alone`` examples of those that one
    model alone answered. ``copies`` are rows by model that say an answer a second time. ``by_number`` counts prompts
    that are matched by their number, for no file has their text.
    """

    readings: tuple[Reading, ...]
    unread: tuple[Unread, ...]
    models: tuple[Coverage, ...]
    prompts: int
    shared: int
    alone: tuple[tuple[str, str], ...] = ()  # model and prompt
    by_number: int = 0
    copies: Mapping[str, int] = field(default_factory=dict)
    systems: int = 0  # different system prompts
    channels: Mapping[str, int] = field(default_factory=dict)  # prompts by channel that is not of text


@dataclass(frozen=True)
class Gathered:
    """Answers of all files with prompts matched and samples numbered, and the account of it."""

    entries: tuple[Entry, ...]
    account: Account

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order in which the files have them."""
        return [c.model for c in self.account.models]
