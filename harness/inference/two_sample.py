"""Identity: do two endpoints answer from the same distribution? A permutation test within prompts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.float64]


@dataclass(frozen=True)
class TwoSample:
    """Result of `two_sample`.

    ``statistic`` is the mean over prompts of the squared maximum mean discrepancy, ``p_value`` exact for the
    permutations drawn, ``p_floor`` the smallest it could be, ``effect`` the tested sum of standardised discrepancies
    in null standard deviations.
    """

    statistic: float
    p_value: float
    p_floor: float
    effect: float
    prompts: int


def two_sample(grams: Sequence[tuple[Floats, int]], permutations: int, rng: np.random.Generator) -> TwoSample:
    """MMD two-sample test with labels permuted within each prompt (Gretton et al. 2012; Gao et al., ICLR 2025).

    Parameters
    ----------
    grams : per prompt the Gram matrix (n_a + n_b,) squared, first sample's rows first, and n_a.
    permutations : how many relabellings are drawn; p = (1 + those at least as far apart) / (1 + drawn). Where there
        are no more relabellings than that in all, every one is counted once instead.

    Notes
    -----
    Exact whatever the kernel and sample size: under the null the labels of one prompt's samples are exchangeable.
    Prompts are not replicates of one another here; the sample within the prompt is.
    """
    if not grams:
        return TwoSample(np.nan, np.nan, np.nan, np.nan, 0)
    sizes = [(gram.shape[0], n_a) for gram, n_a in grams]
    every = math.prod(math.comb(n, n_a) for n, n_a in sizes)
    exact = every <= permutations + 1
    columns = _every_labelling(sizes) if exact else (_drawn_labels(n, a, permutations, rng) for n, a in sizes)
    total = np.zeros(every if exact else permutations + 1)
    raw = 0.0
    for (gram, _), labels in zip(grams, columns, strict=True):
        discrepancy = _mmd(gram, labels)
        raw += float(discrepancy[0])
        total += _standardised(discrepancy)
    p = float((total >= total[0] - 1e-9).mean())  # the true labels, first, count as one of the relabellings
    spread = float(total[1:].std())
    effect = float((total[0] - total[1:].mean()) / spread) if spread > 1e-12 else 0.0
    floor = _exact_floor(sizes, every) if exact else 1.0 / len(total)
    return TwoSample(raw / len(grams), p, floor, effect, len(grams))


def _exact_floor(sizes: Sequence[tuple[int, int]], every: int) -> float:
    """Each prompt with samples of one size on both sides doubles the relabellings that change nothing."""
    return min(1.0, 2.0 ** sum(n == 2 * n_a for n, n_a in sizes) / every)


def _drawn_labels(n: int, n_a: int, draws: int, rng: np.random.Generator) -> Labels:
    """0/1 labels (draws + 1, n): the true ones, then random relabellings."""
    labels = np.zeros((draws + 1, n))
    labels[0, :n_a] = 1.0
    order = np.argpartition(rng.random((draws, n)), n_a - 1, axis=1)
    np.put_along_axis(labels[1:], order[:, :n_a], 1.0, axis=1)
    return labels


def _every_labelling(sizes: Sequence[tuple[int, int]]) -> list[Labels]:
    """For each prompt its labels in every joint relabelling of all prompts, the true one first."""
    own = []
    for n, n_a in sizes:
        chosen = np.array(list(itertools.combinations(range(n), n_a)))
        labels = np.zeros((len(chosen), n))
        np.put_along_axis(labels, chosen, 1.0, axis=1)
        own.append(labels)
    which = np.indices([len(o) for o in own]).reshape(len(own), -1)
    return [labels[at] for labels, at in zip(own, which, strict=True)]


def _standardised(discrepancy: Floats) -> Floats:
    """Each prompt in units of its own spread over relabellings, the true one included: one noisy prompt must not
    drown the rest, and the true labels must not be treated apart."""
    spread = discrepancy.std()
    out: Floats = (discrepancy - discrepancy.mean()) / spread if spread > 1e-12 else np.zeros_like(discrepancy)
    return out


def _mmd(gram: Floats, labels: Labels) -> Floats:
    """Biased squared MMD for each row of 0/1 labels, (r, n) -> (r,)."""
    a, b = labels, 1.0 - labels
    weights = a / a.sum(1, keepdims=True) - b / b.sum(1, keepdims=True)
    out: Floats = ((weights @ gram) * weights).sum(1)
    return out


def halves(gram: Floats) -> tuple[Floats, int]:
    """Samples of one endpoint as two: even against odd ones. The test must find these identical."""
    order = np.r_[np.arange(0, len(gram), 2), np.arange(1, len(gram), 2)]
    return gram[np.ix_(order, order)], (len(gram) + 1) // 2
