"""Channel `wording`: which words two models share in answers to the same prompt, and others avoid.

Source: TF-IDF cosine (Salton & Buckley 1988) of word 1-2-grams, with rarity counted among the answers to one prompt:
a word that every model uses there says nothing about lineage. Robust to other system prompts, hosts and light
tuning; blind to the difference between derived and taught, and to weights after heavy retraining.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import median_low

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.base import answer, answered_share, first_answers, moved, numbered, words
from harness.channels.furniture import masked
from harness.records import USABLE, Furniture, Probe, Responses, Similarity

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Cells = Sequence[Sequence[list[str]]]  # words by prompt and model

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
    asked = [set(words(responses.prompts[p].text, MAX_WORDS)) for p in responses.where("wording")]
    yield (
        "without the question",
        [[[w for w in cell if w not in q] for cell in row] for row, q in zip(cells, asked, strict=True)],
    )
    yield "first words", [[cell[:FIRST_WORDS] for cell in row] for row in cells]
    habits = _habits(cells)
    yield (
        "without habits",
        [[[w for w in cell if w not in h] for cell, h in zip(row, habits, strict=True)] for row in cells],
    )


def said(responses: Responses) -> list[list[list[str]]]:
    """Words of each model's answer to each prompt, (p, m) lists; empty where there are too few."""
    prompts = responses.where("wording")
    out: list[list[list[str]]] = []
    known: dict[str, str] = {}  # one object a word: a table holds few words, many times
    for p in prompts:
        (row,) = first_answers(responses, [p])
        quoted = _runs_of(responses, p)
        own = [_own(text, quoted, responses.furniture.get(m)) for text, m in zip(row, responses.models, strict=True)]
        out.append([[known.setdefault(w, w) for w in cell] for cell in own])
    return out


def own_words(responses: Responses, prompt: int, model: str, text: str) -> list[str]:
    """Words of one answer to a prompt, by index, that are the model's own; none where there are too few."""
    return _own(text, _runs_of(responses, prompt), responses.furniture.get(model))


def _runs_of(responses: Responses, prompt: int) -> set[tuple[str, ...]]:
    """Runs of words of a question, which in an answer are the question's."""
    asked = words(responses.prompts[prompt].text, MAX_WORDS)
    return set(zip(*(asked[i:] for i in range(QUOTED)), strict=False))


def _own(text: str | None, quoted: set[tuple[str, ...]], furniture: Furniture | None) -> list[str]:
    found = words(text, MAX_WORDS) if text else []
    drop: set[int] = set()
    if quoted:
        runs = zip(*(found[i:] for i in range(QUOTED)), strict=False)
        drop.update(j for i, run in enumerate(runs) if run in quoted for j in range(i, i + QUOTED))
    if furniture is not None and furniture.words:
        plain = [masked(w) for w in found]
        drop.update(i for i, w in enumerate(plain) if w in furniture.words)
        drop.update(
            j for i in range(len(plain) - 1) if f"{plain[i]} {plain[i + 1]}" in furniture.words for j in (i, i + 1)
        )
    left = [w for i, w in enumerate(found) if i not in drop] if drop else found
    return left if len(left) >= SHORTEST else []


def _habits(cells: Sequence[Sequence[Sequence[str]]]) -> list[set[str]]:
    """Words of each model that stand in many of its answers and in few of the others', m sets."""
    m = len(cells[0]) if cells else 0
    counts = [Counter(w for row in cells for w in set(row[j])) for j in range(m)]
    least = max(3.0, HABIT * len(cells))

    def usual(word: str, j: int) -> int:
        return median_low([c[word] for k, c in enumerate(counts) if k != j] or [0])

    return [
        {word for word, n in own.items() if n >= least and n >= TIMES * usual(word, j)} for j, own in enumerate(counts)
    ]


def _compared(responses: Responses, cells: Cells) -> Similarity | None:
    prompts = responses.where("wording")
    if not prompts:
        return None
    usable = np.array([[bool(cell) for cell in row] for row in cells])
    shown = [one_length(row) for row in cells]
    return Similarity(
        channel="wording",
        models=responses.models,
        prompts=tuple(responses.prompts[i].id for i in prompts),
        values=np.stack([word_similarity(row) for row in shown]),
        coverage=answered_share(responses, prompts, usable),
        unit="cosine",
        sees="text",
        words=float(np.median([len(cell) for row in shown for cell in row if cell] or [0])),
    )


def _values(cells: Cells) -> Floats:
    return np.stack([word_similarity(one_length(row)) for row in cells])


def one_length(cells: Sequence[list[str]]) -> list[list[str]]:
    """Answers to one prompt, all cut to the shortest; of more models than a pool has, to what it would have there.

    Examples
    --------
    >>> [len(cell) for cell in one_length([["a"] * 40, ["b"] * 25, [], ["c"] * 9])]
    [15, 15, 0, 9]
    """
    lengths = sorted(len(cell) for cell in cells if cell)
    if not lengths:
        return list(cells)
    shortest = lengths[-(-len(lengths) // POOL) - 1]
    return [cell[: max(LEAST_CUT, shortest)] for cell in cells]


def prompt_similarity(texts: Sequence[str | None]) -> Floats:
    """Similarity of the answers to one prompt: m texts or None -> (m, m), NaN on the diagonal and for None."""
    return word_similarity([words(t, MAX_WORDS) if t else [] for t in texts])


def word_similarity(tokens: Sequence[list[str]]) -> Floats:
    """As `prompt_similarity`, of m lists of words; an empty one is no answer."""
    m = len(tokens)
    answered = np.array([len(t) > 0 for t in tokens])
    out = np.full((m, m), np.nan, dtype=np.float32)
    n = int(answered.sum())
    if n < 2:
        return out
    row, column, count, n_features = _ngram_counts(tokens)
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


def _products(m: int, row: Ints, column: Ints, weight: NDArray[np.float64], n_features: int) -> Floats:
    """Inner products of m sparse rows, (m, m); of the few rows of a pool densely, which is quicker."""
    if m <= DENSE:
        used, at = np.unique(column, return_inverse=True)
        dense = np.zeros((m, len(used)))
        dense[row, at] = weight
        return (dense @ dense.T).astype(np.float32)
    vectors = csr_matrix((weight.astype(np.float32), (row, column)), shape=(m, n_features))
    return np.asarray((vectors @ vectors.T).todense(), dtype=np.float32)


def _ngram_counts(token_lists: Sequence[list[str]]) -> tuple[Ints, Ints, NDArray[np.float64], int]:
    """Answer index, feature index and count of every distinct 1-2-gram, and the number of features."""
    lengths = np.array([len(tokens) for tokens in token_lists], dtype=np.int64)
    ids, vocabulary = numbered(token_lists)
    owner = np.repeat(np.arange(len(token_lists), dtype=np.int64), lengths)
    size = len(vocabulary)
    same = owner[1:] == owner[:-1]
    bigrams = size + ids[:-1][same] * size + ids[1:][same]
    codes, features = np.unique(np.concatenate([ids, bigrams]), return_inverse=True)
    n_features = len(codes)
    owners = np.concatenate([owner, owner[1:][same]])
    cells, counts = np.unique(owners * n_features + features, return_counts=True)
    return cells // n_features, cells % n_features, counts.astype(np.float64), n_features


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
    for p in responses.where("wording"):
        for m, name in enumerate(responses.models):
            for row in responses.rows(p, m):
                usable = responses.outcome[row] in USABLE and bool(responses.text[row].strip())
                if usable and name not in already:
                    texts[row] = coded(own_words(responses, p, name, answer(responses, row)))
                reasoning[row] = ""
        asked = prompts[p]
        prompts[p] = replace(asked, text=coded(words(asked.text, MAX_WORDS)), channels=("wording",))
    return replace(responses, prompts=tuple(prompts), text=texts, reasoning=reasoning, furniture={})
