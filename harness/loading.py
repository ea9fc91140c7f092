"""YAML file -> `Campaign`, with the line of every mistake and a guess at what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.addresses import hides_key
from harness.config import Campaign
from harness.errors import ConfigError
from harness.keys import looks_like_key, may_be_variable
from harness.mistakes import first_error

_SECRET_KEYS = frozenset({"api_key", "apikey", "key", "token", "authorization", "secret", "password"})
_MAX_BYTES = 4_000_000
_MAX_NODES = 200_000

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML document as plain values, with the line on which each stands."""

    path: Path
    values: Any
    lines: dict[Path_, int]

    def line(self, at: Path_) -> int:
        """Line of the nearest thing written at or above ``at``."""
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)


def read_text(path: Path) -> str:
    """A text file as UTF-8, a BOM and CRLF allowed; `ConfigError` if it cannot be read."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES:,} bytes", "is this the right file?")
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror or e}", "check the path; `harness init` writes a config.yaml") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: not UTF-8 (byte {e.start})", "save the file as UTF-8") from e


def read_yaml(path: Path) -> Document:
    """Parse one YAML file safely; duplicate keys are an error, not a silent overwrite."""
    text = read_text(path)
    reader = _Reader(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = reader.read(node, ()) if node is not None else None
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(e, "problem", None) or str(e).splitlines()[0]
        raise ConfigError(f"{path}:{line}: not valid YAML: {problem}", "check indentation and quotes there") from e
    except RecursionError as e:
        raise ConfigError(f"{path}: nested too deeply", "simplify the file") from e
    return Document(path, values, reader.lines)


class _Reader:
    """Nodes -> plain values, with the line of each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Path_, int] = {}
        self._loader = yaml.SafeLoader("")
        self._left = _MAX_NODES

    def read(self, node: yaml.Node, at: Path_) -> Any:
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

    def _mapping(self, node: yaml.MappingNode, at: Path_) -> dict[Any, Any]:
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

    def _merge(self, node: yaml.Node, at: Path_) -> dict[Any, Any]:
        """What ``<<`` brings in; of several mappings the first one wins."""
        out: dict[Any, Any] = {}
        for child in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            found = self.read(child, at)
            if not isinstance(found, dict):
                raise self._error(child, "`<<` takes a mapping", "write `<<: *NAME`")
            out = found | out
        return out

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return self._loader.construct_object(node, deep=True)
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
    try:
        return Campaign.model_validate(document.values)
    except ValidationError as e:
        raise first_error(document, e) from None


def _walk(value: Any, at: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    yield at, value
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _walk(child, (*at, str(key)))
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from _walk(child, (*at, i))


def _refuse_secrets(document: Document) -> None:
    for at, value in ((a, v) for a, v in _walk(document.values) if isinstance(v, str)):
        named = bool(at) and str(at[-1]).lower().replace("-", "_") in _SECRET_KEYS
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
