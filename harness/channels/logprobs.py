"""Channel `logprobs`: how alike two models weigh the first token they could say.

Source: Jensen-Shannon divergence (Lin 1991) of next-token distributions, as in Nikolic et al. 2025 (first token of a
stub) and the logprob tests of Gao et al. 2025. Tokens of different tokenizers are matched by their bytes. Sees shared
weights through system prompts, hosts and light tuning, raw stubs best of all; a sibling can look like a damaged child.
A teacher does not show here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from harness.channels.base import answered_share, moved
from harness.channels.first_tokens import Step, common_number, first_tokens, likeliest, opening
from harness.records import Probe, Removal, Removed, Responses, Similarity

READS = ("text", "reasoning", "logprobs")  # see `harness.channels.parallel`
Floats = NDArray[np.float64]

FOREIGN = 0.25  # share of answers whose logprobs are of another text, from which the rest agree by chance

LEAST, TOLD, EXAMPLE = 3, 0.05, 120  # answers, and share of them, from which it is told; characters shown

SUMS = 5  # tokens at the least, to judge a scale by

EXACT = 1e-3  # probability

ERROR = 1e-3  # chance to doubt honest logprobs, of each test

PROVEN = 20.0  # likelihood ratio by which logprobs at another temperature than 1 must show that they are unscaled

SHARPER, FLATTER, NEAR = (1.6, 2.3), (0.3, 0.5, 0.7), 0.9  # powers of the stated probabilities

TIE = 0.1  # nat, within which a server's noise changes the likeliest token


def logprobs(responses: Responses) -> Similarity | None:
    """1 - Jensen-Shannon divergence (base 2) of first-token distributions, (p, m, m) in [0, 1].

    All are cut to as many alternatives as the endpoint gives that gives fewest.
    """
    prompts = told_prompts(responses)
    return _compared(responses, prompts, _distributions(responses, prompts))


def probe(responses: Responses, rounds: int, rng: np.random.Generator) -> Probe | None:
    """`logprobs` in one pool, with ``rounds`` placebos: first tokens of other prompts, which a wrapper makes alike."""
    prompts = told_prompts(responses)
    cells = list(_distributions(responses, prompts))
    whole = _compared(responses, prompts, cells)
    if whole is None:
        return None
    count, placebo = len(cells), []
    for _ in range(rounds):
        if (by := moved(count, len(responses.models), rng)) is not None:
            shifted = ([cells[(i + d) % count][j] for j, d in enumerate(by)] for i in range(count))
            placebo.append(replace(whole, values=np.stack([agreement(row) for row in shifted]).astype(np.float32)))
    return Probe(whole, tuple(placebo))


def told_prompts(responses: Responses) -> list[int]:
    """Prompts of this channel to which anybody's answer came with logprobs."""
    models = range(len(responses.models))
    return [
        p
        for p in responses.where("logprobs")
        if any(opening(responses, r) is not None for m in models for r in responses.rows(p, m))
    ]


Cells = list[Mapping[bytes, float] | None]


def _distributions(responses: Responses, prompts: Sequence[int]) -> Iterator[Cells]:
    """First-token distributions of all models, one prompt after the other: all at once are too many to hold."""
    models = range(len(responses.models))
    most = common_number([[len(s) for p in prompts for s in first_tokens(responses, p, m)] for m in models])
    for p in prompts:
        yield [mean_distribution([likeliest(s, most) for s in first_tokens(responses, p, m)]) for m in models]


def _compared(responses: Responses, prompts: Sequence[int], cells: Iterable[Cells]) -> Similarity | None:
    if not prompts:
        return None
    values, usable = [], []
    for row in cells:
        values.append(agreement(row).astype(np.float32))
        usable.append([c is not None for c in row])
    return Similarity(
        channel="logprobs",
        models=responses.models,
        prompts=tuple(responses.prompts[i].id for i in prompts),
        values=np.stack(values),
        coverage=answered_share(responses, prompts, np.array(usable)),
        unit="1 - JSD",
        sees="weights",
    )


def mean_distribution(samples: Sequence[Mapping[bytes, float]]) -> Mapping[bytes, float] | None:
    """Mean over samples, which averages a batching server's noise; None without any."""
    if not samples:
        return None
    tokens = {t for s in samples for t in s}
    return {t: sum(s.get(t, 0.0) for s in samples) / len(samples) for t in tokens}


def agreement(tops: Sequence[Mapping[bytes, float] | None]) -> Floats:
    """1 - JSD of every pair, (m, m); NaN on the diagonal and where one has no distribution.

    The lists are cut at top-k: a token that one model lists and another does not has there at most the least listed
    probability, and at most an even share of what the list leaves over; the rest goes into one remainder bucket.
    """
    m = len(tops)
    out = np.full((m, m), np.nan)
    have = [i for i, t in enumerate(tops) if t]
    if len(have) < 2:
        return out
    vocabulary = {t: k for k, t in enumerate(sorted({t for i in have for t in tops[i] or ()}))}
    dense = np.zeros((len(have), len(vocabulary) + 1))
    for row, i in enumerate(have):
        dense[row] = _with_remainder(tops[i] or {}, vocabulary)
    for a in range(len(have)):
        mean = (dense[a] + dense[a + 1 :]) / 2
        jsd = (_relative_entropy(dense[a], mean) + _relative_entropy(dense[a + 1 :], mean)) / 2
        for b, value in zip(range(a + 1, len(have)), 1.0 - jsd, strict=True):
            out[have[a], have[b]] = out[have[b], have[a]] = value
    return out


def _with_remainder(top: Mapping[bytes, float], vocabulary: Mapping[bytes, int]) -> Floats:
    out = np.zeros(len(vocabulary) + 1)
    for token, p in top.items():
        out[vocabulary[token]] = p
    left = max(0.0, 1.0 - float(out.sum()))
    missing = len(vocabulary) - len(top)
    if missing:
        share = min(min(top.values()), left / (missing + 1))
        out[:-1][out[:-1] == 0.0] = share
        left -= share * missing
    out[-1] = left
    shares: Floats = out / out.sum()
    return shares


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p / q), 0.0)
    total: Floats = terms.sum(-1)
    return total


class _Told(NamedTuple):
    """Steps of a model's answers at one temperature: those of each answer, its prompt, and how many have logprobs."""

    steps: list[tuple[Step, ...]]
    cells: list[int]
    flaws: Counter[str]
    rows: dict[str, int]  # one for each flaw


def honest_logprobs(responses: Responses) -> tuple[Responses, tuple[Removal, ...]]:
    """The same table with logprobs only where they can be believed, and what was not.

    A model's logprobs at one temperature are doubted if most are of another text than its answers, or not on the
    natural logarithm's scale (`scale_flaw`), or do not fit what was said (`draw_flaw`). Then they are a gap.
    """
    out, doubted = [], set()
    for m, name in enumerate(responses.models):
        told = _by_temperature(responses, m)
        total = sum(sum(t.flaws.values()) for t in told.values())
        for flaw, kind in _TOLD.items():
            n = sum(t.flaws[flaw] for t in told.values())
            if n >= max(min(LEAST, total), TOLD * total) > 0:
                row = next(t.rows[flaw] for t in told.values() if flaw in t.rows)
                out.append(Removal(name, kind, n, total, responses.text[row].strip()[:EXAMPLE]))
        scale = scale_flaw([s for t in told.values() for steps in t.steps for s in steps])
        bad: Counter[Removed] = Counter()
        for temperature, t in told.items():
            n = sum(t.flaws.values())
            flaw_kind = scale or draw_flaw(_draws(t), temperature)
            if flaw_kind is not None:
                bad[flaw_kind] += n
            if flaw_kind is not None or t.flaws["other text"] > FOREIGN * n:
                doubted.add((name, temperature))
        out += [Removal(name, kind, n, total) for kind, n in bad.items()]
    return responses.doubting(frozenset(doubted)), tuple(out)


_TOLD: Mapping[str, Removed] = {
    "other text": "logprobs of other text",
    "unreadable": "logprobs unreadable",
    "positive": "logprobs rescaled",
}


def _by_temperature(responses: Responses, model: int) -> dict[float | None, _Told]:
    out: dict[float | None, _Told] = {}
    for p, prompt in enumerate(responses.prompts):
        for row in responses.rows(p, model):
            if (found := opening(responses, row)) is None:
                continue
            told = out.setdefault(prompt.temperature, _Told([], [], Counter(), {}))
            told.flaws[found.flaw] += 1
            told.rows.setdefault(found.flaw, row)
            if found.steps:
                told.steps.append(found.steps)
                told.cells.append(p)
    return out


def scale_flaw(steps: Sequence[Step]) -> Removed | None:
    """Whether listed numbers are no natural logarithms of whole probabilities.

    Sums above 1: another base, or scores. Sums of exactly 1 though the least listed still has a share: what is not
    listed was left out. Sums by base 2 never above 1, with ten or more alternatives: logarithms of base 2, as the
    same sums of natural ones (of p to the power .69) exceed 1 for nearly every text.
    """
    if len(steps) < SUMS:
        return None
    total, total2 = np.array([s.total for s in steps]), np.array([s.total2 for s in steps])
    least, most = (np.array([s.values[i] for s in steps]) for i in (-1, 0))
    if (total > 1.0 + EXACT * 10).mean() > 0.2:
        return "logprobs rescaled"
    whole = np.abs(total - 1.0)[least > np.log(EXACT)]
    if len(whole) >= SUMS and (whole < EXACT / 10).mean() > 0.8:
        return "logprobs rescaled"
    unsure = total2[(most < np.log(0.9)) & np.array([len(s.values) >= 10 for s in steps])]
    if len(unsure) >= 2 * SUMS and unsure.max() <= 1.0 + EXACT:
        return "logprobs rescaled"
    return None


def _draws(told: _Told) -> list[Step]:
    """Steps that are draws of their own: of a server that gives one answer however often it is asked, one a prompt."""
    said: dict[int, set[tuple[int, ...]]] = {}
    for cell, steps in zip(told.cells, told.steps, strict=True):
        said.setdefault(cell, set()).add(tuple(s.said for s in steps))
    if all(len(s) == 1 for s in said.values()) and len(said) < len(told.cells):
        return [s for steps in dict(zip(told.cells, told.steps, strict=True)).values() for s in steps]
    return [s for steps in told.steps for s in steps]


def draw_flaw(steps: Sequence[Step], temperature: float | None) -> Removed | None:
    """Whether the tokens said do not fit the probabilities stated; ``temperature`` is the one asked for.

    At temperature 0 the likeliest is said. Else the tests are likelihood ratios of alternatives fixed before, which
    by Ville's inequality exceed 1 / ERROR with a chance of ERROR at most if the logprobs are honest, however many
    draws there are. Samplers that leave unlikely tokens out (top-p, top-k, min-p) are honest, too: what is sharper
    than stated is looked for among the likeliest few alone.
    """
    known = [s for s in steps if s.said != -2]
    if not known:
        return None
    if temperature == 0:
        return "logprobs not this model's" if _not_greedy(known) else None
    power = 1.0 if temperature is None else 1.0 / temperature
    few = [(v[:n], s.said) for s in known if (n := _likely_few(v := s.values)) > s.said >= 0 and n > 1]
    if power == 1.0:
        if temperature is not None and _ratio(few, SHARPER, 1.25) > -np.log(ERROR):
            return "logprobs rescaled"
    elif (unscaled := _ratio(few, (power,), 1.0)) < np.log(PROVEN):
        return "logprobs rescaled" if unscaled < -np.log(PROVEN) else "logprobs of unknown scale"
    elif _ratio(few, (power / 2, power * 2), power) > -np.log(ERROR):
        return "logprobs rescaled"
    outside = power == 1.0  # how likely all that is not listed was at another temperature is unknown
    share = partial(_log_share, outside=outside)
    whole = [(s.values, s.said) for s in known if outside or s.said >= 0]
    flatter = min(_ratio(whole, [f * power for f in FLATTER], near * power, share) for near in (1.0, NEAR))
    return "logprobs not this model's" if flatter > -np.log(ERROR) else None


def _not_greedy(steps: Sequence[Step]) -> bool:
    """More tokens than a server's noise explains were not the likeliest."""
    missed = sum(s.said < 0 or s.values[s.said] < s.values[0] - TIE for s in steps)
    return missed > 0.25 * len(steps) and float(bdtrc(missed - 1, len(steps), 0.1)) < ERROR


def _likely_few(listed: Floats) -> int:
    """How many of the listed tokens no usual sampler leaves out: within half of the mass, and a fifth of the first."""
    p = np.exp(listed)
    return int(((np.cumsum(p) - p < 0.5) & (p > 0.2 * p[0])).sum())


def _ratio(
    draws: Sequence[tuple[Floats, int]],
    powers: Sequence[float],
    against: float,
    share: Callable[[Floats, int, float], float] | None = None,
) -> float:
    """Log likelihood ratio of draws from some powers of the stated probabilities, in equal shares, against another."""
    share, found = share or _log_share, np.zeros(len(powers))
    for listed, said in draws:
        base = share(listed, said, against)
        found += [share(listed, said, power) - base for power in powers]
    return float(np.logaddexp.reduce(found) - np.log(len(powers)))


def _log_share(listed: Floats, said: int, power: float, outside: bool = False) -> float:
    """Log-probability of what was said if the stated probabilities are raised to a power, and sum to 1 again.

    Given that it is listed; or ``outside`` too: what is not listed has its stated share, or more if that is small and
    the power is below 1.
    """
    scaled = power * listed
    inside = float(scaled[said] - np.logaddexp.reduce(scaled))
    if not outside:
        return inside
    rest = float(np.clip(1.0 - np.exp(listed).sum(), 1e-6, 1.0 - 1e-6))
    rest = max(rest, rest**power / (rest**power + (1.0 - rest) ** power)) if power < 1.0 else rest
    return float(np.log(rest)) if said < 0 else float(np.log1p(-rest)) + inside
