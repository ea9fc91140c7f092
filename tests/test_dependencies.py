"""What is imported is declared, and what is declared is used; types travel with the package."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = packages_distributions()
# Where they are not installed.
OPTIONAL = {n: n for n in ("xllamacpp", "distributed", "dask", "lir", "cryptography", "torch", "transformers", "vllm")}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {normal(re.match(r"[\w.-]+", r).group()) for r in requirements}  # type: ignore[union-attr]


@cache
def imported() -> tuple[tuple[Path, str], ...]:
    """(file, top-level module) of all that harness/ imports from outside, wherever in a file it does."""
    return tuple(_imported())


def _imported() -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in (n.partition(".")[0] for n in names):
                if name not in sys.stdlib_module_names and name != "harness":
                    yield path, name


def distributions(module: str) -> set[str]:
    return {normal(d) for d in DISTRIBUTIONS.get(module, [OPTIONAL.get(module, "nobody's")])}


def test_every_import_is_declared() -> None:
    extras = PROJECT["optional-dependencies"]
    used = ("local", "transformers", "vllm", "calibrate", "cluster", "sign")
    known = declared([*PROJECT["dependencies"], *(r for extra in used for r in extras[extra])])
    missing = {f"{path.relative_to(ROOT)}: {name}" for path, name in imported() if not distributions(name) & known}
    assert not missing


def test_what_only_an_extra_brings_is_imported_where_it_is_used() -> None:
    always = declared(PROJECT["dependencies"])
    rare = {(path.name, name) for path, name in imported() if not distributions(name) & always}
    assert rare == {
        ("local_server.py", "xllamacpp"),
        *(("engine_server.py", name) for name in ("torch", "transformers", "vllm")),
        ("parallel.py", "distributed"),
        ("likelihood.py", "lir"),
        ("evidence.py", "cryptography"),
        ("evidence.py", "rfc3161_client"),
    }


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_every_dependency_is_used_and_has_a_lower_bound(requirement: str) -> None:
    used = set().union(*(distributions(name) for _, name in imported()))
    assert declared([requirement]) <= used
    assert ">=" in requirement


def test_types_are_shipped() -> None:
    assert (ROOT / "harness" / "py.typed").is_file()
