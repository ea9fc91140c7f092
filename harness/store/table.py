"""Columns of a store as a table of responses: values are read in blocks when asked for, and few are kept in memory."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import StoreError
from harness.records import Prompt, Responses
from harness.store.chain import HASH
from harness.store.database import for_reading
from harness.store.store import Store

_HEADS = (  # texts are left where they are
    "SELECT responses.position, endpoint, prompt, sample, outcome, prompt_tokens FROM plan "
    "JOIN responses USING (endpoint, prompt, sample, request)"
)
BLOCK = 128  # values read with one statement, at most: the one asked for, and those that follow
FIRST_BLOCK = 16  # while it is not seen that values are asked for in turn
KEPT = 16_000_000  # bytes of one column in memory, or one block: several channels read the answers to one prompt


class _Column:
    """One column of a store by rowid, with the values read last; pickled as a reference to the file."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._open()

    def _open(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._kept: dict[int, Any] = {}
        self._bytes, self._most = 0, FIRST_BLOCK

    def __getstate__(self) -> tuple[Path, str]:
        return self._path, self._name

    def __setstate__(self, state: tuple[Path, str]) -> None:
        self._path, self._name = state
        self._open()

    def __del__(self) -> None:
        if getattr(self, "_db", None) is not None:
            self._db.close()  # type: ignore[union-attr]

    def get(self, row: int, ahead: Callable[[], list[int]]) -> Any:
        """The value of a row; if it has to be read, so are those of the rows ``ahead()``, of which it is the first."""
        with self._lock:
            if row not in self._kept:
                self._read([r for r in ahead() if r not in self._kept][: self._most])
            return self._kept[row]

    def once(self, rows: Sequence[int]) -> Iterator[list[Any]]:
        """The values of some rows, so many at a time as are read with one statement; none is kept that was not."""
        at = 0
        while at < len(rows):
            with self._lock:
                some = rows[at : at + min(self._most, BLOCK)]
                new = [row for row in some if row not in self._kept]
                found = self._found(new)[0] if new else {}
                values = [found[row] if row in found else self._kept[row] for row in some]
            yield values
            at += len(some)

    def _read(self, rows: Sequence[int]) -> None:
        block, size = self._found(rows)
        while self._kept and self._bytes + size > KEPT:  # what was read longest ago goes first
            self._bytes -= sys.getsizeof(self._kept.pop(next(iter(self._kept))))
        self._kept |= block
        self._bytes += size

    def _found(self, rows: Sequence[int]) -> tuple[dict[int, Any], int]:
        """The values of some rows, and how many bytes they are."""
        if self._db is None:
            self._db = for_reading(self._path, shared=True)
        query = f"SELECT position, {self._name} FROM responses WHERE position IN ({', '.join('?' * len(rows))})"  # noqa: S608
        try:
            block = {row: _typed(self._name, value) for row, value in self._db.execute(query, rows)}
        except sqlite3.Error as e:
            raise StoreError(f"{self._path}: {e}", "is the file damaged?") from e
        size = sum(map(sys.getsizeof, block.values()))
        self._most = max(1, KEPT * len(block) // (2 * max(size, 1)))  # large values are read a few at a time
        return block, size


def _typed(column: str, value: Any) -> Any:
    """A value of the type that its column has; what is of another one is a gap, in one cell."""
    if column == "logprobs":
        return value if isinstance(value, bytes) else None
    if column == "reasoning_tokens":
        return value if isinstance(value, int) else None
    return value if isinstance(value, str) else ""


class StoredColumn(Sequence[Any]):
    """One column of some rows of a store, read when asked for; parts of it share what is in memory."""

    def __init__(self, column: _Column, rows: NDArray[np.int64]) -> None:
        self._column, self._rows = column, rows
        self._end, self._block = 0, FIRST_BLOCK  # where the last block ended, and its size

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return self.take(range(*at.indices(len(self))))
        at = range(len(self))[at]
        return self._column.get(int(self._rows[at]), lambda: self._ahead(at))

    def _ahead(self, at: int) -> list[int]:
        """The rows from a position on: twice as many as the last time, if all of those were asked for."""
        in_turn = 0 <= at - self._end < FIRST_BLOCK
        self._block = min(2 * self._block, BLOCK) if in_turn else FIRST_BLOCK
        self._end = at + self._block
        ahead: list[int] = self._rows[at : self._end].tolist()
        return ahead

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def each(self) -> Iterator[tuple[int, Any]]:
        """Every value with its position here, in the order in which they lie in the store: for one look at them all."""
        order = np.argsort(self._rows, kind="stable")
        values = chain.from_iterable(self._column.once(self._rows[order].tolist()))
        return zip(order.tolist(), values, strict=True)

    def take(self, rows: Sequence[int]) -> StoredColumn:
        """The same column of some rows, by position."""
        return StoredColumn(self._column, self._rows[np.asarray(rows, dtype=np.int64)])


def echoes(store: Store, reader: str) -> dict[str, bytes | None]:
    """Packed logprobs of all that one reader has read, by the hash of its request."""
    query = f"SELECT {HASH}, logprobs FROM responses WHERE endpoint = ?"  # noqa: S608
    return {digest: _typed("logprobs", blob) for digest, blob in store.each(query, (reader,))}


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
    columns = ("text", "reasoning", "logprobs", "response_id", "reasoning_tokens")
    text, reasoning, logprobs, response_id, thought = (StoredColumn(_Column(store.path, c), where) for c in columns)
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
        response_id=response_id,
        reasoning_tokens=thought,
    )
