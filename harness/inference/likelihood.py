"""Likelihood ratios for kinship: calibrated, bounded, conditioned on the numbers of controls and prompts.

H1: the pair is close kin (same weights, parent and child, siblings). H2: it shares no weights. Logistic calibration
with classes balanced (Brummer 2006, Morrison 2013), bounds after ELUB (Vergeer et al. 2016), both from `lir`. The score
is the `excess` of the accused pair, never a raw similarity. A small table of lines travels; the training
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
    """Logistic calibration line from a score to a bounded log10 LR, for one number of controls and of prompts.

    log10 LR = clip(intercept + slope * score, lower, upper); the four are in units of log10 LR.

    Examples
    --------
    >>> line = ScoreLine(intercept=-1.5, slope=2.0, lower=-1.5, upper=2.0)
    >>> line.transform([0.0, 1.0, 5.0]).tolist()
    [-1.5, 0.5, 2.0]
    """

    intercept: float
    slope: float
    lower: float
    upper: float

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike, independent: ArrayLike | None = None) -> Self:
        """Fit a logistic calibration line with ELUB bounds.

        Parameters
        ----------
        scores : (n,) excess of the accused pair of each trial
        labels : (n,) 1 = close kin, 0 = shares no weights
        independent : (n,) bool, by default all
            One trial a pair. The bounds are earned by distinct pairs, not by the same pair with other controls.

        Returns
        -------
        ScoreLine
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
        """log10 LR of each score, within the bounds."""
        return np.clip(self.intercept + self.slope * np.asarray(scores, dtype=np.float64), self.lower, self.upper)


@dataclass(frozen=True)
class LikelihoodTable:
    """Calibration table: lines on a grid of numbers of controls and prompts, interpolated and never extrapolated.

    Interpolation is linear in log K and log n. Fewer controls or prompts than the grid holds have no likelihood ratio
    (NaN); more are read at the edge. ``channel`` is the channel whose excess is the score; ``about`` says what the
    table was fitted on and how well it did.

    Examples
    --------
    The table that comes with the project, for 13 control lineages and 100 prompts:

    >>> table = LikelihoodTable.shipped()
    >>> table.transform([0.0, 1.0, 5.0], n_controls=13, n_prompts=100).round(1).tolist()
    [-1.4, 0.9, 1.9]
    >>> table.line(n_controls=1, n_prompts=100) is None
    True
    """

    controls: tuple[int, ...]
    prompts: tuple[int, ...]
    lines: tuple[tuple[ScoreLine, ...], ...]  # lines[k][n]
    channel: str = "wording"
    version: int = 1
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, trials: Mapping[tuple[int, int], tuple[ArrayLike, ArrayLike, ArrayLike | None]], **about: Any) -> Self:
        """Fit one line for each number of controls and prompts: trials[(K, n)] are the arguments of `ScoreLine.fit`."""
        controls = tuple(sorted({k for k, _ in trials}))
        prompts = tuple(sorted({n for _, n in trials}))
        lines = tuple(tuple(ScoreLine.fit(*trials[k, n]) for n in prompts) for k in controls)
        return cls(controls, prompts, lines, about=about)

    def line(self, n_controls: int, n_prompts: int) -> ScoreLine | None:
        """Calibration line for so many control lineages and prompts; None under the grid."""
        if n_controls < self.controls[0] or n_prompts < self.prompts[0]:
            return None
        wk, wn = _weights(self.controls, n_controls), _weights(self.prompts, n_prompts)
        grid = np.array([[[line.intercept, line.slope, line.lower, line.upper] for line in row] for row in self.lines])
        return ScoreLine(*np.einsum("k,n,knv->v", wk, wn, grid).tolist())

    def transform(self, scores: ArrayLike, n_controls: int, n_prompts: int) -> Floats:
        """log10 LR of each score, within the bounds of the table.

        Parameters
        ----------
        scores : array of excess values, in units of the channel's spread over prompts
        n_controls, n_prompts : int
            Control lineages and prompts behind the scores.

        Returns
        -------
        array of the same shape
            log10 LR; NaN for fewer controls or prompts than the table holds.
        """
        line = self.line(n_controls, n_prompts)
        x = np.asarray(scores, dtype=np.float64)
        return np.full(x.shape, np.nan) if line is None else line.transform(x)

    def to_json(self) -> str:
        """Write the table as JSON."""
        raw = asdict(self)
        raw["lines"] = [[[round(v, 6) for v in line.values()] for line in row] for row in raw["lines"]]
        return json.dumps(raw, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a calibration table from JSON; `ConfigError` if the text is not one."""
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
    """Cllr, the log-likelihood-ratio cost in bits: 0 is perfect, 1 is what saying nothing costs.

    Parameters
    ----------
    log10_lr : (n,) log10 likelihood ratios
    labels : (n,) true or 1 = kin, false or 0 = shares no weights
    weights : (n,) by default equal
        How often each trial counts, as in a bootstrap.

    Returns
    -------
    float
        Cost in bits, both classes weighted equally. Above 1 the ratios mislead.

    See Also
    --------
    cllr_min : The part that better calibration cannot take away.

    Notes
    -----
    Cllr = (mean over kin of log2(1 + 1/LR) + mean over the others of log2(1 + LR)) / 2 (Brummer and du Preez 2006).

    Examples
    --------
    >>> cllr([0.0, 0.0], [1, 0])
    1.0
    >>> round(cllr([2.0, -2.0], [1, 0]), 3)
    0.014
    >>> round(cllr([-2.0, 2.0], [1, 0]), 1)
    6.7
    """
    x, y = np.asarray(log10_lr, dtype=np.float64) * np.log(10.0), np.asarray(labels).astype(bool)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)

    def cost(z: Floats, v: Floats) -> float:
        return float(np.average(np.logaddexp(0.0, z), weights=v) / np.log(2.0))

    return (cost(-x[y], w[y]) + cost(x[~y], w[~y])) / 2.0


def cllr_min(log10_lr: ArrayLike, labels: ArrayLike) -> float:
    """Minimum Cllr: the cost in bits after the best monotone recalibration (pool adjacent violators).

    Parameters
    ----------
    log10_lr : (n,) log10 likelihood ratios
    labels : (n,) 1 = kin, 0 = shares no weights

    Returns
    -------
    float
        What discrimination alone costs; `cllr` less this is the cost of calibration.

    Examples
    --------
    The order is right, the values are too modest:

    >>> log10_lr, kin = [0.5, 0.2, -0.3, -1.0], [1, 1, 0, 0]
    >>> round(cllr(log10_lr, kin), 2), round(cllr_min(log10_lr, kin), 2)
    (0.46, 0.0)
    """
    from lir.algorithms.isotonic_regression import IsotonicCalibrator

    x, y = np.asarray(log10_lr, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    best = IsotonicCalibrator().fit(x, y).transform(x)
    return cllr(np.clip(best, -12.0, 12.0), y)
