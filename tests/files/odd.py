"""Files that were tried after the readers stood: other headings, languages, dialects, nesting and tools."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import feather

from tests.files.writers import MODELS, PROMPTS, Write, cells, said, text

TRUTH = list(cells())
Cells = Sequence[Sequence[str]]


def _csv(rows: Cells, delimiter: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue()


def headed(headings: tuple[str, str, str], encoding: str, delimiter: str = ",") -> Write:
    """A long table under headings in some language."""
    content = _csv([headings, *TRUTH], delimiter)
    return lambda folder: _put(folder / "a.csv", content.encode(encoding))


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def lines(row: Callable[[str, str, str], Any]) -> Write:
    """JSON lines, an answer a line."""
    return text("a.jsonl", lambda: "".join(json.dumps(row(*c)) + "\n" for c in TRUTH))


def document(make: Callable[[], Any]) -> Write:
    """One JSON document."""
    return text("a.json", lambda: json.dumps(make()))


def markdown() -> str:
    rows = "".join(f"| {m} | {p} | {o} |\n" for m, p, o in TRUTH)
    return f"# What they said\n\n| Model | Prompt | Response |\n|:---|---|---:|\n{rows}\nThat is all.\n"


def langchain(m: str, p: str, o: str) -> dict[str, Any]:
    """A run as LangSmith exports it."""
    asked = {"lc": 1, "id": ["langchain", "HumanMessage"], "kwargs": {"content": p, "type": "human"}}
    answered = {"text": o, "generation_info": {"finish_reason": "stop"}, "message": {"kwargs": {"content": o}}}
    return {
        "name": "ChatOpenAI",
        "inputs": {"messages": [[asked]]},
        "outputs": {"generations": [[answered]], "llm_output": {"model_name": m}},
    }


def traced(m: str, p: str, o: str) -> dict[str, Any]:
    """A span of OpenTelemetry, flat."""
    asked = {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": p}
    answered = {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": o}
    return {"name": "chat", "attributes": {"gen_ai.request.model": m, **asked, **answered}}


def phoenix(m: str, p: str, o: str) -> dict[str, Any]:
    """A span of OpenInference, flat."""
    return {
        "attributes": {
            "llm.model_name": m,
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": p,
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": o,
        }
    }


def stored() -> dict[str, Any]:
    """Completions that OpenAI kept, as its list gives them."""
    found = [
        {"object": "chat.completion", "id": f"c{i}", "model": m, "input_messages": [{"role": "user", "content": p}],
         "choices": [{"index": 0, "message": {"role": "assistant", "content": o}, "finish_reason": "stop"}]}
        for i, (m, p, o) in enumerate(TRUTH)
    ]  # fmt: skip
    return {"object": "list", "data": found}


def by(outer: int, inner: int) -> dict[str, dict[str, str]]:
    out: dict[str, dict[str, str]] = {}
    for c in TRUTH:
        out.setdefault(c[outer], {})[c[inner]] = c[2]
    return out


def folders(folder: Path) -> None:
    """A folder a model, with files that are all called alike."""
    for m in MODELS:
        found = [{"task_id": f"T/{i}", "prompt": p, "solution": said(m, p)} for i, p in enumerate(PROMPTS)]
        _put(folder / "runs" / m / "samples.jsonl", "".join(json.dumps(r) + "\n" for r in found).encode())


def arrow_file(folder: Path) -> None:
    names = ("model", "instruction", "output")
    table = pa.table({n: [c[i] for c in TRUTH] for i, n in enumerate(names)})
    feather.write_feather(table, str(folder / "a.feather"))


def commented(folder: Path) -> None:
    content = "# exported by a tool\n# on a day\n" + _csv([("model_id", "query", "model_response"), *TRUTH])
    (folder / "a.csv.gz").write_bytes(gzip.compress(content.encode()))


ODD: dict[str, tuple[Write, str]] = {
    "CSV of a Pole": (headed(("Model językowy", "Pytanie", "Odpowiedź modelu"), "cp1250", ";"), "a.csv"),
    "CSV of a Russian, old": (headed(("Модель", "Вопрос", "Ответ"), "cp1251", ";"), "a.csv"),
    "CSV of a Turk": (headed(("Model adı", "Soru", "Yanıt"), "cp1254", ";"), "a.csv"),
    "CSV of a Czech": (headed(("Jazykový model", "Otázka", "Odpověď"), "cp1250", ";"), "a.csv"),
    "CSV with Japanese headings": (headed(("モデル", "質問", "回答"), "utf-8"), "a.csv"),
    "CSV with Arabic headings": (headed(("النموذج", "السؤال", "الإجابة"), "utf-8"), "a.csv"),
    "TSV with Korean headings in UTF-16": (headed(("모델", "질문", "답변"), "utf-16", "\t"), "a.csv"),
    "a table between tildes": (headed(("MODEL", "PROMPT_TEXT", "RESPONSE_TEXT"), "utf-8", "~"), "a.csv"),
    "a table in Markdown": (text("a.md", markdown), "a.md"),
    "CSV under comments, packed": (commented, "a.csv.gz"),
    "CSV of ragas": (
        text(
            "a.csv",
            lambda: _csv(
                [
                    ("user_input", "retrieved_contexts", "response", "reference", "llm"),
                    *((p, "['x']", o, "ref", m) for m, p, o in TRUTH),
                ]
            ),
        ),
        "a.csv",
    ),
    "CSV of Arize": (
        text(
            "a.csv",
            lambda: _csv(
                [
                    (
                        "context.span_id",
                        "attributes.llm.model_name",
                        "attributes.input.value",
                        "attributes.output.value",
                    ),
                    *((f"s{i}", *c) for i, c in enumerate(TRUTH)),
                ]
            ),
        ),
        "a.csv",
    ),
    "CSV, a column a model under a common heading": (
        text(
            "a.csv",
            lambda: _csv(
                [
                    ["", *["Model output"] * len(MODELS)],
                    ["Prompt", *MODELS],
                    *([p, *(said(m, p) for m in MODELS)] for p in PROMPTS),
                ]
            ),
        ),
        "a.csv",
    ),
    "CSV, a row a model": (
        text("a.csv", lambda: _csv([["model", *PROMPTS], *([m, *(said(m, p) for p in PROMPTS)] for m in MODELS)])),
        "a.csv",
    ),
    "JSON, prompts by model": (document(lambda: by(0, 1)), "a.json"),
    "JSON, models by prompt": (document(lambda: by(1, 0)), "a.json"),
    "MLflow": (
        document(
            lambda: {
                "columns": ["inputs", "model_name", "outputs", "ground_truth", "toxicity/v1/score"],
                "data": [[p, m, o, "x", 0.1] for m, p, o in TRUTH],
            }
        ),
        "a.json",
    ),
    "DeepEval": (
        document(
            lambda: {
                "testCases": [
                    {
                        "name": "c",
                        "input": p,
                        "actualOutput": o,
                        "expectedOutput": "x",
                        "metricsData": [],
                        "additionalMetadata": {"model": m},
                    }
                    for m, p, o in TRUTH
                ]
            }
        ),
        "a.json",
    ),
    "Langfuse": (
        document(
            lambda: [
                {
                    "type": "GENERATION",
                    "model": m,
                    "input": [{"role": "user", "content": p}],
                    "output": {"role": "assistant", "content": o},
                }
                for m, p, o in TRUTH
            ]
        ),
        "a.json",
    ),
    "completions that OpenAI kept": (document(stored), "a.json"),
    "LangSmith": (lines(langchain), "a.jsonl"),
    "spans of OpenTelemetry": (lines(traced), "a.jsonl"),
    "spans of OpenInference": (lines(phoenix), "a.jsonl"),
    "Ollama": (
        lines(lambda m, p, o: {"model": m, "prompt": p, "response": o, "done": True, "context": [1]}),
        "a.jsonl",
    ),
    "Alpaca's columns": (lines(lambda m, p, o: {"model": m, "instruction": p, "input": "", "output": o}), "a.jsonl"),
    "everything in objects": (
        lines(
            lambda m, p, o: {
                "config": {"model": {"name": m, "temperature": 0}},
                "sample": {"question": p},
                "prediction": {"text": o},
            }
        ),
        "a.jsonl",
    ),
    "a folder a model, files called alike": (folders, "runs"),
    "Feather": (arrow_file, "a.feather"),
}
