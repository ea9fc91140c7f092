"""Verdicts on kinship by relation: `python -m benchmarks.by_relation --data X.parquet --lineage X.csv`.

Each trial is a pair of known relation with controls and prompts drawn at random, one channel alone, judged by the
functions that judge a campaign: its rank, its ratios, its verdict. Columns are shares of the trials; "found" is p at
most .05. Tables that ship were fitted on AlpacaEval (wording) and EQ-Bench (ratings): there the shares of verdicts,
not of ranks, are of pairs that the lines have seen. `--cllr` prints the costs with families held out instead.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measures import markdown_head, markdown_row, rate
from benchmarks.recorded import Collection, read
from harness.channels.parallel import compare, load_channels
from harness.inference.calibration import channel_of
from harness.inference.control_match import manners_of, unfitted
from harness.inference.excess import reaches, row_p, smallest_p
from harness.inference.findings import ChannelEvidence, Finding
from harness.inference.kinship import Unfitted, judge, with_rates, with_ratios
from harness.inference.likelihood import LikelihoodTable, shipped_tables
from harness.inference.pool import Model
from harness.inference.trials import Floats, Ints, draw_trials, pair_p, pool_matrices
from harness.records import Similarity

ALPHA, SEED = 0.05, 1
MOST, DRAWS = 300, {"close": 3, "base": 2}  # pairs of each relation; trials of each pair
VERDICTS = ("KIN-LIKE", "KIN-OR-TAUGHT", "UNRELATED-LIKE", "INCONCLUSIVE")


@dataclass(frozen=True)
class Outcome:
    """What became of the trials of one relation: shares found and of each verdict, the interval of the first."""

    relation: str
    trials: int
    pairs: int
    found: float
    interval: tuple[float, float]
    verdicts: Mapping[str, float]


def groups(collection: Collection, thinking: Mapping[str, bool]) -> dict[str, Ints]:
    """Pairs by relation; close, taught and shared base also of two makers alone, unrelated ones by who thinks."""
    known, by, every = collection.known, collection.by_relation(), collection.pairs()
    out: dict[str, Ints] = {
        "close": by["close"],
        "close, two makers": by["close"][known.two_makers(by["close"])],
        "base": by["base"],
        "same maker, other weights": by["same maker"][~known.two_makers(by["same maker"])],
        "one root's maker, other weights": by["same maker"][known.two_makers(by["same maker"])],
        "taught or shared data, two makers": by["taught"][known.two_makers(by["taught"])],
        "unrelated": by["unrelated"],
        "no shared weights, two makers": every[known.two_makers(every)],
    }
    if any(thinking.values()):
        think = np.array([thinking.get(r.name, False) for r in collection.rows])[by["unrelated"]]
        out["unrelated, both think"] = by["unrelated"][think.all(1)]
        out["unrelated, one thinks"] = by["unrelated"][think.sum(1) == 1]
        out["unrelated, neither thinks"] = by["unrelated"][~think.any(1)]
    return out


def outcomes(
    collection: Collection, similarity: Similarity, k: int, prompts: list[int], thinking: Mapping[str, bool]
) -> Iterator[tuple[int, Outcome]]:
    """Outcomes by number of prompts and relation."""
    tables, rng = shipped_tables(), np.random.default_rng(SEED)
    manners = manners_of(collection.table)
    models = [Model(name, "control", None) for name in collection.table.models]
    shared = np.asarray(np.isfinite(similarity.values).any(2) & (similarity.coverage >= 0.9))
    for relation, pairs in groups(collection, thinking).items():
        chosen = pairs if len(pairs) <= MOST else pairs[rng.choice(len(pairs), MOST, replace=False)]
        trials = draw_trials(collection.known, chosen, shared, k, DRAWS.get(relation.split(",")[0], 1), rng)
        for n, (matrices, _) in pool_matrices([similarity], trials, k, prompts).items():
            seen = np.flatnonzero(np.isfinite(matrices[:, 0, 1]))
            if not len(seen):
                continue
            two = collection.known.two_makers(trials.pairs[seen])
            p = pair_p(matrices[seen])
            outside = [partial(unfitted, manners, models[a], models[b]) for a, b in trials.pairs[seen]]
            judged = Counter(
                verdict(m, float(x), similarity, n, o, two_makers=bool(t), tables=tables)
                for m, x, o, t in zip(matrices[seen], p, outside, two, strict=True)
            )
            value, interval, count = rate(reaches(p, ALPHA), collection.known.lineage[trials.pairs[seen]])
            shares = {v: judged[v] / count for v in VERDICTS}
            yield n, Outcome(relation, count, len(chosen), value, interval, shares)


def verdict(
    matrix: Floats,
    p: float,
    s: Similarity,
    n: int,
    outside: Unfitted,
    *,
    two_makers: bool,
    tables: Mapping[str, LikelihoodTable],
) -> str:
    """Verdict of one trial with p-value ``p``, on ``n`` prompts of one channel alone."""
    k, effect = len(matrix) - 2, float(matrix[0, 1])
    seen = ChannelEvidence(
        s.channel, s.sees, s.unit, n, 1.0, effect=effect, effect_low=effect, effect_high=effect, p=p, words=s.words
    )
    found = Finding(
        "kinship", "s", "c", tuple(map(str, range(k))), ALPHA, p_value=p, p_adjusted=p, p_floor=smallest_p(k),
        p_candidate=row_p(matrix), evidence=(seen,),
    )  # fmt: skip
    found, _ = with_ratios(with_rates(found, tables, ALPHA), tables, outside, two_makers=two_makers)
    return judge(replace(found, effect=effect)).verdict


def costs(table: LikelihoodTable) -> str:
    """Cllr and Cllr_min of each proposition on families that its lines had not seen, as the table itself says."""
    rows = [
        markdown_row(
            (v["proposition"], str(v["controls"]), str(v["prompts"]), f"{v['cllr']:.3f}",
             f"{v['cllr_low']:.2f} to {v['cllr_high']:.2f}", f"{v['cllr_min']:.3f}", " / ".join(map(str, v["trials"])))
        )
        for v in table.about["validation"]
        if v["controls"] in (8, 16) and v["prompts"] in (32, 100, 400)
    ]  # fmt: skip
    head = ("proposition", "controls", "prompts", "Cllr", "95 %", "Cllr_min", "trials for / against")
    return "\n".join([*markdown_head(head), *rows])


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints Markdown tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.by_relation", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lineage", type=Path)
    parser.add_argument("--channel", default="wording")
    parser.add_argument("--controls", type=int, nargs="+", default=[16, 8])
    parser.add_argument("--prompts", type=int, nargs="+", default=[32, 100])
    parser.add_argument("--cllr", action="store_true", help="print the costs that the shipped table holds, and stop")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    if given.cllr:
        print(costs(LikelihoodTable.shipped(given.channel)))
        return 0
    collection = read(given.data, given.lineage)
    similarity = channel_of(compare(load_channels((given.channel,)), collection.table), given.channel)
    with given.lineage.open(newline="", encoding="utf-8-sig") as f:
        thinking = {r["model"]: r.get("reasoning") == "True" for r in csv.DictReader(f)}
    print("\n".join(markdown_head(("K", "prompts", "relation", "trials (pairs)", "found", "95 %", *VERDICTS))))
    for k in given.controls:
        for n, o in outcomes(collection, similarity, k, given.prompts, thinking):
            cells = (f"{o.found:.3f}", f"{o.interval[0]:.2f} to {o.interval[1]:.2f}")
            shares = tuple(f"{o.verdicts[v]:.3f}" for v in VERDICTS)
            print(markdown_row((str(k), str(n), o.relation, f"{o.trials} ({o.pairs})", *cells, *shares)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
