"""The YAML reference and the JSON Schema in docs are what the models say now."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.config.reference import json_schema, reference
from harness.config.schema import Analysis, Campaign
from tests.support import ROOT

PAGE, SCHEMA = ROOT / "docs" / "reference.md", ROOT / "docs" / "campaign.schema.json"
RECIPES = ROOT / "examples" / "bank"  # what its script makes campaigns of
CONFIGS = [ROOT / "config.yaml", *(p for p in sorted((ROOT / "examples").rglob("*.yaml")) if p.parent != RECIPES)]


def complaints(config: Any) -> list[str]:
    return [e.message for e in Draft202012Validator(json.loads(json_schema())).iter_errors(config)]


def test_reference_is_current() -> None:
    assert PAGE.read_text("utf-8") == reference(), "python -m harness.config.reference > docs/reference.md"


def test_every_key_is_explained_or_typed() -> None:
    text = PAGE.read_text("utf-8")
    assert [k for model in (Campaign, Analysis) for k in model.model_fields if f"| `{k}` |" not in text] == []
    assert "anything" not in text.split("## Analysis")[1].split("## ")[0]


def test_schema_is_current() -> None:
    assert SCHEMA.read_text("utf-8") == json_schema(), "python -m harness.config.reference --schema > ..."


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_what_ships_keeps_to_the_schema(path: Path) -> None:
    assert complaints(yaml.safe_load(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ((), "campagin", "x"),
        (("analysis",), "alhpa", 0.1),
        (("analysis",), "alpha", 3),
        (("prompts", 0), "max_tokens", -1),
        ((), "references", [5]),
        ((), "references", [{"pakc": "x"}]),
        (("endpoints", 0), "concurency", 3),
        (("endpoints", 0), "role", "accused"),
        (("endpoints", 0), "provider", "openruoter"),
    ],
)
def test_an_editor_sees_what_is_misspelt(where: tuple[str | int, ...], key: str, value: object) -> None:
    config: dict[str, Any] = {
        "campaign": "x",
        "prompts": [{"set": "everyday"}],
        "analysis": {"alpha": 0.05},
        "endpoints": [
            {"name": "a", "role": "suspect", "kind": "openai-chat", "provider": "openrouter", "model": "m"},
            {"name": "b", "role": "candidate", "kind": "recorded", "path": "b.csv"},
        ],
    }
    assert complaints(config) == []
    assert complaints({**config, "references": ["small-models", {"pack": "b.zip", "months": 12}]}) == []
    spoilt: Any = deepcopy(config)
    place = spoilt
    for step in where:
        place = place[step]
    place[key] = value
    assert complaints(spoilt)
