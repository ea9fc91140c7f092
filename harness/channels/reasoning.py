"""Where thoughts stand in an answer: tags of every family, folded blocks, labels in words, missing opening marks.

Left in, thoughts make all thinking models look like kin; taken out where they are none, they blank an answer.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from harness.channels.characters import asks

_NAME = (
    r"(?:[\w:]{1,20}[_:\- ])?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion|ing)?|scratch[_-]?pad|monologue"
    r"|inner[_-]monologue|deliberat\w{0,6}|ponder\w{0,4}|chain[_-]of[_-]thought|cot|antThinking"
    r"|思考过程|思考|推理)(?:[_\- ]\w{1,20})?"
)
_LABEL = (
    r"(?:thinking|thought(?:s| process)?|thinking process|internal monologue|chain of thought|scratchpad|思考过程|思考)"
)
_ASKED_LABEL = r"(?:reasoning(?: process)?|analysis|推理)"  # where the question does not ask for one
_FINAL = r"(?:final )?(?:answer|response|reply|output)|回答|答案|最终答案"
_TAG_OPEN = (
    rf"(?:<\|?{_NAME}(?:\s[^<>\n]{{0,80}})?\|?>|\[{_NAME}\]|\{{{{?{_NAME}\}}}}?|【{_NAME}】|⟨{_NAME}⟩|◁{_NAME}▷"
    rf"|<\|(?:begin|start)[_▁](?:of[_▁])?{_NAME}\|>|<\|{_NAME}[_▁](?:begin|start)\|>|<｜{_NAME}[^｜]{{0,10}}｜>|```{_NAME}\n"
    r"|:::\s*thinking|<unused94>thought|<\|channel\|>(?:analysis|thought|commentary)(?:<\|message\|>)?)"
)
_TAG_CLOSE = (
    rf"(?<!`)(?:</{_NAME}>|<\|/{_NAME}\|>|\[/{_NAME}\]|\{{{{?/{_NAME}\}}}}?|【/{_NAME}】|⟨/{_NAME}⟩|◁/{_NAME}▷"
    rf"|<\|end[_▁](?:of[_▁])?{_NAME}\|>|<\|?{_NAME}[_▁]end\|?>|<｜/?end[^｜]{{0,10}}{_NAME}｜>|<unused95>"
    r"|\.\.\.done thinking\.?|<\|channel\|>final(?:<\|message\|>)?|assistantfinal)"
)
_THROUGH_LAST_CLOSE = re.compile(rf"\A(.*)(?:{_TAG_CLOSE})", re.DOTALL | re.IGNORECASE)
_OPENED = re.compile(rf"{_TAG_OPEN}", re.IGNORECASE)
_LEADING_OPEN = re.compile(
    rf"\A\s*(?:{_TAG_OPEN}|[#*\s]*(?:Thinking|Thinking Process|Thought Process)(?:\.\.\.|…|:|\*\*)[*\s:]*\n).*",
    re.DOTALL | re.IGNORECASE,
)
_FENCE = re.compile(rf"\A\s*(```|:::)\s*{_NAME}\b[^\n]*\n.*?\n\1[ \t]*(?:\n|\Z)", re.DOTALL | re.IGNORECASE)
_DETAILS = re.compile(
    r"\A\s*<details(?P<kind>[^>]*)>\s*(?P<summary><summary>.*?</summary>)?.*?</details>", re.DOTALL | re.IGNORECASE
)
_THINKS = re.compile(r"think|thought|reason|思考|推理", re.IGNORECASE)
_NOTES = re.compile(r"\A\s*<(analysis|plan|planning|notes|draft|internal)>.*?</\1>\s*(?=\S)", re.DOTALL | re.IGNORECASE)
_ASKS_FOR_TAGS = re.compile(r"analy|plan|note|draft|tag|xml|<", re.IGNORECASE)
_QUOTED = re.compile(r"\A\s*(?:>[^\n]*(?:\n|\Z))+")
_QUOTED_HEAD = re.compile(rf"\A[\s>*_#💭🤔]*(?:{_LABEL}|thought for\b)", re.IGNORECASE)
_FINAL_LINE = rf"\n[^\w\n]{{0,8}}(?:(?:{_FINAL})\b[*_]*\s*[:：]?[*_]*[ \t]*\n?|(?:-{{3,}}|\*{{3,}}|_{{3,}})[ \t]*\n)"
_LABELLED = re.compile(rf"\A[\s#*_>💭🤔\[(]*{_LABEL}[\])*_]*\s*(?:[:：]|\.\.\.|…|\n)[*_]*", re.IGNORECASE)
_LABELLED_IF_NOT_ASKED = re.compile(rf"\A[\s#*_>]*{_ASKED_LABEL}[*_]*\s*[:：][*_]*", re.IGNORECASE)
_ASKS_TO_SHOW = re.compile(r"reason|step|explain|think|work|analy", re.IGNORECASE)
_END = re.compile(_FINAL_LINE, re.IGNORECASE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+")
_MUSES = re.compile(
    r"\A[\s*_>]*(?:(?:okay|ok|alright|hmm+|so|well|right|now|first|wait)\b[,.…]*\s*)*"
    r"(?:the user(?:'s)?\b|this user\b|(?:we|i) (?:need|should|have|want|must) to (?:answer|respond|reply|produce"
    r"|figure|parse|think|decide|consider|make sure|check|be careful|write|explain|give|provide)"
    r"|let(?:'s| me| us) (?:think|see|parse|recall|consider|figure|break|start by|check|put|"
    r"reason)|i(?:'ll| will) (?:answer|respond|think|structure|start by)|i should\b|maybe (?:i|we) )",
    re.IGNORECASE,
)  # fmt: skip
_ADDRESSES = re.compile(
    r"\bthe user\b|\bi should\b|\bi need to\b|\bwe need to\b|\blet me\b|\blet's\b|\bwait,|\bhmm\b", re.IGNORECASE
)
_OPENS_MUSING = re.compile(
    r"\A[\s*_>]*(?:(?:okay|ok|alright|hmm+|so|well)\b[,.…]*\s*)*(?:so\s+)?(?:the user\b|this user\b"
    r"|we need to (?:answer|respond|produce|parse)"
    r"|(?:we|i) (?:need|have) to (?:figure out|think about)|let me (?:think|parse|figure))", re.IGNORECASE
)  # fmt: skip
_HINTS = ("</", "_end>", "|>", "[/", "{/", "done thinking", "assistantfinal", "<unused95>", "▷", "】", "⟩", "｜")
_PLAIN_HINTS = 8  # of these, in ASCII
_SAID = r"(?:final[_ ]?)?(?:answer|output|response|reply|solution)"
_WRAPPER = re.compile(
    rf"\A\s*<\|?(?:(?:begin|start)_(?:of_)?)?{_SAID}\|?>|(?:<(?:/|\|end_(?:of_)?){_SAID}\|?>|<\|return\|>)\s*\Z",
    re.IGNORECASE,
)


class Split(NamedTuple):
    """Where thoughts and answer stand in a text.

    ``mark`` is where a closing mark begins that no opening one belongs to, else -1: what stands before it may be
    thoughts or, if someone put the mark there, the answer.
    """

    start: int
    end: int
    answer: int
    stop: int
    mark: int


def find_reasoning(text: str, asked: str = "") -> Split | None:
    """Where reasoning and answer stand in a text; None if all of it is answer.

    All up to the last closing mark is reasoning, also where the opening one is missing; a leading block that never
    closes is all reasoning. ``asked`` is the question: one that wants reasoning gets it as part of the answer.

    Examples
    --------
    >>> text = "<think>Hm.</think>Yes."
    >>> found = find_reasoning(text)
    >>> text[found.start : found.end], text[found.answer : found.stop]
    ('<think>Hm.</think>', 'Yes.')
    """
    end = _thoughts_end(text, asked)
    if end is None:
        return None
    start, stop = end, len(text)
    for wrapper in _WRAPPER.finditer(text[end:]):  # at most one at either end
        if wrapper.start() == 0:
            start = end + wrapper.end()
        else:
            stop = end + wrapper.start()
    closed = _THROUGH_LAST_CLOSE.match(text)
    mark = closed.end(1) if closed and not _OPENED.search(text, 0, closed.end(1)) else -1
    return Split(*stripped(text, 0, end), *stripped(text, start, stop), mark)


def _thoughts_end(text: str, asked: str) -> int | None:
    hints = _HINTS[:_PLAIN_HINTS] if text.isascii() else _HINTS
    if any(map(text.__contains__, hints)) and (found := _THROUGH_LAST_CLOSE.match(text)):
        return found.end()
    head = text[:200]
    if ("```" in head or ":::" in head) and (fenced := _FENCE.match(text)):
        return fenced.end()
    if "<details" in head.lower():
        block = _DETAILS.match(text)
        if block and _THINKS.search(f"{block['kind']} {block['summary'] or ''}"):
            return block.end()
    if head.lstrip()[:1] == "<" and not _ASKS_FOR_TAGS.search(asked) and (notes := _NOTES.match(text)):
        return notes.end()
    if _QUOTED_HEAD.match(head) and (quoted := _QUOTED.match(text)) and quoted.end() < len(text):
        return quoted.end()
    if (label := _LABELLED.match(text)) is not None:
        return _labelled_end(text, label.end(), bool(re.match(r"\A[\s#*_>💭🤔\[(]+\S", text)))
    if not asks(_ASKS_TO_SHOW, asked) and (label := _LABELLED_IF_NOT_ASKED.match(text)):
        return found.end() if (found := _END.search(text, label.end())) else None
    if any(c in head for c in "<[{【⟨◁") and (found := _LEADING_OPEN.match(text)):
        return found.end()
    return _musing_end(text) if _OPENS_MUSING.match(head) else None


def _labelled_end(text: str, start: int, marked: bool) -> int | None:
    """End of thoughts under a label: at the label of the answer; else, if the label is set off, at a blank line."""
    if found := _END.search(text, start):
        return found.end()
    if not marked and ":" not in text[:start] and "..." not in text[:start]:
        return None
    if (closing := _closing(text[:start])) and (
        found := re.search(rf"{re.escape(closing)}[ \t]*\n\s*\n", text[start:])
    ):
        return start + found.end()
    body = text[start:]
    lead = len(body) - len(body.lstrip())
    blank = _PARAGRAPH.search(body, lead)
    if blank is None:
        return len(text) if _LEADING_OPEN.match(text) else None
    return start + blank.end()


def _closing(label: str) -> str:
    """What closes the brackets or the emphasis in which all of the thoughts stand that a label opens; or nothing."""
    for opening, closing in (("(", ")"), ("[", "]")):
        if opening in label and closing not in label:
            return closing
    return next((sign * label.count(sign) for sign in "*_" if 0 < label.count(sign) < 3), "")


def _musing_end(text: str) -> int | None:
    """End of thoughts without any mark: leading paragraphs, or sentences, that speak of the user and of what to say."""
    for cut in (_PARAGRAPH, _SENTENCE):
        starts = [0, *(m.end() for m in cut.finditer(text)), len(text)]
        end = 0
        for a, b in pairwise(starts):
            piece = text[a:b]
            if not (_MUSES.match(piece) or (cut is _PARAGRAPH and len(_ADDRESSES.findall(piece)) >= 2)):
                break
            end = b
        if 0 < end < len(text) and text[end:].strip():
            return end
    return None


def muses(text: str) -> bool:
    """Whether a text begins like thoughts: it speaks of the user, or of what is to be said."""
    return bool(_MUSES.match(text) or _OPENED.match(text.lstrip()) or _LABELLED.match(text))


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The same stretch without white space at its ends."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), max(start, start + len(part.rstrip()))
