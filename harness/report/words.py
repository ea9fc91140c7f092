"""The only maker of sentences: findings, caveats, channels and attributions in plain English.

All that decides has been decided before; what a question is told in stands in its own file (`Wording`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log10

from harness.inference.drift import Change, ChangeGround, Drift, News
from harness.inference.excess import controls_needed
from harness.inference.findings import Attribution, ChannelEvidence, Finding
from harness.inference.questions import QUESTIONS
from harness.report.caveats import abstention, caveat, fallen, plainly

TONES: Mapping[str, tuple[str, str]] = {  # verdict -> (tone, mark)
    "KIN-LIKE": ("close", "●"),
    "KIN-OR-TAUGHT": ("near", "◐"),
    "TAUGHT-LIKE": ("near", "◐"),
    "SAME-LIKE": ("close", "●"),
    "SAME-WEIGHTS-LIKE": ("close", "●"),
    "UNRELATED-LIKE": ("far", "○"),
    "DIFFERENT-LIKE": ("far", "○"),
    "INCONCLUSIVE": ("open", "–"),
}
_ENFSI = (  # lower end of log10 LR in favour of H1, verbal scale of the ENFSI guideline (2015)
    (6.0, "extremely strong support"),
    (4.0, "very strong support"),
    (3.0, "strong support"),
    (2.0, "moderately strong support"),
    (1.0, "moderate support"),
    (log10(2.0), "weak support"),
)
_INNOCENT: Mapping[str, tuple[str, ...]] = {
    "close": (
        "Shared public data: both were trained on the same texts or instruction sets.",
        "A shared teacher: both learned from outputs of a third model.",
        "A shared ancestor: both were built, with leave, on the same open weights.",
        "The same vendor: a house style and a common post-training recipe.",
        "A common tokenizer or chat template, which shapes answers without shared weights.",
        "One rewriter in front of both, which puts its own words into each: of strangers behind one, 8 of 40 were "
        "still called close on recorded answers.",
        "Controls that are too unlike the pair in time, size or training, so that any two similar models stand out.",
    ),
    "same": (
        "An open licence or a resale agreement: serving another's model is often allowed.",
        "A router or relay in front of both endpoints.",
        "Too few or too easy prompts: see the controls that the test could tell apart.",
    ),
    "same weights": (
        "An open licence or a resale agreement: a persona in front of another's model is often allowed.",
        "A router or relay in front of both endpoints.",
        "A shared ancestor: both serve the same open weights, or hardly changed ones.",
        "A base model and a light tuning of it: what little was changed may be all the work there was.",
        "Raw prompts that the host answers with another model than chat.",
    ),
    "different": (
        "Another system prompt, quantisation, sampler, or serving software in front of the same weights.",
        "A new version between the two collections.",
    ),
    "far": (
        "Heavy retraining, a new tokenizer or a strong system prompt can hide a true relation.",
        "A rewriter in front of the suspect hid 7 of 23 kin on recorded answers, another model behind half of its "
        "answers 12 of 23.",
        "Few prompts, or channels that do not see this kind of relation.",
    ),
    "open": (
        "Nothing has been shown, for or against. More control lineages and more prompts would help.",
    ),
}  # fmt: skip
GLOSSARY: Mapping[str, str] = {
    "Suspect, candidate": "The model in question, and the one that it may descend from.",
    "Control": "A model known to be unrelated to the candidate. Models of one lineage count once.",
    "Lineage": "Models that share weights: a base model and all that was made of it.",
    "Hub": "A model that is close to almost everybody. Being close to a hub means less.",
    "Positive control": "Half of the candidate's answers, posed as a suspect: the test must find it close to the other "
    "half.",
    "Negative control": "A control, posed as the suspect: the test must not find it close to the candidate.",
    "Channel": "One kind of evidence, such as wording, token probabilities or shared mistakes. “Reported” channels are "
    "shown and carry no weight.",
    "Effect (excess)": "How much closer a pair is than the two models' general closeness to everybody would suggest. "
    "0 is what unrelated models have on average. A verdict's effect is in units of the spread over all pairs, that of "
    "a channel in units of its own noise from prompt to prompt: the two cannot be compared.",
    "p": "How often a pair of unrelated models would be at least this close, if the controls are a fair sample. "
    "It does not shrink when more prompts are asked.",
    "p adjusted": "The same after Holm's correction for all verdicts of this campaign.",
    "Likelihood ratio (LR)": "How many times more likely this closeness of wording is between close kin than between "
    "models that share no weights. log10 LR 1 is ten times, 2 a hundred times.",
    "Bounds (ELUB)": "A likelihood ratio never goes beyond what the number of known pairs behind it can support.",
    "Interval": "95 %, by drawing the prompts again and again.",
    "Coverage": "Share of the prompts put to a model that it answered usably. Refusals are gaps, not zeros.",
    "Tippett plot": "For each likelihood ratio, the share of known kin and of known unrelated pairs that reach it.",
    "Cllr": "Cost of a set of likelihood ratios in bits: 0 is perfect, 1 is what saying nothing would cost.",
    "Contribution": "One prompt's part in a channel's effect.",
}


_CHANGES: Mapping[ChangeGround, str] = {
    "told apart": "{channels} tells the new answers from the baseline",
    "not told apart": "the new answers cannot be told from the baseline",
    "too few samples": "so few samples cannot give a p below {bound:.2g}; ask more samples or prompts",
    "no two samples": "no prompt has two answers on both sides at a temperature above 0",
    "no channel may decide": "no channel may decide",
    "too few answered again": "only {bound:.0%} of the baseline's calls were answered again",
}


def limits(f: Finding) -> list[str]:
    """All that limits a finding, in words."""
    return [caveat(c) for c in f.caveats]


def channel_note(e: ChannelEvidence) -> str:
    """What part a channel has in the verdict, or why it has none."""
    if e.part == "own pool":
        return f"own pool of {e.controls} control lineages, not combined"
    if e.part == "reported":
        return "reported, not part of the verdict"
    if e.caveat is not None:
        return abstention(e.caveat)
    return f"weight {e.weight:.2f}" if e.weight == e.weight else ""


def sentence(f: Finding) -> str:
    """The verdict in a sentence or two, with what it rests on."""
    if f.obstacle is not None:
        return f"Cannot tell: {caveat(f.obstacle)}."
    also = f"; on {', '.join(f.judgement.silent)} they cannot be told apart" if f.judgement.silent else ""
    return (
        QUESTIONS[f.question]
        .wording.grounds[f.judgement.ground]
        .format(
            s=f.suspect,
            c=f.candidate,
            k=len(f.control_lineages),
            p=f.p_value,
            adjusted=f.p_adjusted,
            floor=f.p_floor,
            alpha=f.alpha,
            needed=controls_needed(f.alpha),
            needed_01=controls_needed(0.01),
            rank="no pair is closer than" if f.p_value <= f.p_floor + 1e-9 else "other pairs are closer than",
            check=plainly(f.failed_check) if f.failed_check else "",
            condition=caveat(condition) if (condition := f.mismatch or f.hiding) else "",
            decisive=", ".join(f.judgement.decisive),
            weights=", ".join(e.name for e in f.evidence if e.sees == "weights"),
            silent=", ".join(f.judgement.silent),
            near=f.p_weights,
            distance=_distance(f),
            also=also,
            fallen=fallen(fell) if (fell := f.told("does not stand")) else "",
            same=f.p_same,
            excluded=_excluded(f),
            ratio=_ratio(f),
        )
    )


def _excluded(f: Finding) -> str:
    """The share of calls that another model may have answered at most, where any is excluded."""
    return f"; more than {f.share_excluded:.0%} of them is excluded" if f.share_excluded < 1.0 else ""


def _distance(f: Finding) -> str:
    """How far raw next tokens of the pair are apart, and those of the nearest control."""
    found = next((e for e in f.evidence if (e.channel, e.surface) == ("logprobs", "completion")), None)
    if found is None:
        return ""
    return f"; {found.unit} {round(found.raw, 4):g}, nearest control {found.control_low:.3g}"


def verbal(log10_lr: float) -> str:
    """A likelihood ratio on the verbal scale of the ENFSI guideline, for kinship or against it."""
    side = "for kinship" if log10_lr > 0 else "against kinship"
    return next((f"{words} {side}" for low, words in _ENFSI if abs(log10_lr) >= low), "no support either way")


def lr_words(f: Finding) -> str:
    """The verbal scale for a finding; empty without a likelihood ratio."""
    return verbal(f.log10_lr) if f.log10_lr == f.log10_lr else ""


def _ratio(f: Finding) -> str:
    if f.log10_lr != f.log10_lr:
        return ""
    return f"; the likelihood ratio of the wording, 10^{f.log10_lr:.1f}, is {lr_words(f)}"


def asked(f: Finding) -> str:
    """The question in words."""
    return QUESTIONS[f.question].wording.asks.format(s=f.suspect, c=f.candidate)


def headline(f: Finding) -> str:
    """The verdict in one plain sentence, without a number."""
    return QUESTIONS[f.question].wording.headlines[f.verdict].format(s=f.suspect, c=f.candidate)


def innocent(f: Finding) -> tuple[str, ...]:
    """What would explain the verdict without anybody having taken anything."""
    kinds = {"SAME-LIKE": "same", "SAME-WEIGHTS-LIKE": "same weights", "DIFFERENT-LIKE": "different"}
    kind = kinds.get(f.verdict) or TONES[f.verdict][0]
    return _INNOCENT["close" if kind == "near" else kind]


def sure(f: Finding) -> str:
    """The p-value as a frequency, and the likelihood ratio as how many times."""
    if f.p_value != f.p_value:
        return "No p-value could be computed, so no claim is made."
    often = f"about 1 in {1 / f.p_value:.0f}" if 0 < f.p_value < 0.1 else f"about {100 * f.p_value:.0f} in 100"
    then = QUESTIONS[f.question].wording.often.format(often=often)
    text = f"{then} (p = {f.p_value:.2g}; {f.p_adjusted:.2g} after correction for all verdicts here)."
    return f"{text} {_times(f)}".strip()


def _times(f: Finding) -> str:
    """The likelihood ratio without a logarithm."""
    if f.log10_lr != f.log10_lr:
        return ""
    times = 10.0 ** abs(f.log10_lr)
    shown = f"{float(f'{times:.2g}'):,.0f}" if times >= 10 else f"{times:.2g}"
    kin, other = "close kin", "models that share no weights"
    more, less = (kin, other) if f.log10_lr > 0 else (other, kin)
    bound = min(abs(f.log10_lr - f.log10_lr_least), abs(f.log10_lr - f.log10_lr_most)) < 1e-9
    return (
        f"Wording like theirs is about {shown} times as likely between {more} as between {less}: {lr_words(f)}"
        f"{'; the calibration supports no stronger ratio' if bound else ''}. It weighs kin against strangers only: "
        "a pupil, or one trained on the same data, can write as kin do."
    )


def error_rate(f: Finding) -> str:
    """How often the same would be said of models for which it is not true."""
    smallest = f" The smallest p these controls can give is {f.p_floor:.2g}." if f.p_floor > f.alpha else ""
    return QUESTIONS[f.question].wording.error_rate.format(few=f"{100 * f.alpha:g} in 100", smallest=smallest)


def effect(f: Finding) -> str:
    """What the effect of a finding is."""
    return QUESTIONS[f.question].wording.effect


def zero(f: Finding) -> str:
    """What an effect of 0 means."""
    return QUESTIONS[f.question].wording.zero


def place(rank: int, pairs: int, models: int) -> str:
    """Where the accused pair lies among all pairs of its pool, 1 the closest."""
    where = "no other is closer" if rank == 1 else f"this one is number {rank}, counted from the closest"
    return f"Of all {pairs} pairs of these {models} models, {where}."


def attributed(a: Attribution) -> str:
    """An attribution in one plain sentence."""
    likeliest = max(a.probabilities, key=lambda name: a.probabilities[name], default="")
    if a.best in a.probabilities:
        return (
            f"Of the known models, {a.suspect} is most like {a.best}, and an unknown model would seldom look so sure."
        )
    if not likeliest:
        return f"{a.suspect} could not be compared with the known models."
    return (
        f"{a.suspect} cannot be attributed to any known model: an unknown one could look just as likely. The likeliest "
        f"known model is {likeliest}."
    )


def attribution_note(a: Attribution) -> str:
    """Why there is no attribution, or what it would take."""
    return caveat(a.caveat) if a.caveat is not None else ""


def change_sentence(c: Change) -> str:
    """What `monitor` found of one endpoint."""
    return _CHANGES[c.ground].format(channels=", ".join(c.decisive), bound=c.bound)


def change_notes(c: Change) -> list[str]:
    """Channels that do not decide, and what the server says of itself that it did not say before."""
    channels = [f"{d.channel} {note}" for d in c.channels if (note := drift_note(d))]
    return [*channels, *map(_news, c.news)]


def drift_note(d: Drift) -> str:
    """Why a channel does not decide; empty if it does."""
    if d.part == "reported":
        return "is reported only: logprobs move with a server's load"
    return f"abstains: the baseline's own halves differ (p = {d.noise_p:.2g})" if d.part == "abstains" else ""


def _news(n: News) -> str:
    was = f" (was {', '.join(n.before)[:200]})" if n.before else ""
    return f"{n.field} is new: {', '.join(n.now)[:200]}{was}"
