"""Mixture: does the suspect answer some prompts with another model (partial routing)? The share, with an interval.

Closeness of kin differs from prompt to prompt, that of strangers hovers around nothing. Where some answers of the pair
are as close as kin's and too many others are no closer than strangers', a second model may have answered those.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, gamma, gaussian_kde, norm

from harness.inference.excess import reaches

Floats = NDArray[np.float64]
SHARES = np.linspace(0.0, 0.95, 39)
MEANS = np.geomspace(0.4, 6.0, 12)  # closeness of kin, in spreads of strangers
SCALES = np.geomspace(0.7, 5.0, 7)  # of the gamma distribution of kin's closeness over prompts: variance over mean
USUAL, SPREAD = 1.9, 0.4  # scale of honest kin, and how much it differs (log-normal)
NODES = 16  # of that distribution
LEAST = 24  # prompts
STEADY = 48  # prompts, than which more say no more: how uneven kin are differs between pairs, whatever their number
GRID = np.linspace(-8.0, 16.0, 601)  # in spreads of strangers
FLOOR = 1e-6  # density of what no stranger has shown yet
SUPPORT = float(chi2.ppf(0.95, 1) / 2)  # below the best log likelihood, down to which a share is in the interval


@dataclass(frozen=True)
class Mixture:
    """Share of the pair's prompts that another model answered, its 95 % interval (``low``, ``high``), and two p-values.

    ``p`` is that of a relative that answers all by itself, ``p_kin`` the rank of what speaks for any kin's answers
    among all pairs of the pool: only where that is small is a ``share`` the share of anything.
    """

    share: float
    low: float
    high: float
    p: float
    p_kin: float
    prompts: int

    def found(self, alpha: float) -> bool:
        """Whether some answers are a relative's, and others too far from it, each at ``alpha``."""
        return reaches(max(self.p_kin, self.p), alpha) and self.low > 0


def mixture(residuals: Floats) -> Mixture | None:
    """Estimate which share of the prompts the suspect answered with a model that is not the candidate's kin.

    Parameters
    ----------
    residuals : (p, n, n)
        Scaled residuals of one channel (`additive_residuals`), suspect first, candidate second, then the controls.
        NaN where a model did not answer.

    Returns
    -------
    Mixture or None
        None for fewer than `LEAST` prompts or four controls.

    Notes
    -----
    Two components. Strangers: a kernel density of what the two show with the controls. Kin: the same, moved by a gamma
    variable, as kin are close on one prompt and less so on another; its mean and its scale are free, the scale with a
    prior from honest kin. The interval is that of the profile likelihood, ``p`` half a chi-square tail, as no share is
    the edge of its range. A relative with another system prompt is as uneven as a
    mixture is: that is why few are found, and why none found means little.

    Examples
    --------
    Sixteen models on 60 prompts; the suspect answers half of them as a relative of the candidate would:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> r = rng.normal(0.0, 0.8, (60, 16, 16))
    >>> r[:, 0, 1] += np.where(np.arange(60) % 2, rng.gamma(3.0, 1.0, 60), 0.0)
    >>> r = np.triu(r, 1) + np.triu(r, 1).transpose(0, 2, 1)
    >>> found = mixture(r)
    >>> found.low < 0.5 < found.high, found.found(0.05)
    (True, True)
    """
    n = residuals.shape[-1]
    rows, columns = np.triu_indices(n, 1)
    values = residuals[:, rows, columns]
    pair = values[:, 0][np.isfinite(values[:, 0])]
    apart = residuals[:, :2, 2:]
    apart = apart[np.isfinite(apart)]
    if len(pair) < LEAST or n < 6 or not len(apart) or apart.std() <= FLOOR:
        return None
    centre, unit = float(apart.mean()), float(apart.std())
    strangers = _density((apart - centre) / unit)
    kin = _kin(strangers)
    scaled = (values - centre) / unit
    profile = _profile(scaled[:, 0], strangers, kin)
    best = int(profile.argmax())
    inside = SHARES[profile >= profile[best] - SUPPORT]
    gain = 2.0 * float(profile[best] - profile[0])
    return Mixture(
        share=float(SHARES[best]),
        low=float(inside.min()),
        high=float(inside.max()),
        p=float(chi2.sf(gain, 1) / 2) if best else 1.0,
        p_kin=_kin_rank(scaled, strangers, kin),
        prompts=len(pair),
    )


def _density(scaled: Floats) -> Floats:
    """Density of strangers on `GRID`."""
    out: Floats = gaussian_kde(scaled, 0.3)(GRID) + FLOOR
    return out


@cache
def _moves() -> NDArray[np.int64]:
    """Steps of `GRID` that kin are moved by, for every mean and scale, (means, scales, nodes)."""
    at = (np.arange(NODES) + 0.5) / NODES
    scale = SCALES[:, None]
    moved = gamma.ppf(at, MEANS[:, None, None] / scale, scale=scale)
    out: NDArray[np.int64] = np.rint(moved / (GRID[1] - GRID[0])).astype(np.int64)
    return out


def _kin(strangers: Floats) -> Floats:
    """Density of kin on `GRID` for every mean and scale, (means, scales, grid)."""
    at = np.arange(len(GRID)) - _moves()[..., None]
    out: Floats = np.where(at >= 0, strangers[np.maximum(at, 0)], FLOOR).mean(2)
    return out


def _profile(values: Floats, strangers: Floats, kin: Floats) -> Floats:
    """Log likelihood of each share at its best mean and scale, (shares,)."""
    x = values[np.isfinite(values)]
    far = np.interp(x, GRID, strangers)
    near = _at(x, kin)
    prior = norm.logpdf(np.log(SCALES), np.log(USUAL), SPREAD)
    weight = min(1.0, STEADY / len(x))
    found = [float((weight * np.log(s * far + (1.0 - s) * near).sum(-1) + prior).max()) for s in SHARES]
    return np.array(found)


def _at(x: Floats, densities: Floats) -> Floats:
    """Densities (..., grid) at points (p,), by linear interpolation."""
    step = GRID[1] - GRID[0]
    at = np.clip((x - GRID[0]) / step, 0.0, len(GRID) - 1.001)
    left = at.astype(np.int64)
    weight = at - left
    out: Floats = densities[..., left] * (1.0 - weight) + densities[..., left + 1] * weight
    return out


def _kin_rank(scaled: Floats, strangers: Floats, kin: Floats) -> float:
    """Rank of the accused pair, the first column of (p, pairs), by what speaks for any answers of kin."""
    usual = kin[::2, int(np.abs(SCALES - USUAL).argmin())]
    gains = []
    for values in scaled.T:
        x = values[np.isfinite(values)]
        far, near = np.interp(x, GRID, strangers), _at(x, usual)
        gains.append(max(float(np.log1p((1.0 - s) * (near / far - 1.0)).sum(-1).max()) for s in SHARES[::4]))
    found = np.array(gains)
    return float((found >= found[0] - 1e-9).mean())
