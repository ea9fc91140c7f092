"""Tricks of a host or gateway: what is done to a model's answers before they leave, each a function of the texts.

``TRICKS`` lists them by name. A trick takes the answers of one model, one a prompt, and a `Scene`; it returns as many
texts. What a host chooses (which prompts it refuses, which words it exchanges) is alike for every model behind it;
request numbers, dates and slips differ from answer to answer.
"""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_matrix

Texts = list[str]
Rng = np.random.Generator
Each = Callable[[str, "Answer"], str]

_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[A-Za-z][A-Za-z'’]*")
_MARKS = re.compile(r"\*\*|__|`+|^#{1,6}\s+|^\s*[-*+]\s+", re.MULTILINE)


@dataclass(frozen=True)
class Scene:
    """What a trick may use besides the answers of its model.

    ``questions`` (p,) are the prompts, ``strangers`` answers of other models to them, each (p,), ``synonyms`` one word
    for another, ``candidate`` the accused's name. ``host`` seeds what all models behind one host have alike, ``own``
    what only this one has.
    """

    questions: Sequence[str]
    strangers: Sequence[Sequence[str]] = ()
    synonyms: Mapping[str, str] = field(default_factory=dict)
    candidate: str = "candidate"
    host: int = 0
    own: int = 1

    def chosen(self, share: float) -> set[int]:
        """Which prompts a host treats in a way of its own: the same for everybody behind it."""
        n = len(self.questions)
        return set(np.random.default_rng(self.host).permutation(n)[: round(share * n)].tolist())


@dataclass(frozen=True)
class Answer:
    """One answer's place: its prompt, what a stranger said to it, and chance of this answer alone."""

    at: int
    question: str
    stranger: str
    scene: Scene
    rng: Rng


@dataclass(frozen=True)
class Trick:
    """One thing that can be done to a model's answers. ``kind`` groups tricks that one defence is to mend."""

    name: str
    kind: str
    change: Each
    share: float = 1.0  # of the prompts, chosen by the host

    def __call__(self, texts: Sequence[str], scene: Scene) -> Texts:
        """The changed answers, as many as there are prompts."""
        chosen = scene.chosen(self.share)
        out = []
        for at, text in enumerate(texts):
            stranger = scene.strangers[0][at] if scene.strangers else ""
            rng = np.random.default_rng([scene.own, at])
            place = Answer(at, scene.questions[at], stranger, scene, rng)
            out.append(self.change(text, place) if at in chosen else text)
        return out


def sentences(text: str) -> list[str]:
    """Sentences of a text, without the white space between them."""
    return [s for s in _SENTENCES.split(text.strip()) if s]


def cut(text: str, most: int) -> str:
    """The first ``most`` words, layout kept."""
    ends = [m.end() for m in re.finditer(r"\S+", text)][:most]
    return text[: ends[-1]] if ends else text


def each_word(text: str, share: float, rng: Rng, change: Callable[[str], str]) -> str:
    """A text with a share of its words changed, chosen at random."""
    return _WORD.sub(lambda m: change(m[0]) if rng.random() < share else m[0], text)


# Characters ------------------------------------------------------------------------------------------------------
_ALIKE = str.maketrans("aceopxyiABCEHKMOPTX", "асеорхуіАВСЕНКМОРТХ")


def _inside(mark: str) -> Callable[[str], str]:
    return lambda w: w[:1] + mark + w[1:] if len(w) > 1 else w + mark


def _words_with(change: Callable[[str], str], share: float) -> Each:
    return lambda text, a: each_word(text, share, a.rng, change)


def _typo(word: str, rng: Rng) -> str:
    if len(word) < 3:
        return word
    i = int(rng.integers(1, len(word) - 1))
    return (word[:i] + word[i + 1] + word[i] + word[i + 2 :], word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:])[
        int(rng.integers(3))
    ]


def _curly(text: str, _: Answer) -> str:
    return re.sub(r'"([^"\n]*)"', "“\\1”", text).replace("'", "’").replace(" - ", " — ")


# Words -----------------------------------------------------------------------------------------------------------
def exchanged(text: str, scene: Scene, share: float) -> str:
    """A rewriting proxy: the same words always become the same others, about ``share`` of all words."""
    known = [w for w in _WORD.findall(text) if w.lower() in scene.synonyms]
    words = max(1, len(text.split()))
    wanted = min(1.0, share * words / max(1, len(known)))

    def one(m: re.Match[str]) -> str:
        word = m[0].lower()
        other = scene.synonyms.get(word)
        if other is None or _fraction(word) >= wanted:
            return m[0]
        return other.capitalize() if m[0][0].isupper() else other

    return _WORD.sub(one, text)


def _fraction(word: str) -> float:
    """A number in [0, 1) that hangs on the word alone."""
    h = 2166136261
    for c in word.encode():
        h = (h ^ c) * 16777619 % 2**32
    return (h * 2654435761 % 2**32) / 2**32


_FILLERS = ("really", "basically", "indeed", "of course", "actually", "in fact", "quite", "generally")
_PIRATE = {"you": "ye", "your": "yer", "my": "me", "is": "be", "are": "be", "the": "th'", "of": "o'", "and": "an'",
           "for": "fer", "yes": "aye", "friend": "matey", "people": "scallywags", "to": "t'", "it": "'t"}  # fmt: skip


def _pirate(text: str, _: Answer) -> str:
    return "Arr, matey! " + _WORD.sub(lambda m: _PIRATE.get(m[0].lower(), m[0]), text) + " Yo ho ho!"


def _rewritten(text: str, a: Answer) -> str:
    """Stand-in for a second model that rewrites every answer: other words, clauses turned, no layout."""
    parts = sentences(exchanged(_MARKS.sub("", text), a.scene, 0.3))
    turned = [_turned(s) if a.rng.random() < 0.5 else s for s in parts]
    return " ".join(turned)


def _turned(sentence: str) -> str:
    head, comma, tail = sentence.rstrip(".").partition(", ")
    return f"{tail[:1].upper()}{tail[1:]}, {head[:1].lower()}{head[1:]}." if comma and tail else sentence


def _shuffled(text: str, a: Answer) -> str:
    parts = sentences(text)
    return " ".join(parts[i] for i in a.rng.permutation(len(parts)))


# Layout ----------------------------------------------------------------------------------------------------------
def _marked_up(text: str, a: Answer) -> str:
    first, *rest = text.split("\n\n")
    return "\n\n".join(
        [f"## Answer\n\n**{first.strip()[:60]}**{first.strip()[60:]}", *(f"### Details\n\n{r}" for r in rest)]
    )


def _listed(text: str, mark: Callable[[int], str], raised: bool = False) -> str:
    parts = sentences(" ".join(_MARKS.sub("", text).split()))
    return "\n".join(mark(i) + (s.upper() if raised else s) for i, s in enumerate(parts, 1))


def _headings(text: str, _: Answer) -> str:
    names = ("Overview", "Key points", "Details", "Summary")
    return "\n\n".join(f"## {names[min(i, 3)]}\n{part}" for i, part in enumerate(text.split("\n\n")))


# Wrappers --------------------------------------------------------------------------------------------------------
_FRONTS = (
    "Thank you for reaching out with this question, it is a pleasure to help you today.",
    "Great question! Let me walk you through what I know about this.",
    "I appreciate you asking, and here is what I can tell you.",
    "Let's look into this together, one step at a time.",
    "Happy to help with that! Please find my thoughts below.",
    "That is an interesting thing to ask, so let me explain.",
    "Of course, here is everything that you need to know about it.",
    "I hope you are having a wonderful day! Regarding your request:",
    "As your assistant I have looked at this carefully for you.",
    "Certainly, allow me to share some useful information on the matter.",
)
_BEHIND = "Please do let me know if there is anything else that I can help you with."
_FOOTER = "This answer was served free of charge by OpenRelay, support us at openrelay.example to keep it running."
_DISCLAIMER = (
    "Disclaimer: the information above is provided for general purposes only and does not constitute legal, medical or "
    "financial advice. The operator accepts no liability for losses that arise from its use. Please consult a "
    "qualified professional before you act on it."
)
_REFUSAL = "I'm sorry, but this request was blocked by the content policy of this service. Please try another one."
_FAQ = (
    "This topic is covered in our help centre. Please read the article {id} under Frequently Asked Questions, or open "
    "a ticket with our support team, who will be glad to help you within one working day."
)


def _around(front: str = "", behind: str = "") -> Each:
    return lambda text, a: _filled(front, a) + text + _filled(behind, a)


def _filled(form: str, a: Answer) -> str:
    if "{" not in form:
        return form
    token = "".join(a.rng.choice(list("0123456789abcdef"), 12))
    date = f"2025-{a.rng.integers(1, 13):02}-{a.rng.integers(1, 29):02}"
    return form.format(
        id=token,
        date=date,
        n=int(a.rng.integers(10**6)),
        question=a.question.strip(),
        topic=" ".join(re.findall(r"[A-Za-z]{5,}", a.question)[:3]).lower() or "this",
        name=a.scene.candidate,
    )


def _always(form: str) -> Each:
    return lambda _, a: _filled(form, a)


def _rotating(text: str, a: Answer) -> str:
    return f"{_FRONTS[int(a.rng.integers(len(_FRONTS)))]}\n\n{text}"


def _long_comment(text: str, a: Answer) -> str:
    return f"<!-- {' '.join(['served by the edge cache of this region'] * 37)} -->\n{text}"


# Thoughts --------------------------------------------------------------------------------------------------------
_THOUGHTS = (
    "Okay, so the user wants to know the following: {question}", "Let me think about what they really need here.",
    "First, I should consider the main points.", "Hmm, there might be more than one way to read this.",
    "I need to make sure that the answer is correct and complete.", "Wait, let me double-check that part.",
    "The user may not be an expert, so I should keep it simple.", "I recall a few facts that are relevant.",
    "Maybe I should structure this as a short list.", "Alternatively, I could start with an example.",
    "Let me also think about possible pitfalls.", "I should avoid being too long.",
    "Putting this together, I can write the response now.", "So the final answer should be clear and friendly.",
)  # fmt: skip


def _thought(a: Answer) -> str:
    middle = [_THOUGHTS[i] for i in np.sort(a.rng.permutation(np.arange(1, len(_THOUGHTS)))[:8])]
    return " ".join([_THOUGHTS[0].format(question=a.question.strip()[:200]), *middle])


def _thinking(opening: str, closing: str) -> Each:
    return lambda text, a: f"{opening}{_thought(a)}{closing}{text}"


# Other models ----------------------------------------------------------------------------------------------------
def _mixed_sentences(text: str, a: Answer) -> str:
    mine, theirs = sentences(text), sentences(a.stranger)
    return " ".join(theirs[i] if i % 2 and i < len(theirs) else s for i, s in enumerate(mine))


def _routed(_: str, a: Answer) -> str:
    return a.stranger


def _second_turn(text: str, a: Answer) -> str:
    asked = a.scene.questions[(a.at + 1) % len(a.scene.questions)]
    return f"{text}\n\nUser: {asked.strip()[:200]}\nAssistant: {cut(a.stranger, 60)}"


def _cached(text: str, a: Answer) -> str:
    """A wrong answer out of the cache: what this host said to another prompt."""
    return a.scene.strangers[-1][(a.at + 7) % len(a.scene.questions)] if a.scene.strangers else text


def plain(change: Callable[[str], str]) -> Each:
    """A change that looks at nothing but the text."""
    return lambda text, _: change(text)


def _mojibake(text: str) -> str:
    return text.replace("'", "’").replace(" - ", " – ").encode().decode("cp1252", errors="replace")


_FAMILIES = {
    "think": ("<think>\n", "\n</think>\n\n"),
    "thinking": ("<thinking>\n", "\n</thinking>\n\n"),
    "thought": ("<thought>", "</thought>\n"),
    "reasoning": ("<reasoning>\n", "\n</reasoning>\n\n"),
    "reflection": ("<reflection>\n", "\n</reflection>\n"),
    "scratchpad": ("<scratchpad>", "</scratchpad>\n"),
    "analysis": ("<analysis>\n", "\n</analysis>\n\n"),
    "[THINK]": ("[THINK]", "[/THINK]"),
    "◁think▷": ("◁think▷", "◁/think▷"),
    "begin_of_thought": ("<|begin_of_thought|>\n", "\n<|end_of_thought|>\n"),
    "channel": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "closing only": ("", "\n</think>\n\n"),
    "details": (
        '<details type="reasoning" done="true">\n<summary>Thought for 4 seconds</summary>\n> ',
        "\n</details>\n",
    ),
    "fence": ("```thinking\n", "\n```\n\n"),
    "headings": ("**Thinking**\n\n", "\n\n**Answer**\n\n"),
    "labels": ("Reasoning: ", "\n\nFinal answer: "),
    "no tags": ("", "\n\n"),
}


def _styles() -> Iterable[Trick]:
    yield Trick("concise: two sentences", "style", plain(lambda t: " ".join(sentences(t)[:2])))
    yield Trick("bullets", "style", plain(lambda t: _listed(t, lambda _: "- ")))
    yield Trick("upper-case bullets", "style", plain(lambda t: _listed(t, lambda _: "• ", raised=True)))
    yield Trick("numbered list", "style", plain(lambda t: _listed(t, lambda i: f"{i}. ")))
    yield Trick("JSON object", "style", plain(lambda t: json.dumps({"status": "ok", "answer": t, "confidence": 0.9})))
    yield Trick("formal preface", "style", _around("It is my privilege to respond to your esteemed enquiry. "))
    yield Trick("pirate", "style", _pirate)
    yield Trick("persona", "style", _around("Hello, I am Luna, your caring companion! ", " Stay curious, yours, Luna."))
    persona = _around("Hello, I am Luna, your caring companion! ", " Stay curious, yours, Luna.")
    yield Trick("persona on 30 %", "style", persona, 0.3)
    yield Trick("upper case", "layout", plain(str.upper))
    yield Trick("lower case", "layout", plain(str.lower))
    yield Trick("markdown added", "layout", _marked_up)
    yield Trick("markdown stripped", "layout", plain(lambda t: _MARKS.sub("", t)))
    yield Trick("headings added", "layout", _headings)
    yield Trick("sentences shuffled", "words", _shuffled)


def _synonyms(share: float) -> Each:
    return lambda t, a: exchanged(t, a.scene, share)


def _typing_errors(share: float) -> Each:
    return lambda t, a: each_word(t, share, a.rng, lambda w: _typo(w, a.rng))


def _wordings() -> Iterable[Trick]:
    for share in (5, 15, 30):
        yield Trick(f"synonyms {share} %", "words", _synonyms(share / 100))
    yield Trick("rewritten", "words", _rewritten)
    yield Trick("filler words 10 %", "words",
                lambda t, a: each_word(t, 0.1, a.rng, lambda w: f"{w} {a.rng.choice(_FILLERS)}"))  # fmt: skip
    for share in (5, 20):
        yield Trick(f"typing errors {share} %", "words", _typing_errors(share / 100))
    for most in (20, 50, 60):
        yield Trick(f"cut at {most} words", "cut", plain(partial(cut, most=most)))
    yield Trick("first sentence", "cut", plain(lambda t: sentences(t)[0] if sentences(t) else t))
    yield Trick("cut at newline", "cut", plain(lambda t: t.strip().split("\n", 1)[0]))
    yield Trick("cut at blank line", "cut", plain(lambda t: t.strip().split("\n\n", 1)[0]))


def _characters() -> Iterable[Trick]:
    for share in (10, 100):
        yield Trick(f"zero-width in {share} %", "characters", _words_with(_inside("\u200b"), share / 100))
    yield Trick("soft hyphens in 30 %", "characters", _words_with(_inside("\u00ad"), 0.3))
    yield Trick("U+034F in every word", "characters", _words_with(_inside("\u034f"), 1.0))
    yield Trick(
        "bidi marks in 30 %", "characters", _words_with(lambda w: f"\u2066{_inside(chr(0x200E))(w)}\u2069", 0.3)
    )
    yield Trick("variation selectors", "characters", _words_with(_inside("\ufe0f"), 1.0))
    for share in (10, 30, 100):
        yield Trick(f"look-alikes in {share} %", "characters", _words_with(lambda w: w.translate(_ALIKE), share / 100))
    wide = str.maketrans({chr(c): chr(c + 0xFEE0) for c in range(0x21, 0x7F)})
    yield Trick("full-width letters", "characters", plain(lambda t: t.translate(wide)))
    yield Trick("curly quotes", "characters", _curly)
    yield Trick("no-break spaces", "characters", plain(lambda t: t.replace(" ", "\u00a0")))
    yield Trick("4,200 spaces in front", "characters", _around(" " * 4200 + "\n"))
    yield Trick("HTML comment in front", "encoding", _long_comment)
    yield Trick(
        "HTML escapes", "encoding", plain(lambda t: html.escape(t).replace(" ", "&nbsp;").replace(".", "&#46;"))
    )
    yield Trick("HTML escapes, quotes only", "encoding", plain(lambda t: html.escape(t).replace("\n", "<br>\n")))
    yield Trick("JSON escapes", "encoding", plain(lambda t: json.dumps(_curly(t, None))[1:-1]))  # type: ignore[arg-type]
    yield Trick("mojibake", "encoding", plain(_mojibake))


def _wrappers() -> Iterable[Trick]:
    yield Trick('"Sure!" in front', "wrapper", _around("Sure! "))
    yield Trick('"Hope this helps!" behind', "wrapper", _around("", " Hope this helps!"))
    yield Trick("polite in front and behind", "wrapper", _around(_FRONTS[0] + " ", " " + _BEHIND))
    yield Trick("polite on 30 %", "wrapper", _around(_FRONTS[0] + " ", " " + _BEHIND), 0.3)
    yield Trick("rotating prefaces", "wrapper", _rotating)
    yield Trick("footer of 15 words", "wrapper", _around("", "\n\n" + _FOOTER))
    yield Trick("footer with id, date, url", "wrapper",
                _around("", "\n\n---\nRequest {id} on {date}, log: https://relay.example/r/{n}"))  # fmt: skip
    yield Trick("legal disclaimer", "wrapper", _around("", "\n\n" + _DISCLAIMER))
    yield Trick("question quoted", "wrapper", _around('You asked: "{question}" Here is what I found. '))
    yield Trick("question repeated", "wrapper", _around("{question}\n\n"))
    yield Trick("topic said again", "wrapper",
                _around("You asked about {topic}. Here is what I found on {topic}:\n\n",
                        "\n\nIn short, that is what matters about {topic}."))  # fmt: skip
    yield Trick("topic as a heading", "wrapper",
                _around("# {topic}: a complete guide\n\n## Introduction\n\n",
                        "\n\n## Conclusion\n\nIn conclusion, {topic} is an important topic."))  # fmt: skip
    yield Trick(
        "question offered on",
        "wrapper",
        _around("", "\n\nWould you like me to explain {topic} in more detail, or an example of {topic}?"),
    )
    yield Trick("candidate named", "wrapper", _around("As {name}, a model made by its own makers, I answer: "))
    yield Trick("chat marks", "wrapper", _around("<|im_start|>assistant\n", "<|im_end|>\n<|endoftext|>"))
    yield Trick("header marks", "wrapper", _around("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"))
    yield Trick("second turn", "wrapper", _second_turn)
    yield Trick("</think> and a phrase behind", "thoughts", _around("", "\n</think>\nThat is my answer."))
    for name, marks in _FAMILIES.items():
        yield Trick(f"thoughts: {name}", "thoughts", _thinking(*marks))


def _others() -> Iterable[Trick]:
    for share in (10, 20, 25):
        yield Trick(f"refusal on {share} %", "canned", _always(_REFUSAL), share / 100)
    yield Trick("refusal with id on 10 %", "canned", _always(_REFUSAL + " Request id: {id}"), 0.1)
    yield Trick("refusal with id on 20 %", "canned", _always(_REFUSAL + " Request id: {id}"), 0.2)
    yield Trick("refusal of 4 words on 25 %", "canned", _always("I cannot help you."), 0.25)
    yield Trick("FAQ on 10 %", "canned", _always(_FAQ.format(id="77")), 0.1)
    yield Trick("FAQ with ids on 10 %", "canned", _always(_FAQ), 0.1)
    yield Trick("wrong cached answer on 20 %", "canned", _cached, 0.2)
    yield Trick("empty on 12 %", "canned", _always(""), 0.12)
    for share in (10, 30, 50, 70, 85):
        yield Trick(f"{share} % routed elsewhere", "mixture", _routed, share / 100)
    yield Trick("every second sentence another's", "mixture", _mixed_sentences)


NONE = Trick("none", "none", plain(lambda t: t))
TRICKS: Mapping[str, Trick] = {t.name: t for t in (*_styles(), *_wordings(), *_characters(), *_wrappers(), *_others())}


def synonyms_of(texts: Iterable[str], least: int = 20, most: int = 6000, kept: int = 100) -> dict[str, str]:
    """A fixed dictionary of words for words, from texts: for each the other word that stands between the same two.

    Ends are kept alike (-s, -ed, -ing, -ly), words of one stem are no exchange, and the ``kept`` commonest words stay.
    """
    streams = [_WORD.findall(t.lower()) for t in texts]
    count = Counter(w for s in streams for w in s)
    common = [w for w, n in count.most_common(most) if n >= least]
    at = {w: i for i, w in enumerate(common)}
    rows, columns = [], []
    for s in streams:
        ids = [at.get(w, -1) for w in s]
        for before, here in pairwise(ids):
            if before >= 0 and here >= 0:
                rows += [here, before]
                columns += [before, here + len(common)]
    n = len(common)
    seen = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(n, 2 * n))
    row, column = (np.asarray(seen.sum(axis)).ravel() for axis in (1, 0))
    lift = seen.tocoo()
    lift.data = np.maximum(np.log(lift.data * seen.sum() / (row[lift.row] * column[lift.col])), 0.0)
    weights = csr_matrix(lift)
    size = np.sqrt(np.asarray(weights.multiply(weights).sum(1)).ravel())
    alike = (weights @ weights.T).toarray() / np.maximum(size[:, None] * size, 1e-9)
    alike[:, [i for i, w in enumerate(common) if i < kept or len(w) < 4]] = 0.0
    near = np.argsort(-alike, axis=1)[:, :20]
    links = sorted((-alike[i, j], i, int(j)) for i in range(kept, n) if len(common[i]) > 3 for j in near[i])
    out: dict[str, str] = {}
    used: Counter[int] = Counter()
    for _, i, j in links:
        a, b = common[i], common[j]
        if a not in out and used[j] < 2 and _exchangeable(a, b):
            out[a] = b
            used[j] += 1
    return out


def _exchangeable(a: str, b: str) -> bool:
    ends = [next((e for e in ("ing", "ed", "ly", "s") if w.endswith(e)), "") for w in (a, b)]
    return ends[0] == ends[1] and a[:4] != b[:4]
