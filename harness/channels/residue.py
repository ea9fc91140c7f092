"""What stands in a reply beside the model's answer: encodings, comments, template marks, an echo, a second turn.

Each step looks at one text and the question that was put; none knows whose text it is. Found in replies of real
servers: HTML and JSON escapes of a gateway, replies stored with their JSON around them, text decoded with the wrong
code page, comments that no page shows, marks of a chat template, the prompt in front of the text.
"""

from __future__ import annotations

import ast
import base64
import html
import json
import quopri
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, unquote_plus

from harness.channels.characters import asks, is_typed, word_spans

LARGEST = 200_000  # characters of a reply that is read as JSON
LEAST_ECHO = 3  # words of a question that must come back to be an echo: two may be the answer
BEFORE_ECHO = 6  # words that may stand in front of one: "Question:", "You asked:"

_CODED = re.compile(
    r"&(?:#\d{2,6}|#x[0-9a-fA-F]{2,5}|[a-z]{2,6}\d?);|\\u[0-9a-fA-F]{4}|\\n|\\\"|<!--|\[//\]: #|\x1b\["
    r"|<[^>]{1,200}(?:display:\s*none|hidden)"
)
_CODING = ("&", "\\", "<", "[//]", "\x1b")  # without one of these it is not looked for
_UNICODE = re.compile(r"\\u([0-9a-fA-F]{4})")
_ESCAPE = re.compile(r'\\(["\\/nrt])')
_ESCAPED = {"n": "\n", "r": "\n", "t": "\t"}
_HIDES = re.compile(
    r"<!--|^\[//\]: #[^\n]*$|<(\w+)[^>]{0,200}(?:display:\s*none|visibility:\s*hidden|\shidden)[^>]{0,200}>",
    re.MULTILINE,
)
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FENCED = re.compile(r"\A```\w*\n(.*)\n```\Z", re.DOTALL)
_THOUGHT_KEY = re.compile(r"think|thought|reason|analysis|scratch|reflect", re.IGNORECASE)
_ANSWER_KEYS = ("delta", "answer", "final_answer", "response", "output_text", "content", "text", "output", "completion",
                "message", "result", "reply", "final")  # fmt: skip

# One letter read with the wrong code page is two or more outside ASCII, or one of these before what was no-break space.
_MISREAD = re.compile(r"[^\x00-\x7f]{2}|[\xc2\xc3\xe0\xe2\u00ce\u0420\u0421]")

# Beside one of these: typed quotes and dashes, Chinese, emoji are no letters of another code page. What ftfy takes for
# a misread text holds one of them, and it is slow to look.
_OF_CODE_PAGES = re.compile(
    "[\x80-\u2012\u2015-\u2017\u201a\u201b\u201e-\u2021\u2023-\u2025\u2027-\u2e7f\ue000-\uf8ff\ufb00-\ufb4f\ufffd]"
)

_ASKS_FOR_CODE = re.compile(
    r"encod|decod|escap|base64|html|xml|svg|markup|\btags?\b|web ?page|script|code", re.IGNORECASE
)
_BYTES = re.compile(r"(?:\\x[89a-fA-F][0-9a-fA-F]|\\[23][0-7]{2})+")
_QUOTED_BYTES = r"=(?:C[2-9A-F]|[DE][0-9A-F])(?:=[89AB][0-9A-F])+"
_ROOT = re.compile(
    rf"\A\s*(?:<\?xml[^>]*\?>\s*|<!DOCTYPE[^>]*>\s*)?<({'|'.join(_ANSWER_KEYS)}|html|body|div|p|pre|span|string|root|data"
    r"|document|article|section|assistant)(?:\s[^<>]{0,200})?>(.*)</\1>\s*\Z",
    re.DOTALL | re.IGNORECASE,
)
_MARKUP = re.compile(
    r"</?(?:(p|div|br|hr|li|ul|ol|h[1-6]|table|thead|tbody|tr|td|th|blockquote|pre|section|article)"
    r"|(b|i|u|em|strong|span|a|code|small|su[bp]|mark|del))(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)

_TURN_END = re.compile(
    r"<\|(?:im_end|eot_id|end|return|endoftext|end_of_turn|eom_id)\|>|</s>|<end_of_turn>|<｜end▁of▁sentence｜>|<eos>"
)
_USER_TURN = re.compile(
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<\|start\|>)\s*(?:user|human)|<\|(?:user|human)\|>|\[INST\]"
    r"|<start_of_turn>user|<｜User｜>|\n\s*(?:#{1,4}\s*)?\**(?:Human|User|HUMAN|USER)\**\s*:"
    r"|\n\s*#{2,4}\s*(?:Instruction|Input|Human|User)\b|\n\s*Question\s*:[^\n]*\n+\s*Answer\s*:"
)
_TURNS = ("<", "[INST]", "Human", "User", "HUMAN", "USER", "Instruction", "Input", "Question")  # or no turn begins
_DIALOGUE = re.compile(r"dialog|conversation|script|transcript|chat|interview|play|user|human", re.IGNORECASE)
_MARK = re.compile(
    r"<\|[\w▁:./ -]{1,40}\|>|<｜[^｜\n]{1,40}｜>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>(?:model|user)?"
    r"|<(?:bos|eos|pad|unk)>|<unused\d+>"
)
_ROLE = re.compile(
    r"\A\s*(?:(?:<\|(?:im_start|start_header_id|start)\|>|<start_of_turn>)\s*(?:assistant|model|ai|bot)\b[\s:]*"
    r"|(?:#{1,4}\s*)?(?:assistant|model)\s*\n+|(?:#{1,4}\s*|\*\*)?(?:Assistant|ASSISTANT|Response|AI)\s*:\**\s*)"
)


def _from_base64(text: str) -> str:
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=False).decode()


def _from_quoted(text: str) -> str:
    return quopri.decodestring(text.encode()).decode()


def _from_percent(text: str) -> str:
    return (unquote if "%20" in text else unquote_plus)(text, errors="strict")


def _from_bytes(text: str) -> str:
    return _BYTES.sub(_letters, text)


def _letters(spelt: re.Match[str]) -> str:
    """Bytes that were spelt as \\xe2 or \\342, as UTF-8, else as Latin-1."""
    pairs = re.findall(r"\\x(..)|\\(...)", spelt.group())
    said = bytes(int(h, 16) if h else int(octal, 8) for h, octal in pairs)
    try:
        return said.decode()
    except UnicodeDecodeError:
        return said.decode("latin-1")


_TRANSFERS: tuple[
    tuple[str, re.Pattern[str], Callable[[str], str]], ...
] = (  # a sign without which it is not looked for
    ("%", re.compile(r"\A(?=(?:[^%]*%[0-9A-Fa-f]{2}){3})\S+\Z"), _from_percent),
    ("", re.compile(r"\A[A-Za-z0-9+/_\-\r\n]{40,}={0,2}\Z"), _from_base64),
    (
        "=",
        re.compile(rf"{_QUOTED_BYTES}.*{_QUOTED_BYTES}|^[^\n]{{70,75}}=\r?$", re.MULTILINE | re.DOTALL),
        _from_quoted,
    ),
    ("\\", _BYTES, _from_bytes),
)


def decoded(text: str, asked: str = "") -> str:
    """A reply without the encodings that a gateway put around it; ``asked`` is the question.

    Thoughts found in a structured reply come back in ``<think>`` marks.

    Examples
    --------
    >>> decoded("Fish &amp; chips<!-- nothing to see -->")
    'Fish & chips'
    >>> decoded('[{"type": "reasoning", "text": "Hm."}, {"type": "text", "text": "Yes."}]')
    '<think>Hm.</think>Yes.'
    """
    text = _transferred(_structured(text, asked), asked)
    if any(map(text.__contains__, _CODING)) and _CODED.search(text):
        text = _unescaped(text)
        text = _TERMINAL.sub("", _shown(text))
    if "</" in text or "<br" in text or "<![CDATA[" in text:
        text = _without_markup(text, asked)
    return text if text.isascii() else _repaired(text)


def _shown(text: str) -> str:
    """A text without comments and without elements that no page shows."""
    kept, at = [], 0
    for found in _HIDES.finditer(text):
        if found.start() < at:
            continue
        tag = found.group(1)
        close = "-->" if found.group() == "<!--" else f"</{tag}>" if tag else ""
        end = text.find(close, found.end())
        if end < 0:  # what never closes is shown, and so is all that follows it
            break
        kept.append(text[at : found.start()])
        at = end + len(close)
    return " ".join([*kept, text[at:]]) if kept or at else text


def _unescaped(text: str) -> str:
    for _ in range(2):  # a second gateway escapes what the first has escaped
        text = html.unescape(text)
    literal, real = text.count("\\n"), text.count("\n")
    if (
        _UNICODE.search(text)
        or (literal >= 2 and not real)
        or (text.count('\\"') >= 2 and '"' not in text.replace('\\"', ""))
    ):
        text = _UNICODE.sub(lambda m: chr(int(m.group(1), 16)), text)
        if not real:
            text = _ESCAPE.sub(lambda m: _ESCAPED.get(m.group(1), m.group(1)), text)
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # pairs of halves become one
    return text


def _transferred(text: str, asked: str) -> str:
    """A reply that is percent-encoded, quoted-printable, in base64 or with its bytes spelt, as it was before."""
    bare = text.strip()
    for sign, pattern, decode in _TRANSFERS:
        if sign in bare and pattern.search(bare) and not _ASKS_FOR_CODE.search(asked):
            try:
                plain = decode(bare)
            except ValueError:  # it only looks like it
                continue
            if " " in plain:
                return plain
    return text


def _without_markup(text: str, asked: str) -> str:
    """A reply without an element around all of it, and without the markup of a page."""
    if _ASKS_FOR_CODE.search(asked) or "```" in text:
        return text
    plain = text.replace("<![CDATA[", "").replace("]]>", "") if "<![CDATA[" in text else text
    while (root := _ROOT.match(plain)) and f"</{root.group(1)}>" not in root.group(2):
        plain = root.group(2)
    if len(_MARKUP.findall(plain)) > 1:
        plain = _MARKUP.sub(lambda m: "" if m.group(2) else "\n", plain).strip()
    return plain


def only_markup(text: str, plain: str) -> bool:
    """Whether a text lost nothing but the markup of a page when it was decoded."""
    return _MARKUP.sub(" ", text).split() == plain.split()


def _repaired(text: str) -> str:
    """Text that was decoded with the wrong code page, if it can be repaired without doubt."""
    if is_typed(text) or not _MISREAD.search(text) or not _OF_CODE_PAGES.search(text):
        return text
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    return fix_encoding(text) if is_bad(text) else text


def _structured(text: str, asked: str) -> str:
    """The answer in a reply that was stored with its JSON, or with Python's writing of it, around it."""
    bare = text.strip()
    if fenced := _FENCED.match(bare):
        bare = fenced.group(1).strip()
    streamed = bare[:5] in ("data:", "event") or (bare[:1] == "{" and "}\n{" in bare)
    if not (streamed or bare[:1] in ("{", "[", '"')) or len(bare) > LARGEST or "json" in asked.lower():
        return text
    if streamed:
        return _streamed(bare) or text
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        if bare[0] == '"' or bare.count("[") + bare.count("{") > 200:
            return text
        try:
            value = ast.literal_eval(bare)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return text
    said = _said(value)
    return said if said and said.strip() else text


def _streamed(text: str) -> str | None:
    """What the pieces of a stream say that was stored as it came: server-sent events, or an object a line."""
    lines = [line.strip() for line in text.splitlines()]
    bodies = [line.removeprefix("data:").strip() for line in lines if line[:1] in ("{", "d")]
    try:
        pieces = [_said(json.loads(body)) for body in bodies if body != "[DONE]"]
    except (ValueError, RecursionError):
        return None
    return "".join(p or "" for p in pieces)


def _said(value: Any, depth: int = 0) -> str | None:
    """Text of a reply of any known shape, thoughts in marks; None if it is no such shape."""
    if isinstance(value, str):
        return value
    if depth > 6:
        return None
    if isinstance(value, list | tuple):
        shaped = [v for v in value if isinstance(v, Mapping)]
        if not shaped or len(shaped) < len(value):
            return value[0] if len(value) == 1 and isinstance(value[0], str) else None
        parts = [_said(v, depth + 1) for v in shaped]
        return None if None in parts else "".join(p or "" for p in parts)
    return _of_object(value, depth) if isinstance(value, Mapping) else None


def _of_object(value: Mapping[str, Any], depth: int) -> str | None:
    if isinstance(choices := value.get("choices"), list) and choices:
        return _said(choices[0], depth + 1)
    kind = value.get("type")
    thinks = isinstance(kind, str) and bool(_THOUGHT_KEY.search(kind))
    thoughts = [v for k, v in value.items() if isinstance(k, str) and isinstance(v, str) and _THOUGHT_KEY.search(k)]
    found = next((s for k in _ANSWER_KEYS if k in value and (s := _said(value[k], depth + 1)) is not None), None)
    if found is None and len(texts := [v for v in value.values() if isinstance(v, str)]) == 1 == len(value):
        found = texts[0]
    if thinks:
        return f"<think>{found or ' '.join(thoughts)}</think>"
    if found is None:
        return None
    return "".join(f"<think>{t}</think>" for t in thoughts if t.strip()) + found


def echo_end(text: str, asked: str) -> int:
    """Where an echo of the question ends that stands at the head of a text; 0 if there is none.

    Examples
    --------
    >>> echo_end("The river ran dry.", "The river ran")
    13
    >>> echo_end("It ran dry.", "The river ran")
    0
    """
    question = _question(asked)
    n = len(question)
    if n < LEAST_ECHO:
        return 0
    said = text[: 2 * len(asked) + 200]
    if question[0] not in (w for w, *_ in word_spans(said, BEFORE_ECHO + 1)):
        return 0
    head = word_spans(said)
    found = tuple(w for w, *_ in head)
    for at in range(min(BEFORE_ECHO, len(found) - n) + 1):
        if found[at : at + n] == question:
            end: int = head[at + n - 1][2]
            return end
    return 0


@lru_cache(16)  # one question after the other is looked for in the answers of all models
def _question(asked: str) -> tuple[str, ...]:
    return tuple(w for w, *_ in word_spans(asked))


def second_turn(text: str, asked: str) -> int:
    """Where a further turn begins that the model, or its template, wrote for the user; the text's end if nowhere."""
    ends = [m.start() for m in [_TURN_END.search(text)] if m and text[: m.start()].strip()] if "<" in text else []
    if any(map(text.__contains__, _TURNS)) and not asks(_DIALOGUE, asked):
        ends += [m.start() for m in [_USER_TURN.search(text)] if m and text[: m.start()].strip()]
    return min(ends, default=len(text))


def marks_of_template(text: str) -> list[tuple[int, int]]:
    """Spans of chat-template marks, the role in front of an answer among them."""
    role = _ROLE.match(text)
    start = role.end() if role else 0
    marks = _MARK.finditer(text, start) if "<" in text or "[" in text else ()
    return ([(0, start)] if role else []) + [m.span() for m in marks]
