"""How alike are strangers by the number of the rumour? `python -m benchmarks.rumour`: weights of real small models.

In July 2025 models were accused by one correlation: the standard deviation of each attention matrix, layer by layer,
of one model with that of another. Here the same is taken of models that have nothing to do with each other, and of a
copy with three layers doubled. Layers are brought to one depth by interpolation. The mean of the four matrices counts.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures import markdown_head, markdown_row
from harness.config import Local, load_config
from harness.endpoints.local import cache_folder, fetch
from tests.zoo.build import RELATIVES

ROOT = Path(__file__).resolve().parent.parent
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output")
DEPTH = 48  # layers after interpolation
TWIN = "duplicated"
Floats = NDArray[np.float64]


def spreads(path: Path) -> Floats:
    """Standard deviation of every attention matrix of a GGUF file: (4, layers)."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    found: dict[tuple[str, int], float] = {}
    for tensor in GGUFReader(path).tensors:
        parts = tensor.name.split(".")
        if parts[0] == "blk" and parts[2] in MATRICES and parts[3] == "weight":
            found[parts[2], int(parts[1])] = float(dequantize(tensor.data, tensor.tensor_type).std())
    layers = 1 + max(layer for _, layer in found)
    return np.array([[found[m, layer] for layer in range(layers)] for m in MATRICES])


def correlation(a: Floats, b: Floats) -> Floats:
    """Pearson's r of two models, a matrix each, after both are brought to one depth: (4,)."""
    x, y = (
        np.array([np.interp(np.linspace(0, 1, DEPTH), np.linspace(0, 1, m.shape[1]), row) for row in m]) for m in (a, b)
    )
    return np.array([np.corrcoef(p, q)[0, 1] for p, q in zip(x, y, strict=True)])


def models(config: Path) -> Mapping[str, Floats]:
    """Spreads of each file of weights in a campaign, by the name of its lineage; the candidate's copy with them."""
    out: dict[str, Floats] = {}
    for e in load_config(config).endpoints:
        if isinstance(e, Local) and e.lineage:
            path = fetch(e.weights, config.parent, cache_folder(os.environ), lambda line: print(line, file=sys.stderr))
            out[e.lineage] = spreads(path)
            if e.role == "candidate":
                out[f"{e.lineage}, layers doubled"] = out[e.lineage][:, list(RELATIVES[TWIN].blocks)]
    return out


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rumour", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml", help="whose local weights to compare")
    given = parser.parse_args(arguments)
    found = models(given.config)
    print("\n".join(markdown_head(("one", "other", *MATRICES, "mean r"))))
    for a, b in itertools.combinations(found, 2):
        r = correlation(found[a], found[b])
        print(markdown_row((a, b, *(f"{v:.2f}" for v in r), f"{r.mean():.3f}")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
