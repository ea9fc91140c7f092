"""Six finished reports and the page that shows them, from examples/gallery/, without a network.

`python docs/make_gallery.py` writes docs/gallery.md. The manual's build calls `on_files` of this file, which puts the
reports into the site (HARNESS_GALLERY names a folder where they have been made already), and `on_post_build`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.campaign import Scores

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples" / "gallery"
PAGE = ROOT / "docs" / "gallery.md"
WIDTH = 120
HEAD = """# Six finished reports

What a report says in the six cases that come up most, from answers that are shipped in `examples/gallery/`. The first
four are answers of real small models, served by the harness itself (the router's are put together out of two of them);
the last two are of models that do not exist, made by `examples/gallery/make.py`. `python docs/make_gallery.py` writes
this page, the build of the manual writes the reports, both without a network. In a checkout the command beside each
report writes it to `results/gallery/`.
"""
TOLD = {  # by campaign: what it is, what is true, how to read it
    "hit": (
        "Hit",
        "*nova* says that it is Nova of Aurora Labs. It is SmolLM2-135M behind a system prompt.",
        "As it is served it differs. Raw completions, which no system prompt reaches, are the candidate's.",
    ),
    "stranger": (
        "Stranger",
        "*orion* says that it is SmolLM2. It is Qwen2.5-Coder-0.5B.",
        "Told apart where no system prompt reaches. What it says of itself counts for nothing.",
    ),
    "swap": (
        "Swap",
        "Two providers sell Qwen2.5-Coder-0.5B. *honest* serves it, *swapper* serves SmolLM2-135M.",
        "One test clears the one and finds the other. `SAME-LIKE`: three routed calls in ten would have shown.",
    ),
    "router": (
        "Router",
        "*router* sells Qwen2.5-Coder-0.5B and sends every second call, by chance, to SmolLM2-135M.",
        "Half of the calls are enough to tell it from the reference. The word is that of a swap: pin one host and "
        "ask again.",
    ),
    "hub": (
        "Hub",
        "*common* says what any of ten strangers might say. It is kin of none of them.",
        "It is closer to the candidate than any two strangers are to each other, and about as close as is *expected* "
        "of two models that resemble everybody: {closeness}. That is why a similarity alone is no evidence.",
    ),
    "garbage": (
        "Garbage",
        "*broken* returns error pages, nothing, one sentence for every question, or noise.",
        "No verdict, for or against: what is no answer is counted, told, and left out.",
    ),
}


@dataclass(frozen=True)
class Finished:
    """A campaign that was scored, and the folder with its report."""

    name: str
    scores: Scores
    folder: Path


def finish(out: Path) -> Iterator[Finished]:
    """Score every campaign of the gallery, and write its report to ``out``/NAME/."""
    from harness import load_config, run_campaign, write

    for name in TOLD:
        campaign = load_config(EXAMPLES / f"{name}.yaml").model_copy(update={"results": out})
        scores = run_campaign(campaign, base=EXAMPLES)
        write(campaign, scores, base=EXAMPLES)
        yield Finished(name, scores, out / name)


def page(out: Path) -> str:
    """docs/gallery.md as text; the reports are left in ``out``."""
    return "\n".join([HEAD, *(part for found in finish(out) for part in shown(found))])


def shown(found: Finished) -> Iterator[str]:
    """One report: what it is of, what it concludes, its verdicts, and how to read it."""
    from harness import sentence
    from harness.inference.conclusion import conclusions
    from harness.report.words import concluded

    title, truth, reading = TOLD[found.name]
    yield from (f"## {title}", "", *_wrapped(truth), "")
    for c in conclusions(found.scores.findings):
        yield from (*_wrapped(concluded(c), "> "), "")
    for f in found.scores.findings:
        yield from _wrapped(f"* `{f.verdict}` ({f.suspect}, {f.question}): {sentence(f)}", hanging=True)
    if "{closeness}" in reading:
        reading = reading.format(closeness=closeness(found.scores))
    yield from ("", *_wrapped(reading), "")
    links = f"[The report](gallery/{found.name}/report.html), [all answers](gallery/{found.name}/answers.html)"
    yield f"{links}: `harness run examples/gallery/{found.name}.yaml`"
    yield ""


def closeness(scores: Scores) -> str:
    """The first pair's similarity of wording, what was expected of it, and the largest of two that are neither."""
    f = scores.findings[0]
    wording = scores.to_pandas()["pairs"].query("channel == 'wording'")
    own = wording["a"].isin([f.suspect, f.candidate]), wording["b"].isin([f.suspect, f.candidate])
    (pair,), strangers = wording[own[0] & own[1]].itertuples(), wording[~own[0] & ~own[1]]
    return f"{pair.raw:.3g}, expected {pair.expected:.3g}, strangers {strangers['raw'].max():.3g} at most"


def _wrapped(text: str, before: str = "", *, hanging: bool = False) -> list[str]:
    """Lines of a paragraph."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=before, subsequent_indent="  " if hanging else before, break_on_hyphens=False
    )


def on_files(files: Any, config: Any) -> Any:
    """What the manual's build calls: the reports and their pages of answers, as files of the site."""
    from properdocs.structure.files import File

    made = os.environ.get("HARNESS_GALLERY")
    out = Path(made) if made else Path(tempfile.mkdtemp(prefix="gallery-"))
    if not made:
        sys.path.insert(0, str(ROOT))
        list(finish(out))
    for name in TOLD:
        for path in sorted((out / name).glob("*.html")):
            files.append(File.generated(config, f"gallery/{name}/{path.name}", abs_src_path=str(path)))
    return files


def on_post_build(config: Any) -> None:
    """What the manual's build calls last: its search takes the index as a script, which works from the disk, too."""
    search = Path(config["site_dir"]) / "search"
    index = (search / "search_index.json").read_text("utf-8")
    (search / "index.js").write_text(f"window.searchIndex = {index};\n", "utf-8")
    (search / "main.js").write_text((ROOT / "docs" / "search.js").read_text("utf-8"), "utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(Path(folder)), "utf-8")
