"""Calibrated probabilities from scores of one or many answers: what attribution prints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BLOCKS = (1, 2, 4, 8, 16, 32)  # answers of one model that are judged together


@dataclass(frozen=True)
class Softmax:
    """Probability of each class from the mean score of n answers: softmax(scale * n ** power * mean).

    Never surer than what it was fitted on: more answers than the largest blocks held (``most``) count as so many, and
    one block more than the ``blocks`` of that size is taken to have been anybody's (Laplace's rule with one prior
    observation spread over the classes).
    """

    scale: float = 1.0
    power: float = 0.5
    most: int = BLOCKS[-1]
    blocks: float = np.inf

    def __call__(self, mean_scores: Floats, n: int) -> Floats:
        """(k, classes) -> probabilities (k, classes)."""
        out = self._plain(mean_scores, n)
        if np.isfinite(self.blocks):
            out = (out * self.blocks + 1.0 / out.shape[1]) / (self.blocks + 1.0)
        return out

    def _plain(self, mean_scores: Floats, n: int) -> Floats:
        z = self.scale * min(n, self.most) ** self.power * mean_scores
        z = np.exp(z - z.max(1, keepdims=True))
        out: Floats = z / z.sum(1, keepdims=True)
        return out

    @classmethod
    def fit(cls, scores: Floats, y: Ints, rng: np.random.Generator) -> Softmax:
        """Least log loss over blocks of 1 to 32 answers of one model, drawn from held-out scores (n, classes)."""
        blocks = [b for n in BLOCKS if (b := _blocks(scores, y, n, rng)) is not None]

        def loss(at: Floats) -> float:
            softmax = cls(float(np.exp(at[0])), float(at[1]))
            picked = [softmax(m, n)[np.arange(len(k)), k] for m, k, n in blocks]
            return float(np.mean([-np.log(np.maximum(p, 1e-12)).mean() for p in picked]))

        found = minimize(loss, np.array([1.0, 0.7]), method="Nelder-Mead", bounds=[(-3.0, 6.0), (0.0, 1.0)])
        most = max(n for _, _, n in blocks)
        return cls(float(np.exp(found.x[0])), float(found.x[1]), most, max(len(k) for _, k, n in blocks if n == most))


def _blocks(scores: Floats, y: Ints, n: int, rng: np.random.Generator) -> tuple[Floats, Ints, int] | None:
    """Mean scores of disjoint blocks of n answers of one class, and their classes."""
    means, of = [], []
    for k in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == k))
        for at in range(0, len(rows) - n + 1, n):
            means.append(scores[rows[at : at + n]].mean(0))
            of.append(k)
    return (np.array(means), np.array(of, dtype=np.int64), n) if means else None
