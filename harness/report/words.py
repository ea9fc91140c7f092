"""The only maker of sentences: findings, caveats, channels and attributions in plain English.

All that decides has been decided before; what a question is told in stands in its own file (`Wording`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10

from harness.inference.breakdown import Measure
from harness.inference.conclusion import Clause, Conclusion, Conflict, Remedy, RemedyKind
from harness.inference.excess import controls_needed, reaches
from harness.inference.findings import ChannelEvidence, Finding
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
        "One rewriter in front of both, which puts its own words into each: of strangers behind one, 6 of 40 were "
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
        "A rewriter in front of the suspect hid 6 of 25 kin on recorded answers, another model behind half of its "
        "answers 10 of 25.",
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
    "0 is what unrelated models have on average. It is in units of the spread over all pairs, for a verdict and for "
    "each of its channels alike.",
    "Expected, residual": "How alike two models would be by their closeness to everybody, and to one another on unlike "
    "prompts; and how much closer they are, in the channel's own unit. A hub is much like everybody, so that a high "
    "similarity may be no more than expected, and a low one far more.",
    "p": "How often a pair of unrelated models would be at least this close, if the controls are a fair sample. "
    "It does not shrink when more prompts are asked. It cannot be smaller than the number of controls allows: where no "
    "pair is closer, it says how few they are, and not how often such closeness was seen.",
    "p adjusted": "The same after Holm's correction for all verdicts of this campaign.",
    "Likelihood ratio (LR)": "How many times more likely this closeness is between models that share weights (half of "
    "the weight on close kin, half on one pretrained base) than between unrelated ones of two makers. log10 LR 1 is "
    "ten times, 2 a hundred times.",
    "Bounds (ELUB)": "A likelihood ratio never goes beyond what the number of known pairs behind it can support.",
    "Interval": "95 %, by drawing the prompts again and again. Identity has none: its p comes from the samples.",
    "Coverage": "Share of the prompts put to a model that it answered usably. Refusals are gaps, not zeros.",
    "Tippett plot": "For each likelihood ratio, the share of known kin and of known unrelated pairs that reach it.",
    "Cllr": "Cost of a set of likelihood ratios in bits: 0 is perfect, 1 is what saying nothing would cost.",
    "Contribution": "One prompt's part in a channel's effect.",
}

_CLAUSES: Mapping[Clause, str] = {
    "served alike": "served alike, nearer than a mixture of different models would be",
    "served apart": "not served identically",
    "raw text not told apart": "on raw text, which a system prompt does not reach, not told apart so far",
    "one model on raw text": "the same weights, or hardly changed ones: on raw text, which a system prompt does not "
    "reach, shown to answer as one model does",
    "near on raw text": "near on raw text, as the same weights in another precision or lightly tuned would be",
    "apart on raw text": "told apart on raw text, too, which a system prompt does not reach: other weights, or changed "
    "ones",
    "only chat compared": "only chat was compared, where another system prompt alone makes such a difference",
    "not told apart": "not told apart, and not shown to be one model",
    "kin": "closer than unrelated models are, by more than teaching or shared data would explain",
    "kin or taught": "closer than unrelated models are, as kin or as taught: text alone cannot tell which",
    "no closer": "no closer than unrelated models are",
    "shared habits": "sharing habits of wording, as kin do and pupils do",
    "taught": "sharing habits of wording as pupil and teacher do, with no sign of shared weights",
    "no sign of teaching": "no sign of teaching",
}
_CONFLICTS: Mapping[Conflict, str] = {
    "one model, yet no closer": "one model by identity, and no closer than strangers by kinship",
    "raw text not told apart, yet no closer": "not told apart on raw text, and no closer than strangers by kinship",
    "shared habits, yet no closer": "more habits shared than strangers do, and no closer than strangers by kinship",
    "one model, yet taught": "one model by identity, and no shared weights by teaching",
    "weights speak, yet are silent": "shared weights by one question, and none by the other",
}
_REMEDIES: Mapping[RemedyKind, str] = {
    "more controls": "{n} more control {lineages}",
    "ask it": "asking it",
    "unrelated controls": "controls that are known to be unrelated to {c}",
    "controls alike": "controls under the condition that these two share",
    "one condition": "both asked under one condition",
    "missing answers": "usable answers where there are none now",
    "more samples": "more samples of each prompt",
    "more prompts": "more prompts",
    "evidence of weights": "a channel that sees weights, such as logprobs or ratings",
    "raw completions": "raw completions with logprobs, which no system prompt reaches, if both give them",
    "fewer looks": "new samples in a campaign of this one look",
    "steady candidate": "a candidate that answers itself alike",
}
_OPEN: Mapping[str, str] = {
    "identity": "whether they are one model",
    "kinship": "whether one is made from the other",
    "teaching": "whether one learnt from the other",
}
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_CLOSE: frozenset[Clause] = frozenset({"kin", "served alike", "one model on raw text"})
_NEAR: frozenset[Clause] = frozenset({"kin or taught", "taught", "shared habits", "raw text not told apart"})
_RELATIONS: Mapping[str, str] = {  # relation of a pair -> how pairs of it are called; another one by its own name
    "same maker": "of one maker",
    "same vendor": "of one vendor",
    "taught": "taught by one another, by one teacher or on the same data",
    "same data": "trained on the same data",
    "same base": "of one pretrained base",
    "common teacher": "of one teacher",
    "teacher": "of teacher and pupil",
    "thinking": "that both think",
}
_SETTLES = "logprobs and raw completions see weights, too"
_AT_FLOOR: Mapping[str, str] = {  # question -> what a p as small as it could be says; else that of the controls
    "identity": "Of all the ways that were tried to deal these answers out between two, none shows such a difference, "
    "and so few cannot show a rarer thing than 1 in {rarest}",
}
_CONTROLS_ALLOW = (
    "None of the {pairs} pairs of these {models} models is closer, and {k} control {lineages} cannot show a rarer "
    "thing than 1 in {rarest}"
)
_DRAWN: Mapping[Measure, str] = {
    "excess": "Further right is closer than the two models' general closeness to all would suggest.",
    "raw": "Further right is more alike, by raw similarity: among fewer than six models, excess draws strangers close "
    "for want of others. p goes by excess all the same.",
}
_MEASURED: Mapping[Measure, str] = {
    "excess": "excess, in units of its spread over all pairs (0: as close as expected)",
    "raw": "similarity, in units of its spread over all pairs (0: the average pair)",
}
_MAPPED: Mapping[Measure, str] = {
    "excess": "Closer than expected is orange, further apart is blue, in the mean over channels of scaled excess.",
    "raw": "More alike than these models are on average is orange, less alike is blue, in the mean over channels of "
    "raw similarity, each channel in units of its spread over the pairs. Among fewer than six models, excess would "
    "draw strangers close for want of others.",
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
            rank="no pair is closer than" if f.at_floor else "other pairs are closer than",
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
            cleared=_cleared(f),
            blind=_blind(f),
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
    """A likelihood ratio on the verbal scale of the ENFSI guideline, for shared weights or against them."""
    side = "for shared weights" if log10_lr > 0 else "against shared weights"
    return next((f"{words} {side}" for low, words in _ENFSI if abs(log10_lr) >= low), "no support either way")


def lr_words(f: Finding) -> str:
    """The verbal scale for a finding; empty without a likelihood ratio."""
    return verbal(f.log10_lr) if f.log10_lr == f.log10_lr else ""


def _ratio(f: Finding) -> str:
    if f.log10_lr != f.log10_lr:
        return ""
    bound = f", which is as {'low' if f.bound == 'least' else 'high'} as its calibration goes" if f.bound else ""
    text = f"; the likelihood ratio of the {f.ratio_channel}, 10^{f.log10_lr:.1f}{bound}, is {lr_words(f)}"
    if f.log10_lr_taught != f.log10_lr_taught or f.judgement.verdict not in ("KIN-LIKE", "KIN-OR-TAUGHT"):
        return text
    return f"{text}, that of kin against taught ones 10^{f.log10_lr_taught:.1f}"


def _finds(f: Finding) -> tuple[str, float]:
    """The counted channel that finds most pairs of one pretrained base, and how many; NaN where none was measured."""
    known = [(e.finds_base, e.name) for e in f.evidence if e.part == "counted" and e.finds_base == e.finds_base]
    share, name = max(known, default=(float("nan"), ""))
    return name, share


def _cleared(f: Finding) -> str:
    """How often those that clear would have found a shared base."""
    able = [e for e in f.evidence if e.name in f.judgement.decisive and e.finds_base == e.finds_base]
    told = [f"{e.name} would have found {100 * e.finds_base:.0f} in 100" for e in able]
    return f"; of pairs of one base {', '.join(told)}" if told else ""


def _blind(f: Finding) -> str:
    """Why a pair that is not close is not cleared, and what would settle it."""
    name, share = _finds(f)
    if share == share:
        return (
            f"{name} finds only {100 * share:.0f} in 100 pairs of one pretrained base under these conditions, so this "
            f"rules out close kin at most{_would(f)}; {_SETTLES}"
        )
    return f"how often a shared base would have been found here was never measured{_would(f)}; {_SETTLES}"


def _would(f: Finding) -> str:
    """What would find more pairs of one base, and what it costs."""
    if f.outlook is None:
        return ""
    o = f.outlook
    return f"; {o.channel} of {o.prompts} prompts would find {100 * o.finds:.0f} in 100 (about {o.calls:,} calls)"


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
    """The p-value as a frequency, if one was seen, and the likelihood ratio as how many times."""
    if f.p_value != f.p_value:
        return "No p-value could be computed, so no claim is made."
    then = _at_floor(f) if f.at_floor else _often(f)
    text = f"{then} (p = {f.p_value:.2g}; {f.p_adjusted:.2g} after correction for all verdicts here)."
    return f"{text} {_times(f)}".strip()


def _often(f: Finding) -> str:
    often = f"about 1 in {1 / f.p_value:.0f}" if 0 < f.p_value < 0.1 else f"about {100 * f.p_value:.0f} in 100"
    return QUESTIONS[f.question].wording.often.format(often=often)


def _at_floor(f: Finding) -> str:
    """What a p that could not be smaller says: how many were compared, and no frequency, for none was seen."""
    k = len(f.control_lineages)
    return _AT_FLOOR.get(f.question, _CONTROLS_ALLOW).format(
        models=k + 2,
        pairs=(k + 2) * (k + 1) // 2,
        k=k,
        lineages="lineage" if k == 1 else "lineages",
        rarest=f"{1 / f.p_floor:.0f}",
    )


def _times(f: Finding) -> str:
    """The likelihood ratio without a logarithm."""
    if f.log10_lr != f.log10_lr:
        return ""
    times = 10.0 ** abs(f.log10_lr)
    shown = f"{float(f'{times:.2g}'):,.0f}" if times >= 10 else f"{times:.2g}"
    kin, other = "models that share weights", "unrelated ones of two makers"
    more, less = (kin, other) if f.log10_lr > 0 else (other, kin)
    return (
        f"What {f.ratio_channel} shows is about {shown} times as likely between {more} as between {less}: {lr_words(f)}"
        f"{'; the calibration supports no stronger ratio' if f.bound else ''}. It weighs shared weights against "
        "strangers only: a pupil, or one trained on the same data, can write as kin do."
    )


def error_rate(f: Finding) -> str:
    """How often the same would be said of models for which it is not true."""
    smallest = f" The smallest p these controls can give is {f.p_floor:.2g}." if not reaches(f.p_floor, f.alpha) else ""
    return QUESTIONS[f.question].wording.error_rate.format(
        few=f"{100 * f.alpha:g} in 100", smallest=smallest, others=_others(f)
    )


def _others(f: Finding) -> str:
    """How often pairs of other relations are called close at this alpha; nothing where that was not measured."""
    told = [
        f"{round(100 * rate, 1):g} of those {_RELATIONS.get(relation, f'called {relation}')}"
        for relation, rate in f.rates
    ]
    return f": at {f.alpha:g} under these conditions, in 100, {', '.join(told)}" if told else ""


def effect(f: Finding) -> str:
    """What the effect of a finding is."""
    return QUESTIONS[f.question].wording.effect


def zero(f: Finding) -> str:
    """What an effect of 0 means."""
    return QUESTIONS[f.question].wording.zero


def axis(f: Finding) -> str:
    """Title of an axis of effects, with what 0 on it means."""
    return f"effect, on the scale of the verdict ({zero(f)})"


def measured(measure: Measure) -> str:
    """Title of an axis or a colour bar of pairs of models, with its unit."""
    return _MEASURED[measure]


def place(rank: int, pairs: int, tied: Sequence[tuple[str, str]], models: int) -> str:
    """Where the accused pair lies among all pairs of its pool by excess, 1 the closest, and who shares the place."""
    where = "no other is closer" if rank == 1 else f"this one is number {rank}, counted from the closest"
    level = _tied(tied, models)
    return f"Of all {pairs} pairs of these {models} models, {where}{f'; level with it: {level}' if level else ''}."


def _tied(tied: Sequence[tuple[str, str]], models: int) -> str:
    if not tied:
        return ""
    named = ", ".join(f"{a} with {b}" for a, b in tied[:3]) + (f" and {len(tied) - 3} more" if len(tied) > 3 else "")
    always = ", as opposite pairs of four models always do" if models == 4 else ""
    return f"{named}{always}"


def drawn(measure: Measure, tied: Sequence[tuple[str, str]], models: int) -> str:
    """What a dot plot shows, and what it would hide: by excess, which p ranks, other pairs may lie level."""
    level = _tied(tied, models)
    return f"{_DRAWN[measure]} Level with the pair by excess: {level}." if level else _DRAWN[measure]


def mapped(measure: Measure) -> str:
    """What the colours of the heat map of all models mean."""
    return _MAPPED[measure]


def concluded(c: Conclusion) -> str:
    """What the questions of a pair say together, in a sentence, and what would settle the rest."""
    return f"{joined(c)} {settles(c)}".strip()


def joined(c: Conclusion) -> str:
    """What the questions of a pair say together; contradictions among them are named."""
    said = [_CLAUSES[clause] for clause in c.clauses]
    told = {*c.follows, *(("identity",) if "not told apart" in c.clauses else ())}
    if still := [_OPEN.get(q, q) for q in c.open if q not in told]:
        said.append(f"{' and '.join(still)} {'is open' if said else 'cannot be told from these answers'}")
    said += [f"so they are kin, though the own test of {q} is open" for q in c.follows]
    said += [f"{_OPEN.get(q, q)} was not asked" for q in c.unasked]
    against = "; ".join(_CONFLICTS[conflict] for conflict in c.conflicts)
    text = f"{c.suspect} and {c.candidate}: {'; '.join(said)}."
    return (
        f"{text} These verdicts contradict each other ({against}): at least one of them is wrong." if against else text
    )


def clause(kind: Clause) -> str:
    """What one question says of a pair, in words."""
    return _CLAUSES[kind]


def conflict(kind: Conflict) -> str:
    """Two verdicts that contradict each other, in words."""
    return _CONFLICTS[kind]


def settles(c: Conclusion) -> str:
    """What would settle the questions of a pair that are open; empty where nothing is known to."""
    return f"What would settle it: {'; '.join(found)}." if (found := remedies(c)) else ""


def remedies(c: Conclusion) -> list[str]:
    """Each thing that would settle questions of a pair, with these in brackets."""
    return [_remedy(r, c.candidate) for r in c.remedies]


def _remedy(r: Remedy, candidate: str) -> str:
    n = _NUMBERS[r.count] if r.count < len(_NUMBERS) else str(r.count)
    text = _REMEDIES[r.kind].format(n=n, lineages="lineage" if r.count == 1 else "lineages", c=candidate)
    corrected = f", corrected for {r.looks} verdicts" if r.looks > 1 else ""
    if r.kind == "ask it" and r.count:
        lineages = "lineage" if r.count == 1 else "lineages"
        text = f"{text}, with {_REMEDIES['more controls'].format(n=n, lineages=lineages)}"
    return f"{text} ({', '.join(r.questions)}{corrected})"


def conclusion_tone(c: Conclusion) -> str:
    """The colour of a conclusion: that of the closest thing it says, open where its verdicts contradict each other."""
    if c.conflicts:
        return "open"
    clauses = set(c.clauses)
    far = "no closer" in clauses or ("served apart" in clauses and "only chat compared" not in clauses)
    return "close" if clauses & _CLOSE else "near" if clauses & _NEAR else "far" if far else "open"
