"""What an endpoint's answers say of themselves, where it contradicts what was asked: shown first, and never counted.

The name of the model and of the host that a server states, the tokenizer family that its token counts fit, and the
maker that the model names when it is asked. Each can be forged, and each has innocent reasons; none is evidence alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.channels.self_report import named_makers
from harness.channels.tokenizer import FAMILY_MAKERS, nearest_families
from harness.config import Endpoint, Remote, bare, maker_named, told_of
from harness.records import Observation, Responses

Counts = Mapping[str, int]
_OWNER = re.compile(r"^.*/")
_BESIDE = re.compile(r"(\d|latest|preview|instruct|chat|it|free|fp\d+|bf16|gguf|q\d)*")  # what may follow a name
SHORTEST = 2  # characters of a name that may be followed by such


@dataclass(frozen=True)
class Stated:
    """What the answers of one endpoint state: names of models and of hosts, with how many answers say so."""

    models: Counts
    providers: Counts


def contradictions(
    endpoints: Sequence[Endpoint], stated: Mapping[str, Stated], responses: Responses
) -> tuple[Observation, ...]:
    """Observations of each endpoint that contradict what was asked, suspects first.

    Parameters
    ----------
    endpoints : of the campaign
    stated : by endpoint, as the store has it
    responses : the answers, for token counts and for what models say they are

    Returns
    -------
    tuple of Observation
        Channel "metadata". A dated snapshot of the model that was asked for contradicts nothing.
    """
    families = nearest_families(responses)
    claims = named_makers(responses)
    out: list[Observation] = []
    for e in sorted(endpoints, key=lambda e: e.role != "suspect"):
        said = stated.get(e.name, Stated({}, {}))
        found = (_models(e, said.models), _hosts(e, said.providers), _family(e, families), _claims(e, claims))
        out += [Observation("metadata", e.name, what, value) for part in found for what, value in part]
    return tuple(out)


def same_name(asked: str, answered: str) -> bool:
    """Whether a server's name of the model is the one asked for, owner, case, dates and sizes aside.

    Examples
    --------
    >>> same_name("openai/gpt-4o", "gpt-4o-2024-08-06"), same_name("gpt-4o", "gpt-4o-mini"), same_name("gpt-4", "o1")
    (True, False, False)
    """
    one, other = sorted((bare(_OWNER.sub("", n.strip())) for n in (asked, answered)), key=len)
    if not other.startswith(one) or len(one) < SHORTEST:
        return one == other
    return _BESIDE.fullmatch(other[len(one) :]) is not None


def _models(e: Endpoint, models: Counts) -> Iterator[tuple[str, str]]:
    if not isinstance(e, Remote):
        return
    total = sum(models.values())
    for name, count in models.items():
        if not same_name(e.model, name):
            yield "model", f"{count} of {total} answers say that {name[:80]} gave them; asked for {e.model}"


def _hosts(e: Endpoint, providers: Counts) -> Iterator[tuple[str, str]]:
    if not isinstance(e, Remote) or not e.upstream:
        return
    pinned, total = bare(e.upstream.split("/")[0]), sum(providers.values())
    for name, count in providers.items():
        if pinned not in bare(name) and bare(name) not in pinned:
            yield "provider", f"{count} of {total} answers say that {name[:80]} served them; pinned to {e.upstream}"


def _family(e: Endpoint, families: Mapping[str, tuple[str, float]]) -> Iterator[tuple[str, str]]:
    family, share = families.get(e.name, ("", 0.0))
    maker, asked = FAMILY_MAKERS.get(family), _asked(e)
    if maker and asked and maker.casefold() not in asked:
        told = f"counts tokens as {family} of {maker} does ({share:.0%} exact)"
        yield "tokenizer", f"{told}; asked for a model of {_of(e)}"


def _claims(e: Endpoint, claims: Mapping[str, Counts]) -> Iterator[tuple[str, str]]:
    asked = _asked(e)
    for maker, count in claims.get(e.name, {}).items():
        if asked and maker_named(maker).casefold() not in asked:
            yield "self-report", f"{count} answers name {maker} as its maker; asked for a model of {_of(e)}"


def _asked(e: Endpoint) -> frozenset[str]:
    """Makers of the model that was asked for and of its root, letter case aside; empty where nobody knows."""
    maker, *_, root_maker, _ = told_of(e)
    return frozenset(m.casefold() for m in (maker, root_maker) if m)


def _of(e: Endpoint) -> str:
    return told_of(e)[0] or "another maker"
