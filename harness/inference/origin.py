"""Derived or taught? What a channel that sees weights adds to one that sees text.

Text agrees after fine-tuning and after teaching. Ratings and raw next-token distributions follow the weights and are
nearly blind to teachers: where they agree, the suspect is derived; where they clearly do not, it was taught at most.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.inference.findings import ChannelEvidence, Verdict

SILENT = 0.5
"""p at or above which a channel that sees weights counts as silent. Measured on 86 models with EQ-Bench ratings
(`python -m benchmarks.lineage`, stage origin): see benchmarks/README.md for how often close kin are that silent."""


def origin(text_p: float, evidence: Sequence[ChannelEvidence], alpha: float) -> Verdict:
    """Verdict on a suspect whose text was compared with the candidate's.

    Parameters
    ----------
    text_p : p-value of what the text says, NaN without.
    evidence : of all channels; those that see "weights" are looked at, with ``alpha`` shared among them (Bonferroni:
        they are dependent).
    """
    weights = [e.p for e in evidence if e.sees == "weights" and e.p == e.p]
    if weights and min(weights) * len(weights) <= alpha:
        return "KIN-LIKE"
    if not text_p <= alpha:
        return "INCONCLUSIVE"
    return "TAUGHT-LIKE" if weights and min(weights) >= SILENT else "KIN-OR-TAUGHT"
