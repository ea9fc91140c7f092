"""What a channel saw of one model, in words: shown beside the verdicts, never counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Observation:
    """One line of a report: ``model`` showed ``what``, namely ``value``."""

    channel: str
    model: str
    what: str
    value: str
