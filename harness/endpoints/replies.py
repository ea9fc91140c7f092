"""Parse replies of chat and plain completions into an `Answer`; a reply of status 200 may still be an error."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import msgspec

from harness.endpoints.bodies import LARGE
from harness.endpoints.failures import bulky, from_status, malformed
from harness.endpoints.parts import read_message
from harness.endpoints.server_errors import read_error, vocabulary
from harness.errors import CallError
from harness.records import Outcome
from harness.token_logprobs import packed, spoken


# Only what an answer cannot do without is typed: one odd field beside it must not lose a paid answer.
class _Choice(msgspec.Struct):
    message: Any = None
    delta: dict[str, Any] | None = None
    text: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None
    finish_reason: Any = None
    index: Any = 0
    error: Any = None
    logprobs: msgspec.Raw = msgspec.Raw()  # left as it is: unpacking it costs ten times the rest


class _Reply(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: Any = None
    model: Any = None
    id: Any = None
    system_fingerprint: Any = None
    provider: Any = None
    usage: Any = None


class _SkimmedChoice(msgspec.Struct):
    logprobs: msgspec.Raw = msgspec.Raw()


class _Skimmed(msgspec.Struct):
    """Of a reply only what stays as it is when it is read."""

    choices: list[_SkimmedChoice]


_MOST_VALUES = 2_000_000  # an answer has a hundred; 16,000 tokens with 20 logprobs each have 1,300,000
_MOST_MENDED = 8_000_000  # bytes
_SKIMMER = msgspec.json.Decoder(_Skimmed)
_DECODER = msgspec.json.Decoder(_Reply)
_ANYTHING = msgspec.json.Decoder(dict[str, Any])
_MOST_SAID = 4_000  # characters of an error; it is cut short where keys have been cut out of it
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counts them; None where it does not say."""

    prompt: int | None
    completion: int | None
    reasoning: int | None

    @classmethod
    def of(cls, usage: Any, prompt: str = "prompt_tokens", completion: str = "completion_tokens") -> Usage:
        """Read a ``usage`` object, whatever it is."""
        usage = usage if isinstance(usage, dict) else {}
        details = usage.get(f"{completion}_details")
        reasoning = count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
        asked, said, total = (_counted(usage, name) for name in (prompt, completion, "total_tokens"))
        if said is None and asked is not None and total is not None and total >= asked:
            said = total - asked  # thoughts that ate the length are paid for, and some leave out what was said
        return cls(asked, said, reasoning)

    @property
    def paid(self) -> bool:
        """Whether tokens were counted: then this is an answer, whatever is missing from it."""
        return bool(self.prompt or self.completion)


_ALSO = {
    "prompt_tokens": ("input_tokens", "promptTokens", "inputTokens"),
    "completion_tokens": ("output_tokens", "completionTokens", "outputTokens"),
    "total_tokens": ("totalTokens",),
}


def _counted(usage: Mapping[str, Any], name: str) -> int | None:
    """A number of tokens by its usual name, or by one that others use for it."""
    found = count(usage.get(name))
    return found if found is not None else next((n for k in _ALSO.get(name, ()) if (n := count(usage.get(k)))), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one reply says, before it is keyed to the job that asked."""

    outcome: Outcome
    text: str
    reasoning: str
    refusal: str
    finish_reason: str
    model: str
    system_fingerprint: str
    provider: str
    response_id: str
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    logprobs: bytes | None
    reasoning_field: str = ""  # where the reasoning stood, see `harness.endpoints.parts`


_TEXTS = tuple(f.name for f in fields(Answer) if f.type == "str")


def parse(content: bytes) -> Answer:
    """Read one reply of chat or plain completions.

    Raises `CallError` if it is not an answer: an error inside a 200, HTML, cut or mistyped JSON.
    """
    reply, content = _reply(without_stream(content))
    if is_error(reply.error):
        raise inner_error(decode(content, _ANYTHING) if reply.error is True else reply.error)
    usage = Usage.of(reply.usage)
    choice = _first(reply, usage, content)
    finish = finish_of(choice.finish_reason)
    if choice.error or ends("broken", finish):
        raise inner_error(choice.error or f"finish_reason is {finish}")
    message = _message(choice, usage, content)
    said, refusal = read_message(message), string(message.get("refusal"))
    return Answer(
        outcome=outcome_of(said.answer, refusal, finish),
        text=said.answer,
        reasoning=said.thoughts,
        refusal=refusal,
        finish_reason=finish,
        model=string(reply.model),
        system_fingerprint=string(reply.system_fingerprint),
        provider=string(reply.provider),
        response_id=string(reply.id),
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        logprobs=pack(bytes(choice.logprobs)),
        reasoning_field=said.field,
    )


def is_error(value: Any) -> bool:
    """Whether a field called ``error`` holds one: some servers write an empty one, or a code of 0, beside an answer."""
    if isinstance(value, dict):
        return any(is_error(v) for v in value.values())
    return bool(value) and (value is True or str(value).strip().lower() not in _NO_ERROR)


_NO_ERROR = frozenset({"", "0", "200", "none", "null", "ok", "success", "no error"})
_WRAPPERS = ("data", "result", "response", "body", "output")
_BESIDE = frozenset({"id", "object", "created", "model", "usage", "system_fingerprint", "provider", "service_tier"})


def _reply(content: bytes) -> tuple[_Reply, bytes]:
    """A reply, and its bytes, wherever in them it stands."""
    try:
        reply = decode(content, _DECODER)
        if reply.choices is not None or is_error(reply.error):
            return reply, content
    except CallError as e:
        if e.kind != "malformed" or (other := _taken_out(content)) is None:
            raise
        return decode(other, _DECODER), other
    other = _taken_out(content)
    return (reply, content) if other is None else (decode(other, _DECODER), other)


def _taken_out(content: bytes) -> bytes | None:
    """A reply that a gateway put into a list, a text or an object of its own, or whose only choice is in no list."""
    try:
        value = decode(content, msgspec.json.Decoder())
    except CallError:
        return None
    for _ in range(3):
        value = _inner(value)
        if isinstance(value, dict) and isinstance(choices := value.get("choices"), dict):
            alone = choices.keys() & {"message", "text", "delta"}
            value = {**value, "choices": [choices] if alone else list(choices.values())}
        if isinstance(value, dict) and (isinstance(value.get("choices"), list) or is_error(value.get("error"))):
            return json.dumps(value).encode()
    return None


def _inner(value: Any) -> Any:
    """What a wrapper holds, with the usage beside it; itself where it is none."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    if not isinstance(value, dict) or "choices" in value:
        return value
    for name in _WRAPPERS:
        held = _inner(found) if isinstance(found := value.get(name), str | list) else found
        if isinstance(held, dict) and ("choices" in held or isinstance(held.get("text"), str)):
            whole = held if "choices" in held else {"choices": [held]}
            return {k: v for k, v in value.items() if k in _BESIDE} | whole
    return value


def _first(reply: _Reply, usage: Usage, content: bytes) -> _Choice:
    """The choice to read. What was paid is an answer: with tokens counted, none at all is an empty one.

    Without tokens and without a choice it is an error that calls itself something else, or no answer.
    """
    if reply.choices:
        choice = min(reply.choices, key=lambda c: c.index if isinstance(c.index, int) else 0)
        ended = bool(finish_of(choice.finish_reason)) or bool(choice.error)
        if choice.message is not None or choice.delta is not None or choice.text is not None or ended or usage.paid:
            return choice
        raise malformed("neither message nor text", content)
    if isinstance(reply.choices, list) and usage.paid:
        return _Choice()
    found = decode(content, _ANYTHING)
    said = read_error({k: v for k, v in found.items() if k not in ("choices", "usage")})
    if said.kind(said.status or 0) or (said.status or 0) >= 400:
        raise inner_error(found)
    if usage.paid and not any(v for k, v in found.items() if k not in _BESIDE and isinstance(v, str | list | dict)):
        return _Choice()
    raise malformed("no choices", content, usage.paid)


def _message(choice: _Choice, usage: Usage, content: bytes) -> dict[str, Any]:
    """The message of a choice, with what a server says beside it; of a plain completion its text; of neither none."""
    beside = {"reasoning_content": choice.reasoning_content, "reasoning": choice.reasoning}
    message = choice.delta if choice.message is None else choice.message
    if message is None or (usage.paid and isinstance(message, str)):
        message = {"content": choice.text if message is None else message}
    if not isinstance(message, dict):
        raise malformed("the message is no object", content, usage.paid)
    said = message.get("content")
    if usage.paid and isinstance(said, int | float) and not isinstance(said, bool):
        message = {**message, "content": str(said)}  # a model's number, which a gateway took for one
    elif not isinstance(said, str | list | dict | None):
        raise malformed("the content is no text", content, usage.paid)
    return {k: v for k, v in beside.items() if v} | message


_EVENT = b"data:"
_DONE = re.compile(rb"(?:\s*\ndata: ?\[DONE\])+$")
_BOM = b"\xef\xbb\xbf"
_DELTAS = ("content", "reasoning_content", "reasoning", "refusal")


def without_stream(content: bytes) -> bytes:
    """One JSON reply out of what a server streams unasked: JSON and ``data: [DONE]``, or server-sent events.

    Bytes that are no such stream are returned as they are.
    """
    body = content.strip()
    if body.startswith(b"{"):
        if body.endswith(b"[DONE]"):
            return _DONE.sub(b"", body)
        several = b"\n" in body and b"}\n{" in body  # the first alone is a tenth of the second
        return body if not several else _joined(body.splitlines()) or content
    body = body.removeprefix(_BOM)
    if not body.startswith((_EVENT, b"event:", b"id:", b":")):
        return content
    return _joined([line[len(_EVENT) :] for line in body.splitlines() if line.startswith(_EVENT)]) or content


def _joined(lines: list[bytes]) -> bytes | None:
    """One reply out of the JSON of several lines; None if there is none in them."""
    chunks = [c for line in lines if (c := _chunk(line)) is not None and ("choices" in c or "error" in c)]
    if not chunks:
        return None
    whole = next((c for c in reversed(chunks) if _is_whole(c)), None)
    return json.dumps(whole if whole is not None else _assembled(chunks)).encode("utf-8", "replace")


def _chunk(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_whole(chunk: Mapping[str, Any]) -> bool:
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return bool(chunk.get("error")) or (isinstance(first, dict) and isinstance(first.get("message"), dict))


def _assembled(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The reply that the pieces of a stream make: texts joined, token logprobs too, of the rest what came last."""
    out: dict[str, Any] = {}
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"index": 0}
    tokens: list[Any] = []
    text: str | None = None
    for chunk in chunks:
        out |= {k: v for k, v in chunk.items() if k != "choices" and v is not None}
        for piece in _pieces(chunk):
            delta = piece.get("delta")
            for name, value in delta.items() if isinstance(delta, dict) else ():
                if name in _DELTAS and isinstance(value, str):
                    message[name] = message.get(name, "") + value
            if isinstance(piece.get("text"), str):
                text = (text or "") + piece["text"]
            found = piece.get("logprobs")
            if isinstance(found, dict) and isinstance(found.get("content"), list):
                tokens += found["content"]
            if piece.get("finish_reason") is not None:
                choice["finish_reason"] = piece["finish_reason"]
    if tokens:
        choice["logprobs"] = {"content": tokens}
    choice |= {"text": text} if text is not None and not message else {"message": {"content": None} | message}
    return out | {"choices": [choice]}


def _pieces(chunk: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The pieces of the first choice; of several only it is read."""
    choices = chunk.get("choices")
    for piece in choices if isinstance(choices, list) else ():
        if isinstance(piece, dict) and piece.get("index") in (0, None):
            yield piece


def finish_of(value: Any) -> str:
    """Why an answer ended, in small letters: servers write a word, or an object with its ``type``."""
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason") or value.get("name")
    return value.strip() if isinstance(value, str) else ""


def unknown_finish(finish: str) -> bool:
    """Whether nobody knows what an answer that ended so is worth."""
    return bool(finish) and not any(ends(meaning, finish) for meaning in vocabulary().finish)


def ends(meaning: str, finish: str) -> bool:
    """Whether a finish reason means that an answer was ``filtered``, ``broken`` off, ``truncated``, or is ``whole``."""
    return finish.lower() in vocabulary().finish[meaning]


def alone(content: bytes) -> bytes:
    """The only item of a list: Google's APIs write errors and streams so. Anything else as it is."""
    if content.lstrip()[:1] != b"[":
        return content
    value = decode(content, msgspec.json.Decoder())
    return json.dumps(value[0]).encode() if isinstance(value, list) and len(value) == 1 else content


def without_key(answer: Answer, redact: Callable[[str], str]) -> Answer:
    """An answer with ``redact`` done to all that a server said in it.

    A key that comes back as an answer comes back in its tokens too, a piece in each: such logprobs are left out.
    """
    changed: dict[str, Any] = {n: cut for n in _TEXTS if (v := getattr(answer, n)) and (cut := redact(v)) != v}
    if answer.logprobs is not None and any(redact(t) != t for t in spoken(answer.logprobs)):
        changed["logprobs"] = None
    return replace(answer, **changed) if changed else answer


def filtered_answer(message: str) -> Answer:
    """The answer of a filter that stands before the model: nobody answered, and that is the outcome."""
    return Answer("filtered", "", "", message, "content_filter", "", "", "", "", None, None, None, None)


def decode(content: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Typed values from the JSON that servers send, strict or not; `CallError` if it cannot be read."""
    if len(content) > LARGE:
        _require_bearable(content)
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if len(content) > _MOST_MENDED:
        raise malformed("no JSON, and too long to be mended", content)
    try:  # NaN, Infinity, tabs in texts are no JSON, lone surrogates no text, but servers send them: mended, read again
        text = content.decode("utf-8-sig")  # never by guess: read as UTF-16, a reply says what nobody has looked at
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite, strict=False)
        return decoder.decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError, msgspec.DecodeError) as e:
        raise malformed(str(e)[:120], content) from None


def _require_bearable(content: bytes) -> None:
    """`CallError` if a reply is made of so many values that objects of them would take all memory."""
    values = _values(content)
    if values > _MOST_VALUES:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            values -= sum(_values(bytes(c.logprobs)) for c in _SKIMMER.decode(content).choices)
    if values > _MOST_VALUES:
        raise bulky(values)


def _values(content: bytes) -> int:
    """How many values a JSON text has, about, and not fewer than that."""
    return content.count(b",") + content.count(b"[") + content.count(b"{")


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def string(value: Any) -> str:
    """``value`` if it is text: an odd field must not lose an answer."""
    return value if isinstance(value, str) else ""


def count(value: Any) -> int | None:
    """``value`` if it is a number of tokens."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def pack(content: bytes) -> bytes | None:
    """Logprobs as they are stored: their JSON, compressed; None if there are none."""
    return packed(content) if len(content) > 4 else None  # "null" and "{}" say nothing


def outcome_of(text: str, refusal: str, finish: str) -> Outcome:
    """Outcome of an answer: ok, truncated, refused, filtered or empty."""
    if ends("filtered", finish):
        return "filtered"
    if not text.strip():
        return "refused" if refusal else "empty"
    return "truncated" if ends("truncated", finish) else "ok"


def inner_error(error: Any) -> CallError:
    """The error that stands in a reply of status 200."""
    said = read_error(error)
    return from_status(said.status, said, f"error inside a 200 reply: {said.message[:_MOST_SAID]}")
