"""Power of the teaching test on recorded answers: `python -m benchmarks.teaching --data X --lineage Y --out TABLE`.

Pupils of one documented teacher are asked of that teacher, among controls of other makers; strangers of other makers
give the false alarms. `--out` writes the table that ships, harness/inference/calibrations/teaching-power-1.json.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures import Report, rate
from benchmarks.recorded import Collection, read
from benchmarks.relations import taught
from harness.channels.stylometry import habit_counts, opening_counts
from harness.inference.excess import additive_residuals, max_null_p, reaches, smallest_p
from harness.inference.teaching import Power, habit_similarity, lean
from harness.inference.trials import draw_trials

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = Sequence[NDArray[np.float32]]  # of bigrams, of openings

ALPHAS = (0.05, 0.01)
CONTROLS = (5, 8, 13, 16, 19, 24, 30)  # 5 and 13 are the fewest for .05 and .01
PROMPTS = (32, 100, 400)  # and all of the collection
ROUNDS = 8  # draws of prompts; each pupil has one draw of controls in each
STRANGERS = 60  # pairs in each


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teaching", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet: model, prompt_id, output")
    parser.add_argument("--lineage", type=Path, required=True, help="CSV: model, teacher, base_model, ...")
    parser.add_argument("--out", type=Path, help="write the power table as JSON")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    collection = read(given.data, given.lineage)
    pupils = single_teacher_pairs(collection)
    report, found = Report(), []
    with report.stage("power"):
        found = power_stage(report, collection, pupils, given.seed)
    with report.stage("variants"):
        variant_stage(report, collection, pupils, given.seed)
    with report.stage("ranks"):
        rank_stage(report, collection, pupils)
    print(report.text(), end="")
    if given.out:
        lineages = len(set(collection.known.lineage[pupils[:, 0]]))
        told = {
            "what": f"{len(pupils)} pupils of one documented teacher, of {lineages} lineages; {given.data.stem}",
            "command": "python -m benchmarks.teaching --data alpaca_eval_dev.parquet --lineage "
            "alpaca_eval_dev_lineage.csv --out harness/inference/calibrations/teaching-power-1.json",
        }
        rows = ",\n  ".join(json.dumps(asdict(p)) for p in found)
        given.out.write_text(f'{json.dumps(told, indent=1)[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n')
    return 0


def single_teacher_pairs(collection: Collection) -> Ints:
    """(pupil, teacher) with one documented teacher that is in the collection, one model of it a pupil."""
    out = []
    for i, pupil in enumerate(collection.rows):
        teachers = [j for j, t in enumerate(collection.rows) if len(pupil.teachers) == 1 and taught(pupil, t)]
        apart = [j for j in teachers if collection.known.apart[i, j]]
        if apart and pupil.usable:
            out.append((i, apart[0]))
    return np.array(out, dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Trial:
    """One pair with its controls, all of other makers, and the counts of habits of all models on some prompts."""

    pool: Ints
    counts: Counts

    def p(self, controls: int, statistic: Callable[..., Floats] = lean) -> float:
        """p of the pair among the first of its controls; NaN with too few."""
        if len(self.pool) < controls + 2:
            return np.nan
        matrix = statistic(*(habit_similarity(c, self.pool[: controls + 2].tolist()) for c in self.counts))
        return max_null_p(matrix, matrix[0, 1])


def trials(collection: Collection, pairs: Ints, counts: Counts, seed: int, most: int = max(CONTROLS)) -> list[Trial]:
    """A draw of controls for every pair."""
    makers = np.array([r.organisation or r.name for r in collection.rows])
    known = collection.known
    known = replace(known, apart=known.apart & (makers[:, None] != makers))
    everybody = np.ones((1, len(makers)), dtype=bool)
    drawn = draw_trials(known, pairs, everybody, most, 1, np.random.default_rng(seed))
    return [Trial(np.r_[s, c, k[k >= 0]], counts) for (s, c), k in zip(drawn.pairs, drawn.controls, strict=True)]


def strangers(collection: Collection) -> Ints:
    """Unrelated pairs of different makers."""
    pairs = collection.pairs("unrelated")
    makers = np.array([r.organisation or r.name for r in collection.rows])
    apart: Ints = pairs[makers[pairs[:, 0]] != makers[pairs[:, 1]]]
    return apart


def rounds(collection: Collection, pupils: Ints, prompts: int, seed: int) -> Iterator[tuple[list[Trial], list[Trial]]]:
    """Trials of all pupils and of some strangers, on a draw of prompts each time."""
    rng, table, apart = np.random.default_rng(seed), collection.table, strangers(collection)
    every = table.where("wording")
    counts: Counts = ()
    for i in range(ROUNDS):
        if prompts < len(every) or not counts:
            part = table.only(sorted(rng.permutation(every)[:prompts]))
            counts = (habit_counts(part), opening_counts(part))
        others = apart[rng.choice(len(apart), min(STRANGERS, len(apart)), replace=False)]
        yield trials(collection, pupils, counts, seed + i), trials(collection, others, counts, seed + i)


def power_stage(report: Report, collection: Collection, pupils: Ints, seed: int) -> list[Power]:
    """Share of pupils and of strangers found, by number of controls and of prompts."""
    lineage, out = collection.known.lineage, []
    for n in (*PROMPTS, len(collection.table.where("wording"))):
        sets = list(rounds(collection, pupils, n, seed))
        for k in CONTROLS:
            p, units = _tested([t for known, _ in sets for t in known], k, lineage)
            null, null_units = _tested([t for _, apart in sets for t in apart], k, lineage)
            for alpha in ALPHAS:
                found, (low, high), count = rate(reaches(p, alpha), units)
                alarms, interval, pairs = rate(reaches(null, alpha), null_units)
                if not reaches(smallest_p(k), alpha) or not count or not pairs:
                    continue
                out.append(Power(k, n, alpha, *(round(x, 3) for x in (found, low, high, alarms))))
                on = f"K = {k}, alpha {alpha:g}"
                report.add("teaching", "pupils found", on, found, n, count, (low, high))
                report.add("teaching", "strangers found", on, alarms, n, pairs, interval)
    return out


def _tested(of: Sequence[Trial], controls: int, lineage: NDArray[np.str_]) -> tuple[Floats, NDArray[np.str_]]:
    p = np.array([t.p(controls) for t in of])
    seen = np.isfinite(p)
    return p[seen], lineage[np.array([t.pool[:2] for t in of])[seen]]


def _plain(*cosines: Floats) -> Floats:
    """Centred and added, without s-norm."""
    found = [additive_residuals(c, scale=False) for c in cosines]
    mean: Floats = np.mean([r / np.sqrt(np.nanmean(r**2)) for r in found], axis=0)
    return mean


def _one(statistic: Callable[..., Floats], at: int, *cosines: Floats) -> Floats:
    return statistic(cosines[at])


VARIANTS: Mapping[str, Callable[..., Floats]] = {
    "bigrams": partial(_one, _plain, 0),
    "bigrams, s-norm": partial(_one, lean, 0),
    "openings": partial(_one, _plain, 1),
    "openings, s-norm": partial(_one, lean, 1),
    "bigrams and openings": _plain,
    "bigrams and openings, s-norm": lean,
}


def variant_stage(report: Report, collection: Collection, pupils: Ints, seed: int, controls: int = 19) -> None:
    """Variants of the statistic on two folds of the pupils' lineages, to choose on one and report on the other."""
    lineage = collection.known.lineage
    taught_lineages = lineage[pupils[:, 0]]
    folds = fold_of(taught_lineages) | fold_of(lineage[~np.isin(lineage, taught_lineages)])
    every = list(rounds(collection, pupils, len(collection.table.where("wording")), seed))
    pairs = {"pupils": [t for known, _ in every for t in known], "strangers": [t for _, apart in every for t in apart]}
    at = {"pupils": np.array([folds[lineage[t.pool[:2]][_pupil(t, pupils)]] for t in pairs["pupils"]])}
    sides = [{folds[x] for x in lineage[t.pool[:2]]} for t in pairs["strangers"]]
    at["strangers"] = np.array([-1 if len(s) > 1 else s.pop() for s in sides])  # both of one fold, or of neither
    for name, statistic in VARIANTS.items():
        for kind, of in pairs.items():
            p = np.array([t.p(controls, statistic) for t in of])
            for fold in (0, 1):
                chosen = np.isfinite(p) & (at[kind] == fold)
                units = lineage[np.array([t.pool[:2] for t in of])[chosen]]
                value, interval, count = rate(p[chosen] <= ALPHAS[0] + 1e-9, units)
                report.add("variants", name, f"{kind}, fold {fold}, K = {controls}", value, "all", count, interval)
            if kind == "pupils" and statistic is lean:
                _by_teacher(report, collection, p, [t.pool[1 - _pupil(t, pupils)] for t in of], controls)


def _by_teacher(report: Report, collection: Collection, p: Floats, teachers: Sequence[int], controls: int) -> None:
    """How unlike the shares are that are found of the pupils of each teacher."""
    for teacher in sorted(set(teachers)):
        of = np.isfinite(p) & (np.array(teachers) == teacher)
        value = float(np.mean(p[of] <= ALPHAS[0] + 1e-9)) if of.any() else np.nan
        on = f"of {collection.table.models[teacher]}, K = {controls}"
        report.add("teaching", "pupils found", on, value, "all", int(of.sum()))


def _pupil(t: Trial, pupils: Ints) -> int:
    """Which of the first two models of a trial is the pupil; a trial has them in any order."""
    return 0 if (pupils == t.pool[:2]).all(1).any() else 1


def fold_of(lineages: NDArray[np.str_]) -> dict[str, int]:
    """Two folds of lineages with about as many models: the largest goes to the fold that has fewer."""
    sizes, out = [0, 0], dict[str, int]()
    for name, count in sorted(Counter(lineages.tolist()).items(), key=lambda x: (-x[1], x[0])):
        out[name] = int(sizes[1] < sizes[0])
        sizes[out[name]] += count
    return out


def rank_stage(report: Report, collection: Collection, pupils: Ints) -> None:
    """Why teachers are not ranked: where the true one's lineage comes among all that have no teacher themselves."""
    known, ranks, many = collection.known, [], [0]
    counts = (habit_counts(collection.table), opening_counts(collection.table))
    masters = np.array([r.usable and not r.teachers for r in collection.rows])
    for pupil, teacher in pupils:
        fit = np.flatnonzero(known.apart[pupil] & masters)
        leans = lean(*(habit_similarity(c, [int(pupil), *fit]) for c in counts))[0, 1:]
        score = {x: float(np.mean(leans[known.lineage[fit] == x])) for x in np.unique(known.lineage[fit])}
        if known.lineage[teacher] in score:
            ranks.append(1 + sum(v > score[known.lineage[teacher]] for v in score.values()))
            many.append(len(score))
    for top in (1, 3):
        value, interval, count = rate(np.array(ranks) <= top, known.lineage[pupils][: len(ranks)])
        on = f"single-teacher pupils, up to {max(many)} lineages"
        report.add("ranks", f"true teacher in first {top}", on, value, "all", count, interval)


if __name__ == "__main__":
    raise SystemExit(main())
