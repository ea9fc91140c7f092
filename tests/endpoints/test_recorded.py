"""Answers that someone already has: every format, every mistake, and out of one campaign into another."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from harness.config.endpoint import Recorded
from harness.errors import ConfigError, HarnessError
from harness.plan import prepare
from harness.records import Prompt, Response
from harness.store.store import Store
from harness.token_logprobs import decode_logprobs
from harness.transfer import export_answers
from tests.support import Write
from tests.support.recordings import everything
from tests.support.running import Run

ROWS = [
    {"model": m, "prompt_id": p, "prompt": f"{p}?", "output": f"{m} says {p}\u2028=1+1"}
    for p in ("p1", "p2")
    for m in ("a", "b")
]


def save(folder: Path, suffix: str, rows: list[dict[str, Any]] = ROWS) -> str:
    path = folder / f"answers{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    elif suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == ".parquet":
        from datasets import Dataset

        Dataset.from_list(rows).to_parquet(str(path))
    else:
        path.write_text("x")
    return path.name


def endpoint(path: str, name: str = "a", **more: Any) -> Recorded:
    return Recorded(kind="recorded", name=name, role="control", lineage=name, path=path, **more)


def answers(folder: Path, *endpoints: Recorded, **environ: str) -> tuple[list[Prompt], list[Response]]:
    return everything(endpoints, folder, environ)


def refused(folder: Path, e: Recorded) -> str:
    with pytest.raises(ConfigError) as caught:
        answers(folder, e)
    assert f"endpoint '{e.name}'" in caught.value.message
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_reads_the_same(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path, suffix)
    prompts, found = answers(tmp_path, endpoint(path), endpoint(path, "b"))
    assert [(p.id, p.text) for p in prompts] == [("p1", "p1?"), ("p2", "p2?")]
    expected = [(m, p, 0, f"{m} says {p}\u2028=1+1") for m in "ab" for p in ("p1", "p2")]
    assert [(r.endpoint, r.prompt, r.sample, r.text) for r in found] == expected


def test_samples_other_columns_and_another_name(tmp_path: Path) -> None:
    rows = [{"system": "x", "qid": 7, "completion": t} for t in ("one", "two", "")]
    path = save(tmp_path, ".jsonl", rows)
    columns = {"model": "system", "prompt_id": "qid", "prompt": None, "output": "completion"}
    _, found = answers(tmp_path, endpoint(path, "mine", model="x", columns=columns))
    assert [(r.prompt, r.sample, r.text, r.outcome) for r in found] == [
        ("7", 0, "one", "ok"),
        ("7", 1, "two", "ok"),
        ("7", 2, "", "empty"),
    ]


def test_missing_things_are_named(tmp_path: Path) -> None:
    path = save(tmp_path, ".jsonl")
    assert "it has: a, b" in refused(tmp_path, endpoint(path, "c"))
    said = refused(tmp_path, endpoint(path, columns={"output": "answer"}))
    assert "no column 'answer'" in said
    assert "columns: {output: ...}" in said
    assert "answers.txt is not .jsonl" in refused(tmp_path, endpoint(save(tmp_path, ".txt")))
    assert "none.jsonl" in refused(tmp_path, endpoint("none.jsonl"))
    assert "${NO_SUCH_VARIABLE} is not set" in refused(tmp_path, endpoint("${NO_SUCH_VARIABLE}/x.jsonl"))


@pytest.mark.parametrize(
    ("suffix", "content"), [(".jsonl", "{half"), (".parquet", "not parquet"), (".jsonl", ""), (".csv", "")]
)
def test_unreadable_files_are_one_line(tmp_path: Path, suffix: str, content: str) -> None:
    (tmp_path / f"bad{suffix}").write_text(content)
    refused(tmp_path, endpoint(f"bad{suffix}"))


def test_the_environment_says_where(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    save(tmp_path / "data", ".csv")
    _, found = answers(tmp_path, endpoint("${DATA}/answers.csv"), DATA=str(tmp_path / "data"))
    assert len(found) == 2


def test_a_changed_file_is_another_key(tmp_path: Path) -> None:
    path = save(tmp_path, ".jsonl")
    _, first = answers(tmp_path, endpoint(path))
    assert answers(tmp_path, endpoint(path))[1] == first
    save(tmp_path, ".jsonl", [*ROWS, {"model": "z", "prompt_id": "p3", "prompt": "", "output": "z"}])
    _, second = answers(tmp_path, endpoint(path))
    assert not {r.request_hash for r in first} & {r.request_hash for r in second}


def test_real_recorded_answers(recorded_data: Path) -> None:
    two = [endpoint("${DATA}/wildbench.parquet", name) for name in _two_models(recorded_data)]
    prompts, found = answers(recorded_data, *two, DATA=str(recorded_data))
    assert len(prompts) > 50
    assert len({(r.endpoint, r.prompt, r.sample) for r in found}) == len(found)
    assert sum(r.outcome == "ok" for r in found) > 0.9 * len(found)


def _two_models(folder: Path) -> list[str]:
    import pyarrow.parquet as pq

    column = pq.read_table(folder / "wildbench.parquet", columns=["model"])["model"]
    return [str(x) for x in column.unique().slice(0, 2).to_pylist()]


@pytest.fixture
def stored(write_campaign: Write) -> Any:
    """A plan whose store holds answers with hostile text."""
    from harness.plan import STORE, prepare

    plan = prepare(write_campaign("http://127.0.0.1:9/v1", n=2, samples=2), {})
    run = Run(write_campaign("http://127.0.0.1:9/v1", n=2, samples=2), {}, [])
    campaign, prompts = run.load()
    from harness.endpoints.apis import planned_keys

    keys = list(planned_keys(campaign, prompts))
    texts = ["=1+1", "two\nlines", 'quote " and , comma', "\u2028\u0085 \U0001f600", "", "  ", "-3", "@x"]
    with Store(plan.folder / STORE) as store:
        store.set_plan(prompts, keys)
        store.add_many(Response(*k, "ok", t) for k, t in zip(keys, texts, strict=True))
    return plan


@pytest.mark.parametrize("fmt", ["jsonl", "csv", "parquet"])
def test_exported_answers_are_a_recorded_endpoint(stored: Any, tmp_path: Path, fmt: str) -> None:
    out = tmp_path / f"out.{fmt}"
    with (tmp_path / "stdout").open("wb") as stdout:
        assert export_answers(stored, fmt, out, stdout) == 8
    with Store(stored.folder / "responses.sqlite", readonly=True) as store:
        before = {(r.endpoint, r.prompt, r.sample): r.text for r in store.responses()}
    _, found = answers(tmp_path, endpoint(out.name, "good"), endpoint(out.name, "fine"))
    assert {(r.endpoint, r.prompt, r.sample): r.text for r in found} == before


def test_export_to_stdout_is_jsonl_and_nothing_else(stored: Any, tmp_path: Path) -> None:
    with (tmp_path / "stdout").open("wb") as stdout:
        export_answers(stored, "jsonl", None, stdout)
    rows = [json.loads(line) for line in (tmp_path / "stdout").read_bytes().split(b"\n") if line]
    assert len(rows) == 8
    assert {"model", "prompt_id", "prompt", "output", "sample", "finish_reason"} <= set(rows[0])


def test_export_says_what_is_wrong(stored: Any, tmp_path: Path) -> None:
    with (tmp_path / "stdout").open("wb") as stdout:
        for fmt, out in (("xml", None), ("csv", None), ("csv", tmp_path / "no" / "such" / "folder.csv")):
            with pytest.raises(HarnessError):
                export_answers(stored, fmt, out, stdout)
    (stored.folder / "responses.sqlite").unlink()
    with (tmp_path / "stdout").open("wb") as stdout, pytest.raises(HarnessError, match="no answers"):
        export_answers(stored, "jsonl", None, stdout)


def test_numbers_and_dates_are_answers_too(tmp_path: Path) -> None:
    outputs = [4, "2024-01-01", True, 7.5, None, "NaN", {"a": 1}]
    rows = [{"model": "a", "prompt_id": f"p{i}", "output": o} for i, o in enumerate(outputs)]
    _, found = answers(tmp_path, endpoint(save(tmp_path, ".jsonl", rows)))
    assert [r.text for r in found] == ["4", "2024-01-01", "true", "7.5", "", "NaN", '{"a":1}']
    assert [r.outcome for r in found] == ["ok", "ok", "ok", "ok", "empty", "ok", "ok"]
    numbers = [{"model": "a", "prompt_id": i, "output": i} for i in range(3)]
    _, found = answers(tmp_path, endpoint(save(tmp_path, ".parquet", numbers)))
    assert [(r.prompt, r.text) for r in found] == [("0", "0"), ("1", "1"), ("2", "2")]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_raw_completions_stay_apart_from_answers(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"model": "a", "prompt_id": p, "prompt": p, "surface": s, "output": "text"}
        for p, s in (("chat-1", "chat"), ("stub-1", "completion"), ("other", ""))
    ]
    prompts, _ = answers(tmp_path, endpoint(save(tmp_path, suffix, rows)))
    assert [p.surface for p in prompts] == ["chat", "completion", "chat"]
    assert ["wording" in p.channels for p in prompts] == [True, False, True]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_cells_of_parts_are_read_as_parts(tmp_path: Path, suffix: str) -> None:
    parts = [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "yes"}]
    top = [{"token": "a", "logprob": -0.1, "top_logprobs": [{"token": "a", "logprob": -0.1}]}]
    rows = [{"model": "a", "prompt_id": p, "output": parts, "logprobs": {"content": top}} for p in "xy"]
    _, found = answers(tmp_path, endpoint(save(tmp_path, suffix, rows)))
    assert [(r.text, r.reasoning, r.outcome) for r in found] == [("yes", "hm", "ok")] * 2
    decoded = decode_logprobs(found[0].logprobs)
    assert decoded is not None
    assert len(decoded.top) == 1


def test_a_list_of_texts_is_no_answer(tmp_path: Path) -> None:
    rows = [{"model": "a", "prompt_id": "x", "output": ["one", "two"]}]
    assert "a list of 2 texts" in refused(tmp_path, endpoint(save(tmp_path, ".parquet", rows)))


def both(tmp_path: Path, suffix: str, **columns: list[Any]) -> list[Response]:
    """Answers to two prompts from a table with these columns."""
    given = {"model": ["a", "a"], "prompt_id": ["p1", "p2"], "output": ["x", "y"], **columns}
    rows = [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
    return answers(tmp_path, endpoint(save(tmp_path, suffix, rows)))[1]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_numbers_that_python_writes_and_no_json_has(tmp_path: Path, number: str, suffix: str) -> None:
    rows = [
        f'{{"model":"a","prompt_id":"{p}","output":"{p} is {number}","score":{number},"x":[{number}]}}' for p in "12"
    ]
    (tmp_path / f"n{suffix}").write_text("\n".join(rows) if suffix == ".jsonl" else f"[{','.join(rows)}]")
    _, found = answers(tmp_path, endpoint(f"n{suffix}"))
    assert [r.text for r in found] == [f"1 is {number}", f"2 is {number}"]


@pytest.mark.parametrize(
    ("suffix", "output"),
    [
        (".parquet", [["x"], ["y"]]),
        (".jsonl", [["x"], ["y"]]),
        (".parquet", [{"text": "x", "score": 1.0}, {"text": "y", "score": 2.0}]),
        (".parquet", [[{"generated_text": "x"}], [{"generated_text": "y"}]]),
        (".parquet", [b"x", b"y"]),
    ],
)
def test_what_holds_one_text_is_that_text(tmp_path: Path, suffix: str, output: list[Any]) -> None:
    assert [r.text for r in both(tmp_path, suffix, output=output)] == ["x", "y"]


@pytest.mark.parametrize(
    ("suffix", "output", "said"),
    [
        (".parquet", [["x", "z"], ["y"]], "a list of 2 texts"),
        (".jsonl", [["x", "z", "w"], ["y"]], "lists of 3 texts"),
        (".json", [["x", "z"], ["y"]], "lists of 2 texts"),
        (".parquet", [{"status": 200, "took": 3}, {"status": 200, "took": 4}], "an object with status, took"),
    ],
)
def test_what_holds_no_one_text_is_named_and_never_compared(
    tmp_path: Path, suffix: str, output: list[Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        both(tmp_path, suffix, output=output)


TOP = {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": [{"token": "a", "logprob": -0.1}]}]}


@pytest.mark.parametrize("logprobs", [TOP, TOP["content"], json.dumps(TOP), repr(TOP)])
def test_logprobs_in_every_form_that_a_table_holds(tmp_path: Path, logprobs: Any) -> None:
    for r in both(tmp_path, ".parquet", logprobs=[logprobs, logprobs]):
        decoded = decode_logprobs(r.logprobs)
        assert decoded is not None
        assert decoded.top == ({b"a": -0.1},)


@pytest.mark.parametrize(("ids", "suffix"), [([1.0, 2.0], ".parquet"), (["1.0", "2.0"], ".csv"), ([1, 2], ".jsonl")])
def test_ids_that_a_table_made_floats_of_are_the_same_ids(tmp_path: Path, ids: list[Any], suffix: str) -> None:
    assert [r.prompt for r in both(tmp_path, suffix, prompt_id=ids)] == ["1", "2"]


def test_a_row_without_an_id_and_files_without_a_common_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has nothing in 'prompt_id'"):
        both(tmp_path, ".parquet", prompt_id=[1.0, float("nan")])
    for name, ids in (("s", "12"), ("c", ("q1", "q2"))):
        rows = [{"model": name, "prompt_id": p, "prompt": "?", "output": "x"} for p in ids]
        save(tmp_path, ".jsonl", rows)
        (tmp_path / "answers.jsonl").rename(tmp_path / f"{name}.jsonl")
    (tmp_path / "config.yaml").write_text(
        "campaign: c\nprompts: [{set: recorded}]\nendpoints:\n"
        "- {name: s, role: suspect, kind: recorded, path: s.jsonl}\n"
        "- {name: c, role: candidate, kind: recorded, path: c.jsonl, lineage: l}\n"
        "analysis: {questions: [identity]}\n"
    )
    with pytest.raises(ConfigError, match="no prompt was answered by all of c, s") as caught:
        prepare(tmp_path / "config.yaml", {})
    assert "s has '1 and 2', c has 'q1 and q2'" in caught.value.hint
