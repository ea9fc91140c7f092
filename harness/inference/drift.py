"""Drift of an endpoint: two-sample tests of its answers now against a stored baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.inference.excess import reaches
from harness.inference.findings import Part
from harness.inference.identity import TwoSample, halves, two_sample, two_sample_path
from harness.inference.stopping import crossed, spent

Floats = NDArray[np.float64]
Grams = Sequence[tuple[Floats, int]]
State = Literal["same", "differs", "cannot tell"]
ChangeGround = Literal[
    "told apart",
    "not told apart",
    "too few samples",
    "no two samples",
    "no channel may decide",
    "too few answered again",
]
NAN = float("nan")


@dataclass(frozen=True)
class Drift:
    """Result of `drift`: one channel, baseline against now.

    ``statistic`` is the mean squared discrepancy (MMD), ``p`` its exact permutation p-value, ``floor`` the smallest p
    possible. ``noise`` and ``noise_p`` are the same of one half of the baseline against the other: how much two looks
    at one model differ; NaN with fewer than four samples a prompt. Halves are smaller, so ``noise`` is biased upwards.
    """

    channel: str
    prompts: int
    statistic: float
    p: float
    floor: float
    noise: float = NAN
    noise_p: float = NAN
    part: Part = "counted"


@dataclass(frozen=True)
class Stages:
    """The stages of a run of `monitor`: ``ends`` of those so far, in prompts of a channel; how many there are in all;
    and ``share``, what of alpha one channel of one endpoint may spend. ``seed`` draws the relabellings."""

    ends: tuple[int, ...]
    of: int
    share: float
    seed: int


@dataclass(frozen=True)
class News:
    """Something that a server said only before, or only now, in one field of its replies."""

    field: str
    now: tuple[str, ...]
    before: tuple[str, ...]


@dataclass(frozen=True)
class Baseline:
    """What an endpoint was compared with: ``store`` is where it is kept, relative to the config; ``first`` and ``last``
    when its answers came (ISO 8601, empty if not known); how many answers and prompts; and the models that said so."""

    store: str
    first: str
    last: str
    answers: int
    prompts: int
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """State of one endpoint: same, differs or cannot tell.

    ``ground`` is what that rests on, ``decisive`` the channels that told the answers apart, ``bound`` the smallest p
    possible or the share that was answered again, where that is the ground. ``p_value`` is corrected for all channels
    and endpoints of the run, and for all stages so far. ``calls`` of ``planned`` ones were answered when it was judged.
    ``news`` is what the server says of itself for the first time, no part of the test. ``against`` is the baseline.
    """

    endpoint: str
    state: State
    ground: ChangeGround
    p_value: float
    alpha: float
    channels: tuple[Drift, ...]
    decisive: tuple[str, ...] = ()
    bound: float = NAN
    news: tuple[News, ...] = ()
    calls: int = 0
    planned: int = 0
    against: Baseline | None = None


def drift(
    channel: str,
    grams: Grams,
    alpha: float,
    permutations: int,
    rng: np.random.Generator,
    reported: bool = False,
    stages: Stages | None = None,
) -> Drift:
    """Two-sample test of one channel: new answers of an endpoint against its baseline.

    Parameters
    ----------
    channel : str
        Name of the channel.
    grams : sequence of ((n_old + n_new, n_old + n_new) Gram matrix, n_old), one a prompt
        Rows of the baseline first.
    alpha : float
        Significance level of the run.
    permutations : int
        Relabellings to draw, as in `two_sample`.
    rng : numpy.random.Generator
    reported : bool
        Whether this channel is only shown and does not decide.
    stages : Stages, optional
        Where the run stands if it is judged as it goes: p is then adjusted for all stages so far (`crossed`), at most
        ``stages.share`` if a difference is found and above ``alpha`` if not.

    Returns
    -------
    Drift

    See Also
    --------
    judge_changes : The verdict over all channels and endpoints of a run.
    harness.inference.identity.two_sample : The test.

    Notes
    -----
    If the two halves of the baseline differ at a tenth of ``alpha``, it was not drawn from one distribution and the
    p-value would mean nothing: the channel abstains.

    Examples
    --------
    Eight prompts, five old and five new samples each; the new ones have moved:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> def kernel(x):
    ...     return np.exp(-np.subtract.outer(x, x) ** 2)
    >>> grams = [(kernel(np.r_[rng.normal(0, 1, 5), rng.normal(3, 1, 5)]), 5) for _ in range(8)]
    >>> found = drift("text", grams, alpha=0.01, permutations=999, rng=rng)
    >>> found.p, found.prompts
    (0.001, 8)
    >>> judge_changes({"my-endpoint": [found]}, alpha=0.01)[0].state
    'differs'
    """
    found = two_sample(grams, permutations, rng)
    p = found.p_value if stages is None else _staged_p(grams, alpha, permutations, stages)
    own = [halves(gram[:n, :n]) for gram, n in grams if n >= 4]
    noise = two_sample(own, permutations, rng) if own else TwoSample(NAN, NAN, NAN, NAN, 0)
    part: Part = "reported" if reported else "abstains" if noise.p_value <= alpha / 10 else "counted"
    return Drift(channel, found.prompts, found.statistic, p, found.p_floor, noise.statistic, noise.p_value, part)


def _staged_p(grams: Grams, alpha: float, permutations: int, stages: Stages) -> float:
    paths = two_sample_path(grams, stages.ends, permutations, stages.seed)
    at, p = crossed(paths, spent(stages.share, stages.of))
    n = permutations + 1
    return p if at is not None else max(p, (int(alpha * n) + 1) / n)


def judge_changes(found: Mapping[str, Sequence[Drift]], alpha: float) -> list[Change]:
    """Judge all endpoints of a run: same, differs or cannot tell, corrected for every look (Bonferroni).

    Parameters
    ----------
    found : mapping from endpoint to its channels
    alpha : float
        If nothing changed, at most this share of runs says `differs` of any endpoint.

    Returns
    -------
    list of Change
        In the order of ``found``.

    Notes
    -----
    Corrected over every channel of every endpoint that may decide. If nothing changed, the samples of a prompt must
    be exchangeable between baseline and now; endpoints that repeat answers for the same seed make false alarms rarer.
    Nothing is claimed about how large a change must be to be found.

    Examples
    --------
    Two endpoints, so each p-value counts twice:

    >>> a = Drift("text", prompts=8, statistic=0.9, p=0.001, floor=0.001)
    >>> b = Drift("text", prompts=8, statistic=0.1, p=0.4, floor=0.001)
    >>> [(c.endpoint, c.state, c.p_value) for c in judge_changes({"a": [a], "b": [b]}, alpha=0.01)]
    [('a', 'differs', 0.002), ('b', 'same', 0.8)]
    """
    looks = sum(d.part == "counted" for drifts in found.values() for d in drifts)
    return [_judge(name, tuple(drifts), looks, alpha) for name, drifts in found.items()]


def _judge(endpoint: str, drifts: tuple[Drift, ...], looks: int, alpha: float) -> Change:
    speaking = [d for d in drifts if d.part == "counted"]
    blank = Change(endpoint, "cannot tell", "no two samples", NAN, alpha, drifts)
    if not drifts:
        return blank
    if not speaking:
        return replace(blank, ground="no channel may decide")
    p = min(1.0, looks * min(d.p for d in speaking))
    if reaches(p, alpha):
        names = tuple(d.channel for d in speaking if reaches(looks * d.p, alpha))
        return replace(blank, state="differs", ground="told apart", p_value=p, decisive=names)
    least = min(1.0, looks * min(d.floor for d in speaking))
    if not reaches(least, alpha):
        return replace(blank, ground="too few samples", p_value=p, bound=least)
    return replace(blank, state="same", ground="not told apart", p_value=p)
