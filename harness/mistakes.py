"""A mistake in a campaign's YAML in one line: where it stands, what is wrong, and what was meant."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.config import Campaign, Endpoint
from harness.errors import ConfigError, meant

if TYPE_CHECKING:
    from harness.loading import Document

Path_ = tuple[str | int, ...]


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


def _words(error: ErrorDetails, at: Path_) -> tuple[str, str]:
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


def _written(document: Document, loc: tuple[str | int, ...]) -> Path_:
    """pydantic's location without the names of union members, which nobody wrote."""
    at: Path_ = ()
    for i, part in enumerate(loc):
        step = (*at, part)
        if step in document.lines or (i == len(loc) - 1 and not _is_tag(part)):
            at = step
    return at


def _is_tag(part: str | int) -> bool:
    return part in _endpoint_models()


def _endpoint_models() -> dict[str, type[BaseModel]]:
    models = get_args(get_args(Endpoint)[0])
    return {get_args(m.model_fields["kind"].annotation)[0]: m for m in models}


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
