"""Mixture: does the suspect answer some prompts with another model (partial routing)? The share, with an interval.

And the equivalence tests, which exclude a share: of calls to another model, or of the way to one.

Closeness of kin differs from prompt to prompt, that of strangers hovers around nothing. Where some answers of the pair
are as close as kin's and too many others are no closer than strangers', a second model may have answered those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, chi2, gamma, gaussian_kde, norm
from scipy.stats import t as student

from harness.inference.assessment import Grams
from harness.inference.excess import reaches

Floats = NDArray[np.float64]
NAN = float("nan")
ROUTED = 0.3
"""Share of calls answered by another model that SAME-LIKE has to exclude: three in ten. A meaning, not a fit. Of the
same weights it is the share of the way to another model, and of the prompts on which the suspect may be that far."""
FEWEST = 8
"""Prompts below which the equivalence tests say nothing: a t-distribution over prompts needs them."""
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
    among all pairs of the pool: only where that is small is a ``share`` the share of anything. NaN where ``p`` is so
    large that the rank was not asked for.
    """

    share: float
    low: float
    high: float
    p: float
    p_kin: float
    prompts: int

    def found(self, alpha: float) -> bool:
        """Whether some answers are a relative's, and others too far from it, each at ``alpha``."""
        return reaches(self.p, alpha) and reaches(self.p_kin, alpha) and self.low > 0


def mixture(residuals: Floats, alpha: float = 1.0) -> Mixture | None:
    """Estimate which share of the prompts the suspect answered with a model that is not the candidate's kin.

    Parameters
    ----------
    residuals : (p, n, n)
        Scaled residuals of one channel (`additive_residuals`), suspect first, candidate second, then the controls.
        NaN where a model did not answer.
    alpha : float
        The level at which it is looked for: the rank, which takes longest, is worked out where the other p reaches it.

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
    p = float(chi2.sf(gain, 1) / 2) if best else 1.0
    return Mixture(
        share=float(SHARES[best]),
        low=float(inside.min()),
        high=float(inside.max()),
        p=p,
        p_kin=_kin_rank(scaled, strangers, kin) if reaches(p, alpha) else NAN,
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


@dataclass(frozen=True)
class Equivalence:
    """Result of `equivalence`: ``p_value`` against "at least so far apart", and the smallest ``share`` of calls to
    another model that is excluded; 1 where none is, NaN where nothing was tested."""

    p_value: float
    share: float


def equivalence(
    grams: Grams, controls: Sequence[Grams], alpha: float, routed: float = ROUTED, fewest: int = FEWEST
) -> Equivalence:
    """Equivalence test of two endpoints: closer than if a share of calls were answered by another model?

    Parameters
    ----------
    grams : sequence of ((n_a + n_b, n_a + n_b) Gram matrix, n_a), one a prompt
        Suspect against candidate, as for `two_sample`; prompts with fewer than two samples of one are left out.
    controls : sequence of such sequences
        The same of each control against the candidate. Prompts need not be those of ``grams``.
    alpha : float
        One minus the confidence of ``share``.
    routed : float
        The share that is to be excluded, over 0 and at most 1.
    fewest : int
        Prompts that every comparison needs at least.

    Returns
    -------
    Equivalence
        ``p_value`` under the null that suspect and candidate are at least as far apart as if ``routed`` of the
        suspect's calls were answered by a model as far from the candidate as some control is. ``share`` is the upper
        end of a one-sided interval, by inversion of the same test, in steps of 0.01.

    Notes
    -----
    If a share w of the suspect's answers is from a distribution Q and the rest from the candidate's P, then
    MMD2(suspect, P) = w^2 MMD2(Q, P). Both sides are estimated without bias (Gretton et al. 2012, eq. 3), and
    the mean over prompts of the one is held against w^2 times that of the other by Welch's t, with the degrees of
    freedom of the fewer prompts. The null is that this holds for *some* control, so all have to be rejected (the
    largest p; Berger 1982: no correction is due). Prompts may be fixed or a sample: spread between them makes the
    test stricter. One routed call of a prompt leaves the unbiased estimate as it is; it takes two. So where answers
    have little spread (first-token logprobs), few prompts differ and t has no sense of it: p is never under the chance
    of so few pairs of routed calls, as answers without any spread would have it (binomial, by convolution over
    prompts). It relies on other models being no nearer to the candidate than the nearest control.

    Examples
    --------
    Twenty prompts, ten samples on each side; the control is three standard deviations away:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> def gram(a, b):
    ...     x = np.r_[rng.normal(a, 1, 10), rng.normal(b, 1, 10)]
    ...     return np.exp(-np.subtract.outer(x, x) ** 2), 10
    >>> control = [gram(3, 0) for _ in range(20)]
    >>> same = equivalence([gram(0, 0) for _ in range(20)], [control], alpha=0.05)
    >>> same.p_value < 0.05, same.share < 0.3
    (True, True)
    >>> equivalence([gram(1.5, 0) for _ in range(20)], [control], alpha=0.05).p_value > 0.5
    True
    """
    near = _unbiased(grams)
    far = [d for d in map(_unbiased, controls) if len(d)]
    if not far or min(len(near), *map(len, far)) < fewest:
        return Equivalence(NAN, NAN)
    shares = np.r_[routed, np.linspace(1.0, 0.01, 100)]
    calls = np.array([n for gram, n in grams if min(n, len(gram) - n) >= 2])
    p = np.max([np.maximum(_closer(near, d, shares), _unmet(near, calls, d, shares)) for d in far], axis=0)
    excluded = np.cumprod(reaches(p[1:], alpha)).astype(bool)  # from all calls downwards, as far as it goes
    return Equivalence(float(p[0]), float(shares[1:][excluded][-1]) if excluded.any() else 1.0)


def _unbiased(grams: Grams) -> Floats:
    """Unbiased squared MMD of each prompt with two samples or more on both sides; below 0 by chance if they are one."""
    out = []
    for gram, n in grams:
        m = len(gram) - n
        if min(n, m) >= 2:
            a, b = gram[:n, :n], gram[n:, n:]
            within = (a.sum() - np.trace(a)) / (n * (n - 1)) + (b.sum() - np.trace(b)) / (m * (m - 1))
            out.append(float(within - 2.0 * gram[:n, n:].mean()))
    return np.array(out)


def _closer(near: Floats, far: Floats, shares: Floats) -> Floats:
    """p against mean(near) >= share^2 * mean(far) for each share, by Welch's t over prompts."""
    gap = near.mean() - shares**2 * far.mean()
    error = np.sqrt(near.var(ddof=1) / len(near) + shares**4 * far.var(ddof=1) / len(far))
    with np.errstate(divide="ignore", invalid="ignore"):  # answers without any spread
        t = np.where(error > 1e-12, gap / error, np.where(gap < -1e-12, -np.inf, np.inf))
    out: Floats = student.cdf(t, min(len(near), len(far)) - 1)
    return out


def _unmet(near: Floats, calls: NDArray[np.int64], far: Floats, shares: Floats) -> Floats:
    """Chance of so few pairs of routed calls to one prompt, for each share, if each pair adds what another model does.

    ``near`` (p,) in units of the mean of ``far`` is the share of pairs of ``calls`` (p,) that were both routed.
    """
    pairs = calls * (calls - 1) // 2
    met = int(max(0.0, float((near * pairs).sum() / max(float(far.mean()), 1e-12)) + 1e-9))
    if met >= pairs.sum():
        return np.ones_like(shares)
    chance = np.eye(1, met + 1).repeat(len(shares), axis=0)  # of 0 to `met` pairs, over the prompts so far
    for n in calls:
        before, chance = chance, np.zeros_like(chance)
        for k in range(int(n) + 1):
            if (more := k * (k - 1) // 2) <= met:
                chance[:, more:] += binom.pmf(k, n, shares)[:, None] * before[:, : met + 1 - more]
    return np.asarray(chance.sum(1))


def nearer(distances: Floats, way: float = ROUTED, share: float = ROUTED, fewest: int = FEWEST) -> float:
    """Equivalence test of weights: on most raw prompts, is the suspect hardly on its way to any other model?

    Parameters
    ----------
    distances : (p, 1 + k, 2)
        By prompt and model, the suspect first, then k controls. ``[..., 0]`` is the Jensen-Shannon divergence of next
        tokens from the candidate's, mean over pairs of samples; ``[..., 1]`` that of samples of one and the same
        model, mean of the two. NaN where one of them was not asked twice.
    way : float
        The part of the way from the candidate to a control that is to be excluded, over 0 and at most 1.
    share : float
        The share of prompts on which it may be further, over 0 and under 1.
    fewest : int
        Prompts that every comparison needs at least.

    Returns
    -------
    float
        p-value under the null that on ``share`` of such prompts, or more, the suspect is at least ``way`` of the way
        from the candidate to some control. NaN without controls, or with too few prompts of one.

    Notes
    -----
    The root of the divergence is a metric (Endres and Schindelin 2003), so a part w of the way is w^2 of a divergence.
    Prompt by prompt the suspect's is held against w^2 of the control's, and the prompts on which it is not below are
    counted: a binomial tail, exact whatever the distances are, without any spread too, as those of a server that
    repeats itself. Noise between repeats only adds to a divergence (it is convex): it is left in the suspect's and
    taken off the controls', so it counts against the claim. Prompts are the replicates here: the claim is about these
    two models on such prompts, which must be a fair sample of them, and not about unrelated models. The null is that
    it holds for *some* control, so all have to be rejected (the largest p; Berger 1982: no correction is due).
    What lies nearer than that is not told from the same weights: another precision, or a tuning that hardly shows.

    Examples
    --------
    Twenty prompts, one control at 0.1; suspects at a fifth and at half of the way to it:

    >>> import numpy as np
    >>> near, half = (np.tile([[[w**2 * 0.1, 0.0], [0.1, 0.0]]], (20, 1, 1)) for w in (0.2, 0.5))
    >>> round(nearer(near), 4), nearer(half)
    (0.0008, 1.0)
    """
    suspect, found = distances[:, 0], []
    for control in np.moveaxis(distances[:, 1:], 1, 0):
        known = np.isfinite(suspect).all(1) & np.isfinite(control).all(1)
        if known.any():
            beyond = suspect[known, 0] >= way**2 * (control[known, 0] - control[known, 1])
            found.append(float(binom.cdf(beyond.sum(), len(beyond), share)) if len(beyond) >= fewest else NAN)
    return float(np.max(found)) if found else NAN
