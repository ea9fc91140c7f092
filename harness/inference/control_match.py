"""Do the controls resemble the candidate? Unlike controls make the candidate's kin look unusual, and strangers too.

Recorded figures: with controls of another time, size or training 21 to 59 % false alarms at a nominal 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.channels.base import answer, answer_rows, words
from harness.inference.findings import Caveat
from harness.records import Responses

LONGER = 2.5  # in the usual length of an answer
LAYOUT = 0.5  # in the share of answers with lists, headings or bold
ANSWERS = 200  # read of each model


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
    own = responses.among([responses.models.index(model)])
    rows = [r for p in prompts[::step] if (r := next(answer_rows(own, p, 0), None)) is not None]
    if not rows:
        return float("nan"), float("nan")
    lengths, marked = zip(*(own.cached(_length_and_layout, r) for r in rows), strict=True)
    return float(max(1.0, np.median(lengths))), float(np.mean(marked))


def _length_and_layout(responses: Responses, row: int) -> tuple[int, bool]:
    """Words of one answer, and whether it has markdown."""
    text = answer(responses, row)
    lines = text.splitlines()
    return len(words(text)), any(x.lstrip().startswith(("- ", "* ", "#", "1.")) or "**" in x for x in lines)
