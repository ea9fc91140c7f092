"""What a channel hands to inference: how alike each pair of models answered each prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Similarity:
    """Raw similarities of one channel; nothing in here is evidence before inference compares it with controls.

    Attributes
    ----------
    channel : name of the channel.
    models : (m,) names; prompts : (p,) ids of the prompts measured.
    values : float32 (p, m, m), symmetric, larger is more alike, in ``unit``. NaN on the diagonal and wherever one
        of the two models gave nothing usable: a refusal is a gap, not a zero.
    coverage : float64 (m,), share of the prompts put to the model that it answered usably; NaN if none were.
    unit : what the numbers are, e.g. "cosine".
    sees : "weights" if the channel follows shared weights, "text" if it follows wording that a teacher also leaves.
    """

    channel: str
    models: tuple[str, ...]
    prompts: tuple[str, ...]
    values: NDArray[np.float32]
    coverage: NDArray[np.float64]
    unit: str
    sees: str

    def counts(self) -> NDArray[np.int64]:
        """Prompts on which each pair was compared, (m, m)."""
        out: NDArray[np.int64] = np.isfinite(self.values).sum(axis=0)
        return out
