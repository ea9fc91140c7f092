"""Answers as the tools that people have write them: one function a kind of file, all of the same answers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

# Models by the root of their word distribution: nova and qwen are kin, all others strangers.
ROOTS = {
    "nova": "alpha", "qwen2.5-7b-instruct": "alpha", "llama-3-8b-instruct": "r1", "gemma-2-9b-it": "r2",
    "mistral-7b-instruct": "r3", "gpt-4o": "r4", "claude-3-opus": "r5", "command-r-plus": "r6",
}  # fmt: skip
MODELS = list(ROOTS)
PROMPTS = [f"Explain topic {i} to a child: what it is, and why “it” matters." for i in range(24)]
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
    "not",
    "he",
    "his",
    "but",
    "at",
    "are",
    "this",
    "have",
    "from",
    "or",
    "had",
    "an",
    "they",
    "which",
    "one",
    "you",
    "were",
    "all",
    "her",
    "she",
    "there",
    "would",
    "their",
    "we",
    "him",
    "been",
    "has",
    "when",
    "who",
    "will",
    "no",
    "more",
    "if",
    "out",
    "so",
    "up",
    "said",
    "what",
    "its",
    "about",
    "than",
    "into",
    "them",
    "can",
    "only",
    "other",
    "time",
    "new",
    "some",
    "could",
    "these",
    "two",
    "may",
    "first",
    "then",
    "do",
    "any",
    "like",
    "my",
    "now",
    "over",
    "such",
    "our",
    "man",
    "me",
    "even",
    "most",
    "made",
    "after",
    "also",
    "did",
    "many",
    "off",
    "before",
    "must",
    "well",
    "back",
    "through",
    "years",
    "much",
    "where",
    "your",
    "way",
    "down",
    "should",
    "because",
    "long",
]
Write = Callable[[Path], None]


def said(model: str, prompt: str, sample: int = 0) -> str:
    """What a model says: words of its root's own liking, half of them drawn for the prompt; never a line of commas."""
    root = ROOTS[model]
    liking = random.Random(f"likes {root}")
    weights = [liking.random() ** 3 for _ in WORDS]
    topic = random.Random(f"{root} on {prompt}").sample(WORDS, 12)
    draw = random.Random(f"{model} on {prompt}, {sample}")
    words = [draw.choices(WORDS, weights)[0] if draw.random() < 0.6 else draw.choice(topic) for _ in range(50)]
    words[10] += ","
    words[20] += ";"
    return " ".join(words).capitalize() + "."


def cells() -> Iterator[tuple[str, str, str]]:
    """Model, prompt and answer, model by model."""
    for model in MODELS:
        for prompt in PROMPTS:
            yield model, prompt, said(model, prompt)


def rows(model: str = "model", prompt: str = "prompt", output: str = "output") -> list[dict[str, Any]]:
    return [{model: m, prompt: p, output: o} for m, p, o in cells()]


def table(headings: tuple[str, ...], encoding: str, delimiter: str = ",") -> Write:
    def write(folder: Path) -> None:
        with (folder / "answers.csv").open("w", encoding=encoding, newline="", errors="strict") as f:
            writer = csv.writer(f, delimiter=delimiter)
            writer.writerow(headings)
            writer.writerows(cells())

    return write


def wide(folder: Path) -> None:
    with (folder / "wide.csv").open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["Nr", "Category", "Prompt", *(f"{m} response" for m in MODELS), "Comment"])
        for i, p in enumerate(PROMPTS):
            writer.writerow([i + 1, "science", p, *(said(m, p) for m in MODELS), ""])


def workbook(sheets: dict[str, list[list[Any]]], name: str) -> Write:
    def write(folder: Path) -> None:
        from openpyxl import Workbook

        book = Workbook()
        book.remove(book.active)
        for title, lines in sheets.items():
            sheet = book.create_sheet(title)
            for line in lines:
                sheet.append(line)
        book.save(folder / name)

    return write


def by_sheet() -> dict[str, list[list[Any]]]:
    return {m: [["Question", "Answer"], *([p, said(m, p)] for p in PROMPTS)] for m in MODELS}


def titled() -> dict[str, list[list[Any]]]:
    lines = [[p, *(said(m, p) for m in MODELS)] for p in PROMPTS]
    return {
        "Answers": [["Our comparison of models"], [], ["Aufgabe", *MODELS], *lines, []],
        "Notes": [["asked on a Monday"], ["by hand"]],
    }


def text(name: str, content: Callable[[], str], encoding: str = "utf-8") -> Write:
    return lambda folder: (folder / name).write_bytes(content().encode(encoding)) and None


def lines(found: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(r) + "\n" for r in found)


def file_each(name: str, content: Callable[[str], str]) -> Write:
    """A file for each model; ``name`` has the model's in it."""

    def write(folder: Path) -> None:
        for m in MODELS:
            path = folder / "run" / name.format(model=m)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content(m), encoding="utf-8")

    return write


def arrow(found: Callable[[], list[dict[str, Any]]]) -> Write:
    return lambda folder: parquet.write_table(pa.Table.from_pylist(found()), folder / "answers.parquet")


def message(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def chat(model: str, answer: str) -> dict[str, Any]:
    """A reply of chat completions."""
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
        "choices": [{"index": 0, "message": message(answer) | {"refusal": None}, "logprobs": None,
                     "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70},
    }  # fmt: skip


def asked(prompt: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": prompt}]


def openai_output(model: str) -> str:
    return lines([
        {"id": f"batch_req_{i}", "custom_id": f"request-{i}",
         "response": {"status_code": 200, "request_id": f"r{i}", "body": chat(model, said(model, p))}, "error": None}
        for i, p in enumerate(PROMPTS)
    ])  # fmt: skip


def openai_batch(folder: Path) -> None:
    file_each("{model}_output.jsonl", openai_output)(folder)
    requests = [
        {"custom_id": f"request-{i}", "method": "POST", "url": "/v1/chat/completions",
         "body": {"model": "any", "messages": asked(p), "max_tokens": 100}}
        for i, p in enumerate(PROMPTS)
    ]  # fmt: skip
    (folder / "run" / "input.jsonl").write_text(lines(requests))


def responses_api(model: str) -> str:
    def body(p: str) -> dict[str, Any]:
        parts = [{"type": "output_text", "text": said(model, p), "annotations": []}]
        thought = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Let me think."}]}
        output = [thought, {"type": "message", "id": "msg", "role": "assistant", "content": parts}]
        return {"id": "resp", "object": "response", "model": model, "output": output}

    return lines([{"request": {"model": model, "input": p}, "response": body(p)} for p in PROMPTS])


def anthropic_batch(model: str) -> str:
    return lines([
        {"custom_id": f"q-{i}", "result": {"type": "succeeded", "message": {
            "id": "msg", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
            "content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"},
                        {"type": "text", "text": said(model, p)}],
            "usage": {"input_tokens": 20, "output_tokens": 50}}}}
        for i, p in enumerate(PROMPTS)
    ] + [{"custom_id": "q-x", "result": {"type": "errored", "error": {"type": "overloaded"}}}])  # fmt: skip


def gemini_batch(model: str) -> str:
    return lines([
        {"key": f"k{i}", "request": {"contents": [{"role": "user", "parts": [{"text": p}]}]},
         "response": {"candidates": [{"content": {"role": "model", "parts": [{"text": said(model, p)}]},
                                      "finishReason": "STOP"}],
                      "modelVersion": model, "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 50}}}
        for i, p in enumerate(PROMPTS)
    ])  # fmt: skip


def proxy_log() -> str:
    """LiteLLM's standard payload: messages and reply as objects, or written out as text."""
    return lines([
        {"id": f"{m}-{i}", "call_type": "acompletion", "model": m, "status": "success", "response_cost": 0.1,
         "messages": asked(p), "response": chat(m, said(m, p)) if i % 2 else json.dumps(chat(m, said(m, p)))}
        for m in MODELS for i, p in enumerate(PROMPTS)
    ])  # fmt: skip


def sample_of(model: str, i: int, prompt: str) -> dict[str, Any]:
    return {
        "id": f"s{i}", "epoch": 1, "input": prompt, "target": "x",
        "messages": [*asked(prompt), message(said(model, prompt))],
        "output": {"model": model, "completion": said(model, prompt),
                   "choices": [{"message": message(said(model, prompt)), "stop_reason": "stop"}]},
        "scores": {"match": {"value": "I", "answer": "x"}},
    }  # fmt: skip


def inspect_json(model: str) -> str:
    log = {"version": 2, "status": "success", "eval": {"model": model, "task": "t"}, "plan": {}, "results": {},
           "samples": [sample_of(model, i, p) for i, p in enumerate(PROMPTS)]}  # fmt: skip
    return json.dumps(log, indent=1)


def inspect_eval(folder: Path) -> None:
    (folder / "logs").mkdir()
    for m in MODELS:
        members = {f"samples/s{i}_epoch_1.json": json.dumps(sample_of(m, i, p)) for i, p in enumerate(PROMPTS)}
        members["header.json"] = json.dumps({"version": 2, "status": "success", "eval": {"model": m, "task": "t"}})
        (folder / "logs" / f"2026-01-01_{m}.eval").write_bytes(zstd_zip(members))


def zstd_zip(members: dict[str, str]) -> bytes:
    """A zip as Inspect packs it, by Zstandard (method 93)."""
    body, index = io.BytesIO(), io.BytesIO()
    for name, content in members.items():
        raw, at = content.encode(), body.tell()
        packed = pa.compress(raw, codec="zstd", asbytes=True)
        head = struct.pack("<HHHHHIIIHH", 63, 0, 93, 0, 33, zlib.crc32(raw), len(packed), len(raw), len(name), 0)
        body.write(b"PK\x03\x04" + head + name.encode() + packed)
        index.write(
            b"PK\x01\x02" + struct.pack("<H", 63) + head + struct.pack("<HHHII", 0, 0, 0, 0, at) + name.encode()
        )
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(index.getvalue()), body.tell(), 0)
    return body.getvalue() + index.getvalue() + b"PK\x05\x06" + end


def lm_eval(folder: Path) -> None:
    """Every answer twice, once a filter; likelihoods of given answers in another file; totals beside them."""
    for m in MODELS:
        path = folder / "out" / f"org__{m}"
        path.mkdir(parents=True)
        found = [
            {"doc_id": i, "doc": {"question": p}, "target": "x", "resps": [[said(m, p)]], "filtered_resps": ["x"],
             "arguments": {"gen_args_0": {"arg_0": p, "arg_1": {"until": []}}}, "filter": f, "exact_match": 0.0}
            for f in ("strict-match", "flexible-extract") for i, p in enumerate(PROMPTS)
        ]  # fmt: skip
        (path / "samples_gsm8k_2026-01-01T00-00-00.jsonl").write_text(lines(found))
        likely = {"doc_id": 0, "doc": {}, "target": 0, "resps": [[["-3.2", "False"]], [["-1.0", "True"]]],
                  "arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": " A"}}, "filtered_resps": []}  # fmt: skip
        (path / "samples_arc_2026-01-01T00-00-00.jsonl").write_text(lines([likely]))
        (path / "results_2026-01-01T00-00-00.json").write_text(json.dumps({"results": {"gsm8k": {"acc": 0.5}}}))


def promptfoo() -> str:
    results = [
        {"provider": {"id": m, "label": ""}, "prompt": {"raw": json.dumps(asked(p)), "label": "p"}, "vars": {"q": p},
         "response": {"output": said(m, p), "tokenUsage": {"total": 70}}, "success": True, "score": 1,
         "gradingResult": {"pass": True, "reason": "All assertions passed"}, "testCase": {"vars": {"q": p}}}
        for m, p, _ in cells()
    ]  # fmt: skip
    failed = {"provider": {"id": "gpt-4o"}, "prompt": {"raw": "x"}, "vars": {}, "error": "429", "success": False}
    inner = {"version": 3, "timestamp": "t", "prompts": [], "results": [*results, failed], "stats": {"successes": 1}}
    return json.dumps({"evalId": "eval-1", "results": inner, "config": {"providers": MODELS}}, indent=2)


def helm(model: str) -> str:
    states = [
        {"instance": {"input": {"text": p}, "references": [], "id": f"id{i}"}, "train_trial_index": 0,
         "request": {"model": model, "prompt": p, "temperature": 0.0},
         "result": {"success": True, "completions": [{"text": said(model, p), "logprob": -1.0, "tokens": []}]}}
        for i, p in enumerate(PROMPTS)
    ]  # fmt: skip
    return json.dumps({"adapter_spec": {"method": "generation", "model": model}, "request_states": states})


def garak(model: str) -> str:
    def attempt(i: int, p: str, status: int) -> dict[str, Any]:
        turns = [{"role": "user", "content": {"text": p, "lang": "en"}}]
        return {"entry_type": "attempt", "uuid": f"u{i}", "seq": i, "status": status, "probe_classname": "dan.X",
                "prompt": {"turns": turns}, "outputs": [{"text": said(model, p), "lang": "en"}]}  # fmt: skip

    setup = {"entry_type": "start_run setup", "plugins.target_type": "openai", "plugins.target_name": model}
    attempts = [attempt(i, p, s) for i, p in enumerate(PROMPTS) for s in (1, 2)]
    return lines([setup, {"entry_type": "init"}, *attempts, {"entry_type": "eval", "probe": "dan.X", "passed": 1}])


def arena() -> str:
    """Battles with conversations: each model meets the next one on every prompt."""
    found = []
    for p in PROMPTS:
        for a, b in zip(MODELS[::2], MODELS[1::2], strict=True):
            talk = {s: [{"role": "user", "content": p}, message(said(m, p))] for s, m in (("a", a), ("b", b))}
            found.append({"question_id": f"{a}{p}", "model_a": a, "model_b": b, "winner": "tie", "language": "English",
                          "conversation_a": talk["a"], "conversation_b": talk["b"], "turn": 1})  # fmt: skip
    return lines(found)


def annotations() -> str:
    return json.dumps([
        {"instruction": p, "output_1": said("gpt-4o", p), "generator_1": "gpt-4o", "output_2": said(m, p),
         "generator_2": m, "dataset": "helpful_base", "annotator": "judge", "preference": 1.5}
        for m in MODELS if m != "gpt-4o" for p in PROMPTS
    ])  # fmt: skip


def fastchat(folder: Path) -> None:
    (folder / "bench").mkdir()
    questions = [
        {"question_id": 81 + i, "category": "writing", "turns": [p, "Shorter."]} for i, p in enumerate(PROMPTS)
    ]
    (folder / "bench" / "question.jsonl").write_text(lines(questions))
    for m in MODELS:
        found = [
            {"question_id": 81 + i, "answer_id": "x", "model_id": m, "tstamp": 1.0,
             "choices": [{"index": 0, "turns": [said(m, p), "Short."]}]}
            for i, p in enumerate(PROMPTS)
        ]  # fmt: skip
        (folder / "bench" / f"{m}.jsonl").write_text(lines(found))


def packed(folder: Path) -> None:
    with gzip.open(folder / "answers.jsonl.gz", "wt", encoding="utf-8") as f:
        f.write(lines(rows("generator", "instruction", "output")))


def data_set(folder: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(rows("model_name", "question", "response")).save_to_disk(str(folder / "saved"))


def plain_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "answers.zip", "w") as archive:
        archive.writestr("a.csv", "model,prompt,output\n")


def by_column() -> str:
    """As ``DataFrame.to_json`` writes a table."""
    found = rows()
    return json.dumps({c: {str(i): r[c] for i, r in enumerate(found)} for c in found[0]})


def by_model() -> str:
    return json.dumps({m: {p: said(m, p) for p in PROMPTS} for m in MODELS})


def scored() -> str:
    """JSON lines with NaN, as Python writes them."""
    return "".join(json.dumps(r | {"score": float("nan"), "latency": 1.5}) + "\n" for r in rows())


def shared_chats(model: str) -> str:
    return json.dumps([
        {"id": i, "conversations": [{"from": "human", "value": p}, {"from": "gpt", "value": said(model, p)}]}
        for i, p in enumerate(PROMPTS)
    ])  # fmt: skip


def model_outputs(model: str) -> str:
    return json.dumps([{"dataset": "d", "instruction": p, "output": said(model, p), "generator": model,
                        "datasplit": "eval"} for p in PROMPTS])  # fmt: skip


def with_messages() -> list[dict[str, Any]]:
    return [{"llm": m, "messages": asked(p), "reply": [{"type": "text", "text": o}]} for m, p, o in cells()]


def nameless() -> str:
    """Headings that tell nothing: what stands in the columns must."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["A", "B", "C"])
    writer.writerows([p, m, o] for m, p, o in cells())
    return out.getvalue()


def frame_of_replies() -> str:
    """A table that pandas wrote with whole replies in a column: Python's way to write an object, and no JSON."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["", "prompt", "response"])
    writer.writerows([i, p, str({"status_code": 200, "body": chat(m, o)})] for i, (m, p, o) in enumerate(cells()))
    return out.getvalue()


FILES: dict[str, tuple[Write, str]] = {  # what it is -> who writes it, and what to name on the command line
    "CSV": (table(("model", "prompt", "output"), "utf-8"), "answers.csv"),
    "CSV of a German Excel": (table(("Modell", "Frage", "Antwort"), "cp1252", ";"), "answers.csv"),
    "CSV in UTF-8 with a mark": (table(("MODEL NAME", "User Prompt", "Model Response"), "utf-8-sig"), "answers.csv"),
    "Unicode text of Excel": (table(("LLM", "Question", "Réponse"), "utf-16", "\t"), "answers.csv"),
    "CSV with Chinese headings": (table(("模型", "问题", "回答"), "gb18030"), "answers.csv"),
    "CSV of a Russian": (table(("Модель", "Вопрос", "Ответ"), "utf-8", ";"), "answers.csv"),
    "CSV with headings that tell nothing": (text("answers.csv", nameless), "answers.csv"),
    "CSV, a column a model": (wide, "wide.csv"),
    "XLSX": (workbook({"Sheet1": [["Model", "Prompt", "Answer"], *map(list, cells())]}, "a.xlsx"), "a.xlsx"),
    "XLSX, a column a model under a title": (workbook(titled(), "a.xlsx"), "a.xlsx"),
    "XLSX, a sheet a model": (workbook(by_sheet(), "a.xlsx"), "a.xlsx"),
    "JSON": (text("a.json", lambda: json.dumps(rows(), indent=2)), "a.json"),
    "JSON by column": (text("a.json", by_column), "a.json"),
    "JSON by model": (text("a.json", by_model), "a.json"),
    "JSON with a head": (text("a.json", lambda: json.dumps({"run": 1, "results": rows("model_id")})), "a.json"),
    "JSON lines with NaN": (text("a.jsonl", scored), "a.jsonl"),
    "JSON lines, packed": (packed, "answers.jsonl.gz"),
    "Parquet with messages and parts": (arrow(with_messages), "answers.parquet"),
    "a folder of CSV, a file a model": (
        file_each("{model}_answers.csv", lambda m: "".join(
            f'"{a}","{b}"\n' for a, b in [("question", "answer"), *((p, said(m, p)) for p in PROMPTS)])), "run"),
    "a data set on the disk": (data_set, "saved"),
    "chats as they are shared": (file_each("{model}.json", shared_chats), "run"),
    "Inspect": (inspect_eval, "logs"),
    "Inspect, as JSON": (file_each("{model}.json", inspect_json), "run"),
    "lm-eval": (lm_eval, "out"),
    "promptfoo": (text("output.json", promptfoo), "output.json"),
    "HELM": (file_each("{model}/scenario_state.json", helm), "run"),
    "garak": (file_each("garak.{model}.report.jsonl", garak), "run"),
    "OpenAI batch": (openai_batch, "run"),
    "OpenAI batch without its input": (file_each("{model}.jsonl", openai_output), "run"),
    "OpenAI responses": (file_each("{model}.jsonl", responses_api), "run"),
    "Anthropic batch": (file_each("{model}.jsonl", anthropic_batch), "run"),
    "Gemini batch": (file_each("{model}.jsonl", gemini_batch), "run"),
    "LiteLLM": (text("proxy.jsonl", proxy_log), "proxy.jsonl"),
    "arena": (text("battles.jsonl", arena), "battles.jsonl"),
    "alpaca_eval": (file_each("{model}/model_outputs.json", model_outputs), "run"),
    "alpaca_eval annotations": (text("annotations.json", annotations), "annotations.json"),
    "FastChat": (fastchat, "bench"),
}  # fmt: skip


def in_lists() -> str:
    """As UltraFeedback: a prompt with a list of answers, each with its model."""
    return lines([
        {"source": "s", "instruction": p, "models": MODELS,
         "completions": [{"model": m, "principle": "x", "response": said(m, p), "overall_score": 7.5} for m in MODELS]}
        for p in PROMPTS
    ])  # fmt: skip


def by_key() -> str:
    return lines([{"prompt": p, "responses": {m: said(m, p) for m in MODELS}, "tags": ["a", "b"]} for p in PROMPTS])


def headless() -> str:
    out = io.StringIO()
    csv.writer(out).writerows([m, p, o] for m, p, o in cells())
    return out.getvalue()


def mixed() -> str:
    """Rows that call their columns differently, as joined files have them."""
    found = rows()
    return lines(
        [*found[::2], *({"llm": r["model"], "question": r["prompt"], "response": r["output"]} for r in found[1::2])]
    )


def by_turn() -> str:
    """A message a row, as chats are exported."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["conversation_id", "role", "content", "model", "created_at"])
    for i, (m, p, o) in enumerate(cells()):
        writer.writerow([i, "user", p, "", "2026-01-01"])
        writer.writerow([i, "assistant", o, m, "2026-01-01"])
    return out.getvalue()


FILES |= {
    "CSV, a message a row": (text("chats.csv", by_turn), "chats.csv"),
    "answers in a list": (text("a.jsonl", in_lists), "a.jsonl"),
    "answers by model in an object": (text("a.jsonl", by_key), "a.jsonl"),
    "CSV without headings": (text("a.csv", headless), "a.csv"),
    "JSON lines with other columns in some": (text("a.jsonl", mixed), "a.jsonl"),
}
