"""References (`references:`, ``kind: reference``): which models and answers of a pack fit a campaign.

What is known before anybody is asked is checked here: the prompt, where answers are cut, sampling, the month of
release, thinking, system prompts. What only the answers show is for `harness.inference.nearest`. Nothing is hoped for:
what does not fit is left out, and named.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from platformdirs import user_data_path
from pydantic import ValidationError

from harness.config import Called, Campaign, Endpoint, Reference, ReferenceUse, shared_roots, told_of
from harness.endpoints.packs import Given, Pack, Referee, open_pack
from harness.errors import ConfigError
from harness.records import Key, LeftOut, Prompt, ReferenceGap, Response

FAMILY = "recorded"  # prompts of recorded answers: how those were asked is unknown, so any condition fits
SUFFIX = ".zip"
_NEUTRAL: Mapping[str, frozenset[float]] = {  # what these are where they change nothing
    "top_p": frozenset({1.0}), "top_k": frozenset({0.0, -1.0}), "min_p": frozenset({0.0}),
    "presence_penalty": frozenset({0.0}), "frequency_penalty": frozenset({0.0}),
    "repetition_penalty": frozenset({1.0}), "repeat_penalty": frozenset({1.0}),
}  # fmt: skip
_DRAW = frozenset({"top_p", "top_k", "min_p"})  # which say nothing where the likeliest token is taken anyway


@dataclass(frozen=True)
class Banked:
    """The answers of one model of a pack to prompts of a campaign: (prompt's id, sample, answer)."""

    endpoint: Reference
    model: Referee
    pack: str  # its SHA-256
    given: tuple[tuple[str, int, Given], ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the pack."""
        return self.pack

    def keys(self, prompts: Container[str]) -> Iterator[Key]:
        """Keys of the answers to these prompts."""
        return (self._key(p, sample) for p, sample, _ in self.given if p in prompts)

    def answers(self, prompts: Container[str]) -> Iterator[Response]:
        """The answers to these prompts, as they were recorded."""
        for prompt, sample, g in self.given:
            if prompt in prompts:
                yield Response(
                    *self._key(prompt, sample),
                    outcome=g.outcome,
                    text=g.text,
                    reasoning=g.reasoning,
                    refusal=g.refusal,
                    finish_reason=g.finish_reason,
                    model_asked=self.model.asked_as or self.model.name,
                    model_answered=g.model_answered,
                    provider=FAMILY,
                    prompt_tokens=g.prompt_tokens,
                    completion_tokens=g.completion_tokens,
                    reasoning_tokens=g.reasoning_tokens,
                    logprobs=zlib.compress(g.logprobs.encode("utf-8", "replace"), 1) if g.logprobs else None,
                    attempts=0,
                    received_at=g.received_at,
                )

    def _key(self, prompt: str, sample: int) -> Key:
        """Of the pack and the place in it: another pack is another key."""
        told = f"reference\n{self.pack}\n{self.model.name}\n{prompt}\n{sample}".encode("utf-8", "surrogatepass")
        return self.endpoint.name, prompt, sample, hashlib.sha256(told).hexdigest()


@dataclass(frozen=True)
class Taken:
    """A campaign with the models of its packs among its endpoints, their answers, and what was left out."""

    campaign: Campaign
    recordings: tuple[Banked, ...] = ()
    left: tuple[LeftOut, ...] = ()

    def note(self, written: Sequence[ReferenceUse]) -> str:
        """As a store keeps it, so that the answers can be scored where the packs are not."""
        endpoints = [e.model_dump(mode="json", exclude_none=True) for e in self.campaign.endpoints
                     if isinstance(e, Reference)]  # fmt: skip
        told = {"written": _written(written), "endpoints": endpoints, "left": [asdict(x) for x in self.left]}
        return msgspec.json.encode(told, order="sorted").decode()


def _written(uses: Sequence[ReferenceUse]) -> list[dict[str, Any]]:
    return [u.model_dump(mode="json") for u in uses]


def left_of(note: str | None) -> tuple[LeftOut, ...]:
    """What a store notes as left out."""
    found = msgspec.json.decode(note, type=_Noted).left if note else ()
    return tuple(found)


class _Noted(msgspec.Struct):
    written: list[dict[str, Any]]
    endpoints: list[dict[str, Any]]
    left: list[LeftOut]


def as_noted(campaign: Campaign, note: str | None, path: Path) -> Campaign:
    """A campaign with the references that its store notes; `ConfigError` if it names others now."""
    if not campaign.references:
        return campaign
    found = msgspec.json.decode(note, type=_Noted) if note else None
    if found is None or found.written != _written(campaign.references):
        raise ConfigError(f"{path}: its answers are not those of the `references:` of this config",
                          "put them back, or `harness run` it: that takes what is missing")  # fmt: skip
    endpoints = tuple(Reference.model_validate(e) for e in found.endpoints)
    return _with(campaign, endpoints)


def _with(campaign: Campaign, references: Iterable[Reference]) -> Campaign:
    """A campaign with such references instead of names of packs, checked as a whole."""
    others = tuple(e for e in campaign.endpoints if not isinstance(e, Reference))
    fields = {name: getattr(campaign, name) for name in Campaign.model_fields}
    try:
        return Campaign.model_validate(fields | {"endpoints": (*others, *references), "references": ()})
    except ValidationError as e:
        said = e.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"with its references: {said}", "`harness references check` says what a pack has") from e


def with_references(campaign: Campaign, prompts: Sequence[Prompt], base: Path, folders: Sequence[Path]) -> Taken:
    """A campaign with the fitting models of its packs, their answers to its prompts, and what does not fit.

    Parameters
    ----------
    prompts : what the campaign asks.
    base : folder that relative paths start from; ``folders`` hold packs that are called by name.

    Raises `ConfigError` for a pack that is not there or not whole, or a campaign that lacks controls even so.
    """
    named = [e for e in campaign.endpoints if isinstance(e, Reference)]
    if not campaign.references and not named:
        return Taken(campaign)
    packs = {name: open_pack(pack_at(name, base, folders))
             for name in dict.fromkeys([*(u.pack for u in campaign.references), *(e.pack for e in named)])}  # fmt: skip
    recordings: list[Banked] = []
    left: list[LeftOut] = []
    for e in named:
        recording, why = _answered(_pinned(e, packs[e.pack]), packs[e.pack], campaign, prompts)
        recordings.append(recording)
        left += why
    for use in campaign.references:
        for model in _chosen(use, packs[use.pack]):
            taken = {r.endpoint.name.casefold() for r in recordings}
            endpoint, gap = _endpoint(model, use, packs[use.pack], campaign, taken)
            if endpoint is None:
                left.append(LeftOut(model.name, gap or "reference asked itself"))
                continue
            recording, why = _answered(endpoint, packs[use.pack], campaign, prompts)
            left += why
            recordings += [recording] if recording.given else []
    return Taken(_with(campaign, (r.endpoint for r in recordings)), tuple(recordings), tuple(left))


def reference_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where packs are looked for by name: $HARNESS_REFERENCES or the user's data folder, then what ships."""
    own = environ.get("HARNESS_REFERENCES")
    where = Path(own) if own else user_data_path("behavioral-probing-harness", appauthor=False) / "references"
    return where, Path(__file__).resolve().parent.parent / "banks"


def pack_at(name: str, base: Path, folders: Sequence[Path]) -> Path:
    """The file of a pack: a path relative to ``base``, or a name in a folder. `ConfigError` if there is none."""
    path = base / Path(name).expanduser()
    if name.endswith(SUFFIX) or path.is_file():
        return path
    if Path(name).name == name:
        for folder in folders:
            if (found := folder / f"{name}{SUFFIX}").is_file():
                return found
    raise ConfigError(f"references: there is no pack {name[:80]!r}",
                      "`harness references list` shows those that are here, `add` puts one there")  # fmt: skip


def _chosen(use: ReferenceUse, pack: Pack) -> list[Referee]:
    names = [m.name for m in pack.card.models]
    if unknown := sorted(set(use.models) - set(names)):
        raise ConfigError(f"references: {use.pack} has no model {unknown[0]!r}", f"it has: {', '.join(names)[:500]}")
    return [m for m in pack.card.models if not use.models or m.name in use.models]


def _pinned(e: Reference, pack: Pack) -> Reference:
    """A reference that was named by hand, with the hash of its pack; `ConfigError` if that is another one."""
    if e.sha256 not in (None, pack.sha256):
        raise ConfigError(f"endpoint {e.name!r}: {e.pack} is another pack than `sha256:` says",
                          f"it is {pack.sha256}: take the one that was meant, or mend the line")  # fmt: skip
    if (e.model or e.name) not in pack.answers:
        has = ", ".join(pack.answers)[:500]
        raise ConfigError(f"endpoint {e.name!r}: {e.pack} has no model {e.model or e.name!r}", f"it has: {has}")
    update = {"sha256": pack.sha256, "model": e.model or e.name, "texts": pack.card.texts}
    return e.model_copy(update=update)


def _endpoint(
    model: Referee, use: ReferenceUse, pack: Pack, campaign: Campaign, taken: Container[str]
) -> tuple[Reference | None, ReferenceGap | None]:
    """A model of a pack as an endpoint, or why not. Kin of a candidate are relatives, shown apart and never counted."""
    asked = {e.name.casefold() for e in campaign.endpoints}
    name = model.name
    if name.casefold() in asked or name.casefold() in taken:
        name = f"{pack.card.name}.{model.name}"[:64]
    told = {"lineage": model.lineage, "maker": model.maker, "released": model.released, "reasoning": model.reasoning,
            "parameters_b": model.parameters_b, "licence": model.licence or None,
            "system_prompt": model.system_prompt}  # fmt: skip
    known = {k: v for k, v in told.items() if v is not None}
    made = Reference(name=name, role="control", kind="reference", pack=use.pack, model=model.name,
                     sha256=pack.sha256, texts=pack.card.texts, **known)  # fmt: skip
    kin = [e for e in campaign.endpoints if e.role == "candidate" and shared_roots(made, e)]
    kin += [e for e in campaign.endpoints if e.role == "suspect" and e.lineage and shared_roots(made, e)]
    if kin:
        made = made.model_copy(update={"role": "relative"})
    elif name != model.name:
        return None, "reference asked itself"
    gap = _unlike(made, campaign, use.months) if not kin else None
    return (None, gap) if gap else (made, None)


def _unlike(made: Reference, campaign: Campaign, months: int) -> ReferenceGap | None:
    """What is told of a model that suspect and candidate do not share."""
    pair = [e for e in campaign.endpoints if e.role in ("suspect", "candidate")]
    told = [told_of(e) for e in pair]
    own = told_of(made)
    dates = [d for e, (_, released, *_) in zip(pair, told, strict=True) if (d := month(released)) is not None
             and (e.role == "candidate" or len(pair) == 1)]  # fmt: skip
    at = month(own[1])
    if dates and at is not None and min(abs(at - d) for d in dates) > months:
        return "reference of another era"
    thinking = [thinks for _, _, thinks, *_ in told if thinks is not None]
    if own[2] is not None and thinking and own[2] not in thinking:
        return "reference thinks otherwise"
    if made.system_prompt and pair and not any(e.system_prompt for e in pair):
        return "reference with a system prompt"
    return None


def month(released: str | None) -> int | None:
    """Months since year 0; of a year alone its middle.

    Examples
    --------
    >>> month("2024-11"), month("2024"), month(None)
    (24299, 24294, None)
    """
    if released is None:
        return None
    year, _, part = released.partition("-")
    return 12 * int(year) + int(part or 6)


def _answered(
    endpoint: Reference, pack: Pack, campaign: Campaign, prompts: Sequence[Prompt]
) -> tuple[Banked, list[LeftOut]]:
    """What a model answered to the campaign's prompts under its conditions, and which are missing, and why."""
    model = next(m for m in pack.card.models if m.name == endpoint.model)
    ours = {_said(p) for p in prompts}
    by_prompt: dict[tuple[str, str], dict[int, list[Given]]] = {}
    for g in pack.answers[model.name]:
        if (said := _said(pack.prompts[g.prompt])) in ours:
            by_prompt.setdefault(said, {}).setdefault(g.prompt, []).append(g)
    wanted, given, gaps = _samplings(campaign), list[tuple[str, int, Given]](), Counter[ReferenceGap]()
    for p in prompts:
        gap: ReferenceGap = "reference asked other things"
        for q, some in by_prompt.get(_said(p), {}).items():
            fits, why = _fit(p, pack.prompts[q], some, model, wanted)
            if fits:
                given += [(p.id, i, g) for i, g in enumerate(fits[: p.samples if p.family != FAMILY else None])]
                break
            gap = why
        else:
            gaps[gap] += 1
    why_not = [LeftOut(endpoint.name, gap, n, len(prompts)) for gap, n in sorted(gaps.items())]
    return Banked(endpoint, model, pack.sha256, tuple(given)), why_not


def _said(p: Prompt) -> tuple[str, str]:
    """What makes two prompts the same question: how it is put, and its text, blank space around it aside; where nobody
    kept the text, its name."""
    return p.surface, p.text.strip() or f"\0{p.id}"


def _fit(
    ours: Prompt, theirs: Prompt, given: Sequence[Given], model: Referee, wanted: Sequence[Mapping[str, Any]]
) -> tuple[list[Given], ReferenceGap]:
    """Answers that count for a prompt of the campaign, by sample, and why the others do not."""
    if ours.family == FAMILY or theirs.family == FAMILY:
        return sorted(given, key=lambda g: g.sample), "reference asked other things"
    said = sampling(theirs, model.params)
    if not any(said == sampling(ours, params) for params in wanted):
        return [], "reference sampled otherwise"
    kept = [g for g in given if ours.max_tokens == theirs.max_tokens or _ended(g, ours.max_tokens, theirs.max_tokens)]
    # Answers that the other limit would not have changed are the short ones: alone they would be a choice.
    return (sorted(kept, key=lambda g: g.sample) if len(kept) == len(given) else []), "reference cut elsewhere"


def _ended(g: Given, *limits: int | None) -> bool:
    """Whether an answer ended by itself, under either limit."""
    least = min((x for x in limits if x is not None), default=None)
    counted = g.completion_tokens is not None and (least is None or g.completion_tokens < least)
    return g.outcome != "truncated" and counted


def _samplings(campaign: Campaign) -> list[Mapping[str, Any]]:
    """Parameters of suspects and candidates that are asked, of which one must be the reference's; else of anybody."""
    called: list[Endpoint] = [e for e in campaign.endpoints if isinstance(e, Called)]
    pair = [e for e in called if e.role in ("suspect", "candidate")]
    return [e.params for e in pair or called] or [{}]


def sampling(prompt: Prompt, params: Mapping[str, Any]) -> dict[str, Any]:
    """How tokens are drawn, without what changes nothing.

    Examples
    --------
    >>> sampling(Prompt("a", "f", "?", temperature=1.0), {"top_p": 1.0, "top_k": 40, "seed": 3})
    {'temperature': 1.0, 'top_k': 40}
    >>> sampling(Prompt("a", "f", "?", temperature=0.0), {"top_k": 40})
    {'temperature': 0.0}
    """
    told = {"temperature": prompt.temperature, "top_p": prompt.top_p}
    told |= {k: v for k, v in params.items() if k in _NEUTRAL or k == "temperature"}
    greedy = told["temperature"] == 0
    return {k: v for k, v in told.items()
            if v is not None and v not in _NEUTRAL.get(k, ()) and not (greedy and k in _DRAW)}  # fmt: skip
