"""Recorded endpoints (``kind: recorded``): answers that someone already has, read from a table."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.config import Recorded, require_channels
from harness.endpoints.answer_files import Row, Table, count, open_table
from harness.endpoints.parts import Parts, holds_no_text, parsed, read_cell
from harness.endpoints.replies import outcome_of
from harness.errors import ConfigError
from harness.records import Key, Prompt, Response, Surface

FAMILY = "recorded"
_RAW = ("verbatim", "continuations")  # what goes on a text is no answer, and is not compared as one
_ONE_A_ROW = "write one row a sample; `harness import FILE --out answers.parquet` does that"
_WHOLE = re.compile(r"^(-?\d+)\.0+$")
_CHANNELS = ("wording", "verbatim", "style", "traces")


@dataclass(frozen=True)
class Recording:
    """The answers of one recorded endpoint. Which there are is known, what they say is read when it is needed.

    ``rows`` int64 (a,) are their rows in the table, ``prompts`` and ``samples`` say what each answers.
    """

    endpoint: Recorded
    table: Table
    rows: NDArray[np.int64]
    prompts: tuple[str, ...]
    samples: tuple[int, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return self.table.digest

    def keys(self, prompts: Container[str]) -> Iterator[Key]:
        """Keys of the answers to these prompts."""
        for prompt, sample in zip(self.prompts, self.samples, strict=True):
            if prompt in prompts:
                yield self.endpoint.name, prompt, sample, self._hash(prompt, sample)

    def answers(self, prompts: Container[str]) -> Iterator[Response]:
        """The answers to these prompts, in the order of the table."""
        at = [i for i, p in enumerate(self.prompts) if p in prompts]
        columns = [c for c in self.endpoint.columns.model_dump().values() if c]
        rows = self.table.read(columns, self.rows[at])
        for i, row in zip(at, rows, strict=True):
            prompt, sample = self.prompts[i], self.samples[i]
            yield _answer(self.endpoint, self._hash(prompt, sample), prompt, sample, row)

    def _hash(self, prompt: str, sample: int) -> str:
        """Of the file and the place in it: another file is another key."""
        key = f"recorded\n{self.table.digest}\n{prompt}\n{sample}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(key).hexdigest()


def read(endpoints: Sequence[Recorded], base: Path, environ: Mapping[str, str]) -> tuple[list[Prompt], list[Recording]]:
    """Read recorded endpoints: prompts in order of first appearance, and the recording of each endpoint.

    Raises `ConfigError` for a missing file, column or model.
    """
    prompts: dict[str, Prompt] = {}
    tables: dict[str, Table] = {}
    models: dict[tuple[str, str], dict[str, list[int]]] = {}
    found = []
    for e in endpoints:
        if e.path not in tables:
            tables[e.path] = open_table(e.name, e.path, base, environ)
        table, column = tables[e.path], (e.path, e.columns.model)
        _has_columns(e, table)
        if column not in models:
            models[column] = _rows_by_model(table, e.columns.model)
        found.append(_recording(e, table, models[column], prompts))
    require_channels({c for p in prompts.values() for c in p.channels})
    return list(prompts.values()), found


def _rows_by_model(table: Table, column: str) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for at, row in enumerate(table.read([column])):
        out.setdefault(str(row[column]), []).append(at)
    return out


def _recording(
    endpoint: Recorded, table: Table, models: Mapping[str, list[int]], prompts: dict[str, Prompt]
) -> Recording:
    """What the rows of an endpoint's model answer; adds to ``prompts``."""
    columns = endpoint.columns
    model = endpoint.model or endpoint.name
    if model not in models:
        raise ConfigError(
            f"endpoint {endpoint.name!r}: {endpoint.path} has no model {model!r}", f"it has: {_near(models, model)}"
        )
    rows = np.array(models[model], dtype=np.int64)
    given = columns.sample in table.columns
    ids: list[str] = []
    samples: list[int] = []
    taken: dict[str, set[int]] = {}
    wanted = [c for c in (columns.prompt_id, columns.prompt, columns.sample, columns.surface, columns.scales,
                          columns.channels) if c]  # fmt: skip
    logprobs = columns.logprobs in table.columns
    for row in table.read(wanted, rows):
        prompt = prompts.get(_id(endpoint, row[columns.prompt_id])) or _prompt(endpoint, row, logprobs)
        seen = taken.setdefault(prompt.id, set())
        sample = _sample(endpoint, prompt.id, row[columns.sample]) if given else len(seen)
        if sample in seen:
            raise ConfigError(
                f"endpoint {endpoint.name!r}: prompt {prompt.id!r} has two answers with sample {sample}",
                "number them apart, or write `columns: {sample: null}` to count them as they stand",
            )
        seen.add(sample)
        prompts[prompt.id] = replace(prompt, samples=max(prompt.samples, len(seen)))
        ids.append(prompt.id)
        samples.append(sample)
    return Recording(endpoint, table, rows, tuple(ids), tuple(samples))


def _has_columns(endpoint: Recorded, table: Table) -> None:
    for key in ("model", "prompt_id", "output"):
        column = getattr(endpoint.columns, key)
        if column not in table.columns:
            raise ConfigError(
                f"endpoint {endpoint.name!r}: {endpoint.path} has no column {column!r}",
                f"it has {', '.join(table.columns)}; name the right one under `columns: {{{key}: ...}}`",
            )

    if (texts := table.lists.get(endpoint.columns.output)) is not None:
        said = f"{endpoint.path} has lists of {texts} texts for answers, in {endpoint.columns.output!r}"
        raise ConfigError(f"endpoint {endpoint.name!r}: {said}", _ONE_A_ROW)


def _id(endpoint: Recorded, value: object) -> str:
    """A prompt's id: 1 and 1.0 are one, as a table makes floats of numbers where one is missing."""
    written = _text(value)
    if not written:
        said = f"a row of {endpoint.path} has nothing in {endpoint.columns.prompt_id!r}"
        raise ConfigError(f"endpoint {endpoint.name!r}: {said}", "number the prompts, the same in all files")
    return _WHOLE.sub(r"\1", written)


def _prompt(endpoint: Recorded, row: Row, logprobs: bool) -> Prompt:
    """A prompt with the channels that it serves: those that its row names, else what its answers can hold."""
    columns = endpoint.columns
    surface: Surface = "completion" if row.get(columns.surface) == "completion" else "chat"
    scales = [s.strip() for s in _text(row.get(columns.scales)).split(",") if s.strip()]
    named = tuple(_text(row.get(columns.channels)).replace(",", " ").split())
    held = ("ratings",) if scales else _CHANNELS if surface == "chat" else _RAW
    channels = named or (*held, *(("logprobs",) if logprobs else ()))
    fields = {"scales": scales} if scales else {}
    text = _text(row.get(columns.prompt))
    return Prompt(
        _id(endpoint, row[columns.prompt_id]), FAMILY, text, surface=surface, channels=channels, fields=fields
    )


def _answer(endpoint: Recorded, request_hash: str, prompt: str, sample: int, row: Row) -> Response:
    columns = endpoint.columns
    refusal, finish = (_text(row.get(c)) for c in (columns.refusal, columns.finish_reason))
    said, apart = _said(endpoint, prompt, row.get(columns.output)), read_cell(row.get(columns.reasoning))
    logprobs = row.get(columns.logprobs)
    written = _written(logprobs)
    return Response(
        endpoint=endpoint.name,
        prompt=prompt,
        sample=sample,
        request_hash=request_hash,
        outcome=outcome_of(said.answer, refusal, finish),
        text=said.answer,
        reasoning=apart.thoughts or apart.answer or said.thoughts,
        refusal=refusal,
        finish_reason=finish,
        model_asked=endpoint.model or endpoint.name,
        provider="recorded",
        prompt_tokens=count(row.get(columns.prompt_tokens)),
        completion_tokens=count(row.get(columns.completion_tokens)),
        logprobs=zlib.compress(written.encode("utf-8", "replace"), 1) if written else None,
        attempts=0,
    )


def _said(endpoint: Recorded, prompt: str, value: object) -> Parts:
    """What an answer says; a list of several texts is several answers, and no table says which."""
    if isinstance(value, list) and len(value) > 1 and all(isinstance(v, str) for v in value):
        raise ConfigError(
            f"endpoint {endpoint.name!r}: prompt {prompt!r} has a list of {len(value)} texts for an answer",
            _ONE_A_ROW,
        )
    if holds_no_text(value):
        first: Any = value[0] if isinstance(value, list) else value
        keys = ", ".join(map(str, first))[:100]
        raise ConfigError(
            f"endpoint {endpoint.name!r}: prompt {prompt!r} has an object with {keys} for an answer, and no text in it",
            "write the text into a column of its own, and name that under `columns: {output: ...}`",
        )
    return read_cell(value)


def _written(logprobs: object) -> str:
    """Logprobs as JSON, as a cell has them or as Python wrote them into it; a list alone is that of the tokens."""
    if isinstance(logprobs, str) and logprobs.startswith(("{'", "[{'")):
        logprobs = parsed(logprobs) or logprobs
    if isinstance(logprobs, dict | list) and logprobs:
        logprobs = msgspec.json.encode(logprobs, enc_hook=str).decode()
    if not isinstance(logprobs, str):
        return ""
    return f'{{"content":{logprobs}}}' if logprobs.startswith("[") else logprobs


def _text(value: object) -> str:
    """A cell as text: an answer may be a number, and a table may have typed it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else str(value)


def _sample(endpoint: Recorded, prompt_id: str, value: object) -> int:
    number = count(value)
    if number is None:
        raise ConfigError(
            f"endpoint {endpoint.name!r}: prompt {prompt_id!r} has sample {str(value)[:40]!r}, not a whole number",
            "write `columns: {sample: null}` to count answers as they stand",
        )
    return number


def _near(models: Mapping[str, object], wanted: str) -> str:
    names = sorted(models)
    near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.4)
    return ", ".join(near or names[:5]) + (", ..." if len(names) > 5 else "")
