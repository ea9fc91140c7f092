"""Answers out of a store and into another campaign: nothing lost, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.config.endpoint import Recorded
from harness.errors import ConfigError, StoreError
from harness.plan import STORE, Plan, stored_plan
from harness.records import Response
from harness.sources import gather
from harness.sources.formats import open_source
from harness.store.store import Store
from harness.transfer import FORMATS, blocks_of, export_answers, write_answers
from tests.support import Write
from tests.support.recordings import everything
from tests.support.stored_plans import LOGPROBS, answered

TEXTS = [
    *("=1+1", "  =HYPERLINK(1)", "'=quoted", "null", "NA", "007", "two\nlines", 'quote " and , comma', "", "  "),
    *("\u2028\u0085 \U0001f600", "@x", "-3", "\tcmd", "|calc", "%0A"),
]


@pytest.fixture
def plan(write_campaign: Write) -> Plan:
    path = write_campaign("http://127.0.0.1:9/v1", n=4, samples=2)
    answered(path, TEXTS, reasoning="+thoughts", refusal="", finish_reason="stop")
    return stored_plan(path)


def export(plan: Plan, fmt: str, out: Path | None) -> int:
    return export_answers(plan, fmt, out, io.BytesIO(), logprobs=True)


def again(folder: Path, file: str) -> list[Response]:
    names = ("good", "fine")
    return everything([Recorded(kind="recorded", name=n, role="suspect", path=file) for n in names], folder, {})[1]


def import_outputs(sources: list[str], out: Path, named: Any = None, model: str | None = None) -> dict[str, int]:
    """Answers by model of what was read and written."""
    gathered = gather(sources, named, model)
    write_answers(out, gathered.entries)
    return {c.model: c.answers for c in gathered.account.models}


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [row for sheet in open_source(str(path)) for row in sheet.rows]  # type: ignore[union-attr]


def kept(r: Response) -> tuple[Any, ...]:
    from harness.token_logprobs import unpack

    logprobs = unpack(r.logprobs) if r.logprobs else b""
    return r.endpoint, r.prompt, r.sample, r.text, r.outcome, r.reasoning, r.finish_reason, r.prompt_tokens, logprobs


@pytest.mark.parametrize("fmt", ["jsonl", "csv", "parquet"])
def test_out_and_in_again_is_the_same(plan: Plan, tmp_path: Path, fmt: str) -> None:
    assert export(plan, fmt, tmp_path / f"out.{fmt}") == 16
    with Store(plan.folder / STORE, readonly=True) as store:
        before = sorted(kept(r) for r in store.responses())
    assert {b[3] for b in before} == set(TEXTS)
    assert before[0][-1] == LOGPROBS.encode()
    assert sorted(kept(r) for r in again(tmp_path, f"out.{fmt}")) == before


def test_a_data_set_that_the_library_opens(plan: Plan, tmp_path: Path) -> None:
    from datasets import load_from_disk

    assert export(plan, "dataset", tmp_path / "answers") == 16
    found = load_from_disk(str(tmp_path / "answers"))
    assert sorted(found["output"]) == sorted(TEXTS)
    assert found.features["sample"].dtype == "int64"
    with pytest.raises(ConfigError, match="there already"):
        export(plan, "dataset", tmp_path / "answers")
    assert {p.name for p in tmp_path.iterdir()} == {"answers", "config.yaml", "prompts", "results"}


def test_no_cell_is_a_formula(plan: Plan, tmp_path: Path) -> None:
    export(plan, "csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as f:
        rows = list(csv.reader(f))
    cells = [c for row in rows for c in row]
    assert "'=1+1" in cells
    assert "'+thoughts" in cells
    assert not [c for c in cells if c.lstrip()[:1] in ("=", "+", "-", "@", "|", "%") or c[:1] in ("\t", "\r")]


def test_logprobs_only_when_asked_for(plan: Plan) -> None:
    with_them, without = io.BytesIO(), io.BytesIO()
    export_answers(plan, "jsonl", None, with_them, logprobs=True)
    export_answers(plan, "jsonl", None, without)
    assert json.loads(with_them.getvalue().splitlines()[0])["logprobs"] == LOGPROBS
    assert "logprobs" not in json.loads(without.getvalue().splitlines()[0])


def test_a_failure_leaves_neither_file_nor_part(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("before")

    def full(target: Any, batches: Any, columns: Any) -> None:
        target.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "jsonl", full)
    with pytest.raises(StoreError, match="No space left"):
        export(plan, "jsonl", out)
    assert out.read_text() == "before"
    assert not list(tmp_path.glob(".*part"))


ODD = [
    {"generator": m, "question": f"Q {q}?", "response": f"{m} on {q}, {s}", "thinking": "hm", "usage": 3}
    for m in ("org/model a", "org/model-a")
    for q in range(3)
    for s in range(2)
]


def test_columns_of_any_name_become_a_recorded_endpoint(tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text("\n".join(json.dumps(r) for r in ODD))
    with (tmp_path / "odd.csv").open("w", newline="") as f:
        writer = csv.DictWriter(f, list(ODD[0]))
        writer.writeheader()
        writer.writerows(ODD)
    counts = [
        import_outputs([str(tmp_path / n)], tmp_path / "data" / f"{n}.parquet")[m]
        for n in ("odd.jsonl", "odd.csv")
        for m in ("org/model a", "org/model-a")
    ]
    assert counts == [6, 6, 6, 6]
    tables = [list(read_rows(tmp_path / "data" / f"{n}.parquet")) for n in ("odd.jsonl", "odd.csv")]
    assert tables[0] == tables[1]
    assert [r["sample"] for r in tables[0][:4]] == [0, 1, 0, 1]
    assert {r["reasoning"] for r in tables[0]} == {"hm"}


def test_the_printed_yaml_works(tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text("\n".join(json.dumps(r) for r in ODD))
    import_outputs([str(tmp_path / "odd.jsonl")], tmp_path / "odd.parquet", {"reasoning": "usage"})
    blocks = blocks_of(Path("odd.parquet"), ["org/model a", "org/model-a"])
    assert [b["name"] for b in blocks] == ["org-model-a", "org-model-a-2"]
    prompts, found = everything([Recorded(**b) for b in blocks], tmp_path, {})
    assert [p.text for p in prompts] == ["Q 0?", "Q 1?", "Q 2?"]
    assert [p.samples for p in prompts] == [2, 2, 2]
    assert len(found) == 12
    assert {r.reasoning for r in found} == {"3"}


def test_import_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text(json.dumps({"a": 1, "prompt": "x"}) + "\n{half")
    out = tmp_path / "out"
    for named, model, said in (
        ({}, "m", "odd.jsonl:2"),
        ({"output": "b"}, "m", "no column 'b'"),
        ({}, "m", "no column can be told to hold the answers"),
    ):
        with pytest.raises(ConfigError, match=said):
            import_outputs([str(path)], out, named, model)
        path.write_text(json.dumps({"a": 1, "prompt": "x"}) + "\n")
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob("*.parquet"))


def test_the_commands(plan: Plan, tmp_path: Path) -> None:
    def harness(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", *args]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)

    done = harness("export", "config.yaml", "--format", "csv", "--out", "out.csv", "--logprobs")
    assert done.returncode == 0, done.stderr
    done = harness("import", "out.csv", "--out", "data/out")
    assert done.returncode == 0, done.stderr
    assert "path: data/out.parquet" in done.stdout
    outputs = [r["output"] for r in read_rows(tmp_path / "data" / "out.parquet")]
    assert sorted(outputs) == sorted(TEXTS)
    assert harness("import", "none.csv", "--out", "x").returncode == 2


@pytest.mark.parametrize(("value", "said"), [("x", "not a whole number"), (0, "two answers with sample 0")])
def test_samples_must_tell_answers_apart(tmp_path: Path, value: object, said: str) -> None:
    rows = [{"model": "good", "prompt_id": "p", "output": "o", "sample": s} for s in (0, value)]
    (tmp_path / "s.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    endpoint = Recorded(kind="recorded", name="good", role="suspect", path="s.jsonl")
    with pytest.raises(ConfigError, match=said):
        everything([endpoint], tmp_path, {})


def test_rows_that_say_an_answer_twice_are_one_answer(tmp_path: Path) -> None:
    rows = [{"model": m, "prompt": p, "output": f"{m} on {p}"} for m in "ab" for p in "xyz"]
    path = tmp_path / "twice.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in [*rows, *rows[:2]]))
    account = gather([str(path)]).account
    assert account.copies == {"a": 2}
    assert [(c.model, c.answers) for c in account.models] == [("a", 3), ("b", 3)]
    numbered = [r | {"sample": i} for i in range(2) for r in rows]
    path.write_text("\n".join(json.dumps(r) for r in numbered))
    assert [c.answers for c in gather([str(path)]).account.models] == [6, 6]


def test_import_keeps_thoughts_apart_from_the_answer(tmp_path: Path) -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]
    path = tmp_path / "parts.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({"model": "m", "prompt": f"q{i}", "output": o})
            for i, o in enumerate((parts, repr(parts), "yes"))
        )
    )
    import_outputs([str(path)], tmp_path / "parts.parquet")
    found = list(read_rows(tmp_path / "parts.parquet"))
    assert [(r["output"], r["reasoning"]) for r in found] == [("yes", "hm"), ("yes", "hm"), ("yes", None)]
