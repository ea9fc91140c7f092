"""Templates of a first config: made from the shipped examples, with endpoints of one's own filled in."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from harness.config import (
    UNKNOWN,
    Campaign,
    Local,
    Recorded,
    Remote,
    bare,
    guessed,
    load_config,
    read_text,
    roots_of,
)
from harness.errors import ConfigError, meant
from harness.files import replacing, write_whole


@dataclass(frozen=True)
class Block:
    """One endpoint: its lines ``first`` to ``last`` (from 0, ``last`` not included), its indent and what it says."""

    first: int
    last: int
    indent: int
    values: Mapping[str, Any]


def endpoint_blocks(text: str) -> list[Block]:
    """Every item under ``endpoints:`` of a YAML text that is written one endpoint a line or more.

    Raises `ConfigError` if there are none, or two begin on one line.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    node = next((v for k, v in pairs if k.value == "endpoints"), None)
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise ConfigError("no endpoints in this text", "write a list under `endpoints:`")
    values = yaml.safe_load(text)["endpoints"]
    lines = text.splitlines()
    firsts = [n.start_mark.line for n in node.value]
    if len(set(firsts)) < len(firsts):
        raise ConfigError("two endpoints on one line", "write each on a line of its own")
    return [_block(n, v, lines) for n, v in zip(node.value, values, strict=True)]


def _block(node: yaml.Node, values: Mapping[str, Any], lines: list[str]) -> Block:
    first = node.start_mark.line
    indent = len(lines[first]) - len(lines[first].lstrip())
    last = max(_ends(node, node.start_mark.index)) + 1
    while last < len(lines) and re.match(rf"\s{{{indent + 1},}}#", lines[last]):
        last += 1  # a comment that is indented deeper belongs to the endpoint
    return Block(first, last, indent, values)


def _ends(node: yaml.Node, begin: int) -> Iterator[int]:
    """Lines on which what stands in ``node`` ends; an alias leads to a node that stands before it."""
    if node.start_mark.index < begin:
        return
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False):
        block_text = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        yield node.end_mark.line - (1 if block_text else 0)
        return
    yield node.start_mark.line
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _ends(part, begin)


def rewritten(text: str, changes: Mapping[str, str]) -> str:
    """``text`` with endpoints replaced, by name: a new YAML item, or nothing to take it out.

    An anchor that goes with an endpoint is written where it is used next.
    """
    lines = text.splitlines()
    anchors: list[str] = []
    for block in reversed(endpoint_blocks(text)):
        new = changes.get(block.values["name"])
        if new is None:
            continue
        anchors += re.findall(r"(?<![^\s\[{,])&([\w-]+)", "\n".join(lines[block.first : block.last]))
        pad = " " * block.indent
        lines[block.first : block.last] = [f"{pad}{line}".rstrip() for line in new.splitlines()]
    out = "\n".join(lines) + "\n"
    for name in anchors:
        value = yaml.safe_load(f"{text.rstrip()}\n_: *{name}\n")["_"]
        written = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
        anchored = f"&{name} {written.removesuffix('...' + chr(10)).strip()}"
        out = re.sub(rf"\*{name}(?![\w-])", lambda _, a=anchored: a, out, count=1)  # type: ignore[misc]
    return out


def without_comments(text: str, words: Sequence[str]) -> str:
    """``text`` without the comments that hold one of ``words``; a block of comment lines goes as a whole."""
    out: list[str] = []
    block: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            block.append(line)
            continue
        out += block if not _holds(block, words) else []
        block = []
        code, mark, comment = line.partition(" #")
        out.append(code.rstrip() if mark and _holds([comment], words) else line)
    out += block if not _holds(block, words) else []
    return "\n".join(out) + "\n"


def _holds(lines: Sequence[str], words: Sequence[str]) -> bool:
    return any(word in line for line in lines for word in words)


Values = Mapping[str, Any]
_UNKNOWN = re.compile(r"\b(lineage|maker): *['\"]?\?")
DEMO, RECORDED = "demo", "recorded"


@dataclass(frozen=True)
class Template:
    """One thing that somebody may want to know, and the shipped campaign that asks it (templates.yaml)."""

    title: str
    source: str
    campaign: str = ""
    head: str = ""
    strike: tuple[str, ...] = ()
    suspect: str = ""
    candidate: str = ""
    collect: str = ""
    prompts: str = ""


@functools.cache
def templates() -> dict[str, Template]:
    """All templates by name."""
    found = yaml.safe_load(Path(__file__).with_name("templates.yaml").read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Template]).validate_python(found)


def template(name: str) -> Template:
    """The template called ``name``; `ConfigError` with the closest for a name that none has."""
    if name in templates():
        return templates()[name]
    raise ConfigError(f"no preset is called {name!r}", meant(name, templates()))


def shipped(name: str) -> Path:
    """A file or folder of the project: beside the package in a checkout, inside it when installed."""
    here = Path(__file__).resolve().parent.parent
    inside = here / f"_{name}"
    return inside if inside.exists() else here.parent / name


def parties(chosen: Template) -> tuple[Values, Values]:
    """What a template says of suspect and candidate before anybody changed it; empty where it has no such block."""
    found = [(yaml.safe_load(text) or [{}])[0] for text in (chosen.suspect, chosen.candidate)]
    return found[0], found[1]


def template_text(name: str, suspect: Values | None = None, candidate: Values | None = None, seed: int = 1) -> str:
    """A config from template ``name``, with endpoints of one's own or with marked places to fill in.

    Controls that are the candidate's kin or one of the two models by another name are taken out. ``seed`` takes the
    place of the example's where prompts are held back by it, for that one is known to everybody.
    """
    chosen = template(name)
    text = read_text(shipped(chosen.source))
    if name == DEMO:
        return text
    text = re.sub(r"(?m)^results:.*\n", "", text)
    text = re.sub(r"(?m)^campaign:.*$", f"campaign: {_campaign(chosen, suspect, candidate)}", text)
    text = re.sub(r"(?m)^seed: *\d+", f"seed: {seed}", text)
    text = without_comments(text, chosen.strike).replace("controls: every lineage, ", "")  # the example's own case
    if chosen.prompts:
        text = re.sub(r"(?m)^prompts:.*\n(?:[ \t].*\n|\n)+", lambda _: f"{chosen.prompts}\n", text, count=1)
    text = re.sub(r"(?m)^endpoints:", lambda _: f"{chosen.collect}endpoints:", text, count=1)
    if chosen.head:
        text = chosen.head + re.sub(r"\A(?:\s*#.*\n|\s*\n)+", "", text)
    return rewritten(text, _changes(chosen, endpoint_blocks(text), suspect, candidate))


def _campaign(chosen: Template, suspect: Values | None, candidate: Values | None) -> str:
    if not suspect:
        return chosen.campaign
    return f"{suspect['name']}-vs-{candidate['name']}"[:64] if candidate else str(suspect["name"])


def _changes(
    chosen: Template, blocks: Sequence[Block], suspect: Values | None, candidate: Values | None
) -> dict[str, str]:
    """New text by name of endpoint; an empty one takes it out."""
    changes = {}
    for role, given, instead in (("suspect", suspect, chosen.suspect), ("candidate", candidate, chosen.candidate)):
        new = yaml.safe_dump([dict(given)], sort_keys=False, allow_unicode=True) if given else instead
        for block in blocks:
            if new is not None and (given or instead) and block.values["role"] == role:
                changes[block.values["name"]], new = new, ""
    asked = [given or default for given, default in zip((suspect, candidate), parties(chosen), strict=True)]
    for block in blocks:
        if block.values["role"] == "control" and asked[1] and _related(block.values, asked[0], asked[1]):
            changes[block.values["name"]] = ""
    return changes


def _related(control: Values, suspect: Values, candidate: Values) -> bool:
    models = {bare(v.get("model", "").rpartition("/")[2]) for v in (suspect, candidate)} - {""}
    twin = bare(control.get("model", "").rpartition("/")[2]) in models
    return twin or bool(_roots(control) & _roots(candidate))


def _roots(values: Values) -> frozenset[str]:
    """Roots of an endpoint by what is written of it and by its name."""
    return roots_of(values.get("lineage"), guessed(values.get("model") or values["name"]))


def lineage_of(model: str, known: Sequence[str]) -> str:
    """A guess at the lineage of a model by its name, as one of ``known`` is written: to be shown, not trusted.

    `?` where the name does not tell.
    """
    near = [k for k in known if bare(k) and bare(model.rpartition("/")[2]).startswith(bare(k))]
    return max(near, key=len) if near else guessed(model).lineage or UNKNOWN


def write_config(target: Path, text: str, *, force: bool) -> Campaign:
    """Write a config that was checked first, whole or not at all; returns the campaign.

    `ConfigError` if the file is there and not ``force``, or is not a campaign; `StoreError` if it cannot be written.
    """
    refuse_target(target, force=force)
    with replacing(target, "choose another folder") as part:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(text.encode("utf-8"))
        return load_config(part)


SCHEMA = "campaign.schema.json"
FIRST_LINE = f"# yaml-language-server: $schema=./{SCHEMA}\n"
EXCEL = "# For Excel, write `report: {bom: true}`: tables then show letters of all languages right at a double click.\n"


def explained(text: str) -> str:
    """A config as it is written: its first line names the schema for editors, its last what Excel needs."""
    return f"{FIRST_LINE}{text.rstrip()}\n\n{EXCEL}"


def write_schema(folder: Path, *, force: bool) -> Path | None:
    """The schema that the first line names, beside the config: the file written, or None where another is there."""
    target = folder / SCHEMA
    installed, checkout = shipped(SCHEMA), shipped(f"docs/{SCHEMA}")
    schema = read_text(installed if installed.exists() else checkout)
    if target.exists() and not force and read_text(target) != schema:
        return None
    return write_whole(target, schema)


def refuse_target(target: Path, *, force: bool) -> None:
    """`ConfigError` if a file would be overwritten that nobody said may be, or its folder cannot be written."""
    if target.exists() and not force:
        raise ConfigError(f"{target} is there already", "use --force to overwrite it")
    there = next(p for p in target.resolve().parents if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{there}: cannot be written to", "choose another folder")


def ignore_results(folder: Path) -> Path | None:
    """Keep results out of a git repository that ignores nothing yet: the file written, or None."""
    for above in (folder.resolve(), *folder.resolve().parents):
        if (above / ".gitignore").exists():
            return None
        if (above / ".git").exists():
            return write_whole(folder / ".gitignore", "results/\n")
    return None


def variables(campaign: Campaign) -> list[str]:
    """Environment variables that a campaign needs, in the order of its endpoints."""
    found: list[str] = []
    for e in campaign.endpoints:
        if isinstance(e, Recorded):
            found += re.findall(r"\$\{(\w+)\}", e.path)
        elif isinstance(e, Remote) and e.api_key_env:
            found.append(e.api_key_env)
    return list(dict.fromkeys(found))


def next_steps(target: Path, text: str, campaign: Campaign, environ: Mapping[str, str]) -> Iterator[str]:
    """What is missing in a config that was just written, and the next command, a line each."""
    controls = [e for e in campaign.endpoints if e.role == "control"]
    lineages = len({e.name if e.lineage == UNKNOWN else e.lineage for e in controls})
    relatives = [e.name for e in campaign.endpoints if e.role == "relative"]
    yield f"{len(campaign.endpoints)} endpoints, {lineages} control lineages"
    if relatives:
        yield f"kin of the candidate by their names, shown apart and never counted: {', '.join(relatives)}"
    if unknown := [str(n) for n, line in enumerate(text.splitlines(), 1) if _UNKNOWN.search(line)]:
        yield f"lineage or maker is unknown where a `?` stands ({_lines(unknown)}): write what you know"
    if places := [str(n) for n, line in enumerate(text.splitlines(), 1) if "# change:" in line]:
        yield f"fill in what is marked `change:` ({_lines(places)})"
    if missing := [v for v in variables(campaign) if v not in environ]:
        yield f"set first: {' '.join(('export', *(f'{v}=...' for v in missing)))}"
    local = all(isinstance(e, Local | Recorded) for e in campaign.endpoints)
    yield f"next: harness {'run' if local else 'check'} {target}"


def _lines(numbers: Sequence[str]) -> str:
    """Where something stands, in words."""
    return f"line{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
