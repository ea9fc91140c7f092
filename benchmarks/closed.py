"""Whose answer is it, of five known models? `python -m benchmarks.closed --data X.parquet --lineage X.csv`.

Suspects are the same weights as one of the five, asked behind another system prompt; the other four are of other
lineages. Each answer is judged alone, by a classifier that saw no answer to its prompt, without and with its likeness
to what the five answered to the same prompt. The weight of that is also chosen without the suspect's own lineage.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures import markdown_head, markdown_row, rate
from benchmarks.recorded import Collection, read
from harness.channels.reading import first_answers
from harness.inference.attribution import BESIDE, Softmax, suspect_scores

ANOTHER_PROMPT = "same-weights-different-prompt"  # in the lineage table
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
KNOWN = 5


@dataclass(frozen=True)
class Answers:
    """Answers of one model among five known: both parts of their scores, (n, 5), and the place of the right one.

    ``softmax`` gives the probabilities of these five; ``suspect`` is false for a known model's own answers.
    """

    lineage: str
    suspect: bool
    scores: NDArray[np.float64]
    beside: NDArray[np.float64]
    right: int
    softmax: Softmax

    def hits(self, weight: float) -> NDArray[np.bool_]:
        """Which answers go to the right model."""
        found: NDArray[np.bool_] = (self.scores + weight * self.beside).argmax(1) == self.right
        return found

    def loss(self, weight: float) -> float:
        """Mean logarithmic loss of the probabilities, in nats; five equal ones have 1.61."""
        p = self.softmax(self.scores + weight * self.beside, 1)[:, self.right]
        return float(-np.log(np.maximum(p, 1e-12)).mean())


def behind_prompts(collection: Collection) -> dict[int, list[int]]:
    """Each model that was also asked behind other system prompts, and these."""
    names = list(collection.table.models)
    out: dict[int, list[int]] = {}
    for i, row in enumerate(collection.rows):
        if row.relation == ANOTHER_PROMPT and row.parent in names:
            out.setdefault(names.index(row.parent), []).append(i)
    return out


def sets_of_five(collection: Collection, draws: int, rng: np.random.Generator) -> Iterator[tuple[list[int], list[int]]]:
    """Five models of five lineages, the first with suspects behind other system prompts, so many times; and these."""
    known, prompted = collection.known, behind_prompts(collection)
    usable = np.array([r.usable and r.relation != ANOTHER_PROMPT for r in collection.rows])
    for first, suspects in prompted.items():
        lineages = np.unique(known.lineage[usable & (known.lineage != known.lineage[first])])
        for _ in range(draws if len(lineages) >= KNOWN - 1 else 0):
            others = [int(rng.choice(np.flatnonzero(usable & (known.lineage == x))))
                      for x in rng.permutation(lineages)[: KNOWN - 1]]  # fmt: skip
            yield [first, *others], suspects


def measured(collection: Collection, prompts: int, draws: int, seed: int) -> list[Answers]:
    """All answers of all sets."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(collection.table.prompts))[:prompts]).tolist()
    texts = first_answers(collection.table, chosen)
    out = []
    for known, suspects in sets_of_five(collection, draws, rng):
        columns = [*known, *suspects]
        rows = [[row[i] for i in columns] for row in texts]
        scores, beside, labels = suspect_scores(rows, KNOWN, seed, len(columns) * len(texts))
        own = labels < KNOWN
        softmax = Softmax.fit(scores[own], labels[own], rng)
        for at, i in enumerate(columns):
            suspect, lineage = at >= KNOWN, str(collection.known.lineage[i])
            of = labels == at
            out.append(Answers(lineage, suspect, scores[of], beside[of], 0 if suspect else at, softmax))
        print(f"{len(out)} models judged", file=sys.stderr, flush=True)
    return out


def without(found: Sequence[Answers], lineage: str) -> float:
    """The weight that serves the other lineages' suspects best."""
    others = [a for a in found if a.suspect and a.lineage != lineage]
    means = [np.mean([a.hits(w).mean() for a in others]) if others else 0.0 for w in WEIGHTS]
    return WEIGHTS[int(np.argmax(means))]


def rows(found: Sequence[Answers]) -> Iterator[tuple[str, ...]]:
    """Lines of the table."""
    own, suspects = [a for a in found if not a.suspect], [a for a in found if a.suspect]
    yield _row("the known models' own answers", own, [0.0] * len(own))
    for w in WEIGHTS:
        name = "without" if w == 0.0 else f"weight {w:g}{', which ships' if w == BESIDE else ''}"
        yield _row(f"behind another system prompt, {name}", suspects, [w] * len(suspects))
    chosen = {a.lineage: without(found, a.lineage) for a in suspects}
    name = f"the same, weight chosen on other lineages ({', '.join(f'{w:g}' for w in sorted(set(chosen.values())))})"
    yield _row(name, suspects, [chosen[a.lineage] for a in suspects])
    for lineage in sorted({a.lineage for a in suspects}):
        some = [a for a in suspects if a.lineage == lineage]
        yield _row(f"{lineage}, without", some, [0.0] * len(some))
        yield _row(f"{lineage}, weight {BESIDE:g}", some, [BESIDE] * len(some))


def _row(name: str, some: Sequence[Answers], weights: Sequence[float]) -> tuple[str, ...]:
    each = np.array([a.hits(w).mean() for a, w in zip(some, weights, strict=True)])
    units = np.array([(a.lineage, a.lineage) for a in some]).reshape(-1, 2)
    value, (low, high), _ = rate(each, units)
    loss = np.mean([a.loss(w) for a, w in zip(some, weights, strict=True)]) if some else np.nan
    return name, f"{value:.3f}", f"{low:.2f} to {high:.2f}", f"{loss:.3f}", str(sum(len(a.scores) for a in some))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.closed", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lineage", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=805)
    parser.add_argument("--sets", type=int, default=2, help="draws of four others for each model with suspects")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    collection = read(given.data, given.lineage)
    found = measured(collection, given.prompts, given.sets, given.seed)
    if not any(a.suspect for a in found):
        raise SystemExit("no model of this table was asked behind another system prompt, with four other lineages")
    print("\n".join(markdown_head(("answers of", "right of five", "95 % over lineages", "log loss", "answers"))))
    for row in rows(found):
        print(markdown_row(row), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
