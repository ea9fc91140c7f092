"""One nuisance factor of a pool, taken out of what channels that see weights say of it.

Models that think before they answer agree with one another in what they rate, and with the factor in, strangers that
both think are called kin several times as often (docs/statistics.md; `python -m benchmarks.by_relation`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.inference.excess import TINY, excess_of
from harness.records import Sees

Floats = NDArray[np.float64]

LEAST_MODELS = 8  # in a pool of fewer a factor has about as many numbers as there are pairs to tell it from
RIDGE = 0.25  # of the root mean square excess: a pool of ten cannot tell a smaller factor from noise
NUMBERS = 2_000_000  # of all matrices that are fitted at once
STEPS, DAMPING = 40, 0.5  # of the alternating fit of a factor; undamped it swings between two answers


def excess_in(residuals: Floats, sees: Sees) -> Floats:
    """As `excess_of`, as a channel that sees this is judged: less one factor of the pool where it sees weights."""
    return without_factor(excess_of(residuals)) if sees == "weights" else excess_of(residuals)


def excess_of_first(residuals: Floats, sees: Sees) -> float:
    """As `excess_in`, of the first two models of a pool alone, which is far less work where there are many pools."""
    matrix = excess_of(residuals)
    return _left(matrix, np.array([0]), np.array([1]))[0] if sees == "weights" else float(matrix[0, 1])


def without_factor(matrix: Floats) -> Floats:
    """Excess (n, n) less one factor that many pairs of the pool share, each pair predicted without itself.

    What models share besides weights (both think first, both are large) moves them along one axis in what they answer,
    and makes strangers on one side of it alike. The factor is u u' or -u u', a rank-1 approximation of the excess
    matrix off its diagonal; the entry of a pair is predicted from a fit that leaves it out, so what two models have
    alone cannot be taken out of them.

    Parameters
    ----------
    matrix : (n, n) symmetric excess
        NaN on the diagonal. Returned as it is with fewer than `LEAST_MODELS` models, or with NaN elsewhere.

    Returns
    -------
    (n, n) excess less the prediction

    See Also
    --------
    harness.inference.excess.excess : What goes in.
    harness.inference.excess.max_null_p : Exact also of what comes out.

    Notes
    -----
    Least squares by alternating steps with a ridge of `RIDGE` root mean squares. Nothing looks at which
    pair is the accused one: renaming the models renames the result and does nothing else, so ranks stay exact.

    Examples
    --------
    Models 0 to 4 think and models 5 to 9 do not; besides, models 0 and 5 are kin:

    >>> import numpy as np
    >>> from harness.inference.excess import max_null_p
    >>> side = np.repeat([1.0, -1.0], 5)
    >>> matrix = np.outer(side, side)
    >>> matrix[0, 5] = matrix[5, 0] = 1.0
    >>> np.fill_diagonal(matrix, np.nan)
    >>> left = without_factor(matrix)
    >>> round(max_null_p(matrix, matrix[0, 5]), 2), round(max_null_p(left, left[0, 5]), 2)
    (0.47, 0.02)
    """
    n = len(matrix)
    rows, columns = np.triu_indices(n, 1)
    out = np.full((n, n), np.nan)
    out[rows, columns] = out[columns, rows] = _left(matrix, rows, columns)
    return out if np.isfinite(out[rows, columns]).all() else matrix


def _left(matrix: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Floats:
    """What is left of some pairs (q,) when the factor is taken out, each predicted from a fit without it."""
    n = len(matrix)
    upper = np.triu_indices(n, 1)
    pairs = matrix[upper]
    size = float(np.sqrt(np.mean(pairs**2))) if len(pairs) else 0.0
    if n < LEAST_MODELS or not np.isfinite(pairs).all() or size <= TINY:
        return np.asarray(matrix[rows, columns])
    hollow = np.where(np.eye(n, dtype=bool), 0.0, matrix) / size
    every = 1.0 - np.eye(n)
    sign, start = min((_rank_one(hollow, every, s) for s in (1.0, -1.0)), key=lambda f: _loss(hollow, every, *f))
    out: Floats = np.array(matrix[rows, columns])
    step = max(1, NUMBERS // n**2)
    for part in (slice(i, i + step) for i in range(0, len(rows), step)):  # each has a copy of the matrix of its own
        r, c = rows[part], columns[part]
        at, kept = np.arange(len(r)), np.repeat(every[None], len(r), axis=0)
        kept[at, r, c] = kept[at, c, r] = 0.0
        u = _alternate(kept * hollow, kept, sign, np.repeat(start[None], len(r), axis=0))
        out[part] -= size * sign * u[at, r] * u[at, c]
    return out


def _rank_one(hollow: Floats, kept: Floats, sign: float) -> tuple[float, Floats]:
    """The factor of one sign that fits all pairs of a hollow matrix, from its leading eigenvector on."""
    value, vector = np.linalg.eigh(sign * hollow)
    start = vector[:, -1] * np.sqrt(max(float(value[-1]), 0.0))
    return sign, _alternate((kept * hollow)[None], kept[None], sign, start[None])[0]


def _alternate(values: Floats, kept: Floats, sign: float, u: Floats) -> Floats:
    """Alternating least squares of a symmetric factor on many masked copies of a matrix, (t, n, n) and (t, n)."""
    for _ in range(STEPS):
        fitted = sign * np.einsum("tab,tb->ta", values, u) / (np.einsum("tab,tb->ta", kept, u**2) + RIDGE)
        u = (1.0 - DAMPING) * u + DAMPING * fitted
    return u


def _loss(hollow: Floats, kept: Floats, sign: float, u: Floats) -> float:
    return float((kept * (hollow - sign * np.outer(u, u)) ** 2).sum())
