"""How well lineage is told on recorded answers of real models: `python -m benchmarks.lineage --data X --lineage Y`.

Everything measured is the project's own code: its channels, its ranks, its likelihood ratios. Relations come from the
lineage table by the rule of `benchmarks.relations`. Reads any Parquet file with model, prompt_id and output.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.kinship import kinship_stage
from benchmarks.measures import Report, auc, spread, tpr_at
from benchmarks.recorded import Collection, read
from benchmarks.relations import CLOSE, SAME_ROOT
from benchmarks.wider import attribution_stage, origin_stage, teaching_stage
from harness.channels.parallel import load_channels
from harness.inference.excess import combine
from harness.records import Similarity

RELATIONS = {
    "close": CLOSE,
    "parent-child": ("parent_child",),
    "same root": SAME_ROOT,
    "teacher-student": ("teacher_student",),
}
LEAST_COVERED = 2 / 3  # a channel that fewer models than that answer usably says nothing of the collection


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a Markdown table, progress to stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lineage", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet: model, prompt_id, output")
    parser.add_argument("--lineage", type=Path, required=True, help="CSV: model, base_model, parent, ...")
    parser.add_argument("--out", type=Path, help="also write the table: .csv, .json or Markdown")
    parser.add_argument("--controls", type=int, default=16, help="control lineages of each trial")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    report = measure(given.data, given.lineage, given.controls, given.seed)
    print(report.text(), end="")
    if given.out:
        report.write(given.out)
    return 0


def measure(data: Path, lineage: Path, controls: int, seed: int) -> Report:
    """Every stage on one collection."""
    report = Report()
    with report.stage("read"):
        collection = read(data, lineage)
    for note in collection.notes:
        print(note, file=sys.stderr)
    similarities = channel_stage(report, collection)
    if not similarities:
        report.add("channels", "any", "", np.nan, note="no channel found anything to compare")
        return report
    with report.stage("pairs"):
        pair_stage(report, collection, similarities)
    for name, chosen in channel_sets(similarities).items():
        with report.stage(f"kinship, {name}"):
            kinship_stage(report, collection, chosen, name, controls, seed)
    with report.stage("origin"):
        origin_stage(report, collection, similarities, controls, seed)
    with report.stage("teaching"):
        teaching_stage(report, collection, controls, seed)
    with report.stage("attribution"):
        attribution_stage(report, collection, seed)
    return report


def channel_stage(report: Report, collection: Collection) -> list[Similarity]:
    """Similarities of every installed channel that most models answer usably."""
    out = []
    for name, channel in load_channels().items():
        began, busy = time.perf_counter(), time.process_time()
        found = channel(collection.table)
        if found is None or found.sees == "reported" or not np.isfinite(found.values).any():
            continue
        covered = float(np.nanmean(found.coverage >= 0.9))
        report.add("cost", "seconds", f"channel {name}", time.perf_counter() - began, len(found.prompts))
        report.add("cost", "CPU seconds", f"channel {name}", time.process_time() - busy, len(found.prompts))
        if covered < LEAST_COVERED:
            report.add("channels", "used", name, np.nan, note=f"{covered:.0%} of models give usable answers to it")
            continue
        out.append(found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report.add("cost", "peak GiB so far", "all channels", peak)
    return out


def channel_sets(similarities: list[Similarity]) -> dict[str, list[Similarity]]:
    """What verdicts are measured with: wording alone, all channels that share its prompts, and what sees weights."""
    sets: dict[str, list[Similarity]] = {}
    by_name = {s.channel: s for s in similarities}
    if "wording" in by_name:
        sets["wording"] = [by_name["wording"]]
    text = sorted((s for s in similarities if s.sees == "text"), key=lambda s: s.channel != "wording")
    if len(text) > 1 and len({s.prompts for s in text}) == 1:
        sets["all text channels"] = text
    for s in similarities:
        if s.sees == "weights":
            sets[s.channel] = [s]
    return sets


def pair_stage(report: Report, collection: Collection, similarities: list[Similarity]) -> None:
    """Area and hits at 1 % false alarms for every relation and channel, all pairs of the collection at once."""
    upper = np.triu_indices(len(collection.rows), 1)
    lineage = collection.known.lineage
    units = np.column_stack([lineage[upper[0]], lineage[upper[1]]])
    scored = {s.channel: [s.values] for s in similarities}
    text = [s.values for s in similarities if s.sees == "text"]
    if len(text) > 1:
        scored["all text channels"] = text
    for name, values in scored.items():
        scores = combine([np.asarray(v, dtype=np.float64) for v in values])[upper]
        _relations(report, collection, name, scores, upper, units)


def _relations(
    report: Report, collection: Collection, name: str, scores: NDArray[np.float64],
    upper: tuple[NDArray[np.intp], NDArray[np.intp]], units: NDArray[np.str_],
) -> None:  # fmt: skip
    relation, apart = collection.relation[upper], collection.known.apart[upper]
    usable = np.array([r.usable for r in collection.rows])
    ready = np.isfinite(scores) & usable[upper[0]] & usable[upper[1]]
    for kind, members in RELATIONS.items():
        positive = np.isin(relation, members) & ready
        for against, negative in (("unrelated", relation == "unrelated"), ("all that share no weights", apart)):
            if kind == "teacher-student" and against != "unrelated":
                continue
            chosen = positive | (negative & ready)
            x, y, u = scores[chosen], positive[chosen], units[chosen]
            able = bool(y.any() and not y.all())
            note = "" if able else f"{int(y.sum())} such pairs, {int((~y).sum())} {against}"
            area, hit = spread(x, y, u) if able else ((np.nan, np.nan),) * 2
            on, n = f"{kind} vs {against}", int(y.sum())
            report.add("pairs", f"AUC, {name}", on, auc(x, y), "all", n, area, note)
            report.add("pairs", f"TPR at 1 % FPR, {name}", on, tpr_at(x, y, 0.01), "all", n, hit, note)


if __name__ == "__main__":
    raise SystemExit(main())
