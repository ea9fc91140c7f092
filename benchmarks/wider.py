"""Stages `origin`, `teaching` and `attribution` of the lineage benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.kinship import ALPHA
from benchmarks.measures import Report, rate
from benchmarks.recorded import Collection
from benchmarks.relations import CLOSE, SAME_ROOT, TAUGHT
from benchmarks.teaching import single_teacher_pairs
from harness.channels.base import first_answers
from harness.channels.stylometry import habit_counts, opening_counts
from harness.inference.attribution import attribute, held_out_scores
from harness.inference.excess import max_null_p, reaches, smallest_p
from harness.inference.findings import UNKNOWN
from harness.inference.teaching import habit_similarity, lean
from harness.inference.trials import draw_trials, pair_p, pool_matrices
from harness.inference.verdicts import SILENT
from harness.records import Similarity

ROWS = 8000  # answers that attribution is trained and tested on
GROUPS = (1, 8, 32)  # answers of one model attributed together


def origin_stage(
    report: Report, collection: Collection, similarities: Sequence[Similarity], controls: int, seed: int
) -> None:
    """How often a channel that sees weights speaks, and how often it is silent, for kin and for the taught."""
    weights = [s for s in similarities if s.sees == "weights"]
    if not weights:
        report.add("origin", "weights speak", "", np.nan, note="no channel that sees weights has answers here")
    for s in weights:
        rng = np.random.default_rng(seed)
        shared = np.asarray(np.isfinite(s.values).any(2) & (s.coverage >= 0.9))
        longest = int(shared.sum(0).max())
        for kind, pairs, draws in _origins(collection):
            trials = draw_trials(collection.known, pairs, shared, controls, draws, rng)
            n = int(np.quantile((trials.order >= 0).sum(1), 0.1)) if len(trials) else longest
            p = pair_p(pool_matrices([s], trials, controls, [n])[n][1]) if n else np.zeros(0)
            seen = np.isfinite(p)
            units = collection.known.lineage[trials.pairs][seen]
            for measure, hits in (
                ("speaks (p <= .05)", reaches(p[seen], ALPHA)),
                (f"silent (p >= {SILENT})", p[seen] >= SILENT),
            ):
                value, interval, count = rate(hits, units)
                note = "" if count else f"no such pair with {controls} controls"
                report.add(
                    "origin", f"{s.channel} {measure}", f"{kind}, K = {controls}", value, n, count, interval, note
                )


def _origins(collection: Collection) -> list[tuple[str, NDArray[np.int64], int]]:
    """Kinds of pairs, the pairs, and how many draws of controls each has."""
    kinds = [("close", collection.pairs(*CLOSE), 4), ("taught or same data", collection.pairs(*TAUGHT), 2)]
    thinks = [r.thinks for r in collection.rows]
    kin = [(a, b) for a, b in collection.pairs(*CLOSE, *SAME_ROOT).tolist() if None not in (thinks[a], thinks[b])]
    for name, alike in (("shared weights, both think or neither", True), ("shared weights, one thinks", False)):
        pairs = [p for p in kin if (thinks[p[0]] == thinks[p[1]]) is alike]
        kinds += [(name, np.array(pairs, dtype=np.int64), 4)] if pairs else []
    return kinds


def teaching_stage(report: Report, collection: Collection, controls: int, seed: int) -> None:
    """False alarms of the test of one named teacher on pairs with no documented link, and its power."""
    counts = (habit_counts(collection.table), opening_counts(collection.table))
    rng = np.random.default_rng(seed)
    shared = np.ones((1, len(collection.rows)), dtype=bool)
    kinds = {
        "unrelated": (collection.pairs("unrelated"), 400),
        "all that share no weights": (collection.pairs(), 400),
        "single-teacher pairs": (single_teacher_pairs(collection), 100),
        "all teacher-student pairs": (collection.pairs("teacher_student"), 200),
        "same root (kin, not taught)": (collection.pairs("same_base"), 150),
    }
    for kind, (pairs, most) in kinds.items():
        chosen = pairs[rng.choice(len(pairs), min(most, len(pairs)), replace=False)]
        trials = draw_trials(collection.known, chosen, shared, controls, 1, rng)
        fit = trials.enough(controls, 1)
        p = np.array([_habit_p(counts, [*trials.pairs[t], *trials.controls[t]]) for t in np.flatnonzero(fit)])
        measure = "found at 5 %" if kind in list(kinds)[2:] else "false alarms at 5 %"
        value, interval, count = rate(p <= ALPHA, collection.known.lineage[trials.pairs[fit]])
        note = "" if count else f"no such pair with {controls} control lineages"
        if count and smallest_p(controls) > ALPHA:
            value, note = np.nan, f"{controls} controls cannot reach 5 %"
        report.add("teaching", f"habits {measure}", f"{kind}, K = {controls}", value, "all", count, interval, note)


def _habit_p(counts: Sequence[NDArray[np.float32]], pool: list[int]) -> float:
    matrix = lean(*(habit_similarity(c, pool) for c in counts))
    return max_null_p(matrix, matrix[0, 1])


def attribution_stage(report: Report, collection: Collection, seed: int) -> None:
    """Accuracy on prompts never trained on for 5 models (3 draws), 20 and one of each lineage; and the open set."""
    rng = np.random.default_rng(seed)
    texts = first_answers(collection.table, range(len(collection.table.prompts)))
    chosen = _one_a_lineage(collection, rng)
    for size, draws in ((5, 3), (20, 1), (len(chosen), 1)):
        if len(chosen) < max(size, 2) or (size == 20 and len(chosen) == 20):
            report.add("attribution", "accuracy", f"{size} models", np.nan, note=f"{len(chosen)} usable lineages")
            continue
        scored = [
            held_out_scores([[row[i] for i in pick] for row in texts], int(rng.integers(2**31)), ROWS)
            for pick in (rng.permutation(chosen)[:size] for _ in range(draws))
        ]
        for group in GROUPS:
            hits = np.concatenate([_grouped(scores, y, group) for scores, y in scored])
            value = float(hits.mean()) if len(hits) else np.nan
            on = f"{size} models, {group} answer{'s' if group > 1 else ''}"
            report.add("attribution", "accuracy", on, value, "", len(hits), note="" if len(hits) else "too few answers")
    _open_set(report, collection, texts, chosen, seed)


def _grouped(scores: NDArray[np.float64], y: NDArray[np.int64], group: int) -> NDArray[np.bool_]:
    """Whether the mean score of each block of answers of one model is highest for that model."""
    out = []
    for k in np.unique(y):
        mine = scores[y == k]
        out += [mine[a : a + group].mean(0).argmax() == k for a in range(0, len(mine) - group + 1, group)]
    return np.array(out, dtype=bool)


def _one_a_lineage(collection: Collection, rng: np.random.Generator) -> list[int]:
    first: dict[str, int] = {}
    for i in rng.permutation(len(collection.rows)):
        if collection.rows[i].usable:
            first.setdefault(str(collection.known.lineage[i]), int(i))
    return list(first.values())


def _open_set(
    report: Report, collection: Collection, texts: list[list[str | None]], chosen: list[int], seed: int
) -> None:
    """19 known lineages: suspects whose lineage is not among them, and close kin of a known model."""
    known = collection.known
    if len(chosen) < 22:
        report.add(
            "attribution", "attributed though unknown", "", np.nan, note=f"{len(chosen)} usable lineages, 22 needed"
        )
        return
    rng = np.random.default_rng(seed)
    wrong: list[bool] = []
    right: list[bool] = []
    same: list[bool] = []
    kin = collection.pairs(*CLOSE).tolist()
    rows = rng.choice(len(texts), min(100, len(texts)), replace=False)
    for _ in range(4):
        order = rng.permutation(chosen).tolist()
        near, strangers = order[:19], order[19:]
        kinsmen = {a: b for x, y in kin for a, b in ((x, y), (y, x)) if b in near and a not in near + strangers}
        columns = [*near, *strangers, *kinsmen, *near[:5]]
        names = [f"{i} {known.models[m]}" for i, m in enumerate(columns)]
        asked = [[texts[r][m] for m in columns] for r in rows]
        for at, row in enumerate(asked):  # the last five are known models again, on the other half of the prompts
            for i in range(5):
                row[i if at % 2 else len(columns) - 5 + i] = None
        found = attribute(asked, names, [str(known.lineage[m]) for m in columns], names[19:], ALPHA, seed)
        best = [a.best for a in found]
        wrong += [b != UNKNOWN for b in best[: len(strangers)]]
        right += [b == names[near.index(kinsmen[m])] for m, b in zip(kinsmen, best[len(strangers) : -5], strict=True)]
        same += [b == names[i] for i, b in enumerate(best[-5:])]
    on = f"19 lineages, {len(rows)} prompts"
    report.add("attribution", "stranger attributed, nominal 5 %", on, float(np.mean(wrong)), "", len(wrong))
    report.add("attribution", "same model attributed rightly", f"{on}, half each", float(np.mean(same)), "", len(same))
    value = float(np.mean(right)) if right else np.nan
    report.add("attribution", "close kin attributed rightly", on, value, "", len(right))
