"""What limits a finding, in plain English: the words of every caveat, and of all that was taken out of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import numpy as np

from harness.inference.assessment import Case
from harness.inference.excess import mean_over_prompts
from harness.inference.findings import FAILED, NAN, Caveat, CaveatKind, Finding, StopRule
from harness.inference.nearest import gaps_of
from harness.inference.pool import Pool
from harness.records import LeftOut, Observation, Removal, Removed, Similarity

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
    "models left out": lambda c: (
        f"left out, as they answered less than {c.values[0]:.0%} of a channel's prompts: {_named(c)}"
    ),
    "maker counted already": lambda c: (
        f"not counted, as controls of a maker that is counted already: {_named(c)}; {_SWITCH}"
    ),
    "of the pair's makers": lambda c: (
        f"not counted, as models of a maker of suspect or candidate, and shown apart: {_named(c)}; {_SWITCH}"
    ),
    "makers unknown": lambda c: (
        f"the maker of {_of(c)} controls is unknown ({_named(c)}), and each counts as one of its own; `maker:` names it"
    ),
    "makers repeat": lambda c: (
        f"the {c.values[0]:.0f} control lineages are of {c.values[1]:.0f} makers at most: models of one maker resemble "
        "one another, which hides kin of the candidate"
    ),
    "shares no words": lambda c: (
        f"{c.channel} abstains: {c.names[0]} shares next to nothing with any other model "
        f"({c.values[0]:.3f}, controls {c.values[1]:.3f}), as if it answered in another language"
    ),
    "own pool": lambda c: f"{c.channel} covers {c.values[0]:.0f} control lineages and stays out of the combined score",
    "gaps": lambda c: f"{c.channel} {abstention(c)}",
    "blind": lambda c: f"{c.channel} {abstention(c)}",
    "power": lambda c: _power(c),
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
    "calibrated on no thinkers": lambda c: (
        f"no likelihood ratio: the calibration was fitted on models that do not think first, as {_named(c)} does"
    ),
    "calibrated on another language": lambda c: (
        f"no likelihood ratio: the calibration was fitted on answers in another language than those of {_named(c)}"
    ),
    "bounded ratio": lambda c: (
        f"the likelihood ratio is bounded to [{c.values[0]:.2g}, {c.values[1]:.2g}] by the data it was fitted on"
    ),
    "copies left out": lambda c: f"{_copied(c)}, and were left out of the other channels",
    "shipped prompts differ": lambda c: _recognised(c),
    "only copies": lambda c: f"{_copied(c)}; too few remain without them to compare the rest",
    "does not stand": lambda c: f"the pair is close, but not {fallen(c)}",
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
    "pair leaves words unsaid": lambda c: (
        f"{c.names[0]} and {c.names[1]} never use {c.values[0]:.0f} common words (such as {c.names[2]}), "
        "more than any other two of the pool, as behind one proxy that rewrites both"
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
    "one may think": lambda c: (
        f"{c.names[0]} thinks before it answers, or can, and nothing shows whether {c.names[1]} does; say `reasoning:` "
        "of both"
    ),
    "thinking unlike told": lambda c: (
        f"most answers of {', '.join(c.names)} come with thoughts, against what was said or its name tells; taken as "
        "thinking"
        if c.values[0]
        else f"the server counts no thought in most answers of {', '.join(c.names)}, which should think"
    ),
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
    "unknown finish": lambda c: (
        f"{c.values[0]:.0f} of {c.names[0]}'s answers ended with “{c.names[1]}”, of which nobody "
        "knows what it means; they were compared as whole ones"
    ),
    "mixed models": lambda c: f"{c.names[0]} answered as {c.names[1]}",
    "reference of another era": lambda c: _unfit(c, "came out too long before or after the candidate"),
    "reference thinks otherwise": lambda c: _unfit(c, "one thinks before it answers, the other does not"),
    "reference with a system prompt": lambda c: _unfit(c, "recorded with a system prompt, and the pair has none"),
    "reference asked itself": lambda c: _unfit(c, "asked by this campaign itself"),
    "reference asked other things": lambda c: _unfit(c, "never asked these prompts"),
    "reference cut elsewhere": lambda c: _unfit(c, "recorded with another max_tokens"),
    "reference sampled otherwise": lambda c: _unfit(c, "recorded at another temperature, top_p or top_k"),
    "reference in another language": lambda c: _unfit(c, "answers in another language than the pair"),
    "reference much shorter": lambda c: _unfit(c, "answers are much shorter than the pair's, and too short to cut to"),
    "reference further in manner": lambda c: _unfit(c, "less like the pair in form than the half that counts"),
    "references checked": lambda c: _references_checked(c),
}


def left_out(left: Iterable[LeftOut]) -> list[str]:
    """What of packs of references was left out, in words."""
    return [plainly(c) for c in gaps_of(left)]


def _unfit(c: Caveat, why: str) -> str:
    some = f" for {c.values[0]:.0f} of {c.values[1]:.0f} prompts" if c.values else ""
    return f"references left out{some}, {why}: {_named(c)}"


def _references_checked(c: Caveat) -> str:
    """Scores of the controls of the references themselves."""
    kin, candidate, stranger = c.names
    found, least, other, floor = c.values
    said = f"{kin} posing as the suspect of its kin {candidate}, p = {found:.2g} (least possible {least:.2g})"
    positive = said if found == found else "none could be scored"
    said = f"{stranger} posing as the suspect, p = {other:.2g} (least possible {floor:.2g})"
    negative = said if other == other else "none could be scored"
    return f"controls of the references themselves: positive: {positive}; negative: {negative}"


_SWITCH = "`analysis: controls: every lineage` counts them"
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

_FALLEN: Mapping[str, str] = {  # what a finding must stand without -> how it is told that it does not
    "first words": "on the first 50 words of each answer",
    "without the question": "without the words of the questions",
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
    "markup": "hold the markup of a page, which was cut",
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
    "logprobs of unknown scale": "have logprobs at another temperature than 1, on a scale that is not known, which "
    "were left out",
    "logprobs not this model's": "have logprobs that do not fit what was said, which were left out",
}


_STOPS: Mapping[StopRule, str] = {
    "found": "Stopped at stage {stage} of {stages}, with {share:.0%} of every prompt set asked: found, at the level "
    "that all stages share",
    "futile": "Given up at stage {stage} of {stages}, with {share:.0%} of every prompt set asked: p is {p:.2g} so far, "
    "from where hardly any kin are found",
    "all asked": "Asked to the end, in {stages} stages",
    "goes on": "Not at an end: stage {stage} of {stages} is asked, {share:.0%} of every prompt set; the same command "
    "goes on",
}


def stopped(f: Finding) -> str:
    """At which stage a verdict stopped, and by which rule; empty in a campaign that asks everything first."""
    if (at := f.stop) is None:
        return ""
    share = at.prompts / max(at.most, 1)
    return _STOPS[at.rule].format(stage=at.stage, stages=at.stages, share=share, p=f.p_stage)


def fallen(c: Caveat) -> str:
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


def beside(cases: Iterable[Case]) -> tuple[Observation, ...]:
    """How close known relatives of suspect and candidate are to the suspect, beside the candidate and the controls."""
    return tuple(
        Observation("relatives", name, f"as close to {pool.suspect} in {s.channel}", _beside(s, pool, name))
        for case in cases
        for pool, counted in [(case.assessment.pool, {c.similarity.channel for c in case.assessment.channels})]
        for s in case.similarities
        if s.channel in counted
        for name in (r.name for r in pool.relatives)
    )


def _beside(s: Similarity, pool: Pool, name: str) -> str:
    mean = mean_over_prompts(s.values[:, [s.models.index(pool.suspect)]].astype(np.float64))[0]
    own, pair = (mean[s.models.index(n)] for n in (name, pool.candidate))
    most = max((mean[s.models.index(c.name)] for c in pool.controls), default=NAN)
    return f"{s.unit} {own:.3g} ({pool.candidate} {pair:.3g}, controls at most {most:.3g}); not counted"


def plainly(c: Caveat) -> str:
    """What limits a finding, in words, whether a check failed or not."""
    return _CAVEATS[c.kind](c)


def caveat(c: Caveat) -> str:
    """What limits a finding, in words; a self-check that failed says so first."""
    return f"FAILED {_CAVEATS[c.kind](c)}" if c.kind in FAILED else _CAVEATS[c.kind](c)


def abstention(c: Caveat) -> str:
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


def _power(c: Caveat) -> str:
    found, low, high, strangers, controls, prompts, alpha = c.values
    if not found and not high:
        return f"with {controls:.0f} control lineages this test finds no pupil at {alpha:g}, whatever it was taught"
    return (
        f"of models known to be trained on one named teacher's answers this test found {100 * found:.0f} in 100 (95 %: "
        f"{100 * low:.0f} to {100 * high:.0f}) with {controls:.0f} controls and {prompts:.0f} prompts, as the only "
        f"look at {alpha:g}; of strangers of other makers {100 * strangers:.0f} in 100"
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


def _named(c: Caveat) -> str:
    return ", ".join(c.names[:8]) + (f" and {len(c.names) - 8} more" if len(c.names) > 8 else "")


def _of(c: Caveat) -> str:
    return f"{c.values[0]:.0f} of {c.values[1]:.0f}"


def _far(c: Caveat) -> str:
    named = ", ".join(c.names[2:6])
    return f"{_of(c)} control lineages ({named}{', ...' if len(c.names) > 6 else ''})"


def _form(c: Caveat) -> str:
    return f"{'more' if c.values[0] else 'fewer'} {_FORMS.get(c.channel, c.channel)}"


def _copied(c: Caveat) -> str:
    return f"{c.values[0]:.0f} of {c.values[1]:.0f} answers are verbatim copies of one another"


def _recognised(c: Caveat) -> str:
    shipped, fresh, p = c.values
    less = "less close" if shipped < fresh else "closer"
    return (
        f"{c.names[0]} and {c.names[1]} are {less} on prompts that ship with this project than on fresh ones of the "
        f"same templates ({c.channel}: effect {shipped:.2f} and {fresh:.2f}, p = {p:.2g}), as if known prompts were "
        "answered by something else; this rests on the fresh prompts alone"
    )
