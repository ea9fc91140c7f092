"""The reading room: what came back, turned into the model's own answer, between the store and all channels.

Taken out, in this order: encodings of a gateway, thoughts, an echo of the question, further turns and template marks,
hidden characters, furniture. An answer is taken apart at most once, whatever number of channels look at it: kept is how
(`Edit`) and, where characters were changed, the answer, packed. Stored texts are not touched.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from harness.channels.characters import SHOWN, comparable, gaps, hidden, lookalikes, needs_folding, numbered_words
from harness.channels.furniture import LEAST, NONE, READ, cut_spans, find_furniture, key, without
from harness.channels.reasoning import find_reasoning, muses, stripped
from harness.channels.residue import decoded, echo_end, marks_of_template, only_markup, second_turn
from harness.records import Furniture, Removal, Removed, Responses, WordIds

READS = ("text",)  # see `harness.channels.parallel`
Spans = tuple[tuple[int, int], ...]
Where = Literal["", "begin", "end"]
TOLD = 0.05  # share of an endpoint's answers from which it is told what was taken out
EXAMPLE = 120  # characters
LOOKED = 1000  # answers of an endpoint, spread over all, of which it is told what was taken out
EDGE = 3  # characters from either end of an answer
LEFT = 3  # words, than which more are an answer
BATCH = 2_000  # answers that are split into words at once
_AFTER_ECHO = re.compile(r"[\s\"'”’»?!.:)*_>]*(?:(?:Answer|Response|Reply|A)\s*:\s*)?")


@dataclass(frozen=True, slots=True)
class Edit:
    """How the answer is taken out of what came back.

    ``decode``: encodings are undone first; ``unveil``: characters that hide are taken out of all that came back.
    ``thoughts`` and ``answer`` are spans of the text then; ``marks`` are cut from the answer, it is folded if ``fold``,
    and ``cuts`` are cut from the rest. ``kinds`` say what was found. ``mark`` is where a closing mark of thoughts
    stands that no opening one belongs to, else -1.
    """

    decode: bool
    thoughts: tuple[int, int]
    answer: tuple[int, int]
    marks: Spans
    fold: bool
    cuts: Spans
    kinds: tuple[Removed, ...]
    mark: int = -1
    unveil: bool = False

    def plain(self, text: str, asked: str) -> str:
        """The text that the spans belong to."""
        text = decoded(text, asked) if self.decode else text
        return comparable(text) if self.unveil else text


def edit_of(text: str, asked: str = "", stray: bool = False) -> Edit | None:
    """How to take the model's own answer out of one text, furniture left in; None if all of it is.

    Parameters
    ----------
    text : what the endpoint returned
    asked : the question, an echo of which is cut
    stray : closing marks of thoughts stand behind this endpoint's answers

    Examples
    --------
    >>> edit = edit_of("<think>Hm.</think>The sky &amp; the sea.")
    >>> edit.kinds, own_words("<think>Hm.</think>The sky &amp; the sea.", "", edit)
    (('encoding', 'thoughts'), 'The sky & the sea.')
    """
    kinds: list[Removed] = []
    sent = decoded(text, asked)
    if sent != text:
        comment = "<!--" in text and "<!--" not in sent
        kinds.append("comments" if comment else "markup" if only_markup(text, sent) else "encoding")
    unseen = _unseen(sent)
    plain = comparable(sent) if unseen else sent
    thoughts, (start, stop), mark = _parts(plain, asked, stray)
    if thoughts[0] < thoughts[1]:
        kinds.append("thoughts")
    if mark >= 0 and (stray or thoughts[0] == thoughts[1]):
        kinds.append("stray marks")
    if echo := echo_end(plain[start:stop], asked):
        after = _AFTER_ECHO.match(plain, start + echo)
        start, stop = stripped(plain, min(stop, after.end() if after else start + echo), stop)
        kinds.append("prompt echo")
    if (end := second_turn(plain[start:stop], asked)) < stop - start:
        stop = start + end
        kinds.append("second turn")
    body = plain[start:stop]
    marks = tuple(marks_of_template(body))
    if marks:
        body = without(body, marks)
        kinds.append("template marks")
    kinds += unseen or (["blank space"] if gaps(body) else [])
    fold = not unseen and needs_folding(body)
    if not kinds and not fold and (start, stop) == (0, len(text)):
        return None
    return Edit(sent != text, thoughts, (start, stop), marks, fold, (), tuple(kinds), mark, bool(unseen))


def _parts(plain: str, asked: str, stray: bool) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Spans of thoughts and of answer, and where a closing mark without an opening one stands."""
    split = find_reasoning(plain, asked)
    if split is None:
        return (0, 0), (0, len(plain)), -1
    if stray and split.mark >= 0:
        before = find_reasoning(plain[: split.mark], asked)  # which may have thoughts of its own
        if before is None or before.mark >= 0:
            return (0, 0), stripped(plain, 0, split.mark), split.mark
        return (before.start, before.end), (before.answer, before.stop), split.mark
    return (split.start, split.end), (split.answer, split.stop), split.mark


def _unseen(text: str) -> list[Removed]:
    """Whether characters are hidden in a text, or letters stand in for others."""
    found: list[Removed] = []
    if not text.isascii() or not text.isprintable():
        if hidden(text) >= SHOWN:
            found.append("hidden characters")
        if lookalikes(text) >= SHOWN:
            found.append("look-alike letters")
    return found


def own_words(text: str, asked: str, edit: Edit | None) -> str:
    """The answer that an edit takes out of a text."""
    if edit is None:
        return text
    body = without(edit.plain(text, asked)[slice(*edit.answer)], edit.marks)
    return without(comparable(body) if edit.fold else body, edit.cuts)


def _bare(responses: Responses, row: int) -> Edit | None:
    """Without what takes knowing the endpoint's other answers."""
    return edit_of(responses.text[row], responses.cell(row)[0].text)


def _body(responses: Responses, row: int) -> str:
    """What a bare edit takes out of one row; what takes long to take out is taken out once, and kept packed."""
    edit = responses.cached(_bare, row)
    if edit is None or not (edit.fold or edit.decode or edit.unveil):
        return own_words(responses.text[row], responses.cell(row)[0].text, edit)
    return zlib.decompress(responses.cached(_packed, row)).decode("utf-8", "surrogatepass")


def _packed(responses: Responses, row: int) -> bytes:
    said = own_words(responses.text[row], responses.cell(row)[0].text, responses.cached(_bare, row))
    return zlib.compress(said.encode("utf-8", "surrogatepass"), 1)


def _edit(responses: Responses, row: int) -> Edit | None:
    prompt, model = responses.cell(row)
    furniture = responses.furniture.get(model, NONE)
    stray = furniture.stray
    edit = edit_of(responses.text[row], prompt.text, stray=True) if stray else responses.cached(_bare, row)
    return _furnished(responses, row, edit, furniture) if furniture.runs or furniture.canned else edit


def _furnished(responses: Responses, row: int, edit: Edit | None, furniture: Furniture) -> Edit | None:
    """An edit that cuts furniture, too."""
    text, asked = responses.text[row], responses.cell(row)[0].text
    body = own_words(text, asked, edit) if furniture.stray else _body(responses, row)
    if not (cuts := tuple(cut_spans(body, furniture))):
        return edit
    kind: Removed = "canned answers" if cuts == ((0, len(body)),) else "furniture"
    edit = edit or Edit(False, (0, 0), (0, len(text)), (), False, (), ())
    return replace(edit, cuts=cuts, kinds=(*edit.kinds, kind))


def answer(responses: Responses, row: int) -> str:
    """The model's own answer of one row."""
    edit = responses.cached(_edit, row)
    if responses.furniture.get(responses.cell(row)[1], NONE).stray:
        return own_words(responses.text[row], responses.cell(row)[0].text, edit)
    return _body(responses, row) if edit is None else without(_body(responses, row), edit.cuts)


def answer_start(responses: Responses, row: int) -> int | None:
    """Where the answer begins in the stored text of one row, in characters; None if it is not there as it is.

    Furniture in front of it is skipped: what a host made every answer begin with says nothing of the model.
    """
    edit = responses.cached(_edit, row)
    if edit is None:
        return 0
    fronted = bool(edit.cuts) and edit.cuts[0][0] == 0
    moved = edit.unveil and (fronted or edit.marks or edit.answer[0] > 0)
    if edit.decode or moved or (fronted and edit.fold) or edit.answer[0] >= edit.answer[1]:
        return None
    start = edit.answer[0] + (edit.marks[0][1] if edit.marks and edit.marks[0][0] == 0 else 0)
    if not fronted:
        return start
    body = responses.text[row][start : edit.answer[1]]
    return start + edit.cuts[0][1] + (len(body) - len(body.lstrip()) if edit.marks else 0)


def thoughts(responses: Responses, row: int) -> str:
    """The reasoning of one row: what the server returned apart, else what stands in the text."""
    if apart := responses.reasoning[row].strip():
        return apart
    edit = responses.cached(_edit, row)
    if edit is None or edit.thoughts[0] == edit.thoughts[1]:
        return ""
    return edit.plain(responses.text[row], responses.cell(row)[0].text)[slice(*edit.thoughts)]


def answer_rows(responses: Responses, prompt: int, model: int) -> Iterator[int]:
    """Rows of the usable samples that say something of the model's own."""
    return (row for row in responses.usable(prompt, model) if responses.cached(_speaks, row))


def _speaks(responses: Responses, row: int) -> bool:
    return responses.cached(_edit, row) is None or bool(answer(responses, row).strip())


def all_answers(responses: Responses, prompt: int, model: int) -> list[str]:
    """The model's own words in every usable sample of its answer to one prompt."""
    return [answer(responses, row) for row in answer_rows(responses, prompt, model)]


def first_answer(responses: Responses, prompt: int, model: int) -> str | None:
    """The model's own words in the first usable sample."""
    return next((answer(responses, row) for row in answer_rows(responses, prompt, model)), None)


def first_answers(responses: Responses, prompts: Sequence[int]) -> list[list[str | None]]:
    """Answer text by prompt and model, (p, m): the model's own words in the first usable sample, or None."""
    return [[first_answer(responses, p, m) for m in range(len(responses.models))] for p in prompts]


def first_rows(responses: Responses, prompts: Sequence[int]) -> list[list[int | None]]:
    """Rows of the first usable samples that say something, (p, m), or None."""
    models = range(len(responses.models))
    return [[next(answer_rows(responses, p, m), None) for m in models] for p in prompts]


def word_ids(responses: Responses, rows: Sequence[int]) -> list[WordIds]:
    """Words of the model's own answers of some rows, by number: one table, which all channels read that look at words.

    An answer is split once, and many at a time; the numbers are those of `Responses.vocabulary`.
    """
    batches = (rows[at : at + BATCH] for at in range(0, len(rows), BATCH))
    return [ids for batch in batches for ids in responses.all_cached(_split, batch, sent=False)]


def _split(responses: Responses, rows: Sequence[int]) -> list[WordIds]:
    found = numbered_words([answer(responses, row) for row in rows], responses.vocabulary)
    return [WordIds(ids.tobytes()) for ids in found]


def read(responses: Responses) -> Responses:
    """The same table, with what each endpoint says whatever it is asked looked for, so that channels read past it.

    See Also
    --------
    removals : What was taken out in the end.
    """
    prompts = _unlike(responses)
    texts = _bodies(responses, prompts)
    stray = {m for m in range(len(responses.models)) if _stray(responses, prompts, m)}
    for m in stray:
        texts[m] = _bodies(responses, prompts, m)[m]
    found = find_furniture({responses.models[m]: t for m, t in enumerate(texts) if t})
    for m in stray:
        name = responses.models[m]
        found[name] = replace(found.get(name, NONE), stray=True)
    return responses.furnished(found, (_bare, _packed))


def take_apart(responses: Responses) -> None:
    """Take the model's own answer out of the first sample of every cell that has one: what channels then find known."""
    for p in range(len(responses.prompts)):
        for m in range(len(responses.models)):
            next((row for row in responses.usable(p, m) if _body(responses, row)), None)


def untaken(responses: Responses) -> list[int]:
    """Prompts of which no answer was taken apart yet, by index."""
    known = responses.known().found.get(_bare, [])
    ends = responses.start[:: len(responses.models)].tolist()
    return [p for p, (start, end) in enumerate(pairwise(ends)) if all(x is ... for x in known[start:end])]


def _unlike(responses: Responses) -> list[int]:
    """Prompts that ask for open answers, each text once."""
    first: dict[str, int] = {}
    for p in responses.where("wording"):
        first.setdefault(responses.prompts[p].text or responses.prompts[p].id, p)
    return list(first.values())


def _bodies(responses: Responses, prompts: Sequence[int], stray: int | None = None) -> list[list[str]]:
    """Answers of each model to some prompts, as many as are looked at, furniture left in.

    Answers are read in the order of the table, as the store holds them: model by model would read it many times over.
    Of a ``stray`` model alone, past its marks.
    """
    out: list[list[str]] = [[] for _ in responses.models]
    for p in prompts:
        for m in range(len(responses.models)) if stray is None else [stray]:
            for row in responses.usable(p, m):
                responses.cached(_bare, row)
                if len(out[m]) == READ:
                    break
                if own := _body(responses, row) if stray is None else _past_marks(responses, row):
                    out[m].append(own)
                    break
    return out


def _past_marks(responses: Responses, row: int) -> str:
    text, asked = responses.text[row], responses.cell(row)[0].text
    return own_words(text, asked, edit_of(text, asked, stray=True))


def _stray(responses: Responses, prompts: Sequence[int], model: int) -> bool:
    """Whether closing marks of thoughts stand behind this model's answers, with nothing of its own after them."""
    before, behind = [], []
    for p in prompts:
        for row in responses.usable(p, model)[:1]:
            edit = responses.cached(_bare, row)
            if edit is None or edit.mark < 0:
                continue
            text, asked = responses.text[row], responses.prompts[p].text
            before.append(edit.plain(text, asked)[: edit.mark])
            behind.append(own_words(text, asked, edit))
    if len(behind) < LEAST or sum(map(muses, before)) > len(before) / 2:
        return False
    found = find_furniture({"": behind}).get("", NONE)
    nothing = sum(len(key(without(t, cut_spans(t, found))).split()) <= LEFT for t in behind)
    return nothing > len(behind) / 2


def removals(responses: Responses) -> tuple[Removal, ...]:
    """What was taken out of each endpoint's answers, in how many of those looked at, and an example of it."""
    out: list[Removal] = []
    for m, name in enumerate(responses.models):
        rows = [r for p in range(len(responses.prompts)) for r in responses.usable(p, m)]
        rows = rows[:: -(-len(rows) // LOOKED)] if rows else rows
        by_kind: dict[Removed, list[int]] = {}
        for row in rows:
            if (edit := responses.cached(_edit, row)) is not None:
                for kind in edit.kinds:
                    by_kind.setdefault(kind, []).append(row)
        out += [
            Removal(name, kind, len(found), len(rows), *_example(responses, found, kind))
            for kind, found in by_kind.items()
            if len(found) >= max(min(LEAST, len(rows)), TOLD * len(rows))
        ]
    return tuple(out)


def _example(responses: Responses, rows: Sequence[int], kind: Removed) -> tuple[str, Where]:
    """A piece of what was taken out, and where it mostly stood."""
    row = rows[0]
    text, edit = responses.text[row], responses.cached(_edit, row)
    if edit is None:
        return "", ""
    if kind == "thoughts":
        return thoughts(responses, row)[:EXAMPLE], ""
    if kind not in ("furniture", "canned answers"):
        return text.strip()[:EXAMPLE], ""
    where = _mostly(responses, rows[:20])
    body = own_words(text, responses.cell(row)[0].text, replace(edit, cuts=()))
    longest = max(edit.cuts, key=lambda c: c[1] - c[0], default=(0, 0))
    return body[slice(*longest)][:EXAMPLE], where


def _mostly(responses: Responses, rows: Sequence[int]) -> Where:
    """Whether furniture mostly begins or mostly ends these answers."""
    begins = ends = 0
    for row in rows:
        edit = responses.cached(_edit, row)
        if edit is not None and edit.cuts:
            whole = own_words(responses.text[row], responses.cell(row)[0].text, replace(edit, cuts=()))
            begins += edit.cuts[0][0] <= EDGE
            ends += edit.cuts[-1][1] >= len(whole) - EDGE
    return "end" if ends > len(rows) / 2 else "begin" if begins > len(rows) / 2 else ""
