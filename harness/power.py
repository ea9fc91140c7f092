"""Expected power of a campaign before anybody is asked: what it would find, and the cheapest change to find more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, nan
from statistics import median
from typing import TYPE_CHECKING

from harness.config import (
    Campaign,
    Endpoint,
    lineage_of,
    told_of,
    well_known_as,
)
from harness.inference.excess import controls_needed, reaches, smallest_p
from harness.inference.pool import Model, Pool, candidates_apart, pool_for
from harness.plan import Plan, looks_of

if TYPE_CHECKING:
    from harness.inference.likelihood import LikelihoodTable

WORDS = 0.7  # a token, of English text
LONG = 60.0  # words of an answer, from which more were not measured to find more


@dataclass(frozen=True)
class Power:
    """What a campaign can find of one candidate's kin: by channel how many prompts, and the shares of pairs found.

    ``close`` and ``base`` are those of close kin and of models of one pretrained base, by rank in this channel alone,
    as measured on recorded answers; NaN where nobody measured that. ``alpha`` is shared by ``looks`` verdicts.
    """

    candidate: str
    channel: str
    controls: int
    prompts: int
    looks: int
    alpha: float
    close: float
    base: float


def expected_power(plan: Plan) -> list[Power]:
    """How often kinship would be found before anybody is asked, one row a candidate and measured channel.

    A channel of fewer prompts than were measured has none. Lengths of answers are not known yet: what ``max_tokens``
    leaves room for counts, and the usual one where that is more.
    """
    from harness.inference.likelihood import shipped_tables

    tables = shipped_tables()
    counts = {channel: sum(channel in p.channels for p in plan.prompts) for channel in tables}
    out = []
    for candidate in kinship_candidates(plan.campaign):
        k, looks = len(smallest_pool(plan.campaign, candidate).controls), looks_of(plan.campaign)
        for channel, n in counts.items():
            if n:
                alpha = plan.campaign.analysis.alpha / looks
                room = room_for(plan, channel)
                close, base = (tables[channel].rate(r, k, n, room, alpha) for r in ("close", "base"))
                out.append(Power(candidate.name, channel, k, n, looks, plan.campaign.analysis.alpha, close, base))
    return out


def room_for(plan: Plan, channel: str) -> float:
    """Words that most prompts of a channel leave room for; NaN where an answer may be as long as it likes."""
    most = [p.max_tokens for p in plan.prompts if channel in p.channels and p.max_tokens is not None]
    return WORDS * median(most) if most else nan


def power_text(powers: Sequence[Power], plan: Plan) -> list[str]:
    """Expected power in words, and the cheapest change that raises it, one line a candidate."""
    from harness.inference.likelihood import shipped_tables

    lines, tables = survey_text(plan.campaign), shipped_tables()
    for candidate in dict.fromkeys(p.candidate for p in powers):
        own = [p for p in powers if p.candidate == candidate]
        first = own[0]
        shared = f" ({first.looks} verdicts share {first.alpha:g})" if first.looks > 1 else ""
        if not reaches(least_adjusted(plan.campaign, first.controls), first.alpha):
            need = controls_needed(first.alpha / first.looks) - first.controls
            few = f"no kinship can be found with {first.controls} control lineages{shared}"
            lines.append(f"{candidate}: {few}; {need} more would do")
            continue
        told = "; ".join(f"{p.channel} of {p.prompts} prompts{_cut(plan, p)} {_shares(p)}" for p in own)
        change = _cheapest(own, plan, tables)
        lines.append(f"{candidate}: with {first.controls} control lineages{shared} {told}{change}")
    return lines


def _cut(plan: Plan, p: Power) -> str:
    """That answers are cut short, where they are; ratings are short by themselves."""
    room = room_for(plan, p.channel)
    return f" in answers of {room:.0f} words" if p.channel == "wording" and room < LONG else ""


def survey_text(campaign: Campaign) -> list[str]:
    """What a survey can find before anybody is asked: its questions, what they are ranked among, and the fewest pairs
    that can stand; a line, or none without a survey."""
    if "survey" not in campaign.analysis.questions:
        return []
    from harness.inference.survey import design, fewest_discoveries  # SciPy's statistics are slow to load

    models, a = [model_of(e) for e in campaign.endpoints], campaign.analysis
    plan = design(models, a.controls)
    if plan.standard == "none":
        return ["survey: no pair can be called: name unrelated models with `role: control`, of four lineages or more"]
    asked, unrelated = plan.count("asked"), plan.count("unrelated")
    fewest = fewest_discoveries(asked, unrelated, a.alpha)
    what = "unrelated pairs" if plan.standard == "references" else "pairs of two known makers, as there are no controls"
    told = f"survey: {asked} pairs are asked about, ranked among {unrelated} {what}"
    if not asked:
        return [f"{told}; every relation is known, so there is nothing to find"]
    if fewest > asked:
        need = ceil(1 / a.alpha) - 1
        return [f"{told}; none can stand at {a.alpha:g}: that takes {need} unrelated pairs or more, so add controls"]
    least = f"{fewest} pairs or more are closer" if fewest > 1 else "one pair or more is closer"
    return [f"{told}; at a false discovery rate of {a.alpha:g} none stands unless {least} than all of these"]


def _shares(p: Power) -> str:
    if p.close != p.close:
        return "was not measured on so few"
    return f"finds {100 * p.close:.0f} in 100 close kin and {100 * p.base:.0f} in 100 pairs of one base"


def _cheapest(own: Sequence[Power], plan: Plan, tables: Mapping[str, LikelihoodTable]) -> str:
    """The change that finds most further pairs of one base for a thousand calls: controls, prompts, or ratings."""
    size, best = len(plan.campaign.endpoints), max((p.base for p in own if p.base == p.base), default=0.0)
    asked = {p.channel: p.prompts for p in own}
    k, alpha = own[0].controls, own[0].alpha / own[0].looks
    ways = []
    for channel, table in tables.items():
        n = asked.get(channel, 0)
        more = max(n, table.prompts[0])
        room = room_for(plan, channel)
        ways.append((table.rate("base", k, n + more, room, alpha), more * size, f"{more} more prompts for {channel}"))
        if n:
            ways.append((table.rate("base", k + 4, n, room, alpha), 4 * len(plan.prompts), "4 more control lineages"))
    gains = [((rate - best) / calls, rate, calls, what) for rate, calls, what in ways if rate > best + 0.05]
    if not gains:
        return ""
    _, rate, calls, what = max(gains)
    return f". {what} (about {calls} calls) would find {100 * rate:.0f} in 100 of those"


def least_adjusted(campaign: Campaign, controls: int) -> float:
    """The smallest p of kinship after correction for all verdicts, by Holm or as the best of many candidates."""
    roles = [e.role for e in campaign.endpoints]
    suspects, candidates = roles.count("suspect"), roles.count("candidate")
    by_rank = smallest_p(controls) * looks_of(campaign)
    if candidates < 2 or not candidates_apart([model_of(e) for e in campaign.endpoints if e.role == "candidate"]):
        return by_rank
    others = looks_of(campaign) - suspects * candidates
    return min(by_rank, smallest_p(controls, candidates) * (suspects + others))


def kinship_candidates(campaign: Campaign) -> list[Endpoint]:
    return [e for e in campaign.endpoints if e.role == "candidate"] if "kinship" in campaign.analysis.questions else []


def smallest_pool(campaign: Campaign, candidate: Endpoint) -> Pool:
    """The pool of a candidate with the suspect that leaves it the fewest controls, as verdicts count them."""
    models = [model_of(e) for e in campaign.endpoints]
    own = next(m for m in models if m.name == candidate.name)
    rule = campaign.analysis.controls
    pools = [pool_for(m, own, models, [], 0.0, rule) for m in models if m.role == "suspect"]
    return min(pools, key=lambda p: len(p.controls))


def model_of(e: Endpoint, thinking: bool = False) -> Model:
    """An endpoint as inference sees it; that it thinks is taken from what was seen, written or well known."""
    model = Model(e.name, e.role, lineage_of(e), *told_of(e))
    thinks = well_known_as(e).thinks if e.reasoning is None else e.reasoning
    return replace(model, thinks=True if thinking else thinks)
