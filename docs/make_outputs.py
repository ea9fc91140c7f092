"""What is printed in README.md and the manual, out of one run: `python docs/make_outputs.py`, without a network.

The default campaign is scored from its pack, examples/gallery/default.zip. With `--cases` the tables of cases are
written, too, from `results/`, as the commands in docs/cases.md leave it. A text between two marks is replaced:
``<!-- NAME: ... -->`` and ``<!-- /NAME -->``.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACK = ROOT / "examples" / "gallery" / "default.zip"
WIDTH = 120
PRINTED = ("README.md", "docs/first-campaign.md")  # where the default campaign's output stands


@dataclass(frozen=True)
class Case:
    """A row of a table of cases: whose verdict of which campaign, and what is known of the two."""

    campaign: str
    suspect: str
    candidate: str
    known: str
    question: str = "kinship"
    note: str = ""
    shown: tuple[str, str] = ("", "")  # names as the table has them

    @property
    def names(self) -> tuple[str, str]:
        return self.shown[0] or self.suspect, self.shown[1] or self.candidate


R1, R1_0528 = "DeepSeek-R1", "R1-0528"
GPT = "gpt-4.1-2025-04-14"
KIN = ("fine-tuned from it", "a preview of it", "one pretrained root")  # what kinship should find
OPEN = "no closer, but text does not exclude a shared base"
CASES = (
    Case("r1-children", "r1-1776", "deepseek-r1", "fine-tuned from it", shown=("R1-1776", R1)),
    Case("r1-children", "mai-ds-r1-fp8", "deepseek-r1", "fine-tuned from it", shown=("MAI-DS-R1", R1)),
    Case("cloaked-gpt-4.1", "optimus-alpha", GPT, "a preview of it", shown=("Optimus Alpha", "GPT-4.1")),
    Case("cloaked-gpt-4.1", "quasar-alpha", GPT, "a preview of it", shown=("Quasar Alpha", "GPT-4.1")),
    Case("stranger", "grok-3-beta", "deepseek-r1", "unrelated", note=OPEN, shown=("Grok 3", R1)),
    Case("r1-0528", "r1-0528", "gemini-1.5-pro", "nothing", "teaching", "no sign of it", (R1_0528, "Gemini 1.5 Pro")),
    Case("r1-0528", "r1-0528", "gemini-1.5-pro", "nothing", shown=(R1_0528, "Gemini 1.5 Pro")),
    Case("r1-0528", "r1-0528", "deepseek-r1", "one pretrained root", "teaching", "no sign of it", (R1_0528, R1)),
    Case("r1-0528", "r1-0528", "deepseek-r1", "one pretrained root", shown=(R1_0528, R1)),
    Case("local-swap", "honest", "reference", "the same weights", "identity"),
    Case("local-swap", "swapper", "reference", "another model", "identity"),
)  # fmt: skip
NAMED = {  # what is known of the suspects of which-model, and whether the answer is right
    "optimus-alpha": ("a preview of GPT-4.1", ""),
    "quasar-alpha": ("a preview of GPT-4.1", ", a miss"),
    "horizon-beta": ("a preview of GPT-5, not among them", ": right of the model, its maker is missed"),
}
FEW = 5  # of them stand in the README


def printed(pack: Path = PACK) -> str:
    """What `harness score` prints of a pack: conclusions, the table, a sentence a verdict; no lines of channels."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(pack) as archive:
            archive.extractall(folder)
        (config,) = Path(folder).glob("*/config.yaml")
        command = [sys.executable, "-m", "harness", "score", str(config), "--quiet"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return "\n".join(brief(done.stdout)) + "\n"


def brief(text: str) -> Iterator[str]:
    """The lines of an output that a manual shows, wrapped."""
    conclusions, table, *findings = text.strip("\n").split("\n\n")
    for line in conclusions.split("\n"):
        indent = "  " if line.startswith("  ") else ""
        yield from textwrap.wrap(
            line.strip(), WIDTH, initial_indent=indent, subsequent_indent="  ", break_on_hyphens=False
        )
    yield from ("", *(line.rstrip() for line in table.split("\n")), "")
    for finding in findings:
        yield from textwrap.wrap(finding.split("\n")[0], WIDTH, break_on_hyphens=False)


def rows(cases: tuple[Case, ...], results: Path) -> Iterator[str]:
    """A table of verdicts, out of the `summary.csv` of each campaign."""
    yield "| suspect | candidate | what is known | question | verdict | p | p adj. | log10 LR |"
    yield "|---|---|---|---|---|---|---|---|"
    for case in cases:
        with (results / case.campaign / "summary.csv").open(newline="", encoding="utf-8") as f:
            key = (case.question, case.suspect, case.candidate)
            (found,) = (r for r in csv.DictReader(f) if (r["question"], r["suspect"], r["candidate"]) == key)
        missed = case.question == "kinship" and case.known in KIN and found["verdict"] == "INCONCLUSIVE"
        verdict = ": ".join(filter(None, (found["verdict"], "a miss" if missed else case.note)))
        ratio = number(found["log10_lr"]) if case.question == "kinship" else ""
        cells = (*case.names, case.known, case.question, verdict, number(found["p_value"]), number(found["p_adjusted"]))
        yield f"| {' | '.join(cells)} | {ratio or ('none: it thinks first' if case.question == 'kinship' else '')} |"


def attributions(results: Path) -> Iterator[str]:
    """A table of which known model is named, out of the `attribution.csv` of that campaign."""
    with (results / "which-model" / "attribution.csv").open(newline="", encoding="utf-8") as f:
        found = list(csv.DictReader(f))
    yield "| suspect | what is known | answer | closest of 14 | score | p of an unknown model |"
    yield "|---|---|---|---|---|---|"
    for suspect, (known, note) in NAMED.items():
        best = max((r for r in found if r["suspect"] == suspect), key=lambda r: float(r["score"]))
        named = f"{best['attributed_to']} or close kin of it" if best["tier"] == "model" else "none of these"
        cells = (suspect, known, named + note, best["known_model"], number(best["score"]), number(best["p_unknown"]))
        yield f"| {' | '.join(cells)} |"


def number(text: str) -> str:
    """Two digits, as a reader needs them."""
    return f"{float(text):.2g}" if text else ""


def replaced(page: str, name: str, text: str) -> str:
    """A page with the text between the marks of ``name`` exchanged; `ValueError` if it has no such marks."""
    pattern = rf"(<!-- {re.escape(name)}: [^>]*-->\n).*?(<!-- /{re.escape(name)} -->)"
    made, count = re.subn(pattern, lambda m: f"{m[1]}\n{text}\n{m[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{count} places for {name}")
    return made


def write(path: Path, name: str, text: str) -> None:
    """Put a text between its marks in a file."""
    path.write_text(replaced(path.read_text("utf-8"), name, text), "utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python docs/make_outputs.py", description=__doc__)
    parser.add_argument("--cases", action="store_true", help="the tables of cases, too, from results/")
    given = parser.parse_args(arguments)
    text = f"```text\n{printed()}```\n"
    for page in PRINTED:
        write(ROOT / page, "default", text)
    if given.cases:
        write(ROOT / "docs" / "cases.md", "cases", "\n".join(rows(CASES, ROOT / "results")) + "\n")
        write(ROOT / "docs" / "cases.md", "attributions", "\n".join(attributions(ROOT / "results")) + "\n")
        write(ROOT / "README.md", "cases", "\n".join(rows(CASES[:FEW], ROOT / "results")) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
