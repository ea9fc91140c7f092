"""Channel `style`: which habits of phrasing and layout do two models share, whatever they are asked?

Sources: see `habit_features`; Burrows's Delta (2002) for scaling. An answer is compared with the other model's answers
to all *other* prompts, so that agreement on one topic does not count: this sees teachers and habits, and close kin,
less sharply than `wording`. Robust to topic; not robust to a system prompt that asks for a style. Needs about 25
prompts, and of more than 200 looks at so many, spread over all: habits are known by then, and all would cost a large
survey half its time. Reported only: it hears teachers better than `wording` does, and counted beside it for kinship
it makes that worse (benchmarks/channels.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

from harness.channels.base import evenly, first_answers, similarity
from harness.channels.stylometry import Rates, bigrams, edges, layout, overused, read_tokens, templates
from harness.records import Responses, Similarity

READS = ("text",)  # see `harness.channels.parallel`
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Cells = Sequence[Sequence[str | None]]
HABITS = (templates, bigrams, overused, edges, layout)
PROMPTS = 200  # that are looked at, at most
ROUNDING = 1e-9  # of what was added up: a sum smaller than that should have cancelled


def style(responses: Responses) -> Similarity | None:
    """Cosine of habit profiles, each prompt's answer against the other model's other prompts, (p, m, m)."""
    prompts = evenly(responses.where("style"), PROMPTS)
    values, usable = (
        habits(first_answers(responses, prompts), HABITS) if prompts else (np.zeros(0), np.zeros(0, dtype=bool))
    )
    return similarity(responses, prompts, values, usable, channel="style", unit="habit cosine, scaled", sees="reported")


def habits(cells: Cells, kinds: Sequence[Rates]) -> tuple[Floats, Bools]:
    """Mean over kinds of features of `leave_own_out`, each at unit size, (p, m, m), and who answered, (p, m)."""
    tokens = read_tokens(text for row in cells for text in row)
    answered = (tokens.lengths > 0).reshape(len(cells), -1)
    total = np.zeros((*answered.shape, answered.shape[1]))
    for kind in kinds:
        part = leave_own_out(kind(tokens), answered)
        part /= _size(part)
        total += part
        del part  # before the next is made
    total /= len(kinds)
    return total, answered


def _size(part: Floats) -> float:
    # Kinds with few features have large cosines by nature; none may drown the others.
    seen = part[np.isfinite(part)]
    size = float(np.sqrt(np.mean(seen**2))) if len(seen) else 0.0
    return size if size > ROUNDING else 1.0  # rounding noise is not blown up to the size of evidence


def leave_own_out(table: csr_matrix, answered: Bools) -> Floats:
    """Similarities (p, m, m) from rates (p * m, features), centred by prompt, scaled by feature.

    With c the centred answer and T the sum of a model's centred answers, n of them, an answer meets the mean of the
    other model's other answers, Z: c_pi Z_j = (c_pi T_j - c_pi c_pj) / (n_j - 1). The value is half of c_pi Z_j +
    c_pj Z_i over |T_i / n_i| |T_j / n_j|; its mean over prompts is the cosine of the two profiles, less what the same
    prompt brings in. All of it are products of sparse tables; centring is done on the products.
    """
    p, m = answered.shape
    scaled, sums, count = _scaled(table, answered)
    size = np.sqrt(np.asarray(scaled.multiply(scaled).sum(1))).reshape(p, m)
    norm = np.linalg.norm(sums, axis=1)
    towards = np.ascontiguousarray(sums.T)
    out = np.full((p, m, m), np.nan)
    for i in range(p):
        here = np.flatnonzero(answered[i] & (count > 1))
        if not len(here):
            continue
        mine = scaled[i * m : (i + 1) * m]
        weight = answered[i] / answered[i].sum()
        dots = mine @ towards
        met = dots - weight @ dots
        own = mine @ mine.T.toarray()
        level = own @ weight
        met -= own - level[:, None] - level + weight @ level
        met[np.abs(met) <= ROUNDING * size[i][:, None] * (norm + size[i])] = 0.0
        met /= np.maximum(count - 1, 1)
        unit = np.where(norm > 0, norm, 1.0) / np.maximum(count, 1)
        out[i][np.ix_(here, here)] = ((met + met.T) / 2 / (unit[:, None] * unit))[np.ix_(here, here)]
        np.fill_diagonal(out[i], np.nan)
    return out


def _scaled(table: csr_matrix, answered: Bools) -> tuple[csr_matrix, Floats, NDArray[np.int64]]:
    """Rates with each feature divided by its spread over models; sums of centred answers, (m, features); answers, (m,).

    A feature that all models use alike has no spread and counts for nothing.
    """
    p, m = answered.shape
    prompt, model = np.nonzero(answered)
    at = prompt * m + model
    ones = np.ones(len(at))
    to_prompt = csr_matrix((ones / answered.sum(1)[prompt], (prompt, at)), shape=(p, p * m))
    to_model = csr_matrix((ones, (model, at)), shape=(m, p * m))
    own = (to_model @ table).toarray()
    expected = (csr_matrix(answered.T.astype(np.float64)) @ (to_prompt @ table)).toarray()
    sums = own - expected
    sums[np.abs(sums) <= ROUNDING * (own + expected)] = 0.0
    count = answered.sum(0)
    spread = np.sqrt(((sums / np.maximum(count, 1)[:, None]) ** 2).mean(0))
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    return csr_matrix(table @ diags_array(scale)), sums * scale, count
