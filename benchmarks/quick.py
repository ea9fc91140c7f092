"""What the cheap questions of `harness which` see of models of known lineage: `python -m benchmarks.quick CONFIG`.

CONFIG is a campaign whose answers are stored, as `tests/zoo/quick.yaml`. One row a pair of models: token counts that
agree exactly, overlap of the integers they wrote, cosine of wording on the short prompts. The first rows are each model
against itself: half of its samples of the integers against the other half.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.measures import markdown_head, markdown_row
from harness.channels.integers import mean_overlap, written
from harness.channels.parallel import compare, load_channels
from harness.channels.reading import read
from harness.judging import read_responses
from harness.plan import stored_plan
from harness.records import Responses, Similarity
from harness.which import CHANNELS


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parser.add_argument("config", type=Path)
    table = read(read_responses(stored_plan(parser.parse_args(arguments).config)))
    found = {s.channel: s for s in compare(load_channels(CHANNELS), table)}
    print("\n".join(markdown_head(("pair", "tokenizer", "integers", "short prompts"))))
    for model in table.models:
        print(markdown_row((f"{model} and itself", "", _number(own_overlap(table, model)), "")))
    for a, b in combinations(range(len(table.models)), 2):
        cells = (_number(mean(found, c, a, b)) for c in ("tokenizer", "integers", "wording"))
        print(markdown_row((f"{table.models[a]} and {table.models[b]}", *cells)))
    return 0


def mean(found: Mapping[str, Similarity], channel: str, a: int, b: int) -> float:
    """Mean similarity of a pair in a channel; NaN where there is none."""
    values = found[channel].values[:, a, b] if channel in found else np.array([np.nan])
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def own_overlap(table: Responses, model: str) -> float:
    """Overlap of the integers of two samples of one model."""
    at = table.models.index(model)
    lists = [n for p in table.where("integers") for r in table.usable(p, at) if (n := written(table.text[r]))]
    return float(mean_overlap(lists[:2])[0, 1]) if len(lists) > 1 else float("nan")


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
