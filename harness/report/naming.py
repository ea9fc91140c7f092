"""Attributions and quick looks in plain English: what a suspect is called, by what, and what to ask next."""

from __future__ import annotations

from collections.abc import Mapping

from harness.inference.findings import Attribution, Tier
from harness.inference.quick_look import Cheap, Look, Next, Sight
from harness.report.caveats import caveat
from harness.report.text import plain, short


def attributed(a: Attribution) -> str:
    """An attribution in plain sentences: the tier, whom it names, and how seldom an unknown model looks so."""
    if a.tier == "none":
        if not a.closest:
            return f"{a.suspect} could not be compared with the known models."
        return (
            f"{a.suspect} is none of the known models, as far as this can tell: an unknown one could look as much like "
            f"one of them. The closest is {a.closest}."
        )
    said = _TIERS[a.tier, len(a.named) > 1].format(suspect=a.suspect, first=a.named[0], makers=_makers_of(a))
    others = f" Further ones that pass: {', '.join(a.named[1:])}." if len(a.named) > 1 else ""
    return f"{said}{others} An unknown model would look so with p = {short(a.p_unknown)}."


_TIERS: Mapping[tuple[Tier, bool], str] = {
    ("model", False): "{suspect} is {first} or close kin of it.",
    ("model", True): "{suspect} is {first} or close kin of it, or of another known model that is as close.",
    ("maker", False): "{suspect} is something of {makers}: it is like {first}, as other models of that maker are, too.",
    ("maker", True): "{suspect} is something of {makers}: it is most like {first}.",
}


def _makers_of(a: Attribution) -> str:
    """Who made the models that are named; their names where no maker is known."""
    by = {m.name: m.maker for m in a.matches}
    return " or ".join(dict.fromkeys(by.get(n) or f"the maker of {n}" for n in a.named))


def attribution_basis(a: Attribution) -> str:
    """What an attribution was decided by, and what the known models were."""
    if a.rule == "classifier":
        return f"by the text classifier, {a.answers} answers; {a.lineages} known lineages"
    table = "" if a.rule == "conformal" else ", too few to stand alone: mostly by a table measured on other models"
    return f"answers to the same {a.prompts} prompts; {a.lineages} known lineages{table}{_recorded(a)}"


def _recorded(a: Attribution) -> str:
    times = [t[:10] for m in a.matches for t in m.recorded if t]
    if not times:
        return ""
    first, last = min(times), max(times)
    return f"; recorded {first}" if first == last else f"; recorded {first} to {last}"


def attribution_note(a: Attribution) -> str:
    """Why there is no attribution, or what it would take."""
    return caveat(a.caveat) if a.caveat is not None else ""


_SAID: Mapping[tuple[Cheap, Tier], str] = {
    (
        "tokenizer",
        "maker",
    ): "counts tokens exactly as {closest}: one tokenizer family, which unrelated models share",
    ("tokenizer", "none"): "counts tokens as none of the known models; the closest is {closest}",
    ("integers", "model"): "writes numbers as {closest} does",
    ("integers", "none"): "no known model writes numbers as it does; the closest is {closest}",
    ("short prompts", "model"): "is {closest} or close kin of it",
    ("short prompts", "maker"): "is something of the maker of {closest}",
    (
        "short prompts",
        "none",
    ): "is none of the known models, as far as this can tell; the closest is {closest}",
}
_NEXT: Mapping[Next, str] = {
    "ask for more known models": "add known models: short prompts name nobody among fewer than five lineages",
    "kinship and identity": "worth its money: kinship with {closest} as the candidate, and identity (several samples, "
    "logprobs) to tell the same weights from a relative",
    "kinship of the maker": "worth its money: kinship with each known model of that maker as the candidate",
    "full attribution": "worth its money: attribution on 100 prompts with 19 or more known lineages (`harness run`)",
    "stop": 'or stop here: where nothing cheap names a model, 100 prompts mostly say "none of these" as well',
}


def look_text(look: Look) -> str:
    """A quick look as lines for people, what answers say of themselves first."""
    lines = [f"observed, {o.what}: {plain(o.value)}" for o in look.observed]
    lines += [f"{s.what}: {look.endpoint} {sight_said(s)}" for s in look.sights]
    closest = next((s.closest[0] for s in look.sights if s.what == "short prompts"), "")
    lines += [f"next: {_NEXT[n].format(closest=closest)}" for n in look.next]
    return "\n".join(lines)


def sight_said(s: Sight) -> str:
    """What one cheap thing says, with its number, chance and price."""
    text = plain(_SAID[s.what, s.tier].format(closest=", ".join(s.closest)))
    unit = "exact counts" if s.what == "tokenizer" else "score" if s.what == "short prompts" else "1 - JSD"
    floor = f", not under {short(s.floor)}" if s.floor == s.floor else ""
    chance = f", p = {short(s.p)}{floor}" if s.p == s.p else ""
    return f"{text} ({unit} {short(s.value)}{chance}; {s.calls} calls)"
