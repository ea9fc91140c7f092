"""Greedy answers, token by token: does a reader choose the tokens that a suspect chose at temperature 0?

At temperature 0 a model says its likeliest token. A reader with the same weights, given the same text before it, finds
the same token likeliest, but for rounding. Other weights, coarser ones, or another text before it (a system prompt) are
seen in tokens that the reader would not have chosen, and in how many nats it loses by them (the margin of Token-DiFR,
Karvonen et al. 2025, arXiv 2511.20621). What a server and its rounding lose anyway is seen in the candidate's own
answers under the same reader. It is shown beside the verdicts and decides none of them.

The reader splits the text into tokens by itself: that a suspect chose others that spell the same is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.inference.assessment import sign_changes
from harness.inference.liking import Readings
from harness.inference.pool import Model

Floats = NDArray[np.float64]
TOKENS, AGREED, LOST = range(3)  # of `Readings.chosen`
MOST = 9999  # changes of sign, where all of them would be more
Missing = Literal["", "no reader of its lineage", "no greedy answers", "not read"]


@dataclass(frozen=True)
class Greedy:
    """How far a suspect's answers at temperature 0 are from what a reader of the candidate's lineage would have chosen.

    ``agreement`` is the share of tokens that are the reader's likeliest, ``lost`` the mean over prompts of the nats a
    token by which they are less likely, each on the prompts that both have; of suspect, of candidate, and agreement of
    the controls (their median), which says what strangers reach. ``p`` is two-sided, of suspect and candidate alike,
    not under ``p_floor``. ``prompts`` and ``tokens`` are the suspect's. NaN where there is nothing; ``missing`` says
    why there are no numbers at all.
    """

    suspect: str
    candidate: str
    reader: str = ""
    agreement: float = np.nan
    agreement_candidate: float = np.nan
    agreement_controls: float = np.nan
    lost: float = np.nan
    lost_candidate: float = np.nan
    p: float = np.nan
    p_floor: float = np.nan
    prompts: int = 0
    tokens: int = 0
    missing: Missing = ""


def followings(found: Readings, models: Sequence[Model], seed: int) -> tuple[Greedy, ...]:
    """Every suspect with every candidate, in their order."""
    by = {role: [m for m in models if m.role == role] for role in ("suspect", "candidate", "control")}
    controls = [m.name for m in by["control"]]
    return tuple(_following(found, s, c, controls, seed) for s in by["suspect"] for c in by["candidate"])


def _following(found: Readings, suspect: Model, candidate: Model, controls: Sequence[str], seed: int) -> Greedy:
    out = Greedy(suspect.name, candidate.name)
    own = found.own(candidate)
    s, c = (found.models.index(m.name) for m in (suspect, candidate))
    if not own or found.greedy is None or found.chosen is None:
        return replace(out, missing="no greedy answers" if own else "no reader of its lineage")
    if not found.greedy[:, s].any():
        return replace(out, missing="no greedy answers")
    if not (known := np.isfinite(found.chosen[:, s][:, own, TOKENS])).any():
        return replace(out, missing="not read")
    both = known & np.isfinite(found.chosen[:, c][:, own, TOKENS])
    paired = bool(both.any())
    r = _closest(found.chosen[:, [s, c] if paired else [s]][:, :, own])
    at = (both if paired else known)[:, r]
    one = found.chosen[at][:, :, own[r]]
    out = replace(
        out,
        reader=found.readers[own[r]].name,
        agreement=agreement(one[:, s]),
        agreement_controls=_median([agreement(one[:, found.models.index(k)]) for k in controls]),
        lost=float(lost(one[:, s]).mean()),
        prompts=int(at.sum()),
        tokens=int(one[:, s, TOKENS].sum()),
    )
    if not paired:
        return out
    p, floor = sign_flips(lost(one[:, s]) - lost(one[:, c]), np.random.default_rng(seed))
    return replace(
        out, agreement_candidate=agreement(one[:, c]), lost_candidate=float(lost(one[:, c]).mean()), p=p, p_floor=floor
    )


def _closest(chosen: Floats) -> int:
    """The reader that loses the least, of (p, m, r, 3): it takes all models alike, so that a test of them is exact."""
    total = np.nansum(chosen, axis=(0, 1))
    return int(np.nanargmin(np.where(total[:, TOKENS] > 0, total[:, LOST] / np.maximum(total[:, TOKENS], 1), np.inf)))


def agreement(answers: Floats) -> float:
    """Share of the tokens of some answers, (n, 3), that are the reader's likeliest; NaN without any."""
    tokens = np.nansum(answers[:, TOKENS])
    return float(np.nansum(answers[:, AGREED]) / tokens) if tokens else np.nan


def lost(answers: Floats) -> Floats:
    """Nats a token that each of some answers, (n, 3), loses."""
    out: Floats = answers[:, LOST] / answers[:, TOKENS]
    return out


def _median(values: Sequence[float]) -> float:
    known = [v for v in values if v == v]
    return float(np.median(known)) if known else np.nan


def sign_flips(differences: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Two-sided p-value of a mean difference over changes of sign (Fisher 1935), and the smallest it could be.

    Exact if two models are served alike, whatever a server's noise: then each prompt could as well have told them the
    other way round. Prompts without a difference say nothing.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> sign_flips(np.array([0.2, 0.1, 0.3, 0.0, 0.2]), rng), sign_flips(np.zeros(9), rng)
    ((0.125, 0.125), (1.0, 1.0))
    >>> sign_flips(rng.normal(0.1, 0.05, 40), rng)
    (0.0001, 0.0001)
    """
    told = differences[differences != 0]
    n, signs = len(told), sign_changes(len(told), rng, MOST)
    p = float((np.abs(signs @ told) >= abs(told.sum()) - 1e-12).mean())
    return p, min(1.0, 2 / 2**n) if 2**n <= MOST else 1 / (MOST + 1)
