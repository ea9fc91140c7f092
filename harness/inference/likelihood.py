"""From a kinship score to a bounded log10 likelihood ratio, conditioned on the numbers of controls and prompts.

H1: the pair is close kin (same weights, parent and child, siblings). H2: it shares no weights. Logistic calibration
with classes balanced (Brummer 2006, Morrison 2013), bounds after ELUB (Vergeer et al. 2016), both from `lir`. The score
is the `pair_rank.excess` of the accused pair, never a raw similarity. A small table of lines travels; the training
pairs do not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError

Floats = NDArray[np.float64]
REGULARISATION = 1e3  # close to none: two coefficients and hundreds of pairs


@dataclass(frozen=True)
class ScoreLine:
    """log10 LR = clip(intercept + slope * score, lower, upper) for one number of controls and of prompts."""

    intercept: float
    slope: float
    lower: float
    upper: float

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike, independent: ArrayLike | None = None) -> Self:
        """Fit on (n,) scores with labels 1 = close, 0 = shares no weights.

        independent : (n,) bool, one trial a pair: bounds are earned by distinct pairs, not by redrawn controls.
        """
        from lir.algorithms.bayeserror import elub  # heavy, and not needed to read a table
        from lir.algorithms.logistic_regression import LogitCalibrator

        x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
        logit = LogitCalibrator(C=REGULARISATION).fit(x, y)
        low, high = logit.transform(np.array([0.0, 1.0]))
        chosen = np.ones(len(x), bool) if independent is None else np.asarray(independent, dtype=bool)
        lower, upper = elub((low + (high - low) * x)[chosen].copy(), y[chosen])
        return cls(float(low), float(high - low), float(lower), float(upper))

    def transform(self, scores: ArrayLike) -> Floats:
        return np.clip(self.intercept + self.slope * np.asarray(scores, dtype=np.float64), self.lower, self.upper)


@dataclass(frozen=True)
class LikelihoodTable:
    """Lines on a grid of control and prompt numbers, interpolated linearly in log K and log n, never extrapolated.

    Fewer controls or prompts than the grid holds have no likelihood ratio (NaN); more are read at the edge.
    ``channel`` is the channel whose excess is the score; ``about`` says on what the table was fitted and how well.
    """

    controls: tuple[int, ...]
    prompts: tuple[int, ...]
    lines: tuple[tuple[ScoreLine, ...], ...]  # lines[k][n]
    channel: str = "wording"
    version: int = 1
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, trials: Mapping[tuple[int, int], tuple[ArrayLike, ArrayLike, ArrayLike | None]], **about: Any) -> Self:
        """trials[(K, n)] = scores, labels, independent (see `ScoreLine.fit`)."""
        controls = tuple(sorted({k for k, _ in trials}))
        prompts = tuple(sorted({n for _, n in trials}))
        lines = tuple(tuple(ScoreLine.fit(*trials[k, n]) for n in prompts) for k in controls)
        return cls(controls, prompts, lines, about=about)

    def line(self, n_controls: int, n_prompts: int) -> ScoreLine | None:
        if n_controls < self.controls[0] or n_prompts < self.prompts[0]:
            return None
        wk, wn = _weights(self.controls, n_controls), _weights(self.prompts, n_prompts)
        grid = np.array([[[line.intercept, line.slope, line.lower, line.upper] for line in row] for row in self.lines])
        return ScoreLine(*np.einsum("k,n,knv->v", wk, wn, grid).tolist())

    def transform(self, scores: ArrayLike, n_controls: int, n_prompts: int) -> Floats:
        """log10 LR of each score."""
        line = self.line(n_controls, n_prompts)
        x = np.asarray(scores, dtype=np.float64)
        return np.full(x.shape, np.nan) if line is None else line.transform(x)

    def to_json(self) -> str:
        """The table as JSON: figures only."""
        raw = asdict(self)
        raw["lines"] = [[[round(v, 6) for v in line.values()] for line in row] for row in raw["lines"]]
        return json.dumps(raw, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a table; `ConfigError` if it is none."""
        try:
            raw: dict[str, Any] = json.loads(text)
            lines = tuple(tuple(ScoreLine(*map(float, line)) for line in row) for row in raw["lines"])
            if raw["version"] != 1 or len(lines) != len(raw["controls"]):
                raise ValueError("unknown version or shape")
            about = raw.get("about", {})
            return cls(tuple(raw["controls"]), tuple(raw["prompts"]), lines, raw["channel"], raw["version"], about)
        except (ValueError, KeyError, TypeError) as e:
            raise ConfigError(f"not a calibration file: {e}", "write one with `harness calibrate`") from e

    @classmethod
    def shipped(cls) -> Self:
        """The table that comes with the project, fitted on recorded answers of real models."""
        return cls.from_json(shipped_text())


def shipped_text() -> str:
    """The JSON of the table that comes with the project."""
    return (files("harness.inference") / "calibrations" / "kinship-wording-1.json").read_text(encoding="utf-8")


def _weights(knots: tuple[int, ...], value: int) -> Floats:
    """Linear interpolation weights in the logarithm."""
    x, grid = np.log(value), np.log(np.array(knots, dtype=np.float64))
    return np.array([np.interp(x, grid, row) for row in np.eye(len(knots))])


def cllr(log10_lr: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Log-likelihood-ratio cost in bits, classes equal: 0 perfect, 1 says nothing (Brummer and du Preez 2006)."""
    x, y = np.asarray(log10_lr, dtype=np.float64) * np.log(10.0), np.asarray(labels).astype(bool)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)

    def cost(z: Floats, v: Floats) -> float:
        return float(np.average(np.logaddexp(0.0, z), weights=v) / np.log(2.0))

    return (cost(-x[y], w[y]) + cost(x[~y], w[~y])) / 2.0


def cllr_min(log10_lr: ArrayLike, labels: ArrayLike) -> float:
    """Cllr after the best monotone recalibration: what discrimination alone allows."""
    from lir.algorithms.isotonic_regression import IsotonicCalibrator

    x, y = np.asarray(log10_lr, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    best = IsotonicCalibrator().fit(x, y).transform(x)
    return cllr(np.clip(best, -12.0, 12.0), y)
