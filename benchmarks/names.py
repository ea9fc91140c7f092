"""How well maker and lineage are guessed from names alone: `python -m benchmarks.names LINEAGE.csv ...`.

Each name of a lineage table is given to `harness.config.providers.guessed` and held against organisation and series:
right, wrong or unknown. The table of well-known names was written with these collections in sight, so this is how well
it holds them, and no forecast for names that nobody has seen.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.providers import guessed, maker_named

SERIES = {"gemini": "gemini-1.0"}  # what these tables call a series -> what it is called here


@dataclass(frozen=True)
class Guesses:
    """How the guesses of one table came out; ``wrong`` names them: model, what, guess, truth."""

    models: int
    counts: Counter[tuple[str, str]]
    wrong: tuple[tuple[str, str, str, str], ...]

    def share(self, what: str, outcome: str) -> float:
        """Share of the models whose maker or lineage was guessed right, wrong or not at all."""
        return self.counts[what, outcome] / max(self.models, 1)


def held(rows: Iterable[dict[str, str]]) -> Guesses:
    """Guesses of maker and lineage against the columns `organisation` and `series`; ensembles have no lineage."""
    counts: Counter[tuple[str, str]] = Counter()
    wrong = []
    models = 0
    for row in rows:
        models += 1
        found = guessed(row["model"])
        mixed = row["relation"] == "moe/ensemble" or row["base_model"] == "ensemble"
        for what, guess, truth in (
            ("maker", found.maker, maker_named(row["organisation"])),
            ("lineage", found.lineage, "none: several models" if mixed else SERIES.get(row["series"], row["series"])),
        ):
            outcome = "unknown" if guess is None else "right" if guess == truth else "wrong"
            counts[what, outcome] += 1
            if outcome == "wrong":
                wrong.append((row["model"], what, str(guess), truth))
    return Guesses(models, counts, tuple(wrong))


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a lineage table."""
    with path.open(newline="", encoding="utf-8-sig") as f:
        return list(csv.DictReader(f))


def main(arguments: Sequence[str]) -> int:
    """Print one line a table and kind of guess, and every wrong guess."""
    for path in map(Path, arguments):
        found = held(read(path))
        for what in ("maker", "lineage"):
            shares = " ".join(f"{o} {found.share(what, o):.3f}" for o in ("right", "wrong", "unknown"))
            print(f"{path.stem:26} {found.models:4} {what:8} {shares}")
        for model, what, guess, truth in found.wrong:
            print(f"  {model}: {what} {guess}, which is {truth}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
