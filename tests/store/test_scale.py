"""A large store costs little memory: bytes an answer are measured in processes of their own, beside a small one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from benchmarks.store_scale import make, measured, steps
from harness.channels.draws import with_twin
from harness.judging import read_responses
from harness.plan import STORE, stored_plan
from harness.records import Responses
from harness.store.store import Store

ANSWERS, FEW = 20_000, 6_000  # few enough, and as many as bring in what large stores are worked on with
# Kept for every answer: a place, a few numbers, what of its words counts, and up to a bound its text. As objects rows
# alone would be 2,000 bytes more. `score` takes 2,430 to 2,460, and up to 2,810 beside other work, when processes that
# help it are seen at other moments.
MOST = {"score": 3_200, "export jsonl": 300, "export csv": 300}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return {n: make(tmp_path_factory.mktemp(f"n{n}"), n) for n in (FEW, ANSWERS)}


@pytest.mark.parametrize("step", list(MOST))
def test_memory_hardly_grows_with_the_store(stores: dict[int, Path], step: str) -> None:
    few, many = (measured(steps(stores[n])[step])[1] for n in (FEW, ANSWERS))
    assert many - few < MOST[step] * (ANSWERS - FEW)
    assert few > 20e6  # a process was measured at all


def test_columns_in_the_store_read_as_those_in_memory(stores: dict[int, Path]) -> None:
    plan = stored_plan(stores[FEW])
    table = read_responses(plan)
    with Store(plan.folder / STORE, readonly=True) as store:
        whole = Responses.of(table.models, table.prompts, store.responses(), table.asked)
    again = pickle.loads(pickle.dumps(table))  # noqa: S301
    for part in (lambda t: t, lambda t: t.only([4, 2]), lambda t: with_twin(t, "m1", "twin")):
        expected = part(whole)
        for found in (part(table), part(again), part(table).loaded()):
            assert (found.start == expected.start).all()
            for column in ("outcome", "text", "reasoning", "logprobs", "prompt_tokens"):
                assert list(getattr(found, column)) == list(getattr(expected, column)), column
    assert table.text[3:6][1] == whole.text[4]
    for column in (table.text, table.text.take([9, 0, 400, 7]), table.text.take([])):  # type: ignore[attr-defined]
        assert sorted(column.each()) == list(enumerate(column))
    assert len(pickle.dumps(table)) < len(pickle.dumps(whole)) / 2
    assert isinstance(table.loaded().text, list)
