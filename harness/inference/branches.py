"""Tree of many models by average linkage, with bootstrap support of its branches; and groups of models that are linked.

Both only show what the pairs say. A tree always groups, so a branch means nothing without its support, and support by
resampled prompts says how steady a branch is, not that the models on it are kin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
COLUMNS = 4_096  # pairs whose means are worked out at once


@dataclass(frozen=True)
class Branch:
    """One join of a tree, by index of its models: ``height`` is the largest score less the mean score across the join,
    ``support`` the share of resampled prompts in which exactly these models form a branch."""

    members: tuple[int, ...]
    height: float
    support: float


@dataclass(frozen=True)
class Group:
    """Models linked by a chain of pairs that stand, by index: ``links`` of its ``most`` pairs do.

    ``support`` is the share of resampled prompts in which the chain holds at the same score.
    """

    members: tuple[int, ...]
    links: int
    most: int
    support: float


def upper(values: NDArray[np.floating]) -> Floats:
    """The pairs of symmetric values (..., n, n), each once, (..., n (n - 1) / 2): half of the room and of the work."""
    rows, columns = np.triu_indices(values.shape[-1], 1)
    return np.asarray(values[..., rows, columns], dtype=np.float64)


def square(scores: Floats, at: Ints, n: int) -> Floats:
    """Scores (..., q) of the pairs ``at`` (q, 2) as symmetric matrices (..., n, n), NaN where there is no pair."""
    out = np.full((*scores.shape[:-1], n, n), np.nan)
    out[..., at[:, 0], at[:, 1]] = out[..., at[:, 1], at[:, 0]] = scores
    return out


def drawn(prompts: int, rounds: int, rng: np.random.Generator) -> Floats:
    """How often each prompt is in a bootstrap sample, (rounds, prompts)."""
    return rng.multinomial(prompts, np.full(prompts, 1.0 / prompts), size=rounds).astype(np.float64)


def weighted_means(series: Floats, weights: Floats) -> Floats:
    """Means of series (p, q) over weighted prompts (rounds, p), without NaN: (rounds, q); NaN where nothing is left."""
    out = np.empty((len(weights), series.shape[1]))
    for at in range(0, series.shape[1], COLUMNS):  # copies of all would fill the memory
        part = series[:, at : at + COLUMNS]
        seen = np.isfinite(part)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[:, at : at + COLUMNS] = (weights @ np.where(seen, part, 0.0)) / (weights @ seen)
    return out


def links_of(matrix: Floats, *, ordered: bool = False) -> Floats:
    """Average linkage of a symmetric matrix of scores (n, n), larger is closer: a SciPy linkage matrix (n - 1, 4).

    Distances are the largest score less each score. Scores that are missing count as the least one. If ``ordered``,
    neighbours among the leaves are as close as the tree lets them be.
    """
    score = np.where(np.isfinite(matrix), matrix, np.nanmin(matrix))
    distance = np.nanmax(matrix) - (score + score.T) / 2
    np.fill_diagonal(distance, 0.0)
    out: Floats = linkage(squareform(distance, checks=False), "average", optimal_ordering=ordered)
    return out


def branches(matrix: Floats, resampled: Sequence[Floats]) -> tuple[Branch, ...]:
    """Bootstrap support of the branches of an average-linkage tree (Felsenstein 1985).

    Parameters
    ----------
    matrix : (n, n) symmetric scores, larger is closer
        NaN on the diagonal.
    resampled : sequence of (n, n)
        The same on resampled prompts.

    Returns
    -------
    tuple of Branch
        In the order of the joins, the last of which holds all models; none for fewer than three models.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([[np.nan, 3.0, 0.1, 0.0], [3.0, np.nan, 0.0, 0.1], [0.1, 0.0, np.nan, 0.2],
    ...     [0.0, 0.1, 0.2, np.nan]])
    >>> [(b.members, b.support) for b in branches(scores, [scores, scores])]
    [((0, 1), 1.0), ((2, 3), 1.0), ((0, 1, 2, 3), 1.0)]
    """
    n = len(matrix)
    if n < 3 or not np.isfinite(matrix).any():
        return ()
    links = links_of(matrix)
    seen = Counter(clade for m in resampled if np.isfinite(m).any() for clade in _clades(links_of(m), n))
    rounds = max(len(resampled), 1)
    return tuple(
        Branch(tuple(i for i in range(n) if clade >> i & 1), float(height), seen[clade] / rounds)
        for clade, height in zip(_clades(links, n), links[:, 2], strict=True)
    )


def _clades(links: Floats, n: int) -> list[int]:
    """The models under each join, as the bits of a number."""
    under = [1 << i for i in range(n)]
    for a, b in links[:, :2].astype(int).tolist():
        under.append(under[a] | under[b])
    return under[n:]


def groups(n: int, linked: Ints, as_close: NDArray[np.bool_], pairs: Ints) -> tuple[Group, ...]:
    """Groups of models by chains of linked pairs (connected components), the largest first.

    Parameters
    ----------
    n : int
        Models.
    linked : (l, 2) int
        Pairs that stand.
    as_close : (rounds, q) bool
        Which pairs are as close as those, on resampled prompts.
    pairs : (q, 2) int
        Those pairs.

    Returns
    -------
    tuple of Group

    Examples
    --------
    Models 0, 1 and 2 form a chain that held once in two:

    >>> pairs = np.array([[0, 1], [1, 2], [0, 2], [2, 3]])
    >>> groups(4, pairs[:2], np.array([[1, 1, 0, 0], [1, 0, 0, 0]], dtype=bool), pairs)
    (Group(members=(0, 1, 2), links=2, most=3, support=0.5),)
    """
    label = _components(n, linked)
    out = []
    for k in np.unique(label):
        members = np.flatnonzero(label == k)
        size = len(members)
        if size < 2:
            continue
        inside = np.isin(pairs, members).all(1)
        own = np.searchsorted(members, pairs[inside])
        held = [len(np.unique(_components(size, own[row]))) == 1 for row in as_close[:, inside]]
        links = int(np.isin(linked, members).all(1).sum())
        support = float(np.mean(held)) if held else float("nan")
        out.append(Group(tuple(map(int, members)), links, size * (size - 1) // 2, support))
    return tuple(sorted(out, key=lambda g: (-len(g.members), g.members)))


def _components(n: int, linked: Ints) -> NDArray[np.int32]:
    ones = np.ones(len(linked))
    label: NDArray[np.int32] = connected_components(coo_array((ones, (linked[:, 0], linked[:, 1])), shape=(n, n)))[1]
    return label
