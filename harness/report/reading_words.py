"""What readers say of a suspect, in sentences and rows: shown beside the verdicts, and decides none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.inference.greedy import Greedy
from harness.inference.greedy import Missing as Unfollowed
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
_UNFOLLOWED: Mapping[Unfollowed, str] = {
    "no reader of its lineage": "no reader is of the lineage of {candidate}, so that nothing is read token by token",
    "no greedy answers": "{suspect} gave no answer at temperature 0, so that nothing is read token by token",
    "not read": "no reader of the lineage of {candidate} says which token it would have chosen in {suspect}'s answers",
}
ALIKE = 0.9  # share of the candidate's own tokens, under which a reader is not what the candidate is served with


def observed(likings: Sequence[Liking], followings: Sequence[Greedy]) -> tuple[Observation, ...]:
    """Two lines a suspect and candidate."""
    read = [Observation(CHANNEL, k.suspect, f"read for {k.candidate}", said(k)) for k in likings]
    return (*read, *(Observation(CHANNEL, g.suspect, f"greedy for {g.candidate}", traced(g)) for g in followings))


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


def traced(g: Greedy) -> str:
    """How many of a suspect's tokens at temperature 0 a reader would have chosen, beside the candidate's own."""
    if g.missing:
        return _UNFOLLOWED[g.missing].format(suspect=g.suspect, candidate=g.candidate)
    strangers = (
        f" ({g.agreement_controls:.1%} of the controls')" if g.agreement_controls == g.agreement_controls else ""
    )
    found = (
        f"at temperature 0, {g.reader} would have chosen {g.agreement:.1%} of {g.suspect}'s tokens{strangers}: "
        f"{g.tokens} tokens, {g.prompts} prompts, {number(g.lost)} nats lost a token"
    )
    if g.p != g.p:
        return (
            f"{found}; what a server's rounding makes of it is not known, as no such answer of {g.candidate} was read"
        )
    own = (
        f"of {g.candidate}'s own {g.agreement_candidate:.1%}, {number(g.lost_candidate)} nats lost (p = {number(g.p)})"
    )
    if g.agreement_candidate < ALIKE:
        return f"{found}; {own}, so that it tells little: {g.candidate} has other weights, or another template"
    if g.p > 0.05:
        return f"{found}; {own}: not told apart"
    if g.lost < g.lost_candidate:
        return f"{found}; {own}: nearer to the reader than {g.candidate}'s"
    return f"{found}; {own}: other weights, coarser ones, another system prompt or rounding than {g.candidate}'s"


def rows(likings: Sequence[Liking], followings: Sequence[Greedy]) -> Iterator[Sequence[object]]:
    """Rows of readings.csv."""
    for k, g in zip(likings, followings, strict=True):
        yield [
            k.suspect, k.candidate, ", ".join(k.readers), ", ".join(k.rivals), k.effect, k.p, k.p_floor,
            k.effect_candidate, k.p_candidate, k.prompts, k.controls, k.missing, said(k),
            g.reader, g.agreement, g.agreement_candidate, g.agreement_controls, g.lost, g.lost_candidate, g.p,
            g.p_floor, g.prompts, g.tokens, g.missing, traced(g),
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
