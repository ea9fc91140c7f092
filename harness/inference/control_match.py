"""Do the controls resemble the candidate? Unlike controls make the candidate's kin look unusual, and strangers too.

Recorded figures: with controls of another time, size or training 21 to 59 % false alarms at a nominal 5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from harness.channels.base import first_answer, words
from harness.inference.findings import Caveat, CaveatKind
from harness.records import Responses

MONTHS = 18  # between releases
TIMES = 8.0  # in parameters
LONGER = 2.5  # in the usual length of an answer
LAYOUT = 0.5  # in the share of answers with lists, headings or bold
ENOUGH = 8  # control lineages
ANSWERS = 200  # read of each model


class Described(Protocol):
    """What a config says of a model, as far as it says it."""

    @property
    def name(self) -> str: ...
    @property
    def lineage(self) -> str | None: ...
    @property
    def released(self) -> str | None: ...
    @property
    def parameters_b(self) -> float | None: ...
    @property
    def reasoning(self) -> bool | None: ...
    @property
    def vendor(self) -> str | None: ...


def described(candidate: Described, controls: Sequence[Described]) -> list[Caveat]:
    """Controls that do not resemble the candidate by what the config says; what it leaves out is not judged."""
    controls = [e for e in controls if e.lineage != candidate.lineage]
    traits: list[tuple[CaveatKind, Callable[[Described], bool | None], float]] = [
        ("unlike in time", lambda e: _far_in_time(e, candidate), MONTHS),
        ("unlike in size", lambda e: _far_in_size(e, candidate), TIMES),
        ("unlike in reasoning", lambda e: _differ(e.reasoning, candidate.reasoning), 0),
    ]
    notes = []
    for kind, unlike, bound in traits:
        judged = [(e.name, u) for e in controls if (u := unlike(e)) is not None]
        far = [name for name, u in judged if u]
        if judged and len(far) * 2 > len(judged):
            notes.append(Caveat(kind, names=(candidate.name, *far), values=(bound,)))
    vendors = [e.vendor.casefold() for e in controls if e.vendor]
    if len(vendors) > 2 and max(map(vendors.count, vendors)) * 2 > len(vendors):
        notes.append(Caveat("one maker", names=(candidate.name, max(vendors, key=vendors.count))))
    return notes


def _far_in_time(e: Described, candidate: Described) -> bool | None:
    if not e.released or not candidate.released:
        return None
    a, b = ([int(x) for x in day.split("-")] for day in (e.released, candidate.released))
    return abs((a[0] - b[0]) * 12 + a[1] - b[1]) > MONTHS


def _far_in_size(e: Described, candidate: Described) -> bool | None:
    if not e.parameters_b or not candidate.parameters_b:
        return None
    return max(e.parameters_b / candidate.parameters_b, candidate.parameters_b / e.parameters_b) > TIMES


def _differ(a: bool | None, b: bool | None) -> bool | None:
    return None if a is None or b is None else a != b


def observed(responses: Responses, candidate: str, controls: Sequence[str]) -> list[Caveat]:
    """Controls that mostly answer much shorter or longer than the candidate, or in another layout."""
    length, marked = _manner(responses, candidate)
    manners = [m for c in controls if np.isfinite((m := _manner(responses, c))[0])]
    if not np.isfinite(length) or not manners:
        return []
    lengths, marks = np.array(manners).T
    notes = []
    if (np.maximum(lengths / length, length / lengths) > LONGER).mean() > 0.5:
        notes.append(Caveat("unlike in length", names=(candidate,), values=(length, float(np.median(lengths)))))
    if (np.abs(marks - marked) > LAYOUT).mean() > 0.5:
        notes.append(Caveat("unlike in layout", names=(candidate,), values=(marked, float(np.median(marks)))))
    return notes


def _manner(responses: Responses, model: str) -> tuple[float, float]:
    """Median words of an answer, and the share of answers with markdown."""
    prompts = responses.where("wording")
    step = max(1, len(prompts) // ANSWERS)
    texts = [first_answer(responses, p, responses.models.index(model)) for p in prompts[::step]]
    said = [t for t in texts if t]
    if not said:
        return float("nan"), float("nan")
    marked = [any(line.lstrip().startswith(("- ", "* ", "#", "1.")) or "**" in line for line in t.splitlines())
              for t in said]  # fmt: skip
    return float(max(1.0, np.median([len(words(t)) for t in said]))), float(np.mean(marked))
