"""Do the controls resemble the candidate? Unlike controls make the candidate's kin look unusual, and strangers too.

Recorded figures: with controls of another time, size or training 21 to 59 % false alarms at a nominal 5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.channels.base import answer, answer_rows, words
from harness.config.schema import Campaign, Endpoint
from harness.records import Responses

MONTHS = 18  # between releases
TIMES = 8.0  # in parameters
LONGER = 2.5  # in the usual length of an answer
LAYOUT = 0.5  # in the share of answers with lists, headings or bold
ENOUGH = 8  # control lineages
ANSWERS = 200  # read of each model


def described(campaign: Campaign, candidate: Endpoint) -> list[str]:
    """Warnings from what the config says of candidate and controls; what it leaves out is not judged."""
    controls = [e for e in campaign.endpoints if e.role == "control" and e.lineage != candidate.lineage]
    traits: list[tuple[str, Callable[[Endpoint], bool | None]]] = [
        (f"released more than {MONTHS} months from it", lambda e: _far_in_time(e, candidate)),
        (f"more than {TIMES:g} times smaller or larger", lambda e: _far_in_size(e, candidate)),
        ("unlike it in reasoning before they answer", lambda e: _differ(e.reasoning, candidate.reasoning)),
    ]
    notes = []
    for what, unlike in traits:
        judged = [(e.name, u) for e in controls if (u := unlike(e)) is not None]
        far = [name for name, u in judged if u]
        if judged and len(far) * 2 > len(judged):
            notes.append(
                f"controls of {candidate.name} that are {what}: {', '.join(far)}; prefer some that resemble it"
            )
    vendors = [e.vendor.casefold() for e in controls if e.vendor]
    if len(vendors) > 2 and max(map(vendors.count, vendors)) * 2 > len(vendors):
        most = max(vendors, key=vendors.count)
        notes.append(f"most controls of {candidate.name} are of one maker ({most}): kin of one another hide its kin")
    return notes


def _far_in_time(e: Endpoint, candidate: Endpoint) -> bool | None:
    if not e.released or not candidate.released:
        return None
    a, b = ([int(x) for x in day.split("-")] for day in (e.released, candidate.released))
    return abs((a[0] - b[0]) * 12 + a[1] - b[1]) > MONTHS


def _far_in_size(e: Endpoint, candidate: Endpoint) -> bool | None:
    if not e.parameters_b or not candidate.parameters_b:
        return None
    return max(e.parameters_b / candidate.parameters_b, candidate.parameters_b / e.parameters_b) > TIMES


def _differ(a: bool | None, b: bool | None) -> bool | None:
    return None if a is None or b is None else a != b


def observed(responses: Responses, candidate: str, controls: Sequence[str]) -> list[str]:
    """Warnings from the answers: controls that mostly answer much shorter, longer, or in another layout."""
    length, marked = _manner(responses, candidate)
    manners = [m for c in controls if np.isfinite((m := _manner(responses, c))[0])]
    if not np.isfinite(length) or not manners:
        return []
    lengths, marks = np.array(manners).T
    notes = []
    far = np.maximum(lengths / length, length / lengths) > LONGER
    if far.mean() > 0.5:
        notes.append(
            f"controls unlike the candidate: {candidate} usually answers in {length:.0f} words, "
            f"the controls in {np.median(lengths):.0f}"
        )
    if (np.abs(marks - marked) > LAYOUT).mean() > 0.5:
        notes.append(
            f"controls unlike the candidate: {marked:.0%} of {candidate}'s answers have lists, headings or bold, "
            f"of the controls' {np.median(marks):.0%}"
        )
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
