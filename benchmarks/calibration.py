"""Fit the calibration that ships: `python -m benchmarks.calibration --data FILE --lineage FILE --out FILE`.

Kin are the close pairs of the lineage table, unrelated all that share no weights; fit and test share no superfamily.
Figures travel, texts do not.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.recorded import read
from benchmarks.relations import CLOSE
from harness.calibrating import Pairs, about, best_described, summary_text, tippett_svg
from harness.channels import load_channels
from harness.channels.stage import compare
from harness.inference.calibration import calibrate, channel_of

ALPHA, SEED = 0.05, 1


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints Cllr and false alarms for every number of controls and prompts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lineage", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--channel", default="wording")
    parser.add_argument("--source", default="", help="what the file is to say of where the answers come from")
    given = parser.parse_args(arguments)
    collection = read(given.data, given.lineage)
    pairs = Pairs(collection.known, collection.pairs(*CLOSE), collection.pairs())
    similarity = channel_of(compare(load_channels((given.channel,)), collection.table), given.channel)
    table, checks = calibrate(similarity, pairs.known, pairs.kin, pairs.unrelated, ALPHA, SEED)
    described = about(pairs, given.source or given.data.stem, SEED) | dict(table.about)
    given.out.write_text(replace(table, about=described).to_json())
    given.out.with_suffix(".tippett.svg").write_text(tippett_svg(best_described(checks)))
    print(summary_text(checks, ALPHA))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
