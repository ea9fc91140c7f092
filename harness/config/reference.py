"""YAML reference and JSON Schema, generated from the models: `python -m harness.config.reference [--schema]`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.config.providers import providers
from harness.config.schema import Campaign

DRAFT = "https://json-schema.org/draft/2020-12/schema"
HEAD = """# YAML reference

Every key a campaign's file may have; an unknown key is an error. Generated from the models in
`harness/config/schema.py`: `python -m harness.config.reference > docs/reference.md`.
"""
Schema = Mapping[str, Any]


def reference() -> str:
    """docs/reference.md as text."""
    schema = Campaign.model_json_schema()
    parts = [HEAD, _section("Campaign", schema)]
    parts += [_section(name, model) for name, model in schema["$defs"].items() if "properties" in model]
    return "\n".join(parts)


def json_schema() -> str:
    """JSON Schema of a campaign's file, for editors that complete and check YAML; ends with a newline.

    Everything that a field alone can tell. What one field says of another is checked by `harness check`, which names
    file and line.
    """
    schema = Campaign.model_json_schema()
    known = {"anyOf": [{"enum": sorted(providers())}, {"type": "null"}]}
    for model in schema["$defs"].values():
        if "provider" in model.get("properties", {}):
            field = model["properties"]["provider"]
            model["properties"]["provider"] = {k: v for k, v in field.items() if k not in ("anyOf", "type")} | known
    about = "Campaign of a behavioral black-box probing harness"
    return json.dumps({"$schema": DRAFT, **schema, "title": about}, indent=1, ensure_ascii=False) + "\n"


def _section(name: str, model: Schema) -> str:
    needed = model.get("required", [])
    rows = [_row(key, field, key in needed) for key, field in model["properties"].items()]
    about = " ".join(str(model.get("description", "")).split())
    lines = [f"## {name}", "", about.replace("``", "`"), "", "| key | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *rows]) + "\n"


def _row(key: str, field: Schema, needed: bool) -> str:
    default = "**needed**" if needed else _default(field)
    cells = (f"`{key}`", _type(field), default, " ".join(str(field.get("description", "")).split()))
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def _default(field: Schema) -> str:
    value = field.get("default")
    if value is None or value in ([], {}):
        return ""
    return "see there" if isinstance(value, dict) else f"`{json.dumps(value, ensure_ascii=False)}`"


def _type(field: Schema) -> str:
    if "$ref" in field:
        return _link(field["$ref"])
    for several in ("anyOf", "oneOf"):
        if several in field:
            return _join(_type(f) for f in field[several] if f.get("type") != "null")
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return _join(f"`{v}`" for v in field["enum"])
    if field.get("type") == "array":
        inner = field.get("items") or {"anyOf": field.get("prefixItems", [])}
        return f"list of {_type(inner)}"
    return _bounded(field)


def _bounded(field: Schema) -> str:
    words = {"integer": "whole number", "string": "text", "object": "mapping", "boolean": "true or false"}
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    kind = str(field.get("type", "anything"))
    return " ".join([words.get(kind, kind), *(f"{s} {field[k]:g}" for k, s in signs.items() if k in field)])


def _link(ref: str) -> str:
    name = ref.rsplit("/", 1)[-1]
    return f"[{name}](#{name.lower()})"


def _join(types: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(types))


if __name__ == "__main__":
    import sys

    sys.stdout.write(json_schema() if sys.argv[1:] == ["--schema"] else reference())
