"""Stopping when the answer is known, beside asking everything: `python -m benchmarks.stopping --data X --lineage X`.

Each trial is a pair of known relation with controls and prompts drawn at random (`benchmarks.by_relation`), one channel
alone. "All" is its rank after every prompt; "stages" the same trial with the rule of a campaign
(`harness.inference.stopping`). Calls saved are of the mean over trials: every model is asked as many prompts.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.by_relation import ALPHA, DRAWS, MOST, SEED, groups, verdict
from benchmarks.measures import markdown_head, markdown_row, rate
from benchmarks.recorded import Collection, read
from harness.channels.parallel import compare, load_channels
from harness.inference.calibration import channel_of
from harness.inference.control_match import manners_of, unfitted
from harness.inference.excess import max_null_p, reaches
from harness.inference.likelihood import shipped_tables
from harness.inference.pool import Model
from harness.inference.stopping import Progress, hopeless, rank_p
from harness.inference.trials import Floats, draw_trials, pool_matrices
from harness.plan import stage_sizes
from harness.records import Similarity

RELATIONS = ("close", "close, two makers", "base", "taught or shared data, two makers", "unrelated",
             "no shared weights, two makers")  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One pair: p after every prompt, p when it stopped, after how many prompts, by which rule, and both verdicts."""

    fixed: float
    p: float
    prompts: int
    rule: str
    verdicts: tuple[str, str]


def walk(
    matrices: Floats, sizes: tuple[int, ...], share: float, least: int, said: Callable[[int, float], str] | None
) -> tuple[int, float, str]:
    """Stage index, p and rule at which the stages of one pool, (stages, n, n), come to an end.

    ``said`` gives the verdict of a stage where the channel could clear the pair; None where it could not.
    """
    names = tuple(map(str, range(matrices.shape[-1])))
    for j, size in enumerate(sizes):
        pools = tuple((names, m) for m in matrices[:j])
        p = rank_p(names, matrices[j], Progress(sizes, j, pools), share, ALPHA)
        if reaches(p, share) and size >= least:
            return j, p, "found"
        low = not reaches(p, share) and hopeless(max_null_p(matrices[j], matrices[j][0, 1]), size)
        if low and (said is None or said(j, p) != "INCONCLUSIVE"):
            return j, p, "futile"
    return len(sizes) - 1, p, "all asked"


def trials_of(
    collection: Collection, similarity: Similarity, k: int, most: int, share: float, *, clear_early: bool = False
) -> Iterator[tuple[str, list[Trial], NDArray[np.str_]]]:
    """Trials by relation, with the lineages of their pairs."""
    tables, rng, sizes = shipped_tables(), np.random.default_rng(SEED), stage_sizes(most)
    least = min(t.prompts[0] for t in tables.values())
    manners = manners_of(collection.table)
    models = [Model(name, "control", None) for name in collection.table.models]
    shared = np.asarray(np.isfinite(similarity.values).any(2) & (similarity.coverage >= 0.9))
    every = groups(collection, {})
    for relation in (r for r in RELATIONS if len(every[r])):
        pairs = every[relation]
        chosen = pairs if len(pairs) <= MOST else pairs[rng.choice(len(pairs), MOST, replace=False)]
        drawn = draw_trials(collection.known, chosen, shared, k, DRAWS.get(relation.split(",")[0], 1), rng)
        found = pool_matrices([similarity], drawn, k, sizes)
        paths = np.stack([found[n][0] for n in sizes], axis=1)
        seen = np.flatnonzero(np.isfinite(paths[:, :, 0, 1]).all(1))
        two = collection.known.two_makers(drawn.pairs[seen])
        out = []
        for t, makers in zip(seen, two, strict=True):
            told = partial(unfitted, manners, *(models[i] for i in drawn.pairs[t]))

            def said(
                i: int, x: float, path: Floats = paths[t], told: Any = told, two_makers: bool = bool(makers)
            ) -> str:
                x = min(1.0, x * ALPHA / share)
                return verdict(path[i], x, similarity, sizes[i], told, two_makers=two_makers, tables=tables)

            clearing = None if similarity.sees != "weights" else said if clear_early else lambda i, x: "INCONCLUSIVE"
            j, p, rule = walk(paths[t], sizes, share, least, clearing)
            fixed = max_null_p(paths[t, -1], paths[t, -1, 0, 1])
            out.append(Trial(fixed, p, sizes[j], rule, (said(len(sizes) - 1, fixed), said(j, p))))
        yield relation, out, collection.known.lineage[drawn.pairs[seen]]


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stopping", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lineage", type=Path, required=True)
    parser.add_argument("--channel", default="wording")
    parser.add_argument("--controls", type=int, nargs="+", default=[16])
    parser.add_argument("--most", type=int, default=128, help="prompts of the last stage")
    parser.add_argument("--verdicts", type=int, default=1, help="among which alpha is shared")
    parser.add_argument("--clear-early", action="store_true", help="stop whom a stage clears, as campaigns do not")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    collection = read(given.data, given.lineage)
    similarity = channel_of(compare(load_channels((given.channel,)), collection.table), given.channel)
    head = ("K", "relation", "trials", "found, all", "found, stages", "95 %", "calls saved", "prompts, median",
            "stopped: found / futile / all asked", "KIN-LIKE, all / stages",
            "UNRELATED-LIKE, all / stages")  # fmt: skip
    print("\n".join(markdown_head(head)))
    share = ALPHA / given.verdicts
    for k in given.controls:
        for relation, trials, lineages in trials_of(
            collection, similarity, k, given.most, share, clear_early=given.clear_early
        ):
            if not trials:
                continue
            value, interval, count = rate([reaches(t.p, share) for t in trials], lineages)
            rules, asked = Counter(t.rule for t in trials), np.array([t.prompts for t in trials])
            kin, far = (
                [np.mean([t.verdicts[i] == word for t in trials]) for i in (0, 1)]
                for word in ("KIN-LIKE", "UNRELATED-LIKE")
            )
            cells = (
                str(k), relation, str(count), f"{np.mean([reaches(t.fixed, share) for t in trials]):.3f}",
                f"{value:.3f}", f"{interval[0]:.2f} to {interval[1]:.2f}", f"{1 - asked.mean() / given.most:.2f}",
                f"{np.median(asked):.0f}",
                " / ".join(f"{rules[r] / count:.2f}" for r in ("found", "futile", "all asked")),
                f"{kin[0]:.3f} / {kin[1]:.3f}", f"{far[0]:.3f} / {far[1]:.3f}",
            )  # fmt: skip
            print(markdown_row(cells), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
