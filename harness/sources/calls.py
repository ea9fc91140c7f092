"""Requests and replies of model APIs wherever they stand in a row: batch outputs, proxy logs, traces, transcripts."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from harness.endpoints import count, read_cell
from harness.records import Surface
from harness.sources.cells import at, opened
from harness.sources.entries import Asked, Entry, Found, Row, Skipped

_DEEPEST = 5
_MOST_NODES = 400  # objects of one row that are searched
_ASSISTANT = ("assistant", "model", "gpt", "bot", "chatbot", "ai")
_USER = ("user", "human", "prompter")
_SYSTEM = ("system", "developer")
_IDS = ("custom_id", "recordId", "key")  # what the lines of a batch are called by
_TALKS = ("conversation_id", "session_id", "thread_id", "chat_id", "dialog_id", "trace_id", "id")
_MODELS = ("model", "generator", "model_name", "model_id")
_SPANS = (  # stems of what was asked and of what was answered, and what stands behind their numbers
    (("gen_ai.prompt", "gen_ai.completion"), ""),
    (("llm.input_messages", "llm.output_messages"), ".message"),
)
_SPAN_MODELS = ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name")
_ENDED = ("finish_reason", "stop_reason", "finishReason", "stopReason", "completion_reason")


@dataclass(frozen=True, slots=True)
class Said:
    """One sample of a reply."""

    answer: str
    thoughts: str = ""
    finish_reason: str = ""
    refusal: str = ""
    logprobs: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered: its samples, the model's name there ("" if it is not told), tokens, and the surface."""

    samples: tuple[Said, ...]
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    surface: Surface = "chat"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: the prompt as one text, the system prompt, and the model's name there."""

    prompt: str
    system: str = ""
    model: str = ""


def conversation(value: Any) -> tuple[Request, str, str] | None:
    """A list of messages as prompt, last answer and its thoughts; None if it is none.

    Answer and thoughts are "" if the last word is the user's. A conversation of one question is that question; of a
    longer one the prompt is all that was said before the answer.
    """
    turns = _turns(opened(value))
    if not turns:
        return None
    answer = thoughts = ""
    if turns[-1][0] in _ASSISTANT:
        last = read_cell(turns[-1][1])
        answer, thoughts = last.answer, last.thoughts
        turns = turns[:-1]
    system = "\n\n".join(_plain(c) for role, c in turns if role in _SYSTEM)
    asked = [(role, _plain(c)) for role, c in turns if role not in _SYSTEM]
    said = [text for _, text in asked] if len(asked) == 1 else [f"{role}: {text}" for role, text in asked]
    return Request("\n\n".join(said), system), answer, thoughts


def _turns(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]  # a batch of one, as LangChain writes it
    if not isinstance(value, list) or not value or not all(isinstance(m, Mapping) for m in value):
        return []
    out = []
    for message in map(_langchain, value):
        role = message.get("role") or message.get("from")
        content = next((message[k] for k in ("content", "value", "parts", "text") if k in message), None)
        if not isinstance(role, str) or content is None:
            return []
        out.append((role.lower(), message if role.lower() in _ASSISTANT and "content" in message else content))
    known = {*_ASSISTANT, *_USER, *_SYSTEM, "tool", "function"}
    return out if all(role in known for role, _ in out) else []


def _langchain(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message of LangChain, whose role and text stand in an object of their own, as others write it."""
    inside = next((m for k in ("kwargs", "data") if isinstance(m := message.get(k), Mapping)), None)
    if inside is None or "content" not in inside:
        return message
    return {"role": inside.get("type") or message.get("type"), "content": inside["content"]}


def _traced(node: Mapping[str, Any], which: int) -> list[dict[str, Any]]:
    """Messages in the flat attributes of a span, such as ``gen_ai.prompt.0.content``."""
    for stems, inside in _SPANS:
        names = itertools.takewhile(
            lambda n: f"{n}.content" in node, (f"{stems[which]}.{i}{inside}" for i in range(999))
        )
        if found := [{"role": node.get(f"{n}.role") or "user", "content": node[f"{n}.content"]} for n in names]:
            return found
    return []


def _plain(content: Any) -> str:
    return read_cell(content).answer


def reply_in(value: Any) -> Reply | None:
    """The first reply of a known API in a row, however deep; None if there is none."""
    return next((found for node in _nodes(value) if (found := _reply(node)) is not None), None)


def request_in(value: Any) -> Request | None:
    """The first request of a known API in a row; None if there is none."""
    nodes = sorted(_nodes(value), key=lambda node: _reply(node) is not None)  # what is beside a reply comes last
    return next((r for node in nodes if (r := _request(node)) is not None), None)


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Objects in a value, the outer ones first."""
    line = deque([(opened(value), 0)])
    seen = 0
    while line and seen < _MOST_NODES:
        node, depth = line.popleft()
        seen += 1
        if isinstance(node, Mapping):
            yield node
        if depth < _DEEPEST:
            inside = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
            line.extend((o, depth + 1) for v in inside if isinstance(o := opened(v), dict | list))


def _reply(node: Mapping[str, Any]) -> Reply | None:
    samples = tuple(_samples(node))
    if not samples:
        return None
    usage = next((u for k in ("usage", "usageMetadata") if isinstance(u := node.get(k), Mapping)), {})
    tokens = [next((n for k in names if (n := count(usage.get(k))) is not None), None) for names in (
        ("prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens"),
        ("completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens"),
    )]  # fmt: skip
    named = (at(node, k) for k in ("model", "modelVersion", "llm_output.model_name", *_SPAN_MODELS))
    model = next((m for m in named if isinstance(m, str)), "")
    raw = any("text" in c and "message" not in c for c in _objects(node.get("choices")))
    return Reply(samples, model, tokens[0], tokens[1], "completion" if raw else "chat")


def _samples(node: Mapping[str, Any]) -> Iterator[Said]:
    """Texts of one reply, in the shapes of OpenAI, Anthropic, Gemini, Bedrock, Cohere, Ollama and TGI."""
    if choices := _objects(node.get("choices")):
        yield from (_said(c.get("message", c.get("text")), c) for c in choices
                    if isinstance(c.get("message"), Mapping) or isinstance(c.get("text"), str))  # fmt: skip
    elif candidates := _objects(node.get("candidates")):
        yield from (_said(at(c, "content.parts"), c) for c in candidates if isinstance(c.get("content"), Mapping))
    elif node.get("type") == "message" and "content" in node and node.get("role") == "assistant":
        yield _said(node["content"], node)
    elif isinstance(node.get("output"), list) and any(o.get("type") == "message" for o in _objects(node["output"])):
        yield _said([_as_part(o) for o in _objects(node["output"])], node)
    elif isinstance(at(node, "output.message"), Mapping):
        yield _said(at(node, "output.message"), node)
    elif results := [r for r in _objects(node.get("results")) if isinstance(r.get("outputText"), str)]:
        yield from (_said(r["outputText"], r) for r in results)
    elif generations := _objects([g for some in node.get("generations") or () for g in _listed(some)]):
        yield from (
            _said(g["text"], g.get("generation_info") or {}) for g in generations if isinstance(g.get("text"), str)
        )
    elif answered := _traced(node, 1):
        yield from (_said(message["content"], {}) for message in answered)
    elif "done" in node or "generation_token_count" in node or "finish_reason" in node or "stop_reason" in node:
        plain = (node[k] for k in ("message", "response", "generation", "completion", "text") if k in node)
        said = next((v for v in plain if isinstance(v, str) or (isinstance(v, Mapping) and "content" in v)), None)
        if said is not None:
            yield _said(said, node)


def _said(content: Any, beside: Mapping[str, Any]) -> Said:
    found = read_cell(dict(content)) if isinstance(content, Mapping) else read_cell(content)
    refusal = content.get("refusal") if isinstance(content, Mapping) else None
    finish = next((f for k in _ENDED if isinstance(f := beside.get(k), str)), "")
    logprobs = beside.get("logprobs")
    packed = msgspec.json.encode(logprobs, enc_hook=str).decode() if isinstance(logprobs, dict | list) else None
    return Said(found.answer, found.thoughts, finish, refusal if isinstance(refusal, str) else "", packed)


def _as_part(item: Mapping[str, Any]) -> Any:
    """An item of the Responses API: what a message holds, and reasoning as it is."""
    return item["content"] if item.get("type") == "message" and "content" in item else item


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _request(node: Mapping[str, Any]) -> Request | None:
    model = next((m for k in ("model", "modelId") if isinstance(m := node.get(k), str)), "")
    if found := conversation(_traced(node, 0)):
        return replace(found[0], model=model)
    for key in ("messages", "contents", "input", "input_messages"):
        if found := conversation(node.get(key)):
            beside = next((node[k] for k in ("system", "instructions", "systemInstruction") if node.get(k)), "")
            return replace(found[0], system=found[0].system or _plain(beside), model=model)
    prompts = (node[k] for k in ("prompt", "inputText", "input") if isinstance(node.get(k), str))
    if text := next(prompts, ""):
        return Request(text, _plain(node.get("instructions") or ""), model)
    return None


def is_call(row: Row) -> bool:
    """Whether a row is a line of a batch or of a log of calls: it holds a reply, or a request under a known name."""
    if _objects(row.get("samples")):
        return False
    named = any(isinstance(row.get(k), str) for k in _IDS)
    return reply_in(row) is not None or (named and (_failed(row) or request_in(row) is not None))


def listed_calls(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The calls that one document lists under ``data``, as APIs list what they keep; other rows as they are."""
    found = rows[0].get("data") if len(rows) == 1 else None
    calls = _objects(found)
    return tuple(dict(c) for c in calls) if len(calls) > 1 and all(reply_in(c) for c in calls) else rows


def _failed(row: Row) -> bool:
    kind = at(row, "result.type")
    status = next((s for p in ("response.status_code", "status_code") if (s := count(at(row, p))) is not None), 200)
    return bool(row.get("error")) or kind in ("errored", "expired", "canceled") or status >= 400


def read_calls(rows: Iterable[Row], name: str) -> Iterator[Found]:
    """Answers of rows that hold a reply; rows that hold only a request give its prompt to those who answer its id."""
    for row in rows:
        prompt_id = next((v for k in _IDS if isinstance(v := row.get(k), str)), None)
        reply, request = reply_in(row), request_in(row)
        if reply is None:
            if prompt_id is not None and request is not None and not _failed(row):
                yield Asked(prompt_id, request.prompt, request.system)
            else:
                yield Skipped("call failed" if _failed(row) else "no answer", prompt_id or "")
            continue
        own = row.get("model")
        model = own if isinstance(own, str) and own else (request.model if request else "") or reply.model or name
        yield from entries_of(reply, request, model, prompt_id)


def entries_of(reply: Reply, request: Request | None, model: str, prompt_id: str | None) -> Iterator[Entry]:
    """The samples of a reply; they are numbered where there are several."""
    for number, said in enumerate(reply.samples):
        yield Entry(
            model=model,
            prompt=request.prompt if request else None,
            output=said.answer,
            prompt_id=prompt_id,
            sample=number if len(reply.samples) > 1 else None,
            system=request.system if request else "",
            surface=reply.surface,
            reasoning=said.thoughts,
            refusal=said.refusal,
            finish_reason=said.finish_reason,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens if len(reply.samples) == 1 else None,
            logprobs=said.logprobs,
        )


def transcripts_in(row: Row) -> str:
    """The column that holds whole conversations, each with its answer; "" if none does."""
    return next((k for k, v in row.items() if (found := conversation(v)) and found[1] and found[0].prompt), "")


def read_transcripts(rows: Sequence[Row], name: str) -> Iterator[Found]:
    """The last answer of each conversation, to all that was said before it."""
    for row in rows:
        column = transcripts_in(row)
        found = conversation(row.get(column)) if column else None
        if found is None:
            yield Skipped("no answer")
            continue
        request, answer, thoughts = found
        own = next(
            (v for k in ("model", "generator", "model_name", "model_id") if isinstance(v := row.get(k), str)), name
        )
        yield Entry(own, request.prompt, answer, system=request.system, reasoning=thoughts)


def is_turn(row: Row) -> bool:
    """Whether a row is one message of a conversation: a table with the columns role and content."""
    role = row.get("role")
    return isinstance(role, str) and role.lower() in (*_ASSISTANT, *_USER, *_SYSTEM) and "content" in row


def read_turns_by_row(rows: Iterable[Row], name: str) -> Iterator[Found]:
    """Every answer of conversations that lie a message a row, to all that was said before it in that conversation."""
    talks: dict[str, list[dict[str, Any]]] = {}
    for number, row in enumerate(rows):
        talk = next((str(row[k]) for k in _TALKS if row.get(k) is not None), "")
        if not is_turn(row):
            yield Skipped("no answer", f"row {number + 1}")
            continue
        turns = talks.setdefault(talk, [])
        role = row["role"].lower()
        if not talk and turns and role in (*_USER, *_SYSTEM) and turns[-1]["role"] in _ASSISTANT:
            turns.clear()  # nothing names the conversation, so the next question begins one
        turns.append({"role": role, "content": row["content"]})
        if role in _ASSISTANT and (found := conversation(turns)) and found[0].prompt:
            own = next((v for k in _MODELS if isinstance(v := row.get(k), str) and v), name)
            yield Entry(own, found[0].prompt, found[1], system=found[0].system, reasoning=found[2])
