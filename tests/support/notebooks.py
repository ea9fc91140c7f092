"""Run a notebook as Jupyter would, without Jupyter: its cells one after another, in a program of their own.

    RECORDED_DATA=FOLDER python -m tests.support.notebooks examples/notebooks/auditor.ipynb

What the last line of a cell is worth is shown as a notebook shows it: as HTML, if it has any, else as its repr.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any


def cells(path: Path) -> list[str]:
    """The code of a notebook, a text a cell."""
    return ["".join(c["source"]) for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]


def run(path: Path) -> dict[str, Any]:
    """Run all cells in one namespace, which is returned; the first error ends it, with the number of its cell."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, text in enumerate(cells(path), 1):
        tree = ast.parse(text, f"{path.name}, cell {number}")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{path.name}, cell {number}", "exec"), space)  # noqa: S102
        if last is not None:
            show(eval(compile(ast.Expression(last.value), f"{path.name}, cell {number}", "eval"), space))  # noqa: S307
    return space


def show(value: object) -> None:
    """As a notebook shows it."""
    if value is not None:
        html = getattr(value, "_repr_html_", None)
        print(html() if html else repr(value))  # noqa: T201


if __name__ == "__main__":
    run(Path(sys.argv[1]))
