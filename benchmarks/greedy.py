"""Greedy answers, token by token: after how many tokens is a model told from another way of serving it?

`python -m benchmarks.greedy CONFIG`, of a campaign that was run, as `tests/zoo/greedy.yaml`: one candidate, suspects
that are its weights or changed ones, and readers of its lineage. For each reader and suspect the table has the share of
the tokens that the reader would have chosen, the nats lost a token, p on all prompts, and the share of random draws of
fewer prompts in which p is at most .05 (`harness.inference.greedy`). The candidate's own answers are the first row.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measures import markdown_head, markdown_row
from harness.channels.draws import independent_draws
from harness.channels.reading import read
from harness.inference.greedy import TOKENS, Floats, agreement, lost, sign_flips
from harness.inference.liking import Readings
from harness.judging import models_of, read_responses
from harness.plan import stored_plan
from harness.readers import readings

SIZES, DRAWS, ALPHA = (6, 8, 16, 32), 200, 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.greedy", description=__doc__)
    parser.add_argument("config", type=Path)
    plan = stored_plan(parser.parse_args(arguments).config)
    found = readings(plan, read(independent_draws(read_responses(plan))[0]))
    by = {m.name: m for m in models_of(plan.campaign)}
    candidate = next(n for n, m in by.items() if m.role == "candidate")
    if found is None or found.chosen is None:
        parser.error("this campaign has no readers")
    told = tuple(f"told by {n} prompts" for n in SIZES)
    print("\n".join(markdown_head(("reader", "suspect", "tokens", "chosen", "nats lost", "p", *told))))
    for r, reader in enumerate(found.readers):
        if reader.lineage == by[candidate].lineage:
            for name in sorted(found.models, key=lambda n: n != candidate):
                print(markdown_row(row(found, r, name, candidate)))
    return 0


def row(found: Readings, reader: int, model: str, candidate: str) -> list[str]:
    """What one reader makes of one model's answers, beside the candidate's."""
    assert found.chosen is not None
    one, own = (found.chosen[:, found.models.index(n), reader] for n in (model, candidate))
    both = np.isfinite(one[:, TOKENS]) & np.isfinite(own[:, TOKENS])
    one, apart = one[both], lost(one[both]) - lost(own[both])
    cells = [found.readers[reader].name, model, f"{int(one[:, TOKENS].sum())}", f"{agreement(one):.1%}"]
    cells.append(f"{lost(one).mean():.4f}")
    if model == candidate:
        return [*cells, *[""] * (1 + len(SIZES))]
    rng = np.random.default_rng(1)
    return [*cells, f"{sign_flips(apart, rng)[0]:.4f}", *(power(apart, n, rng) for n in SIZES)]


def power(apart: Floats, size: int, rng: np.random.Generator) -> str:
    """Share of draws of so many prompts that tell two models apart; of all prompts there is one draw."""
    if size >= len(apart):
        return "yes" if sign_flips(apart, rng)[0] <= ALPHA else "no"
    draws = [sign_flips(rng.choice(apart, size, replace=False), rng)[0] <= ALPHA for _ in range(DRAWS)]
    return f"{np.mean(draws):.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
