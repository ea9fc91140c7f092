"""Files of answers to a campaign that runs: who is suspect, candidate, control or kin. Command `harness compare`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.config import UNKNOWN, bare, guessed, load_config, roots_of
from harness.errors import ConfigError, meant
from harness.files import replacing
from harness.sources import Gathered
from harness.transfer import blocks_of, write_answers

ANSWERS = "answers.parquet"
CONFIG = "config.yaml"
FEWEST_LINEAGES = 2  # of controls, without which kinship cannot be asked
FEWEST_CONTROLS = 5  # lineages with which p can reach 0.05
_NOTE = """\
# `lineage:` is the pretrained root, `maker:` who made it; both are guessed from names. Write what you know
# in the place of every `?`, and mend what is wrong: of the controls one a lineage and one a maker counts,
# none of the makers of suspect and candidate. Kin of the candidate is `relative`: shown, never counted.
"""
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Casting:
    """Who plays what, as endpoints of a config; ``questions`` are those that these answers can be asked.

    ``controls`` is how many lineages of controls there are; a name that tells nothing counts as one of its own.
    ``shared`` counts the prompts that suspect and candidate both answered; ``left`` are those of one alone: how many,
    and an example.
    """

    endpoints: tuple[Values, ...]
    questions: tuple[str, ...]
    controls: int
    shared: int
    left: Mapping[str, tuple[int, str]]

    @property
    def lacks(self) -> int:
        """Control lineages that are missing before p can reach 0.05: others' answers, or live endpoints."""
        return max(0, FEWEST_CONTROLS - self.controls)

    def of(self, role: str) -> list[str]:
        """Models of one role."""
        return [e.get("model", e["name"]) for e in self.endpoints if e["role"] == role]


def named_model(wanted: str, models: Collection[str]) -> str:
    """The model that a user means: by its name, letter case and punctuation aside, or by a part that no other has."""
    if wanted in models:
        return wanted
    alike = [m for m in models if bare(m) == bare(wanted)] or [m for m in models if bare(wanted) in bare(m)]
    if len(alike) == 1 and bare(wanted):
        return alike[0]
    if alike:
        raise ConfigError(f"{wanted!r} may be {' or '.join(map(repr, alike[:4]))}", "write the whole name")
    raise ConfigError(f"no answers of a model called {wanted!r}", meant(wanted, models))


def in_order(files: Sequence[str], gathered: Gathered) -> tuple[str | None, str | None]:
    """Suspect and candidate by their order: of two models, or of the first two files if each holds one model's answers.

    None for both where the order says nothing.
    """
    readings = gathered.account.readings
    if len(files) > 1 and [r.source for r in readings[:2]] == [*files[:2]]:
        first = [r.models for r in readings[:2]]
        if all(len(m) == 1 for m in first) and first[0] != first[1]:
            return first[0][0], first[1][0]
    return (gathered.models[0], gathered.models[1]) if len(gathered.models) == 2 else (None, None)


def require_both(suspect: str | None, candidate: str | None, models: Sequence[str]) -> tuple[str, str]:
    """Suspect and candidate, if both are known; `ConfigError` that lists the models if not."""
    if len(models) < 2:
        raise ConfigError(f"answers of one model, {models[0]!r}, and nothing to compare it with", "name more files")
    if suspect is not None and candidate is not None:
        return suspect, candidate
    shown = ", ".join(models[:20]) + (f" and {len(models) - 20} more" if len(models) > 20 else "")
    raise ConfigError(f"{len(models)} models: who is suspected of what?", f"add --suspect M --candidate N, of {shown}")


def cast(path: Path, gathered: Gathered, suspect: str, candidate: str, lineage: str | None = None) -> Casting:
    """Roles, lineages and makers by names: kin of the candidate is `relative`, everybody else a control.

    ``path`` is where the answers are, as the config says it; ``lineage`` is the candidate's, if it is known. Kinship is
    asked with two control lineages or more, identity where suspect and candidate answered some prompts twice.
    `ConfigError` if neither can be asked, with what is missing.
    """
    endpoints = endpoints_for(suspect, candidate, lineage, blocks_of(path, gathered.models))
    controls = [e for e in endpoints if e["role"] == "control"]
    roots = len({e["name"] if e["lineage"] == UNKNOWN else e["lineage"] for e in controls})
    questions = [
        q for q, asked in (("kinship", roots >= 2), ("identity", _sampled(gathered, suspect, candidate))) if asked
    ]
    shared, left = _shared(gathered, suspect, candidate)
    if not questions:
        raise ConfigError(
            f"{roots} control lineage{'' if roots == 1 else 's'} beside {suspect!r} and {candidate!r}: without "
            "strangers nobody can say how alike strangers are",
            f"name files with answers of at least {FEWEST_CONTROLS} unrelated models to the same prompts, or ask live "
            "models these prompts (docs/files.md, Too few controls); with several answers to each prompt two models "
            "alone can be told apart, too",
        )
    return Casting(tuple(endpoints), tuple(questions), roots, shared, left)


def _sampled(gathered: Gathered, suspect: str, candidate: str) -> bool:
    return all(c.samples > 1 for c in gathered.account.models if c.model in (suspect, candidate))


def _shared(gathered: Gathered, suspect: str, candidate: str) -> tuple[int, dict[str, tuple[int, str]]]:
    """How many prompts both answered, and what one alone did; `ConfigError` that shows two if there are none."""
    asked: dict[str, dict[str, str]] = {suspect: {}, candidate: {}}
    for e in gathered.entries:
        if e.model in asked:
            asked[e.model].setdefault(str(e.prompt_id), e.prompt or str(e.prompt_id))
    both = asked[suspect].keys() & asked[candidate].keys()
    if not both:
        shown = "; ".join(f"{m} was asked {next(iter(prompts.values()))[:60]!r}" for m, prompts in asked.items())
        hint = "answers are compared on prompts that both were put: is the right column read as the prompt?"
        raise ConfigError(f"{suspect!r} and {candidate!r} answered no prompt in common: {shown}", hint)
    alone = {m: [text for p, text in prompts.items() if p not in both] for m, prompts in asked.items()}
    return len(both), {m: (len(texts), texts[0]) for m, texts in alone.items() if texts}


def endpoints_for(suspect: str, candidate: str, lineage: str | None, blocks: Sequence[Values]) -> list[dict[str, Any]]:
    """Endpoints of a config on recorded answers, suspect and candidate first; ``blocks`` are those of `blocks_of`."""
    roles = {suspect: "suspect", candidate: "candidate"}
    named = {block.get("model", block["name"]): block for block in blocks}
    root = lineage or named[candidate]["lineage"]
    kin = _roots({**named[candidate], "lineage": root})
    endpoints = []
    for model in dict.fromkeys([suspect, candidate, *named]):
        block = named[model]
        role = roles.get(model) or ("relative" if kin & _roots(block) else "control")
        endpoints.append({**block, "role": role} | ({"lineage": root} if model == candidate else {}))
        if role == "suspect":
            del endpoints[-1]["lineage"]  # it is what is asked
    return endpoints


def _roots(values: Values) -> frozenset[str]:
    return roots_of(values.get("lineage"), guessed(values.get("model") or values["name"]))


def config_text(name: str, casting: Casting, head: str = "", results: str | None = None) -> str:
    """The YAML of a campaign on recorded answers, with what to mend in it."""
    settings: dict[str, Any] = {"campaign": name} | ({"results": results} if results else {})
    settings |= {"prompts": [{"set": "recorded"}], "analysis": {"questions": list(casting.questions)}}
    endpoints = yaml.safe_dump({"endpoints": [dict(e) for e in casting.endpoints]}, sort_keys=False)
    return f"{head}{yaml.safe_dump(settings, sort_keys=False)}{_NOTE}{endpoints}"


def campaign_text(path: Path, gathered: Gathered, suspect: str | None, candidate: str | None) -> tuple[str, str]:
    """The YAML of a campaign on the answers in ``path``, and why it would not run, "" where it does.

    Suspect and candidate are the first two models where none are named. What cannot be compared gives endpoints only.
    """
    models = gathered.models
    one = named_model(suspect, models) if suspect else next((m for m in models if m != candidate), "")
    other = named_model(candidate, models) if candidate else next((m for m in models if m != one), "")
    try:
        one, other = require_both(one or None, other or None, models)
        casting = cast(path, gathered, one, other)
    except ConfigError as e:
        return yaml.safe_dump({"endpoints": blocks_of(path, models)}, sort_keys=False), str(e)
    head = "# Who is suspect and who candidate is yours to say: change `role:`.\n"
    return config_text(campaign_name(casting), casting, head), ""


def campaign_name(casting: Casting) -> str:
    """A folder's name from suspect and candidate."""
    first = [next(e["name"] for e in casting.endpoints if e["role"] == r) for r in ("suspect", "candidate")]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-vs-".join(first))[:64].strip("-._")


def lay_out(folder: Path, gathered: Gathered, casting: Casting, *, force: bool = False) -> Path:
    """Write answers and config into the folder of a campaign; returns the config's path, checked.

    A config that is there and says otherwise is not overwritten, for somebody may have mended it: `ConfigError`.
    """
    target = folder / CONFIG
    head = f"# Written by `harness compare`; change it and run it again: harness run {target}\n"
    text = config_text(folder.name, casting, head, results="..")
    if target.exists() and not force and target.read_text(encoding="utf-8") != text:
        hint = f"`harness run {target}` runs it as it stands; --name makes another, --force writes it anew"
        raise ConfigError(f"{target} is there already, and says something else", hint)
    write_answers(folder / ANSWERS, gathered.entries)
    with replacing(target, "choose another folder") as part:
        part.write_bytes(text.encode("utf-8"))
        load_config(part)
    return target
