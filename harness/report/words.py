"""The only maker of sentences: findings, caveats, channels and attributions in plain English.

All that decides has been decided before; what a question is told in stands in its own file (`Wording`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log10
from typing import cast

from harness.inference.drift import Change, ChangeGround, Drift, News
from harness.inference.excess import controls_needed
from harness.inference.findings import FAILED, Attribution, Caveat, CaveatKind, ChannelEvidence, Finding
from harness.inference.questions import QUESTIONS
from harness.records import Observation, Removal, Removed

TONES: Mapping[str, tuple[str, str]] = {  # verdict -> (tone, mark)
    "KIN-LIKE": ("close", "●"),
    "KIN-OR-TAUGHT": ("near", "◐"),
    "TAUGHT-LIKE": ("near", "◐"),
    "SAME-LIKE": ("close", "●"),
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
_CAVEATS: Mapping[CaveatKind, Callable[[Caveat], str]] = {
    "no usable channel": lambda c: "no channel has enough usable answers",
    "too few control lineages": lambda c: "fewer than two control lineages are usable",
    "too few shared prompts": lambda c: (
        f"{c.names[0]} and {c.names[1]} have too few prompts in common with the controls"
    ),
    "all answered alike": lambda c: "all models answered alike, so that nothing tells one pair from another",
    "no text": lambda c: "the suspect or the candidate gave no text to compare",
    "no samples": lambda c: (
        "identity needs two or more samples a prompt at a temperature above 0, or logprobs of repeated calls"
    ),
    "only gaps": lambda c: "refusals, empty answers or missing logprobs leave too little to compare",
    "too few known models": lambda c: f"attribution needs two known models and {c.values[0]:.0f} prompts",
    "no usable answers": lambda c: "no usable answers",
    "too few known lineages": lambda c: f"'none of these' needs {c.values[0]:.0f} known lineages at {c.values[1]:g}",
    "low coverage": lambda c: (
        f"{c.channel} abstains: {c.names[0]} gave usable answers to {c.values[0]:.0%} of its prompts"
    ),
    "control left out": lambda c: f"control {c.names[0]} answered only {c.values[0]:.0%} of a channel's prompts",
    "shares no words": lambda c: (
        f"{c.channel} abstains: {c.names[0]} shares next to nothing with any other model "
        f"({c.values[0]:.3f}, controls {c.values[1]:.3f}), as if it answered in another language"
    ),
    "own pool": lambda c: f"{c.channel} covers {c.values[0]:.0f} control lineages and stays out of the combined score",
    "gaps": lambda c: f"{c.channel} {_abstention(c)}",
    "blind": lambda c: f"{c.channel} {_abstention(c)}",
    "candidate's null": lambda c: _candidates_null(c),
    "rival pairs": lambda c: _rival_pairs(c),
    "no negative control": lambda c: "no negative control: too few control lineages to pose one of them as the suspect",
    "negative control found": lambda c: f"{_posing(c)}; are they as unrelated as declared?",
    "negative control failed": lambda c: f"negative control: {_posing(c)}",
    "no positive control": lambda c: "no positive control: it needs two samples a prompt of the candidate",
    "positive control failed": lambda c: (
        f"positive control: half of {c.names[0]}'s answers do not look like kin of the other half"
    ),
    "told from itself": lambda c: (
        f"positive control: {c.channel} tells {c.names[0]} from itself (p = {c.values[0]:.2g})"
    ),
    "no control told apart": lambda c: "negative control: no channel tells every control from the candidate",
    "no likelihood ratio": lambda c: (
        f"no likelihood ratio: the calibration needs the {c.channel} channel, "
        f"{c.values[0]:.0f} control lineages and {c.values[1]:.0f} prompts"
    ),
    "bounded ratio": lambda c: (
        f"the likelihood ratio is bounded to [{c.values[0]:.2g}, {c.values[1]:.2g}] by the data it was fitted on"
    ),
    "copies left out": lambda c: f"{_copied(c)}, and were left out of the other channels",
    "only copies": lambda c: f"{_copied(c)}; too few remain without them to compare the rest",
    "does not stand": lambda c: f"the pair is close, but not {_fallen(c)}",
    "gaps decide": lambda c: "answers that are missing could turn the verdict",
    "alike on unlike prompts": lambda c: (
        f"{c.names[0]} and {c.names[1]} are unusually alike in {c.channel} even on unlike prompts "
        f"(p = {c.values[0]:.2g}), which a wrapper or a system prompt would explain; that part was subtracted"
    ),
    "taken out": lambda c: f"of {c.names[0]}'s answers {c.values[0]:.0f} of {c.values[1]:.0f} {_taken(c)}",
    "mixture": lambda c: (
        f"about {c.values[0]:.0%} of {c.names[0]}'s answers ({c.values[1]:.0%} to {c.values[2]:.0%}) are no closer in "
        f"{c.channel} to {c.names[1]}'s than a stranger's, and the others are: another model may answer some prompts"
    ),
    "pair in another language": lambda c: (
        f"{c.names[0]} and {c.names[1]} answer in other words ({c.names[2]}) than {_of(c)} control lineages do "
        f"({c.names[3]}), as in another language"
    ),
    "pair in another format": lambda c: (
        f"nearly every answer of {c.names[0]} and {c.names[1]} has {_form(c)} than those of {c.values[1]:.0f} of "
        f"{c.values[2]:.0f} control lineages, as if another format had been demanded of them"
    ),
    "pair much shorter": lambda c: (
        f"{c.names[0]} and {c.names[1]} usually answer in {c.values[0]:.0f} words at most, the controls in "
        f"{c.values[1]:.0f}; that is too short to cut all to one length"
    ),
    "pair much longer": lambda c: (
        f"the controls usually answer in {c.values[1]:.0f} words, {c.names[0]} and {c.names[1]} in {c.values[0]:.0f} "
        "at least; that is too short to cut all to one length"
    ),
    "pair of another era": lambda c: (
        f"{_far(c)} came out more than half a year before or after {c.names[0]} and {c.names[1]}"
    ),
    "pair alone thinks": lambda c: f"{c.names[0]} and {c.names[1]} think before they answer, {_far(c)} do not",
    "pair alone does not think": lambda c: f"{_far(c)} think before they answer, {c.names[0]} and {c.names[1]} do not",
    "suspect in another language": lambda c: (
        f"{c.names[0]} answers in other words ({c.names[2]}) than {c.names[1]} ({c.names[3]}) and most controls do, as "
        "in another language"
    ),
    "suspect much shorter": lambda c: (
        f"{c.names[0]} usually answers in {c.values[0]:.0f} words, {c.names[1]} in {c.values[1]:.0f} and the controls "
        "no shorter; that is too short to cut all to one length"
    ),
    "only one thinks": lambda c: f"{c.names[0]} thinks before it answers, {c.names[1]} does not",
    "suspect in another format": lambda c: (
        f"nearly every answer of {c.names[0]} has {_form(c)} than those of all others, as if another format had been "
        "demanded of it"
    ),
    "controls unlike in length": lambda c: (
        f"controls unlike the pair: {c.names[0]} and {c.names[1]} usually answer in {c.values[0]:.0f} words, the "
        f"controls in {c.values[1]:.0f}"
    ),
    "controls of another era": lambda c: (
        f"controls unlike the pair: {_far(c)} came out more than half a year before or after "
        f"{c.names[0]} and {c.names[1]}"
    ),
    "controls unlike in thinking": lambda c: (
        f"controls unlike the pair: {_far(c)} are unlike {c.names[0]} and {c.names[1]} in thinking before they answer"
    ),
    "pair on one host": lambda c: (
        f"{c.names[0]} and {c.names[1]} are both asked at {c.names[2]}, and no control is: what this host adds or "
        "changes is on these two alone"
    ),
    "unanswered calls": lambda c: (
        f"{c.values[0]:.0f} of {c.values[1]:.0f} planned calls have no answer yet; `harness run` asks them"
    ),
    "short form": lambda c: f"a short form of the campaign, with at most {c.names[0]} prompts of each set",
    "mixed models": lambda c: f"{c.names[0]} answered as {c.names[1]}",
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
_FORMS: Mapping[str, str] = {  # how an answer can have more or fewer of it
    "length": "words",
    "sentence length": "words a sentence",
    "line length": "words a line",
    "bullets": "lines that are bullet points",
    "numbers": "numbered lines",
    "emphasis": "lines with headings or bold",
    "markup": "brackets and marks of code",
    "capitals": "capital letters",
    "digits": "digits",
    "opening": "first characters that are no letter",
    "closing": "last characters that end a sentence",
    "questions": "questions",
    "exclamations": "exclamation marks",
    "symbols": "emoji and symbols",
    "quotes": "quotation marks",
    "alphabet": "letters of another alphabet or with accents",
    "commas": "commas",
}
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


_FALLEN: Mapping[str, str] = {  # what a finding must stand without -> how it is told that it does not
    "first words": "on the first 50 words of each answer",
    "without habits": "without the words that each model uses everywhere",
    "without the loudest": "without the few prompts that speak most for it",
    "gaps": "if the answers that are missing were the least alike ones",
}
_TAKEN: Mapping[Removed, str] = {
    "thoughts": "hold the thoughts before the answer, which were read apart",
    "prompt echo": "begin with the question, which was cut",
    "template marks": "hold marks of a chat template, which were cut",
    "second turn": "go on with a turn of the user, which was cut",
    "encoding": "came in an encoding that is not the model's, which was undone",
    "comments": "hold text that no page shows, which was cut",
    "furniture": "hold words that come back whatever is asked, which were cut",
    "canned answers": "are one text given to many questions, and count as none",
    "stray marks": "end with a mark that closes thoughts, though an answer stands before it, which was read",
    "blank space": "hold long stretches of white space, which were cut",
    "hidden characters": "hold characters that cannot be seen, as text that hides does",
    "look-alike letters": "hold letters of another script that look like Latin ones, as text that hides does",
    "rows written twice": "are a copy of another row, and were dropped",
    "equal draws": "repeat another sample word for word, and are no draw of their own",
    "logprobs of other text": "have logprobs of another text, which were left out",
    "logprobs unreadable": "have logprobs that cannot be read",
    "logprobs rescaled": "have logprobs on another scale, which were left out",
    "logprobs not this model's": "have logprobs that do not fit what was said, which were left out",
}


def _fallen(c: Caveat) -> str:
    return " nor ".join(f"{_FALLEN[n]} (p = {p:.2g})" for n, p in zip(c.names, c.values, strict=True))


def _taken(c: Caveat) -> str:
    what = _TAKEN[cast(Removed, c.channel)]
    at = {"begin": " at the beginning", "end": " at the end"}.get(c.names[2] if len(c.names) > 2 else "", "")
    return f"{what}{at}: “{' '.join(c.names[1].split())}”" if len(c.names) > 1 and c.names[1] else what


def removal(r: Removal) -> Caveat:
    """What was taken out of one endpoint's answers, as what limits a finding about it."""
    return Caveat("taken out", r.kind, (r.model, r.example, r.where), (r.answers, r.of))


def noticed(removals: Sequence[Removal]) -> tuple[Observation, ...]:
    """What was taken out of each endpoint's answers, as observations."""
    return tuple(
        Observation("reading", r.model, r.kind, f"{r.answers} of {r.of} answers {_taken(removal(r))}") for r in removals
    )


def caveat(c: Caveat) -> str:
    """What limits a finding, in words; a self-check that failed says so first."""
    return f"FAILED {_CAVEATS[c.kind](c)}" if c.kind in FAILED else _CAVEATS[c.kind](c)


def limits(f: Finding) -> list[str]:
    """All that limits a finding, in words."""
    return [caveat(c) for c in f.caveats]


def _abstention(c: Caveat) -> str:
    if c.kind == "gaps":
        return f"abstains for its gaps: only {c.values[0]:.0%} of what was asked can be compared"
    return f"abstains: cannot tell {', '.join(c.names[1:])} from {c.names[0]}"


def _candidates_null(c: Caveat) -> str:
    candidate, suspect = c.names
    below, k, nearer = c.values
    hub = f" (on {c.channel}: a hub, near which strangers are found more often)" if c.channel else ""
    return (
        f"{candidate} is closer to everybody than {below:.0f} of {k:.0f} controls are{hub}; {nearer:.0f} of {k:.0f} "
        f"controls are as close to it as {suspect} or closer"
    )


def _rival_pairs(c: Caveat) -> str:
    named = ", ".join(f"{a} with {b}" for a, b in c.pairs[:3])
    more = f" and {len(c.pairs) - 3} more" if len(c.pairs) > 3 else ""
    return f"at least as close as the accused pair: {named}{more}"


def _posing(c: Caveat) -> str:
    candidate, *found = c.names
    looks = "looks" if len(found) == 1 else "look"
    return (
        f"of {c.values[0]:.0f} controls posing as the suspect {len(found)} {looks} like kin of {candidate}: "
        f"{', '.join(found)}"
    )


def _of(c: Caveat) -> str:
    return f"{c.values[0]:.0f} of {c.values[1]:.0f}"


def _far(c: Caveat) -> str:
    named = ", ".join(c.names[2:6])
    return f"{_of(c)} control lineages ({named}{', ...' if len(c.names) > 6 else ''})"


def _form(c: Caveat) -> str:
    return f"{'more' if c.values[0] else 'fewer'} {_FORMS.get(c.channel, c.channel)}"


def _copied(c: Caveat) -> str:
    return f"{c.values[0]:.0f} of {c.values[1]:.0f} answers are verbatim copies of one another"


def channel_note(e: ChannelEvidence) -> str:
    """What part a channel has in the verdict, or why it has none."""
    if e.part == "own pool":
        return f"own pool of {e.controls} control lineages, not combined"
    if e.part == "reported":
        return "reported, not part of the verdict"
    if e.caveat is not None:
        return _abstention(e.caveat)
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
            check=_CAVEATS[f.failed_check.kind](f.failed_check) if f.failed_check else "",
            condition=caveat(condition) if (condition := f.mismatch or f.hiding) else "",
            decisive=", ".join(f.judgement.decisive),
            weights=", ".join(e.name for e in f.evidence if e.sees == "weights"),
            also=also,
            fallen=_fallen(fallen) if (fallen := f.told("does not stand")) else "",
            same=f.p_same,
            excluded=_excluded(f),
            ratio=_ratio(f),
        )
    )


def _excluded(f: Finding) -> str:
    """The share of calls that another model may have answered at most, where any is excluded."""
    return f"; more than {f.share_excluded:.0%} of them is excluded" if f.share_excluded < 1.0 else ""


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
    kind = {"SAME-LIKE": "same", "DIFFERENT-LIKE": "different"}.get(f.verdict) or TONES[f.verdict][0]
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
