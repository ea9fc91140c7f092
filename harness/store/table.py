"""Columns of answers that stay in the store until they are read: a million texts need not fit into memory."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.records import Prompt, Responses
from harness.store.store import Store, for_reading

_HEADS = (  # texts are left where they are
    "SELECT responses.rowid, endpoint, prompt, sample, outcome, prompt_tokens FROM plan "
    "JOIN responses USING (endpoint, prompt, sample, request_hash)"
)
_KEPT = 64  # values: a channel reads the samples of one cell more than once


class StoredColumn(Sequence[Any]):
    """One column of some rows of a store, read one value at a time; pickled as a reference to the file."""

    def __init__(self, path: Path, column: str, rows: NDArray[np.int64]) -> None:
        self._path, self._column, self._rows = path, column, rows
        self._open()

    def _open(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._cache: dict[int, Any] = {}

    def __getstate__(self) -> tuple[Path, str, NDArray[np.int64]]:
        return self._path, self._column, self._rows

    def __setstate__(self, state: tuple[Path, str, NDArray[np.int64]]) -> None:
        self._path, self._column, self._rows = state
        self._open()

    def __del__(self) -> None:
        if getattr(self, "_db", None) is not None:
            self._db.close()  # type: ignore[union-attr]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return self.take(range(*at.indices(len(self))))
        row = int(self._rows[at])
        with self._lock:
            if row not in self._cache:
                if len(self._cache) >= _KEPT:
                    self._cache.clear()
                self._cache[row] = self._read(row)
            return self._cache[row]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def _read(self, row: int) -> Any:
        if self._db is None:
            self._db = for_reading(self._path, shared=True)
        (value,) = self._db.execute(f"SELECT {self._column} FROM responses WHERE rowid = ?", (row,)).fetchone()  # noqa: S608
        return value

    def take(self, rows: Sequence[int]) -> StoredColumn:
        """The same column of some rows, by position."""
        return StoredColumn(self._path, self._column, self._rows[np.asarray(rows, dtype=np.int64)])


def stored_table(store: Store, models: Sequence[str], prompts: Sequence[Prompt], asked: NDArray[np.bool_]) -> Responses:
    """The plan's answers as a table whose texts stay in the store; those of unknown models or prompts left out."""
    model_at = {m: i for i, m in enumerate(models)}
    prompt_at = {p.id: i for i, p in enumerate(prompts)}
    names: dict[str, str] = {}
    cells, samples, rows, outcomes, tokens = [], [], [], [], []
    for row, endpoint, prompt, sample, outcome, counted in store.each(_HEADS):
        if endpoint in model_at and prompt in prompt_at:
            cells.append(prompt_at[prompt] * len(models) + model_at[endpoint])
            samples.append(sample)
            rows.append(row)
            outcomes.append(names.setdefault(outcome, outcome))
            tokens.append(counted)
    at = np.array(cells, dtype=np.int64)
    order = np.lexsort((np.array(samples, dtype=np.int64), at))
    where = np.array(rows, dtype=np.int64)[order]
    text, reasoning, logprobs = (StoredColumn(store.path, c, where) for c in ("text", "reasoning", "logprobs"))
    return Responses(
        models=tuple(models),
        prompts=tuple(prompts),
        start=np.searchsorted(at[order], np.arange(len(prompts) * len(models) + 1)).astype(np.int64),
        asked=asked,
        outcome=[outcomes[i] for i in order],
        text=text,
        reasoning=reasoning,
        logprobs=logprobs,
        prompt_tokens=[tokens[i] for i in order],
    )
