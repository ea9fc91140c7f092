"""What readers say of a suspect, in sentences and rows: shown beside the verdicts, and decides none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.inference.liking import Liking, Missing
from harness.inference.palimpsest import Order
from harness.records import Observation
from harness.report.numbers import number

CHANNEL = "readers"
_MISSING: Mapping[Missing, str] = {
    "no reader of its lineage": "no reader is of the lineage of {candidate}: name one under `readers:`",
    "no rival reader": "all readers are of the lineage of {candidate}, so that nothing tells a liking from plain "
    "prose: add one of another lineage",
    "few controls": "{controls} controls have answers that were read, too few to rank {suspect} among",
    "not read": "no answer of {suspect} was read: `harness run` gives readers what they have not read",
}
FAILED = 0.2  # rank of the candidate's own answers, from which its readers do not know them


def observed(likings: Sequence[Liking]) -> tuple[Observation, ...]:
    """A line a suspect and candidate."""
    return tuple(Observation(CHANNEL, k.suspect, f"read for {k.candidate}", said(k)) for k in likings)


def said(k: Liking) -> str:
    """What the readers of a candidate's lineage make of a suspect, and whether they know the candidate's answers."""
    if k.missing:
        return _MISSING[k.missing].format(suspect=k.suspect, candidate=k.candidate, controls=k.controls)
    more = "more" if k.effect > 0 else "less"
    own = "their" if len(k.readers) > 1 else "its"
    liked = (
        f"{', '.join(k.readers)} finds {k.suspect}'s answers {more} likely than {k.controls} controls', by "
        f"{number(abs(k.effect))} of their standard deviations beyond what {', '.join(k.rivals)} explains "
        f"(p = {number(k.p)}, {k.prompts} prompts)"
    ).replace(" finds ", " find " if len(k.readers) > 1 else " finds ", 1)
    if k.p_candidate != k.p_candidate:
        return f"{liked}; whether {own} liking follows lineage is not known, as no answer of {k.candidate} was read"
    check = f"effect {number(k.effect_candidate)}, p = {number(k.p_candidate)}"
    if k.p_candidate > FAILED:
        return f"{liked}; it tells nothing, for the answers of {k.candidate} itself are not liked either ({check})"
    return f"{liked}; of {k.candidate}'s own answers: {check}"


def rows(likings: Sequence[Liking]) -> Iterator[Sequence[object]]:
    """Rows of readings.csv."""
    for k in likings:
        yield [
            k.suspect, k.candidate, ", ".join(k.readers), ", ".join(k.rivals), k.effect, k.p, k.p_floor,
            k.effect_candidate, k.p_candidate, k.prompts, k.controls, k.missing, said(k),
        ]  # fmt: skip


def ordered(suspect: str, o: Order) -> str:
    """What the order of texts says of a suspect."""
    if o.p <= 0.05:
        found = (
            "finds later texts likelier than models that never saw them do, as one trained on them in this order would"
        )
    else:
        found = "shows no sign of having been trained on these texts in this order"
    at_least = ", the smallest that so many permutations allow" if o.p <= o.p_floor else ""
    return (
        f"{suspect} {found}: rank correlation with position {number(o.rho)} over {o.texts} texts, p = {number(o.p)}"
        f"{at_least}. The p-value holds if the order was drawn at random."
    )
