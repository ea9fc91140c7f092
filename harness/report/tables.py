"""Findings -> CSV files: stable columns, RFC 4180, no cell that a spreadsheet would run as a formula."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from harness.channels.base import first_answer
from harness.inference.breakdown import Detail
from harness.inference.conclusion import conclusions
from harness.inference.findings import NAN, Attribution, Finding, Match
from harness.inference.survey import Survey
from harness.records import Observation, Responses
from harness.report import survey_words, words
from harness.report.naming import attribution_note
from harness.report.text import excerpt, harmless

_PAIR = {
    "question": "What was asked, as `questions:` of the config names it",
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
    "log10_lr": "log10 likelihood ratio, shared weights against unrelated; empty where no calibration fits",
    "log10_lr_low": "Lower end of its 95 % interval (bootstrap over prompts)",
    "log10_lr_high": "Upper end of its 95 % interval",
    "log10_lr_least": "Lower bound that the calibration allows (ELUB)",
    "log10_lr_most": "Upper bound that the calibration allows (ELUB)",
    "log10_lr_base": "The half of it that is about one pretrained base alone; UNRELATED-LIKE needs -1 or less",
    "ratio_channel": "The channel whose effect the likelihood ratio is of",
    "log10_lr_taught": "log10 likelihood ratio, close kin against taught or of shared data; only for two makers",
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
    "p_same": "Identity: p-value of the equivalence test, against 30 % of calls answered by another model",
    "p_same_adjusted": "p_same after Holm's correction for all equivalence tests of the campaign",
    "share_excluded": "Identity: smallest share of calls to another model that is excluded at 1 - alpha; 1 if none is",
    "p_weights": "Identity: p-value of the equivalence test on raw next tokens, against three tenths of the way to a "
    "control on three prompts in ten",
    "p_weights_adjusted": "p_weights after Holm's correction for all such tests of the campaign",
    "stopped": "In a campaign of stages: found, futile, all asked, or goes on; empty in one that asks everything first",
    "stage": "Stage at which it stands; p_value is adjusted for all stages up to it",
    "stages": "Number of stages there are",
    "p_stage": "p_value of the prompts asked so far, as if there had been no other stage",
}
PAIRS: Mapping[str, str] = {
    "suspect": _PAIR["suspect"],
    "candidate": _PAIR["candidate"],
    "conclusion": "What all questions say of the pair together, in words, with what would settle the rest",
    "says": "The same in fixed terms, separated by semicolons",
    "contradictions": "Verdicts of the pair that contradict each other, in fixed terms; empty if none do",
    "open": "Questions that are open, separated by spaces",
    "would_settle": "What would settle open questions, with these in brackets, separated by semicolons",
    "more_controls": "Number of further control lineages that would allow a verdict; empty where they are not in want",
    "kinship": "Verdict on kinship; empty if not asked",
    "teaching": "Verdict on teaching; empty if not asked",
    "identity": "Verdict on identity; empty if not asked",
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
    "channel": "metadata (contradicts what was asked), tokenizer, identity, refusals, "
    "reading (what was cut) or relatives (of the candidate or the suspect)",
    "model": "Endpoint",
    "what": "What was observed: model, provider, tokenizer or self-report against what was asked, family, "
    "raw completions, says (language), gives in to, rung, declines with",
    "value": "The observation in words; it carries no weight in any verdict",
}
ATTRIBUTION: Mapping[str, str] = {
    "suspect": "Endpoint under suspicion",
    "attributed_to": "Known model that is named first, or unknown",
    "p_unknown": "p-value of its best match against 'none of these'",
    "p_smallest_possible": "The smallest it could have been",
    "known_model": "One of the known models",
    "probability_if_known": "Its probability if the suspect is one of them; a suspect's rows sum to 1",
    "answers": "Answers of the suspect that were used",
    "note": "Why there is no attribution, or what it would take",
    "tier": "model: a known model or its close kin; maker: something of a known model's maker; none: none of these",
    "set": "All known models that are named, closest first, separated by spaces",
    "rule": "conformal: ranked among known lineages; carried: mostly by the table that travels, as these are too few; "
    "classifier: no answers to the same prompts, so by the text classifier",
    "known_lineages": "Known lineages behind the p-values",
    "prompts": "Prompts on which answers were compared; empty for the classifier",
    "z": "Excess of the suspect with this known model, in spreads of pairs of known models of two makers",
    "score": "z less half of that of the best known model of another maker",
    "p_value": "p-value of this known model's score against 'none of these'",
    "p_conformal": "Rank of its score among those of the known lineages; not under 1 / (known lineages + 1)",
    "p_carried": "Share of unknown models with such a score on other recorded answers, as the table has it",
    "lineage": "Lineage of this known model",
    "maker": "Its maker",
    "recorded_from": "When its first answer came (UTC); empty where whoever recorded it kept no times",
    "recorded_to": "When its last answer came",
}
SURVEY: Mapping[str, str] = {
    "a": "One model",
    "b": "The other",
    "lineage_a": "Lineage of the first, where the config or its name tells it",
    "lineage_b": "Lineage of the other",
    "maker_a": "Maker of the first, likewise",
    "maker_b": "Maker of the other",
    "relation": "What is known: asked (nothing), unrelated (others are ranked among such pairs), kin, not asked",
    "excess": "How much closer than unrelated pairs (mean near 0), in units of their spread",
    "p": "Rank among unrelated pairs, as a p-value; empty where nothing was asked",
    "q": "Least false discovery rate at which the pair stands (Benjamini and Hochberg)",
    "stands": "yes if it stands at the false discovery rate of the survey",
    "group": "Number of its group, the largest is 1; empty if it stands in none",
    "support": "Share of resampled prompts in which it is as close as the last pair that stands",
    "note": "What is known of it, or why it is withheld",
}
FILES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "pairs.csv": ("One row a suspect and candidate: what all questions say of them together.", PAIRS),
    "summary.csv": ("One row a suspect, candidate and question.", SUMMARY),
    "evidence.csv": ("One row a verdict and channel.", EVIDENCE),
    "prompts.csv": ("The prompts that contribute most for and against each kinship verdict, by channel.", PROMPTS),
    "observations.csv": ("What is shown of each model beside the verdicts.", OBSERVATIONS),
    "attribution.csv": ("One row a suspect and known model, if attribution was asked.", ATTRIBUTION),
    "survey.csv": ("One row a pair of models, the closest first, if a survey was asked.", SURVEY),
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
        "Written by `python -m harness.report.tables > docs/data-dictionary.md`.",
    ]
    for name, (about, columns) in FILES.items():
        lines += ["", f"## {name}", "", about, "", "| column | holds |", "|---|---|"]
        lines += [f"| `{column}` | {text} |" for column, text in columns.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(dictionary())

MOST_CHARACTERS = 32_000  # a cell of a spreadsheet holds 32,767
_FORMULA = frozenset("=+-@|%")


def summary_csv(findings: Iterable[Finding]) -> str:
    """One row a suspect, candidate and question."""
    return _csv(
        tuple(SUMMARY),
        (
            [
                f.question, f.suspect, f.candidate, f.verdict, words.sentence(f), f.p_value, f.p_floor, f.p_adjusted,
                f.p_candidate, f.log10_lr, f.log10_lr_low, f.log10_lr_high,
                f.log10_lr_least, f.log10_lr_most, f.log10_lr_base, f.ratio_channel, f.log10_lr_taught,
                words.lr_words(f),
                f.effect, f.effect_low, f.effect_high,
                len(f.control_lineages), " ".join(f.control_lineages), f.prompts, f.coverage,
                "; ".join(words.limits(f)), f.p_same, f.p_same_adjusted, f.share_excluded,
                f.p_weights, f.p_weights_adjusted,
                *(("", NAN, NAN) if f.stop is None else (f.stop.rule, f.stop.stage, f.stop.stages)), f.p_stage,
            ]
            for f in findings
        ),
    )  # fmt: skip


def pairs_csv(findings: Sequence[Finding]) -> str:
    """One row a suspect and candidate: the conclusion on the pair."""
    verdicts = {(f.suspect, f.candidate, f.question): f.verdict for f in findings}
    rows = []
    for c in conclusions(findings):
        controls = [r.count for r in c.remedies if r.kind == "more controls"]
        rows.append(
            [
                c.suspect, c.candidate, words.concluded(c), "; ".join(c.clauses), "; ".join(c.conflicts),
                " ".join(c.open),
                "; ".join(words.remedies(c)),
                controls[0] if controls else NAN,
                *(verdicts.get((c.suspect, c.candidate, q), "") for q in ("kinship", "teaching", "identity")),
            ]
        )  # fmt: skip
    return _csv(tuple(PAIRS), rows)


def evidence_csv(findings: Iterable[Finding]) -> str:
    """One row a finding and channel."""
    return _csv(
        tuple(EVIDENCE),
        (
            [
                f.question, f.suspect, f.candidate, e.name, e.sees, e.unit, e.raw, e.control_low, e.control_high,
                e.effect, e.effect_low, e.effect_high, e.p, e.prompts, e.coverage, words.channel_note(e),
            ]
            for f in findings
            for e in f.evidence
        ),
    )  # fmt: skip


def attribution_csv(attributions: Iterable[Attribution]) -> str:
    """One row a suspect and known model, closest first; the probabilities of a suspect sum to 1."""
    return _csv(
        tuple(ATTRIBUTION),
        (
            [
                a.suspect,
                a.best,
                a.p_unknown,
                a.p_floor,
                m.name,
                m.probability,
                a.answers,
                attribution_note(a),
                a.tier,
                " ".join(a.named),
                a.rule,
                a.lineages,
                a.prompts or "",
                m.z,
                m.score,
                m.p,
                m.p_conformal,
                m.p_carried,
                m.lineage,
                m.maker,
                *m.recorded,
            ]
            for a in attributions
            for m in a.ranked or [Match("")]
        ),
    )


def survey_csv(s: Survey) -> str:
    """One row a pair of models, the closest first."""
    return _csv(
        tuple(SURVEY),
        (
            [p.a, p.b, *known, p.relation, p.excess, p.p, p.q, "yes" if p.stands else "no", p.group or "", p.support,
             survey_words.note(p)]
            for p, known in survey_words.table_rows(s)
        ),
    )  # fmt: skip


def prompts_csv(details: Iterable[Detail], table: Responses) -> str:
    """One row a kinship verdict, channel and telling prompt, strongest first; answers as excerpts."""
    at = {p.id: i for i, p in enumerate(table.prompts)}
    rows: list[Sequence[object]] = []
    for d in details:
        parties = [table.models.index(name) for name in (d.suspect, d.candidate)]
        for c in d.channels:
            count = {"for": 0, "against": 0}
            for t in c.telling:
                side = "for" if t.contribution > 0 else "against"
                count[side] += 1
                prompt = table.prompts[at[t.prompt]]
                said = [excerpt(first_answer(table, at[t.prompt], m) or "") for m in parties]
                rows.append(
                    ["kinship", d.suspect, d.candidate, c.channel, side, count[side], t.prompt, prompt.family,
                     t.contribution, t.similarity, t.unit, excerpt(prompt.text), *said]
                )  # fmt: skip
    return _csv(tuple(PROMPTS), rows)


def observations_csv(observations: Iterable[Observation]) -> str:
    """One row a model and observation."""
    rows = ([o.channel, o.model, o.what, excerpt(o.value)] for o in observations)
    return _csv(tuple(OBSERVATIONS), rows)


def cell(value: object) -> str:
    """One CSV cell: numbers to six digits, NaN empty, and text that cannot become a formula; nothing of it is lost."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    text = str(value)
    return "'" + text if isinstance(value, str) and _could_be_formula(text) else text


def _could_be_formula(text: str) -> bool:
    """OWASP, CSV injection: also after what a spreadsheet may skip (space, BOM, marks without width), or full width."""
    if text[:1] in ("\t", "\r", "\n"):
        return True
    first = next((c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf")), "")
    return unicodedata.normalize("NFKC", first)[:1] in _FORMULA if first else False


def _fitting(text: str) -> str:
    """A cell of a table to look at: without control characters, and no longer than a spreadsheet takes."""
    return harmless(text, MOST_CHARACTERS)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([_fitting(cell(v)) for v in row] for row in rows)
    return out.getvalue()
