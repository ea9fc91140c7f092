"""Change: does an endpoint still answer as it did when its baseline was stored?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.inference.identity import TwoSample, halves, two_sample

Floats = NDArray[np.float64]
Grams = Sequence[tuple[Floats, int]]
State = Literal["same", "differs", "cannot tell"]
NAN = float("nan")


@dataclass(frozen=True)
class Drift:
    """One channel, baseline against now.

    ``statistic`` is the mean squared discrepancy (MMD), ``p`` its exact permutation p-value, ``floor`` the smallest p
    possible. ``noise`` and ``noise_p`` are the same of one half of the baseline against the other: what two looks at
    one model differ by; NaN with fewer than four samples a prompt. Halves are smaller, so ``noise`` is biased upwards.
    """

    channel: str
    prompts: int
    statistic: float
    p: float
    floor: float
    noise: float = NAN
    noise_p: float = NAN
    note: str = ""


@dataclass(frozen=True)
class Change:
    """What is found of one endpoint. ``p_value`` is corrected for all channels and endpoints of the run."""

    endpoint: str
    state: State
    sentence: str
    p_value: float
    alpha: float
    channels: tuple[Drift, ...]
    notes: tuple[str, ...] = ()


def drift(
    channel: str, grams: Grams, alpha: float, permutations: int, rng: np.random.Generator, aside: str = ""
) -> Drift:
    """Test one channel; ``grams`` are per prompt the kernel of baseline samples, then new ones, and how many are old.

    ``aside`` says why a channel is shown and decides nothing.

    A baseline whose own halves differ at a tenth of ``alpha`` was not drawn from one distribution: the p-value would
    mean nothing, so the channel abstains.
    """
    found = two_sample(grams, permutations, rng)
    own = [halves(gram[:n, :n]) for gram, n in grams if n >= 4]
    noise = two_sample(own, permutations, rng) if own else TwoSample(NAN, NAN, NAN, NAN, 0)
    note = aside
    if not aside and noise.p_value <= alpha / 10:
        note = f"abstains: the baseline's own halves differ (p = {noise.p_value:.2g})"
    return Drift(
        channel, found.prompts, found.statistic, found.p_value, found.p_floor, noise.statistic, noise.p_value, note
    )


def judge_changes(found: Mapping[str, Sequence[Drift]], alpha: float) -> list[Change]:
    """Judge all endpoints of a run; if nothing changed, `differs` comes up in at most ``alpha`` of runs.

    Bonferroni over every channel of every endpoint that may decide. The samples of a prompt must be
    exchangeable between baseline and now if nothing changed; endpoints that repeat answers for the same seed make
    false alarms rarer. Nothing is claimed about how large a change must be to be found.
    """
    looks = sum(not d.note for drifts in found.values() for d in drifts)
    return [_judge(name, tuple(drifts), looks, alpha) for name, drifts in found.items()]


def _judge(endpoint: str, drifts: tuple[Drift, ...], looks: int, alpha: float) -> Change:
    speaking = [d for d in drifts if not d.note]
    blank = Change(
        endpoint, "cannot tell", "", NAN, alpha, drifts, tuple(f"{d.channel} {d.note}" for d in drifts if d.note)
    )
    if not drifts:
        return replace(blank, sentence="no prompt has two answers on both sides at a temperature above 0")
    if not speaking:
        return replace(blank, sentence="no channel may decide")
    p = min(1.0, looks * min(d.p for d in speaking))
    if p <= alpha:
        names = ", ".join(d.channel for d in speaking if looks * d.p <= alpha)
        return replace(blank, state="differs", p_value=p, sentence=f"{names} tells the new answers from the baseline")
    least = min(1.0, looks * min(d.floor for d in speaking))
    if least > alpha:
        too_few = f"so few samples cannot give a p below {least:.2g}; ask more samples or prompts"
        return replace(blank, p_value=p, sentence=too_few)
    return replace(blank, state="same", p_value=p, sentence="the new answers cannot be told from the baseline")
