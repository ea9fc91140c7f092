"""The report's sentences: what was asked, what a verdict means, what would explain it innocently, and the glossary."""

from __future__ import annotations

from collections.abc import Mapping

from harness.inference.findings import Finding

ASKED: Mapping[str, str] = {
    "kinship": "Is {s} closer to {c} than unrelated models are to one another, as a rework of its weights would be?",
    "teaching": "Does {s} share more habits with {c} than unrelated models do, as one trained on its outputs would?",
    "identity": "Do {s} and {c}, as they are served, answer from one and the same distribution?",
}
TONES: Mapping[str, tuple[str, str]] = {  # verdict -> (tone, mark)
    "KIN-LIKE": ("close", "●"),
    "KIN-OR-TAUGHT": ("near", "◐"),
    "TAUGHT-LIKE": ("near", "◐"),
    "SAME-LIKE": ("close", "●"),
    "UNRELATED-LIKE": ("far", "○"),
    "DIFFERENT-LIKE": ("far", "○"),
    "INCONCLUSIVE": ("open", "–"),
}
_HEADLINES: Mapping[str, str] = {  # verdict, or question and verdict where the question matters
    "KIN-LIKE": "{s} is closer to {c} than unrelated models are, and evidence that sees shared weights agrees.",
    "KIN-OR-TAUGHT": "{s} is closer to {c} than unrelated models are. Text alone cannot tell shared weights from "
    "shared teaching.",
    "teaching KIN-OR-TAUGHT": "{s} shares more habits of wording with {c} than unrelated models do. Text alone cannot "
    "tell shared weights from shared teaching.",
    "TAUGHT-LIKE": "{s} shares more habits of wording with {c} than unrelated models do, and no evidence that sees "
    "shared weights speaks for kinship.",
    "SAME-LIKE": "{s} and {c} cannot be told apart, by a test that tells every control apart.",
    "UNRELATED-LIKE": "{s} is no closer to {c} than unrelated models are.",
    "DIFFERENT-LIKE": "{s} and {c} do not answer alike, as they are served.",
    "kinship INCONCLUSIVE": "Whether {s} was made from {c} cannot be told from these answers.",
    "teaching INCONCLUSIVE": "Whether {s} learned from answers of {c} cannot be told from these answers.",
    "identity INCONCLUSIVE": "Whether {s} and {c} are one model cannot be told from these answers.",
}
_INNOCENT: Mapping[str, tuple[str, ...]] = {
    "close": (
        "Shared public data: both were trained on the same texts or instruction sets.",
        "A shared teacher: both learned from outputs of a third model.",
        "A shared ancestor: both were built, with leave, on the same open weights.",
        "The same vendor: a house style and a common post-training recipe.",
        "A common tokenizer or chat template, which shapes answers without shared weights.",
        "Controls that are too unlike the pair in time, size or training, so that any two similar models stand out.",
    ),
    "same": (
        "An open licence or a resale agreement: serving another's model is often allowed.",
        "A router or relay in front of both endpoints.",
        "Too few or too easy prompts: see the controls that the test could tell apart.",
    ),
    "different": (
        "Another system prompt, quantisation, sampler, or serving software in front of the same weights.",
        "A new version between the two collections.",
    ),
    "far": (
        "Heavy retraining, a new tokenizer or a strong system prompt can hide a true relation.",
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


def asked(f: Finding) -> str:
    """The question in words."""
    return ASKED.get(f.question, "{s} and {c}").format(s=f.suspect, c=f.candidate)


def headline(f: Finding) -> str:
    """The verdict in one plain sentence, without a number."""
    text = _HEADLINES.get(f"{f.question} {f.verdict}") or _HEADLINES.get(f.verdict) or "{s} and {c}: cannot be told."
    return text.format(s=f.suspect, c=f.candidate)


def innocent(f: Finding) -> tuple[str, ...]:
    """What would explain the verdict without anybody having taken anything."""
    kind = {"SAME-LIKE": "same", "DIFFERENT-LIKE": "different"}.get(f.verdict) or TONES[f.verdict][0]
    return _INNOCENT["close" if kind == "near" else kind]


def sure(f: Finding) -> str:
    """The p-value as a frequency, and the likelihood ratio as how many times."""
    if f.p_value != f.p_value:
        return "No p-value could be computed, so no claim is made."
    often = f"about 1 in {1 / f.p_value:.0f}" if 0 < f.p_value < 0.1 else f"about {100 * f.p_value:.0f} in 100"
    then = {
        "identity": "If both were one model, {n} comparisons like this would show at least such a difference",
        "teaching": "Of pairs of unrelated models, {n} would share at least as many habits",
    }.get(f.question, "Of pairs of unrelated models, {n} would be at least this close")
    text = f"{then.format(n=often)} (p = {f.p_value:.2g}; {f.p_adjusted:.2g} after correction for all verdicts here)."
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
        f"Wording like theirs is about {shown} times as likely between {more} as between {less}: {f.lr_words}"
        f"{'; the calibration supports no stronger ratio' if bound else ''}. It weighs kin against strangers only: "
        "a pupil, or one trained on the same data, can write as kin do."
    )


def error_rate(f: Finding, alpha: float) -> str:
    """How often the same would be said of models for which it is not true."""
    few = f"{100 * alpha:g} in 100"
    smallest = f" The smallest p these controls can give is {f.p_floor:.2g}." if f.p_floor > alpha else ""
    if f.question == "identity":
        return (
            f"Of pairs of endpoints that do serve one model, at most {few} would be called different by this rule. "
            f"That two different models look the same is guarded against by the controls, not by this number.{smallest}"
        )
    return (
        f"At most {few} pairs of unrelated models would be called close by this rule, if the controls are a fair "
        f"sample. Models of one vendor, one teacher or the same training data are called close more often: "
        f"16 to 29 in 100 on recorded answers.{smallest}"
    )
