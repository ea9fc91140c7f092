"""Assessment of one pair: its pool of controls, each channel compared in it, and all of them combined. Worked out once.

Kinship judges by it, teaching takes from it what sees weights, and the report draws it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.inference.excess import (
    FEWEST,
    TINY,
    additive_residuals,
    combine_excess,
    excess_of,
    known_mean,
    max_null_p,
    mean_over_prompts,
    prompt_noise,
    reliabilities_of,
    spread_of,
)
from harness.inference.findings import NAN, Caveat, ChannelEvidence, Part, Settings
from harness.inference.likelihood import LikelihoodTable
from harness.inference.nuisance import excess_in
from harness.inference.pool import Model, Pool, agreed_pool, only_prompts, pool_for, restrict, without_copies
from harness.inference.stopping import Progress
from harness.records import Probe, Similarity, Surface

Floats = NDArray[np.float64]
Grams = Sequence[tuple[Floats, int]]
View = tuple[str, Surface]  # text or logprobs, of chat or of raw completion
Samples = Callable[[str, str], Mapping[View, Grams]]
Twin = Callable[[Sequence[str]], Sequence[Similarity]]
Probes = Callable[[Sequence[str], Sequence[str]], Mapping[str, Probe]]
Distances = Callable[[Sequence[str]], Floats]

TWIN = "\x00twin"  # no endpoint can be called this
FOREIGN = 0.2  # of the median model's similarity to the pool; of 178 recorded models none is under 0.46
HALF = 0.5  # of a channel's prompts, than which the pair must have answered more; fewer gaps are bounded (`bounds`)
RECOGNISED = 0.01  # level at which shipped and fresh prompts are said to be answered otherwise
HUB = 0.9  # share of the controls that a hub is more like everybody than


@dataclass(frozen=True)
class Compared:
    """One channel in a pool of n models, the suspect first and the candidate second.

    ``values`` (p, n, n) are its similarities on ``prompts``, those that both of the pair answered, ``residuals``
    (p, n, n) what is left when each model's own level is taken out of each prompt, ``placebo`` (n, n) the excess that
    two models show on unlike prompts, where only what stands before or around them can be alike, ``matrix`` (n, n) the
    excess beyond that. ``missing`` counts the prompts put to both of the pair of which one has nothing usable; they are
    left out.
    """

    similarity: Similarity
    prompts: tuple[str, ...]
    values: Floats
    residuals: Floats
    matrix: Floats
    placebo: Floats | None = None
    missing: int = 0
    variants: Mapping[str, Similarity] = field(default_factory=dict)

    @cached_property
    def raw(self) -> Floats:
        """Mean similarity of each pair over the prompts, (n, n)."""
        return mean_over_prompts(self.values)

    @cached_property
    def noise(self) -> float:
        """The unit of the excess: `harness.inference.excess.prompt_noise`."""
        return prompt_noise(self.residuals)

    @classmethod
    def of(cls, similarity: Similarity, names: Sequence[str], probe: Probe | None = None) -> Compared:
        """A channel among some models, in their order; with a ``probe``, as it is measured in their pool."""
        whole = similarity if probe is None else _on(probe.similarity, similarity.prompts)
        both = np.isfinite(whole.values[:, whole.models.index(names[0]), whole.models.index(names[1])])
        gaps = sum(1.0 - float(np.nan_to_num(whole.coverage[whole.models.index(n)], nan=1.0)) for n in names[:2])
        missing = min(int((~both).sum()), round(gaps * len(both)))  # what was not put to one of them is not missing
        kept = np.flatnonzero(both) if both.any() else np.arange(len(both))
        values, prompts = restrict(whole, names, kept.tolist()), tuple(whole.prompts[i] for i in kept)
        residuals = additive_residuals(values)
        matrix = excess_in(residuals, whole.sees)
        placebo = _placebo(probe, names) if probe is not None else None
        variants = {} if probe is None else {n: _on(v, similarity.prompts) for n, v in probe.variants.items()}
        beyond = matrix if placebo is None else matrix - placebo
        return cls(whole, prompts, values, residuals, beyond, placebo, missing, variants)


def _on(similarity: Similarity, prompts: Sequence[str]) -> Similarity:
    """A similarity on some of its prompts."""
    wanted = set(prompts)
    keep = [i for i, p in enumerate(similarity.prompts) if p in wanted]
    if len(keep) == len(similarity.prompts):
        return similarity
    return replace(similarity, prompts=tuple(similarity.prompts[i] for i in keep), values=similarity.values[keep])


def _placebo(probe: Probe, names: Sequence[str]) -> Floats | None:
    """Mean excess over the placebos, (n, n); None where there is none, or some pair was never compared."""
    found = [excess_of(additive_residuals(restrict(s, names))) for s in probe.placebo]
    out: Floats | None = np.mean(found, axis=0) if found else None
    off = ~np.eye(len(names), dtype=bool)
    return out if out is not None and np.isfinite(out[off]).all() else None


@dataclass(frozen=True)
class Assessment:
    """What all channels say of one pair among its controls.

    ``channels`` are those that count; ``combined`` (n, n) is their weighted excess, of which (``low``, ``high``) is the
    accused pair's 95 % interval. ``evidence`` also holds channels with a pool of their own and those that are only
    reported. ``obstacle`` says why nothing can be judged, ``caveats`` what was left out, ``copies`` what was copied.
    """

    pool: Pool
    channels: tuple[Compared, ...] = ()
    combined: Floats | None = None
    low: float = NAN
    high: float = NAN
    evidence: tuple[ChannelEvidence, ...] = ()
    obstacle: Caveat | None = None
    caveats: tuple[Caveat, ...] = ()
    copies: tuple[Caveat, ...] = ()

    @property
    def effect(self) -> float:
        """Combined excess of the accused pair."""
        return NAN if self.combined is None else float(self.combined[0, 1])


@dataclass(frozen=True)
class Case:
    """All that a question may look at about one suspect and one candidate.

    What is costly is a function, called by the questions that need it: ``twin(channels)`` gives similarities in which
    every second sample of the candidate poses as a model called `TWIN`, ``habits()`` counts of habits, an array
    (blocks, m, features) for each kind, ``samples(a, b)`` kernels between samples of two models, ``coverage(a, b)`` the
    share of samples they are made of, ``resemblance()`` caveats about conditions in which pair and controls differ,
    ``probes(models, channels)`` channels measured again in one pool, ``distances(names)`` how far the raw next tokens
    of each but the first are from the first's (`harness.inference.mixture.nearer`), ``unfitted(about)`` what of this
    pair a calibration was not fitted for. ``looks`` verdicts share the level. ``fresh`` are prompts that a private seed
    filled, by id, with the id of the shipped prompt of the same template. ``progress`` is where the pair stands in a
    campaign that stops when the answer is known; None in one that asks everything first.
    """

    suspect: Model
    candidate: Model
    models: tuple[Model, ...]
    similarities: tuple[Similarity, ...]
    tables: Mapping[str, LikelihoodTable]
    settings: Settings
    twin: Twin
    habits: Callable[[], Sequence[NDArray[np.floating]]]
    samples: Samples
    coverage: Callable[[str, str], Mapping[View, float]]
    resemblance: Callable[[], Sequence[Caveat]]
    probes: Probes = lambda models, channels: {}
    distances: Distances = lambda names: np.empty((0, len(names) - 1, 2))
    unfitted: Callable[[Mapping[str, Any]], Sequence[Caveat]] = lambda about: ()
    looks: int = 1
    fresh: Mapping[str, str] = field(default_factory=dict)
    progress: Progress | None = None

    @property
    def two_makers(self) -> bool:
        """Whether suspect and candidate are known to be of two makers."""
        s, c = self.suspect.maker, self.candidate.maker
        return s is not None and c is not None and s.casefold() != c.casefold()

    @cached_property
    def assessment(self) -> Assessment:
        """The pair among its controls, worked out once for all questions.

        On the fresh prompts alone, if what ships is answered otherwise: then nothing that can be looked up is evidence.
        """
        found = assess(self.suspect, self.candidate, self.models, self.similarities, self.settings, self.probes)
        if (caveat := recognised(found, self.fresh, self.settings)) is None:
            return found
        unknown = [
            only_prompts(s, self.fresh) for s in self.similarities if not self.fresh.keys().isdisjoint(s.prompts)
        ]
        again = assess(self.suspect, self.candidate, self.models, unknown, self.settings, self.probes)
        return replace(again, caveats=(caveat, *again.caveats))


def assess(
    suspect: Model,
    candidate: Model,
    models: Sequence[Model],
    similarities: Sequence[Similarity],
    settings: Settings,
    probes: Probes = lambda models, channels: {},
) -> Assessment:
    """Compare one pair with its controls in every channel, and combine the channels.

    Parameters
    ----------
    suspect, candidate : Model
    models : sequence of Model
        Every model of the campaign; the pool is made of its controls as `harness.inference.pool.pool_for` says.
    similarities : sequence of Similarity
        One a channel, values (p, m, m). A channel of which the pair answered `HALF` or less abstains; one that the
        controls answered too little of keeps to a pool of its own; one that sees "reported" carries no weight.
    settings : Settings
        ``min_coverage`` is the least share of usable answers of a control, ``bootstrap`` the rounds behind each
        interval.
    probes : function from names of models and of channels to probes by channel
        Channels measured again in the pool; without, they stand as they are.

    Returns
    -------
    Assessment
        With an ``obstacle`` instead of numbers where nothing can be compared.

    See Also
    --------
    harness.inference.kinship.kinship : Judges by it.
    harness.inference.breakdown.detail : Shows it pair by pair and prompt by prompt.

    Examples
    --------
    Four controls and a pair that is closer than they are, on 40 prompts:

    >>> import numpy as np
    >>> from harness.records import Similarity
    >>> rng = np.random.default_rng(0)
    >>> names = ("s", "c", "k0", "k1", "k2", "k3")
    >>> values = rng.normal(0.3, 0.05, (40, 6, 6))
    >>> values[:, 0, 1] += 0.3
    >>> values = np.triu(values, 1) + np.triu(values, 1).transpose(0, 2, 1)
    >>> values[:, range(6), range(6)] = np.nan
    >>> ids = tuple(f"q{i}" for i in range(40))
    >>> wording = Similarity("wording", names, ids, values.astype(np.float32), np.ones(6), "cosine", "text")
    >>> roles = ("suspect", "candidate", *["control"] * 4)
    >>> models = [Model(n, r, n) for n, r in zip(names, roles)]
    >>> found = assess(models[0], models[1], models, [wording], Settings(0.05, 0.9, 99, 100, seed=1))
    >>> found.pool.lineages
    ('k0', 'k1', 'k2', 'k3')
    >>> round(found.evidence[0].p, 3)  # the closest of 15 pairs
    0.067
    """
    least = settings.min_coverage
    judged, copies = without_copies(similarities, suspect.name, candidate.name)
    covered, notes = _covered([s for s in judged if s.sees != "reported"], (suspect.name, candidate.name))
    if not covered:  # the controls are as they are: it is the pair that said too little
        pool = pool_for(suspect, candidate, models, [], 0.0, settings.controls)
        return Assessment(pool, obstacle=Caveat("no usable channel"), caveats=tuple(notes), copies=copies)
    pool, joined = agreed_pool(suspect, candidate, models, covered, least, settings.controls)
    foreign = {s.channel: why for s in joined if (why := shares_no_words(s, pool)) is not None}
    counted = [s for s in joined if s.channel not in foreign]
    notes += [*pool.left_out, *foreign.values()]
    if not counted:
        why = next(iter(foreign.values()), Caveat("no usable channel"))
        return Assessment(pool, obstacle=why, caveats=tuple(notes), copies=copies)
    if len(pool.controls) < 2:
        return Assessment(pool, obstacle=Caveat("too few control lineages"), caveats=tuple(notes), copies=copies)
    rng = np.random.default_rng(settings.seed)
    rounds = settings.bootstrap
    measured = probes(pool.names, [s.channel for s in counted])
    channels = tuple(Compared.of(s, pool.names, measured.get(s.channel)) for s in counted)
    weights = reliabilities_of([c.residuals for c in channels])
    combined = combine_excess([c.matrix for c in channels], weights)
    evidence = [_evidence(c, rounds, rng, weight=w) for c, w in zip(channels, weights, strict=True)]
    if (obstacle := _untestable(combined, pool)) is not None:
        return Assessment(pool, channels, combined, NAN, NAN, (), obstacle, tuple(notes), copies)
    low, high = _interval(channels, weights, rounds, rng)
    if len(evidence) == 1:  # one effect has one interval, and not two draws of it
        low, high = (evidence[0].scaled(v) for v in (evidence[0].effect_low, evidence[0].effect_high))
    for s in (s for s in covered if not any(s is j for j in joined)):
        own = pool_for(suspect, candidate, models, [s], least, settings.controls)
        notes.append(Caveat("own pool", s.channel, values=(len(own.controls),)))
        if len(own.controls) >= 2:
            compared = Compared.of(s, own.names)
            evidence.append(_evidence(compared, rounds, rng, part="own pool", controls=len(own.controls)))
    del measured  # placebos are as large as all that is compared
    evidence += [e for s in judged if s.sees == "reported" and (e := _reported(s, pool.names, rounds, rng)) is not None]
    notes.append(_candidates_null(channels, combined, pool))
    return Assessment(pool, channels, combined, low, high, tuple(evidence), None, tuple(notes), copies)


def recognised(a: Assessment, fresh: Mapping[str, str], settings: Settings) -> Caveat | None:
    """Recognised prompts: is the pair as close on those that ship as on fresh ones of the same templates?

    Parameters
    ----------
    a : Assessment
        Its counted channels are tested, each on the templates of which the pair answered both prompts.
    fresh : mapping from the id of a fresh prompt to that of its shipped twin
    settings : Settings
        ``seed`` draws the sign flips.

    Returns
    -------
    Caveat or None
        The channel that differs most, with ``values``: effect on the shipped prompts, on the fresh ones, and p.

    Notes
    -----
    Both prompts of a template are random fillings of it, so under the null the two residuals of the pair can be
    exchanged: a two-sided sign-flip test of their differences (Fisher 1935), exact for any number of templates, at
    `RECOGNISED` over all channels (Bonferroni). Fewer than eight templates cannot reach that.
    """
    rng = np.random.default_rng(settings.seed)
    tested = []
    for c in a.channels:
        at = {p: i for i, p in enumerate(c.prompts)}
        twins = np.array([(at[s], at[f]) for f, s in fresh.items() if f in at and s in at]).reshape(-1, 2)
        both = c.residuals[twins.astype(int), 0, 1]
        both = both[np.isfinite(both).all(axis=1)]
        if len(both):
            means = both.mean(0) / c.noise
            tested.append((_flipped(both[:, 0] - both[:, 1], rng), c.similarity.channel, means))
    if not tested or min(t[0] for t in tested) * len(tested) > RECOGNISED:
        return None
    p, channel, means = min(tested, key=lambda t: t[0])
    pair = (a.pool.suspect, a.pool.candidate)
    return Caveat("shipped prompts differ", channel, pair, (float(means[0]), float(means[1]), p * len(tested)))


def _flipped(differences: Floats, rng: np.random.Generator, most: int = 9999) -> float:
    """Two-sided p-value of a mean difference over random changes of sign, over all of them where these are few."""
    signs = sign_changes(len(differences), rng, most)
    return float((np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean())


def sign_changes(n: int, rng: np.random.Generator, most: int = 9999) -> Floats:
    """Changes of sign of n numbers, (changes, n): all of them, or the numbers as they are and so many at random."""
    if 2**n > most:
        return np.vstack([np.ones(n), rng.choice([-1.0, 1.0], (most, n))])
    return np.asarray(1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1), dtype=np.float64)


def levels(raw: Floats) -> Floats:
    """How alike each model is to the controls of its pool on average, (n,), of the mean similarities of all pairs; the
    first two models are no controls."""
    shown = raw[:, 2:]
    seen = np.isfinite(shown)
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.where(seen, shown, 0.0).sum(1) / seen.sum(1)
    return out


def shares_no_words(similarity: Similarity, pool: Pool) -> Caveat | None:
    """A channel of text cannot compare suspect and candidate if one shares next to no words with anybody."""
    if similarity.sees != "text" or similarity.unit != "cosine" or len(pool.controls) < 2:
        return None
    level = levels(mean_over_prompts(restrict(similarity, pool.names)))
    usual = float(np.nanmedian(level[2:]))
    for name, own in zip(pool.names[:2], level[:2], strict=True):
        if own < FOREIGN * usual:
            return Caveat("shares no words", similarity.channel, (name,), (float(own), usual))
    return None


def _candidates_null(channels: Sequence[Compared], combined: Floats, pool: Pool) -> Caveat:
    """The candidate's own null: is it a hub (then in ``channel``), and how near does the suspect come to it?

    ``values``: controls that are less like everybody than the candidate, controls in all, and those that are at least
    as close to the candidate as the suspect is.
    """
    k = len(pool.controls)
    parts = []
    for c in channels:
        level = levels(c.raw)
        below = int((level[2:] < level[1]).sum())
        parts.append((below / k, c.similarity.channel, below))
    share, channel, below = max(parts)
    row = combined[1]
    nearer = int((row[2:] >= row[0] - 1e-12).sum())
    hub = channel if share >= HUB else ""
    return Caveat("candidate's null", hub, (pool.candidate, pool.suspect), (below, k, nearer))


def _untestable(combined: Floats, pool: Pool) -> Caveat | None:
    if not np.isfinite(combined[0, 1]):
        return Caveat("too few shared prompts", names=(pool.suspect, pool.candidate))
    if np.nanmax(np.abs(combined)) < TINY:
        return Caveat("all answered alike")
    return None


def _covered(similarities: Sequence[Similarity], names: Sequence[str]) -> tuple[list[Similarity], list[Caveat]]:
    usable: list[Similarity] = []
    notes: list[Caveat] = []
    for s in similarities:
        worst, name = min((float(np.nan_to_num(s.coverage[s.models.index(n)])), n) for n in names)  # NaN: never asked
        if worst > HALF:
            usable.append(s)
        else:
            notes.append(Caveat("low coverage", s.channel, (name,), (worst,)))
    return usable, notes


def _evidence(
    c: Compared,
    rounds: int,
    rng: np.random.Generator,
    *,
    part: Part = "counted",
    weight: float = NAN,
    controls: int = 0,
) -> ChannelEvidence:
    s = c.similarity
    raw = c.raw
    others = raw[np.triu_indices(len(raw), 1)][1:]  # every pair but the accused one, which comes first
    low, high = _interval([c], np.ones(1), rounds, rng, scaled=False)
    peers = c.matrix[np.triu_indices(len(raw), 1)][1:]
    told = len(raw) >= FEWEST  # of fewer, what is expected of a pair hangs on that pair
    return ChannelEvidence(
        channel=s.channel,
        sees=s.sees,
        unit=s.unit,
        prompts=int(np.isfinite(c.values[:, 0, 1]).sum()),
        coverage=float(np.nanmin(s.coverage)),
        words=s.words,
        raw=float(raw[0, 1]),
        control_low=float(np.nanmin(others)) if np.isfinite(others).any() else NAN,
        control_high=float(np.nanmax(others)) if np.isfinite(others).any() else NAN,
        effect=float(c.matrix[0, 1]),
        effect_low=low,
        effect_high=high,
        p=max_null_p(c.matrix, c.matrix[0, 1]),
        part=part,
        weight=float(weight),
        controls=controls,
        peer_low=float(np.nanmin(peers)) if told and np.isfinite(peers).any() else NAN,
        peer_high=float(np.nanmax(peers)) if told and np.isfinite(peers).any() else NAN,
        spread=max(float(np.sqrt(known_mean(c.matrix**2))), TINY),
        size=spread_of(c.values) * c.noise if told else NAN,
    )


def _reported(s: Similarity, names: Sequence[str], rounds: int, rng: np.random.Generator) -> ChannelEvidence | None:
    """What a channel without weight in the verdict says; None if it says nothing of the pair."""
    compared = Compared.of(s, names)
    told = np.isfinite(compared.values[:, 0, 1]).any()
    return _evidence(compared, rounds, rng, part="reported") if told else None


def loudest_left_out(c: Compared, most: int = 10) -> Floats:
    """Excess (n, n) of a channel without the prompts that speak most for the accused pair: ten, or a fifth of them.

    They are chosen by that pair alone, so what is left speaks less for it than it would of a pair of strangers.
    """
    pair = c.residuals[:, 0, 1]
    drop = min(most, len(pair) // 5)
    keep = np.argsort(np.where(np.isfinite(pair), pair, -np.inf), kind="stable")[: len(pair) - drop]
    matrix = excess_in(c.residuals[np.sort(keep)], c.similarity.sees)
    return matrix if c.placebo is None else matrix - c.placebo


def bounds(c: Compared) -> tuple[float, float]:
    """Excess of the accused pair if its missing answers were as the least alike tenth of the pool's pairs, prompt by
    prompt, and if they were as the most alike tenth."""
    noise = c.noise
    if not c.missing:
        return float(c.matrix[0, 1]), float(c.matrix[0, 1])
    with np.errstate(all="ignore"):
        flat = c.residuals.reshape(len(c.residuals), -1)
        low, high = np.nanmean(np.nanquantile(flat, [0.1, 0.9], axis=1), axis=1)
    n, mean = len(c.residuals), known_mean(c.residuals[:, 0, 1])
    share = c.missing / (n + c.missing)
    return tuple(float(c.matrix[0, 1] + share * (edge - mean) / noise) for edge in (low, high))  # type: ignore[return-value]


def _interval(
    channels: Sequence[Compared], weights: Floats, rounds: int, rng: np.random.Generator, scaled: bool = True
) -> tuple[float, float]:
    """95 % bootstrap interval of the accused pair's effect over prompts, scaled as `combine` does or not."""
    draws = np.zeros((len(channels), rounds))
    for row, c in enumerate(channels):
        noise = c.noise
        pair = c.residuals[:, 0, 1]
        pair = pair[np.isfinite(pair)]
        if not len(pair):
            return NAN, NAN
        means = pair[rng.integers(0, len(pair), (rounds, len(pair)))].mean(1) / noise
        means += c.matrix[0, 1] - pair.mean() / noise  # what was taken out of the effect is taken out of all draws
        spread = max(float(np.sqrt(np.nanmean(c.matrix**2))), TINY) if scaled else 1.0
        draws[row] = means / spread
    low, high = np.quantile(weights @ draws, [0.025, 0.975])
    return float(low), float(high)
