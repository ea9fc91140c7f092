"""What figures cost: CPU seconds and memory of the renderer, and bytes, of each figure at 5, 20 and 60 models.

python benchmarks/figures.py
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.inference.breakdown import ChannelDetail, Detail, Overview
from harness.report.figures import strip, tippett_curve
from harness.report.heatmap import heatmap
from harness.report.renderer import Renderer


def memory() -> float:
    """Megabytes of this process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def pool(n: int) -> Overview:
    values = np.random.default_rng(n).normal(size=(n, n))
    matrix = (values + values.T) / np.sqrt(2.0)
    np.fill_diagonal(matrix, np.nan)
    return Overview(tuple(f"a-house.Model-{i:02}-70B-Instruct" for i in range(n)), matrix, ())


def timed(name: str, draw: Callable[[], int]) -> None:
    draw()
    began, size, rounds = time.process_time(), 0, 5
    for _ in range(rounds):
        size = draw()
    print(f"{name:34} {(time.process_time() - began) / rounds:6.3f} CPU s {size / 1000:8.1f} kB")


def main() -> None:
    before, began = memory(), time.process_time()
    renderer = Renderer()
    installed = sum((f.size or 0) for f in files("dukpy") or [])
    print(f"dukpy as installed {installed / 1e6:.1f} MB; loaded in {time.process_time() - began:.2f} CPU s")
    for n in (5, 20, 60):
        o = pool(n)
        d = Detail(o.names[0], o.names[1], o.names, o.matrix, (ChannelDetail("wording", "text", o.matrix, o.matrix),))

        def maps(o: Overview = o) -> int:
            found = heatmap(renderer, "k", o, {})
            assert found is not None
            return len(found.cells) + len(found.tree)

        timed(f"map and tree of {n} models", maps)
        timed(f"strip plot of {n} models", lambda d=d: len(strip(d).figure.svg(renderer, "s")))  # type: ignore[misc]
    at = np.linspace(-2.0, 3.0, 160).tolist()
    share = np.linspace(1.0, 0.0, 160).tolist()
    timed("Tippett plot", lambda: len(tippett_curve(at, share, share, []).svg(renderer, "c")))
    print(f"memory above what was there: {memory() - before:.0f} MB")


if __name__ == "__main__":
    main()
