"""Results of a campaign without a campaign, and their tables read back, for tests."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.inference.breakdown import Detail
from harness.inference.findings import Attribution, Finding
from harness.inference.greedy import Greedy
from harness.inference.liking import Liking
from harness.inference.pool import Model
from harness.inference.survey import Survey
from harness.records import Observation, Prompt, Responses, Similarity
from harness.report.tables import Table, csv_text, table_of, tables


@dataclass(frozen=True)
class Found:
    """What tables are made of."""

    findings: Sequence[Finding]
    similarities: Sequence[Similarity]
    responses: Responses
    details: Sequence[Detail]
    observations: Sequence[Observation]
    attributions: Sequence[Attribution]
    survey: Survey | None
    models: Sequence[Model]
    likings: Sequence[Liking] = ()
    followings: Sequence[Greedy] = ()


def results(findings: Sequence[Finding] = (), similarities: Sequence[Similarity] = (), **more: Any) -> Found:
    """Findings and similarities as a campaign's results; models are controls of lineages of their own."""
    names = similarities[0].models if similarities else ()
    nothing: dict[str, Any] = {
        "responses": Responses.of(names, [Prompt("q0", "Say.", "set")], []),
        "details": (),
        "observations": (),
        "attributions": (),
        "survey": None,
        "models": tuple(Model(n, "control", f"root of {n}", "Maker") for n in names),
    }
    return Found(findings, similarities, **(nothing | more))


def made(name: str, found: Found) -> Table:
    """One table of some results; without rows where it has none."""
    return next((t for t in tables(found) if t.name == name), None) or table_of(name, ())


def read(name: str, found: Found) -> list[dict[str, str]]:
    """The rows of one table, written as CSV and read back."""
    return list(csv.DictReader(io.StringIO(csv_text(made(name, found)), newline="")))


def alike(channel: str, models: int, prompts: int, seed: int = 0, closer: float = 0.0) -> Similarity:
    """A channel of noise in which the first two models are ``closer`` than the others."""
    values = np.random.default_rng(seed).normal(0.3, 0.05, (prompts, models, models)).astype(np.float32)
    values[:, 0, 1] += closer
    values = np.triu(values, 1) + np.triu(values, 1).transpose(0, 2, 1)
    values[:, range(models), range(models)] = np.nan
    names, ids = tuple(f"m{i}" for i in range(models)), tuple(f"q{i}" for i in range(prompts))
    return Similarity(channel, names, ids, values, np.ones(models), "cosine", "text")
