"""Commands on answers that exist: `compare` (files to a verdict) and `import` (files to a file that campaigns read)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import Json, Quiet, show_block, show_scores, tell

if TYPE_CHECKING:
    from harness.comparison import Casting
    from harness.sources import Gathered, Role

app = typer.Typer()


def _column(role: str) -> Any:
    return typer.Option(
        f"--{role}-column", help="Or a path into one: a.b.0.c. Default: guessed and shown.", show_default=False
    )


Files = Annotated[
    list[str],
    typer.Argument(
        help="CSV, TSV, XLSX, JSON, JSONL, Parquet, folders of them, logs (Inspect, lm-eval, promptfoo, HELM, garak, "
        "batches of OpenAI and Anthropic, proxies), pairs of arenas, or hf:NAME[:SPLIT].",
        show_default=False,
    ),
]
Model = Annotated[str | None, typer.Option(help="Model of all rows, whatever they say.")]
ModelColumn = Annotated[str | None, _column("model")]
PromptIdColumn = Annotated[str | None, _column("prompt-id")]
PromptColumn = Annotated[str | None, _column("prompt")]
OutputColumn = Annotated[str | None, _column("output")]
SampleColumn = Annotated[str | None, _column("sample")]
ReasoningColumn = Annotated[str | None, _column("reasoning")]


def _columns(*named: str | None) -> dict[Role, str]:
    """The columns that were named, by role: model, prompt ID, prompt, output, sample, reasoning."""
    roles: tuple[Role, ...] = ("model", "prompt_id", "prompt", "output", "sample", "reasoning")
    return {role: column for role, column in zip(roles, named, strict=True) if column}


def _gathered(files: Sequence[str], model: str | None, columns: Mapping[Role, str], *, quiet: bool = False) -> Gathered:
    """The answers in ``files``, with the columns that were named; what was read and guessed is told."""
    from harness.report.account import account_lines
    from harness.sources import gather

    gathered = gather(files, columns, model)
    if not quiet:
        tell(*account_lines(gathered.account))
    return gathered


@app.command(epilog="Example: harness compare answers.xlsx --suspect nova --candidate qwen2.5-7b")
def compare(
    files: Files,
    suspect: Annotated[str | None, typer.Option(help="Model in question; a part of its name will do.")] = None,
    candidate: Annotated[str | None, typer.Option(help="Model that it may be made from.")] = None,
    lineage: Annotated[str | None, typer.Option(help="The candidate's pretrained root, if its name is silent.")] = None,
    name: Annotated[str | None, typer.Option(help="Folder under the results; default: SUSPECT-vs-CANDIDATE.")] = None,
    results: Annotated[Path, typer.Option(help="Where the folder goes.")] = Path("results"),
    model: Model = None,
    model_column: ModelColumn = None,
    prompt_id_column: PromptIdColumn = None,
    prompt_column: PromptColumn = None,
    output_column: OutputColumn = None,
    sample_column: SampleColumn = None,
    reasoning_column: ReasoningColumn = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Go on without asking.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write a config anew that is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """From files of answers to a verdict: read them, show what was guessed, compare, and write a report.

    With two files of one model each the first is the suspect's. All other models are controls, but for kin of the
    candidate. It leaves a campaign that `run`, `score`, `verify` and `pack` take.
    """
    from harness.comparison import campaign_name, lay_out

    gathered = _gathered(files, model, _columns(model_column, prompt_id_column, prompt_column, output_column,
                                                sample_column, reasoning_column), quiet=quiet)  # fmt: skip
    asks = sys.stdin.isatty() and not yes
    casting = _cast(files, gathered, suspect, candidate, lineage, asks=asks)
    if not quiet:
        for line in _casting_lines(casting):
            tell(line)
    try:
        if asks and not typer.confirm("Is that right?", default=True, err=True):
            tell("nothing was written; name columns with --output-column and the like, or see docs/files.md")
            raise typer.Exit(0)
    except typer.Abort:
        raise typer.Exit(130) from None
    config = lay_out(results / (name or campaign_name(casting)), gathered, casting, force=force)
    _run(config, casting.lacks, as_json=as_json, quiet=quiet)


def _cast(
    files: Sequence[str], gathered: Gathered, suspect: str | None, candidate: str | None, lineage: str | None, *,
    asks: bool,
) -> Casting:  # fmt: skip
    """Who is suspected of what: as named, as the order of the files says, or as answered."""
    from harness.comparison import ANSWERS, cast, in_order, named_model, require_both

    models = gathered.models
    if suspect is None and candidate is None:
        suspect, candidate = in_order(files, gathered)
    if asks and suspect is None:
        suspect = _model_asked("The suspect, the model in question", [m for m in models if m != candidate])
    if asks and candidate is None:
        candidate = _model_asked(
            "The candidate, the model that it may be made from", [m for m in models if m != suspect]
        )
    one, other = require_both(suspect, candidate, models)
    return cast(Path(ANSWERS), gathered, named_model(one, models), named_model(other, models), lineage)


def _model_asked(question: str, models: Sequence[str]) -> str:
    from harness.comparison import named_model
    from harness.errors import ConfigError

    while True:
        try:
            return named_model(str(typer.prompt(question, err=True)).strip(), models)
        except ConfigError as e:
            tell(f"  {e.message}: {e.hint}")
        except typer.Abort:
            raise typer.Exit(130) from None


def _casting_lines(casting: Casting) -> list[str]:
    """Who plays what, with lineage and maker, `?` where the name tells nothing."""
    from harness.comparison import FEWEST_LINEAGES
    from harness.report.text import excerpt

    def told(e: Mapping[str, Any]) -> str:
        return f"{excerpt(e.get('model', e['name']), 60)} (lineage {e.get('lineage', 'asked')}, maker {e['maker']})"

    by_role = {role: [e for e in casting.endpoints if e["role"] == role] for role in ROLES}
    lines = [f"{role}: {', '.join(map(told, found))}" for role, found in by_role.items() if found]
    prompts = "1 prompt" if casting.shared == 1 else f"{casting.shared} prompts"
    lines.append(f"compared on {prompts} that suspect and candidate both answered")
    for model, (count, prompt) in casting.left.items():
        lines.append(f"  left out: {count} that {excerpt(model, 60)} alone answered, such as {excerpt(prompt, 80)!r}")
    if "kinship" not in casting.questions:
        lines.append(
            f"kinship is not asked: it needs {FEWEST_LINEAGES} control lineages, and there are {casting.controls}"
        )
    if any("?" in (e.get("lineage"), e["maker"]) for e in casting.endpoints):
        lines.append("`?`: its name does not tell; write what you know into the config and run it again")
    return lines


ROLES = ("suspect", "candidate", "control", "relative")


def _run(config: Path, lacks: int, *, as_json: bool, quiet: bool) -> None:
    """Run the campaign of a config on recorded answers; nobody is called."""
    from harness.campaign import run_campaign, write
    from harness.check import check_endpoints, warnings
    from harness.cli.progress import scoring
    from harness.plan import prepare

    plan = prepare(config, os.environ)
    for note in warnings(plan, check_endpoints(plan, os.environ, offline=True)):
        tell(f"warning: {note}")
    with scoring(quiet=quiet) as watch:
        scores = run_campaign(plan, say=tell, watch=watch)
        written = write(plan, scores, watch=watch)
    show_scores(scores, written, as_json=as_json, quiet=quiet)
    if not quiet:
        tell(f"lineages and makers stand in {os.path.relpath(config)}; mend them, then: harness run {config}")
        for line in _lacking_lines(lacks, config):
            tell(line)


def _lacking_lines(lacks: int, config: Path) -> list[str]:
    """Where controls come from that no file has: what they cost is shown before a call."""
    if not lacks:
        return []
    return [
        f"{lacks} more control lineages would let p reach 0.05. Live models can be asked the same prompts: add each "
        f"under `endpoints:` in {os.path.relpath(config)} (role: control, with address and key), see the price with "
        f"harness run {config} --dry-run, then run it without (docs/files.md, Too few controls)"
    ]


@app.command("import", epilog="Example: harness import outputs.csv --model-column generator --out data/outputs")
def import_(
    files: Files,
    out: Annotated[Path, typer.Option(help="Parquet file to write; .parquet is added.")],
    suspect: Annotated[str | None, typer.Option(help="Model in question; default: the first.")] = None,
    candidate: Annotated[str | None, typer.Option(help="Model that it may be made from; default: the second.")] = None,
    model: Model = None,
    model_column: ModelColumn = None,
    prompt_id_column: PromptIdColumn = None,
    prompt_column: PromptColumn = None,
    output_column: OutputColumn = None,
    sample_column: SampleColumn = None,
    reasoning_column: ReasoningColumn = None,
) -> None:
    """Turn recorded outputs into a file that `recorded` endpoints read, and print the YAML of a campaign on it."""
    from harness.comparison import campaign_text
    from harness.transfer import write_answers

    target = out if out.suffix == ".parquet" else out.with_name(out.name + ".parquet")
    gathered = _gathered(files, model, _columns(model_column, prompt_id_column, prompt_column, output_column,
                                                sample_column, reasoning_column))  # fmt: skip
    write_answers(target, gathered.entries)
    text, lacks = campaign_text(target, gathered, suspect, candidate)
    show_block(text.rstrip())
    tell(f"{len(gathered.entries)} answers of {len(gathered.models)} models -> {target}")
    tell(
        f"no campaign yet: {lacks}"
        if lacks
        else "that is a campaign: write it to config.yaml, then harness run config.yaml"
    )
