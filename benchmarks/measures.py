"""Benchmark measures: AUC, TPR at a fixed false-alarm rate, intervals over lineages; and the table of results."""

from __future__ import annotations

import csv
import io
import json
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.inference.trials import lineage_interval, lineage_weights

Floats = NDArray[np.float64]
ROUNDS = 200


@dataclass(frozen=True)
class Line:
    """One measured number: ``value`` in [``low``, ``high``] from ``count`` pairs or trials; or why there is none."""

    stage: str
    measure: str
    on: str
    prompts: str
    value: float
    low: float
    high: float
    count: int
    note: str = ""


@dataclass
class Report:
    """Lines in the order they were measured, and what each stage cost."""

    lines: list[Line] = field(default_factory=list)

    def add(
        self, stage: str, measure: str, on: str, value: float, prompts: object = "", count: int = 0,
        interval: tuple[float, float] = (np.nan, np.nan), note: str = "",
    ) -> None:  # fmt: skip
        """One more number; NaN must come with a note."""
        if not np.isfinite(value):
            note = f"not measurable: {note or 'too few'}"
        self.lines.append(
            Line(stage, measure, on, str(prompts), float(value), float(interval[0]), float(interval[1]), count, note)
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage, and take the peak memory of the process at its end."""
        began = time.perf_counter()
        try:
            yield
        except (ValueError, IndexError, KeyError, ZeroDivisionError, FloatingPointError, np.linalg.LinAlgError) as e:
            self.add(name, "stage", "", np.nan, note=f"{type(e).__name__}: {e}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.add("cost", "seconds", name, time.perf_counter() - began)
        self.add("cost", "peak GiB so far", name, peak)
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr)

    def text(self) -> str:
        """A Markdown table."""
        head = ("stage", "measure", "on", "prompts", "value", "95 % interval", "n", "note")
        rows = [
            (
                *(line.stage, line.measure, line.on, line.prompts, _digits(line.value), _range(line)),
                *(str(line.count or ""), line.note),
            )
            for line in self.lines
        ]  # fmt: skip
        widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
        out = ["| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in (head, *rows)]
        out.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
        return "\n".join(out) + "\n"

    def write(self, path: Path) -> None:
        """As CSV or JSON by suffix, else Markdown."""
        records = [asdict(line) for line in self.lines]
        if path.suffix == ".json":
            clean = [{k: None if v != v else v for k, v in r.items()} for r in records]
            path.write_text(json.dumps(clean, indent=1) + "\n")
        elif path.suffix == ".csv":
            out = io.StringIO()
            writer = csv.DictWriter(out, list(records[0]))
            writer.writeheader()
            writer.writerows({k: "" if v != v else v for k, v in r.items()} for r in records)
            path.write_text(out.getvalue())
        else:
            path.write_text(self.text())


def markdown_row(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def markdown_head(cells: Sequence[str]) -> list[str]:
    """The first two lines of a Markdown table."""
    return [markdown_row(cells), "|" + "---|" * len(cells)]


def _digits(value: float) -> str:
    return "-" if value != value else f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


def _range(line: Line) -> str:
    return "" if line.low != line.low else f"{_digits(line.low)} to {_digits(line.high)}"


def auc(scores: Floats, positive: NDArray[np.bool_], weights: Floats | None = None) -> float:
    """Chance that a positive scores over a negative, ties half; pairs weighted."""
    w = np.ones(len(scores)) if weights is None else weights
    _, at = np.unique(scores, return_inverse=True)
    up, down = np.bincount(at, w * positive), np.bincount(at, w * ~positive)
    both = up.sum() * down.sum()
    return float((up * (np.cumsum(down) - down / 2)).sum() / both) if both > 0 else np.nan


def tpr_at(scores: Floats, positive: NDArray[np.bool_], rate: float, weights: Floats | None = None) -> float:
    """Share of positives over the threshold that a share ``rate`` of negatives passes."""
    w = np.ones(len(scores)) if weights is None else weights
    if not (w * positive).sum() or not (w * ~positive).sum():
        return np.nan
    order = np.argsort(-scores[~positive], kind="stable")
    passed = np.cumsum(w[~positive][order])
    within = passed <= rate * passed[-1] + 1e-12
    threshold = scores[~positive][order][int(within.sum())] if not within.all() else -np.inf
    return float(np.average(scores[positive] > threshold, weights=w[positive]))


def spread(scores: Floats, positive: NDArray[np.bool_], units: NDArray[np.str_]) -> tuple[tuple[float, float], ...]:
    """95 % intervals over lineages of `auc` and of `tpr_at` 1 %."""
    draws = [
        (auc(scores, positive, w), tpr_at(scores, positive, 0.01, w))
        for w in lineage_weights(units, ROUNDS, np.random.default_rng(0))
    ]
    table = np.array([d for d in draws if np.isfinite(d).all()])
    if not len(table):
        return (np.nan, np.nan), (np.nan, np.nan)
    low, high = np.quantile(table, [0.025, 0.975], axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def rate(hits: ArrayLike, units: NDArray[np.str_]) -> tuple[float, tuple[float, float], int]:
    """Mean of 0/1 values with its interval over lineages, and how many there are."""
    x = np.asarray(hits, dtype=np.float64)
    if not len(x):
        return np.nan, (np.nan, np.nan), 0
    return float(x.mean()), lineage_interval(x, units, ROUNDS, np.random.default_rng(0)), len(x)
