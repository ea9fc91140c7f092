"""The YAML reference in docs is what the models say now."""

from __future__ import annotations

from harness.config.reference import reference
from harness.config.schema import Analysis, Campaign
from tests.support import ROOT

PAGE = ROOT / "docs" / "reference.md"


def test_page_is_what_is_generated() -> None:
    assert PAGE.read_text("utf-8") == reference(), "python -m harness.config.reference > docs/reference.md"


def test_every_key_is_explained_or_typed() -> None:
    text = PAGE.read_text("utf-8")
    assert [k for model in (Campaign, Analysis) for k in model.model_fields if f"| `{k}` |" not in text] == []
    assert "anything" not in text.split("## Analysis")[1].split("## ")[0]
