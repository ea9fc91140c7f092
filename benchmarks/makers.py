"""Controls whose makers repeat, and one a maker: `python -m benchmarks.makers --data X.parquet --lineage X.csv`.

For pairs of each kind one model of every other lineage is a control, as in a campaign that takes what there is; makers
are guessed from names, or with `--told` those of the table. The pool is then made by either rule, and by chance with as
many controls as one a maker leaves.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.kinship import ALPHA
from benchmarks.measures import Report, rate
from benchmarks.recorded import Collection, read
from benchmarks.relations import CLOSE
from harness.channels.parallel import compare, load_channels
from harness.config.providers import guessed, makers_of
from harness.inference.excess import additive_residuals, excess_of, max_null_p
from harness.inference.pool import Model, controls_of
from harness.records import ControlRule

KINDS: dict[str, tuple[str, ...]] = {
    "close": CLOSE,
    "same base": ("same_base", "closed_series"),
    "same maker, no shared weights": ("same_series", "same_vendor"),
    "unrelated": ("unrelated",),
}
RULES: tuple[ControlRule, ...] = ("every lineage", "one a maker")
FEWEST = 5  # controls under which no p can reach 5 %


def main(arguments: Sequence[str]) -> int:
    """Share found at 5 % by kind of pair and rule, with the median number of controls."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.makers", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lineage", type=Path, required=True)
    parser.add_argument("--channel", default="wording")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=150, help="pairs of each kind at most")
    parser.add_argument("--controls", type=int, default=0, help="control lineages in all at most; 0: all there are")
    parser.add_argument("--told", action="store_true", help="makers as the lineage table has them")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    collection = read(given.data, given.lineage)
    (similarity,) = compare(load_channels((given.channel,)), collection.table, "local")
    report = Report()
    for kind, relations in KINDS.items():
        with report.stage(kind):
            _stage(report, collection, np.asarray(similarity.values, dtype=np.float64), kind, relations, given)
    print(report.text(), end="")
    return 0


def model_of(collection: Collection, i: int, role: str, *, told: bool = False) -> Model:
    """One model of a collection with the makers that its name tells, or its table."""
    name, row = collection.table.models[i], collection.rows[i]
    said: tuple[str | None, str | None] = (row.organisation, row.series) if told else (None, None)
    maker, root_maker = makers_of(*said, guessed(name))
    return Model(name, role, str(collection.known.lineage[i]), maker, root_maker=root_maker)


def _stage(
    report: Report,
    collection: Collection,
    values: NDArray[np.float64],
    kind: str,
    relations: tuple[str, ...],
    given: argparse.Namespace,
) -> None:
    rng = np.random.default_rng(given.seed)
    pairs = collection.pairs(*relations)
    p: dict[str, list[float]] = {r: [] for r in (*RULES, "as few by chance")}
    sizes: dict[str, list[int]] = {r: [] for r in p}
    units = []
    for s, c in pairs[rng.permutation(len(pairs))][: given.pairs]:
        every = _controls(collection, s, c, given.controls, rng)
        models = [model_of(collection, i, "control", told=given.told) for i in every]
        pair = (
            model_of(collection, s, "suspect", told=given.told),
            model_of(collection, c, "candidate", told=given.told),
        )
        at = {m.name: i for m, i in zip(models, every, strict=True)}
        pools: dict[str, list[int]] = {r: [at[m.name] for m in controls_of(*pair, models, r)] for r in RULES}
        few = len(pools["one a maker"])
        pools["as few by chance"] = list(rng.permutation(pools["every lineage"])[:few])
        both = np.flatnonzero(np.isfinite(values[:, s, c]))
        if few < FEWEST or len(both) < given.prompts:
            continue
        prompts = rng.permutation(both)[: given.prompts]
        for rule, controls in pools.items():
            p[rule].append(_p(values, prompts, [s, c, *controls]))
            sizes[rule].append(len(controls))
        units.append(collection.known.lineage[[s, c]])
    for rule, found in p.items():
        on = f"{kind}, {rule}, K = {np.median(sizes[rule]) if units else 0:.0f}"
        value, interval, count = rate(np.array(found) <= ALPHA + 1e-9, np.array(units).reshape(-1, 2))
        note = "" if count else f"no pair with {FEWEST} makers beside its own"
        report.add("makers", "found at 5 %", on, value, given.prompts, count, interval, note)


def _controls(collection: Collection, s: int, c: int, most: int, rng: np.random.Generator) -> list[int]:
    """One model of each lineage that is apart from both, in the order of the collection."""
    known = collection.known
    fit = known.apart[s] & known.apart[c] & (known.lineage != known.lineage[s]) & (known.lineage != known.lineage[c])
    lineages = rng.permutation(np.unique(known.lineage[fit]))[: most or None]
    return sorted(int(rng.choice(np.flatnonzero(fit & (known.lineage == x)))) for x in lineages)


def _p(values: NDArray[np.float64], prompts: NDArray[np.int64], pool: list[int]) -> float:
    matrix = excess_of(additive_residuals(values[prompts][:, pool][:, :, pool]))
    return max_null_p(matrix, matrix[0, 1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
