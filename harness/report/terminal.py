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
from harness.report import words
from harness.report.text import one_line, short

NARROW = 80  # columns of a terminal


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
    stream.write("\n")
    table = Table(title=None, box=None, header_style="bold", pad_edge=False)
    cells = {
        "question": [f.question for f in findings],
        "suspect": [f.suspect for f in findings],
        "candidate": [f.candidate for f in findings],
        "verdict": [f"[bold]{f.verdict}[/bold]" for f in findings],
        "p": [_number(f.p_value) for f in findings],
        "p adj.": [_number(f.p_adjusted) for f in findings],
        "log10 LR": [_number(f.log10_lr) for f in findings],
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


def print_attributions(attributions: Sequence[Attribution], stream: IO[str]) -> None:
    """For each suspect the model it is put down to, the likeliest if it is a known one, and what speaks for none."""
    for a in attributions:
        likeliest = max(a.probabilities, key=lambda name: a.probabilities[name], default="")
        known = f"; of the known models {likeliest} is the likeliest" if likeliest and likeliest != a.best else ""
        note = words.attribution_note(a)
        told = (
            f"attribution: {a.suspect} -> {a.best}{known} (an unknown model would look as "
            f"sure with p = {_number(a.p_unknown)}, {a.answers} answers){f'; {note}' if note else ''}"
        )
        stream.write(f"\n{one_line(told)}\n")


def _evidence(e: ChannelEvidence) -> str:
    peers = f"controls {_number(e.control_low)} to {_number(e.control_high)}"
    if math.isnan(e.control_low):
        peers = "no controls to compare"
    text = f"{e.name:22} {e.unit} {_number(e.raw)} ({peers}), effect {_number(e.effect)}"
    if not math.isnan(e.effect_low):
        text += f" [{_number(e.effect_low)}, {_number(e.effect_high)}]"
    note = words.channel_note(e)
    return f"{text}, p = {_number(e.p)}, {e.prompts} prompts" + (f"; {one_line(note)}" if note else "")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else short(value)


def where_text(paths: Sequence[Path]) -> str:
    """Where the files of a campaign lie, the one to look at first, and how to read it."""
    report = next(p for p in paths if p.suffix == ".html")
    others = ", ".join(p.name for p in paths if p != report)
    return (
        f"report: {report}\nfolder: {report.parent} ({others})\n"
        "Open the report in a browser. Read the sentence of a verdict before its numbers, and then its limits."
    )


def findings_json(findings: Sequence[Finding]) -> str:
    """Findings as JSON, with their sentences and the conclusion on their pair; NaN as null."""
    joined = {(c.suspect, c.candidate): _conclusion_record(c) for c in conclusions(findings)}
    records = [_record(f) | {"conclusion": joined[f.suspect, f.candidate]} for f in findings]
    return json.dumps([clean(r) for r in records], indent=2, allow_nan=False)


def _conclusion_record(c: Conclusion) -> dict[str, Any]:
    """A conclusion as plain values: its kinds, and the sentence."""
    return _without(dataclasses.asdict(c), "suspect", "candidate") | {"sentence": words.concluded(c)}


def _record(f: Finding) -> dict[str, Any]:
    """A finding as plain values: its numbers by name, its words, and its channels."""
    record = {
        k: v for k, v in dataclasses.asdict(f).items() if k not in ("judgement", "obstacle", "caveats", "evidence")
    }
    told = {"verdict": f.verdict, "sentence": words.sentence(f), "lr_words": words.lr_words(f)}
    return record | told | {"limits": words.limits(f), "evidence": [_channel_record(e) for e in f.evidence]}


def _channel_record(e: ChannelEvidence) -> dict[str, Any]:
    record = _without(dataclasses.asdict(e), "caveat", "surface", "weight", "controls")
    return record | {"channel": e.name, "note": words.channel_note(e)}


def change_line(c: Change) -> str:
    """What `monitor` found of one endpoint, in a line."""
    numbers = f"p = {c.p_value:.2g}, alpha {c.alpha:g}" if c.p_value == c.p_value else "no p-value"
    tests = "; ".join(
        f"{d.channel} {d.statistic:.3g}, baseline's halves {d.noise:.3g}, {d.prompts} prompts" for d in c.channels
    )
    notes = "".join(f"; {n}" for n in words.change_notes(c))
    found = words.change_sentence(c)
    return one_line(f"{c.endpoint}: {c.state}: {found} ({numbers}; {tests or 'nothing compared'}){notes}")


def changes_json(changes: Sequence[Change]) -> str:
    """What `monitor` found as JSON, NaN as null."""
    return json.dumps([clean(_change_record(c)) for c in changes], indent=2, allow_nan=False)


def _change_record(c: Change) -> dict[str, Any]:
    channels = [{**_without(dataclasses.asdict(d), "part"), "note": words.drift_note(d)} for d in c.channels]
    record = _without(dataclasses.asdict(c), "ground", "decisive", "bound", "news", "channels")
    return {**record, "sentence": words.change_sentence(c), "channels": channels, "notes": words.change_notes(c)}


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
