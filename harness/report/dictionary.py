"""Columns of every table: name, type, what it holds, and what has changed; docs/data-dictionary.md is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "number", "count", "yes or no"]
SCHEMA_VERSION = 2
"""Of all tables: higher once a column is renamed, moved, dropped or means something else."""
CHANGES: Mapping[int, tuple[str, ...]] = {
    2: (
        "`pairs.csv` has every pair of models, a row a channel; what it held is now in `conclusions.csv`, a row a "
        "statement.",
        "No cell holds a list: `controls` of `summary.csv` went to `controls.csv`, `limits` to `limits.csv`, and `set` "
        "of `attribution.csv` is `in_set`.",
        "`evidence.csv`: `effect` and its interval are on the scale of `summary.csv`, and those in the channel's noise "
        "have columns of their own; `part` and `weight` were inside `note`. Expected similarity and residual are new.",
        "`prompts.csv`: `contribution` is on the same scale.",
        "`observations.csv` also says what was looked at, where nothing was seen.",
        "`summary.csv`: `log10_lr_bound` and `effect_interval` are new. `matrix-CHANNEL.csv` is new. Every table can "
        "be written as Parquet, with `report: {parquet: true}`.",
    ),
    1: ("The first.",),
}


@dataclass(frozen=True)
class Column:
    """What a column holds: "number" is a float, "count" a whole number."""

    about: str
    kind: Kind = "text"


def _number(about: str) -> Column:
    return Column(about, "number")


def _count(about: str) -> Column:
    return Column(about, "count")


def _flag(about: str) -> Column:
    return Column(about, "yes or no")


@dataclass(frozen=True)
class Described:
    """A table of a campaign's results; ``each_model`` of those with a further column for every model."""

    about: str
    columns: Mapping[str, Column] = field(default_factory=dict)
    each_model: str = ""


_BOTH = {
    "suspect": Column("Endpoint under suspicion, by its name in the config"),
    "candidate": Column("Endpoint it may descend from"),
}
_VERDICT = {"question": Column("What was asked, as `questions:` of the config names it"), **_BOTH}
_SUMMARY = {
    "verdict": Column("The verdict in one word; see README, How to read a verdict"),
    "sentence": Column("The verdict in words, with what it rests on"),
    "p_value": _number("Exact p-value under the null of the question, before correction; empty if none"),
    "p_smallest_possible": _number("The smallest p-value these controls could have given"),
    "p_adjusted": _number("p_value after Holm's correction for all verdicts of the campaign"),
    "p_candidate": _number("Rank of the suspect on the candidate's own row; not under 1 / (control lineages + 1)"),
    "log10_lr": _number("log10 likelihood ratio, shared weights against unrelated; empty where no calibration fits"),
    "log10_lr_low": _number("Lower end of its 95 % interval (bootstrap over prompts); log10_lr_least if it ends there"),
    "log10_lr_high": _number("Upper end of its 95 % interval; log10_lr_most if it ends there"),
    "log10_lr_least": _number("Lower bound that the calibration allows (ELUB)"),
    "log10_lr_most": _number("Upper bound that the calibration allows (ELUB)"),
    "log10_lr_base": _number("The half of it that is about one pretrained base alone; UNRELATED-LIKE needs -1 or less"),
    "ratio_channel": Column("The channel whose effect the likelihood ratio is of"),
    "log10_lr_taught": _number(
        "log10 likelihood ratio, close kin against taught or of shared data; only for two makers"
    ),
    "lr_words": Column("The likelihood ratio on the verbal scale of the ENFSI guideline"),
    "effect": _number(
        "How much closer than unrelated pairs (mean 0), in units of the spread over all pairs of the pool; identity: "
        "of the strongest channel, in spreads of its permutations"
    ),
    "effect_low": _number("Lower end of its 95 % interval (bootstrap over prompts)"),
    "effect_high": _number("Upper end of its 95 % interval"),
    "control_lineages": _count("Number of control lineages, the replicates behind the verdict: those in controls.csv"),
    "prompts": _count("Prompts the verdict rests on"),
    "coverage": _number("Smallest share of a channel's prompts that a model of the pool answered usably"),
    "p_same": _number("Identity: p-value of the equivalence test, against 30 % of calls answered by another model"),
    "p_same_adjusted": _number("p_same after Holm's correction for all equivalence tests of the campaign"),
    "share_excluded": _number(
        "Identity: smallest share of calls to another model that is excluded at 1 - alpha; 1 if none is"
    ),
    "p_weights": _number(
        "Identity: p-value of the equivalence test on raw next tokens, against three tenths of the way to a control on "
        "three prompts in ten"
    ),
    "p_weights_adjusted": _number("p_weights after Holm's correction for all such tests of the campaign"),
    "stopped": Column(
        "In a campaign of stages: found, futile, all asked, or goes on; empty in one that asks all first"
    ),
    "stage": _count("Stage at which it stands; p_value is adjusted for all stages up to it"),
    "stages": _count("Number of stages there are"),
    "p_stage": _number("p_value of the prompts asked so far, as if there had been no other stage"),
    "log10_lr_bound": Column(
        "most or least where log10_lr lies at a bound: as much as that, or further; an interval that ends there is none"
    ),
    "effect_interval": Column("bootstrap, alike on every prompt (an interval of no width), or none"),
}
_CONCLUSIONS = {
    "part": Column("conclusion, says, contradiction, open, or would settle"),
    "term": Column(
        "In fixed terms: a clause, a contradiction, or what would settle it; empty of the conclusion itself"
    ),
    "question": Column("Question that is open, or that this would settle; empty of the others"),
    "count": _count("Of what would settle it: how many, such as further control lineages; empty where nobody can say"),
    "words": Column("The same in words; the conclusion with what would settle the rest"),
}
_CHANNEL = {
    "channel": Column("Kind of evidence; of identity with chat or completion, where the two are judged apart"),
    "sees": Column("weights, text, samples, or reported (shown, without weight in the verdict)"),
    "unit": Column("Unit of similarity"),
}
_EVIDENCE = {
    "similarity": _number("Mean similarity of the pair in that unit"),
    "controls_low": _number("Smallest mean similarity among the other pairs of the pool, hubs and all"),
    "controls_high": _number("Largest mean similarity among the other pairs of the pool, hubs and all"),
    "effect": _number("How much closer than unrelated pairs, on the scale of summary.csv"),
    "effect_low": _number("Lower end of its 95 % interval; empty where none is made, as of identity"),
    "effect_high": _number("Upper end of its 95 % interval"),
    "p_value": _number("The channel's own p-value, not corrected"),
    "prompts": _count("Prompts on which the pair was compared"),
    "coverage": _number("Smallest share of the channel's prompts that a model answered usably"),
    "note": Column("Why the channel abstains, has no weight, or has a pool of its own"),
    "part": Column("counted, own pool, reported, or abstains"),
    "weight": _number("Its weight in the combined score; the weights of a verdict sum to 1"),
    "expected": _number(
        "Similarity that the closeness of the two to everybody, and to one another on unlike prompts, explains; empty "
        "in a pool of fewer than six models, where it hangs on the pair itself"
    ),
    "residual": _number("similarity less expected: the effect in the channel's unit, by which pairs are ranked"),
    "residual_low": _number("Lower end of its 95 % interval"),
    "residual_high": _number("Upper end of its 95 % interval"),
    "others_low": _number("Smallest effect among the other pairs of the pool"),
    "others_high": _number("Largest effect among the other pairs of the pool"),
    "effect_in_noise": _number(
        "The effect in units of the channel's noise from prompt to prompt; a calibration reads it"
    ),
}
_MODELS = {
    "a": Column("One model"),
    "b": Column("The other"),
    "lineage_a": Column("Lineage of the first, where the config or its name tells it"),
    "lineage_b": Column("Lineage of the other"),
    "maker_a": Column("Maker of the first, likewise"),
    "maker_b": Column("Maker of the other"),
}
_PAIRS = {
    **_CHANNEL,
    "a": Column("One model"),
    "b": Column("The other"),
    "role_a": Column("Role of the first: suspect, candidate, control or relative"),
    "role_b": Column("Role of the other"),
    **{name: _MODELS[name] for name in ("lineage_a", "lineage_b", "maker_a", "maker_b")},
    "raw": _number("Mean similarity in the channel's unit"),
    "expected": _number("Similarity that the closeness of the two to everybody explains; raw = expected + residual"),
    "residual": _number(
        "How much closer than expected, in the channel's unit; needs four models, and of four opposite pairs have one"
    ),
    "residual_low": _number("Lower end of its 95 % interval (Student's t over prompts)"),
    "residual_high": _number("Upper end of its 95 % interval"),
    "excess": _number("The residual in units of its spread over all these pairs, in which channels can be compared"),
    "prompts": _count("Prompts that both answered usably"),
}
_LIMITS = {
    "number": _count("Its place among the limits of the verdict"),
    "part": Column("obstacle (nothing could be judged), failed self-check, or limit"),
    "kind": Column("Its kind, in a fixed term; empty of what is said of a survey as a whole"),
    "channel": Column("Channel that it is about, if it is about one; of what was taken out of answers, what that was"),
    "limit": Column("The limit in words"),
}
_PROMPTS = {
    "channel": Column("Kind of evidence"),
    "speaks": Column("for or against: the sign of the contribution"),
    "rank": _count("1 is the strongest for, or against, in this channel"),
    "prompt": Column("Id of the prompt"),
    "family": Column("Prompt set it belongs to"),
    "contribution": _number("Its part of the channel's effect; over all prompts they sum to it if all models answered"),
    "similarity": _number("Similarity of the two answers in the channel's unit"),
    "unit": Column("That unit"),
    "prompt_text": Column("The prompt, one line of at most 300 characters"),
    "suspect_answer": Column("The suspect's first usable answer, likewise"),
    "candidate_answer": Column("The candidate's first usable answer, likewise"),
}
_OBSERVATIONS = {
    "channel": Column(
        "metadata (contradicts what was asked), tokenizer, identity, refusals, reading (what was cut), readers (how "
        "likely they find the answers) or relatives (of the candidate or the suspect)"
    ),
    "model": Column("Endpoint; empty of what is said of all"),
    "what": Column(
        "What was observed: model, provider, tokenizer or self-report against what was asked, family, raw completions, "
        "says (language), gives in to, rung, declines with; or looked at, once a channel"
    ),
    "value": Column("The observation in words; it carries no weight in any verdict"),
}
_ATTRIBUTION = {
    "suspect": Column("Endpoint under suspicion"),
    "attributed_to": Column("Known model that is named first, or unknown"),
    "p_unknown": _number("p-value of its best match against 'none of these'"),
    "p_smallest_possible": _number("The smallest it could have been"),
    "known_model": Column("One of the known models"),
    "probability_if_known": _number("Its probability if the suspect is one of them; a suspect's rows sum to 1"),
    "answers": _count("Answers of the suspect that were used"),
    "note": Column("Why there is no attribution, or what it would take"),
    "tier": Column(
        "model: a known model or its close kin; maker: something of a known model's maker; none: none of these"
    ),
    "in_set": _flag("Whether this known model is one of those that are named"),
    "rule": Column(
        "conformal: ranked among known lineages; carried: mostly by the table that travels, as these are too few; "
        "classifier: no answers to the same prompts, so by the text classifier"
    ),
    "known_lineages": _count("Known lineages behind the p-values"),
    "prompts": _count("Prompts on which answers were compared; empty for the classifier"),
    "z": _number("Excess of the suspect with this known model, in spreads of pairs of known models of two makers"),
    "score": _number("z less half of that of the best known model of another maker"),
    "p_value": _number("p-value of this known model's score against 'none of these'"),
    "p_conformal": _number("Rank of its score among those of the known lineages; not under 1 / (known lineages + 1)"),
    "p_carried": _number("Share of unknown models with such a score on other recorded answers, as the table has it"),
    "lineage": Column("Lineage of this known model"),
    "maker": Column("Its maker"),
    "recorded_from": Column("When its first answer came (UTC); empty where whoever recorded it kept no times"),
    "recorded_to": Column("When its last answer came"),
}
_SURVEY = {
    **_MODELS,
    "relation": Column(
        "What is known: asked (nothing), unrelated (others are ranked among such pairs), kin, not asked"
    ),
    "excess": _number("How much closer than unrelated pairs (mean near 0), in units of their spread"),
    "p": _number("Rank among unrelated pairs, as a p-value; empty where nothing was asked"),
    "q": _number("Least false discovery rate at which the pair stands (Benjamini and Hochberg)"),
    "stands": _flag("Whether it stands at the false discovery rate of the survey"),
    "group": _count("Number of its group, the largest is 1; empty if it stands in none"),
    "support": _number("Share of resampled prompts in which it is as close as the last pair that stands"),
    "note": Column("What is known of it, or why it is withheld"),
}
_READINGS = {
    "suspect": Column("Endpoint under suspicion"),
    "candidate": Column("Whose it may be"),
    "readers": Column("Readers of the candidate's lineage, by name"),
    "rivals": Column("Readers of other lineages"),
    "effect": _number(
        "How much likelier the readers find the suspect's answers than the controls', beyond what the rivals explain, "
        "in standard deviations of the controls"
    ),
    "p_value": _number("Rank of that among suspect and controls; it decides nothing"),
    "p_smallest_possible": _number("The smallest it could have been"),
    "effect_candidate": _number("The same of the candidate's own answers: the positive control"),
    "p_candidate": _number("Its rank among candidate and controls"),
    "prompts": _count("Prompts whose answers were read"),
    "controls": _count("Controls with answers that were read"),
    "missing": Column("Why there are no numbers, in a fixed term"),
    "words": Column("The same in words"),
    "greedy_reader": Column("Reader of the candidate's lineage that is nearest to both, at temperature 0"),
    "greedy_agreement": _number("Share of the suspect's tokens at temperature 0 that this reader would have chosen"),
    "greedy_agreement_candidate": _number("The same of the candidate's own answers: what a server's rounding leaves"),
    "greedy_agreement_controls": _number("The same of the controls, their median: what strangers reach"),
    "greedy_lost": _number("Nats a token by which the suspect's are less likely than the likeliest, mean over prompts"),
    "greedy_lost_candidate": _number("The same of the candidate's"),
    "greedy_p_value": _number("Of the difference between these two, prompt by prompt, two-sided; it decides nothing"),
    "greedy_p_smallest_possible": _number("The smallest it could have been"),
    "greedy_prompts": _count("Prompts that were answered at temperature 0, and read"),
    "greedy_tokens": _count("Tokens of the suspect on these"),
    "greedy_missing": Column("Why there are no numbers, in a fixed term"),
    "greedy_words": Column("The same in words"),
}
MATRIX = "matrix-CHANNEL"
FILES: Mapping[str, Described] = {
    "summary": Described("One row a suspect, candidate and question.", {**_VERDICT, **_SUMMARY}),
    "conclusions": Described(
        "What all questions say of a suspect and candidate together: a row a statement, the conclusion first.",
        {**_BOTH, **_CONCLUSIONS},
    ),
    "evidence": Described("One row a verdict and channel.", {**_VERDICT, **_CHANNEL, **_EVIDENCE}),
    "limits": Described("One row a limit of a verdict, an attribution or the survey.", {**_VERDICT, **_LIMITS}),
    "controls": Described(
        "One row a verdict and control lineage: the replicates behind it.",
        {**_VERDICT, "lineage": Column("Lineage, of which one model counts")},
    ),
    "pairs": Described(
        "Every pair of models, a row a channel. Among all models of the campaign, kin included: a verdict compares its "
        "pair among unrelated models alone, without copied answers, and less what is alike on unlike prompts, so that "
        "its numbers in `evidence.csv` differ.",
        _PAIRS,
    ),
    MATRIX: Described(
        "The raw similarity and the residual of all pairs in one channel, each as a square: a file a channel, with the "
        "channel's name in that of the file.",
        {"measure": Column("raw or residual, as in pairs.csv"), "model": Column("One model")},
        "Its similarity to this model, or the residual; empty of a model with itself",
    ),
    "prompts": Described(
        "The prompts that contribute most for and against each kinship verdict, by channel.", {**_VERDICT, **_PROMPTS}
    ),
    "observations": Described(
        "What is shown of each model beside the verdicts, and what was looked at.", _OBSERVATIONS
    ),
    "attribution": Described("One row a suspect and known model, if attribution was asked.", _ATTRIBUTION),
    "survey": Described("One row a pair of models, the closest first, if a survey was asked.", _SURVEY),
    "readings": Described(
        "One row a suspect and candidate, if the campaign has readers: models that were given everybody's answers.",
        _READINGS,
    ),
}
_HEAD = f"""# Data dictionary

Tables of a campaign, in `results/<campaign>/`. As CSV: RFC 4180, UTF-8, numbers to six digits, a missing value is
empty, and what is true or not says `yes` or `no`. A row holds one thing, and no cell a list. This is `schema_version`
{SCHEMA_VERSION}, which `manifest.json` and Parquet files name; [changes](#changes) stand below. New columns are added
at the end without a new version.

* With `report: {{parquet: true}}` each table is written as Parquet, too, with types: `number` is float64, `count`
  int64, `yes or no` bool, all else text. `scores.to_pandas()` gives the same as data frames.
* A text cell that a spreadsheet could run as a formula begins with an apostrophe.
* A text of more than 32,000 characters is cut and ends in `[…]`: a cell holds 32,767.
* Control characters are replaced by `\ufffd`. Cells may hold line breaks; they are quoted.
* There is no byte order mark, so that the first column has its plain name in every program. Excel takes a file opened
  by a double click for the local encoding. With `report: {{bom: true}}` every CSV file begins with the mark, and Excel
  reads its letters right. Where numbers are written with a comma, Excel also expects semicolons, and takes 2.11 for a
  date: use *Data, From Text/CSV* there, with *65001: Unicode (UTF-8)*, *Comma* and an English locale. LibreOffice asks
  by itself.

Written by `python -m harness.report.tables > docs/data-dictionary.md`.
"""


def dictionary() -> str:
    """docs/data-dictionary.md as text."""
    lines = [_HEAD]
    for name, described in FILES.items():
        lines += [f"## {name}.csv", "", described.about, "", "| column | type | holds |", "|---|---|---|"]
        lines += [f"| `{column}` | {c.kind} | {c.about} |" for column, c in described.columns.items()]
        if described.each_model:
            lines.append(f"| each model | number | {described.each_model} |")
        lines.append("")
    lines += ["## Changes", "", "Of columns, by `schema_version`, the newest first.", ""]
    for version, said in CHANGES.items():
        lines += [f"* **{version}**: {' '.join(said)}"]
    return "\n".join(lines) + "\n"
