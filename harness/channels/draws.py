"""Independent draws: samples that copy another one (rows written twice, an answer cache) are left out and told.

Tests between samples count how often answers agree. A copy agrees for another reason than the model's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from harness.records import Furniture, Removal, Removed, Responses

LONG = 16  # words, which no model samples twice but by chance in thousands
MIDDLE = 6  # words that one may repeat now and then, not mostly
LEAST = 3  # prompts with long answers
FEW = 8  # prompts, than which fewer show no habit of an endpoint
CACHED = 12  # prompts with samples that are all equal, where everybody else varies
OTHERS = 3  # endpoints that vary on them
EXAMPLE = 120  # characters


@dataclass(frozen=True)
class _Cell:
    """Samples of one endpoint's answer to one prompt: rows, hashes of their texts, and how many words these have."""

    prompt: int
    rows: tuple[int, ...]
    texts: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def counts(self) -> list[int]:
        return list(Counter(self.texts).values())

    @property
    def constant(self) -> bool:
        return len(set(self.texts)) == 1

    @property
    def words(self) -> int:
        return min(self.lengths)

    def copies(self, least: int = 0) -> list[int]:
        """Rows that repeat the text of an earlier one of at least so many words."""
        seen: set[int] = set()
        out = []
        for row, text, words in zip(self.rows, self.texts, self.lengths, strict=True):
            if text in seen and words >= least:
                out.append(row)
            seen.add(text)
        return out


def independent_draws(responses: Responses) -> tuple[Responses, tuple[Removal, ...]]:
    """The same table without samples that are copies, and what was left out of whose answers.

    Left out are, of each endpoint and always but the first:

    * rows written twice: every answer stands there k times, and that is no chance;
    * answers with the id of another one that they repeat;
    * answers of `LONG` words or more that repeat another one, and shorter ones where that is the rule;
    * all samples but one of an answer cache: an endpoint that never varies, on prompts on which all others do.

    Samples at temperature 0 are no draws at all, and nobody counts them as such.

    Short answers may agree: "Paris" twice is two draws. Returns the table itself if nothing is left out.
    """
    cells = _cells(responses)
    dropped: dict[int, Removed] = {}
    everywhere = _everywhere(cells)
    for m, own in enumerate(cells):
        dropped |= _copies(responses, own, [o for k, o in enumerate(cells) if k != m], everywhere)
    if not dropped:
        return responses, ()
    kept = responses.without(sorted(dropped))
    return kept, tuple(_told(responses, dropped))


def _cells(responses: Responses) -> list[list[_Cell]]:
    """The prompts of which an endpoint has several usable samples, by model."""
    out: list[list[_Cell]] = [[] for _ in responses.models]
    for p in range(len(responses.prompts)):
        for m in range(len(responses.models)):
            drawn = responses.prompts[p].temperature != 0 and len(responses.rows(p, m)) > 1
            if drawn and len(rows := responses.usable(p, m)) > 1:
                texts = [responses.text[r].strip() for r in rows]
                lengths = tuple(len(t.split()) for t in texts)
                out[m].append(_Cell(p, tuple(rows), tuple(map(hash, texts)), lengths))
    return out


def _copies(
    responses: Responses, cells: Sequence[_Cell], others: Sequence[Sequence[_Cell]], everywhere: bool
) -> Mapping[int, Removed]:
    """Rows of one endpoint that are no draws of their own, with what they are."""
    times = _times(cells)
    if times > 1 and (everywhere or _no_chance(cells)):
        return dict.fromkeys((r for c in cells for r in _surplus(c, times)), "rows written twice")
    if _is_cache(cells, others):
        return dict.fromkeys((r for c in cells for r in c.rows[1:]), "equal draws")
    least = MIDDLE if _mostly_repeats(cells) else LONG
    found = {r for c in cells for r in c.copies(least)} | _same_ids(responses, cells)
    return dict.fromkeys(sorted(found), "equal draws")


def _times(cells: Sequence[_Cell]) -> int:
    """How many times every answer of an endpoint stands there: the largest number that divides all counts."""
    return reduce(math.gcd, (n for c in cells for n in c.counts), 0)


def _everywhere(cells: Sequence[Sequence[_Cell]]) -> bool:
    """Whether every answer of everybody stands there several times, which is no chance however short they are."""
    told = [own for own in cells if len(own) >= FEW]
    return len(told) >= OTHERS and all(_times(own) > 1 for own in told)


def _no_chance(cells: Sequence[_Cell]) -> bool:
    """Whether copies are what makes every answer of an endpoint stand there several times.

    So it is where answers are long, and where many prompts have several answers, each of them as often.
    """
    varied = sum(not c.constant for c in cells)
    middle, long = (sum(c.words >= least for c in cells) for least in (MIDDLE, LONG))
    return varied >= FEW or middle >= FEW or long >= LEAST


def _surplus(cell: _Cell, times: int) -> list[int]:
    """Rows of a cell but one of every ``times`` that are alike."""
    seen: Counter[int] = Counter()
    out = []
    for row, text in zip(cell.rows, cell.texts, strict=True):
        if seen[text] % times:
            out.append(row)
        seen[text] += 1
    return out


def _mostly_repeats(cells: Sequence[_Cell]) -> bool:
    """Whether an endpoint repeats most answers of some length."""
    told = [c for c in cells if c.words >= MIDDLE]
    return len(told) >= FEW and sum(len(set(c.texts)) < len(c.texts) for c in told) > len(told) / 2


def _is_cache(cells: Sequence[_Cell], others: Sequence[Sequence[_Cell]]) -> bool:
    """Whether an endpoint never varies where every other one mostly does."""
    if len(cells) < CACHED or not all(c.constant for c in cells):
        return False
    prompts = {c.prompt for c in cells}
    shared = [[c for c in other if c.prompt in prompts] for other in others]
    judged = [s for s in shared if len(s) >= CACHED]
    return len(judged) >= OTHERS and all(sum(not c.constant for c in s) > len(s) / 2 for s in judged)


def _same_ids(responses: Responses, cells: Sequence[_Cell]) -> set[int]:
    """Rows that have the id and the text of an earlier one, if ids say anything on this endpoint."""
    said: dict[str, set[tuple[int, int]]] = {}
    out: set[int] = set()
    for c in cells:
        for row, text in zip(c.rows, c.texts, strict=True):
            if name := responses.response_id[row]:
                known = said.setdefault(name, set())
                if (c.prompt, text) in known:
                    out.add(row)
                known.add((c.prompt, text))
    return out if all(len(texts) == 1 for texts in said.values()) else set()


def _told(responses: Responses, dropped: Mapping[int, Removed]) -> Iterable[Removal]:
    by_model: dict[tuple[str, Removed], list[int]] = {}
    for row, kind in sorted(dropped.items()):
        by_model.setdefault((responses.cell(row)[1], kind), []).append(row)
    for (model, kind), rows in by_model.items():
        m = responses.models.index(model)
        of = sum(len(responses.usable(p, m)) for p in range(len(responses.prompts)))
        yield Removal(model, kind, len(rows), of, responses.text[rows[0]].strip()[:EXAMPLE])


def with_twin(responses: Responses, name: str, twin: str) -> Responses:
    """The same table in which every second sample of one model is another model's: a known positive."""
    at, m = responses.models.index(name), len(responses.models)
    order: list[int] = []
    counts = np.zeros((len(responses.prompts), m + 1), dtype=np.int64)
    asked = np.column_stack([responses.asked, responses.asked[:, at]])
    for p in range(len(responses.prompts)):
        split = list(responses.rows(p, at))
        for j in range(m):
            rows = split[::2] if j == at else list(responses.rows(p, j))
            order += rows
            counts[p, j] = len(rows)
        order += split[1::2]
        counts[p, -1] = len(split[1::2])
        asked[p, -1] = responses.prompts[p].samples > 1 and responses.asked[p, at]
    out = responses.picked((*responses.models, twin), responses.prompts, counts, asked, order)
    furniture = {**out.furniture, twin: out.furniture.get(name, Furniture())}
    return out.doubting(out.doubted | {(twin, t) for n, t in out.doubted if n == name}, furniture=furniture)
