"""From a config to a plan: all that is known before a call is made."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config import (
    Called,
    Campaign,
    Recorded,
    content_hash,
    draw,
    expand,
    load_config,
    load_set,
    private_seed,
    refuse_kin,
    refuse_leaks,
    require_channels,
)
from harness.endpoints import (
    Banked,
    Quirks,
    Recording,
    as_noted,
    left_of,
    planned_keys,
    recorded,
    reference_folders,
    with_references,
)
from harness.errors import ConfigError, EndpointError
from harness.records import Key, LeftOut, Prompt
from harness.store import Store

STORE = "responses.sqlite"
MOST = 0.75  # of the models that answered the most-answered prompt: of a survey's recorded prompts those are used
SHORT_FORM = "short form"  # note in a store: most prompts of each set, empty for the whole campaign
REFERENCES = "references"  # note in a store: which models of packs it has, and what of them was left out
STAGES_ASKED = "stages asked"  # note in a store: how many stages were asked, empty for a campaign that has none
FIRST_STAGES = (8, 12, 16, 24, 32, 48, 64, 96, 128)  # prompts; from there on times 3/2 and 4/3 in turn, as these are
LAST_STEP = 0.8  # of all prompts, beyond which a stage before the last saves nothing worth its share of alpha
STAGED = frozenset({"kinship", "identity"})  # questions that know when they are answered


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` (from 1) of ``count``: each key belongs to exactly one, whatever machine works it out."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``i/n`` as a user writes it."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"--shard {text}: not i/n with i from 1 to n", "three machines: 1/3, 2/3, 3/3")
        return cls(int(found[1]), int(found[2]))

    def holds(self, key: Key) -> bool:
        """Whether a key is this shard's to ask."""
        if self.count == 1:
            return True
        digest = hashlib.sha256("\n".join(map(str, key)).encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1


@dataclass(frozen=True)
class Plan:
    """A campaign with its prompts drawn and its recorded answers found: all that is known before a call is made."""

    campaign: Campaign
    base: Path
    prompts: tuple[Prompt, ...]
    recorded: tuple[Recording | Banked, ...]
    prompt_hashes: Mapping[str, str]
    limit: int | None = None  # of a short form: most prompts of each set
    shard: Shard = Shard()  # the part that is asked here
    left_out: tuple[LeftOut, ...] = ()  # of packs of references
    references: str = ""  # what a store notes of them

    @property
    def folder(self) -> Path:
        """Where this campaign's files go."""
        return self.base / self.campaign.results / self.campaign.campaign

    @property
    def store(self) -> Path:
        """Where its answers are kept."""
        return self.folder / STORE

    @property
    def called(self) -> list[Called]:
        """The endpoints that are asked; of the others the answers are there."""
        return [e for e in self.campaign.endpoints if isinstance(e, Called)]

    def recorded_keys(self) -> Iterator[Key]:
        """Keys of all answers that recorded endpoints give."""
        chosen = {p.id for p in self.prompts}
        return itertools.chain.from_iterable(r.keys(chosen) for r in self.recorded)

    def require_answers(self) -> None:
        """`EndpointError` if there is nothing to score: no call of the plan got an answer."""
        with Store(self.store, readonly=True) as store:
            if not any(answered for _, answered in store.progress().values()):
                hint = "the lines above say why; mend it and run the same command again"
                raise EndpointError("no call got an answer", hint)


def prepare(path: Path, environ: Mapping[str, str], limit: int | None = None, shard: str | None = None) -> Plan:
    """Read config and prompt sets, and find recorded answers. Nothing is called or written.

    ``limit`` caps the prompts of every set, for a short form of the campaign; ``shard``, as "2/3", is the part that
    is asked here.
    """
    plan = plan_of(load_config(path), path.resolve().parent, environ, limit, str(path))
    if shard is not None and stages_of(plan.campaign, plan.prompts):
        raise ConfigError(f"--shard {shard}: no part knows when the answer is known", "write `collect: {stop: all}`")
    return plan if shard is None else replace(plan, shard=Shard.parse(shard))


def plan_of(
    campaign: Campaign, base: Path, environ: Mapping[str, str], limit: int | None = None, path: str = "campaign"
) -> Plan:
    """As `prepare`, of a config in memory: ``base`` is the folder its paths are relative to, ``path`` its name."""
    require_channels(campaign.analysis.channels)
    refuse_kin(campaign, path)
    refuse_leaks(campaign, path)
    endpoints = [e for e in campaign.endpoints if isinstance(e, Recorded)]
    recorded_prompts, recordings = recorded.read(endpoints, base, environ) if endpoints else ([], [])
    seed = private_seed(campaign, base, environ)
    prompts: list[Prompt] = []
    hashes: dict[str, str] = {}
    for use in expand(campaign.prompts, base / "prompts"):
        if limit is not None:
            use = use.model_copy(update={"limit": min(limit, use.limit or limit)})
        if use.set == "recorded":
            if not endpoints:
                raise ConfigError(f"{path}: prompts: set `recorded` needs endpoints of kind recorded", "add one")
            chosen: Sequence[Prompt] = _judged(campaign, recordings, recorded_prompts, path)
            hashes[use.set] = content_hash(chosen)
        else:
            loaded = load_set(use.set, base / "prompts", seed)
            chosen, hashes[use.set] = loaded.prompts, loaded.sha256
        drawn = draw(use, chosen, campaign.seed, campaign.hold_back)
        prompts += in_random_order(drawn, campaign.seed) if campaign.collect.stop == "sequential" else drawn
    ids = [p.id for p in prompts]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise ConfigError(f"{path}: prompt {twice!r} is in the campaign twice", "list every prompt set once")
    _require_finite(campaign, prompts, path)
    taken = with_references(campaign, prompts, base, reference_folders(environ))
    found: tuple[Recording | Banked, ...] = (*recordings, *taken.recordings)
    note = taken.note(campaign.references) if taken.recordings or taken.left else ""
    return Plan(taken.campaign, base, tuple(prompts), found, hashes, limit, left_out=taken.left, references=note)


MOST_CALLS = 20_000_000  # of one campaign: weeks of calls, and gigabytes of plan


def _require_finite(campaign: Campaign, prompts: Sequence[Prompt], path: str) -> None:
    """`ConfigError` for a plan that could not even be written down."""
    calls = sum(p.samples for p in prompts) * sum(isinstance(e, Called) for e in campaign.endpoints)
    if calls > MOST_CALLS:
        most = max(prompts, key=lambda p: p.samples)
        raise ConfigError(
            f"{path}: {calls:,} calls are planned, {most.samples:,} samples of prompt {most.id!r} by each endpoint",
            f"at most {MOST_CALLS:,}: lower `samples:` or `limit:` of the prompt set",
        )


def stored_plan(path: Path) -> Plan:
    """The plan as its store holds it: what is scored needs no prompt file and no recorded answers beside it."""
    return stored_plan_of(load_config(path), path.resolve().parent)


def stored_plan_of(campaign: Campaign, base: Path) -> Plan:
    """As `stored_plan`, of a config in memory."""
    require_channels(campaign.analysis.channels)
    with Store(base / campaign.results / campaign.campaign / STORE, readonly=True) as store:
        note = store.note(REFERENCES) or ""
        whole = as_noted(campaign, note, store.path)
        return Plan(
            whole, base, tuple(store.prompts()), (), store.prompt_hashes(), left_out=left_of(note), references=note
        )


def _judged(campaign: Campaign, recordings: Sequence[Recording], prompts: Sequence[Prompt], path: str) -> list[Prompt]:
    """Recorded prompts that every recorded suspect and candidate answered: on others nothing can be compared. Of a
    survey alone those that most did: one model with gaps must not take the prompts from all others."""
    judged = [r for r in recordings if r.endpoint.role in ("suspect", "candidate")]
    alone = {*campaign.analysis.questions} == {"survey"}
    answered = Counter(i for r in judged for i in set(r.prompts))
    least = MOST * max(answered.values(), default=1) if alone else len(judged)
    shared = [p for p in prompts if answered[p.id] >= least]
    if not shared:
        names = ", ".join(sorted(r.endpoint.name for r in judged))
        ids = ", ".join(f"{r.endpoint.name} has {' and '.join(sorted(set(r.prompts))[:2])!r}" for r in judged[:4])
        hint = f"check `path:` and `columns: {{prompt_id: ...}}`; of ids of prompts, {ids}"
        raise ConfigError(f"{path}: no prompt was answered by all of {names}", hint)
    return shared


def store_at(path: Path) -> Path:
    """A store, named by its file or its campaign's folder."""
    return path / STORE if path.is_dir() else path


def planned(plan: Plan, known: Mapping[str, Quirks] | None = None) -> Iterator[Key]:
    """Keys of all answers that a plan asks for, as far as it is known what endpoints refuse."""
    return itertools.chain(planned_keys(plan.campaign, plan.prompts, known), plan.recorded_keys())


def looks_of(campaign: Campaign) -> int:
    """Verdicts among which the level is shared: pairs of suspect and candidate times the questions about one pair."""
    roles = [e.role for e in campaign.endpoints]
    questions = {*campaign.analysis.questions} - {"attribution", "survey"}
    return max(1, roles.count("suspect") * roles.count("candidate") * len(questions))


@dataclass(frozen=True)
class Stage:
    """One stage of a campaign that stops when the answer is known: ``size`` counts the prompts of wording asked by its
    end, or all where none serves wording; ``prompts`` are indices of all prompts asked by then, the same share of each
    family."""

    size: int
    prompts: tuple[int, ...]


def stage_sizes(most: int) -> tuple[int, ...]:
    """Numbers of prompts at which a campaign of ``most`` prompts is looked at: `FIRST_STAGES`, and all at last.

    Examples
    --------
    >>> stage_sizes(40), stage_sizes(300)[-3:], stage_sizes(5)
    ((8, 12, 16, 24, 32, 40), (192, 256, 300), (5,))
    """
    sizes = list(FIRST_STAGES)
    while sizes[-1] < most:
        sizes += [sizes[-1] * 3 // 2, sizes[-1] * 2]
    return (*(n for n in sizes if n <= LAST_STEP * most), most)


def stages_of(campaign: Campaign, prompts: Sequence[Prompt]) -> tuple[Stage, ...]:
    """The stages of a campaign; none where all is asked at once, or nobody is asked, or a question needs it all."""
    asked = any(isinstance(e, Called) for e in campaign.endpoints)
    if campaign.collect.stop == "all" or not asked or not STAGED.issuperset(campaign.analysis.questions):
        return ()
    most = sum("wording" in p.channels for p in prompts) or len(prompts)
    families: dict[str, list[int]] = {}
    for i, p in enumerate(prompts):
        families.setdefault(p.family, []).append(i)
    return tuple(
        Stage(n, tuple(sorted(i for own in families.values() for i in own[: -(-n * len(own) // most)])))
        for n in stage_sizes(most)
    )


def in_random_order(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    """Prompts in an order that only the seed decides, those of one template side by side."""
    units: dict[str, list[Prompt]] = {}
    for p in prompts:
        units.setdefault(str(p.fields.get("twin", p.id)), []).append(p)
    names = list(units)
    random.Random(f"{seed}:order").shuffle(names)  # noqa: S311 - a reproducible order, not a secret
    return [p for name in names for p in units[name]]
