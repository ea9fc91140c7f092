"""What `harness monitor` found of an endpoint, in words: told apart from its baseline or not, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping

from harness.inference.drift import Baseline, Change, ChangeGround, Drift, News

_CHANGES: Mapping[ChangeGround, str] = {
    "told apart": "{channels} tells the new answers from the baseline",
    "not told apart": "the new answers cannot be told from the baseline",
    "too few samples": "so few samples cannot give a p below {bound:.2g}; ask more samples or prompts",
    "no two samples": "no prompt has two answers on both sides at a temperature above 0",
    "no channel may decide": "no channel may decide",
    "too few answered again": "only {bound:.0%} of the baseline's calls were answered again",
}


def change_sentence(c: Change) -> str:
    """What `monitor` found of one endpoint."""
    return _CHANGES[c.ground].format(channels=", ".join(c.decisive), bound=c.bound)


def change_notes(c: Change) -> list[str]:
    """Channels that do not decide, and what the server says of itself that it did not say before."""
    channels = [f"{d.channel} {note}" for d in c.channels if (note := drift_note(d))]
    return [*channels, *map(_news, c.news)]


def drift_note(d: Drift) -> str:
    """Why a channel does not decide; empty if it does."""
    if d.part == "reported":
        return "is reported only: logprobs move with a server's load"
    return f"abstains: the baseline's own halves differ (p = {d.noise_p:.2g})" if d.part == "abstains" else ""


def baseline_words(b: Baseline) -> str:
    """What an endpoint was compared with, and of when that is."""
    days = " to ".join(dict.fromkeys(t[:10] for t in (b.first, b.last) if t)) or "no known day"
    said = f" of {', '.join(b.models)[:120]}" if b.models else ""
    return f"against {b.answers} answers{said} to {b.prompts} prompts from {days} in {b.store}"


def unseen_words(c: Change) -> str:
    """Kinds of evidence that a baseline has nothing of."""
    there = {d.channel.partition(" ")[0] for d in c.channels}
    return "".join(f"; nothing is known of {name}" for name in ("text", "logprobs") if name not in there)


def _news(n: News) -> str:
    was = f" (was {', '.join(n.before)[:200]})" if n.before else ""
    return f"{n.field} is new: {', '.join(n.now)[:200]}{was}"
