"""Channel `style`: which habits of phrasing and layout do two models share, whatever they are asked?

Sources: part-of-speech templates (Wadhwa et al. 2025), here of the pool's own most common words, so that no tagger
and no language is needed; word bigrams and over-used words (slop-forensics, Paech 2025); Burrows's Delta (2002) for
scaling. An answer is compared with the other model's answers to all *other* prompts, so that agreement on one topic
does not count: this sees teachers and habits, and close kin, less sharply than `wording`. Robust to topic; not robust
to a system prompt that asks for a style. Needs about 25 prompts. Reported only: it hears teachers better than
`wording` does, and counted beside it for kinship it makes that worse (benchmarks/channels.md).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from harness.channels.comparing import similarity
from harness.channels.reading import answers
from harness.responses import Responses
from harness.similarity import Similarity

Floats = NDArray[np.float64]
Cells = Sequence[Sequence[str | None]]

MAX_TOKENS = 256  # answers are cut here: counts grow with length
COMMON = 150  # words that keep their name in a template; all others become one mark
FEATURES = 4000  # most widespread features kept of each kind
_TOKEN = re.compile(r"\n+|\w+|[^\w\s]")
_EDGE = 3  # words in an opener or closer
ROUNDING = 1e-9  # cosines this small are sums that should have cancelled


def style(responses: Responses) -> Similarity | None:
    """Cosine of habit profiles, each prompt's answer against the other model's other prompts, (p, m, m)."""
    prompts = responses.where("style")
    values, usable = habits(answers(responses, prompts), KINDS) if prompts else (np.zeros(0), np.zeros(0, dtype=bool))
    return similarity(responses, prompts, values, usable, channel="style", unit="habit cosine, scaled", sees="reported")


def habits(cells: Cells, kinds: Mapping[str, Kind]) -> tuple[Floats, NDArray[np.bool_]]:
    """Mean over kinds of features of `leave_own_out`, each at unit size, (p, m, m), and who answered, (p, m)."""
    tokens = [[tokenize(t) if t else [] for t in row] for row in cells]
    answered = np.array([[len(t) > 0 for t in row] for row in tokens])
    flat = [t for row in tokens for t in row]
    common = _common_words(flat)
    parts = [leave_own_out(*_table([kind(t, common) for t in flat]), answered) for kind in kinds.values()]
    return np.mean([part / _size(part) for part in parts], axis=0), answered


def _size(part: Floats) -> float:
    # Kinds with few features have large cosines by nature; none may drown the others.
    seen = part[np.isfinite(part)]
    size = float(np.sqrt(np.mean(seen**2))) if len(seen) else 0.0
    return size if size > ROUNDING else 1.0  # rounding noise is not blown up to the size of evidence


def tokenize(text: str) -> list[str]:
    """Words, single punctuation marks and line breaks of a text's beginning, lower case."""
    return _TOKEN.findall(text[: 12 * MAX_TOKENS].lower())[:MAX_TOKENS]


def _common_words(flat: Sequence[list[str]]) -> frozenset[str]:
    df = Counter(w for tokens in flat for w in set(tokens))
    return frozenset(sorted(df, key=lambda w: (-df[w], w))[:COMMON])


Kind = Callable[[list[str], frozenset[str]], Mapping[str, float]]


def _rates(features: Sequence[str]) -> dict[str, float]:
    return {f: n / len(features) for f, n in Counter(features).items()}


def templates(tokens: list[str], common: frozenset[str]) -> Mapping[str, float]:
    """Runs of three in which only common words and marks keep their name."""
    t = [w if w in common else "*" for w in tokens]
    return _rates([" ".join(t[i : i + 3]) for i in range(len(t) - 2)])


def bigrams(tokens: list[str], common: frozenset[str]) -> Mapping[str, float]:
    """Pairs of neighbouring words."""
    return _rates([f"{a} {b}" for a, b in itertools.pairwise(tokens)])


def overused(tokens: list[str], common: frozenset[str]) -> Mapping[str, float]:
    """Single words; scaling by spread over the pool turns their rates into over- and under-use."""
    return _rates(tokens)


def edges(tokens: list[str], common: frozenset[str]) -> Mapping[str, float]:
    """First and last words, shorter ones as well; and what lines begin with."""
    lines = [b for a, b in zip(["\n", *tokens], tokens, strict=False) if a.startswith("\n")]
    out = {f"line {k}": v for k, v in _rates(lines).items()}
    for n in range(1, _EDGE + 1):
        out["open " + " ".join(tokens[:n])] = out["close " + " ".join(tokens[-n:])] = 1.0
    return out


def layout(tokens: list[str], common: frozenset[str]) -> Mapping[str, float]:
    """Punctuation, markdown, blank lines, length (log tokens), mean word length."""
    marks = [w for w in tokens if not w[0].isalnum()]
    words = [len(w) for w in tokens if w[0].isalnum()] or [0]
    out = {f: n / len(tokens) for f, n in Counter(marks).items()} if tokens else {}
    return out | {"(length)": float(np.log1p(len(tokens))), "(word length)": float(np.mean(words))}


KINDS: Mapping[str, Kind] = {
    "templates": templates,
    "bigrams": bigrams,
    "overused": overused,
    "edges": edges,
    "layout": layout,
}


def _table(found: Sequence[Mapping[str, float]]) -> tuple[csr_matrix, int]:
    """(answers, features) rates of the most widespread features."""
    df = Counter(f for one in found for f in one)
    kept = sorted((f for f in df if df[f] > 1), key=lambda f: (-df[f], f))[:FEATURES]
    column = {f: i for i, f in enumerate(kept)}
    rows = [(i, column[f], v) for i, one in enumerate(found) for f, v in one.items() if f in column]
    at = np.array([(i, j) for i, j, _ in rows], dtype=np.int64).reshape(-1, 2)
    data = np.array([v for *_, v in rows], dtype=np.float64)
    return csr_matrix((data, (at[:, 0], at[:, 1])), shape=(len(found), len(kept))), len(kept)


def leave_own_out(table: csr_matrix, n_features: int, answered: NDArray[np.bool_]) -> Floats:
    """Similarities (p, m, m) from rates (p * m, features), centred by prompt, scaled by feature.

    With c the centred answer and Z the mean of a model's other answers: (c_pi Z_j + c_pj Z_i) / 2 |Z_i| |Z_j|, whose
    mean over prompts is the cosine of the two profiles, less what the same prompt brings in.
    """
    p, m = answered.shape
    out = np.full((p, m, m), np.nan)
    if not n_features:
        return np.where(answered[:, :, None] & answered[:, None, :], 0.0, out)
    weight = answered / np.maximum(answered.sum(1, keepdims=True), 1)
    means = np.vstack([weight[i] @ table[i * m : (i + 1) * m] for i in range(p)])
    totals = np.zeros((m, n_features))
    for i in range(p):
        totals += np.where(answered[i][:, None], table[i * m : (i + 1) * m].toarray() - means[i], 0.0)
    count = np.maximum(answered.sum(0), 1)[:, None]
    spread = np.sqrt(((totals / count) ** 2).mean(0))
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12)
    profile = totals / count * scale
    norm = np.maximum(np.linalg.norm(profile, axis=1), 1e-12)
    for i in range(p):
        here = np.flatnonzero(answered[i] & (count[:, 0] > 1))
        own = (table[i * m : (i + 1) * m][here].toarray() - means[i]) * scale
        others = (profile[here] * count[here] - own) / (count[here] - 1)
        dots = own @ others.T
        out[i][np.ix_(here, here)] = (dots + dots.T) / 2 / (norm[here][:, None] * norm[here])
        np.fill_diagonal(out[i], np.nan)
    return out
