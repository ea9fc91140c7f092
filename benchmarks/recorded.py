"""Recorded answers (a Parquet file) and a lineage table (a CSV) -> the project's own table of answers, and what is
known of every pair."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.relations import CLOSE, NEVER, SAME_MAKER, SAME_ROOT, SHARES_WEIGHTS, TAUGHT, Lineage, Row
from harness.channels.reading import read as own_words
from harness.inference.calibration import Relation
from harness.inference.trials import Ints, Known
from harness.records import Prompt, Response, Responses

NEEDED = ("model", "prompt_id", "output")
CHANNELS = ("wording", "verbatim", "style", "traces", "refusals", "ratings")
LEAST_ANSWERED = 0.5  # models that answered less of the common prompts are left out of it all


class Unusable(SystemExit):
    """The files cannot be measured at all; the message says why."""


@dataclass(frozen=True)
class Collection:
    """Answers of m models and the relation of every pair, (m, m) of str. ``notes`` say what was left out, and why."""

    table: Responses
    rows: list[Row]
    relation: NDArray[np.object_]
    notes: list[str] = field(default_factory=list)

    @property
    def known(self) -> Known:
        """As inference takes it: lineage is the pretrained root, family the superfamily."""
        usable = np.array([r.usable for r in self.rows])
        apart = ~np.isin(self.relation, (*NEVER, *SHARES_WEIGHTS)) & usable[:, None] & usable
        return Known(
            models=self.table.models,
            lineage=np.array([r.root or r.name for r in self.rows]),
            family=np.array([r.superfamily or r.root or r.name for r in self.rows]),
            apart=apart,
            maker=np.array([r.organisation for r in self.rows]),
        )

    def pairs(self, *relations: str) -> NDArray[np.int64]:
        """Pairs of usable models in one of these relations, int (q, 2); with none named, all that share no weights."""
        usable = np.array([r.usable for r in self.rows])
        wanted = np.isin(self.relation, relations) if relations else self.known.apart
        a, b = np.nonzero(np.triu(wanted & usable[:, None] & usable, 1))
        return np.column_stack([a, b]).astype(np.int64)

    def by_relation(self) -> dict[Relation, Ints]:
        """Pairs by the relations that calibrations and rates are of; unrelated ones are of two makers."""
        unrelated = self.pairs("unrelated")
        return {
            "close": self.pairs(*CLOSE),
            "base": self.pairs(*SAME_ROOT),
            "same maker": self.pairs(*SAME_MAKER),
            "taught": self.pairs(*TAUGHT),
            "unrelated": unrelated[self.known.two_makers(unrelated)],
        }


def read(data: Path, lineage: Path) -> Collection:
    """Read both files. Only ``model``, ``prompt_id`` and ``output`` are needed; `Unusable` says what is missing."""
    try:
        frame = pd.read_parquet(data)
        table = Lineage.read(lineage)
    except (OSError, ValueError, UnicodeDecodeError) as e:
        raise Unusable(f"cannot read: {str(e).splitlines()[0]}") from e
    if missing := [c for c in NEEDED if c not in frame.columns]:
        raise Unusable(f"{data}: no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    frame = frame.dropna(subset=["model", "prompt_id"]).astype({"model": str, "prompt_id": str})
    notes = []
    answered = frame[frame["output"].map(lambda o: isinstance(o, str) and bool(o.strip()))]
    if answered.empty:
        raise Unusable(f"{data}: every answer is empty")
    per_model = answered.groupby("model")["prompt_id"].nunique()
    few = sorted(per_model.index[per_model < LEAST_ANSWERED * per_model.median()])
    if few:
        notes.append(f"left out for few answers: {', '.join(few)}")
    names = sorted(set(answered["model"]) - set(few))
    unlisted = sorted(set(names) - {m.name for m in table.models})
    if unlisted:
        notes.append(f"not in the lineage table, so in no pair: {', '.join(unlisted)}")
    answers = own_words(_responses(frame[frame["model"].isin(names)], names))
    return Collection(answers, table.of(names), table.matrix(names), notes)


def _responses(frame: pd.DataFrame, names: list[str]) -> Responses:
    texts = frame.drop_duplicates("prompt_id").set_index("prompt_id")
    questions = texts["prompt"] if "prompt" in texts else pd.Series("", index=texts.index)
    prompts = [_prompt(str(i), questions[i]) for i in texts.index]
    sample = frame.groupby(["model", "prompt_id"]).cumcount()
    answers = [
        Response(
            m, p, int(s), "", "ok" if isinstance(o, str) and o.strip() else "empty", o if isinstance(o, str) else ""
        )
        for m, p, s, o in zip(frame["model"], frame["prompt_id"], sample, frame["output"], strict=True)
    ]
    return Responses.of(names, prompts, answers)


def _prompt(prompt_id: str, text: object) -> Prompt:
    """A recorded prompt; EQ-Bench files hold the ratings asked for as JSON, whose keys are the scales."""
    question = text if isinstance(text, str) else ""
    scales: list[str] = []
    if question.startswith("{") and '"first_pass"' in question:
        try:
            scales = list(json.loads(question)["first_pass"])
        except (ValueError, TypeError, KeyError):
            scales = []
    channels = CHANNELS if scales else tuple(c for c in CHANNELS if c != "ratings")
    return Prompt(prompt_id, "recorded", question, channels=channels, fields={"scales": scales} if scales else {})
