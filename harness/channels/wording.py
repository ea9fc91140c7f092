"""Channel `wording`: which words two models share in answers to the same prompt, and others avoid.

Source: TF-IDF cosine (Salton & Buckley 1988) of word 1-2-grams, with rarity counted among the answers to one prompt:
a word that every model uses there says nothing about lineage. Robust to other system prompts, hosts and light
tuning; blind to the difference between derived and taught, and to weights after heavy retraining.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.base import answered_share, distinct, first_rows, moved, numbered, word_ids, words
from harness.channels.furniture import all_masked, run_codes
from harness.records import USABLE, Furniture, Probe, Responses, Similarity, WordIds

Floats = NDArray[np.float32]
Ints = NDArray[np.integer]
Cells = Sequence[Sequence[Ints]]  # words by prompt and model, as numbers of the table's vocabulary
Words = TypeVar("Words", list[str], Ints)

READS = ("text",)  # see `harness.channels.parallel`
PER_PROMPT = True  # see `harness.channels.parallel`
MAX_WORDS = 256  # answers are cut to this length: n-gram mass grows with length, and a long answer resembles all
LEAST_CUT = 15  # words: answers are not cut shorter for the sake of one that is
SHORTEST = 3  # words, than which fewer are nothing to compare
POOL = 16  # models of a usual pool: the shortest answer of so many is what all are cut to
QUOTED = 5  # words of the question in a row are the question's, not the model's
FIRST_WORDS = 50  # of each answer, for a verdict that must stand on them
HABIT, TIMES = 0.1, 2.0  # share of a model's answers that hold a word, and times the median model's, that make a habit
DENSE = 40  # models whose words are compared in a dense table
PLACEBO = 200  # prompts in a placebo, at most: its mean is steady then
_LETTERS = str.maketrans("0123456789abcdef", "bcdfghjklmnpqrst")  # no vowels: no code is a word, number or encoding
IDF_FLOOR = 0.1  # weight left to a word that every answer holds; keeps norms positive


def wording(responses: Responses) -> Similarity | None:
    """Cosine of rarity-weighted word 1-2-grams, (p, m, m) in [0, 1].

    What the question says and what an endpoint says everywhere (`Responses.furniture`) is left out, and on each prompt
    all answers are cut to the length of the shortest, so that neither a length nor a wrapper makes two models alike.
    """
    return _compared(responses, said(responses))


def wording_within(responses: Responses, most: int) -> Similarity | None:
    """`wording` of the first ``most`` words of each answer, as if nobody had said more."""
    return _compared(responses, [[cell[:most] for cell in row] for row in said(responses)])


def probe(responses: Responses, rounds: int, rng: np.random.Generator) -> Probe | None:
    """`wording` in one pool, with ``rounds`` placebos, and on less of the answers.

    Variants: "without the question", without any word of it, for a wrapper may say again what an answer is about;
    "first words", the first 50 of each answer; "without habits", without the words that a model uses in many
    answers and twice as often as the median model: a rewriter in front of two models puts its own words everywhere.
    """
    cells = said(responses)
    whole = _compared(responses, cells)
    if whole is None:
        return None
    count, placebo = len(cells), []
    for _ in range(rounds):
        by = moved(count, len(responses.models), rng)
        if by is not None:
            at = range(min(count, PLACEBO))
            shifted = [[cells[(i + d) % count][j] for j, d in enumerate(by)] for i in at]
            placebo.append(replace(whole, prompts=whole.prompts[: len(at)], values=_values(shifted)))
    found = {name: _compared(responses, less) for name, less in _lessened(responses, cells)}
    return Probe(whole, tuple(placebo), {name: s for name, s in found.items() if s is not None})


def _lessened(responses: Responses, cells: Cells) -> Iterator[tuple[str, Cells]]:
    """What is left out, and the words of the answers without it; one after the other, for each is a whole copy."""
    asked = [words(responses.prompts[p].text, MAX_WORDS) for p in responses.where("wording")]
    known, size = responses.vocabulary, len(responses.vocabulary)
    questions = [_marked([known[w] for w in q if w in known], size) for q in asked]
    yield "without the question", [[cell[~q[cell]] for cell in row] for row, q in zip(cells, questions, strict=True)]
    yield "first words", [[cell[:FIRST_WORDS] for cell in row] for row in cells]
    habits = [_marked(h, size) for h in _habits(cells, size)]
    yield "without habits", [[cell[~h[cell]] for cell, h in zip(row, habits, strict=True)] for row in cells]


def _marked(numbers: Sequence[int] | Ints, size: int) -> NDArray[np.bool_]:
    """Which of so many words are among some."""
    out = np.zeros(size, dtype=bool)
    out[np.asarray(numbers, dtype=np.int64)] = True
    return out


def said(responses: Responses) -> list[list[Ints]]:
    """Words of each model's answer to each prompt, (p, m) arrays of their numbers; empty where there are too few.

    The numbers are those of the table's `harness.records.Vocabulary`. An answer is read once, whatever pools it is in.
    """
    cells, none = first_rows(responses, responses.where("wording")), np.zeros(0, dtype=np.int32)
    found = iter(responses.all_cached(_own, [r for row in cells for r in row if r is not None]))
    return [[none if r is None else next(found).array for r in row] for row in cells]


def _own(responses: Responses, rows: Sequence[int]) -> list[WordIds]:
    """The first words of some answers that are the models' own; none of an answer in which there are too few."""
    said, spelled, out = zip(rows, word_ids(responses, rows), strict=True), list(responses.vocabulary), []
    for prompt, some in groupby(said, lambda each: responses.cell(each[0])[0]):
        of, ids = zip(*some, strict=True)
        found = [each.array[:MAX_WORDS] for each in ids]
        asked = np.array([responses.vocabulary.get(w, -1) for w in words(prompt.text, MAX_WORDS)], dtype=np.int64)
        for row, mine, drop in zip(of, found, _quoted(found, asked), strict=True):
            if (furniture := responses.furniture.get(responses.cell(row)[1])) is not None and furniture.words:
                drop[list(_of_furniture([spelled[i] for i in mine], furniture))] = True
            left = mine[~drop]
            out.append(WordIds(left.tobytes() if len(left) >= SHORTEST else b""))
    return out


def _quoted(said: Sequence[NDArray[np.int32]], asked: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Which words of some answers stand in a run that the question holds, all by number; -1 is no answer's word."""
    lengths = [len(found) for found in said]
    flat, ends = np.concatenate(said), np.cumsum(lengths)
    out = np.zeros(len(flat), dtype=bool)
    runs, asks = (run_codes(ids.astype(np.uint64), QUOTED) for ids in (flat, asked))
    if len(runs) and len(asks):
        left = np.repeat(ends, lengths) - np.arange(len(flat))  # words of the same answer from here on
        starts = np.flatnonzero(np.isin(runs, asks) & (left[: len(runs)] >= QUOTED))
        out[(starts[:, None] + np.arange(QUOTED)).ravel()] = True
    return np.split(out, ends[:-1])


def _of_furniture(found: list[str], furniture: Furniture) -> set[int]:
    """Where single words and pairs stand that an endpoint says everywhere."""
    plain = all_masked(found)
    pairs = [i for i in range(len(plain) - 1) if f"{plain[i]} {plain[i + 1]}" in furniture.words]
    return {i for i, w in enumerate(plain) if w in furniture.words} | {j for i in pairs for j in (i, i + 1)}


def _habits(cells: Cells, size: int) -> list[Ints]:
    """Words of each model that stand in many of its answers and in few of the others', m arrays; ``size`` words in all.

    Few are those that the median of the other models (the lower of two) uses half as often.
    """
    m = len(cells[0]) if cells else 0
    counts = np.zeros((m, size), dtype=np.int32)
    for row in cells:
        for mine, cell in zip(counts, row, strict=True):
            mine[distinct(cell)] += 1
    out: list[Ints] = []
    for j, own in enumerate(counts):
        often = np.flatnonzero(own >= max(3.0, HABIT * len(cells)))
        others = np.sort(np.delete(counts[:, often], j, axis=0), axis=0)
        usual = others[(m - 2) // 2] if m > 1 else np.zeros(len(often))
        out.append(often[own[often] >= TIMES * usual])
    return out


def _compared(responses: Responses, cells: Cells) -> Similarity | None:
    prompts = responses.where("wording")
    if not prompts:
        return None
    usable = np.array([[len(cell) > 0 for cell in row] for row in cells])
    shown = [one_length(row) for row in cells]
    return Similarity(
        channel="wording",
        models=responses.models,
        prompts=tuple(responses.prompts[i].id for i in prompts),
        values=np.stack([word_similarity(row) for row in shown]),
        coverage=answered_share(responses, prompts, usable),
        unit="cosine",
        sees="text",
        words=float(np.median([len(cell) for row in shown for cell in row if len(cell)] or [0])),
    )


def _values(cells: Cells) -> Floats:
    return np.stack([word_similarity(one_length(row)) for row in cells])


def one_length(cells: Sequence[Words]) -> list[Words]:
    """Answers to one prompt, all cut to the shortest; of more models than a pool has, to what it would have there.

    Examples
    --------
    >>> [len(cell) for cell in one_length([["a"] * 40, ["b"] * 25, [], ["c"] * 9])]
    [15, 15, 0, 9]
    """
    lengths = sorted(len(cell) for cell in cells if len(cell))
    if not lengths:
        return list(cells)
    shortest = lengths[-(-len(lengths) // POOL) - 1]
    return [cell[: max(LEAST_CUT, shortest)] for cell in cells]


def prompt_similarity(texts: Sequence[str | None]) -> Floats:
    """Similarity of the answers to one prompt: m texts or None -> (m, m), NaN on the diagonal and for None."""
    lists = [words(t, MAX_WORDS) if t else [] for t in texts]
    ids, _ = numbered(lists)
    return word_similarity(np.split(ids, np.cumsum([len(found) for found in lists])[:-1]))


def word_similarity(cells: Sequence[Ints]) -> Floats:
    """As `prompt_similarity`, of m arrays of words by number; an empty one is no answer."""
    m = len(cells)
    lengths = np.array([len(cell) for cell in cells], dtype=np.int64)
    answered = lengths > 0
    out = np.full((m, m), np.nan, dtype=np.float32)
    n = int(answered.sum())
    if n < 2:
        return out
    row, column, count, n_features = _ngram_counts(_in_turn(np.concatenate(cells)), lengths)
    df = np.bincount(column, minlength=n_features)
    idf = np.log((1.0 + n) / (1.0 + df)) + IDF_FLOOR
    weight = (1.0 + np.log(count)) * idf[column]
    norm = np.sqrt(np.bincount(row, weight**2, minlength=m))
    shared = df[column] > 1  # a feature of one answer matters to its norm only
    weight = weight[shared] / norm[row[shared]]
    cosine = _products(m, row[shared], column[shared], weight, n_features)
    both = np.ix_(answered, answered)
    out[both] = cosine[both]
    np.fill_diagonal(out, np.nan)
    return out


def _in_turn(ids: Ints) -> NDArray[np.int64]:
    """Numbers again, in the order in which they first occur here: sums are then added up in one order everywhere."""
    at = np.arange(len(ids))
    first = np.empty(int(ids.max(initial=-1)) + 1, dtype=np.int64)  # of what does not occur it is never looked at
    first[ids[::-1]] = at[::-1]
    met = first[ids]
    rank = np.cumsum(met == at) - 1
    turned: NDArray[np.int64] = rank[met]
    return turned


def _products(m: int, row: Ints, column: Ints, weight: NDArray[np.float64], n_features: int) -> Floats:
    """Inner products of m sparse rows, (m, m); of the few rows of a pool densely, which is quicker."""
    if m <= DENSE:
        used, at = np.unique(column, return_inverse=True)
        dense = np.zeros((m, len(used)))
        dense[row, at] = weight
        return (dense @ dense.T).astype(np.float32)
    vectors = csr_matrix((weight.astype(np.float32), (row, column)), shape=(m, n_features))
    return np.asarray((vectors @ vectors.T).todense(), dtype=np.float32)


def _ngram_counts(ids: Ints, lengths: Ints) -> tuple[Ints, Ints, NDArray[np.float64], int]:
    """Answer index, feature index and count of every distinct 1-2-gram, by feature; and the number of features.

    ``ids`` are the words of all answers in a row, ``lengths`` how many each has. One sort of (feature, answer) counts
    both.
    """
    owner = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    size, bits = int(ids.max(initial=-1)) + 1, len(lengths).bit_length()
    same = owner[1:] == owner[:-1]
    bigrams = size + ids[:-1][same] * size + ids[1:][same]
    keys = np.sort(np.concatenate([ids, bigrams]) << bits | np.concatenate([owner, owner[1:][same]]))
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    cells = keys[starts]
    codes = cells >> bits
    feature = np.cumsum(np.concatenate([[0], codes[1:] != codes[:-1]]))
    count = np.diff(np.concatenate([starts, [len(keys)]])).astype(np.float64)
    return cells & ((1 << bits) - 1), feature, count, int(feature[-1]) + 1


# Answers as hashed words: of models whose texts whoever recorded them may not pass on.


@lru_cache(maxsize=200_000)
def code(word: str) -> str:
    """The code of a word: twelve letters, the same on every machine.

    Examples
    --------
    >>> code("harbour") == code("harbour"), len(code("a")), code("a") == code("b")
    (True, 12, False)
    """
    found = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=6, person=b"harness-words")
    return found.hexdigest().translate(_LETTERS)


def coded(said: Sequence[str]) -> str:
    """Words as a text of codes."""
    return " ".join(map(code, said))


def hashed(responses: Responses, already: Collection[str] = ()) -> Responses:
    """A table whose prompts of `wording` hold codes, questions and answers, and serve that channel alone.

    A code depends on its word alone, so cosines of words and of pairs of words are what they are of the texts; form,
    copies, traces and refusals are gone. Where one model of a table is hashed all are, so that codes meet codes. A code
    is no secret: who has a list of words can look it up. It keeps answers from being read and passed on, not from being
    guessed.

    Parameters
    ----------
    responses : Responses
        Nothing was looked for in it that an endpoint says everywhere: that is for `harness.channels.reading.read` to
        find among codes.
    already : names of models whose answers are codes as they stand

    Returns
    -------
    Responses
        Other prompts are as they were.
    """
    texts, reasoning = list(responses.text), list(responses.reasoning)
    prompts = list(responses.prompts)
    served = responses.where("wording")
    rows = [r for p in served for m in range(len(responses.models)) for r in responses.rows(p, m)]
    plain = [
        r
        for r in rows
        if responses.cell(r)[1] not in already and responses.outcome[r] in USABLE and responses.text[r].strip()
    ]
    own, spelled = responses.all_cached(_own, plain), tuple(responses.vocabulary)
    for row in rows:
        reasoning[row] = ""
    for row, ids in zip(plain, own, strict=True):
        texts[row] = coded([spelled[i] for i in ids.array])
    for p in served:
        prompts[p] = replace(prompts[p], text=coded(words(prompts[p].text, MAX_WORDS)), channels=("wording",))
    return replace(responses, prompts=tuple(prompts), text=texts, reasoning=reasoning, furniture={})
