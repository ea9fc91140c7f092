"""Likelihood ratios for kinship: two propositions, each calibrated, bounded, and conditioned on what is at hand.

(a) The pair shares weights (half of the weight on close kin, half on one pretrained base) against: it is of unrelated
models of two makers. (b) It is close kin against: one was taught by the other, or both on the same data; for pairs of
two makers only. Logistic calibration with classes balanced (Brummer 2006, Morrison 2013), bounds after ELUB (Vergeer
et al. 2016), both from `lir`. The score is the `excess` of the accused pair, never a raw similarity. A small table of
lines travels; the training pairs do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError

Floats = NDArray[np.float64]
Weights = tuple[Floats, Floats, Floats]  # of the knots of controls, prompts and lengths
REGULARISATION = 1e3  # close to none: two coefficients and hundreds of pairs
VERSION = 2
SHIPPED = ("ratings", "wording")  # channels that a table comes with; the first sees a shared base, so it goes first
SHORTER = 2 / 3  # of the shortest length that a table was fitted on, than which answers may not be shorter
SPREADS = 4.0  # standard deviations: beyond them lies 1 in 36 of any one-humped distribution at most
LN10 = float(np.log(10.0))


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
        labels : (n,) 1 = the proposition holds, 0 = its alternative does
        independent : (n,) bool, by default all
            One trial a pair. The bounds are earned by distinct pairs, not by the same pair with other controls.

        Returns
        -------
        ScoreLine
        """
        try:  # heavy, and not needed to read a table
            from lir.algorithms.bayeserror import elub
            from lir.algorithms.logistic_regression import LogitCalibrator
        except ImportError as e:
            raise ConfigError(
                "fitting a calibration needs the package lir", "pip install 'behavioral-probing-harness[calibrate]'"
            ) from e
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
class Ratios:
    """Calibration lines for one number of controls and of prompts, and one length of answers.

    ``close`` and ``base`` are close kin, and models of one pretrained base, against unrelated models of two makers;
    ``taught`` is close kin of two makers against taught ones and ones of the same data. ``too_close`` is the effect
    beyond which no taught pair is found (`too_close_for`). None and NaN where the table does not know.

    Examples
    --------
    Half of the weight is on close kin and half on a shared base, so the ratio is the mean of both:

    >>> close, base = ScoreLine(-1.5, 2.0, -1.5, 2.0), ScoreLine(-0.3, 2.0, -1.0, 1.4)
    >>> Ratios(close, base).shares_weights([-1.0, 0.0, 1.0]).round(2).tolist()
    [-1.18, -0.57, 1.15]
    """

    close: ScoreLine
    base: ScoreLine | None = None
    taught: ScoreLine | None = None
    too_close: float = float("nan")

    def shares_weights(self, scores: ArrayLike) -> Floats:
        """log10 LR of proposition (a) for each score; that of close kin alone if nothing is known of shared bases.

        f(score | shares weights) = (f(score | close) + f(score | base)) / 2, so the ratio is the mean of two ratios.
        """
        close = self.close.transform(scores)
        if self.base is None:
            return close
        both = np.logaddexp(close * LN10, self.base.transform(scores) * LN10)
        return np.asarray((both - np.log(2.0)) / LN10)

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest log10 LR of proposition (a)."""
        low, high = self.shares_weights([-1e9, 1e9])
        return float(low), float(high)


@dataclass(frozen=True, eq=False)
class LikelihoodTable:
    """Calibration table of one channel: lines and rates on a grid of controls, prompts and lengths of answers.

    Interpolation is linear in the logarithm of each, and never extrapolated. Fewer controls or prompts than the grid
    holds have no likelihood ratio, nor have answers of less than `SHORTER` of its shortest length; more are read at the
    edge. A table without ``lengths`` was fitted on one that it does not know.

    Parameters
    ----------
    controls, prompts, lengths : tuple of int
        The grid: k, n and l numbers. Lengths are words of an answer that were compared.
    lines : mapping from "close", "base", "taught" to (k, n, l, 4) array
        Intercept, slope and bounds of each `ScoreLine`.
    too_close : (k, n, l) array, or None
        Effects that `too_close_for` gave.
    alphas : tuple of float
        Significance levels of ``rates``.
    rates : mapping from relation to (k, n, l, alphas) array
        Share of pairs of that relation that the rank test finds in this channel.
    channel : str
        Whose excess is the score.
    about : mapping
        What the table was fitted on and how well it did.

    Examples
    --------
    The table that comes with the project, for 13 control lineages, 100 prompts and answers of 60 words:

    >>> table = LikelihoodTable.shipped()
    >>> ratios = table.at(n_controls=13, n_prompts=100, words=60)
    >>> ratios.close.transform([0.0, 5.0]).round(0).tolist()
    [-2.0, 3.0]
    >>> table.at(n_controls=13, n_prompts=100, words=4) is None
    True
    """

    controls: tuple[int, ...]
    prompts: tuple[int, ...]
    lines: Mapping[str, Floats]
    lengths: tuple[int, ...] = ()
    too_close: Floats | None = None
    alphas: tuple[float, ...] = ()
    rates: Mapping[str, Floats] = field(default_factory=dict)
    channel: str = "wording"
    about: Mapping[str, Any] = field(default_factory=dict)

    def at(self, n_controls: int, n_prompts: int, words: float = float("nan")) -> Ratios | None:
        """Calibration lines under these conditions; None where the table was not fitted for them.

        Parameters
        ----------
        n_controls, n_prompts : int
            Control lineages and prompts behind the score.
        words : float
            Usual number of words of an answer that were compared; NaN where that is not known.
        """
        weights = self._weights(n_controls, n_prompts, words)
        if weights is None or "close" not in self.lines:
            return None
        found = {name: ScoreLine(*_inside(weights, grid).tolist()) for name, grid in self.lines.items()}
        far = float("nan") if self.too_close is None else float(_inside(weights, self.too_close[..., None])[0])
        return Ratios(found["close"], found.get("base"), found.get("taught"), far)

    def rate(
        self, relation: str, n_controls: int, n_prompts: int, words: float = float("nan"), alpha: float = 0.05
    ) -> float:
        """How often the rank test finds pairs of one relation in this channel: power for kin, false alarms for others.

        Linear in the logarithm of alpha, too; under the smallest it is 0 and over the largest as there. NaN where the
        table does not know.
        """
        weights = self._weights(n_controls, n_prompts, words)
        if weights is None or relation not in self.rates:
            return float("nan")
        if alpha < self.alphas[0]:
            return 0.0
        return float(np.interp(np.log(alpha), np.log(self.alphas), _inside(weights, self.rates[relation])))

    def _weights(self, n_controls: int, n_prompts: int, words: float) -> Weights | None:
        if n_controls < self.controls[0] or n_prompts < self.prompts[0]:
            return None
        if self.lengths and words < SHORTER * self.lengths[0]:
            return None
        at = self.lengths[-1:] if words != words else (words,)  # of a length that nobody counted: the usual one
        by_length = _weights(self.lengths, at[0]) if self.lengths else np.ones(1)
        return _weights(self.controls, n_controls), _weights(self.prompts, n_prompts), by_length

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON has it."""
        arrays = {"lines": self.lines, "rates": self.rates}
        return {
            "version": VERSION,
            "channel": self.channel,
            "controls": self.controls,
            "prompts": self.prompts,
            "lengths": self.lengths,
            "alphas": self.alphas,
            "too_close": None if self.too_close is None else _listed(self.too_close),
            **{name: {key: _listed(grid) for key, grid in grids.items()} for name, grids in arrays.items()},
            "about": dict(self.about),
        }

    def to_json(self) -> str:
        """Write the table as JSON."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a calibration table from JSON, also one of version 1; `ConfigError` if the text is not one."""
        with _a_calibration():
            return cls._of(json.loads(text))

    @classmethod
    def _of(cls, raw: dict[str, Any]) -> Self:
        if raw["version"] not in (1, VERSION):
            raise ValueError("unknown version")
        first = raw["version"] == 1
        lengths = () if first else tuple(map(int, raw["lengths"]))
        shape = (len(raw["controls"]), len(raw["prompts"]), max(1, len(lengths)))
        lines = {"close": [[[line] for line in row] for row in raw["lines"]]} if first else raw["lines"]
        alphas = () if first else tuple(map(float, raw["alphas"]))
        far = None if first or raw["too_close"] is None else _grid(raw["too_close"], shape)
        return cls(
            controls=tuple(map(int, raw["controls"])),
            prompts=tuple(map(int, raw["prompts"])),
            lines={name: _grid(grid, (*shape, 4)) for name, grid in lines.items()},
            lengths=lengths,
            too_close=far,
            alphas=alphas,
            rates={} if first else {k: _grid(grid, (*shape, len(alphas))) for k, grid in raw["rates"].items()},
            channel=str(raw["channel"]),
            about=dict(raw.get("about", {})),
        )

    @classmethod
    def shipped(cls, channel: str = "wording") -> Self:
        """The table of a channel that comes with the project, fitted on recorded answers of real models."""
        return cls.from_json(shipped_text(channel))


def _grid(values: object, shape: tuple[int, ...]) -> Floats:
    out = np.array(values, dtype=np.float64)
    if out.shape != shape or not np.isfinite(out).all():
        raise ValueError(f"a grid of shape {out.shape}, not {shape}")
    return out


def _listed(grid: Floats) -> Any:
    return np.round(grid, 4).tolist()


def _inside(weights: Weights, grid: Floats) -> Floats:
    out: Floats = np.einsum("k,n,l,knlv->v", *weights, grid)
    return out


def too_close_for(effects: ArrayLike) -> float:
    """Effect beyond which text is too close for teaching or shared data: `SPREADS` standard deviations over their mean.

    Parameters
    ----------
    effects : (t,) excess of pairs of which one was taught by the other, or both by one teacher or on the same data

    Returns
    -------
    float

    Notes
    -----
    Not the largest that was seen, which is of one pair. How often taught pairs and close kin of two makers lie beyond:
    `python -m benchmarks.by_relation`, column KIN-LIKE.
    """
    x = np.asarray(effects, dtype=np.float64)
    return float(x.mean() + SPREADS * x.std())


def shipped_tables() -> dict[str, LikelihoodTable]:
    """The tables that come with the project, by channel."""
    return {channel: LikelihoodTable.shipped(channel) for channel in SHIPPED}


def tables_of(text: str | None) -> dict[str, LikelihoodTable]:
    """Calibration tables by channel: those that come with the project, and before them those of a file.

    Raises `ConfigError` if the text is none.

    Parameters
    ----------
    text : str, optional
        JSON of a table, or of several by channel, as `tables_json` writes them.
    """
    shipped = shipped_tables()
    if text is None:
        return shipped
    with _a_calibration():
        raw = json.loads(text)
        several = raw if "version" not in raw and raw else {"": raw}
        own = {t.channel: t for t in map(LikelihoodTable._of, several.values())}
    return own | {channel: table for channel, table in shipped.items() if channel not in own}


@contextmanager
def _a_calibration() -> Iterator[None]:
    """What goes wrong in reading a calibration is a `ConfigError`."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ConfigError(f"not a calibration file: {e}", "write one with `harness calibrate`") from e


def tables_json(tables: Mapping[str, LikelihoodTable]) -> str:
    """Tables by channel as JSON, as `tables_of` reads them."""
    return json.dumps({channel: table.to_dict() for channel, table in tables.items()}, indent=1) + "\n"


def shipped_text(channel: str = "wording") -> str:
    """The JSON of the table of a channel that comes with the project; of `SHIPPED` channels there are some."""
    return (files("harness.inference") / "calibrations" / f"kinship-{channel}-{VERSION}.json").read_text("utf-8")


def _weights(knots: tuple[int, ...], value: float) -> Floats:
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


def cllr_min(log10_lr: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Minimum Cllr: the cost in bits after the best monotone recalibration (pool adjacent violators).

    Parameters
    ----------
    log10_lr : (n,) log10 likelihood ratios
    labels : (n,) 1 = kin, 0 = shares no weights
    weights : (n,) by default equal

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
    from sklearn.isotonic import IsotonicRegression

    x, y = np.asarray(log10_lr, dtype=np.float64), np.asarray(labels).astype(bool)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    fair = w / np.where(y, w[y].sum(), w[~y].sum())  # at prior odds of one the posterior odds are the ratio
    best = np.clip(
        IsotonicRegression(out_of_bounds="clip").fit(x, y, sample_weight=fair).predict(x), 1e-12, 1.0 - 1e-12
    )
    return cllr(np.log10(best / (1.0 - best)), y, w)
