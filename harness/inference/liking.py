"""Liking: does a reader of the candidate's lineage find the suspect's answers likelier than it finds strangers'?

A reader is a model with open weights that was given everybody's answers (`harness.channels.likelihoods`). How likely it
finds an answer is mostly how plain the answer is, and that every reader finds alike. What readers of other lineages say
of the same answers is therefore taken out; what is left is ranked among the controls. It is shown and decides nothing:
see docs/readers.md for what it was measured to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.inference.pool import Model, pool_for
from harness.records import ControlRule

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
FEWEST = 4  # controls, with fewer of which nothing is ranked
SLOPE = 8  # models, with fewer of which readers are taken to rise and fall alike
Missing = Literal["", "no reader of its lineage", "no rival reader", "few controls", "not read"]


@dataclass(frozen=True)
class Readings:
    """What readers say of the answers of a campaign: ``values`` are nats a token, (p, m, r), NaN where none was read;
    ``given`` is how many answers there are to read. ``greedy`` are answers given at temperature 0, (p, m), and
    ``chosen`` what readers would have chosen in their place, (p, m, r, 3), as `harness.channels.likelihoods.chosen`."""

    models: tuple[str, ...]
    readers: tuple[Model, ...]
    prompts: tuple[str, ...]
    given: int
    values: Floats
    greedy: Flags | None = None
    chosen: Floats | None = None

    def own(self, candidate: Model) -> list[int]:
        """Readers of a candidate's lineage, by index."""
        return [r for r, m in enumerate(self.readers) if m.lineage == candidate.lineage]


@dataclass(frozen=True)
class Liking:
    """How much the readers of a candidate's lineage like a suspect, beyond what rival readers explain.

    ``effect`` is in standard deviations of the controls, ``p`` the exact rank among suspect and controls, not under
    ``p_floor``. ``effect_candidate`` and ``p_candidate`` are the same of the candidate's own answers, the positive
    control: readers that do not like those tell nothing. ``readers`` and ``rivals`` are their names, ``prompts`` counts
    the prompts with answers read, ``controls`` those ranked. ``missing`` is why there are no numbers, if so.
    """

    suspect: str
    candidate: str
    readers: tuple[str, ...]
    rivals: tuple[str, ...]
    effect: float = np.nan
    p: float = np.nan
    p_floor: float = np.nan
    effect_candidate: float = np.nan
    p_candidate: float = np.nan
    prompts: int = 0
    controls: int = 0
    missing: Missing = ""


def likings(readings: Readings, models: Sequence[Model], rule: ControlRule) -> tuple[Liking, ...]:
    """Every suspect with every candidate, in their order."""
    by = {role: [m for m in models if m.role == role] for role in ("suspect", "candidate")}
    return tuple(_liking(readings, s, c, models, rule) for s in by["suspect"] for c in by["candidate"])


def _liking(found: Readings, suspect: Model, candidate: Model, models: Sequence[Model], rule: ControlRule) -> Liking:
    own = found.own(candidate)
    rivals = [r for r in range(len(found.readers)) if r not in own]
    mine, others = (tuple(found.readers[r].name for r in some) for some in (own, rivals))
    out = Liking(suspect.name, candidate.name, mine, others)
    if not own or not rivals:
        return replace(out, missing="no rival reader" if own else "no reader of its lineage")
    pool = pool_for(suspect, candidate, models, [], 0.0, rule)
    values = found.values[:, [found.models.index(n) for n in pool.names]]
    known: Flags = np.asarray(np.isfinite(values).all(-1))
    controls = [i for i in range(2, known.shape[1]) if known[:, i].any()]
    out = replace(out, prompts=int(known[:, 0].sum()), controls=len(controls))
    if not out.prompts or len(controls) < FEWEST:
        return replace(out, missing="few controls" if out.prompts else "not read")
    effect, p = ranked(values[:, [0, *controls]], own, rivals)
    out = replace(out, effect=effect, p=p, p_floor=1 / (len(controls) + 1))
    if not known[:, 1].any():
        return out
    effect, p = ranked(values[:, [1, *controls]], own, rivals)
    return replace(out, effect_candidate=effect, p_candidate=p)


def ranked(values: Floats, own: Sequence[int], rivals: Sequence[int]) -> tuple[float, float]:
    """Effect and exact p of the first model among all: do ``own`` readers like it beyond what ``rivals`` explain?

    Parameters
    ----------
    values : (p, m, r) nats a token by prompt, model and reader
        The model asked about first, then the controls. NaN where nothing was read.
    own, rivals : sequence of int
        Readers of the candidate's lineage, and of others.

    Returns
    -------
    (effect, p)
        The effect in standard deviations of the controls, and the share of models that are liked as much, itself
        counted: exact if all models are strangers to the readers, for nothing looks at which one is asked about.

    See Also
    --------
    preference : What is ranked.

    Examples
    --------
    Ten models of unlike skill, that both readers rate alike; the first is liked by its own reader:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> plain = rng.normal(0, 1, (20, 1)) + rng.normal(0, 0.2, 10)
    >>> values = np.stack([plain, plain], -1) + rng.normal(0, 0.05, (20, 10, 2))
    >>> ranked(values, [0], [1])[1]
    0.8
    >>> values[:, 0, 0] += 0.1
    >>> ranked(values, [0], [1])[1]
    0.1
    """
    left = preference(values, own, rivals)
    spread = float(left[1:].std(ddof=1))
    p = float((left >= left[0] - 1e-12).mean())
    return (float(left[0] - left[1:].mean()) / spread if spread > 0 else np.nan), p


def preference(values: Floats, own: Sequence[int], rivals: Sequence[int]) -> Floats:
    """What ``own`` readers find likelier than ``rivals`` explain, (m,), of values (p, m, r) in nats a token.

    What a prompt makes likely is taken out first: on each prompt the mean over models. Then the level of a model under
    its own readers is fitted by that under rivals, a straight line over all models, and the rest is the preference.
    With fewer than `SLOPE` models its slope is 1.
    """
    known: Flags = np.asarray(np.isfinite(values).all(-1))
    x = np.where(known[..., None], values, 0.0)
    x -= (x.sum(1, keepdims=True) / np.maximum(known.sum(1), 1)[:, None, None]) * known[..., None]
    level = x.sum(0) / np.maximum(known.sum(0), 1)[:, None]
    mine, others = level[:, list(own)].mean(1), level[:, list(rivals)].mean(1)
    mine, others = mine - mine.mean(), others - others.mean()
    slope = float(mine @ others / (others @ others)) if len(mine) >= SLOPE and others @ others > 0 else 1.0
    out: Floats = mine - slope * others
    return out
