"""Parts of an answer: which are the model's answer and which its thoughts, in every shape that servers send."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_DEEPEST = 20  # lists in lists
# Of a part's type, its name in an object, or a field beside the answer.
_THOUGHT = re.compile(r"think|thought|reason|rationale|summary|(?:^|_)cot$|analysis|scratchpad")
_FIELD = re.compile(
    r"(?:reasoning|thinking|thoughts?|rationale|chain_of_thought|cot)"
    r"(?:_(?:content|text|details|blocks?|summary|trace|output|process|steps))?"
)
_NO_ANSWER = re.compile(r"tool|function|image|audio|video|file|citation|refusal|error")
_WRAPPERS = ("provider_specific_fields", "model_extra", "additional_kwargs", "extra_content", "extra", "metadata")
_TEXTS = ("text", "output_text", "generated_text", "content", "value", "parts")  # where a part keeps what it says
_WHOLE = ("text", "thinking", "reasoning", "reasoning_content", "thought", "content", "value", "parts", "summary")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a model said. ``field`` is where its thoughts stood: a field's name, "parts", or "" if there are none."""

    answer: str = ""
    thoughts: str = ""
    field: str = ""


def read_parts(content: Any) -> Parts:
    """The answer and the thoughts in the content of a message: text, a part, or lists of parts however deep.

    Parts whose type, or whose only text's name, speaks of thinking or reasoning are thoughts; tools and media are
    nothing; every other part with text is answer.

    Examples
    --------
    >>> read_parts([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Paris."}])
    Parts(answer='Paris.', thoughts='Hm.', field='parts')
    """
    said = list(_said(content, False, 0))
    thoughts = "\n\n".join(text for text, thought in said if thought and text)
    return Parts("".join(text for text, thought in said if not thought), thoughts, "parts" if thoughts else "")


def read_message(message: Mapping[str, Any], content: str = "content") -> Parts:
    """The same of a whole message: thoughts in fields beside its content, too, each once.

    A server that says the same thoughts in several fields is believed in the first: a text before a list of parts,
    and fields of the message before those of an object in it.
    """
    own = read_parts(message.get(content))
    for place in (message, *(m for w in _WRAPPERS if isinstance(m := message.get(w), dict))):
        fields = [name for name in place if _FIELD.fullmatch(name.lower()) and place[name]]
        for name in sorted(fields, key=lambda n: not isinstance(place[n], str)):
            beside = "\n\n".join(text for text, _ in _said(place[name], True, 0) if text)
            if beside.strip():
                both = beside if own.thoughts in beside else f"{own.thoughts}\n\n{beside}"
                return Parts(own.answer, own.thoughts if beside in own.thoughts else both, name.lower())
    return own


def read_cell(value: Any) -> Parts:
    """The same of a cell of a table, in which a message or its parts may stand as they came, or written out as text.

    A text is taken apart only if all of it is a message or parts of known types: a model may well answer in JSON.
    """
    if isinstance(value, list | dict):
        return _of_structure(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):  # a table may have typed an answer that is a number
        return Parts("" if value is None or value != value else str(value))
    text = value.strip()
    if text[:1] not in ("[", "{") or text[-1:] not in ("]", "}"):
        return Parts(value)
    written = parsed(text)
    return _of_structure(written) if _is_message(written) or _are_parts(written) else Parts(value)


def holds_no_text(value: Any) -> bool:
    """Whether a cell is an object, or objects, without a place for a text that any message or part has."""
    found = [p for p in (value if isinstance(value, list) else [value]) if isinstance(p, dict)]
    places = {*_TEXTS, *_WHOLE, "choices", "message", "refusal", "type"}
    return bool(found) and not any(places & p.keys() for p in found)


def _of_structure(value: Any) -> Parts:
    if isinstance(value, dict) and isinstance(choices := value.get("choices"), list) and choices:
        value = choices[0].get("message", choices[0]) if isinstance(choices[0], dict) else choices[0]
    if isinstance(value, dict) and "content" in value and not _thinks(value):
        return read_message(value)
    return read_parts(value)


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    choices = value.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return isinstance(choices[0].get("message"), dict) or isinstance(choices[0].get("text"), str)
    return value.get("role") in ("assistant", "model") and ("content" in value or "parts" in value)


def _are_parts(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return bool(parts) and all(map(_is_part, parts))


def _is_part(value: Any) -> bool:
    """Whether this is a part of a type that servers send, and nothing that a model would make up."""
    if not isinstance(value, dict) or not isinstance(kind := value.get("type"), str):
        return False
    known = kind in ("text", "output_text", "message", "refusal") or _THOUGHT.search(kind.lower()) is not None
    return known and any(isinstance(value.get(k), str | list | dict) for k in (*_WHOLE, "refusal"))


def parsed(text: str) -> Any:
    """A value written as JSON or as Python writes it; None if it is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _said(value: Any, thought: bool, depth: int) -> Iterator[tuple[str, bool]]:
    """Texts in their order, each with whether it is a thought."""
    if isinstance(value, str):
        yield value, thought
    elif depth > _DEEPEST:
        return
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _said(part, thought, depth + 1)
    elif isinstance(value, dict):
        yield from _of_part(value, thought or _thinks(value), depth + 1)


def _of_part(part: Mapping[str, Any], thought: bool, depth: int) -> Iterator[tuple[str, bool]]:
    if _NO_ANSWER.search(_kind(part)):
        return
    if thought:
        found = (list(_said(part[k], True, depth)) for k in _WHOLE if k in part)
        yield from next((texts for texts in found if any(t.strip() for t, _ in texts)), [])
        return
    for name in part:
        if _FIELD.fullmatch(name.lower()):
            yield from _said(part[name], True, depth)
    yield from next((list(_said(part[k], False, depth)) for k in _TEXTS if part.get(k)), [])


def _kind(part: Mapping[str, Any]) -> str:
    kind = part.get("type") or part.get("kind") or ""
    return kind.lower() if isinstance(kind, str) else ""


def _thinks(part: Mapping[str, Any]) -> bool:
    """Whether a part says of itself that it is a thought."""
    said = (_kind(part), part.get("channel"), part.get("phase"))
    named = any(isinstance(s, str) and _THOUGHT.search(s.lower()) for s in said)
    return named or part.get("thought") is True or part.get("is_thought") is True or part.get("reasoning") is True
