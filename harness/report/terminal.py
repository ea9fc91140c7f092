"""Findings for the terminal: a table and sentences, with nothing a model said able to move the cursor."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from harness.inference.conclusion import Conclusion, conclusions
from harness.inference.drift import Change
from harness.inference.findings import Attribution, ChannelEvidence, Finding
from harness.inference.quick_look import Look
from harness.inference.survey import Survey
from harness.records import Observation
from harness.report import changes, naming, numbers, survey_words, words
from harness.report.caveats import stopped
from harness.report.text import one_line

NARROW = 80  # columns of a terminal
MOST_PAIRS = 40  # of a survey
NEAREST = 5  # known models listed under an attribution


def print_findings(findings: Sequence[Finding], stream: IO[str]) -> None:
    """One conclusion a pair, a table of verdicts, then what each means and what limits it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 120)
    if not findings:
        return
    width = console.width if stream.isatty() else None
    for c in conclusions(findings):
        stream.write(f"{_wrapped(one_line(words.joined(c)), width, '')}\n")
        if settles := words.settles(c):
            stream.write(f"{_wrapped(one_line(settles), width, '  ')}\n")
        for f in (f for f in findings if (f.suspect, f.candidate) == (c.suspect, c.candidate) and f.stop is not None):
            stream.write(f"{_wrapped(f'{f.question}: {stopped(f)}.', width, '  ')}\n")
    stream.write("\n")
    table = Table(title=None, box=None, header_style="bold", pad_edge=False)
    cells = {
        "question": [f.question for f in findings],
        "suspect": [f.suspect for f in findings],
        "candidate": [f.candidate for f in findings],
        "verdict": [f"[bold]{f.verdict}[/bold]" for f in findings],
        "p": [numbers.number(f.p_value) for f in findings],
        "p adj.": [numbers.number(f.p_adjusted) for f in findings],
        "log10 LR": [numbers.ratio(f) for f in findings],
        "controls": [str(len(f.control_lineages)) for f in findings],
    }
    if console.width < NARROW:  # a verdict cut short is worse than a number left to the report
        del cells["p"], cells["controls"]
    for name in cells:
        folds = name in ("suspect", "candidate")
        table.add_column(name, min_width=len(name), no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    console.print(table)
    for f in findings:
        stream.write(f"\n{_wrapped(f'{f.question}: {one_line(words.sentence(f))}', width, '')}\n")
        for e in f.evidence:
            stream.write(f"{_wrapped(_evidence(e), width, '  ')}\n")
        for limit in words.limits(f):
            stream.write(f"{_wrapped(f'limit: {one_line(limit)}', width, '  ')}\n")


def _wrapped(text: str, width: int | None, indent: str) -> str:
    """Lines as wide as the terminal, what goes on set in; a program that reads gets one line."""
    if width is None:
        return indent + text
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=f"{indent}{indent}", tabsize=1)


def print_contradictions(observations: Sequence[Observation], stream: IO[str]) -> None:
    """What answers say of themselves against what was asked: first of all, and never counted."""
    found = [o for o in observations if o.channel == "metadata"]
    for o in found:
        stream.write(f"observed, {o.what}: {one_line(o.model)}: {one_line(o.value)}\n")
    if found:
        stream.write("\n")


def print_attributions(attributions: Sequence[Attribution], stream: IO[str]) -> None:
    """For each suspect what it is called, by what, and the known models that are closest."""
    for a in attributions:
        note = naming.attribution_note(a)
        stream.write(f"\nattribution: {one_line(naming.attributed(a))}\n")
        stream.write(f"  {one_line(naming.attribution_basis(a))}{f'; {one_line(note)}' if note else ''}\n")
        for m in a.ranked[:NEAREST]:
            if m.score == m.score:
                score, z, p = map(numbers.number, (m.score, m.z, m.p))
                stream.write(f"  {m.name:28} score {score} (z {z}), p = {p}\n")


def print_survey(s: Survey | None, stream: IO[str]) -> None:
    """What a survey found: its pairs that stand, the closest first, its groups and its limits."""
    if s is None:
        return
    stream.write(f"\nsurvey: {one_line(survey_words.headline(s))} {one_line(survey_words.meaning(s))}\n")
    for number in range(1, len(s.groups) + 1):
        stream.write(f"  group {number}: {one_line(survey_words.group_name(s, number))}\n")
    for p in s.standing[:MOST_PAIRS]:
        ranks = (
            f"excess {numbers.number(p.excess)}, p = {numbers.number(p.p)}, q = {numbers.number(p.q)}, group {p.group}"
        )
        stream.write(f"  {one_line(p.a)} and {one_line(p.b)}: {ranks}\n")
    if len(s.standing) > MOST_PAIRS:
        stream.write(f"  and {len(s.standing) - MOST_PAIRS} more, in survey.csv\n")
    for limit in survey_words.limits(s):
        stream.write(f"  limit: {one_line(limit)}\n")


def _evidence(e: ChannelEvidence) -> str:
    text = f"{e.name:22} {numbers.similarity(e)}, effect {numbers.channel_effect(e)}"
    note = words.channel_note(e)
    return f"{text}, p = {numbers.number(e.p)}, {e.prompts} prompts" + (f"; {one_line(note)}" if note else "")


def where_text(paths: Sequence[Path]) -> str:
    """Where the files of a campaign lie, the one to look at first, and how to read it."""
    report = next(p for p in paths if p.suffix == ".html")
    others = ", ".join(p.name for p in paths if p != report)
    return (
        f"report: {report}\nfolder: {report.parent} ({others})\n"
        "Open the report in a browser. Read the sentence of a verdict before its numbers, and then its limits."
    )


def findings_json(
    findings: Sequence[Finding], attributions: Sequence[Attribution] = (), survey: Survey | None = None
) -> str:
    """Findings as JSON, with their sentences and the conclusion on their pair; then attributions and a survey."""
    joined = {(c.suspect, c.candidate): _conclusion_record(c) for c in conclusions(findings)}
    records = [_record(f) | {"conclusion": joined[f.suspect, f.candidate]} for f in findings]
    records += [_attribution_record(a) for a in attributions]
    records += [] if survey is None else [survey_words.record(survey)]
    return json.dumps([clean(r) for r in records], indent=2, allow_nan=False)


def _attribution_record(a: Attribution) -> dict[str, Any]:
    """An attribution as plain values: its numbers by name, its words, and the known models, closest first."""
    record = _without(dataclasses.asdict(a), "caveat", "matches", "probabilities")
    told = {"sentence": naming.attributed(a), "basis": naming.attribution_basis(a), "note": naming.attribution_note(a)}
    return {"question": "attribution", **record, **told, "known": [dataclasses.asdict(m) for m in a.ranked]}


def _conclusion_record(c: Conclusion) -> dict[str, Any]:
    """A conclusion as plain values: its kinds, and the sentence."""
    return _without(dataclasses.asdict(c), "suspect", "candidate") | {"sentence": words.concluded(c)}


def _record(f: Finding) -> dict[str, Any]:
    """A finding as plain values: its numbers by name, its words, and its channels."""
    record = {
        k: v for k, v in dataclasses.asdict(f).items() if k not in ("judgement", "obstacle", "caveats", "evidence")
    }
    told = {
        "verdict": f.verdict,
        "log10_lr_bound": f.bound,
        "stopped": stopped(f),
        "sentence": words.sentence(f),
        "lr_words": words.lr_words(f),
    }
    return record | told | {"limits": words.limits(f), "evidence": [_channel_record(e) for e in f.evidence]}


def _channel_record(e: ChannelEvidence) -> dict[str, Any]:
    record = _without(dataclasses.asdict(e), "caveat", "surface", "controls", "spread", "size")
    scaled = {name: e.scaled(record[name]) for name in ("effect", "effect_low", "effect_high", "peer_low", "peer_high")}
    known = {"channel": e.name, "expected": e.expected, "residual": e.residual, "effect_in_noise": e.effect}
    return record | scaled | known | {"note": words.channel_note(e)}


def look_json(look: Look) -> str:
    """A quick look as JSON, with its words; NaN as null."""
    sights = [dataclasses.asdict(s) | {"says": naming.sight_said(s)} for s in look.sights]
    return json.dumps(clean(dataclasses.asdict(look) | {"sights": sights}), indent=2, allow_nan=False)


def change_line(c: Change) -> str:
    """What `monitor` found of one endpoint, in a line."""
    numbers = f"p = {c.p_value:.2g}, alpha {c.alpha:g}" if c.p_value == c.p_value else "no p-value"
    tests = "; ".join(
        f"{d.channel} {d.statistic:.3g}, baseline's halves {d.noise:.3g}, {d.prompts} prompts" for d in c.channels
    )
    notes = "".join(f"; {n}" for n in changes.change_notes(c))
    found = changes.change_sentence(c)
    asked = f"; {c.calls} of {c.planned} calls" if c.planned else ""
    asked += f"; {changes.baseline_words(c.against)}" if c.against else ""
    return one_line(f"{c.endpoint}: {c.state}: {found} ({numbers}; {tests or 'nothing compared'}{asked}){notes}")


def foreseen_line(c: Change) -> str:
    """What `monitor` will compare of one endpoint, and what it cannot test: said before anybody is asked."""
    tested = ", ".join(f"{d.channel} on {d.prompts} prompts" for d in c.channels if d.part == "counted")
    against = f", {changes.baseline_words(c.against)}" if c.against else ""
    cannot = f"cannot be tested: {changes.change_sentence(c)}" if c.state == "cannot tell" else f"tests {tested}"
    notes = "".join(f"; {d.channel} {note}" for d in c.channels if (note := changes.drift_note(d)))
    return one_line(f"{c.endpoint}: {cannot}{against}{notes}{changes.unseen_words(c)}")


def changes_json(found: Sequence[Change]) -> str:
    """What `monitor` found as JSON, NaN as null."""
    return json.dumps([clean(_change_record(c)) for c in found], indent=2, allow_nan=False)


def _change_record(c: Change) -> dict[str, Any]:
    channels = [{**_without(dataclasses.asdict(d), "part"), "note": changes.drift_note(d)} for d in c.channels]
    record = _without(dataclasses.asdict(c), "ground", "decisive", "bound", "news", "channels")
    return {**record, "sentence": changes.change_sentence(c), "channels": channels, "notes": changes.change_notes(c)}


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in names}


def clean(value: Any) -> Any:
    """``value`` as JSON can hold it: what is not finite becomes None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value
