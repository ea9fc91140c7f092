"""Attribution: which of the known models is the suspect most like, or none of them (open-set authorship).

A ridge classifier on hashed n-grams centred by prompt, trained and asked on different prompts: it learns how a model
writes, not what it said. Where known models answered the very prompt too, how like theirs the answer is counts beside
it: another system prompt changes a model's style more than its choice of words. "Unknown" has its own null: models
whose whole lineage was left out of the training. Figures: `python -m benchmarks.closed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, normalize

from harness.inference.excess import TINY, reaches
from harness.inference.findings import NAN, UNKNOWN, Attribution, Caveat, Tier

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BLOCKS = (1, 2, 4, 8, 16, 32)  # answers of one model that are judged together


@dataclass(frozen=True)
class Softmax:
    """Probability of each class from the mean score of n answers: softmax(scale * n ** power * mean).

    Never surer than what it was fitted on: more answers than the largest blocks held (``most``) count as so many, and
    one more block is added to the ``blocks`` of that size and spread evenly over the classes (Laplace's rule with one
    prior observation).
    """

    scale: float = 1.0
    power: float = 0.5
    most: int = BLOCKS[-1]
    blocks: float = np.inf

    def __call__(self, mean_scores: Floats, n: int) -> Floats:
        """(k, classes) -> probabilities (k, classes)."""
        out = self._plain(mean_scores, n)
        if np.isfinite(self.blocks):
            out = (out * self.blocks + 1.0 / out.shape[1]) / (self.blocks + 1.0)
        return out

    def _plain(self, mean_scores: Floats, n: int) -> Floats:
        z = self.scale * min(n, self.most) ** self.power * mean_scores
        z = np.exp(z - z.max(1, keepdims=True))
        out: Floats = z / z.sum(1, keepdims=True)
        return out

    @classmethod
    def fit(cls, scores: Floats, y: Ints, rng: np.random.Generator) -> Softmax:
        """Least log loss over blocks of 1 to 32 answers of one model, drawn from held-out scores (n, classes)."""
        blocks = [b for n in BLOCKS if (b := _blocks(scores, y, n, rng)) is not None]

        def loss(at: Floats) -> float:
            softmax = cls(float(np.exp(at[0])), float(at[1]))
            picked = [softmax(m, n)[np.arange(len(k)), k] for m, k, n in blocks]
            return float(np.mean([-np.log(np.maximum(p, 1e-12)).mean() for p in picked]))

        found = minimize(loss, np.array([1.0, 0.7]), method="Nelder-Mead", bounds=[(-3.0, 6.0), (0.0, 1.0)])
        most = max(n for _, _, n in blocks)
        return cls(float(np.exp(found.x[0])), float(found.x[1]), most, max(len(k) for _, k, n in blocks if n == most))


def _blocks(scores: Floats, y: Ints, n: int, rng: np.random.Generator) -> tuple[Floats, Ints, int] | None:
    """Mean scores of disjoint blocks of n answers of one class, and their classes."""
    means, of = [], []
    for k in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == k))
        for at in range(0, len(rows) - n + 1, n):
            means.append(scores[rows[at : at + n]].mean(0))
            of.append(k)
    return (np.array(means), np.array(of, dtype=np.int64), n) if means else None


MAX_CHARS = 3000  # of an answer, so that length is matched and time bounded
MOST_ROWS = 4000  # answers used in all, spread over prompts; time grows with the cube
RIDGE = 1.0
BESIDE = 1.5  # weight of likeness on the same prompt beside the classifier's score; see `benchmarks.closed`
LEAST_PROMPTS = 8
LEAST_LIKENESS = 0.05  # a model whose own answers hardly resemble one another is no yardstick


def features(n_features: int = 2**13) -> Pipeline:
    """Texts -> hashed counts of word 1-2-grams and character 3-4-grams, logarithmic, both parts of length 1."""

    def part(**how: Any) -> Pipeline:
        hashed = HashingVectorizer(n_features=n_features, alternate_sign=True, norm=None, dtype=np.float32, **how)
        return make_pipeline(hashed, FunctionTransformer(_log_unit, accept_sparse=True))

    words = part(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]|\n")  # noqa: S106 (no password)
    return make_pipeline(FeatureUnion([("words", words), ("characters", part(analyzer="char_wb", ngram_range=(3, 4)))]))


def _log_unit(counts: csr_matrix) -> csr_matrix:
    out = counts.copy()
    out.data = np.sign(out.data) * np.log1p(np.abs(out.data))
    return normalize(out)


def prompt_centred(gram: Floats, prompts: Ints, known: NDArray[np.bool_]) -> Floats:
    """Gram matrix centred by prompt: each answer less the mean of the known models' answers to the same prompt.

    Parameters
    ----------
    gram : (n, n) inner products of answers
    prompts : (n,) int, the prompt of each answer
    known : (n,) bool, answers that make up the mean

    Returns
    -------
    (n, n) centred inner products
        A prompt that no known model answered is left as it is.

    Notes
    -----
    Without centring the topic of a prompt outweighs who wrote the answer.

    Examples
    --------
    Two prompts, two answers each, written as vectors; the topic is the first coordinate:

    >>> import numpy as np
    >>> rows = np.array([[5.0, 1.0], [5.0, -1.0], [-5.0, 1.0], [-5.0, -1.0]])
    >>> prompt_centred(rows @ rows.T, np.array([0, 0, 1, 1]), np.ones(4, dtype=bool))[0].tolist()
    [1.0, -1.0, 1.0, -1.0]
    """
    _, at = np.unique(prompts, return_inverse=True)
    member = np.zeros((int(at.max()) + 1, len(at)), dtype=gram.dtype)
    member[at[known], np.flatnonzero(known)] = 1.0
    member /= np.maximum(member.sum(1, keepdims=True), 1.0)
    means = member @ gram
    across = means[at]
    out: Floats = gram - across - across.T + (means @ member.T)[np.ix_(at, at)]
    return out


def attribute(
    texts: Sequence[Sequence[str | None]],
    names: Sequence[str],
    lineages: Sequence[str | None],
    suspects: Sequence[str],
    alpha: float,
    seed: int,
) -> list[Attribution]:
    """Attribute suspects to known models by their style, or to none of them.

    Parameters
    ----------
    texts : (p, m) answers by prompt and model
        None where there is none.
    names, lineages : (m,)
        Name and lineage of each model; the lineage of a suspect is not used.
    suspects : sequence of str
        Names of the models to attribute; all others are known.
    alpha : float
        Significance level against "none of these".
    seed : int

    Returns
    -------
    list of Attribution
        In the order of ``suspects``.

    Notes
    -----
    A ridge classifier on hashed word and character n-grams, trained on half of the prompts and asked on the other
    half. To its score of a suspect's answer comes `BESIDE` times the cosine with the known model's answer to the same
    prompt, both centred by prompt; this moves the probabilities only. The p-value against "none of these" is the rank
    of the suspect's likeness among those of known lineages that were left out of the training, so it is not under
    1 / (lineages + 1).

    Examples
    --------
    Three known models with a style each, and x, which writes like a. The p-value cannot be under 1/4 here:

    >>> colours = "red green blue white black brown grey pink gold cyan".split()
    >>> texts = [
    ...     [f"{c}, that is the answer.", f"Well... {c}; so be it!", f"# Answer * {c}", f"{c}, that is my answer."]
    ...     for c in colours
    ... ]
    >>> found = attribute(texts, ["a", "b", "c", "x"], ["la", "lb", "lc", None], ["x"], alpha=0.25, seed=0)[0]
    >>> found.best, found.p_unknown
    ('a', 0.25)
    """
    rng = np.random.default_rng(seed)
    known = [i for i, n in enumerate(names) if n not in suspects]
    rows = _Rows.of(texts, rng)
    if len(known) < 2 or len(np.unique(rows.prompt)) < LEAST_PROMPTS:
        why = Caveat("too few known models", values=(LEAST_PROMPTS,))
        return [Attribution(s, UNKNOWN, {}, NAN, NAN, 0, why) for s in suspects]
    groups = [[i for i in known if lineages[i] == x] for x in dict.fromkeys(lineages[i] for i in known)]
    scores = rows.scores(known, list(range(len(names))))
    softmax = Softmax.fit(*rows.of_known(scores, known), rng)
    null = _null(rows, known, groups) if len(groups) > 2 else np.array([])
    at = [list(names).index(s) for s in suspects]
    return [_one(i, names, known, rows, scores, softmax, null, alpha) for i in at]


def _null(rows: _Rows, known: Sequence[int], groups: Sequence[Sequence[int]]) -> Floats:
    """Null distribution of "none of these": likeness of one model of each lineage that was left out, (lineages,)."""
    out = []
    for group in groups:
        rest = [i for i in known if i not in group]
        scores = rows.scores(rest, [group[0], *rest])
        out.append(_likeness(scores, rows, rest, group[0])[0])
    return np.array(out)


def _likeness(scores: Floats, rows: _Rows, known: Sequence[int], asked: int) -> tuple[float, Floats, int]:
    """Likeness of a model to its best match, in units of that match's likeness to itself on other prompts.

    Also its mean scores (known,), and how many answers they are of; NaN without any.
    """
    seen = np.isfinite(scores).all(1)
    own = scores[seen & (rows.model == asked)]
    if not len(own):
        return NAN, np.full(len(known), np.nan), 0
    mean = own.mean(0)
    best = int(mean.argmax())
    itself = scores[seen & (rows.model == known[best]), best]
    return float(mean[best] / max(itself.mean() if len(itself) else 0.0, LEAST_LIKENESS)), mean, len(own)


def _one(
    i: int, names: Sequence[str], known: Sequence[int], rows: _Rows, scores: Floats, softmax: Softmax, null: Floats,
    alpha: float,
) -> Attribution:  # fmt: skip
    likeness, mean, n = _likeness(scores, rows, known, i)
    if not n:
        return Attribution(names[i], UNKNOWN, {}, NAN, NAN, 0, Caveat("no usable answers"))
    beside = rows.beside(known, i)
    both = softmax((mean + BESIDE * beside[np.isfinite(beside).all(1)].mean(0))[None], n)[0]
    shares = dict(zip((names[k] for k in known), both.tolist(), strict=True))
    reference = null[np.isfinite(null)]
    p = float((1 + (reference >= likeness).sum()) / (1 + len(reference)))
    best = names[known[int(mean.argmax())]] if reaches(p, alpha) else UNKNOWN
    floor = 1.0 / (1 + len(reference))
    needed = int(np.ceil(1 / alpha)) - 1
    few = None if reaches(floor, alpha) else Caveat("too few known lineages", values=(needed, alpha))
    tier: Tier = "none" if best == UNKNOWN else "model"
    named = () if best == UNKNOWN else (best,)
    return Attribution(names[i], best, shares, p, floor, n, few, tier, named, lineages=len(reference))


@dataclass(frozen=True)
class _Rows:
    """Inner products of all answers, (n, n), with prompt and model of each; ``fold`` (n,) halves the prompts."""

    gram: Floats
    prompt: Ints
    model: Ints
    fold: Ints

    @classmethod
    def of(cls, texts: Sequence[Sequence[str | None]], rng: np.random.Generator, most_rows: int = MOST_ROWS) -> _Rows:
        most = max(8, most_rows // max(len(texts[0]), 1)) if texts else 0
        chosen = rng.permutation(len(texts))[:most]
        cells = [(p, m, t[:MAX_CHARS]) for p in np.sort(chosen) for m, t in enumerate(texts[p]) if t and t.strip()]
        prompt = np.array([p for p, _, _ in cells], dtype=np.int64)
        half = np.zeros(len(texts), dtype=np.int64)
        half[chosen[::2]] = 1
        gram = _gram(features().fit_transform([t for _, _, t in cells] or [""]))
        return cls(gram, prompt, np.array([m for _, m, _ in cells], dtype=np.int64), half[prompt])

    def scores(self, known: Sequence[int], asked: Sequence[int]) -> Floats:
        """Scores of the answers of ``asked`` by ridge classifiers trained on the other half of the prompts, (n, known).

        Known models are (-1, ..., 1, ..., -1) targets less their mean; what is asked about never shares a prompt with
        what was trained on.
        """
        out = np.full((len(self.prompt), len(known)), np.nan)
        used, mine, gram = self._centred(known, asked)
        if not len(used):
            return out
        target = (self.model[used, None] == np.asarray(known)) - 1.0 / len(known)
        for fold in (0, 1):
            train = mine & (self.fold[used] != fold)
            test = np.isin(self.model[used], asked) & (self.fold[used] == fold)
            if len(np.unique(self.model[used][train])) == len(known) and test.any():
                ridge = KernelRidge(alpha=RIDGE, kernel="precomputed").fit(gram[np.ix_(train, train)], target[train])
                out[used[test]] = ridge.predict(gram[np.ix_(test, train)])
        return out

    def beside(self, known: Sequence[int], asked: int) -> Floats:
        """Cosine of each answer of one model with the known models' answers to the same prompt, all centred by prompt,
        (n, known); 0 where a known model did not answer it, NaN for the answers of others."""
        out = np.full((len(self.prompt), len(known)), np.nan)
        used, _, gram = self._centred(known, [asked])
        length = np.sqrt(np.maximum(np.diag(gram), TINY))
        own = self.model[used] == asked
        out[used[own]] = 0.0
        at = {(p, m): i for i, (p, m) in enumerate(zip(self.prompt[used], self.model[used], strict=True))}
        for i in np.flatnonzero(own):
            there = [(c, j) for c, k in enumerate(known) if (j := at.get((self.prompt[used[i]], k))) is not None]
            for c, j in there:
                out[used[i], c] = gram[i, j] / (length[i] * length[j])
        return out

    def _centred(self, known: Sequence[int], asked: Sequence[int]) -> tuple[Ints, NDArray[np.bool_], Floats]:
        """Answers of all of these, (u,), which of them are of known models, and their centred inner products."""
        mine = np.isin(self.model, known)
        used = np.flatnonzero(mine | np.isin(self.model, asked))
        if not len(used):
            return used, mine[used], np.zeros((0, 0))
        return used, mine[used], prompt_centred(self.gram[np.ix_(used, used)], self.prompt[used], mine[used])

    def of_known(self, scores: Floats, known: Sequence[int]) -> tuple[Floats, Ints]:
        """Scores and classes of the known models' own answers."""
        mine = np.isin(self.model, known) & np.isfinite(scores).all(1)
        label = {k: i for i, k in enumerate(known)}
        return scores[mine], np.array([label[m] for m in self.model[mine]], dtype=np.int64)


def _gram(x: csr_matrix) -> Floats:
    """Inner products of sparse rows, (n, n) float32, through dense blocks of columns: far faster than sparse."""
    out = np.zeros((x.shape[0], x.shape[0]), dtype=np.float32)
    by_column = x.tocsc()
    for at in range(0, x.shape[1], 4096):
        block = by_column[:, at : at + 4096].toarray()
        out += block @ block.T
    return out


def held_out_scores(
    texts: Sequence[Sequence[str | None]], seed: int, most_rows: int = MOST_ROWS
) -> tuple[Floats, Ints]:
    """Held-out classifier scores of every answer for every model, to measure attribution with.

    Parameters
    ----------
    texts : (p, m) answers by prompt and model
        None where there is none.
    seed : int
    most_rows : int
        Answers used in all; time grows with the cube.

    Returns
    -------
    scores : (n, m) by classifiers that saw neither the answer nor its prompt
    labels : (n,) int, the model that gave the answer

    Examples
    --------
    >>> colours = "red green blue white black brown grey pink gold cyan".split()
    >>> texts = [[f"{c}, that is the answer.", f"Well... {c}; so be it!", f"# Answer * {c}"] for c in colours]
    >>> scores, labels = held_out_scores(texts, seed=0)
    >>> scores.shape, float((scores.argmax(1) == labels).mean())
    ((30, 3), 1.0)
    """
    rows = _Rows.of(texts, np.random.default_rng(seed), most_rows)
    known = list(range(len(texts[0])))
    return rows.of_known(rows.scores(known, known), known)


def suspect_scores(
    texts: Sequence[Sequence[str | None]], n_known: int, seed: int, most_rows: int = MOST_ROWS
) -> tuple[Floats, Floats, Ints]:
    """Both parts of the score of every answer, of known models and suspects, to measure and to weigh them with.

    Parameters
    ----------
    texts : (p, m) answers by prompt and model
        The first ``n_known`` models are known, the others suspects. None where there is none.
    n_known : int
    seed : int
    most_rows : int
        Answers used in all; time grows with the cube.

    Returns
    -------
    scores : (n, n_known) of the classifier, which saw neither the answer nor its prompt
    beside : (n, n_known) cosine with the known models' answers to the same prompt, centred by prompt
        0 for answers of known models, which would be compared with themselves.
    labels : (n,) int, the model that gave the answer

    Examples
    --------
    The last writes like the second, and at the same prompts:

    >>> colours = "red green blue white black brown grey pink gold cyan".split()
    >>> texts = [[f"{c}, that is the answer.", f"Well... {c}!", f"# {c}", f"Well... {c}; so be it!"] for c in colours]
    >>> scores, beside, labels = suspect_scores(texts, n_known=3, seed=0)
    >>> scores.shape, float(((scores + BESIDE * beside)[labels == 3].argmax(1) == 1).mean())
    ((40, 3), 1.0)
    """
    rows = _Rows.of(texts, np.random.default_rng(seed), most_rows)
    known, every = list(range(n_known)), list(range(len(texts[0])))
    scores = rows.scores(known, every)
    beside = np.zeros_like(scores)
    for i in every[n_known:]:
        beside[rows.model == i] = rows.beside(known, i)[rows.model == i]
    seen = np.isfinite(scores).all(1)
    return scores[seen], beside[seen], rows.model[seen]
