"""Reading YAML: a file to a `Campaign`, with the line of every mistake and a guess at what was meant."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from harness.config.endpoint import Endpoint, Remote
from harness.config.schema import Campaign, kin_among_controls
from harness.config.secrets import hides_key, leak_of, looks_like_key, may_be_variable, names_key
from harness.errors import ConfigError, meant
from harness.files import open_regular

Location = tuple[str | int, ...]  # keys and positions that lead to a value
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is several times as fast, and may not be there


def first_error(document: Document, error: ValidationError) -> ConfigError:
    """The most telling of pydantic's errors: a misspelt key explains a missing one, a bad item a short list."""
    found = error.errors(include_url=False)
    inside = {e["loc"][:i] for e in found for i in range(len(e["loc"]))}
    found = [e for e in found if e["loc"] not in inside or e["type"] != "too_short"]
    found.sort(key=lambda e: e["type"] != "extra_forbidden")
    first = found[0]
    at = _written(document, first["loc"])
    kind = first["type"].startswith("union_tag")
    where = f"{document.path}:{document.line((*at, 'kind') if kind else at)}"
    name = ".".join(str(x) for x in at)
    said, hint = _words(first, at)
    if not at and first["type"] == "value_error":
        where = f"{document.path}:{_line_of_endpoint(document, said)}"
    more = f" ({len(found) - 1} more after this one)" if len(found) > 1 else ""
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{where}: {said} in {'.'.join(map(str, at[:-1])) or 'the file'}", hint + more)
    return ConfigError(f"{where}: {name or ('the file' if 'missing' in said else 'the campaign')}: {said}", hint + more)


def _words(error: Mapping[str, Any], at: Location) -> tuple[str, str]:
    """What is wrong, and what to write instead as far as the error tells."""
    given, context = error.get("input"), error.get("ctx") or {}
    shown = "change that line" if isinstance(given, dict | list | tuple) else f"not {str(given)[:80]!r}"
    match error["type"]:
        case "extra_forbidden":
            fields, key = sorted(_fields_near(error["loc"])), str(at[-1])
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(fields)}"
            return f"unknown key {key!r}", hint
        case "missing":
            return f"`{error['loc'][-1]}` is missing", "add it"
        case "union_tag_invalid":
            return f"no kind of endpoint is called {context['tag']!r}", meant(context["tag"], list(_endpoint_models()))
        case "union_tag_not_found":
            return "`kind` is missing", f"add `kind: openai-chat`, or one of {', '.join(list(_endpoint_models())[1:])}"
        case "literal_error":
            choices = re.findall(r"'([^']*)'", error["msg"])
            near = difflib.get_close_matches(str(given), choices, n=1)
            return f"should be {context['expected']}", f"did you mean {near[0]!r}?" if near else shown
        case _:
            said = error["msg"].removeprefix("Value error, ").removeprefix("Input ").partition(", unable to parse")[0]
            return said, shown


def _line_of_endpoint(document: Document, message: str) -> int:
    """Line of the last endpoint that a message about the whole campaign names in quotes; else of the endpoints."""
    values = document.values.get("endpoints")
    for i in reversed(range(len(values) if isinstance(values, list) else 0)):
        name = values[i].get("name") if isinstance(values[i], dict) else None
        if isinstance(name, str) and repr(name).casefold() in message.casefold():
            return document.line(("endpoints", i, "name"))
    return document.line(("endpoints",))


def _written(document: Document, loc: tuple[str | int, ...]) -> Location:
    """pydantic's location without the names of union members, which nobody wrote."""
    at: Location = ()
    for i, part in enumerate(loc):
        step = (*at, part)
        if step in document.lines or (i == len(loc) - 1 and not _is_tag(part)):
            at = step
    return at


def _is_tag(part: str | int) -> bool:
    return part in _endpoint_models()


def _endpoint_models() -> dict[str, type[BaseModel]]:
    models = get_args(get_args(Endpoint)[0])
    return {kind: m for m in models for kind in get_args(m.model_fields["kind"].annotation)}


def _fields_near(loc: tuple[str | int, ...]) -> list[str]:
    """Names that would have been right where an unknown key stands."""
    model: type[BaseModel] | None = Campaign
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        if part in _endpoint_models():
            model = _endpoint_models()[part]
        elif model is not None and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


_BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float"))
# In YAML 1.1 octal, hours and minutes, and what is no number at all.
_ODD_NUMBER = re.compile(r"^[-+]?0\d|:|inf|nan", re.IGNORECASE)
_MAX_BYTES = 4_000_000
_MAX_NODES = 200_000


@dataclass(frozen=True)
class Document:
    """A YAML document as plain values, with the line on which each stands."""

    path: Path
    values: Any
    lines: dict[Location, int]

    def line(self, at: Location) -> int:
        """Line of the nearest thing written at or above ``at``."""
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)


def read_text(path: Path) -> str:
    """A text file as UTF-8, a BOM and CRLF allowed; `ConfigError` if it cannot be read."""
    try:
        with open_regular(path) as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES:,} bytes", "is this the right file?")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror or e}", "check the path; `harness init` writes a config.yaml") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: not UTF-8 (byte {e.start})", "save the file as UTF-8") from e


def read_yaml(path: Path) -> Document:
    """Parse one YAML file safely; duplicate keys are an error, not a silent overwrite."""
    text = read_text(path)
    reader = _Reader(path)
    try:
        node = _compose(text)
        values = reader.read(node, ()) if node is not None else None
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(e, "problem", None) or str(e).splitlines()[0]
        raise ConfigError(f"{path}:{line}: not valid YAML: {problem}", "check indentation and quotes there") from e
    except RecursionError as e:
        raise ConfigError(f"{path}: nested too deeply", "simplify the file") from e
    return Document(path, values, reader.lines)


def _compose(text: str) -> yaml.Node | None:
    """The nodes of a text, the same whichever parser is there.

    libyaml is fast. It takes tabs that PyYAML's own parser refuses, and tells mistakes in other words and lines: those
    texts are for PyYAML.
    """
    node: yaml.Node | None
    if "\t" not in text:
        with contextlib.suppress(yaml.YAMLError):
            node = yaml.compose(text, Loader=LOADER)
            return node
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return node


class _Reader:
    """Nodes -> plain values, with the line of each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Location, int] = {}
        self._loader = yaml.SafeLoader("")
        self._left = _MAX_NODES

    def read(self, node: yaml.Node, at: Location) -> Any:
        """The value of one node that stands at ``at``."""
        self._left -= 1
        if self._left < 0:  # a few aliases of aliases are a billion values
            raise self._error(node, f"more than {_MAX_NODES:,} values", "use fewer aliases")
        self.lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*at, i)) for i, child in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, at: Location) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged = self._merge(value_node, at) | merged
                continue
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str | int | float | bool):
                raise self._error(key_node, "a key must be plain text", "quote it")
            if key in own:
                raise self._error(key_node, f"{key!r} is written twice here", "keep one of them")
            self.lines[(*at, str(key))] = key_node.start_mark.line + 1
            own[key] = self.read(value_node, (*at, str(key)))
        return merged | own

    def _merge(self, node: yaml.Node, at: Location) -> dict[Any, Any]:
        """What ``<<`` brings in; of several mappings the first one wins."""
        out: dict[Any, Any] = {}
        for child in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            found = self.read(child, at)
            if not isinstance(found, dict):
                raise self._error(child, "`<<` takes a mapping", "write `<<: *NAME`")
            out = found | out
        return out

    def _scalar(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode) and not node.style:
            if node.tag == _BOOL and node.value.lower() not in ("true", "false"):
                return node.value  # yes, no, on and off are words here, as in YAML 1.2
            if node.tag in (_INT, _FLOAT) and _ODD_NUMBER.search(node.value):
                hint = f'write a plain decimal number, or "{node.value}" in quotes if it is text'
                raise self._error(node, f"{node.value} is no plain number", hint)
        try:
            value = self._loader.construct_object(node, deep=True)
            if isinstance(value, int) and value.bit_length() > _LONGEST_NUMBER:  # in hexadecimal it has no other bound
                raise self._error(node, "not a value: a number of so many digits", "quote it if it is text")
            return value
        except ValueError as e:  # a date of month 13, a number of 5,000 digits
            raise self._error(node, f"not a value: {str(e)[:80]}", "quote it if it is text") from e

    def _error(self, node: yaml.Node, message: str, hint: str) -> ConfigError:
        return ConfigError(f"{self.path}:{node.start_mark.line + 1}: {message}", hint)


def load_config(path: str | Path) -> Campaign:
    """Read, check and return a campaign.

    Raises `ConfigError` naming file, line, what is wrong and how to mend it. Nothing is contacted or written.
    """
    document = read_yaml(Path(path))
    if not isinstance(document.values, dict):
        raise ConfigError(f"{path}:1: the file holds no settings", "`harness init` writes a config.yaml to start from")
    _refuse_secrets(document)
    _refuse_unusable(document)
    try:
        return Campaign.model_validate(document.values)
    except ValidationError as e:
        raise first_error(document, e) from None


def refuse_kin(campaign: Campaign, path: str) -> None:
    """`ConfigError` where a control is kin of a candidate by its name, with the line if ``path`` is a file."""
    if (found := kin_among_controls(campaign)) is None:
        return
    control, candidate, root = found
    where = path
    if Path(path).is_file():
        where = f"{path}:{_line_of_endpoint(read_yaml(Path(path)), repr(control.name))}"
    raise ConfigError(
        f"{where}: control {control.name!r} is by its name kin of candidate {candidate.name!r}: both are of {root}",
        "take it out, or make it `role: relative`, which is shown apart; if the name misleads, add `unrelated: true`",
    )


def refuse_leaks(campaign: Campaign, path: str) -> None:
    """`ConfigError` for the first endpoint whose key would go where it may not, with the line if ``path`` is a file."""
    for e in (*campaign.endpoints, *campaign.readers):
        if isinstance(e, Remote) and (leak := leak_of(e)) is not None:
            line = f":{_line_of_endpoint(read_yaml(Path(path)), repr(e.name))}" if Path(path).is_file() else ""
            raise ConfigError(f"{path}{line}: endpoint {e.name!r}: {leak[0]}", leak[1])


def _walk(value: Any, at: Location = ()) -> Iterator[tuple[Location, Any]]:
    yield at, value
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _walk(child, (*at, str(key)))
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from _walk(child, (*at, i))


_LONGEST_NUMBER = 1_000  # bits
_PATHS = frozenset({"path", "gguf", "set", "calibration", "results", "reuse", "secrets"})
_LONGEST_PATH, _LONGEST_NAME = 1_000, 255  # characters, and bytes of one part


def _refuse_unusable(document: Document) -> None:
    """Texts that no file and no request can hold, and paths that no system can look up."""
    for at, value in _walk(document.values):
        for text in (value, at[-1] if at else ""):
            if isinstance(text, str) and ("\0" in text or not _has_utf8(text)):
                where = f"{document.path}:{document.line(at)}: {'.'.join(map(str, at))}"
                raise ConfigError(f"{where}: holds a zero or half a character", "write it without")
        if isinstance(value, str) and _PATHS & {at[-1], at[0]} and not _can_be_looked_up(value):
            raise ConfigError(f"{document.path}:{document.line(at)}: {at[0]}: no path that can be looked up",
                              "too long, or `~` of a user that is not there")  # fmt: skip


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _can_be_looked_up(path: str) -> bool:
    if len(path) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in path.split("/")):
        return False
    try:
        Path(path).expanduser()
    except RuntimeError:
        return False
    return True


def _refuse_secrets(document: Document) -> None:
    for at, value in ((a, v) for a, v in _walk(document.values) if isinstance(v, str)):
        named = bool(at) and names_key(str(at[-1]))
        where = f"{document.path}:{document.line(at)}"
        hidden = bool(at) and at[-1] == "base_url" and hides_key(value)
        if named or hidden or looks_like_key(value):
            raise ConfigError(
                f"{where}: a key does not belong in this file",
                "put it into an environment variable and write `api_key_env: ITS_NAME`; "
                "if the file was shared, revoke the key",
            )
        if at and at[-1] == "api_key_env" and not may_be_variable(value):  # what is there may be a key: not repeated
            raise ConfigError(f"{where}: this is not the name of a variable", "write `api_key_env: EXAMPLE_API_KEY`")
