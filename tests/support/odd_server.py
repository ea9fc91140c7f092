"""A server whose models draw words from distributions of their own, behind hosts that add what is not the model's.

A model is ``root@name``: models of one root are kin, others are strangers. The root is a taste for words, in general
and for each prompt; the name only changes the dice. `OddServer` serves them over a real socket; a host is its name, a
bar and the model: ``host|root@name``. What a host does to replies is a list of quirks, composed in their order.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tests.support import payloads
from tests.support.fault_server import FaultServer, Reply, Request

_WORDS = (
    "the a of to in and river stone apple window quickly gentle morning system paper answer number idea garden because "
    "however therefore first second finally small large red blue old new bread water light road city friend music "
    "story question reason method result table simple careful often never always maybe bring take make keep hold walk "
    "speak write read build learn change open close above below between under north south summer winter"
)
VOCABULARY = tuple(w + ending for ending in ("", "s", "er") for w in _WORDS.split())
TOKENS, TOP = 40, 20
SPREAD = (0.4, 1.6)  # of a root's taste, in general and for one prompt
WORDS = 60  # in a long answer


@dataclass(frozen=True)
class Asked:
    """What one request asks of which model."""

    model: str
    prompt: str
    chat: bool
    top: int
    max_tokens: int
    draw: int

    @classmethod
    def of(cls, request: Request) -> Asked:
        body = json.loads(request.body)
        chat = "messages" in body
        logprobs = body.get("logprobs")
        return cls(
            model=request.model.split("|")[-1],
            prompt=body["messages"][-1]["content"] if chat else body["prompt"],
            chat=chat,
            top=body.get("top_logprobs") or (logprobs if logprobs and logprobs is not True else 0),
            max_tokens=body.get("max_tokens") or 256,
            draw=body.get("seed", request.number),
        )


Quirk = Callable[[dict[str, Any], Asked], None]


def dice(*key: object) -> np.random.Generator:
    """Random numbers that depend on the key alone."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@cache
def taste(root: str, prompt: str = "") -> Any:
    """Weights of words (v,): of a root, and of a root asked this."""
    spread = SPREAD[bool(prompt)]
    return np.exp(spread * dice("taste", root, prompt).normal(size=len(VOCABULARY)))


def says(model: str, prompt: str, draw: int, words: int = WORDS) -> str:
    """One answer: half of its words by the model's taste, half by its taste for this prompt, too."""
    root, rng = model.split("@")[0], dice("says", model, prompt, draw)
    own = taste(root)
    here = own * taste(root, prompt)
    weights = np.where(rng.random(words)[:, None] < 0.5, own / own.sum(), here / here.sum())
    drawn = [VOCABULARY[rng.choice(len(VOCABULARY), p=w)] for w in weights]
    return " ".join(drawn).capitalize() + "."


def first_tokens(model: str, prompt: str) -> list[tuple[str, float]]:
    """The likeliest first tokens with their log probabilities, likeliest first."""
    logits = dice("first", model.split("@")[0], prompt).normal(scale=2.5, size=TOKENS)
    logits = logits + dice("first", model, prompt).normal(scale=0.02, size=TOKENS)
    logprobs = logits - np.log(np.exp(logits).sum())
    return [(f" {VOCABULARY[i]}", float(logprobs[i])) for i in np.argsort(-logprobs)[:TOP]]


def entry(token: str, logprob: float, given: bytes | None = None) -> dict[str, Any]:
    """One alternative as servers write it."""
    return {"token": token, "logprob": logprob, "bytes": list(token.encode() if given is None else given)}


def reply(asked: Asked) -> dict[str, Any]:
    """What the model itself says: where logprobs are asked for, one token that they allow."""
    if not asked.top:
        text = says(asked.model, asked.prompt, asked.draw, min(WORDS, asked.max_tokens))
        return payloads.chat(text) if asked.chat else payloads.completion(" " + text)
    found = first_tokens(asked.model, asked.prompt)
    chances = np.exp([logprob for _, logprob in found])
    chosen = int(dice("token", asked.model, asked.prompt, asked.draw).choice(len(found), p=chances / chances.sum()))
    tops = [entry(t, p) for t, p in found[: asked.top]]
    token, logprob = found[chosen]
    if asked.chat:
        shape: dict[str, Any] = {"content": [{**entry(token, logprob), "top_logprobs": tops}]}
        return payloads.with_logprobs(payloads.chat(token.strip()), shape)
    shape = {"tokens": [token], "token_logprobs": [logprob], "top_logprobs": [dict(found[: asked.top])]}
    return payloads.with_logprobs(payloads.completion(token), shape)


def _choice(value: dict[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = value["choices"][0]
    return choice


def _answer(change: Callable[[str, Asked], Any]) -> Quirk:
    """A quirk that writes something else in the place of the answer of a chat."""

    def quirk(value: dict[str, Any], asked: Asked) -> None:
        if asked.chat:
            message = _choice(value)["message"]
            message["content"] = change(message["content"], asked)

    return quirk


def _musing(asked: Asked) -> str:
    """What a model thinks before it answers: a frame that all share, and words of its own."""
    thought = says(asked.model, asked.prompt, -1 - asked.draw, 30)
    return f"Okay, the user asks about this. {thought} Let me put it together and check it once more before I answer."


def _echo(value: dict[str, Any], asked: Asked) -> None:
    if not asked.chat:
        _choice(value)["text"] = asked.prompt + _choice(value)["text"]


def _thought_logprobs(value: dict[str, Any], asked: Asked) -> None:
    """Logprobs begin with the thought; an answer of few tokens is all thought."""
    if not (asked.chat and asked.top):
        return
    choice, head = _choice(value), []
    for token, rest in (("<think>", "The"), ("\n", "\n\n"), ("Okay", "Alright"), ("</think>", "x")):
        tops = [entry(token, -0.01), entry(rest, -5.0)]
        head.append({**tops[0], "top_logprobs": tops})
    choice["message"]["reasoning_content"] = _musing(asked)
    choice["logprobs"]["content"] = head + choice["logprobs"]["content"]
    if asked.max_tokens <= 8:
        choice["message"]["content"], choice["finish_reason"] = None, "length"
        choice["logprobs"]["content"] = head[: min(asked.max_tokens, 3)]


def _pieces(value: dict[str, Any], asked: Asked) -> None:
    """Most alternatives are printed as the sign for broken characters."""
    logprobs = _choice(value).get("logprobs")
    if not logprobs:
        return
    for token in logprobs.get("content", []):
        for alternative in token["top_logprobs"][: int(0.7 * asked.top)]:
            alternative |= {"token": "\ufffd", "bytes": [239, 191, 189]}
        token |= {k: token["top_logprobs"][0][k] for k in ("token", "bytes", "logprob")}


def _scaled(value: dict[str, Any], asked: Asked) -> None:
    """Logprobs are those after a temperature of a half."""
    logprobs = _choice(value).get("logprobs")
    for token in (logprobs or {}).get("content", []):
        tops = token["top_logprobs"]
        total = math.log(sum(math.exp(2 * t["logprob"]) for t in tops))
        for t in tops:
            t["logprob"] = 2 * t["logprob"] - total
        token["logprob"] = next((t["logprob"] for t in tops if t["token"] == token["token"]), 2 * token["logprob"])


_FOOTER = "\n\n---\nPowered by Free Models for Everyone: support our mission and keep the service running today."
_DETAILS = (
    '<details type="reasoning" done="true" duration="3">\n<summary>Thought for 3 seconds</summary>\n> {}\n</details>\n'
)
QUIRKS: Mapping[str, Quirk] = {
    "footer": _answer(lambda text, _: text + _FOOTER),
    "details": _answer(lambda text, asked: _DETAILS.format(_musing(asked)) + text),
    "thought parts": _answer(
        lambda text, asked: [{"type": "reasoning", "text": _musing(asked)}, {"type": "text", "text": text}]
    ),
    "thinking parts": _answer(
        lambda text, asked: [{"type": "thinking", "thinking": [{"type": "text", "text": _musing(asked)}]}, text]
    ),
    "html": _answer(lambda text, _: text.replace(" and ", " &amp; ").replace(".", "&#46;")),
    "echo": _echo,
    "thought logprobs": _thought_logprobs,
    "broken characters": _pieces,
    "scaled logprobs": _scaled,
}


class OddServer(FaultServer):
    """Serves each model of ``hosts``, by the name that is asked for, with its quirks."""

    def __init__(self, hosts: Mapping[str, Sequence[str]]) -> None:
        super().__init__({name: [_step([QUIRKS[q] for q in quirks])] for name, quirks in hosts.items()})


def _step(quirks: Sequence[Quirk]) -> Callable[[Request], Reply]:
    def step(request: Request) -> Reply:
        asked = Asked.of(request)
        value = reply(asked)
        for quirk in quirks:
            quirk(value, asked)
        return Reply(body=payloads.encode({**value, "id": f"reply-{request.number}"}))

    return step
