"""The adversary's table of real models: what a dishonest host of SmolLM2 gains by each trick, channel by channel.

    python -m tests.zoo.build FOLDER                       weights and campaigns
    harness run FOLDER/adversary.yaml                      what has to be served: a quarter of an hour on two cores
    harness run FOLDER/wrapped.yaml                        raw completions put through the chat template
    python -m benchmarks.adversary --zoo FOLDER            the table, as Markdown

Every row is a campaign of its own that goes the whole way of `harness score`: one suspect, SmolLM2 as the candidate,
strangers as controls. Some suspects are served so; others are the honest suspect's stored answers with something done
to them, which costs no call. Each channel shows the raw similarity of suspect and candidate and, in brackets, the rank
of the two by excess among all pairs of the row but controls of one lineage: with two control lineages no verdict of
kinship can be reached, and a rank still shows what a channel sees. *Noticed* is what the row's findings and
observations say and the honest row's do not.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.channels import LEAST, PARENT
from benchmarks.measures import markdown_head, markdown_row
from harness.campaign import Scores, scores_of
from harness.config import Called, Campaign, load_config
from harness.inference.excess import excess
from harness.inference.findings import Finding
from harness.plan import STORE, stored_plan_of
from harness.records import Prompt, Response, Similarity
from harness.store import Store, key_of
from harness.token_logprobs import unpack

Floats = NDArray[np.float64]
Token = dict[str, Any]
SUSPECT, HONEST, WRAPPED = "suspect", "honest", "templated"
BASES = {"stranger": "qwen05", "framed": "qwen05"}  # suspects that are no kin, and the control that has their weights
ROUTED = "stranger"  # whose answers are passed through
NOISE = 1.5  # nat
NAMED = "As SmolLM, a model made by Hugging Face, I answer: "
CHANNELS: Mapping[str, tuple[str, str]] = {  # column: channel, and surface where the two are told apart
    "stubs": ("logprobs", "completion"),
    "continuations": ("continuations", ""),
    "chat logprobs": ("logprobs", "chat"),
    "wording": ("wording", ""),
    "choices": ("choices", ""),
    "ratings": ("ratings", ""),
    "mistakes": ("mistakes", ""),
    "tokenizer": ("tokenizer", ""),
}
DULL = frozenset({"rival pairs", "candidate's null", "no likelihood ratio", "bounded ratio", "unanswered calls"})


@dataclass(frozen=True)
class Place:
    """Where one answer stands: its prompt, its number among all, other endpoints' answers to the call, and chance."""

    prompt: Prompt
    others: Mapping[str, Response]
    chosen: float  # in [0, 1): of this prompt, for whatever a host does to some of them
    rng: np.random.Generator


Change = Callable[[Response, Place], Response]


@dataclass(frozen=True)
class RecordedTrick:
    """Something done to stored answers of ``base``: no call is made for it."""

    name: str
    kind: Literal["logprobs", "usage", "routing", "name"]
    change: Change
    base: str = HONEST


# Logprobs --------------------------------------------------------------------------------------------------------
def relisted(edit: Callable[[list[Token], Place], list[Token]]) -> Change:
    """A change of the tokens that a server lists, in the chat shape that llama.cpp gives for raw completions, too."""

    def change(response: Response, place: Place) -> Response:
        if not response.logprobs:
            return response
        told = json.loads(unpack(response.logprobs))
        told["content"] = edit(told["content"], place)
        return replace(response, logprobs=zlib.compress(json.dumps(told).encode()))

    return change


def restated(values: Callable[[Floats, np.random.Generator], Floats]) -> Change:
    """Every list of alternatives with other numbers, sorted again; what was said has the number that it has there."""

    def one(token: Token, rng: np.random.Generator) -> Token:
        top = token.get("top_logprobs") or []
        if not top:
            return token
        new = values(np.array([t["logprob"] for t in top], dtype=np.float64), rng)
        listed = [{**t, "logprob": float(v)} for t, v in zip(top, new, strict=True)]
        moved = token["logprob"] + listed[-1]["logprob"] - top[-1]["logprob"]  # of one that is not listed
        listed.sort(key=lambda t: -t["logprob"])
        own = next((t["logprob"] for t in listed if t.get("bytes") == token.get("bytes")), moved)
        return {**token, "logprob": min(own, 0.0), "top_logprobs": listed}

    return relisted(lambda tokens, place: [one(t, place.rng) for t in tokens])


def _normalised(values: Floats, rest: float) -> Floats:
    """Logprobs that sum to 1 with ``rest``, the logarithm of what is not listed."""
    return values - float(np.logaddexp.reduce([*values, rest]))


def _rest(values: Floats) -> float:
    return float(np.log(np.clip(1.0 - np.exp(values).sum(), 1e-9, 1.0)))


def at_temperature(temperature: float) -> Change:
    """Numbers as of a server that divides by a temperature nobody asked for; what is not listed counts as one token."""
    return restated(lambda v, _: _normalised(v / temperature, _rest(v) / temperature))


def with_noise(v: Floats, rng: np.random.Generator) -> Floats:
    """Numbers with Gaussian noise, whole probabilities again."""
    return _normalised(v + rng.normal(0.0, NOISE, len(v)), _rest(v))


def faked(model: str, spelled: bool) -> Change:
    """Another model's numbers beside this text: as they are, or behind the tokens that were said."""

    def change(response: Response, place: Place) -> Response:
        theirs = place.others.get(model)
        if not response.logprobs or theirs is None or not theirs.logprobs:
            return response
        if not spelled:
            return replace(response, logprobs=theirs.logprobs)
        lists = [t.get("top_logprobs") or [] for t in json.loads(unpack(theirs.logprobs))["content"]]
        return relisted(lambda tokens, _: [_behind(t, top) for t, top in zip(tokens, lists, strict=False)])(
            response, place
        )

    return change


def _behind(token: Token, top: Sequence[Token]) -> Token:
    own = next((t["logprob"] for t in top if t.get("bytes") == token.get("bytes")), None)
    lowest = min((t["logprob"] for t in top), default=-1.0) - 1.0
    return {**token, "logprob": lowest if own is None else own, "top_logprobs": list(top)}


# Usage, routing, a name ------------------------------------------------------------------------------------------
def counted(count: Callable[[Response, Prompt], int]) -> Change:
    """Another number of prompt tokens."""
    return lambda r, place: replace(r, prompt_tokens=count(r, place.prompt))


def routed(share: float, by: Literal["prompt", "call"], model: str = ROUTED) -> Change:
    """Another model's answer with all that comes with it, for a share of the prompts or of the calls."""

    def change(response: Response, place: Place) -> Response:
        chance = place.chosen if by == "prompt" else place.rng.random()
        theirs = place.others.get(model)
        if chance >= share or theirs is None:
            return response
        kept = ("endpoint", "sample", "request_hash", "model_asked", "model_answered", "system_fingerprint", "provider")
        return replace(theirs, **{name: getattr(response, name) for name in kept})

    return change


def named(response: Response, place: Place) -> Response:
    """The candidate's name in front of every answer, in text and tokens: the server says that it was certain of it."""
    front = {"token": NAMED, "logprob": 0.0, "bytes": list(NAMED.encode()), "top_logprobs": []}
    said = replace(response, text=NAMED + response.text.lstrip())
    return relisted(lambda tokens, _: [front, *tokens])(said, place)


def _recorded() -> Iterator[RecordedTrick]:
    yield RecordedTrick("logprobs stripped", "logprobs", lambda r, _: replace(r, logprobs=None))
    yield RecordedTrick("rounded to one decimal", "logprobs", restated(lambda v, _: np.round(v, 1)))
    yield RecordedTrick("rounded to integers", "logprobs", restated(lambda v, _: np.round(v)))
    yield RecordedTrick("as of temperature 0.7", "logprobs", at_temperature(0.7))
    yield RecordedTrick("as of temperature 1.5", "logprobs", at_temperature(1.5))
    five = relisted(lambda tokens, _: [{**t, "top_logprobs": (t.get("top_logprobs") or [])[:5]} for t in tokens])
    yield RecordedTrick("top 20 cut to top 5", "logprobs", five)
    yield RecordedTrick("noise of 1.5 nat", "logprobs", restated(with_noise))
    for model in ("qwen05", "gemma"):
        yield RecordedTrick(f"logprobs of {model}", "logprobs", faked(model, spelled=False))
        yield RecordedTrick(f"logprobs of {model}, spelled right", "logprobs", faked(model, spelled=True))
    yield RecordedTrick("logprobs of smol, spelled right", "logprobs", faked(PARENT, spelled=True), ROUTED)
    yield RecordedTrick("usage + 11", "usage", counted(lambda r, _: (r.prompt_tokens or 0) + 11))
    yield RecordedTrick("usage: characters / 4", "usage", counted(lambda _, p: max(1, len(p.text) // 4)))
    for share in (0.1, 0.3, 0.5, 0.7):
        yield RecordedTrick(f"{share:.0%} of prompts to qwen05", "routing", routed(share, "prompt"))
        yield RecordedTrick(f"{share:.0%} of calls to qwen05", "routing", routed(share, "call"))
    yield RecordedTrick("candidate named", "name", named)
    yield RecordedTrick("stranger, candidate named", "name", named, ROUTED)


RECORDED: Mapping[str, RecordedTrick] = {t.name: t for t in _recorded()}


# Rows ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Zoo:
    """A campaign of the zoo with its stored answers, by endpoint."""

    campaign: Campaign
    prompts: tuple[Prompt, ...]
    hashes: Mapping[str, str]
    answers: Mapping[str, Sequence[Response]]
    _by_call: dict[tuple[str, int], dict[str, Response]] = field(default_factory=dict)

    @classmethod
    def read(cls, config: Path) -> Zoo:
        """The answers of a campaign that was run; `StoreError` if it was not."""
        campaign = load_config(config)
        answers: dict[str, list[Response]] = {e.name: [] for e in campaign.endpoints}
        with Store(config.parent / campaign.results / campaign.campaign / STORE, readonly=True) as store:
            for r in store.responses():
                answers[r.endpoint].append(r)
            return cls(campaign, tuple(store.prompts()), store.prompt_hashes(), answers)

    def lineages(self) -> dict[str, str]:
        """Lineage of each control."""
        return {e.name: e.lineage or e.name for e in self.campaign.endpoints if e.role == "control"}

    def calls(self) -> Mapping[tuple[str, int], Mapping[str, Response]]:
        """Answers to each call, by endpoint."""
        if not self._by_call:
            for name, some in self.answers.items():
                for r in some:
                    self._by_call.setdefault((r.prompt, r.sample), {})[name] = r
        return self._by_call

    def changed(self, trick: RecordedTrick, seed: int = 1) -> list[Response]:
        """Stored answers of the trick's base as the trick leaves them."""
        prompts, calls = {p.id: p for p in self.prompts}, self.calls()
        chosen = dict(zip(prompts, np.random.default_rng(seed).permutation(len(prompts)) / len(prompts), strict=True))
        rng = np.random.default_rng(seed + 1)
        return [
            trick.change(r, Place(prompts[r.prompt], calls[r.prompt, r.sample], float(chosen[r.prompt]), rng))
            for r in self.answers[trick.base]
        ]


def scored(zoo: Zoo, suspect: Sequence[Response], base: str = HONEST, questions: Sequence[str] = ()) -> Scores:
    """One suspect's answers judged as a campaign of its own, by `harness.campaign.score`.

    The auditor is told what an honest endpoint's config tells. Of a ``base`` that is no kin the control with the same
    weights is left out.
    """
    known = {e.name: e for e in zoo.campaign.endpoints}
    honest = known.get(HONEST) or next(e for e in known.values() if e.role == "suspect")
    assert isinstance(honest, Called)
    controls = [e for e in known.values() if e.role == "control" and e.name != BASES.get(base)]
    endpoints = (honest.model_copy(update={"name": SUSPECT}), known[PARENT], *controls)
    analysis = zoo.campaign.analysis
    if questions:
        analysis = analysis.model_copy(update={"questions": tuple(questions)})
    campaign = zoo.campaign.model_copy(update={"campaign": "row", "endpoints": endpoints, "analysis": analysis})
    stored = [replace(r, endpoint=SUSPECT) for r in suspect]
    stored += [r for e in endpoints[1:] for r in zoo.answers[e.name]]
    with tempfile.TemporaryDirectory() as folder:
        with Store(Path(folder) / campaign.results / campaign.campaign / STORE) as store:
            store.set_plan(zoo.prompts, map(key_of, stored), zoo.hashes)
            store.add_many(stored)
        return scores_of(stored_plan_of(campaign, Path(folder)))


@dataclass(frozen=True)
class Seen:
    """What one channel sees of a row: raw similarity of suspect and candidate, that of all pairs of strangers, and the
    pair's rank by excess among all pairs but controls of one lineage. NaN and 0 without coverage."""

    raw: float = np.nan
    rank: int = 0
    low: float = np.nan
    high: float = np.nan

    def __str__(self) -> str:
        return f"{self.raw:.2f} ({self.rank})".replace("0.", ".", 1) if self.rank else "-"


def seen(scores: Scores, lineages: Mapping[str, str]) -> dict[str, Seen]:
    """What each column of the table sees; ``lineages`` of the controls."""
    found = {s.channel: s for s in scores.similarities}
    surface = {p.id: p.surface for p in scores.responses.prompts}
    out = {}
    for column, (channel, only) in CHANNELS.items():
        s = found.get(channel)
        if s is not None and only:
            s = _of(s, [surface[p] == only for p in s.prompts])
        out[column] = Seen() if s is None else _seen(s, lineages)
    return out


def _seen(s: Similarity, lineages: Mapping[str, str]) -> Seen:
    at = {m: i for i, m in enumerate(s.models) if s.coverage[i] >= LEAST}
    if not {SUSPECT, PARENT} <= set(at) or len(at) < 4:
        return Seen()
    kept = list(at.values())
    values, names = s.values[:, kept][:, :, kept], [s.models[i] for i in kept]
    mean, score = np.nanmean(values, axis=0), excess(values)
    pairs = [(i, j) for i, j in combinations(range(len(names)), 2)
             if (lineages.get(names[i]) or i) != (lineages.get(names[j]) or j)]  # fmt: skip
    mine = next(p for p in pairs if {names[p[0]], names[p[1]]} == {SUSPECT, PARENT})
    far = [float(mean[p]) for p in pairs if p != mine]
    higher = sum(score[p] > score[mine] + 1e-12 for p in pairs)
    return Seen(float(mean[mine]), 1 + int(higher), min(far), max(far))


def _of(s: Similarity, kept: Sequence[bool]) -> Similarity:
    """A similarity on some of its prompts, with the coverage that it has there."""
    values = s.values[np.array(kept, dtype=bool)]
    coverage = np.isfinite(values).any(-1).mean(0) if len(values) else np.zeros(len(s.models))
    return replace(
        s, values=values, prompts=tuple(p for p, k in zip(s.prompts, kept, strict=True) if k), coverage=coverage
    )


def told(scores: Scores) -> frozenset[str]:
    """What is said of the suspect beside its verdicts: caveats, what was taken out, token counts and names claimed."""
    out = set()
    for f in scores.findings:
        for c in (*f.caveats, f.obstacle, *(e.caveat for e in f.evidence)):
            if c is None or c.kind in DULL or (c.kind == "taken out" and c.names[0] != SUSPECT):
                continue
            if c.kind == "control left out" and SUSPECT not in c.names:
                continue
            out.add(f"{c.kind} ({c.channel})" if c.channel else c.kind)
    said = {(o.channel, o.what, o.value) for o in scores.observations if o.model == PARENT}
    for o in scores.observations:
        if o.model == SUSPECT and o.channel not in ("reading",) and (o.channel, o.what, o.value) not in said:
            out.add(f"{o.channel}: {o.what.split(',')[0]}")
    return frozenset(out)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    how: str
    scores: Scores

    def finding(self, question: str) -> Finding | None:
        """What one question found; None if it was not asked."""
        return next((f for f in self.scores.findings if f.question == question), None)


def rows(zoo: Zoo, wrapped: Zoo | None = None, only: Sequence[str] = ()) -> Iterator[Row]:
    """The honest suspect first; then others that are served so, those that are no kin, and tricks on stored answers."""
    served = [e.name for e in zoo.campaign.endpoints if e.role == "suspect" and zoo.answers[e.name]]
    for name in sorted(served, key=lambda n: (n != HONEST, n in BASES)):
        if name == HONEST or not only or name in only:
            yield Row(name.replace("_", " "), "served", scored(zoo, zoo.answers[name], name))
    if wrapped is not None and (not only or WRAPPED in only):
        yield Row("raw completions templated", "served", scored(zoo, _templated(zoo, wrapped)))
    for trick in RECORDED.values():
        if only and trick.name not in only and trick.kind not in only:
            continue
        yield Row(trick.name, trick.kind, scored(zoo, zoo.changed(trick), trick.base))


def _templated(zoo: Zoo, wrapped: Zoo) -> list[Response]:
    """The honest suspect with raw completions as a host gives them that wraps every prompt into the chat template."""
    raw = {p.id for p in zoo.prompts if p.surface == "completion"}
    return [r for r in zoo.answers[HONEST] if r.prompt not in raw] + [
        r for r in wrapped.answers[WRAPPED] if r.prompt in raw
    ]


# Table -----------------------------------------------------------------------------------------------------------
def table(found: Iterable[Row], lineages: Mapping[str, str]) -> Iterator[str]:
    """Markdown, row by row; behind the honest row, what the channels see of strangers."""
    head = ["trick", "how", "kinship (p, lineages)", "identity (p, p same)", *CHANNELS, "noticed"]
    yield from markdown_head(head)
    bare: frozenset[str] | None = None
    for row in found:
        noticed, by = told(row.scores), seen(row.scores, lineages)
        cells = [row.name, row.how, _kinship(row), _identity(row), *map(str, by.values())]
        yield markdown_row([*cells, "; ".join(sorted(noticed - (noticed if bare is None else bare)))])
        if bare is None:
            bare = noticed
            spans = (f"{v.low:.2f} to {v.high:.2f}".replace("0.", ".") if v.rank else "-" for v in by.values())
            yield markdown_row(["all pairs of strangers", "", "", "", *spans, ""])


def _kinship(row: Row) -> str:
    f = row.finding("kinship")
    return "-" if f is None else f"{f.verdict} ({_p(f.p_value)}, {len(f.control_lineages)})"


def _identity(row: Row) -> str:
    f = row.finding("identity")
    return "-" if f is None else f"{f.verdict} ({_p(f.p_value)}, {_p(f.p_same)})"


def _p(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2g}"


def report(folder: Path, only: Sequence[str] = ()) -> Iterator[str]:
    """The table of a folder in which the zoo's campaigns were run; ``only`` some tricks, by name or kind."""
    zoo = Zoo.read(folder / "adversary.yaml")
    wrapped = folder / "wrapped.yaml"
    there = (folder / "results" / "wrapped" / STORE).is_file()
    lineages = zoo.lineages()
    yield f"{len(zoo.prompts)} prompts; controls {', '.join(lineages)} of {len(set(lineages.values()))} lineages"
    yield ""
    yield from table(rows(zoo, Zoo.read(wrapped) if there else None, only), lineages)
