"""Conditions that pair and controls do not share: `python -m benchmarks.conditions --data X --lineage Y`.

Pools of recorded answers as they are ("like"), and the same pools made unlike: the answers of one side written out in
another format, cut, or mapped word for word into a made-up language; or controls drawn from another era. For each:
how often strangers are found (p <= .05) and kin are, and how often that is left when a mismatch withholds the verdict.
The project's own channel, rank and rule judge; months of release and thinking are guessed from names as in a campaign.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures import Report, rate
from benchmarks.recorded import Collection, read
from benchmarks.relations import CLOSE
from harness.channels.base import answer
from harness.channels.ratings import ratings
from harness.channels.wording import wording
from harness.config.providers import guessed
from harness.inference.control_match import FEW, manners_of, unlike
from harness.inference.excess import additive_residuals, excess_of, max_null_p, reaches
from harness.inference.findings import HIDING, MISMATCHES
from harness.inference.pool import MONTHS, Model
from harness.records import Responses, Similarity

ALPHA = 0.05
Ints = NDArray[np.int64]
Write = Callable[[str], str]
Side = Literal["pair", "controls", "suspect", "none"]
Drawn = Literal["any", "another era", "think otherwise"]


def _first(words: int) -> Write:
    return lambda t: " ".join(t.split()[:words])


def _code(word: str) -> str:
    """A word of the made-up language: the same for the same word."""
    return "".join(
        chr(ord("a") + int(c, 16)) for c in hashlib.sha256(word.lower().encode()).hexdigest()[: len(word) + 1]
    )


def _sentences(text: str) -> list[str]:
    return [s for s in text.replace("\n", " ").split(". ") if s.strip()]


UNLIKE: dict[str, tuple[Side, Write]] = {
    "as they are": ("none", str),
    "pair in markup": ("pair", lambda t: json.dumps({"answer": t, "confidence": "high", "language": "en"})),
    "pair in numbered lists": (
        "pair", lambda t: "\n".join(f"{i}. {s}" for i, s in enumerate(_sentences(t), 1))
    ),
    "pair in upper-case bullets": ("pair", lambda t: "\n".join(f"- {s.upper()}" for s in _sentences(t))),
    "pair in one sentence": ("pair", lambda t: (_sentences(t) or [t])[0]),
    "pair in another language": ("pair", lambda t: " ".join(map(_code, t.split()))),
    "pair cut at 20 words": ("pair", _first(20)),
    "controls cut at 60 words": ("controls", _first(60)),
    "suspect in markup": ("suspect", lambda t: json.dumps({"answer": t, "confidence": "high", "language": "en"})),
    "suspect in one sentence": ("suspect", lambda t: (_sentences(t) or [t])[0]),
    "suspect in another language": ("suspect", lambda t: " ".join(map(_code, t.split()))),
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a Markdown table, progress to stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conditions", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet: model, prompt_id, output")
    parser.add_argument("--lineage", type=Path, required=True, help="CSV: model, base_model, parent, ...")
    parser.add_argument("--controls", type=int, default=14, help="control lineages of each pool")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=44, help="pairs of each kind")
    parser.add_argument("--only", action="append", help="of the ways to make pools unlike, those that begin so")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    report = Report()
    collection = read(given.data, given.lineage)
    drawn: tuple[Drawn, ...] = ("another era", "think otherwise")
    for kind, relations in (("unrelated", ("unrelated",)), ("close", CLOSE)):
        pairs = collection.pairs(*relations)
        for name, (side, _) in UNLIKE.items():
            accuses = side in ("pair", "controls")
            rewritten = not collection.table.where("ratings") and accuses == (kind == "unrelated")
            if _wanted(name, given) and (side == "none" or rewritten):  # what accuses strangers, what hides kin
                with report.stage(f"{name}, {kind}"):
                    _stage(report, collection, name, "any", kind, pairs, given)
        for other in drawn if kind == "unrelated" else ():
            if not _wanted(f"controls: {other}", given):
                continue
            with report.stage(f"controls: {other}, {kind}"):
                _stage(report, collection, "as they are", other, kind, pairs, given)
    print(report.text(), end="")
    return 0


def _wanted(name: str, given: argparse.Namespace) -> bool:
    return not given.only or any(name.startswith(o) for o in given.only)


def _stage(
    report: Report, collection: Collection, name: str, drawn: Drawn, kind: str, pairs: Ints, given: argparse.Namespace
) -> None:
    """One way of making pools unlike: found, flagged, and what is left of it when flagged verdicts are withheld."""
    rng = np.random.default_rng(given.seed)
    k = given.controls if drawn == "any" else min(given.controls, 8)
    models = [_model(collection, i) for i in range(len(collection.rows))]
    p, flagged, hidden, units = [], [], [], []
    for pair in pairs[rng.permutation(len(pairs))]:
        s, c = rng.permutation(pair)
        controls = _controls(collection, models, s, c, drawn, k, rng)
        table = _pool(collection.table, [s, c, *controls], given.prompts, rng) if len(controls) == k else None
        if table is None:
            continue
        table = _written(table, *UNLIKE[name])
        found = _similarity(table)
        if found is None:
            continue
        own = [models[i] for i in (s, c)] + [replace(models[i], role="control") for i in controls]
        notes = {x.kind for x in unlike(manners_of(table), own[0], own[1], own, "every lineage")}
        matrix = excess_of(additive_residuals(np.asarray(found.values, dtype=np.float64)))
        p.append(max_null_p(matrix, matrix[0, 1]))
        flagged.append(bool(notes & MISMATCHES))
        hidden.append(bool(notes & HIDING))
        units.append(collection.known.lineage[[s, c]])
        if len(p) == given.pairs:
            break
    on = f"{name if drawn == 'any' else f'controls: {drawn}'}, {kind}, K = {k}"
    if not p:
        report.add("conditions", "found", on, np.nan, given.prompts, note=f"no pool of {k} such controls")
        return
    hits, flags, hides, lineages = reaches(p, ALPHA), np.array(flagged), np.array(hidden), np.array(units)
    measures = (
        ("found", hits),
        ("found and not withheld", hits & ~flags),
        ("mismatch", flags),
        ("sets the suspect apart", hides),
        ("called unrelated (p >= .5, not withheld)", (np.array(p) >= 0.5) & ~hides),
    )
    for measure, what in measures:
        value, interval, count = rate(what, lineages)
        report.add("conditions", measure, on, value, given.prompts, count, interval)


def _model(collection: Collection, i: int) -> Model:
    name, known = collection.table.models[i], guessed(collection.table.models[i])
    return Model(name, "other", str(collection.known.lineage[i]), known.maker, known.released, known.thinks)


def _controls(
    collection: Collection, models: Sequence[Model], s: int, c: int, drawn: Drawn, k: int, rng: np.random.Generator
) -> list[int]:
    """One model of each of k lineages that are apart from both; of another era, or thinking the other way."""
    known = collection.known
    fit = known.apart[s] & known.apart[c] & (known.lineage != known.lineage[s]) & (known.lineage != known.lineage[c])
    if drawn == "another era":
        months = np.array([_months(m) for m in models])
        own = months[[s, c]]
        fit &= (months < own.min() - MONTHS) | (months > own.max() + MONTHS)
        fit &= np.isfinite(own).all() & (months < own.mean() if rng.random() < 0.5 else months > own.mean())
    if drawn == "think otherwise":
        one, other = models[s].thinks, models[c].thinks
        fit &= one is not None and one == other
        fit &= np.array([m.thinks is not None and m.thinks != one for m in models])
    lineages = rng.permutation(np.unique(known.lineage[fit]))[:k]
    return [int(rng.choice(np.flatnonzero(fit & (known.lineage == x)))) for x in lineages]


def _months(m: Model) -> float:
    return 12.0 * int(m.released[:4]) + int(m.released[5:7]) if m.released else np.nan


def _pool(table: Responses, models: list[int], prompts: int, rng: np.random.Generator) -> Responses | None:
    """Some models and prompts that they all answered; None where there are too few."""
    m, counts = len(table.models), np.diff(table.start).reshape(len(table.prompts), len(table.models))
    shared = rng.permutation(np.flatnonzero((counts[:, models] > 0).all(1)))[:prompts]
    said = [p for p in shared if all(table.text[table.start[p * m + j]].strip() for j in models)]
    return table.only(sorted(said)).among(models) if len(said) >= FEW else None


def _written(table: Responses, side: Side, write: Write) -> Responses:
    """The table with the answers of one side written otherwise."""
    m = len(table.models)
    at = {"pair": {0, 1}, "controls": set(range(2, m)), "suspect": {0}, "none": set()}[side]
    owner = np.repeat(np.arange(len(table.start) - 1), np.diff(table.start)) % m
    texts = [write(answer(table, r)) if owner[r] in at else table.text[r] for r in range(len(table.text))]
    return replace(table, text=texts)


def _similarity(table: Responses) -> Similarity | None:
    return ratings(table) if table.where("ratings") else wording(table)


if __name__ == "__main__":
    raise SystemExit(main())
