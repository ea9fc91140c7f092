"""What a survey found, in sentences: the pairs that stand, what they were ranked among, and what that does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.inference.branches import Group
from harness.inference.survey import Relation, Standard, Survey, SurveyedPair
from harness.report.caveats import caveat

_STANDARDS: Mapping[Standard, str] = {
    "references": "Each pair is ranked among {n} pairs that are unrelated by the config: of other lineages and makers, "
    "where one of the two is a control or both are of known lineage.",
    "other makers": "No controls are named, so each pair is ranked among {n} pairs of two known makers, which are "
    "taken for unrelated. Kin of one maker, and of a model whose maker is unknown, can be found in this way; that one "
    "known maker's model descends from another's cannot.",
    "none": "No controls are named and too few makers are known: there is nothing to rank a pair among, so that pairs "
    "have an order and no p-values. Name unrelated models with `role: control`.",
}
_KNOWN: Mapping[Relation, str] = {
    "kin": "of one lineage by the config",
    "unrelated": "others are ranked among such pairs",
    "not asked": "of one maker, or of unknown lineage, and nobody's question",
    "asked": "",
}


def headline(s: Survey) -> str:
    """How many pairs stand, or why none does."""
    if s.standard == "none":
        return f"Of {len(s.names)} models no pair can be called: nothing is known to be unrelated."
    if s.standing:
        found, of = len(s.standing), len(s.groups)
        return (
            f"{found} of {s.asked} pairs that were asked about {'stands' if found == 1 else 'stand'} at a false "
            f"discovery rate of {s.alpha:g}, in {of} {'group' if of == 1 else 'groups'}."
        )
    why = f": {s.fewest} or more stand, or none" if s.fewest > 1 else ""
    return f"None of {s.asked} pairs that were asked about stands at a false discovery rate of {s.alpha:g}{why}."


def meaning(s: Survey) -> str:
    """What standing means, and what pairs were ranked among."""
    claim = (
        "A pair that stands is closer than unrelated models are. One may descend from the other or both from a third; "
        "one may have learned from the other's answers, or both from the same data; or one house made both. The survey "
        "does not tell these apart: put a pair into a campaign of its own, as suspect and candidate. "
    )
    return (claim if s.standing else "") + _STANDARDS[s.standard].format(n=s.unrelated)


def group_name(s: Survey, number: int) -> str:
    """The models of a group, and how it holds together."""
    g = s.groups[number - 1]
    links = f"{g.links} of {g.most} pairs stand" if g.most > 1 else "the pair stands"
    return f"{', '.join(members(s, g))} ({links}; held together in {g.support:.0%} of resampled prompts)"


def members(s: Survey, g: Group) -> list[str]:
    """Names of a group's models."""
    return [s.names[i] for i in g.members]


def note(p: SurveyedPair) -> str:
    """Why a pair does not stand, where its rank would let it; or what is known of it."""
    return _KNOWN[p.relation] if p.withheld is None else f"withheld: {caveat(p.withheld)}"


def limits(s: Survey) -> list[str]:
    """What limits a survey."""
    found = [caveat(c) for c in s.caveats]
    if s.standard != "none" and s.fewest > 1 and s.standing:
        found.append(
            f"with {s.asked} questions and {s.unrelated} unrelated pairs {s.fewest} pairs or more stand, or none; "
            "further controls lower that number"
        )
    if s.kin and s.standing:
        found.append(f"of {s.kin} pairs of one lineage by the config {s.kin_found} are as close as those that stand")
    if withheld := sum(p.withheld is not None for p in s.pairs):
        found.append(f"{withheld} pairs are close and withheld; survey.csv says why")
    if any(g.links < g.most for g in s.groups):
        found.append("a group is a chain of pairs that stand; not every pair in it need")
    return found


def table_rows(s: Survey) -> list[tuple[SurveyedPair, Sequence[str]]]:
    """Every pair, the closest first, with lineages and makers of both; empty where unknown."""
    by = {m.name: m for m in s.models}
    known = [
        (p, (by[p.a].lineage or "", by[p.b].lineage or "", by[p.a].maker or "", by[p.b].maker or "")) for p in s.pairs
    ]
    return sorted(known, key=lambda row: (row[0].excess != row[0].excess, -row[0].excess))


def record(s: Survey) -> dict[str, Any]:
    """A survey as plain values, its pairs that stand, and all its branches."""
    return {
        "question": "survey",
        "headline": headline(s),
        "meaning": meaning(s),
        "standard": s.standard,
        "false_discovery_rate": s.alpha,
        "asked": s.asked,
        "unrelated": s.unrelated,
        "fewest": s.fewest,
        "prompts": s.prompts,
        "channels": list(s.channels),
        "pairs": [
            {"a": p.a, "b": p.b, "excess": p.excess, "p": p.p, "q": p.q, "support": p.support, "group": p.group}
            for p in s.standing
        ],
        "groups": [
            {"models": members(s, g), "links": g.links, "pairs": g.most, "support": g.support} for g in s.groups
        ],
        "branches": [
            {"models": [s.names[i] for i in b.members], "height": b.height, "support": b.support} for b in s.branches
        ],
        "limits": limits(s),
    }
