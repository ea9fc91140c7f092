"""A bank of controls that others recorded: `python -m benchmarks.bank --data X.parquet --lineage X.csv`.

Pairs of recorded models, each among one model of every lineage of a bank that is unrelated to both. The bank is as the
pair ("like"), or recorded under other conditions: half of another era, cut short, in another language, in one sentence.
Each is judged by the project's own channel and rank three times: as the bank is ("no guards"); with the conditions of a
whole pool withholding verdicts ("withheld"); and with what does not fit left out of the bank, the nearest in manner
counted, and the rest withheld ("guards"). Rates are of verdicts at p <= .05, by what is true of the pair.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.conditions import UNLIKE, Side, Write, _first, _model, _months, _pool, _similarity, _written
from benchmarks.measures import markdown_head, markdown_row, rate
from benchmarks.recorded import Collection, read
from benchmarks.relations import CLOSE, SAME_MAKER, SAME_ROOT
from harness.inference.control_match import Manners, manners_of, unlike
from harness.inference.excess import additive_residuals, excess_of, max_null_p, reaches
from harness.inference.findings import MISMATCHES
from harness.inference.nearest import fitting
from harness.inference.pool import MONTHS, Model
from harness.records import Responses

ALPHA = 0.05
LEAST = 4  # models of a pool
Ints = NDArray[np.int64]
BANKS: dict[str, tuple[Side, Write]] = {
    "like": ("none", str),
    "half of another era": ("none", str),
    "cut at 20 words": ("controls", _first(20)),
    "cut at 60 words": ("controls", _first(60)),
    "in one sentence": ("controls", UNLIKE["pair in one sentence"][1]),
    "in another language": ("controls", UNLIKE["pair in another language"][1]),
    "half of it cut at 20 words": ("controls", _first(20)),
    "half of it in another language": ("controls", UNLIKE["pair in another language"][1]),
}


@dataclass(frozen=True)
class Judged:
    """One pair judged three ways: found, and found and not withheld; how many lineages counted with guards."""

    bare: bool
    withheld: bool
    guarded: bool
    counted: int


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bank", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet: model, prompt_id, output")
    parser.add_argument("--lineage", type=Path, required=True, help="CSV: model, base_model, parent, ...")
    parser.add_argument("--lineages", type=int, default=22, help="of a bank")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=60, help="pairs of each kind")
    parser.add_argument("--only", action="append", help="of the banks, those that begin so")
    parser.add_argument("--kind", action="append", help="of the pairs, those that begin so")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    collection = read(given.data, given.lineage)
    kinds: dict[str, Ints] = {
        "unrelated, two makers": collection.by_relation()["unrelated"],
        "close": collection.pairs(*CLOSE),
        "one base": collection.pairs(*SAME_ROOT),
        "one maker": collection.pairs(*SAME_MAKER),
    }
    print(
        *markdown_head(("bank", "pairs", "no guards", "withheld", "guards", "lineages that count", "pairs judged")),
        sep="\n",
    )
    for bank in BANKS:
        if given.only and not any(bank.startswith(o) for o in given.only):
            continue
        for kind, pairs in kinds.items():
            if given.kind and not any(kind.startswith(k) for k in given.kind):
                continue
            found, units = _judged(collection, bank, pairs, given)
            if found:
                columns = (_told([getattr(f, c) for f in found], units) for c in ("bare", "withheld", "guarded"))
                counted = f"{np.median([f.counted for f in found]):.0f}"
                print(markdown_row((bank, kind, *columns, counted, str(len(found)))), flush=True)
    return 0


def _told(hits: Sequence[bool], units: NDArray[np.str_]) -> str:
    value, (low, high), _ = rate(np.array(hits), units)
    return f"{value:.3f} [{low:.2f}, {high:.2f}]"


def _judged(
    collection: Collection, bank: str, pairs: Ints, given: argparse.Namespace
) -> tuple[list[Judged], NDArray[np.str_]]:
    rng = np.random.default_rng(given.seed)
    models = [_model(collection, i) for i in range(len(collection.rows))]
    found, units = [], []
    for pair in pairs[rng.permutation(len(pairs))]:
        s, c = rng.permutation(pair)
        controls = _bank(collection, models, s, c, given.lineages, rng, half="another era" in bank)
        if len(controls) < given.lineages:
            continue
        table = _pool(collection.table, [s, c, *controls], given.prompts, rng)
        if table is None:
            continue
        side, write = BANKS[bank]
        told = _half(table, write) if "half of it" in bank else _written(table, side, write)
        own = [models[i] for i in (s, c)] + [replace(models[i], role="control") for i in controls]
        one = _one(told, own)
        if one is not None:
            found.append(one)
            units.append(collection.known.lineage[[s, c]])
        if len(found) == given.pairs:
            break
    return found, np.array(units)


def _half(table: Responses, write: Write) -> Responses:
    """The table with the answers of every second control written otherwise."""
    m = len(table.models)
    owner = np.repeat(np.arange(len(table.start) - 1), np.diff(table.start)) % m
    other = (owner >= 2) & (owner % 2 == 0)
    return replace(table, text=[write(table.text[r]) if other[r] else table.text[r] for r in range(len(table.text))])


def _bank(
    collection: Collection, models: Sequence[Model], s: int, c: int, k: int, rng: np.random.Generator, *, half: bool
) -> list[int]:
    """One model of each of k lineages apart from both; of those half of another era if so, the other half of theirs."""
    known = collection.known
    fit = known.apart[s] & known.apart[c] & (known.lineage != known.lineage[s]) & (known.lineage != known.lineage[c])
    months = np.array([_months(m) for m in models])
    own = months[[s, c]]
    away = (months < own.min() - MONTHS) | (months > own.max() + MONTHS)
    near = (months >= own.min() - MONTHS) & (months <= own.max() + MONTHS)
    groups = [(fit & near, k - k // 2), (fit & away, k // 2)] if half else [(fit, k)]
    chosen: list[int] = []
    for some, count in groups:
        taken = set(known.lineage[chosen]) if chosen else set()
        lineages = [x for x in rng.permutation(np.unique(known.lineage[some])) if x not in taken][:count]
        chosen += [int(rng.choice(np.flatnonzero(some & (known.lineage == x)))) for x in lineages]
    return chosen


def _one(table: Responses, own: Sequence[Model]) -> Judged | None:
    """A pair, the first two of the models, judged three ways; None where its answers cannot be compared."""
    manners, bare = manners_of(table), _found(table)
    if bare is None:
        return None
    kept, _ = fitting(manners, own[0], own[1], own, {m.name for m in own[2:]})
    less = _found(table.among([table.models.index(m.name) for m in kept])) if len(kept) >= LEAST else False
    return Judged(
        bare, bare and not _withheld(manners, own), bool(less) and not _withheld(manners, kept), len(kept) - 2
    )


def _withheld(manners: Manners, own: Sequence[Model]) -> bool:
    return any(x.kind in MISMATCHES for x in unlike(manners, own[0], own[1], own, "every lineage"))


def _found(table: Responses) -> bool | None:
    """Whether the first two models of a table are kin by the rank of their excess; None if they cannot be compared."""
    found = _similarity(table)
    if found is None:
        return None
    matrix = excess_of(additive_residuals(np.asarray(found.values, dtype=np.float64)))
    return bool(reaches([max_null_p(matrix, matrix[0, 1])], ALPHA)[0])


if __name__ == "__main__":
    raise SystemExit(main())
