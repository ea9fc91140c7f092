"""Do the controls answer under the conditions of the pair? Unlike controls make strangers look like kin.

Rank and excess take suspect, candidate and controls for exchangeable. They are not where the two share a condition that
most controls lack: another language, format, era, length, thinking before the answer, one host. Then whatever follows
from the condition looks like kinship. Where the suspect alone is unlike all others, kinship hides. Both are looked for
in the answers (prompt by prompt, so that what a prompt asks for plays no part) and in what is known of the models.
Figures: `python -m benchmarks.conditions`, stage by stage, on like pools and on pools made unlike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.base import answer, cosines, distinct, first_rows, thoughts, word_ids, words
from harness.inference.findings import HIDING, MISMATCHES, Caveat
from harness.inference.pool import HALF, TOLD, Model, controls_of, told
from harness.records import ControlRule, Responses

Floats = NDArray[np.float64]

ANSWERS = 200  # of each model that are looked at
FEW = 24  # prompts that a pair and a control both answered, without which nothing is said of their answers
CLEAR = 0.9  # of the prompts on which one says more of something than the other does, less those where it is reversed
SEEN = 0.6  # of the control lineages that must lack what the pair shows in its answers
LANGUAGE = 0.35  # cosine of two models' words by how many answers hold them; see `benchmarks.conditions`
LEAST_CONTROLS = 4  # without which there are too few other pairs to compare with
SHORT = 30  # words: the shortest length at which answers are compared
COMMON = 0.02  # of all answers that hold a word in their first `HEAD` words, from which it is one of common use
HEAD, READ = 64, 256  # words of an answer: for its language, and for what it leaves unsaid
EXPECTED = 3.0  # answers with a word that a model leaves unsaid, at the least, if it wrote as others do
UNSAID = 6.0  # such answers, over all words that two models leave unsaid, below which they may be chance
RATIO = 1.5  # in usual length, beyond which cutting all to one length takes more than it mends where that is so short

_BULLET = re.compile(r"^\s*(?:[-*•+–]|[a-z]\))\s")
_NUMBER = re.compile(r"^\s*\(?\d+[.):]")
_HEADING = re.compile(r"^\s*#{1,6}\s")
_END = re.compile(r"[.!?。！？…][\"')\]*]*(?:\s|$)")
_MARKUP = re.compile(r"[{}\[\]<>\"\\|=;&`]")
_MOST = 2000  # characters of an answer that are looked at

FORMS: tuple[str, ...] = (
    "length", "sentence length", "line length", "bullets", "numbers", "emphasis", "markup", "capitals", "digits",
    "opening", "closing", "questions", "exclamations", "symbols", "quotes", "alphabet", "commas",
)  # fmt: skip
"""What is measured of the form of an answer, in the order of `form_of`."""


@dataclass(frozen=True)
class Usage:
    """Words of common use: how many answers of each of m models hold each of v words, (m, v), of how many, (m,), and
    how many words those have in all, (m,)."""

    words: tuple[str, ...]
    held: Floats
    answers: Floats
    length: Floats

    def among(self, models: Sequence[int]) -> Usage:
        """Of some of the models."""
        at = list(models)
        return Usage(self.words, self.held[at], self.answers[at], self.length[at])

    def unsaid(self, one: int, other: int) -> Floats:
        """Answers with each word that two models would have if they wrote as the others do; 0 if either uses it, (v,).

        Expected by answers or by length, whichever is less; 0 under `EXPECTED`.
        """
        pair = [one, other]
        shares = self.held / np.maximum(self.answers, 1)[:, None]
        by_answer = np.delete(shares, pair, axis=0).mean(0) * self.answers[pair].min()
        length = max(float(np.delete(self.length, pair).sum()), 1.0)
        by_length = np.delete(self.held, pair, axis=0).sum(0) / length * self.length[pair].min()
        expected: Floats = np.minimum(by_answer, by_length)
        return np.where((self.held[pair].sum(0) == 0) & (expected >= EXPECTED), expected, 0.0)


@dataclass(frozen=True)
class Manners:
    """How each of m models answers n prompts.

    ``forms`` (n, m, len(FORMS)), NaN where nothing was answered; ``vocabulary`` (m, m) cosines of what words they use;
    ``thinks`` (m,) share of the answers that came with thoughts, or for which the server counted tokens of reasoning;
    ``unthinking`` (m,) share for which it counted that there were none, and none came; ``common`` a few of each model's
    most common words; ``usage`` which words of common use they use.
    """

    models: tuple[str, ...]
    forms: Floats
    vocabulary: Floats
    thinks: Floats
    unthinking: Floats
    common: tuple[tuple[str, ...], ...]
    usage: Usage

    def above(self, one: int, others: Sequence[int]) -> Floats:
        """Share of prompts on which a model has more of each form than others do, less those where it has less.

        (others, forms) in [-1, 1]; 0 where too few prompts were answered by both.
        """
        signs = np.sign(self.forms[:, [one]] - self.forms[:, list(others)])
        seen = np.isfinite(signs)
        mean: Floats = np.where(seen, signs, 0.0).sum(0) / np.maximum(seen.sum(0), 1)
        return np.where(seen.sum(0) >= FEW, mean, 0.0)

    def mode(self, model: str) -> bool | None:
        """Whether a model is seen to think, in most of its answers, or seen not to; None where nothing shows it."""
        at = self.models.index(model)
        return True if self.thinks[at] > HALF else False if self.unthinking[at] > HALF else None

    def words(self, model: int) -> float:
        """Median words of an answer; NaN for a model that answered nothing."""
        found = self.forms[:, model, 0]
        found = found[np.isfinite(found)]
        return float(np.median(found)) if len(found) else float("nan")


def manners_of(responses: Responses) -> Manners:
    """Form, vocabulary and thinking of every model's answers to the prompts of `wording` (all, if there are none).

    Parameters
    ----------
    responses : Responses
        At most `ANSWERS` prompts are looked at, evenly spread, and one sample of each.

    Returns
    -------
    Manners
    """
    prompts = responses.where("wording") or list(range(len(responses.prompts)))
    prompts = prompts[:: max(1, -(-len(prompts) // ANSWERS))]
    m = len(responses.models)
    forms = np.full((len(prompts), m, len(FORMS)), np.nan)
    thought = np.zeros((3, m))  # answers with thoughts, answers that the server says are without, all
    cells = [
        (i, j, r) for i, rows in enumerate(first_rows(responses, prompts)) for j, r in enumerate(rows) if r is not None
    ]
    for i, j, row in cells:
        forms[i, j] = form_of(answer(responses, row))
        tokens = responses.reasoning_tokens[row]
        with_thoughts = bool(thoughts(responses, row)) or (tokens or 0) > 0
        thought[:, j] += with_thoughts, tokens == 0 and not with_thoughts, 1
    spelled, heads, read, length = _words_of(responses, [(j, row) for _, j, row in cells])
    common = tuple(_commonest(heads[[j]], spelled) for j in range(m))
    often = np.flatnonzero(np.asarray(heads.sum(0)).ravel() >= max(EXPECTED, COMMON * thought[2].sum()))
    usage = Usage(tuple(spelled[i] for i in often), read[:, often].toarray(), thought[2].copy(), length)
    seen, unseen = thought[:2] / np.maximum(thought[2], 1)
    return Manners(responses.models, forms, _cosines(heads), seen, unseen, common, usage)


def _words_of(
    responses: Responses, answers: Sequence[tuple[int, int]]
) -> tuple[list[str], csr_matrix, csr_matrix, Floats]:
    """Words in the order in which they are met in answers, (model, row) each; how many answers of each model hold each
    in their first words, and in as much as is looked at, (m, words); and how many words those have in all, (m,)."""
    m = len(responses.models)
    said = [ids.array[:READ] for ids in word_ids(responses, [row for _, row in answers])]
    met = list(dict.fromkeys(np.concatenate(said).tolist())) if said else []
    number = np.zeros(max(met, default=0) + 1, dtype=np.int64)
    number[met] = np.arange(len(met))
    heads: list[list[NDArray[np.int64]]] = [[] for _ in range(m)]
    read: list[list[NDArray[np.int64]]] = [[] for _ in range(m)]
    length = np.zeros(m)
    for (j, _), ids in zip(answers, said, strict=True):
        heads[j].append(distinct(number[ids[:HEAD]]))
        read[j].append(distinct(number[ids]))
        length[j] += len(ids)
    vocabulary = list(responses.vocabulary)
    return [vocabulary[i] for i in met], _table(heads, len(met)), _table(read, len(met)), length


def _table(held: Sequence[Sequence[NDArray[np.int64]]], size: int) -> csr_matrix:
    """How many of each of m models' answers hold each of ``size`` words, (m, size), at least one column.

    ``held`` are the words of each answer, each once.
    """
    none = np.zeros(0, dtype=np.int64)
    counts = [np.unique(np.concatenate([none, *some]), return_counts=True) for some in held]
    data, column = (np.concatenate([c[k] for c in counts]) for k in (1, 0))
    start = np.cumsum([0, *(len(c[0]) for c in counts)])
    return csr_matrix((data.astype(np.float64), column, start), shape=(len(held), max(1, size)))


def _commonest(counts: csr_matrix, spelled: Sequence[str]) -> tuple[str, ...]:
    """The three words that most of one model's answers hold."""
    found = ((-n, spelled[i]) for i, n in zip(counts.indices, counts.data, strict=True))
    return tuple(word[:16] for _, word in nsmallest(3, found))


def _cosines(table: csr_matrix) -> Floats:
    """Cosine of two models' words, each by the number of answers that hold it: mostly words of grammar, (m, m).

    NaN for a model that said nothing.
    """
    out = cosines(table)
    silent = np.asarray(table.sum(1)).ravel() == 0
    out[silent] = out[:, silent] = np.nan
    return out


def form_of(text: str) -> tuple[float, ...]:
    """The form of one answer as numbers, one for each of `FORMS`: counts and shares that no language decides.

    Examples
    --------
    >>> dict(zip(FORMS, form_of("- One thing.\\n- Two things."), strict=True))["bullets"]
    1.0
    """
    text = text.strip()[:_MOST]
    lines = [x for x in text.splitlines() if x.strip()] or [""]
    said = len(words(text))
    sentences = max(1, len(_END.findall(text)))
    visible = max(1, len("".join(text.split())))
    others = [] if text.isascii() else [c for c in text if c > "\x7f"]
    plain = np.bincount(np.frombuffer(text.encode("ascii", "ignore"), dtype=np.uint8), minlength=128).tolist()
    upper = sum(plain[ord("A") : ord("Z") + 1]) + sum(map(str.isupper, others))
    lower = sum(plain[ord("a") : ord("z") + 1]) + sum(map(str.islower, others))
    digits = sum(plain[ord("0") : ord("9") + 1]) + sum(map(str.isdigit, others))

    def share(pattern: re.Pattern[str]) -> float:
        return sum(map(bool, map(pattern.match, lines))) / len(lines)

    return (
        float(said),
        said / sentences,
        said / len(lines),
        share(_BULLET),
        share(_NUMBER),
        sum("**" in x or "__" in x or bool(_HEADING.match(x)) for x in lines) / len(lines),
        len(_MARKUP.findall(text)) / visible,
        upper / max(1, upper + lower),
        digits / visible,
        float(not text[:1].isalpha()),
        float(text[-1:] in set(".!?。！？…")),
        plain[ord("?")] / sentences,
        plain[ord("!")] / sentences,
        sum(unicodedata.category(c) == "So" for c in others) / visible,
        sum(text.count(c) for c in '"“”«»„') / visible,
        sum(map(str.isalpha, others)) / visible,
        plain[ord(",")] / sentences,
    )


def unlike(
    manners: Manners,
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    rule: ControlRule = "one a maker",
) -> list[Caveat]:
    """Conditions that the pair shares and most controls lack, or that set the suspect apart from all.

    Parameters
    ----------
    manners : Manners
        Of a table that holds all these models.
    suspect, candidate : Model
    models : sequence of Model
        Of those, the controls that count are looked at (`harness.inference.pool.pool_for`).
    rule : {"one a maker", "every lineage"}

    Returns
    -------
    list of Caveat
        Kinds in `findings.MISMATCHES` take away an accusation, those in `findings.HIDING` an acquittal; the rest
        are limits. The gravest come first.
    """
    controls = controls_of(suspect, candidate, models, rule)
    if not controls:
        return []
    s, c, *others = (_as_seen(manners, m) for m in (suspect, candidate, *controls))
    found = [
        *_language(manners, suspect, candidate, controls),
        *_format(manners, suspect, candidate, controls),
        *_length(manners, suspect, candidate, controls),
        *_unsaid(manners, suspect, candidate, controls),
        *told(s, c, others, rule),
        *_told_wrongly(manners, [suspect, candidate, *controls]),
    ]
    return sorted(found, key=lambda c: (c.kind not in MISMATCHES, c.kind not in HIDING))


def conditions_of(manners: Manners) -> dict[str, Any]:
    """What a calibration fitted on these answers says of its conditions: whether models think, and common words."""
    modes = [manners.mode(m) for m in manners.models]
    return {"thinks": any(m is True for m in modes), "words": sorted({w for some in manners.common for w in some})}


def unfitted(manners: Manners, suspect: Model, candidate: Model, about: Mapping[str, Any]) -> list[Caveat]:
    """What of a pair a calibration was not fitted for, by what it says of itself (`conditions_of`): thinking, language.

    A table that says nothing of a condition holds for any.
    """
    found = []
    if about.get("thinks") is False:
        thinking = [m.name for m in (suspect, candidate) if _as_seen(manners, m).thinks]
        found += [Caveat("calibrated on no thinkers", names=tuple(thinking))] if thinking else []
    words = about.get("words")
    if isinstance(words, list) and words:
        said = {
            m.name: manners.common[i]
            for m, i in zip((suspect, candidate), _at(manners, suspect, candidate), strict=True)
        }
        foreign = [name for name, common in said.items() if common and not set(common) & set(words)]
        found += [Caveat("calibrated on another language", names=tuple(foreign))] if foreign else []
    return found


def _as_seen(manners: Manners, model: Model) -> Model:
    """A model that thinks if it is seen to, whatever was told; seen not to, where nothing was told."""
    mode = manners.mode(model.name)
    return replace(model, thinks=mode) if mode or model.thinks is None else model


def _told_wrongly(manners: Manners, models: Sequence[Model]) -> list[Caveat]:
    """Models that were told not to think and are seen to, or the reverse."""
    out = []
    for mode in (True, False):
        names = tuple(m.name for m in models if m.thinks is (not mode) and manners.mode(m.name) is mode)
        out += [Caveat("thinking unlike told", names=names, values=(mode,))] if names else []
    return out


def _at(manners: Manners, *models: Model) -> list[int]:
    return [manners.models.index(m.name) for m in models]


def _language(manners: Manners, suspect: Model, candidate: Model, controls: Sequence[Model]) -> list[Caveat]:
    """Other words of grammar than most controls use: another language, a dialect or a code."""
    s, c = _at(manners, suspect, candidate)
    among = _at(manners, *controls)
    far_s, far_c = manners.vocabulary[s, among] < LANGUAGE, manners.vocabulary[c, among] < LANGUAGE
    typical = max(among, key=lambda k: float(np.nansum(manners.vocabulary[k, among])))
    if (far_s & far_c).mean() >= SEEN:
        told = (suspect.name, candidate.name, " ".join(manners.common[s]), " ".join(manners.common[typical]))
        return [Caveat("pair in another language", names=told, values=((far_s & far_c).sum(), len(controls)))]
    if manners.vocabulary[s, c] < LANGUAGE and far_s.mean() >= TOLD:
        told = (suspect.name, candidate.name, " ".join(manners.common[s]), " ".join(manners.common[c]))
        return [Caveat("suspect in another language", names=told)]
    return []


def _format(manners: Manners, suspect: Model, candidate: Model, controls: Sequence[Model]) -> list[Caveat]:
    """The form in which nearly all answers of both differ, to one side, from those of most controls: the clearest."""
    s, c = _at(manners, suspect, candidate)
    among = _at(manners, *controls)
    one, other = manners.above(s, among), manners.above(c, among)
    notes = []
    clear, more, at = _clearest(np.minimum(one, other)[:, 1:], np.maximum(one, other)[:, 1:], SEEN)
    if clear:
        told = (suspect.name, candidate.name)
        notes.append(Caveat("pair in another format", FORMS[at + 1], told, (more, clear, len(controls))))
    alone = manners.above(s, [c, *among])
    clear, more, at = _clearest(alone[:, 1:], alone[:, 1:], TOLD)
    if clear and abs(alone[0, at + 1]) >= CLEAR:
        notes.append(Caveat("suspect in another format", FORMS[at + 1], (suspect.name,), (more,)))
    return notes


def _unsaid(manners: Manners, suspect: Model, candidate: Model, controls: Sequence[Model]) -> list[Caveat]:
    """Common words that both never use, more of them than any other two of the pool: one hand rewrites both.

    A proxy that always puts the same words for the same others makes two models share words that nobody else uses,
    prompt by prompt, as kin do. It shows in what is gone.
    """
    if len(controls) < LEAST_CONTROLS or min(manners.usage.answers[_at(manners, suspect, candidate)]) < FEW:
        return []
    usage = manners.usage.among(_at(manners, suspect, candidate, *controls))
    gone = usage.unsaid(0, 1)
    most = float(gone.sum())
    if most < UNSAID:
        return []
    if any(usage.unsaid(*pair).sum() >= most for pair in combinations(range(len(usage.answers)), 2) if pair != (0, 1)):
        return []
    commonest = sorted(np.flatnonzero(gone), key=lambda w: -manners.usage.held[:, w].sum())[:4]
    told = (suspect.name, candidate.name, ", ".join(usage.words[w][:16] for w in commonest))
    return [Caveat("pair leaves words unsaid", names=told, values=((gone > 0).sum(), most))]


def _clearest(low: Floats, high: Floats, share: float) -> tuple[int, float, int]:
    """Which form is clearly more (1.0) or less (0.0) than in at least a share of the models, (0, ...) for none.

    ``low`` and ``high`` are (models, forms). Returns of how many models, more or less, and the form.
    """
    counts = np.stack([(low >= CLEAR).sum(0), (high <= -CLEAR).sum(0)])
    fewer, at = np.unravel_index(int(counts.argmax()), counts.shape)
    most = int(counts[fewer, at])
    return (most if most >= share * len(low) else 0), float(1 - fewer), int(at)


def _length(manners: Manners, suspect: Model, candidate: Model, controls: Sequence[Model]) -> list[Caveat]:
    """Answers so short that cutting all others to them leaves too little; or usual lengths that differ by much."""
    s, c, *among = _at(manners, suspect, candidate, *controls)
    one, other, lengths = manners.words(s), manners.words(c), np.array([manners.words(k) for k in among])
    lengths = lengths[np.isfinite(lengths)]
    if not len(lengths) or not np.isfinite(one + other):
        return []
    shorter, longer = lengths * RATIO < min(one, other), lengths > RATIO * max(one, other)
    usual = float(np.median(lengths))
    told = Caveat("pair much shorter", names=(suspect.name, candidate.name), values=(max(one, other), usual))
    if max(one, other) < SHORT and longer.mean() >= SEEN:
        return [told]
    if usual < SHORT and shorter.mean() >= SEEN:
        return [Caveat("pair much longer", names=told.names, values=(min(one, other), usual))]
    if one < SHORT and one * RATIO < other and (lengths > RATIO * one).mean() >= TOLD:
        return [Caveat("suspect much shorter", names=told.names, values=(one, other))]
    level = np.stack([manners.above(s, among), manners.above(c, among)])[:, :, 0]
    clear = (level.min(0) >= CLEAR).mean() > HALF or (level.max(0) <= -CLEAR).mean() > HALF
    if clear and (usual > RATIO * max(one, other) or usual * RATIO < min(one, other)):
        return [Caveat("controls unlike in length", names=told.names, values=((one + other) / 2, usual))]
    return []
