"""Whom small open models like among recorded answers, by relation, beside `wording` on the same pairs.

    python -m benchmarks.reading --data FILE.parquet --lineage FILE.csv --readings OUT.jsonl \\
        --read qwen05=PATH.gguf --read smol=PATH.gguf --read gemma=PATH.gguf --prompts 24
    python -m benchmarks.reading --data FILE.parquet --lineage FILE.csv --readings OUT.jsonl

    python -m benchmarks.reading --zoo FOLDER/adversary.yaml --readings OUT.jsonl [--read ...]

The first reads, and writes a line a reader and prompt, so that it goes on where it was stopped; it needs torch,
transformers and gguf (`pip install -e ".[transformers]"`). The second makes the tables. `--template chat` puts the
question into the reader's own chat template (base models get it bare), `none` leaves it out, `other` puts the next
prompt's question in its place (a placebo: what is left of a liking is no answer to anything); default is bare for all.
`--part first` makes the tables of the first eight tokens of every answer alone, `--part rest` of those behind them.

A pair is a suspect and a candidate of a reader's house; what the reader makes of the suspect does not hang on the
candidate. `rank 1 out` is the reader's own level with the first factor of models by readers taken out instead of what
the rivals explain. Cells are the area under the curve against unrelated suspects with the same candidates, and the
share found at 1 % false alarms. `partial` is the correlation of reading with kinship, wording held fixed. The second
table ranks single suspects among 14 control lineages, as the product does: the least p is 1/15 there. With `--trick`
NAME (`benchmarks/tricks.py`) some suspects are read as a host would show them, and a third table says what that does.
With `--zoo` the stored answers of a campaign of small models are read by models whose own weights are among them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.batch_reader import BatchReader
from benchmarks.liked import HOUSES, Part, lines, placebo_table, read_of, tables, trick_table, zoo_table
from benchmarks.recorded import Collection, read
from benchmarks.tricks import TRICKS, Scene, synonyms_of
from harness.channels.draws import independent_draws
from harness.channels.likelihoods import UNITS, texts_to_read
from harness.channels.reading import read as own_words
from harness.judging import read_responses
from harness.plan import stored_plan
from harness.readers import ReadingList
from harness.records import Responses

KEYS = ("reader", "template", "trick")
LONGEST = 500  # characters of a question: the longer one costs what several short ones do


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, or make the tables of what was read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lineage", type=Path)
    parser.add_argument("--zoo", type=Path, help="config of a campaign whose answers are stored")
    parser.add_argument("--readings", type=Path, required=True)
    parser.add_argument("--read", action="append", default=[], metavar="NAME=GGUF")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--models", type=int, default=4, help="most models of one root that has no reader")
    parser.add_argument("--strangers", type=int, default=1000, help="most models of houses without a reader, drawn")
    parser.add_argument("--trick", default="", help="read eight models of each side with this done to their answers")
    parser.add_argument("--unit", choices=UNITS, default="token")
    parser.add_argument("--template", choices=("bare", "chat", "none", "other"), default="bare")
    parser.add_argument("--part", choices=get_args(Part), default="all")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="readers that the tables are of")
    given = parser.parse_args(arguments)
    if given.zoo:
        shelf = ReadingList.of(own_words(independent_draws(read_responses(stored_plan(given.zoo)))[0]))
        for name, path in (each.split("=", 1) for each in given.read):
            told = {"reader": name, "template": given.template}
            read_by(told, Path(path), shelf.table, shelf.at, range(len(shelf.table.models)), given.readings)
        print("\n".join(zoo_table(shelf.table, given.readings, given.template)))
        return
    if not given.data or not given.lineage:
        parser.error("give --data with --lineage, or --zoo")
    collection = read(given.data, given.lineage)
    if given.read:
        chosen = chosen_prompts(collection, given.prompts)
        models = chosen_models(collection, given.models, given.strangers)
        if given.trick:
            models = some_of_each_side(collection, models)
            collection = replace(collection, table=shown(collection, chosen, models, given.trick))
        for name, path in (each.split("=", 1) for each in given.read):
            told = {"reader": name, "template": given.template} | ({"trick": given.trick} if given.trick else {})
            read_by(told, Path(path), collection.table, chosen, models, given.readings)
        return
    shown_by = {"unit": given.unit, "only": given.only}
    found = read_of(collection, given.readings, given.template, part=given.part, **shown_by)
    about = f"template {given.template}, nats a {given.unit}, tokens: {given.part}"
    out = [f"{len(found.prompts)} prompts, {len(found.models)} models, {about}", "", *tables(collection, found)]
    if given.template == "other":
        out += placebo_table(collection, read_of(collection, given.readings, "bare", **shown_by), found)
    elif given.part == "all":
        out += trick_table(collection, given.readings, given.template)
    print("\n".join(out))


def chosen_prompts(collection: Collection, most: int) -> list[int]:
    """Questions in ASCII that most models answered; of equals drawn at random."""
    table, rng = collection.table, np.random.default_rng(1)
    found = [
        (-sum(bool(len(table.rows(p, m))) for m in range(len(table.models))), rng.random(), p)
        for p, prompt in enumerate(table.prompts)
        if prompt.text.isascii() and len(prompt.text) <= LONGEST
    ]
    return [p for _, _, p in sorted(found)[:most]]


def chosen_models(collection: Collection, most: int, strangers: int = 1000) -> list[int]:
    """All models of a reader's house, and at most so many of every other root, and of all others together."""
    taken: dict[str, int] = {}
    own, others = list[int](), list[int]()
    for m, row in enumerate(collection.rows):
        taken[row.root] = taken.get(row.root, 0) + 1
        if row.usable and row.superfamily in HOUSES.values():
            own.append(m)
        elif row.usable and taken[row.root] <= most:
            others.append(m)
    return sorted([*own, *np.random.default_rng(1).permutation(others).tolist()[:strangers]])


def some_of_each_side(collection: Collection, models: Sequence[int], most: int = 8) -> list[int]:
    """Models of a reader's house and others, at most so many of each, drawn at random."""
    order = np.random.default_rng(1).permutation(list(models)).tolist()
    own = [m for m in order if collection.rows[m].superfamily in HOUSES.values()]
    return sorted([*own[:most], *[m for m in order if m not in own][:most]])


def shown(collection: Collection, prompts: Sequence[int], models: Sequence[int], trick: str) -> Responses:
    """The table as a host shows it that does something to all answers of some models."""
    table = collection.table
    texts = list(table.text)
    for m in models:
        at = [next(iter(table.rows(p, m)), None) for p in prompts]
        rows = [r for r in at if r is not None]
        asked = [table.prompts[p].text for p, r in zip(prompts, at, strict=True) if r is not None]
        scene = Scene(questions=asked, host=1, own=m, synonyms=synonyms_of(texts[:20_000]) if "syn" in trick else {})
        for row, text in zip(rows, TRICKS[trick]([texts[r] for r in rows], scene), strict=True):
            texts[row] = text
    return own_words(replace(table.only(list(range(len(table.prompts)))), text=texts, furniture={}))


def read_by(
    told: Mapping[str, str],
    gguf: Path,
    table: Responses,
    prompts: Sequence[int],
    models: Sequence[int],
    out: Path,
) -> None:
    """Let one model read what it has not read yet; a line a prompt, with what is ``told`` of all of them."""
    done = {e["prompt"] for e in lines(out) if all(e.get(k, "") == told.get(k, "") for k in KEYS)}
    todo = [p for p in prompts if table.prompts[p].id not in done]
    if not todo:
        return
    reader = BatchReader.load(gguf)
    after = dict(zip(prompts, [*prompts[1:], *prompts[:1]], strict=True))
    for p in todo:
        (texts,) = texts_to_read(table, [p])
        at = [m for m in models if texts[m]]
        question = table.prompts[after[p] if told["template"] == "other" else p].text
        found = reader.read(question, [texts[m] for m in at], told["template"])
        line: dict[str, Any] = {**told, "prompt": table.prompts[p].id}
        line["heard"] = {
            table.models[m]: [h.values.round(3).tolist(), h.ends.tolist()] for m, h in zip(at, found, strict=True)
        }
        with out.open("a") as f:
            f.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
