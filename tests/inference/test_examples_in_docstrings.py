"""Examples in docstrings of the statistics: each is run, and every public statistic has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import harness.inference

MODULES = [
    importlib.import_module(f"harness.inference.{m.name}") for m in pkgutil.iter_modules(harness.inference.__path__)
]
STATISTICS = (
    "additive_residuals",
    "attribute",
    "cllr",
    "cllr_min",
    "combine",
    "controls_needed",
    "drift",
    "excess",
    "habit_similarity",
    "held_out_scores",
    "holm",
    "judge_changes",
    "lean",
    "lineage_interval",
    "LikelihoodTable",
    "max_null_p",
    "pair_p",
    "prompt_centred",
    "reliabilities",
    "row_p",
    "ScoreLine",
    "smallest_p",
    "suspect_scores",
    "tippett",
    "two_sample",
)


def _examples(module: ModuleType) -> list[doctest.DocTest]:
    return [t for t in doctest.DocTestFinder(exclude_empty=True).find(module) if t.examples]


def _wrong(test: doctest.DocTest) -> str:
    """What doctest says of an example that does not print what its docstring promises."""
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_examples_print_what_they_say(module: ModuleType) -> None:
    assert [said for test in _examples(module) if (said := _wrong(test))] == []


def test_a_wrong_example_is_found() -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "sum", None, 0)
    assert "Got:\n    2" in _wrong(test)


def test_every_public_statistic_has_an_example() -> None:
    shown = {t.name.rsplit(".", 1)[-1] for module in MODULES for t in _examples(module)}
    assert set(STATISTICS) - shown == set()
