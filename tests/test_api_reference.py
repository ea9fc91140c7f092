"""The API reference is what the docstrings say, and they say something of every name and parameter that is shown."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from types import ModuleType

import pytest

import harness
from tests.support import ROOT

PAGE = ROOT / "docs" / "api.md"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    if importlib.util.find_spec("griffe") is None:
        pytest.skip("griffe is not installed: pip install -e '.[docs]'")
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_docstrings_say(maker: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="griffe"):
        assert PAGE.read_text("utf-8") == maker.reference(), "python docs/make_api.py > docs/api.md"
    about_shown = [m for m in caplog.messages if "does not appear in the function signature" in m]
    assert about_shown == []


def test_every_public_name_has_a_heading_and_a_first_line() -> None:
    text = PAGE.read_text("utf-8")
    for name in harness.__all__:
        after = text.split(f"\n## {name}\n", 1)[1].split("\n## ")[0].split("```")
        assert any(len(part.strip().split()) > 3 for part in after), name
    for method in ("Scores.to_pandas", "Finding.told", "harness.inference.excess.max_null_p"):
        assert f"\n### {method}\n" in text


def test_nothing_of_the_program_is_run_to_make_it(maker: ModuleType) -> None:
    code = (
        "import runpy, sys; runpy.run_path('docs/make_api.py')['reference'](); "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('harness', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("docstring", "told"),
    [
        ("About ``x``.", "About `x`."),
        ("Said.\n\nParameters\n----------\nx : (n,) floats\n    Values.\n", "* `x`: (n,) floats: Values."),
        ("Said.\n\nReturns\n-------\nfloat\n    Large.\n", "* float: Large."),
        ("Said.\n\nExamples\n--------\n>>> f(1)\n2\n", "```python\n>>> f(1)\n2\n```"),
    ],
)
def test_sections_are_told_in_markdown(maker: ModuleType, docstring: str, told: str) -> None:
    import griffe

    function = griffe.visit(
        "m", filepath=ROOT / "m.py", code=f"def f(x):\n    {docstring!r}\n", docstring_parser="numpy"
    )
    assert told in "\n".join(maker.described("f", function["f"], "##"))
