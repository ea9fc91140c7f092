"""Logs of evaluation tools: Inspect, lm-eval, promptfoo, HELM, garak, OpenAI Evals. One reader and one line a tool."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.endpoints import count, read_cell
from harness.sources.calls import (
    Request,
    conversation,
    entries_of,
    is_call,
    is_turn,
    read_calls,
    read_transcripts,
    read_turns_by_row,
    reply_in,
    transcripts_in,
)
from harness.sources.cells import at
from harness.sources.entries import Entry, Found, Row, Skipped
from harness.sources.preferences import is_list, is_pair, is_turns, read_lists, read_pairs, read_turns

Reader = Callable[[tuple[Row, ...], str, str], Iterator[Found]]  # rows, name of the file, name of its folder


@dataclass(frozen=True)
class Tool:
    """A kind of file that a tool writes: ``knows`` a row of it, ``read`` gives its answers."""

    name: str
    knows: Callable[[Row], bool]
    read: Reader
    pairs: bool = False


def tool_of(rows: Iterable[Row]) -> Tool | None:
    """The tool that wrote these rows, by the first that knows one of them; None for a plain table."""
    first = [row for row, _ in zip(rows, range(20), strict=False)]
    return next((tool for tool in TOOLS if any(map(tool.knows, first))), None)


def _asked(value: Any) -> Request | None:
    """A prompt that a log holds as text or as messages."""
    if isinstance(value, str):
        written = conversation(value)
        return written[0] if written else Request(value)
    found = conversation(value)
    return found[0] if found else None


def _inspect(rows: tuple[Row, ...], name: str, folder: str) -> Iterator[Found]:
    for row in rows:
        header = row.get("eval")
        model = str(at(header, "model") or name)
        for sample in row.get("samples") or ():
            request, reply = _asked(sample.get("input")), reply_in({"output": sample.get("output")})
            if reply is None or request is None:
                yield Skipped("call failed" if sample.get("error") else "no answer", str(sample.get("id")))
                continue
            epoch = count(sample.get("epoch"))
            told = [m["content"] for m in sample.get("messages") or () if m.get("role") == "system"]
            request = replace(request, system=request.system or "\n\n".join(read_cell(t).answer for t in told))
            for entry in entries_of(reply, request, model, None):
                yield replace(entry, sample=entry.sample if epoch is None else epoch - 1 + 1000 * (entry.sample or 0))


def _lm_eval(rows: tuple[Row, ...], name: str, folder: str) -> Iterator[Found]:
    """The model's name is that of the folder; the answers are the replies before any filter took something out."""
    model = folder.replace("__", "/") or name
    for row in rows:
        prompt = _lm_eval_prompt(row.get("arguments"))
        texts = [t for r in row["resps"] for t in (r if isinstance(r, list) else [r])]
        if prompt is None or not all(isinstance(t, str) for t in texts) or _is_score(row["resps"]):
            yield Skipped("scores, not text", f"doc_id {row.get('doc_id')}")
            continue
        request = _asked(prompt) or Request(prompt)
        for number, text in enumerate(texts):
            yield Entry(
                model,
                request.prompt,
                text,
                system=request.system,
                sample=number if len(texts) > 1 else None,
            )


def _lm_eval_prompt(arguments: Any) -> str | None:
    first = at(arguments, "gen_args_0.arg_0")
    if first is None and isinstance(arguments, list) and arguments:
        first = arguments[0][0] if isinstance(arguments[0], list) and arguments[0] else arguments[0]
    return first if isinstance(first, str) else None


def _is_score(resps: list[Any]) -> bool:
    """Log-likelihoods of given continuations, written out as text: [["-3.2", "False"]]."""
    flat = [r for r in resps if isinstance(r, list) and len(r) == 2]
    return len(flat) == len(resps) and all(str(r[1]) in ("True", "False") for r in flat)


def _promptfoo(rows: tuple[Row, ...], name: str, folder: str) -> Iterator[Found]:
    for row in rows:
        inner = row.get("results", row)
        results = inner.get("results") if isinstance(inner, Mapping) else inner
        for result in results if isinstance(results, list) else [row]:
            provider = result.get("provider")
            model = provider if isinstance(provider, str) else at(provider, "label") or at(provider, "id") or name
            request = _asked(at(result, "prompt.raw"))
            output = at(result, "response.output")
            if output is None or request is None:
                yield Skipped("call failed" if result.get("error") else "no answer", str(model))
                continue
            said = read_cell(output)
            yield Entry(str(model), request.prompt, said.answer, system=request.system, reasoning=said.thoughts)


def _helm(rows: tuple[Row, ...], name: str, folder: str) -> Iterator[Found]:
    for row in rows:
        model = at(row, "adapter_spec.model") or at(row, "adapter_spec.model_deployment") or name
        for state in row["request_states"]:
            prompt = at(state, "request.prompt") or at(state, "instance.input.text")
            request = _asked(at(state, "request.messages") or prompt)
            said = at(state, "result.completions") or []
            if request is None or not said:
                yield Skipped("call failed" if at(state, "result.success") is False else "no answer",
                              str(at(state, "instance.id")))  # fmt: skip
                continue
            for number, completion in enumerate(said):
                yield Entry(
                    str(model), request.prompt, str(completion.get("text", "")), system=request.system,
                    sample=number if len(said) > 1 else count(state.get("train_trial_index")) or None,
                    reasoning=str(at(completion, "thinking.text") or ""),
                    finish_reason=str(at(completion, "finish_reason.reason") or ""),
                )  # fmt: skip


def _garak(rows: tuple[Row, ...], name: str, folder: str) -> Iterator[Found]:
    """Attempts stand in a report twice, before and after they are judged: the later ones count."""
    setup = next((r for r in rows if _names_target(r)), {})
    model = str(next((setup[k] for k in _TARGETS if setup.get(k)), name))
    attempts = [r for r in rows if r.get("entry_type") == "attempt" and r.get("outputs")]
    judged = {r.get("uuid") for r in attempts if r.get("status") == 2}
    for row in attempts:
        if row.get("status") != 2 and row.get("uuid") in judged:
            continue
        turns = at(row, "prompt.turns")
        asked = [{"role": t.get("role"), "content": at(t, "content.text") or t.get("content")} for t in turns or ()]
        request = _asked(asked or at(row, "prompt.text") or row.get("prompt"))
        texts = [o if isinstance(o, str) else at(o, "text") for o in row["outputs"]]
        for number, text in enumerate(texts):
            if request is None or not isinstance(text, str):
                yield Skipped("no answer", str(row.get("probe_classname")))
            else:
                yield Entry(model, request.prompt, text, system=request.system, sample=number)


_TARGETS = ("plugins.target_name", "plugins.model_name")


def _names_target(row: Row) -> bool:
    return any(row.get(k) for k in _TARGETS)


def _openai_evals(rows: tuple[Row, ...], name: str, folder: str) -> Iterator[Found]:
    named = (at(r, "spec.completion_fns.0") for r in rows if "spec" in r)
    model = str(next(filter(None, named), name))
    for row in rows:
        if row.get("type") != "sampling":
            continue
        request, sampled = _asked(at(row, "data.prompt")), at(row, "data.sampled")
        texts = sampled if isinstance(sampled, list) else [sampled]
        for number, text in enumerate(texts):
            if request is None or not isinstance(text, str):
                yield Skipped("no answer", str(row.get("sample_id")))
            else:
                sample = number if len(texts) > 1 else None
                yield Entry(model, request.prompt, text, system=request.system, sample=sample)


def _is_promptfoo(row: Row) -> bool:
    inner = row.get("results")
    if isinstance(inner, Mapping):
        inner = inner.get("results")
    one = inner[0] if isinstance(inner, list) and inner else row
    return isinstance(one, Mapping) and at(one, "prompt.raw") is not None and "provider" in one


TOOLS: tuple[Tool, ...] = (  # a new tool is one reader and one line here
    Tool("Inspect", lambda r: isinstance(r.get("samples"), list) and isinstance(r.get("eval"), dict), _inspect),
    Tool("promptfoo", _is_promptfoo, _promptfoo),
    Tool("HELM", lambda r: isinstance(r.get("request_states"), list) and "adapter_spec" in r, _helm),
    Tool("garak", lambda r: "entry_type" in r and re.search("attempt|setup", str(r["entry_type"])) is not None, _garak),
    Tool("lm-eval", lambda r: isinstance(r.get("resps"), list) and "arguments" in r, _lm_eval),
    Tool("OpenAI Evals", lambda r: "run_id" in r and ("event_id" in r or "spec" in r), _openai_evals),
    Tool("FastChat", is_turns, lambda rows, name, folder: read_turns(rows, name)),
    Tool("pairs", is_pair, lambda rows, name, folder: read_pairs(rows), pairs=True),
    Tool("answers in a list", is_list, lambda rows, name, folder: read_lists(rows)),
    Tool("calls of an API", is_call, lambda rows, name, folder: read_calls(rows, name)),
    Tool("a message a row", is_turn, lambda rows, name, folder: read_turns_by_row(rows, name)),
    Tool("transcripts", lambda r: bool(transcripts_in(r)), lambda rows, name, folder: read_transcripts(rows, name)),
)
