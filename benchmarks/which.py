"""Which known model is it? Attribution by pairing: `python -m benchmarks.which --data X.parquet --lineage X.csv`.

Each draw takes one model of each of R lineages as the known ones, and so many prompts. Suspects are all models of the
same weights as a known one, all close kin of one, and one of each lineage that is not known. Rows are shares of
suspects. `--folds` judges each by a table fitted without both families (its own, and that of its best match), `--table`
writes the table fitted on all.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.makers import model_of
from benchmarks.measures import markdown_head, markdown_row, rate
from benchmarks.recorded import Collection, read
from benchmarks.relations import CLOSE, SAME_MAKER, SAME_ROOT
from harness.channels.wording import wording, wording_within
from harness.inference.excess import reaches
from harness.inference.pairing import NullTable, Pairing, Scored, decide, scored, shipped_table
from harness.records import Similarity

ALPHA, SEED = 0.05, 3
TAILS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.075, 0.05, 0.04, 0.03, 0.02, 0.01, 0.005)
LINEAGES, PROMPTS = (5, 8, 13, 19, 30), (25, 50, 100, 200)  # of the table
KINDS = ("same", "close", "base", "its maker", "stranger")
NEARLY = 0.05
LEAST_ANSWERED = 0.85  # of the prompts that most models answered


@dataclass(frozen=True)
class Trial:
    """One suspect among known models. ``kind`` is what is true of it: same, close, base, its maker, stranger."""

    kind: str
    suspect: int
    known: tuple[int, ...]
    right: NDArray[np.bool_]  # (k,): same weights or close kin
    same_maker: NDArray[np.bool_]  # (k,)
    scored: Scored

    @property
    def best(self) -> int:
        """Place among the known of the best match."""
        return int(self.scored.used[self.scores.argmax()])

    @property
    def scores(self) -> NDArray[np.float64]:
        """Score of each known model that could be compared."""
        return self.scored.scores


@dataclass(frozen=True)
class Bench:
    """A collection with its similarities, makers and the models that are fit to be asked about."""

    collection: Collection
    similarity: Similarity
    makers: tuple[frozenset[str], ...]
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, collection: Collection, words: int | None = None) -> Bench:
        """On the prompts that most models answered; of each answer the first ``words``, if so."""
        found = wording(collection.table) if words is None else wording_within(collection.table, words)
        if found is None:
            raise SystemExit("no texts to compare")
        seen = np.asarray(np.isfinite(found.values).any(2))
        often = np.flatnonzero(seen.mean(1) >= 0.75)
        kept = Similarity(
            found.channel, found.models, tuple(found.prompts[i] for i in often), found.values[often],
            seen[often].mean(0), found.unit, found.sees, found.words,
        )  # fmt: skip
        usable = np.array([r.usable for r in collection.rows]) & (kept.coverage >= LEAST_ANSWERED)
        makers = tuple(model_of(collection, i, "control", told=True).makers for i in range(len(usable)))
        return cls(collection, kept, makers, usable)

    def draws(
        self, lineages: int, prompts: int, rounds: int, seed: int = SEED, kinds: Sequence[str] = KINDS
    ) -> Iterator[Trial]:
        """Trials of so many draws of known models and prompts."""
        rng = np.random.default_rng(seed)
        values, known = self.similarity.values, self.collection.known
        every = np.unique(known.lineage[self.usable])
        for _ in range(rounds):
            chosen = rng.permutation(every)[:lineages]
            refs = tuple(int(rng.choice(np.flatnonzero(self.usable & (known.lineage == x)))) for x in chosen)
            part = values[rng.permutation(len(values))[:prompts]]
            for kind, suspect in self._suspects(refs, rng):
                if kind not in kinds:
                    continue
                found = scored(part, suspect, refs, known.lineage.tolist(), self.makers)
                if found is not None:
                    right = np.isin(self.collection.relation[suspect, list(refs)], CLOSE)
                    yield Trial(kind, suspect, refs, right, self._one_maker(suspect, refs), found)

    def merged(self, names: Sequence[str], lineages: int, prompts: int, rounds: int) -> Iterator[Trial]:
        """Trials of a merge, the first of the names, among its parents and one model of each of other lineages."""
        rng, known = np.random.default_rng(SEED), self.collection.known
        merge, *parents = (self.similarity.models.index(n) for n in names)
        own = {str(known.lineage[i]) for i in (merge, *parents)}
        others = [x for x in np.unique(known.lineage[self.usable]) if x not in own]
        for _ in range(rounds):
            chosen = rng.permutation(others)[: lineages - 1]
            more = [int(rng.choice(np.flatnonzero(self.usable & (known.lineage == x)))) for x in chosen]
            refs = (*parents, *more)
            part = self.similarity.values[rng.permutation(len(self.similarity.values))[:prompts]]
            if found := scored(part, merge, refs, known.lineage.tolist(), self.makers):
                right = np.arange(len(refs)) < len(parents)
                yield Trial("merge", merge, refs, right, self._one_maker(merge, refs), found)

    def _one_maker(self, suspect: int, refs: Sequence[int]) -> NDArray[np.bool_]:
        """Of one maker by what is told, or by what the lineage table says."""
        told = [bool(self.makers[suspect] & self.makers[r]) for r in refs]
        return np.array(told) | np.isin(self.collection.relation[suspect, list(refs)], SAME_MAKER)

    def _suspects(self, refs: Sequence[int], rng: np.random.Generator) -> Iterator[tuple[str, int]]:
        known, relation = self.collection.known, self.collection.relation
        strangers: dict[str, int] = {}
        for s in rng.permutation(np.flatnonzero(self.usable)).tolist():
            found = set(relation[s, list(refs)])
            if s in refs:
                continue
            if "same_weights" in found:
                yield "same", s
            elif found & set(CLOSE):
                yield "close", s
            elif found & set(SAME_ROOT):
                yield "base", s
            elif known.apart[s, list(refs)].all() and known.lineage[s] not in known.lineage[list(refs)]:
                strangers.setdefault(str(known.lineage[s]), s)
        for s in strangers.values():
            yield ("its maker" if self._one_maker(s, refs).any() else "stranger"), s


def nulls(trials: Sequence[Trial]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Best score with another maker's model of each unknown suspect, one a lineage and draw, and its weight."""
    found = [t for t in trials if t.kind in ("its maker", "stranger")]
    best = np.array([np.where(t.same_maker[t.scored.used], -np.inf, t.scores).max() for t in found])
    return best, np.full(len(found), 1.0 / max(len(found), 1))


def cell(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Scores at `TAILS` of unknown suspects, for one number of lineages and prompts."""
    best, weight = nulls(trials)
    order = np.argsort(-best)
    above = np.cumsum(weight[order])
    return np.array([best[order][min(int(np.searchsorted(above, t)), len(best) - 1)] for t in TAILS])


def kin_score(trials: Sequence[Trial]) -> float:
    """The score that parts kin from other models of a maker: the lowest that does so nearly as well as the best.

    How well is the share of kin (half of the weight on the same weights) above it less that of others. Where a fold
    leaves no kin, nothing is called kin: the highest score of the grid.
    """
    first = {kind: np.array([t.scores.max() for t in trials if t.kind == kind and _judged(t)])
             for kind in ("same", "close", "its maker")}  # fmt: skip
    grid = np.arange(1.0, 9.0, 0.1)
    above = {kind: np.array([np.mean(x >= g) for g in grid]) for kind, x in first.items() if len(x)}
    shares = [above[k] for k in ("same", "close") if k in above]
    if not shares:
        return float(grid[-1])
    kin = np.mean(shares, axis=0)
    gain = kin - above.get("its maker", np.zeros(len(grid)))
    return float(grid[int(np.flatnonzero(gain >= gain.max() - NEARLY)[0])])


def _judged(t: Trial) -> bool:
    """Whether its best match is one that a name would be right of: kin, or a model of its maker."""
    return bool((t.same_maker if t.kind == "its maker" else t.right)[t.best])


def one_cell(trials: Sequence[Trial]) -> NullTable:
    """A table for one number of lineages and prompts."""
    return NullTable((2,), (2,), TAILS, cell(trials)[None, None], kin_score(trials))


def fitted(bench: Bench, rounds: int) -> NullTable:
    """A table over the whole grid."""
    kinds = [k for k in KINDS if k != "base"]
    found = {(r, n): list(bench.draws(r, n, rounds, SEED + 1, kinds)) for r in LINEAGES for n in PROMPTS}
    scores = np.array([[cell(found[r, n]) for n in PROMPTS] for r in LINEAGES])
    about = {
        "source": "tatsu-lab/alpaca_eval results, wording, one model a lineage",
        "models": int(bench.usable.sum()),
        "lineages": len(np.unique(bench.collection.known.lineage[bench.usable])),
        "command": "python -m benchmarks.which --table",
    }
    return NullTable(LINEAGES, PROMPTS, TAILS, scores, kin_score([t for ts in found.values() for t in ts]), about)


def judged(bench: Bench, trials: Sequence[Trial], folds: bool) -> list[Pairing | None]:
    """Each trial by the table that ships, or by one fitted without the families of suspect and best match."""
    if not folds:
        return [decide(t.scored, ALPHA, shipped_table()) for t in trials]
    family = bench.collection.known.family
    pairs = [(str(family[t.suspect]), str(family[t.known[t.best]])) for t in trials]

    @cache
    def without(gone: frozenset[str]) -> NullTable:
        return one_cell([t for t, pair in zip(trials, pairs, strict=True) if not gone & set(pair)])

    return [decide(t.scored, ALPHA, without(frozenset(pair))) for t, pair in zip(trials, pairs, strict=True)]


def rows(bench: Bench, trials: Sequence[Trial], found: Sequence[Pairing | None]) -> Iterator[tuple[str, ...]]:
    """Lines of the table: what was asked of which suspects, and the share of them."""
    both = [(t, p) for t, p in zip(trials, found, strict=True) if p is not None]
    for kind, name in (("same", "same weights"), ("close", "close kin")):
        some = [(t, p) for t, p in both if t.kind == kind]
        yield _row(bench, f"{name}: named, alone or in a set", some, lambda t, p: bool(t.right[list(p.named)].any()))
        yield _row(bench, f"{name}: named first", some, lambda t, p: bool(p.named and t.right[p.named[0]]))
        yield _row(
            bench, f"{name}: named, as itself or close kin", some,
            lambda t, p: p.tier == "model" and bool(t.right[list(p.named)].any()),
        )  # fmt: skip
        yield _of_lineages(bench, f"{name}: named, each lineage counted once", some)
        yield _row(bench, f"{name}: by the rank alone (conformal)", some, lambda t, p: _alone(t, p, right=True))
        sizes = [len(p.named) for _, p in some if p.named]
        yield (f"{name}: models named, mean", f"{np.mean(sizes):.2f}" if sizes else "-", "", str(len(sizes)))
    some = [(t, p) for t, p in both if t.kind in ("its maker", "stranger")]
    yield _row(bench, "stranger: attributed to another maker", some, _to_another)
    yield _row(bench, "the same, by the rank alone (conformal)", some, lambda t, p: _alone(t, p, right=False))
    for kind, name in (("stranger", "its maker is not known"), ("its maker", "its maker is known")):
        part = [(t, p) for t, p in some if t.kind == kind]
        yield _row(bench, f"the same, {name}", part, _to_another)
    own = [(t, p) for t, p in some if t.kind == "its maker"]
    for tier, words in (("maker", "something of its maker"), ("model", "that model or close kin")):
        yield _row(
            bench, f"its maker is known: called {words}", own,
            lambda t, p, tier=tier: p.tier == tier and bool(t.same_maker[p.named[0]]),
        )  # fmt: skip
    base = [(t, p) for t, p in both if t.kind == "base"]
    yield _row(bench, "one pretrained base: named", base, lambda _, p: bool(p.named))


def _of_lineages(bench: Bench, name: str, some: Sequence[tuple[Trial, Pairing]]) -> tuple[str, ...]:
    """Mean over lineages of the share named: a lineage of ten models has more trials than all others together."""
    lineage = bench.collection.known.lineage
    hits: dict[str, list[bool]] = {}
    for t, p in some:
        hits.setdefault(str(lineage[t.suspect]), []).append(bool(t.right[list(p.named)].any()))
    each = ", ".join(f"{x} {np.mean(h):.2f}" for x, h in sorted(hits.items()))
    return (name, f"{np.mean([np.mean(h) for h in hits.values()]):.3f}" if hits else "-", each, str(len(hits)))


def _to_another(t: Trial, p: Pairing) -> bool:
    return any(not t.same_maker[i] for i in p.named)


def _alone(t: Trial, p: Pairing, *, right: bool) -> bool:
    """What the rank among the known lineages would say without the table."""
    named = np.flatnonzero(reaches(p.p_own, ALPHA))
    return bool(t.right[named].any() if right else (~t.same_maker[named]).any())


def _row(bench: Bench, name: str, some: Sequence[tuple[Trial, Pairing]], hit) -> tuple[str, ...]:  # type: ignore[no-untyped-def]
    lineage = bench.collection.known.lineage
    units = np.array([(lineage[t.suspect], lineage[t.known[t.best]]) for t, _ in some]).reshape(-1, 2)
    value, interval, count = rate(np.array([hit(t, p) for t, p in some], dtype=bool), units)
    return (name, f"{value:.3f}", f"{interval[0]:.2f} to {interval[1]:.2f}", str(count))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; prints Markdown tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.which", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lineage", type=Path, required=True)
    parser.add_argument("--lineages", type=int, nargs="+", default=[19, 10], help="known lineages")
    parser.add_argument("--prompts", type=int, nargs="+", default=[100])
    parser.add_argument("--rounds", type=int, default=100, help="draws of known models")
    parser.add_argument("--words", type=int, help="of each answer, as in a quick look; default: all")
    parser.add_argument("--merge", nargs="+", help="a merge and its parents: how often they are named")
    parser.add_argument("--folds", action="store_true", help="tables without both families, for the data they are of")
    parser.add_argument("--table", type=Path, help="write the table of this collection, and stop")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    bench = Bench.of(read(given.data, given.lineage), given.words)
    if given.merge:
        print("\n".join(markdown_head(("known lineages", "prompts", "what", "share", "95 %", "trials"))))
        for r in given.lineages:
            for n in given.prompts:
                trials = list(bench.merged(given.merge, r, n, given.rounds))
                both = [(t, p) for t, p in zip(trials, judged(bench, trials, False), strict=True) if p is not None]
                for name, least in (("merge: a parent named", 1), ("merge: both parents in the set", 2)):
                    row = _row(bench, name, both, lambda t, p, k=least: bool(t.right[list(p.named)].sum() >= k))
                    print(markdown_row((str(r), str(n), *row)), flush=True)
        return 0
    if given.table:
        given.table.write_text(fitted(bench, given.rounds).to_json(), "utf-8")
        return 0
    print("\n".join(markdown_head(("known lineages", "prompts", "what", "share", "95 %", "trials"))))
    for r in given.lineages:
        for n in given.prompts:
            trials = list(bench.draws(r, n, given.rounds))
            for row in rows(bench, trials, judged(bench, trials, given.folds)):
                print(markdown_row((str(r), str(n), *row)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
