"""Calibration of likelihood ratios: `harness calibrate` fits a campaign's answers to pairs of known relation.

The CSV has a row a pair: ``model_a, model_b, relation, lineage_a, lineage_b`` and, if models of several lineages may be
related after all, ``family_a, family_b``: families are what fit and test never share (default: the lineage). Relation
is ``kin`` (same weights, parent and child, siblings), ``base`` (one pretrained base), ``taught`` (by one another, by
one teacher, or on the same data), ``same maker``, ``unrelated`` (of two makers) or anything else: left out. What tells
kin from taught is fitted on pairs of two makers, by the columns ``maker_a, maker_b``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.channels.parallel import LOCAL, compare, load_channels
from harness.channels.reading import read
from harness.config import read_text
from harness.errors import ConfigError
from harness.files import write_whole
from harness.inference.calibration import Relation, Validation, calibrate, channel_of, tippett, tippett_points
from harness.inference.control_match import conditions_of, manners_of
from harness.inference.likelihood import LikelihoodTable
from harness.inference.trials import Known
from harness.judging import read_responses
from harness.plan import Plan
from harness.records import Similarity
from harness.report.figures import BROAD, tippett_curve
from harness.report.renderer import Renderer

COLUMNS = ("model_a", "model_b", "relation", "lineage_a", "lineage_b")
NAMED: Mapping[str, Relation] = {  # what the CSV may call a relation
    "kin": "close",
    "close": "close",
    "base": "base",
    "taught": "taught",
    "same maker": "same maker",
    "unrelated": "unrelated",
}
SHARE_WEIGHTS = ("close", "base")


@dataclass(frozen=True)
class Pairs:
    """A CSV of pairs: what is known of the models, and the pairs of each relation, int (q, 2)."""

    known: Known
    of: Mapping[Relation, NDArray[np.int64]]


def read_pairs(path: Path, models: Sequence[str]) -> Pairs:
    """Read pairs of ``models``; rows that name others are an error, with file and line."""
    text = read_text(path)
    rows = list(csv.DictReader(io.StringIO(text)))
    missing = [c for c in COLUMNS if not rows or c not in rows[0]]
    if missing:
        raise ConfigError(f"{path}:1: no column {', '.join(missing)}", f"the columns are {', '.join(COLUMNS)}")
    at = {m: i for i, m in enumerate(models)}
    lineage: dict[str, str] = {}
    family: dict[str, str] = {}
    maker: dict[str, str] = {}
    apart = np.zeros((len(models), len(models)), dtype=bool)
    chosen: dict[Relation, list[tuple[int, int]]] = {}
    for line, row in enumerate(rows, start=2):
        for side in ("a", "b"):
            _note_model(path, line, row, side, at, lineage, family)
            maker.setdefault(row[f"model_{side}"], (row.get(f"maker_{side}") or "").strip())
        pair = at[row["model_a"]], at[row["model_b"]]
        if pair[0] == pair[1]:
            raise ConfigError(f"{path}:{line}: {row['model_a']!r} is paired with itself", "remove the row")
        if (relation := NAMED.get(row["relation"])) is not None:
            chosen.setdefault(relation, []).append(pair)
            if relation not in SHARE_WEIGHTS:
                apart[pair] = apart[pair[::-1]] = True
    known = Known(
        tuple(models),
        np.array([lineage.get(m, m) for m in models]),
        np.array([family.get(m, lineage.get(m, m)) for m in models]),
        apart,
        np.array([maker.get(m, "") for m in models]),
    )
    return Pairs(known, {r: np.array(p, dtype=np.int64).reshape(-1, 2) for r, p in chosen.items()})


def _note_model(
    path: Path, line: int, row: Mapping[str, str], side: str, at: Mapping[str, int], lineage: dict[str, str],
    family: dict[str, str],
) -> None:  # fmt: skip
    name, root = row[f"model_{side}"], (row[f"lineage_{side}"] or "").strip()
    if name not in at:
        raise ConfigError(
            f"{path}:{line}: {name!r} is no endpoint of the campaign", f"it has {', '.join(list(at)[:8])}"
        )
    if not root:
        raise ConfigError(f"{path}:{line}: {name!r} has no lineage", f"fill in lineage_{side}")
    if lineage.setdefault(name, root) != root:
        raise ConfigError(f"{path}:{line}: {name!r} is of lineage {lineage[name]!r} and {root!r}", "make them agree")
    family.setdefault(name, (row.get(f"family_{side}") or "").strip() or root)


def best_described(checks: Sequence[Validation]) -> Validation:
    """The check that stands for the rest: of (a), with 16 controls and 100 prompts, or the nearest below."""
    told = [c for c in checks if c.proposition == "shares weights"] or [c for c in checks if c.proposition == "close"]
    fitting = [c for c in told if c.controls <= 16 and c.prompts <= 100] or told
    if not fitting:
        raise ConfigError(
            "the calibration cannot be validated: fit and test would share families",
            "add kin pairs of at least two other families",
        )
    return max(fitting, key=lambda c: (c.controls, c.prompts))


def tippett_csv(check: Validation) -> str:
    """Tippett plot as a table: threshold, share of kin and of unrelated pairs at or above it."""
    rows = zip(*tippett(check.log10_lr, check.kin), strict=True)
    return "log10_lr,kin,unrelated\n" + "".join(f"{t:.4f},{a:.4f},{b:.4f}\n" for t, a, b in rows)


def tippett_svg(check: Validation) -> str:
    """Tippett plot as SVG: for each log10 LR, the share of kin and of unrelated pairs that reach it."""
    at, kin, unrelated = tippett(check.log10_lr, check.kin)
    title = (
        f"Tippett plot, families held out: {check.controls} controls, {check.prompts} prompts, Cllr {check.cllr:.2f}"
    )
    spec = tippett_curve(at.tolist(), kin.tolist(), unrelated.tolist(), []).spec(BROAD)
    return Renderer().alone({**spec, "title": title}, title)


def summary_text(checks: Sequence[Validation], alpha: float) -> str:
    """What `harness calibrate` prints: one line for each number of controls and prompts."""
    lines = [
        f"{'proposition':<14} {'controls':>8} {'prompts':>7} {'Cllr':>6} {'[95 %]':>14} {'Cllr_min':>8} "
        f"{'false alarms':>22} {'power':>6}"
    ]
    for c in checks:
        alarms = f"{c.false_alarms:.3f} [{c.false_alarms_low:.3f}, {c.false_alarms_high:.3f}]"
        lines.append(
            f"{c.proposition:<14} {c.controls:8} {c.prompts:7} {c.cllr:6.3f} "
            f"[{c.cllr_low:5.3f}, {c.cllr_high:5.3f}] {c.cllr_min:8.3f} "
            f"{alarms:>22} {c.power:6.2f}"
        )
    lines.append(f"false alarms and power: share of pairs of either side with p <= {alpha:g}, one candidate")
    return "\n".join(lines)


def fit_table(
    channel: Similarity | Mapping[int, Similarity],
    pairs: Pairs,
    source: str,
    alpha: float,
    seed: int,
    now: datetime,
    conditions: Mapping[str, object],
) -> tuple[LikelihoodTable, list[Validation]]:
    """Fit and check a calibration table, which says what it was fitted on and how well it did; it holds no answers."""
    fitted, checks = calibrate(channel, pairs.known, pairs.of, alpha, seed)
    about: dict[str, object] = {
        "source": source,
        "fitted_at": now.isoformat(timespec="seconds"),
        "models": len(pairs.known.models),
        "lineages": len(set(pairs.known.lineage.tolist())),
        "families": len(set(pairs.known.family.tolist())),
        "seed": seed,
    }
    about |= dict(conditions)
    about |= dict(fitted.about) | {"tippett": tippett_points(best_described(checks))}
    return replace(fitted, about=about), checks


def calibrate_campaign(
    plan: Plan, pairs_file: Path, channel: str, out: Path | None, now: datetime, executor: str = LOCAL
) -> tuple[list[Path], list[Validation]]:
    """Fit a calibration on the stored answers and write it, with the Tippett plot as SVG and CSV beside it."""
    campaign, target = plan.campaign, out or plan.folder / "calibration.json"
    answers = read(read_responses(plan))
    pairs = read_pairs(pairs_file, answers.models)
    compared = compare(load_channels((channel,)), answers, executor)
    similarity = channel_of(compared, channel)
    table, checks = fit_table(
        similarity,
        pairs,
        campaign.campaign,
        campaign.analysis.alpha,
        campaign.seed,
        now,
        conditions_of(manners_of(answers)),
    )
    shown = best_described(checks)
    files = {
        target: table.to_json(),
        target.with_suffix(".tippett.svg"): tippett_svg(shown),
        target.with_suffix(".tippett.csv"): tippett_csv(shown),
    }
    return [write_whole(path, text) for path, text in files.items()], checks
