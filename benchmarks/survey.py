"""Surveys of recorded models of known relation: realised false discoveries, what is found, and seconds.

    python -m benchmarks.survey --data FILE.parquet --lineage FILE.csv --sizes 16x40 24x20
    python -m benchmarks.survey --data FILE.parquet --lineage FILE.csv --sizes 8x12 --strangers
    python -m benchmarks.survey --data FILE.parquet --lineage FILE.csv --cloaked 5
    python -m benchmarks.survey --data FILE.parquet --lineage FILE.csv --seconds 60

The first draws controls of lineages and makers of their own, and suspects that are of none of these; the second only
suspects that are strangers to one another. The third names no controls: of every model the maker is known, but for
some, of which nothing is. The last times one survey.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.measures import markdown_head, markdown_row
from benchmarks.recorded import Collection, read
from benchmarks.relations import CLOSE, SAME_MAKER, SAME_ROOT, TAUGHT
from harness.channels.parallel import compare, load_channels, probes
from harness.inference.excess import reaches
from harness.inference.findings import Settings
from harness.inference.pool import Model
from harness.inference.survey import Survey, fewest_discoveries, survey
from harness.inference.trials import Ints
from harness.records import Responses, Similarity

SEED, BOOTSTRAP = 1, 20
ANSWERED = 0.9  # of the models, by which a prompt must have been answered
KINDS: Mapping[str, tuple[str, ...]] = {
    "close kin": CLOSE,
    "same base": SAME_ROOT,
    "same maker, other weights": SAME_MAKER,
    "taught or shared data": TAUGHT,
    "unrelated": ("unrelated",),
}


@dataclass(frozen=True)
class Outcome:
    """One survey of known models at one rate: pairs that stand and pairs that were asked, by relation."""

    stands: Mapping[str, int]
    asked: Mapping[str, int]
    fewest: int
    unrelated: int

    @property
    def false_share(self) -> float:
        """Of the pairs that stand, the share that is unrelated; 0 where none stands."""
        return self.stands["unrelated"] / max(sum(self.stands.values()), 1)


def outcome(found: Survey, collection: Collection, alpha: float) -> Outcome:
    """What stands at a rate, by what is known of it."""
    at = {n: i for i, n in enumerate(collection.table.models)}
    kind = {r: k for k, some in KINDS.items() for r in some}
    pairs = [(p, kind.get(str(collection.relation[at[p.a], at[p.b]]), "unclear")) for p in found.pairs]
    names = (*KINDS, "unclear")
    return Outcome(
        {k: sum(bool(reaches(p.q, alpha)) and k == x for p, x in pairs) for k in names},
        {k: sum(p.q == p.q and k == x for p, x in pairs) for k in names},
        fewest_discoveries(found.asked, found.unrelated, alpha),
        found.unrelated,
    )


def with_controls(
    collection: Collection, controls: int, suspects: int, rng: np.random.Generator, *, strangers: bool = False
) -> list[Model]:
    """Controls of lineages, families and makers of their own, and suspects that share no weights and no maker with
    them; ``strangers`` are unrelated to one another, too."""
    known = collection.known
    usable = rng.permutation([i for i, r in enumerate(collection.rows) if r.usable])
    chosen: list[int] = []
    for i in usable:
        apart = all(known.apart[i, c] and known.maker[i] != known.maker[c] for c in chosen)
        if len(chosen) < controls and apart and known.family[i] not in known.family[chosen]:
            chosen.append(int(i))
    foreign = known.apart[:, chosen].all(1) & ~np.isin(known.maker, known.maker[chosen])
    rest: list[int] = []
    for i in usable[foreign[usable]]:
        if len(rest) < suspects and not (strangers and (collection.relation[i, rest] != "unrelated").any()):
            rest.append(int(i))
    named = known.models
    return [
        *(Model(named[i], "control", str(known.lineage[i]), str(known.maker[i])) for i in chosen),
        *(Model(named[i], "suspect", None, str(known.maker[i])) for i in rest),
    ]


def cloaked(collection: Collection, hidden: int, rng: np.random.Generator) -> list[Model]:
    """All models as suspects whose makers are known, but for some; who made a root is known with its maker."""
    known = collection.known
    usable = [i for i, r in enumerate(collection.rows) if r.usable]
    some = set(rng.choice(usable, hidden, replace=False).tolist())
    return [Model(known.models[i], "suspect", None, None if i in some else str(known.maker[i])) for i in usable]


def shared_prompts(s: Similarity, names: list[str], most: int, rng: np.random.Generator) -> Similarity:
    """A channel among some models, on prompts that nearly all of them answered."""
    at = [s.models.index(n) for n in names]
    values = s.values[:, at][:, :, at]
    answered = np.asarray(np.isfinite(values).any(2))
    full = np.flatnonzero(answered.mean(1) >= ANSWERED)
    chosen: Ints = np.sort(rng.permutation(full)[:most])
    return replace(
        s,
        models=tuple(names),
        prompts=tuple(s.prompts[i] for i in chosen),
        values=values[chosen],
        coverage=answered[chosen].mean(0),
    )


def well_answered(table: Responses, most: int = 400) -> Responses:
    """A table on the prompts that nearly all models answered, and on at most so many."""
    count = (np.diff(table.start).reshape(len(table.prompts), len(table.models)) > 0).sum(1)
    full = np.flatnonzero(count >= ANSWERED * len(table.models))
    return table.only(sorted(np.random.default_rng(SEED).permutation(full)[:most].tolist()))


def surveys(
    collection: Collection, s: Similarity, given: argparse.Namespace, controls: int, suspects: int, prompts: int
) -> Iterator[Survey]:
    """One survey a round, with models and prompts drawn anew."""
    for turn in range(given.rounds):
        rng = np.random.default_rng(SEED + turn)
        if given.cloaked:
            models = cloaked(collection, given.cloaked, rng)
        else:
            models = with_controls(collection, controls, suspects, rng, strangers=given.strangers)
        part = shared_prompts(s, [m.name for m in models], prompts, rng)
        found = survey(models, [part], Settings(0.05, 0.9, 99, BOOTSTRAP, SEED))
        if found is not None:
            yield found


def timed(collection: Collection, models: int, prompts: int) -> str:
    """Seconds of comparing, of measuring what wrappers explain, and of the survey, with 1,000 rounds of bootstrap."""
    rng = np.random.default_rng(SEED)
    cast = with_controls(collection, 16, models - 16, rng)
    table = collection.table.among([collection.table.models.index(m.name) for m in cast])
    table = well_answered(table, prompts)
    began = time.perf_counter()
    channels = compare(load_channels(), table)
    compared = time.perf_counter()
    found = survey(
        cast, channels, Settings(0.05, 0.9, 99, 1000, SEED), lambda names, c: probes(tuple(c), table, 3, SEED)
    )
    ended = time.perf_counter()
    shape = f"{len(cast)} models, {len(table.prompts)} prompts"
    known = len(found.pairs) if found else 0
    return f"{shape}, {known} pairs: compared {compared - began:.0f} s, surveyed {ended - compared:.0f} s"


HEAD = (
    *("controls x suspects", "prompts", "rate", "asked", "unrelated pairs", "fewest", "nothing stands", "stand"),
    *(f"found: {k}" for k in KINDS if k != "unrelated"),
    *("unrelated pairs that stand", "share of all that stand"),
)


def row(size: str, prompts: int, alpha: float, found: list[Outcome]) -> str:
    """Means over surveys: what is asked and stands, the share found of each relation, and what of it is unrelated."""
    totals = [
        (sum(o.stands[k] for o in found), sum(o.asked[k] for o in found)) for k in KINDS if k != "unrelated"
    ]  # fmt: skip
    stands = [sum(o.stands.values()) for o in found]
    return markdown_row(
        (
            size, str(prompts), f"{alpha:g}", f"{np.mean([sum(o.asked.values()) for o in found]):.0f}",
            f"{np.mean([o.unrelated for o in found]):.0f}", f"{np.median([o.fewest for o in found]):.0f}",
            f"{np.mean([x == 0 for x in stands]):.2f}", f"{np.mean(stands):.1f}",
            *(f"{x / y:.3f} of {y}" if y else "-" for x, y in totals),
            f"{sum(o.stands['unrelated'] for o in found)} of {sum(o.asked['unrelated'] for o in found)}",
            f"{np.mean([o.false_share for o in found]):.3f}",
        )
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a Markdown table, a row a size, number of prompts and rate."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survey", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lineage", type=Path, required=True)
    parser.add_argument("--channel", default="wording")
    parser.add_argument("--sizes", nargs="+", default=["16x40", "24x20"], help="controls x suspects")
    parser.add_argument("--cloaked", type=int, default=0, help="no controls; so many models of unknown maker")
    parser.add_argument("--strangers", action="store_true", help="suspects that are unrelated to one another")
    parser.add_argument("--prompts", type=int, nargs="+", default=[100])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--alpha", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--seconds", type=int, default=0, help="time one survey of so many models, and stop")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    collection = read(given.data, given.lineage)
    if given.seconds:
        print(timed(collection, given.seconds, given.prompts[0]))
        return 0
    (similarity,) = compare(load_channels((given.channel,)), well_answered(collection.table))
    print("\n".join(markdown_head(HEAD)))
    for size in [f"no controls, {given.cloaked} cloaked"] if given.cloaked else given.sizes:
        controls, suspects = (0, 0) if given.cloaked else map(int, size.split("x"))
        for prompts in given.prompts:
            found = list(surveys(collection, similarity, given, controls, suspects, prompts))
            for alpha in given.alpha if found else ():
                print(row(size, prompts, alpha, [outcome(f, collection, alpha) for f in found]), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
