"""Recognised prompts: error and power of the comparison of two halves of a family. `python -m benchmarks.recognised`.

The prompts of a recorded file are put in pairs at random, as if both were fillings of one template. A suspect that
knows the shipped one answers it with another, unrelated model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.recorded import Collection, read
from benchmarks.relations import CLOSE
from harness.channels.wording import wording
from harness.inference.assessment import Case
from harness.inference.findings import Settings
from harness.inference.likelihood import shipped_tables
from harness.inference.pool import Model
from harness.records import Similarity

CONTROLS = 14
TEMPLATES = (16, 32, 64)


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints one Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recognised", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet: model, prompt_id, output")
    parser.add_argument("--lineage", type=Path, required=True, help="its lineage CSV")
    parser.add_argument("--trials", type=int, default=100, help="for each row")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    collection = read(given.data, given.lineage)
    rng = np.random.default_rng(given.seed)
    chosen = rng.choice(len(collection.table.prompts), 2 * max(TEMPLATES), replace=False)
    found = wording(collection.table.only([int(i) for i in chosen]))
    assert found is not None
    print("| pair | shipped prompts answered by | templates | said to differ | trials |")
    print("|---|---|---|---|---|")
    for name, pairs in (("close", collection.pairs(*CLOSE)), ("unrelated", collection.pairs("unrelated"))):
        for other in (False, True) if name == "close" else (False,):
            for n in TEMPLATES:
                cases = [draw(collection, found, pairs[rng.integers(len(pairs))], n, other, rng)
                         for _ in range(given.trials)]  # fmt: skip
                kinds = [{c.kind for c in case.assessment.caveats} for case in cases]
                rate = np.mean(["shipped prompts differ" in k for k in kinds])
                print(
                    f"| {name} | {'a stranger' if other else 'itself'} | {n} | {rate:.3f} | {len(kinds)} |", flush=True
                )
    return 0


def draw(
    collection: Collection,
    s: Similarity,
    pair: NDArray[np.int64],
    templates: int,
    routed: bool,
    rng: np.random.Generator,
) -> Case:
    """One pair with controls of other lineages; if ``routed``, another unrelated model answers for the suspect."""
    known = collection.known
    apart = known.apart[pair[0]] & known.apart[pair[1]]
    order = [i for i in rng.permutation(len(apart)) if apart[i] and s.coverage[i] >= 0.9]
    _, first = np.unique(known.lineage[order], return_index=True)
    others = [order[i] for i in sorted(first)][: CONTROLS + 1]
    at = [*pair, *others[1:]]
    ids = rng.permutation(len(s.prompts))[: 2 * templates]
    values = s.values[np.ix_(ids, at, at)].copy()
    if routed:
        stranger = s.values[np.ix_(ids[:templates], [others[0]], at)][:, 0]
        stranger[:, 0] = np.nan
        values[:templates, 0, :] = values[:templates, :, 0] = stranger
    names = tuple(s.models[i] for i in at)
    models = tuple(Model(m, "control", m) for m in names)
    shown = Similarity("wording", names, tuple(s.prompts[i] for i in ids), values, s.coverage[at], s.unit, s.sees)
    fresh = {s.prompts[b]: s.prompts[a] for a, b in zip(ids[:templates], ids[templates:], strict=True)}
    settings = Settings(0.05, 0.0, 99, 100, int(rng.integers(1 << 30)))
    return Case(
        models[0], models[1], models, (shown,), shipped_tables(), settings,
        lambda _: (), lambda: (), lambda *_: {}, lambda *_: {}, lambda: (), fresh=fresh,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
