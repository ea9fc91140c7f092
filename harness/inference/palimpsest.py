"""Palimpsest test: does a suspect find texts the likelier the later they came in somebody's training?

Who trained a model knows in which order its texts came. A model trained further on them, or made from that one,
remembers the last ones best; one that never saw them has no reason to. If the order was drawn at random, as training
data are shuffled, every other order was as likely, so that permuting it gives an exact p-value, without any control
model. Source: palimpsestic membership inference (Kuditipudi et al. 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
FEWEST = 10  # texts, with fewer of which there is nothing to order
BLOCK = 500  # permutations at once


@dataclass(frozen=True)
class Order:
    """``rho``, Spearman's rank correlation of likelihood with position, ``p`` of so large a one in a random order,
    ``p_floor`` the smallest it could have been, over so many ``texts``."""

    rho: float
    p: float
    p_floor: float
    texts: int


def order_test(suspect: Floats, beside: Floats, positions: Floats, rounds: int, rng: np.random.Generator) -> Order:
    """Rank correlation of what a suspect finds likely, beyond another model, with the order of training; exact p.

    Parameters
    ----------
    suspect, beside : (n,) nats a byte of each text
        Of the suspect, and the mean of models that never saw the texts: what is plain is likely to all of them, and
        that is taken out. NaN where a text was not read.
    positions : (n,) where each text came in training
        Drawn at random, else the p-value is not what it says.
    rounds : int
        Permutations.

    Raises
    ------
    ValueError
        With fewer than `FEWEST` texts.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> plain, positions = rng.normal(-1, 0.3, 200), rng.permutation(200).astype(float)
    >>> reads = plain + rng.normal(0, 0.05, 200)
    >>> order_test(reads + 0.0004 * positions, plain, positions, 999, rng).p
    0.001
    >>> order_test(reads, plain, positions, 999, rng).p > 0.05
    True
    """
    known = np.isfinite(suspect) & np.isfinite(beside) & np.isfinite(positions)
    n = int(known.sum())
    if n < FEWEST:
        raise ValueError(f"{n} texts were read by both; {FEWEST} are the fewest that have an order")
    ranks = rankdata((suspect - beside)[known])
    places = rankdata(positions[known])
    ranks, places = ranks - ranks.mean(), places - places.mean()
    size = float(np.sqrt((ranks @ ranks) * (places @ places)))
    if size == 0:
        return Order(0.0, 1.0, 1 / (rounds + 1), n)
    found = float(ranks @ places)
    beyond = 0
    for at in range(0, rounds, BLOCK):
        orders = rng.permuted(np.tile(places, (min(BLOCK, rounds - at), 1)), axis=1)
        beyond += int((orders @ ranks >= found - 1e-9 * size).sum())
    return Order(found / size, (1 + beyond) / (rounds + 1), 1 / (rounds + 1), n)
