"""Quirks of an endpoint: which parameters its provider documents or its server refused, and requests without them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.config import Provider
from harness.endpoints.server_errors import vocabulary
from harness.errors import CallError

_UNNAMED = re.compile(r"handle the requested parameters|support the (provided|requested) parameters", re.IGNORECASE)
_OPTIONAL = ("logprobs", "seed", "top_p", "temperature")  # the likeliest to be refused first
_BARE = frozenset({"temperature", "seed", "logprobs"})  # names that are no other words; with an underscore, none is
_QUOTES = "`'\"‘’“”「」『』«»"
_ECHO = 2  # more names than these are a request that is told again rather than what is refused of it
_LOOSE = re.compile(r"(?<![A-Za-z0-9_.\-])\d{1,6}(?![A-Za-z0-9_\-]|\.\d)")
_BOUND = re.compile(
    r"(?:at most|less than or equal to|no more than|not (?:be )?(?:more|greater|larger) than|(?:not|cannot) exceed|<=|"
    r"≤|max(?:imum)?(?: [a-z_]+){0,3}(?::|=)?|up to|between \d+ and|from \d+ to|[\[(]\d+ ?[,，] ?|"
    r"\d+ ?(?:[-~–到至]|\.\.) ?|不能超过|不超过|最大(?:值)?[为是]?|不大于|小于等于) ?[:：]? ?(\d{1,3})\b",
    re.IGNORECASE,
)
_STEPS = (20, 5, 0)
_NEEDED = frozenset({"model", "messages", "prompt", "input", "contents", "generationConfig", "system"})
_LENGTHS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"})
_LOGPROBS = frozenset({"logprobs", "top_logprobs", "responseLogprobs"})
_NESTED = "generationConfig"  # where Gemini keeps its parameters


def longest_answer(body: Mapping[str, Any]) -> int | None:
    """Most tokens that a request lets its answer have, under any of the names for it; None: it sets no limit.

    Examples
    --------
    >>> longest_answer({"max_completion_tokens": 8}), longest_answer({"generationConfig": {"maxOutputTokens": 9}})
    (8, 9)
    >>> longest_answer({"model": "m", "max_tokens": None}) is None
    True
    """
    nested = body.get(_NESTED)
    found = {**(nested if isinstance(nested, Mapping) else {}), **body}
    told = [v for k in _LENGTHS if isinstance(v := found.get(k), int) and not isinstance(v, bool) and v > 0]
    return max(told, default=None)


@dataclass(frozen=True, slots=True)
class Quirks:
    """What an endpoint takes: the name of `max_tokens`, the most alternatives a token, and what is left out.

    ``refuses`` holds names of body parameters, and ``system`` where there is no system role. Of these ``guessed`` is
    what is left out on trial, the ``guesses``-th set that was tried, where a server refuses without a name.
    """

    max_tokens: str = "max_tokens"
    top_logprobs: int = 100
    logprobs_is_count: bool = False
    refuses: frozenset[str] = frozenset()
    guessed: frozenset[str] = frozenset()
    guesses: int = 0

    def settled(self, took: bool) -> Quirks:
        """The trial is over: what was left out stays out if the request was taken."""
        refuses = self.refuses if took else self.refuses - self.guessed
        return replace(self, refuses=refuses, guessed=frozenset(), guesses=0)

    @classmethod
    def of(cls, provider: Provider) -> Quirks:
        """What a provider documents."""
        refuses = frozenset(provider.refuses)
        return cls(provider.max_tokens, provider.top_logprobs, provider.logprobs_is_count, refuses)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"max_tokens": self.max_tokens, "top_logprobs": self.top_logprobs, "refuses": sorted(self.refuses)}

    def joined(self, other: Quirks) -> Quirks:
        """The quirks of two stores as one: what either was refused is not sent."""
        renamed = next((x.max_tokens for x in (self, other) if x.max_tokens != "max_tokens"), "max_tokens")
        most = min(self.top_logprobs, other.top_logprobs)
        return Quirks(renamed, most, self.logprobs_is_count or other.logprobs_is_count, self.refuses | other.refuses)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Quirks:
        """What `record` wrote."""
        return cls(record["max_tokens"], record["top_logprobs"], refuses=frozenset(record["refuses"]))


def adapted(body: Mapping[str, Any], quirks: Quirks) -> dict[str, Any]:
    """``body`` as an endpoint with these quirks takes it: renamed, capped, or left out; never anything added."""
    out = dict(body)
    if quirks.max_tokens != "max_tokens" and "max_tokens" in out and ("messages" in out):
        out = {quirks.max_tokens if k == "max_tokens" else k: v for k, v in out.items()}
    inner = dict(out.get(_NESTED) or {})
    for part in (out, inner) if inner else (out,):
        _cap_logprobs(part, quirks)
        for name in quirks.refuses & part.keys() - _NEEDED:
            del part[name]
    if _NESTED in out:
        out[_NESTED] = inner
    if "system" in quirks.refuses:
        _fold_system(out)
    return out


def parameters(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A body with the parameters that its API keeps in an object beside all others."""
    return {**body, **inner} if isinstance(inner := body.get(_NESTED), dict) else body


def _cap_logprobs(body: dict[str, Any], quirks: Quirks) -> None:
    most = 0 if "logprobs" in quirks.refuses else quirks.top_logprobs
    if "top_logprobs" in body:
        body["top_logprobs"] = min(body["top_logprobs"], most)
        if quirks.logprobs_is_count:
            body["logprobs"] = body.pop("top_logprobs")
    elif isinstance(body.get("logprobs"), int) and not isinstance(body["logprobs"], bool):  # plain completions
        body["logprobs"] = min(body["logprobs"], most)
    if most == 0:
        for name in (*_LOGPROBS, "include"):
            body.pop(name, None)


def _fold_system(body: dict[str, Any]) -> None:
    """The system message at the head of the first user message: what chat templates without that role do."""
    messages = body.get("messages")
    if messages and messages[0]["role"] == "system" and len(messages) > 1:
        text = f"{messages[0]['content']}\n\n{messages[1]['content']}"
        body["messages"] = [{**messages[1], "content": text}, *messages[2:]]
    elif messages and isinstance(text := body.pop("system", None), str):
        body["messages"] = [{**messages[0], "content": f"{text}\n\n{messages[0]['content']}"}, *messages[1:]]
    elif isinstance(said := body.pop("systemInstruction", None), dict):
        first, *others = body["contents"]
        text = f"{said['parts'][0]['text']}\n\n{first['parts'][0]['text']}"
        body["contents"] = [{**first, "parts": [{"text": text}]}, *others]
    elif isinstance(text := body.pop("instructions", None), str):
        body["input"] = f"{text}\n\n{body['input']}"


def learn(quirks: Quirks, body: Mapping[str, Any], error: CallError) -> Quirks | None:
    """What a refusal of ``body`` says about its endpoint; None if it names nothing that can be left out.

    Only HTTP 400 and 422 are read, and only parameters that were sent are believed to be refused; and the 404 of a
    router (OpenRouter, `require_parameters`) that finds nobody who takes all of them and does not say which it was.
    """
    text, body = error.message.removeprefix(f"HTTP {error.status}: "), parameters(body)
    if error.status in (400, 404, 422) and _UNNAMED.search(text):
        return _guess(quirks, body)
    if error.status not in (400, 422) or error.kind != "http":
        return None
    paths = [re.split(r"[.\[\]/$]+", p) for p in error.parameters]
    fields = {next((word for word in path if word in body and word not in _NEEDED), "") for path in paths} - {""}
    named = fields or (_written(body, text) or _spelled(body, text)) - _NEEDED
    if not fields and len(named) > _ECHO and not vocabulary().refused.search(text):
        return None
    about_role = _has_role(paths) or vocabulary().role.search(" ".join((text, *error.parameters)))
    if about_role and _has_system(body) and "system" not in quirks.refuses:
        return replace(quirks, refuses=quirks.refuses | {"system"})
    if named & _LENGTHS:
        return _length(quirks, body, text)
    if named & _LOGPROBS:
        return replace(quirks, top_logprobs=_next_step(body, named, text, error.most))
    for name in sorted(named - {"provider"}, key=lambda n: (n == "temperature", n)):  # of both the other may go
        return replace(quirks, refuses=quirks.refuses | {name})
    return None


def _has_role(paths: list[list[str]]) -> bool:
    return any(path[0] in ("system", "instructions") or path[-1] == "role" for path in paths)


def _written(body: Mapping[str, Any], text: str) -> set[str]:
    """Parameters of a body that a text names, in whatever language: in quotes, or where the name is no other word."""
    found = set()
    for name in body:
        bare = rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])"
        if re.search(bare if "_" in name or name in _BARE else rf"[{_QUOTES}]{re.escape(name)}[{_QUOTES}]", text):
            found.add(name)
    return found


def _spelled(body: Mapping[str, Any], text: str) -> set[str]:
    """Nested parameters that a text names: Gemini writes topP, top_p or Logprobs for one."""
    said = {word.replace("_", "").lower() for word in re.findall(r"[A-Za-z_]+", text)}
    return {name for name in body.get(_NESTED, ()) if name.lower() in said}


def _length(quirks: Quirks, body: Mapping[str, Any], text: str) -> Quirks | None:
    """`max_tokens` by its other name; where that is refused, too, nothing limits the answer there."""
    chat = "messages" in body
    words = vocabulary()
    number = words.number.search(text) or (_LOOSE.search(text) and not words.flatly.search(text))
    if number and "max_completion_tokens" not in text:  # the number is refused, and not its name
        return None
    if chat and "max_tokens" in body and quirks.max_tokens == "max_tokens":
        return replace(quirks, max_tokens="max_completion_tokens")
    left = quirks.refuses | ({"max_tokens", "max_completion_tokens"} if chat else body.keys() & _LENGTHS)
    return None if left == quirks.refuses else replace(quirks, refuses=left)


def _guess(quirks: Quirks, body: Mapping[str, Any]) -> Quirks | None:
    """The next smallest set of parameters to leave out; None when all have been tried."""
    there = [name for name in _OPTIONAL if name in body or name in quirks.guessed]
    # First the same once more: a router's 404 may be a passing one, and a channel of evidence would be lost for it.
    sets = [frozenset(c) for size in range(len(there) + 1) for c in itertools.combinations(there, size)]
    if quirks.guesses >= len(sets):
        return None
    left_out = sets[quirks.guesses]
    refuses = quirks.refuses - quirks.guessed | left_out
    return replace(quirks, refuses=refuses, guessed=left_out, guesses=quirks.guesses + 1)


def describe(before: Quirks, after: Quirks) -> str:
    """What was learned, for a message."""
    parts = sorted(after.refuses - before.refuses)
    if after.max_tokens != before.max_tokens:
        parts.append(f"{before.max_tokens} (it is {after.max_tokens} there)")
    if after.top_logprobs != before.top_logprobs:
        parts.append(f"more than {after.top_logprobs} alternatives a token" if after.top_logprobs else "logprobs")
    return ", ".join(parts)


def _has_system(body: Mapping[str, Any]) -> bool:
    messages = body.get("messages")
    apart = body.keys() & {"instructions", "system", "systemInstruction"}
    return bool(apart) or bool(messages and messages[0]["role"] == "system")


def _next_step(body: Mapping[str, Any], named: set[str], text: str, most: float | None = None) -> int:
    """The next number of alternatives to try: what the server says, else 20, 5, none; none at once where logprobs as
    such are refused. A number that it takes is a limit, whatever parameter it names."""
    asked = body.get("top_logprobs", body.get("logprobs", 0))
    if isinstance(asked, bool):
        return 0
    told = [n for n in (*map(int, _BOUND.findall(text)), *([int(most)] if most else [])) if 0 < n < asked]
    if told:
        return max(told)
    counted = "top_logprobs" in named or not isinstance(body.get("logprobs"), bool)
    if vocabulary().flatly.search(text) or not counted:
        return 0
    loose = [n for n in map(int, _LOOSE.findall(text)) if 0 < n < asked]  # in a language whose words are not known
    return max(loose) if loose else next((n for n in _STEPS if n < asked), 0)
