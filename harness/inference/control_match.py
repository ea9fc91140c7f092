"""Do the controls resemble the candidate? Unlike controls make the candidate's kin look unusual, and strangers too.

Recorded figures: with controls of another time, size or training 21 to 59 % false alarms at a nominal 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.channels.base import first_answer, words
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
    texts = [first_answer(responses, p, responses.models.index(model)) for p in prompts[::step]]
    said = [t for t in texts if t]
    if not said:
        return float("nan"), float("nan")
    marked = [any(line.lstrip().startswith(("- ", "* ", "#", "1.")) or "**" in line for line in t.splitlines())
              for t in said]  # fmt: skip
    return float(max(1.0, np.median([len(words(t)) for t in said]))), float(np.mean(marked))
