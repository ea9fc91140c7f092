"""Stage `kinship` of the lineage benchmark: error rates of the verdict itself, one suspect at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures import Report, rate
from benchmarks.recorded import Collection
from benchmarks.relations import CLOSE, SAME_ROOT
from harness.inference.calibration import LEAST_KIN, crossfit, weighted_cllr
from harness.inference.excess import reaches, smallest_p
from harness.inference.likelihood import cllr_min
from harness.inference.trials import Trials, draw_trials, pair_p, pair_scores, pool_matrices
from harness.records import Similarity

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ALPHA = 0.05
SIZES = (32, 100, 400)
LEAST_PROMPTS = 8  # fewer say nothing
SAMPLED = {"close": 3, "same root": 150, "unrelated": 700, "hard": 500}  # draws of each close pair; pairs of the rest


def kinship_stage(
    report: Report, collection: Collection, channels: Sequence[Similarity], name: str, controls: int, seed: int
) -> None:
    """False alarms and power at a nominal 5 %, Cllr, hubs, with ``controls`` control lineages."""
    rng = np.random.default_rng(seed)
    covered = np.all([s.coverage >= 0.9 for s in channels], axis=0)
    shared: Bools = np.all([np.isfinite(s.values).any(2) for s in channels], axis=0) & covered
    drawn = {kind: _draw(collection, kind, shared, controls, rng) for kind in SAMPLED}
    k = _most_controls(drawn, controls)
    longest = _all_prompts(drawn)
    sizes = [n for n in SIZES if n < longest or _share_with(drawn, n) >= 0.1]
    sizes += [longest] if longest > max(sizes, default=LEAST_PROMPTS) else []
    if not sizes:
        report.add("kinship", f"false alarms at 5 %, {name}", f"K = {k}", np.nan, note=f"{longest} shared prompts")
    if not reaches(smallest_p(k), ALPHA):
        why = f"{k} control lineages are the most there are; p cannot be under {smallest_p(k):.2g}"
        report.add("kinship", f"false alarms at 5 %, {name}", f"K = {k}", np.nan, note=why)
    found = {kind: pool_matrices(channels, t, k, sizes) for kind, t in drawn.items()}
    for n in sizes:
        shown = f"all ({n})" if n == longest and n not in SIZES else str(n)
        tested = {kind: (drawn[kind], *found[kind][n]) for kind in drawn}
        if reaches(smallest_p(k), ALPHA):
            _rates(report, collection, tested, name, k, shown)
            _hubs(report, tested, name, k, shown, rng)
        _costs(report, collection, tested, name, k, shown, seed)


def _draw(collection: Collection, kind: str, shared: Bools, controls: int, rng: np.random.Generator) -> Trials:
    relations = {"close": CLOSE, "same root": SAME_ROOT, "unrelated": ("unrelated",)}
    pairs = collection.pairs(*relations[kind]) if kind in relations else _hard(collection)
    count = SAMPLED[kind]
    draws = count if kind == "close" else 1
    if kind != "close" and len(pairs) > count:
        pairs = pairs[rng.choice(len(pairs), count, replace=False)]
    return draw_trials(collection.known, pairs, shared, controls, draws, rng)


def _hard(collection: Collection) -> NDArray[np.int64]:
    pairs = collection.pairs()
    hard: NDArray[np.int64] = pairs[collection.relation[pairs[:, 0], pairs[:, 1]] != "unrelated"]
    return hard


def _all_prompts(drawn: dict[str, Trials]) -> int:
    """As many prompts as nine in ten of the trials have: "all", though few models answered every single one."""
    have = np.concatenate([(t.order >= 0).sum(1) for t in drawn.values() if len(t)] or [np.zeros(1)])
    return max(1, int(np.quantile(have, 0.1)))


def _share_with(drawn: dict[str, Trials], n: int) -> float:
    """Share of the trials whose two models both answered n prompts."""
    able = [t.order[:, n - 1] >= 0 for t in drawn.values() if len(t) and n <= t.order.shape[1]]
    return float(np.concatenate(able).mean()) if able else 0.0


def _most_controls(drawn: dict[str, Trials], wanted: int) -> int:
    """As many controls as nine in ten of the trials have, at most ``wanted``."""
    have = np.concatenate([(t.controls >= 0).sum(1) for t in drawn.values() if len(t)] or [np.zeros(1)])
    return max(2, min(wanted, int(np.quantile(have, 0.1))))


def _mix(collection: Collection, tested: dict[str, tuple[Trials, Floats, Floats]]) -> tuple[Bools, Bools]:
    """Which unrelated and hard trials make up all pairs that share no weights, in the proportion of the collection."""
    hard, every = len(_hard(collection)), len(collection.pairs())
    easy_n, hard_n = len(tested["unrelated"][0]), len(tested["hard"][0])
    want = hard_n if not easy_n else min(hard_n, round(easy_n * hard / max(every - hard, 1)))
    easy = easy_n if want == 0 or hard == 0 else min(easy_n, round(want * (every - hard) / hard))
    return np.arange(easy_n) < easy, np.arange(hard_n) < want


def _rates(
    report: Report, collection: Collection, tested: dict[str, tuple[Trials, Floats, Floats]], name: str, k: int, n: str
) -> None:
    p = {kind: pair_p(combined) for kind, (_, _, combined) in tested.items()}
    units = {kind: collection.known.lineage[t.pairs] for kind, (t, _, _) in tested.items()}
    easy, hard = _mix(collection, tested)
    groups = {
        "unrelated": (p["unrelated"], units["unrelated"]),
        "all that share no weights": (
            np.r_[p["unrelated"][easy], p["hard"][hard]],
            np.concatenate([units["unrelated"][easy], units["hard"][hard]]),
        ),
        "documented link, no shared weights": (p["hard"], units["hard"]),
        "close": (p["close"], units["close"]),
        "same root": (p["same root"], units["same root"]),
    }
    for kind, (values, lineages) in groups.items():
        seen = np.isfinite(values)
        value, interval, count = rate(reaches(values[seen], ALPHA), lineages[seen])
        measure = "power" if kind in ("close", "same root") else "false alarms"
        note = "" if count else "no such trial with so many controls and prompts"
        report.add("kinship", f"{measure} at 5 %, {name}", f"{kind}, K = {k}", value, n, count, interval, note)


def _hubs(
    report: Report, tested: dict[str, tuple[Trials, Floats, Floats]], name: str, k: int, n: str,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """The tenth of candidates with the most false alarms on half of the trials, measured on the other half."""
    trials, _, combined = tested["unrelated"]
    p = pair_p(combined)
    seen = np.flatnonzero(np.isfinite(p))
    members = trials.pairs[seen]
    false = reaches(p[seen], ALPHA)
    rates, counts = [], 0
    for _ in range(20):
        half = rng.random(len(seen)) < 0.5
        models = np.unique(members)
        alarms = np.array([false[half & (members == m).any(1)].mean() if (half & (members == m).any(1)).any() else -1.0
                           for m in models])  # fmt: skip
        worst = models[np.argsort(-alarms, kind="stable")[: max(1, len(models) // 10)]]
        other = ~half & np.isin(members, worst).any(1)
        rates += false[other].tolist()
        counts += int(other.sum())
    value = float(np.mean(rates)) if counts >= 100 else np.nan
    note = "mean of 20 random halvings of the trials" if counts >= 100 else "too few trials to halve"
    report.add(
        "kinship", f"false alarms at 5 %, {name}", f"hubs' worst tenth, K = {k}", value, n, counts // 20, note=note
    )


def _costs(
    report: Report, collection: Collection, tested: dict[str, tuple[Trials, Floats, Floats]], name: str, k: int,
    n: str, seed: int,
) -> None:  # fmt: skip
    """Cllr and Cllr_min of likelihood ratios fitted without both families of the pair they judge."""
    easy, hard = _mix(collection, tested)
    parts = [("close", np.ones(len(tested["close"][0]), bool)), ("unrelated", easy), ("hard", hard)]
    score = np.concatenate([pair_scores(tested[kind][1])[keep] for kind, keep in parts])
    kin = np.concatenate([np.full(int(keep.sum()), kind == "close") for kind, keep in parts])
    first = np.concatenate([tested[kind][0].first[keep] for kind, keep in parts])
    families = np.concatenate([collection.known.family[tested[kind][0].pairs[keep]] for kind, keep in parts])
    seen = np.isfinite(score)
    if (kin & first & seen).sum() < LEAST_KIN or not (~kin & seen).any():
        why = f"{int((kin & first & seen).sum())} close pairs, {int((~kin & seen).sum())} others"
        report.add("kinship", f"Cllr, {name}", f"all that share no weights, K = {k}", np.nan, n, note=why)
        return
    lr = np.full(len(score), np.nan)
    lr[seen] = crossfit(score[seen], kin[seen], families[seen], first[seen])
    able = np.isfinite(lr)
    if not (able & kin).any() or not (able & ~kin).any():
        why = "all close pairs are of one family"
        report.add("kinship", f"Cllr, {name}", f"all that share no weights, K = {k}", np.nan, n, note=why)
        return
    cost, low, high = weighted_cllr(lr[able], kin[able], families[able], seed)
    on, count = f"all that share no weights, K = {k}", int(able.sum())
    report.add("kinship", f"Cllr, {name}", on, cost, n, count, (low, high))
    report.add("kinship", f"Cllr_min, {name}", on, cllr_min(lr[able], kin[able]), n, count)
