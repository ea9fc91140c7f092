"""Fit a calibration that ships: `python -m benchmarks.calibration --data FILE --lineage FILE --out FILE`.

Relations are those of the lineage table; fit and test share no superfamily. Figures travel, texts do not. The files
that ship, in harness/inference/calibrations: ``--data alpaca_eval_dev.parquet --lineage alpaca_eval_dev_lineage.csv
--out kinship-wording-2.json``, and ``--channel ratings --data eqbench_v2.parquet --lineage eqbench_v2_lineage.csv
--out kinship-ratings-2.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.recorded import Collection, read
from harness.calibrate import Pairs, fit_table, summary_text
from harness.channels.parallel import compare, load_channels
from harness.channels.wording import wording_within
from harness.inference.calibration import channel_of
from harness.inference.control_match import conditions_of, manners_of
from harness.inference.likelihood import LikelihoodTable
from harness.records import Similarity

ALPHA, SEED = 0.05, 1
LENGTHS = (15, 30, 256)  # words that answers are cut to, at most: on each prompt the shortest counts


def texts(earlier: Path) -> dict[str, str]:
    """What people wrote into an earlier file at this place (its hypotheses, its limits): a new fit keeps it."""
    known = LikelihoodTable.from_json(earlier.read_text()).about if earlier.is_file() else {}
    return {name: text for name, text in known.items() if isinstance(text, str)}


def measured(collection: Collection, channel: str) -> Similarity | Mapping[int, Similarity]:
    """A channel on a collection; wording at several lengths."""
    if channel != "wording":
        return channel_of(compare(load_channels((channel,)), collection.table), channel)
    found = [wording_within(collection.table, most) for most in LENGTHS]
    return {round(s.words): s for s in found if s is not None}


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
    pairs = Pairs(collection.known, collection.by_relation())
    written = texts(given.out)
    source = given.source or written.get("source", given.data.stem)
    conditions = conditions_of(manners_of(collection.table))
    if given.channel != "wording":  # numbers are of no language
        del conditions["words"]
    found = measured(collection, given.channel)
    table, checks = fit_table(found, pairs, source, ALPHA, SEED, datetime.now(UTC), conditions)
    given.out.write_text(replace(table, about=written | dict(table.about)).to_json())
    print(summary_text(checks, ALPHA))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
