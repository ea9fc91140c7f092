"""Findings: what one question found of one pair, with the evidence and the caveats behind it. Typed, without words.

`harness.report.words` makes sentences of them, last; nothing that decides reads one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from harness.inference.verdicts import UNJUDGED, Ground, Judgement, Verdict
from harness.records import ControlRule, Question, ReferenceGap, Sees, Surface

NAN = float("nan")
UNKNOWN = "unknown"  # what an attribution is to where it is to no known model
Tier = Literal["model", "maker", "none"]
"""What an attribution names: a known model or its close kin, something of a known model's maker, or none of these."""
NullRule = Literal["conformal", "carried", "classifier"]
Part = Literal["counted", "own pool", "reported", "abstains"]
StopRule = Literal["found", "futile", "all asked", "goes on"]
Mismatch = Literal[
    "pair in another language",
    "pair in another format",
    "pair much shorter",
    "pair much longer",
    "pair leaves words unsaid",
    "pair of another era",
    "pair alone thinks",
    "pair alone does not think",
]
"""What the pair shares and most controls lack makes strangers look like kin: no accusation stands beside one."""
Hiding = Literal["suspect in another language", "suspect much shorter", "only one thinks"]
"""What sets the suspect apart from all makes kin look like strangers: no acquittal stands beside one."""
CaveatKind = Literal[
    # nothing can be judged
    "no usable channel",
    "too few control lineages",
    "too few shared prompts",
    "all answered alike",
    "no text",
    "no samples",
    "only gaps",
    "too few known models",
    "no usable answers",
    "too few known lineages",
    # what a channel or a control could not give
    "low coverage",
    "control left out",
    "models left out",
    "maker counted already",
    "of the pair's makers",
    "makers unknown",
    "makers repeat",
    "shares no words",
    "own pool",
    "gaps",
    "blind",
    "power",
    # where the pair lies
    "candidate's null",
    "rival pairs",
    # self-checks
    "no negative control",
    "negative control found",
    "negative control failed",
    "no positive control",
    "positive control failed",
    "told from itself",
    "no control told apart",
    # likelihood ratio
    "no likelihood ratio",
    "calibrated on no thinkers",
    "calibrated on another language",
    "bounded ratio",
    # does it stand on less, and was the answer the model's own
    "does not stand",
    "gaps decide",
    "alike on unlike prompts",
    "taken out",
    "mixture",
    # copies
    "copies left out",
    "only copies",
    "shipped prompts differ",
    # conditions in which pair and controls differ
    Mismatch,
    Hiding,
    # conditions that are a limit
    "suspect in another format",
    "controls unlike in length",
    "controls of another era",
    "controls unlike in thinking",
    "one may think",
    "thinking unlike told",
    "pair on one host",
    # models of packs of references
    ReferenceGap,
    "references checked",
    # the campaign as a whole
    "unanswered calls",
    "short form",
    "mixed models",
    "unknown finish",
]
FAILED: frozenset[CaveatKind] = frozenset(
    {"negative control failed", "positive control failed", "told from itself", "no control told apart"}
)
"""Self-checks that failed: no verdict but `different` stands beside one."""
Bound = Literal["", "least", "most"]
BOUNDS: tuple[Bound, ...] = ("least", "most")
MISMATCHES: frozenset[CaveatKind] = frozenset(get_args(Mismatch))
HIDING: frozenset[CaveatKind] = frozenset(get_args(Hiding))


@dataclass(frozen=True)
class Caveat:
    """One thing that limits a finding. What ``channel``, ``names``, ``values`` and ``pairs`` hold depends on the kind;
    `harness.report.caveats` says each kind in words."""

    kind: CaveatKind
    channel: str = ""
    names: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ChannelEvidence:
    """What one channel says about one pair and question.

    ``raw`` is the mean similarity of the pair in the channel's unit and (``control_low``, ``control_high``) the range
    of the pair's peers: every other pair of unrelated models in the pool. ``effect`` is the standardised excess with
    its 95 % interval (bootstrap over prompts), ``p`` the channel's own p-value. NaN where there is none. Identity has
    ``p_same`` too, of its equivalence test.

    ``words`` is the usual length of the answers compared, ``finds_close`` and ``finds_base`` how often the channel
    finds close kin and pairs of one pretrained base under these conditions, as measured on recorded answers.

    ``part`` is what it has in the verdict: "counted", compared in its "own pool" of ``controls`` lineages, "reported"
    without weight, or "abstains" for the ``caveat``. ``weight`` is its share of a combined score; ``surface`` is set
    where chat and raw completion are judged apart.
    """

    channel: str
    sees: Sees
    unit: str
    prompts: int
    coverage: float
    raw: float = NAN
    control_low: float = NAN
    control_high: float = NAN
    effect: float = NAN
    effect_low: float = NAN
    effect_high: float = NAN
    p: float = NAN
    p_same: float = NAN
    words: float = NAN
    finds_close: float = NAN
    finds_base: float = NAN
    part: Part = "counted"
    weight: float = NAN
    controls: int = 0
    surface: Surface | None = None
    caveat: Caveat | None = None
    peer_low: float = NAN
    peer_high: float = NAN
    spread: float = NAN
    size: float = NAN

    def scaled(self, effect: float) -> float:
        """An effect of this channel on the scale of the verdict; as it is where the two have one scale."""
        return effect / self.spread if self.spread == self.spread else effect

    @property
    def residual(self) -> float:
        """How much closer than expected, in the channel's unit: the effect, so that its sign and order are the same."""
        return self.effect * self.size

    @property
    def expected(self) -> float:
        """The similarity that the two models' closeness to everybody, and to one another on unlike prompts, explain."""
        return self.raw - self.residual

    @property
    def name(self) -> str:
        """The channel, with its surface where the two are judged apart."""
        return self.channel if self.surface is None else f"{self.channel} ({self.surface})"


@dataclass(frozen=True)
class Outlook:
    """What would find more pairs of one pretrained base: so many ``prompts`` that ``channel`` reads, put to every model
    of the pool in ``calls``, find this share (``finds``) of them."""

    channel: str
    prompts: int
    calls: int
    finds: float


@dataclass(frozen=True)
class Stop:
    """At which stage of how many a finding stands, on ``prompts`` of ``most``, and by which ``rule`` it stops there."""

    rule: StopRule
    stage: int
    stages: int
    prompts: int
    most: int

    @property
    def over(self) -> bool:
        """Whether nothing more need be asked for this verdict."""
        return self.rule != "goes on"


@dataclass(frozen=True)
class Finding:
    """One question's answer for one pair: a statement about behaviour with an error rate, never about intent.

    ``p_value`` is exact under the null of the question, ``p_floor`` the smallest it could have been, ``p_adjusted``
    after correction for all findings of the campaign, to be held against ``alpha``. ``p_best`` is the rank of kinship
    in one pool of all candidates of the suspect, corrected for their number. ``p_candidate`` is the rank on the
    candidate's own row, hub or not, which cannot be under 1 / (control lineages + 1). ``p_weights`` is that of raw next
    tokens, against other weights (identity). ``log10_lr`` is NaN where no calibration fits; ``p_least`` is the p-value
    if gaps in the answers hid the closest resemblance there was, NaN without such gaps. The ratio is bounded to
    [``log10_lr_least``, ``log10_lr_most``] and is of the effect in ``ratio_channel``; ``log10_lr_base`` is its half
    that is about a shared base alone, ``log10_lr_taught`` that of
    kin against taught, for pairs of two makers, and ``too_close`` names channels in which no taught pair was as close.
    ``obstacle`` is why nothing could be judged, if so. ``rates`` are how often this rule calls pairs of another
    relation close, by relation, as measured at this alpha under these conditions; empty where nobody measured them.
    ``outlook`` is the cheapest evidence that is known to find more pairs of one base than this campaign's, if any.
    ``stop`` is the stage at which a campaign that stops when the answer is known did so; then ``p_value`` is adjusted
    for all stages so far, and ``p_stage`` is the rank on the prompts asked, as if there had been no other stage.
    """

    question: Question
    suspect: str
    candidate: str
    control_lineages: tuple[str, ...]
    alpha: float
    judgement: Judgement = UNJUDGED
    obstacle: Caveat | None = None
    p_value: float = NAN
    p_best: float = NAN
    p_floor: float = NAN
    p_adjusted: float = NAN
    p_same: float = NAN
    p_same_adjusted: float = NAN
    share_excluded: float = NAN
    p_weights: float = NAN
    p_weights_adjusted: float = NAN
    p_candidate: float = NAN
    effect: float = NAN
    effect_low: float = NAN
    effect_high: float = NAN
    prompts: int = 0
    coverage: float = NAN
    log10_lr: float = NAN
    log10_lr_low: float = NAN
    log10_lr_high: float = NAN
    log10_lr_least: float = NAN
    log10_lr_most: float = NAN
    log10_lr_base: float = NAN
    ratio_channel: str = ""
    log10_lr_taught: float = NAN
    too_close: tuple[str, ...] = ()
    p_least: float = NAN
    caveats: tuple[Caveat, ...] = ()
    evidence: tuple[ChannelEvidence, ...] = ()
    rates: tuple[tuple[str, float], ...] = ()
    outlook: Outlook | None = None
    p_stage: float = NAN
    stop: Stop | None = None

    @property
    def at_floor(self) -> bool:
        """Whether p is as small as it could be: then it says what the test allows, and not how often it was seen."""
        return self.p_value <= self.p_floor * (1.0 + 1e-9)

    @property
    def bound(self) -> Bound:
        """The bound of the calibration at which the likelihood ratio lies, if so: it says that far, or further."""
        near = {"least": self.log10_lr - self.log10_lr_least, "most": self.log10_lr_most - self.log10_lr}
        return next((end for end in BOUNDS if abs(near[end]) <= 1e-9), "")

    @property
    def verdict(self) -> Verdict:
        """The verdict in one word."""
        return self.judgement.verdict

    @property
    def failed_check(self) -> Caveat | None:
        """The first self-check that failed."""
        return next((c for c in self.caveats if c.kind in FAILED), None)

    def told(self, kind: CaveatKind) -> Caveat | None:
        """The first caveat of one kind."""
        return next((c for c in self.caveats if c.kind == kind), None)

    @property
    def mismatch(self) -> Caveat | None:
        """The first condition that the pair shares and most controls lack."""
        return next((c for c in self.caveats if c.kind in MISMATCHES), None)

    @property
    def hiding(self) -> Caveat | None:
        """The first condition that sets the suspect apart and so may hide kin.

        A channel that sees weights is silent of the same weights with and without thinking, so that where its silence
        would count, that one of the two may think is enough.
        """
        may = "one may think" if self.weights_p() else None
        return next((c for c in self.caveats if c.kind in HIDING or c.kind == may), None)

    def weights_p(self) -> dict[str, float]:
        """p-values of the channels that see weights, by channel."""
        return {e.name: e.p for e in self.evidence if e.sees == "weights" and e.part in ("counted", "own pool")}


@dataclass(frozen=True)
class Match:
    """How one known model compares with a suspect: see `harness.inference.pairing.Pairing`. ``probability`` is among
    the known models by the text classifier, as if one of them it must be; ``recorded`` are the times of its first and
    last answer, "" where whoever recorded them kept none."""

    name: str
    lineage: str = ""
    maker: str = ""
    probability: float = NAN
    z: float = NAN
    score: float = NAN
    p: float = NAN
    p_conformal: float = NAN
    p_carried: float = NAN
    recorded: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Attribution:
    """What one suspect is: a known model or its close kin, something of a known model's maker, or none of these.

    ``named`` are the known models that passed, closest first, as ``tier`` says; ``best`` is the first of them, or
    `UNKNOWN`. ``p_unknown`` is the p-value of the best match against "none of these", by ``rule``: answers to the same
    prompts compared and ranked among ``lineages`` known ones ("conformal"), with the table that travels where these
    are too few to reach alpha alone ("carried"), or the text classifier, whose null are lineages left out of its
    training ("classifier"). ``probabilities`` are the classifier's, as if one of the known models it must be.
    """

    suspect: str
    best: str
    probabilities: dict[str, float]
    p_unknown: float
    p_floor: float
    answers: int
    caveat: Caveat | None = None
    tier: Tier = "none"
    named: tuple[str, ...] = ()
    rule: NullRule = "classifier"
    lineages: int = 0
    prompts: int = 0
    matches: tuple[Match, ...] = ()

    @property
    def ranked(self) -> list[Match]:
        """Known models, closest first; those whose answers could not be compared by their probability."""
        return sorted(self.matches, key=lambda m: (-m.score if m.score == m.score else inf, -m.probability))

    @property
    def closest(self) -> str:
        """The known model that it is most like, named or not; "" where nothing could be compared."""
        told = [m for m in self.ranked if m.score == m.score or m.probability == m.probability]
        return told[0].name if told else max(self.probabilities, key=lambda n: self.probabilities[n], default="")


@dataclass(frozen=True)
class Settings:
    """How findings are decided; see `harness.config.schema.Analysis`."""

    alpha: float
    min_coverage: float
    permutations: int
    bootstrap: int
    seed: int
    controls: ControlRule = "one a maker"


@dataclass(frozen=True)
class Wording:
    """What a question needs to be told in words: templates that `harness.report.words` fills in.

    ``asks`` is the question; ``headlines`` one plain sentence a verdict; ``grounds`` the sentence of each ground;
    ``often`` puts the p-value into words, ``error_rate`` how often the rule is wrong, ``effect`` what its effect
    is, ``zero`` what an effect of 0 means.
    """

    asks: str
    headlines: Mapping[Verdict, str]
    grounds: Mapping[Ground, str]
    often: str
    error_rate: str
    effect: str
    zero: str


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction of p-values for multiple tests (Holm 1979).

    Parameters
    ----------
    p_values : list of n floats
        NaN, where there is no p-value, stays NaN and does not count as a test.

    Returns
    -------
    list of n floats
        Adjusted p-values in the same order, at most 1.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, float("nan")])
    [0.03, 0.06, 0.06, nan]
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p == p)
    out = [NAN] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p))
        out[i] = running
    return out
