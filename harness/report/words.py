"""The report's sentences: what was asked, what a verdict means, what would explain it innocently, and the glossary."""

from __future__ import annotations

from collections.abc import Mapping

from harness.inference.findings import Finding

ASKED: Mapping[str, str] = {
    "kinship": "Is {s} closer to {c} than unrelated models are to one another, as a rework of its weights would be?",
    "teaching": "Does {s} share more habits with {c} than unrelated models do, as one trained on its outputs would?",
    "identity": "Do {s} and {c}, as they are served, answer from one and the same distribution?",
}
MEANS: Mapping[str, tuple[str, str, str]] = {  # verdict -> (tone, mark, meaning)
    "KIN-LIKE": ("close", "●", "Closer than unrelated models, and a channel that sees shared weights agrees"),
    "KIN-OR-TAUGHT": ("near", "◐", "Closer than unrelated models; the text alone cannot tell derived from taught"),
    "TAUGHT-LIKE": ("near", "◐", "Shares habits of wording, and no channel that sees weights sees kinship"),
    "SAME-LIKE": ("close", "●", "Cannot be told apart, by a test that tells every control apart"),
    "UNRELATED-LIKE": ("far", "○", "No closer than unrelated models are"),
    "DIFFERENT-LIKE": ("far", "○", "Do not answer from one distribution, as served"),
    "INCONCLUSIVE": ("open", "–", "Cannot tell; the sentence says why"),
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
    "Channel": "One kind of evidence, such as wording, token probabilities or shared mistakes. “Reported” channels are "
    "shown and carry no weight.",
    "Effect (excess)": "How much closer a pair is than the two models' general closeness to everybody would suggest, "
    "in units of its spread. 0 is what unrelated models have.",
    "p": "How often a pair of unrelated models would be at least this close, if the controls are a fair sample. "
    "It does not shrink when more prompts are asked.",
    "p adjusted": "The same after Holm's correction for all verdicts of this campaign.",
    "Likelihood ratio (LR)": "How many times more likely this closeness of wording is between close kin than between "
    "models that share no weights. log10 LR 1 is ten times, 2 a hundred times.",
    "Bounds (ELUB)": "A likelihood ratio never goes beyond what the number of known pairs behind it can support.",
    "Interval": "95 %, by drawing the prompts again and again.",
    "Coverage": "Share of the prompts put to a model that it answered usably. Refusals are gaps, not zeros.",
    "Tippett plot": "For each likelihood ratio, the share of known kin and of known unrelated pairs that reach it.",
    "Contribution": "One prompt's part in a channel's effect.",
}


def asked(f: Finding) -> str:
    """The question in words."""
    return ASKED.get(f.question, "{s} and {c}").format(s=f.suspect, c=f.candidate)


def innocent(f: Finding) -> tuple[str, ...]:
    """What would explain the verdict without anybody having taken anything."""
    kind = {"SAME-LIKE": "same", "DIFFERENT-LIKE": "different"}.get(f.verdict) or MEANS[f.verdict][0]
    return _INNOCENT["close" if kind == "near" else kind]


def error_rate(f: Finding, alpha: float) -> str:
    """How often the same would be said of models for which it is not true."""
    few = f"{100 * alpha:g} in 100"
    if f.p_value != f.p_value:
        return "No p-value could be computed, so no claim is made."
    smallest = f" The smallest p these controls can give is {f.p_floor:.2g}." if f.p_floor > alpha else ""
    if f.question == "identity":
        return (
            f"Of pairs of endpoints that do serve one model, at most {few} would be called different by this rule; "
            f"here p = {f.p_value:.2g} ({f.p_adjusted:.2g} adjusted). That two different models look the same is "
            f"guarded against by the controls, not by this number.{smallest}"
        )
    return (
        f"Of pairs of unrelated models at most {few} would be called close by this rule, if the controls are a fair "
        f"sample; here p = {f.p_value:.2g} ({f.p_adjusted:.2g} adjusted for all verdicts).{smallest}"
    )
