"""Packs of references: `harness pack --references` writes one, `harness references add|list|show|check` keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from harness.channels.wording import hashed
from harness.config import Campaign, Endpoint, Recorded, ReferenceUse, lineage_of, load_config, told_of
from harness.endpoints import (
    Banked,
    Card,
    Given,
    Pack,
    Referee,
    Sent,
    model_name,
    open_pack,
    pack_at,
    pack_members,
    reference_folders,
)
from harness.errors import ConfigError, StoreError
from harness.evidence import PACK, SIGNATURE, Packed, is_signed, private_key, read_manifest, write_zip
from harness.files import replacing, write_whole
from harness.plan import plan_of, store_at, stored_plan
from harness.records import USABLE, Prompt, Response, Responses
from harness.report.caveats import left_out
from harness.store import Store, foreign, noted_endpoints, packages
from harness.token_logprobs import unpack


@dataclass(frozen=True)
class Source:
    """One campaign that goes into a pack: its folder and its endpoints, but for suspects."""

    store: Path
    endpoints: tuple[Endpoint, ...]


def source(path: Path) -> Source:
    """A campaign to pack, named by its config or by its results folder. `ConfigError` if it is neither."""
    if path.is_file():
        plan = stored_plan(path)
        campaign, store = plan.campaign, plan.store
    else:
        store = store_at(path)
        try:
            campaign = Campaign.model_validate(read_manifest(path)["config"])
        except ValidationError as e:
            raise StoreError(f"{path}: {e.error_count()} mistakes in the manifest's config", "was it edited?") from e
    return Source(store, tuple(e for e in campaign.endpoints if e.role != "suspect"))


def write_pack(
    sources: Sequence[Source], out: Path, name: str, made: str, *, licence: str = "", models: Sequence[str] = (),
    sign: Path | None = None, texts: bool = True,
) -> tuple[Packed, Card]:  # fmt: skip
    """Write what other models than the suspects answered as a pack of references.

    Parameters
    ----------
    made : the time, ISO 8601, UTC.
    models : only these endpoints; default: all whose lineage is known.
    sign : file with an Ed25519 private key.
    texts : whether answers can be read; else they are hashed words, of which `wording` alone can make something.

    Raises `ConfigError` if there is nothing to pack.
    """
    key = None if sign is None else private_key(sign)
    gathered = _Gathering(texts)
    for s in sources:
        with foreign(s.store) as store:
            gathered.add(s, store, models)
    if not gathered.models:
        raise ConfigError(f"{out}: no answers of models of known lineage", "suspects are never packed; see `lineage:`")
    if unknown := sorted(set(models) - set(gathered.models)):
        raise ConfigError(f"{out}: no answers of {unknown[0]!r}", f"there are: {', '.join(gathered.models)[:500]}")
    listed = [gathered.finished(n) for n in sorted(gathered.models)]
    card = Card(name=name, models=listed, licence=licence, made=made, versions=packages(), texts=texts)
    members = pack_members(card, gathered.prompts, gathered.requests.values(), gathered.answers)
    if key is not None:
        members[SIGNATURE] = key.sign(members[PACK])
    with replacing(out, "choose another place") as part:
        write_zip(part, "", members, {})
    return Packed(tuple(sorted(members)), open_pack(out).sha256), card


class _Gathering:
    """What goes into a pack, campaign after campaign: one model may be in several, with other prompts."""

    def __init__(self, texts: bool) -> None:
        self.texts = texts
        self.models: dict[str, Referee] = {}
        self.prompts: list[Prompt] = []
        self.requests: dict[str, Sent] = {}
        self.answers: list[Given] = []
        self._lines: dict[str, int] = {}

    def add(self, s: Source, store: Store, models: Sequence[str]) -> None:
        """Take the answers of a campaign's models."""
        told = {name: json.loads(said) for name, _, said in noted_endpoints(store)}
        prompts = {p.id: self._line(p) for p in store.prompts()}
        chosen = {e.name: e for e in s.endpoints if lineage_of(e) and (not models or e.name in models)}
        found = [r for r in store.responses() if r.endpoint in chosen and r.prompt in prompts]
        if not self.texts:
            found = _as_codes(found, store, sorted(chosen))
        for name in dict.fromkeys(r.endpoint for r in found):
            made = _referee(chosen[name], told.get(name, {}))
            before = self.models.setdefault(name, made)
            if before != made:
                raise ConfigError(f"{s.store}: {name} is another model, or asked otherwise, than in a folder before it",
                                  "pack them apart, or give one another name")  # fmt: skip
        for r in found:
            self.answers.append(self._given(r, prompts[r.prompt], store))

    def _line(self, p: Prompt) -> int:
        """The line of a prompt; the same prompt under the same conditions is one."""
        key = json.dumps(msgspec.to_builtins(p), sort_keys=True)
        if key not in self._lines:
            self._lines[key] = len(self.prompts)
            self.prompts.append(p)
        return self._lines[key]

    def _given(self, r: Response, prompt: int, store: Store) -> Given:
        if r.request_hash not in self.requests and (request := store.request(r.request_hash)) is not None:
            self.requests[r.request_hash] = Sent(r.request_hash, _surface(request[0]), request[1].decode())
        return Given(
            model=r.endpoint, prompt=prompt, sample=r.sample, text=r.text, outcome=r.outcome,
            request=r.request_hash if r.request_hash in self.requests else "",
            reasoning=r.reasoning, refusal=r.refusal, finish_reason=r.finish_reason, model_answered=r.model_answered,
            prompt_tokens=r.prompt_tokens, completion_tokens=r.completion_tokens, reasoning_tokens=r.reasoning_tokens,
            logprobs=unpack(r.logprobs).decode("utf-8", "replace") if r.logprobs else None, received_at=r.received_at,
        )  # fmt: skip

    def finished(self, name: str) -> Referee:
        """A model with the number and the times of its answers."""
        times = sorted(a.received_at for a in self.answers if a.model == name and a.received_at)
        count = sum(a.model == name for a in self.answers)
        first, last = (times[0], times[-1]) if times else ("", "")
        return msgspec.structs.replace(self.models[name], answers=count, first=first, last=last)


def _as_codes(found: Sequence[Response], store: Store, models: Sequence[str]) -> list[Response]:
    """Answers to prompts of `wording` as hashed words; of the others nothing is left."""
    prompts = store.prompts()
    table = hashed(Responses.of(models, prompts, found))
    row = {(prompts[p].id, m): iter(table.rows(p, i)) for p in table.where("wording") for i, m in enumerate(models)}
    out = []
    for r in sorted(found, key=lambda r: r.sample):  # as the rows of a table are
        if (rows := row.get((r.prompt, r.endpoint))) is not None:
            said, bare = table.text[next(rows)], replace(r, reasoning="", refusal="", logprobs=None, response_id="")
            out.append(replace(bare, text=said if r.outcome in USABLE else ""))
    return out


def _surface(written: str) -> Any:
    return "completion" if written == "completion" else "chat"


def _referee(e: Endpoint, told: Mapping[str, Any]) -> Referee:
    """An endpoint as a pack tells of it: what is known of the model, and how it was asked."""
    maker, released, thinks, *_ = told_of(e)
    asked = "" if isinstance(e, Recorded) or e.kind == "reference" else model_name(e)
    return Referee(
        name=e.name, lineage=lineage_of(e) or "", maker=maker, released=released, reasoning=thinks,
        parameters_b=e.parameters_b, licence=e.licence or "", asked_as=asked[:200], told=dict(told),
        system_prompt=e.system_prompt, params=e.params,
    )  # fmt: skip


# Packs that are here.


@dataclass(frozen=True)
class Kept:
    """A pack that was found under a name, or why it cannot be read."""

    name: str
    path: Path
    pack: Pack | None
    error: str = ""


def listed(environ: Mapping[str, str]) -> list[Kept]:
    """All packs that are here, by name: the user's, and what ships; of two with one name the user's counts."""
    found: dict[str, Kept] = {}
    for path in (p for folder in reference_folders(environ) if folder.is_dir() for p in sorted(folder.glob("*.zip"))):
        if path.stem in found:
            continue
        try:
            found[path.stem] = Kept(path.stem, path, open_pack(path))
        except ConfigError as e:
            found[path.stem] = Kept(path.stem, path, None, e.message)
    return [found[name] for name in sorted(found)]


def add(path: Path, environ: Mapping[str, str], signer: Path | None = None) -> tuple[Path, Pack]:
    """Check a pack and put it under its own name into the user's folder. `ConfigError` if another has that name."""
    pack, folder = checked(path, signer), reference_folders(environ)[0]
    target = folder / f"{pack.card.name}.zip"
    if target.exists() and (there := open_pack(target).sha256) != pack.sha256:
        raise ConfigError(f"{target}: another pack of this name is there ({there[:12]})",
                          "campaigns may lean on it: move it away first, or name the new one by its path")  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    return write_whole(target, path.read_bytes()), pack


def checked(path: Path, signer: Path | None = None) -> Pack:
    """A pack that is whole, and signed by ``signer`` if one is given."""
    pack = open_pack(path)
    if signer is not None and not is_signed(pack.signature, pack.listed, signer):
        raise ConfigError(f"{path}: not signed by {signer}", "take it from whoever signed it, or leave --signer out")
    return pack


def found(name: str, environ: Mapping[str, str]) -> Path:
    """The file of a pack by its name or its path."""
    return pack_at(name, Path(), reference_folders(environ))


def fit(path: Path, config: Path, environ: Mapping[str, str]) -> list[str]:
    """What of a pack a campaign would take, and what it would leave out, a line each. Nobody is asked."""
    use = ReferenceUse(pack=str(path.resolve()))
    campaign = load_config(config).model_copy(update={"references": (use,)})
    plan = plan_of(campaign, config.resolve().parent, environ, path=str(config))
    taken = [r for r in plan.recorded if isinstance(r, Banked)]
    of = f"of {len(plan.prompts)} prompts"
    lines = [f"fits: {r.endpoint.name} ({r.endpoint.role}), {len({p for p, _, _ in r.given})} {of}" for r in taken]
    return [*lines, *left_out(plan.left_out)]


def conditions(pack: Pack) -> Iterator[dict[str, Any]]:
    """How a pack was asked: one row a family of prompts and its conditions, with how many prompts and models."""
    rows: dict[tuple[Any, ...], set[int]] = {}
    for i, p in enumerate(pack.prompts):
        key = (p.family, p.surface, p.max_tokens, p.temperature, p.samples)
        rows.setdefault(key, set()).add(i)
    for (family, surface, most, temperature, samples), lines in sorted(rows.items(), key=str):
        models = {a.model for some in pack.answers.values() for a in some if a.prompt in lines}
        languages = sorted({pack.prompts[i].language for i in lines})
        yield {"family": family, "surface": surface, "languages": languages, "max_tokens": most,
               "temperature": temperature, "samples": samples, "prompts": len(lines),
               "models": len(models)}  # fmt: skip


def lines_of(pack: Pack) -> list[str]:
    """What a pack is, and its hash, for people."""
    return [f"{pack.card.name}: {summary(pack)}", f"sha256: {pack.sha256}"]


def summary(pack: Pack) -> str:
    """How many models and answers a pack has, of when, under which licence, signed or not."""
    models = pack.card.models
    times = sorted(t[:10] for m in models for t in (m.first, m.last) if t)
    recorded = f", recorded {times[0]} to {times[-1]}" if times else ""
    texts = "" if pack.card.texts else ", without texts"
    return (
        f"{len(models)} models of {len({m.lineage for m in models})} lineages, "
        f"{sum(m.answers for m in models)} answers to {len(pack.prompts)} prompts{recorded}{texts}"
        f"{', ' + pack.card.licence if pack.card.licence else ''}{', signed' if pack.signature else ', not signed'}"
    )


def asked(r: Mapping[str, Any]) -> str:
    """One row of `conditions` in words."""
    how = f"max_tokens {r['max_tokens']}, temperature {r['temperature']}, {r['samples']} samples"
    what = f"{r['prompts']} prompts of {r['family']} ({r['surface']}, {', '.join(r['languages'])})"
    return f"{what}, {how}, {r['models']} models"
