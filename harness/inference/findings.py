"""What inference hands to the report: findings, with the evidence of every channel behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.inference.pool import Pool

Verdict = Literal[
    "SAME-LIKE",
    "DIFFERENT-LIKE",
    "KIN-LIKE",
    "KIN-OR-TAUGHT",
    "TAUGHT-LIKE",
    "UNRELATED-LIKE",
    "INCONCLUSIVE",
]
NAN = float("nan")


GAPS = "abstains for its gaps:"  # how the note of a channel begins that too few answers can be compared in


@dataclass(frozen=True)
class ChannelEvidence:
    """What one channel says about one pair and question.

    ``raw`` is the mean similarity of the pair in the channel's unit and (``control_low``, ``control_high``) the range
    of the pair's peers: every other pair of unrelated models in the pool. ``effect`` is the standardised excess with
    its 95 % interval (bootstrap over prompts), ``p`` the channel's own p-value. NaN where there is none.
    """

    channel: str
    sees: str
    unit: str
    prompts: int
    coverage: float
    raw: float = NAN
    control_low: float = NAN
    control_high: float = NAN
    effect: float = NAN
    effect_low: float = NAN
    effect_high: float = NAN
    p: float = NAN
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One verdict: a statement about behaviour with an error rate, never about intent.

    ``p_value`` is exact under the null of the question, ``p_floor`` the smallest it could have been, ``p_adjusted``
    after Holm over all findings of the campaign. ``p_candidate`` is the rank on the candidate's own row, hub or not,
    which cannot be under 1 / (control lineages + 1). ``log10_lr`` is NaN where no calibration fits; it is bounded to
    [``log10_lr_least``, ``log10_lr_most``].
    """

    question: str
    suspect: str
    candidate: str
    verdict: Verdict
    sentence: str
    p_value: float
    p_floor: float
    p_adjusted: float
    effect: float
    effect_low: float
    effect_high: float
    control_lineages: tuple[str, ...]
    prompts: int
    coverage: float
    p_candidate: float = NAN
    log10_lr: float = NAN
    log10_lr_low: float = NAN
    log10_lr_high: float = NAN
    log10_lr_least: float = NAN
    log10_lr_most: float = NAN
    lr_words: str = ""
    limits: tuple[str, ...] = ()
    evidence: tuple[ChannelEvidence, ...] = ()


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction of p-values for multiple tests (Holm 1979).

    Parameters
    ----------
    p_values : list of n floats
        NaN, where there is no p-value, stays NaN and does not count as a test.

    Returns
    -------
    list of n floats
        Adjusted p-values in the same order, at most 1.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, float("nan")])
    [0.03, 0.06, 0.06, nan]
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p == p)
    out = [NAN] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p))
        out[i] = running
    return out


@dataclass(frozen=True)
class Settings:
    """How findings are decided; see `harness.config.Analysis`."""

    alpha: float
    min_coverage: float
    permutations: int
    bootstrap: int
    seed: int


def blank_finding(question: str, pool: Pool) -> Finding:
    """Nothing found yet: the start of every finding."""
    return Finding(
        question=question,
        suspect=pool.suspect,
        candidate=pool.candidate,
        verdict="INCONCLUSIVE",
        sentence="",
        p_value=NAN,
        p_floor=NAN,
        p_adjusted=NAN,
        effect=NAN,
        effect_low=NAN,
        effect_high=NAN,
        control_lineages=pool.lineages,
        prompts=0,
        coverage=NAN,
    )
