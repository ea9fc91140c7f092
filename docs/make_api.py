"""API reference out of docstrings: `python docs/make_api.py > docs/api.md`. Nothing is imported, only read (griffe)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# API reference

What a program may use: the names of `import harness`, and the statistics, each a function of arrays with an example
that the tests run. Everything else may move. Written by `python docs/make_api.py > docs/api.md` out of the docstrings;
[Python API](python-api.md) shows them at work.
"""
ELSEWHERE = {"Campaign": "Its keys are those of a campaign's file: [YAML reference](reference.md)."}


def reference() -> str:
    """docs/api.md as text."""
    house = griffe.load("harness", search_paths=[str(ROOT)], docstring_parser="numpy")
    parts = [HEAD]
    for name in public(house):
        parts += described(name, final(house[name]), "##")
    parts += ["## Statistics", "", "Of `harness.inference`: `from harness.inference.excess import excess`.", ""]
    for function in statistics(house):
        parts += described(function.path, function, "###")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip() + "\n"


def public(house: griffe.Object | griffe.Alias) -> list[str]:
    """The names of ``__all__``, in their order."""
    return [str(e).strip("'") for e in house.exports or ()]


def final(found: griffe.Object | griffe.Alias) -> griffe.Object:
    """What a name stands for, wherever it is imported from."""
    return found.final_target if isinstance(found, griffe.Alias) else found


def statistics(house: griffe.Object | griffe.Alias) -> Iterator[griffe.Function]:
    """Public functions of the statistics whose docstring has an example and parameters, by module."""
    for module in sorted(house["inference"].modules.values(), key=lambda m: m.name):
        for function in module.functions.values():
            kinds = {s.kind.value for s in sections(function)}
            if not function.is_alias and not function.name.startswith("_") and {"examples", "parameters"} <= kinds:
                yield function


def sections(found: griffe.Object) -> list[griffe.DocstringSection]:
    """A docstring in its sections; none without one."""
    return found.docstring.parsed if found.docstring else []


def described(name: str, found: griffe.Object, heading: str) -> Iterator[str]:
    """One name: heading, signature, docstring, and of a class its fields and methods."""
    yield f"{heading} {name}\n"
    if isinstance(found, griffe.Function):
        yield f"```python\n{signature(found)}\n```\n"
    yield from (told(s) for s in sections(found))
    if name in ELSEWHERE:
        yield f"{ELSEWHERE[name]}\n"
    elif isinstance(found, griffe.Class):
        yield from members(found, heading)


def signature(function: griffe.Function) -> str:
    """A signature as one would write it, a line a parameter where it is long."""
    shown = [shown_parameter(p) for p in function.parameters if p.name != "self"]
    named = [p.name for p in function.parameters if p.kind is griffe.ParameterKind.keyword_only]
    at = next((i for i, p in enumerate(q for q in function.parameters if q.name != "self") if p.name in named), None)
    if at is not None:
        shown.insert(at, "*")
    returns = f" -> {function.returns}" if function.returns else ""
    line = f"{function.name}({', '.join(shown)}){returns}"
    if len(line) <= 100:
        return line
    return f"{function.name}(\n" + "".join(f"    {p},\n" for p in shown) + f"){returns}"


def shown_parameter(p: griffe.Parameter) -> str:
    """Name, type and default."""
    text = f"{p.name}: {p.annotation}" if p.annotation else p.name
    return f"{text} = {p.default}" if p.default is not None else text


def members(found: griffe.Class, heading: str) -> Iterator[str]:
    """The fields of a class in a table, then its public properties and methods."""
    fields = [a for a in found.attributes.values() if a.annotation and "property" not in a.labels and public_name(a)]
    if fields:
        yield "| field | type |\n|---|---|"
        yield from (f"| `{a.name}` | {cell(str(a.annotation))} |" for a in fields)
        yield ""
    for a in found.attributes.values():
        if "property" in a.labels and public_name(a):
            yield f"* `{a.name}`: {cell(str(a.annotation))}. {first_line(a)}"
    yield ""
    for m in found.functions.values():
        if public_name(m):
            yield from described(f"{found.name}.{m.name}", m, heading + "#")


def public_name(found: griffe.Object) -> bool:
    """Whether it is meant for others."""
    return not found.name.startswith("_")


def first_line(found: griffe.Object) -> str:
    """What one would search for."""
    return plain(found.docstring.value.split("\n\n")[0]) if found.docstring else ""


def told(section: griffe.DocstringSection) -> str:
    """One section of a docstring as Markdown."""
    kind, value = section.kind.value, section.value
    if kind == "text":
        return f"{paragraphs(value)}\n"
    if kind == "examples":
        return "\n".join(f"```python\n{v}\n```\n" if k.value == "examples" else f"{paragraphs(v)}\n" for k, v in value)
    if kind in ("parameters", "raises", "returns", "attributes"):
        return f"**{kind.capitalize()}**\n\n" + "\n".join(map(item, value)) + "\n"
    title = section.title or getattr(value, "kind", kind)
    text = getattr(value, "contents", None) or getattr(value, "description", value)
    return f"**{str(title).replace('-', ' ').capitalize()}**\n\n{paragraphs(str(text))}\n"


def item(value: griffe.DocstringElement) -> str:
    """A parameter, an error or a result: name, type, what it is."""
    name, kind = getattr(value, "name", ""), str(getattr(value, "annotation", "") or "")
    about = " ".join(value.description.split())
    said = [f"`{name}`" if name else "", plain(kind), plain(about)]
    return "* " + ": ".join(s for s in said if s)


def paragraphs(text: str) -> str:
    """Text of a docstring: lists and paragraphs stay, double backticks are Markdown's single ones."""
    return re.sub(r"``([^`]+)``", r"`\1`", text).replace("<", "&lt;") if "<" in text else plain(text, keep=True)


def plain(text: str, *, keep: bool = False) -> str:
    """The same in one line, unless lines are kept."""
    found = re.sub(r"``([^`]+)``", r"`\1`", text)
    return found if keep else " ".join(found.split())


def cell(text: str) -> str:
    """A type in a table."""
    return f"`{text}`".replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
