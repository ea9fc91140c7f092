"""The endpoints of a YAML text as they are written: replaced or taken out by line, with all comments kept.

A parser that writes YAML back would lose the comments, and they are what a reader of an example needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness.errors import ConfigError


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
