"""The data dictionary: every column of every CSV, in order, with what it holds. docs/data-dictionary.md is made of it.

Write it: ``python -m harness.report.columns > docs/data-dictionary.md``.
"""

from __future__ import annotations

from collections.abc import Mapping

_PAIR = {
    "question": "What was asked: kinship, teaching or identity",
    "suspect": "Endpoint under suspicion, by its name in the config",
    "candidate": "Endpoint it may descend from",
}
SUMMARY: Mapping[str, str] = _PAIR | {
    "verdict": "The verdict in one word; see README, How to read a verdict",
    "sentence": "The verdict in words, with what it rests on",
    "p_value": "Exact p-value under the null of the question, before correction; empty if none",
    "p_smallest_possible": "The smallest p-value these controls could have given",
    "p_adjusted": "p_value after Holm's correction for all verdicts of the campaign",
    "p_candidate": "Rank of the suspect on the candidate's own row; not under 1 / (control lineages + 1)",
    "log10_lr": "log10 likelihood ratio, kin against unrelated; empty where no calibration fits",
    "log10_lr_low": "Lower end of its 95 % interval (bootstrap over prompts)",
    "log10_lr_high": "Upper end of its 95 % interval",
    "log10_lr_least": "Lower bound that the calibration allows (ELUB)",
    "log10_lr_most": "Upper bound that the calibration allows (ELUB)",
    "lr_words": "The likelihood ratio on the verbal scale of the ENFSI guideline",
    "effect": "How much closer than unrelated pairs (mean 0), in units of the spread over all pairs; identity: of the "
    "strongest channel",
    "effect_low": "Lower end of its 95 % interval (bootstrap over prompts)",
    "effect_high": "Upper end of its 95 % interval",
    "control_lineages": "Number of control lineages: the replicates behind the verdict",
    "controls": "Names of those lineages, separated by spaces",
    "prompts": "Prompts the verdict rests on",
    "coverage": "Smallest share of a channel's prompts that a model of the pool answered usably",
    "limits": "What limits the verdict, separated by semicolons",
}
EVIDENCE: Mapping[str, str] = _PAIR | {
    "channel": "Kind of evidence",
    "sees": "weights, text, samples, or reported (shown, without weight in the verdict)",
    "unit": "Unit of similarity",
    "similarity": "Mean similarity of the pair in that unit",
    "controls_low": "Smallest mean similarity among the other pairs of the pool",
    "controls_high": "Largest mean similarity among the other pairs of the pool",
    "effect": "How much closer than unrelated pairs, in units of the channel's noise from prompt to prompt, which "
    "is not the unit of summary.csv",
    "effect_low": "Lower end of its 95 % interval",
    "effect_high": "Upper end of its 95 % interval",
    "p_value": "The channel's own p-value, not corrected",
    "prompts": "Prompts on which the pair was compared",
    "coverage": "Smallest share of the channel's prompts that a model answered usably",
    "note": "Weight in the combined score, or why the channel abstains",
}
PROMPTS: Mapping[str, str] = _PAIR | {
    "channel": "Kind of evidence",
    "speaks": "for or against: the sign of the contribution",
    "rank": "1 is the strongest for, or against, in this channel",
    "prompt": "Id of the prompt",
    "family": "Prompt set it belongs to",
    "contribution": "Its part of the channel's effect; over all prompts they sum to it if all models answered",
    "similarity": "Similarity of the two answers in the channel's unit",
    "unit": "That unit",
    "prompt_text": "The prompt, one line of at most 300 characters",
    "suspect_answer": "The suspect's first usable answer, likewise",
    "candidate_answer": "The candidate's first usable answer, likewise",
}
OBSERVATIONS: Mapping[str, str] = {
    "channel": "tokenizer, identity or refusals",
    "model": "Endpoint",
    "what": "What was observed: family, says (language), gives in to, rung, declines with",
    "value": "The observation in words; it carries no weight in any verdict",
}
ATTRIBUTION: Mapping[str, str] = {
    "suspect": "Endpoint under suspicion",
    "attributed_to": "Known model it is most like, or unknown",
    "p_unknown": "p-value of 'none of these'",
    "p_smallest_possible": "The smallest it could have been",
    "known_model": "One of the known models",
    "probability_if_known": "Its probability if the suspect is one of them; a suspect's rows sum to 1",
    "answers": "Answers of the suspect that were used",
    "note": "Why there is no attribution, or what it would take",
}
FILES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "summary.csv": ("One row a suspect, candidate and question.", SUMMARY),
    "evidence.csv": ("One row a verdict and channel.", EVIDENCE),
    "prompts.csv": ("The prompts that contribute most for and against each kinship verdict, by channel.", PROMPTS),
    "observations.csv": ("What is shown of each model beside the verdicts.", OBSERVATIONS),
    "attribution.csv": ("One row a suspect and known model, if attribution was asked.", ATTRIBUTION),
}


def dictionary() -> str:
    """docs/data-dictionary.md as text."""
    lines = [
        "# Data dictionary",
        "",
        "CSV files of a campaign, in `results/<campaign>/`: RFC 4180, UTF-8, numbers to six digits, a missing value",
        "is empty. Columns keep their names and order; new ones are added at the end.",
        "",
        "* A text cell that a spreadsheet could run as a formula begins with an apostrophe.",
        "* A text of more than 32,000 characters is cut and ends in `[…]`: a cell holds 32,767.",
        "* Control characters are replaced by `\ufffd`. Cells may hold line breaks; they are quoted.",
        "* There is no byte order mark, so that the first column has its plain name in every program. Excel takes a",
        "  file opened by a double click for the local encoding, and in many countries for one with semicolons: use",
        "  *Data, From Text/CSV*, with *65001: Unicode (UTF-8)* and *Comma*. LibreOffice asks by itself.",
        "",
        "Written by `python -m harness.report.columns > docs/data-dictionary.md`.",
    ]
    for name, (about, columns) in FILES.items():
        lines += ["", f"## {name}", "", about, "", "| column | holds |", "|---|---|"]
        lines += [f"| `{column}` | {text} |" for column, text in columns.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(dictionary())
