"""Answers that nobody gave, for three reports of the gallery: `python examples/gallery/make.py`.

Every model here is a way of choosing words. `north` to `river` are strangers to one another. `common` is a hub: it says
what any of them might say, and so resembles each of them more than they resemble one another. `broken` is an endpoint
that returns error pages, nothing, one sentence for everything, or noise. `router` gives real answers, but not its own:
every call goes, by chance, to `honest` or to `swapper` of swap.parquet.

The other answers are those of one run of config.yaml and of examples/local-swap.yaml, without what nobody compares:
`harness export config.yaml --format parquet --logprobs --out all.parquet`, and then
`python examples/gallery/make.py --slim all.parquet default.parquet`.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
STRANGERS = ("north", "amber", "birch", "cedar", "delta", "ember", "flint", "grove", "heron", "river")
PROMPTS = 60
PLACES = "harbour castle market museum forest island station valley bridge garden theatre library".split()
WORDS = (
    "ancient arcade archive artist autumn bakery balcony ballad banner barley beacon belfry bicycle boulder "
    "brewer bronze cabin canal candle canyon carriage cellar chapel cherry circus cliff cloister cobbles comedy "
    "compass copper cottage courtyard crystal dancer dawn desert diary dragon dungeon echo engine falcon feast "
    "ferry fiddle fountain fresco gallery ghost glacier goldsmith granite guild hammer heather herald hermit "
    "hillside honey horizon inn ivory jetty juniper kettle keystone kiln ladder lantern lavender legend lichen "
    "lighthouse linen lute maple marble mason meadow mill mirror moat monk mosaic moss needle oak olive orchard "
    "organ oyster parade parchment pilgrim plaza poet porcelain quarry quay rampart raven reed relic river ropes "
    "saddle saffron sailor salt scholar shepherd silver slate smith spire spring stable statue steeple stone "
    "storm tailor tapestry tavern thunder timber tower tunnel turret vault vessel village vineyard violin wagon "
    "walnut watchman weaver well wheel willow window winter wool workshop"
).split()
JOINTS = (
    "The {} is near the {}.", "Look for a {} with its {}.", "They say the {} was a {}.", "At night the {} hides a {}.",
    "Ask for the {} or the {}.", "No {} without a {}.", "Behind the {} stands a {}.", "Every {} has some {}.",
    "Take a {} to the {}.", "People like the {} more than the {}.", "Once a {} met this {}.", "It needs {} and {}.",
)  # fmt: skip
KEPT = ("model", "prompt_id", "prompt", "surface", "output", "sample", "finish_reason", "prompt_tokens",
        "completion_tokens")  # fmt: skip
CANNED = "I am sorry, but something went wrong with your request. Please try again in a few minutes."
PAGE = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def liked(model: str, question: str) -> list[str]:
    """The twenty words that come to a model's mind when it is asked this."""
    return random.Random(f"{model} on {question}").sample(WORDS, 20)


def said(model: str, question: str) -> str:
    """Ten sentences about what comes to its mind; to `common` comes what comes to anybody's."""
    draw = random.Random(f"{model} answers {question}")
    if model == "common":
        words = [draw.choice(liked(m, question)) for m in STRANGERS for _ in range(2)]
        draw.shuffle(words)
    else:
        words = liked(model, question)
    return " ".join(draw.choice(JOINTS).format(words[2 * i], words[2 * i + 1]) for i in range(len(words) // 2))


def broken(number: int) -> str:
    """What an endpoint returns that is out of order."""
    noise = random.Random(f"noise {number}").randbytes(60)
    return (PAGE, "", CANNED, base64.b64encode(noise).decode(), "the " * 50)[number % 5]


def rows() -> Iterator[dict[str, str]]:
    """An answer a row, for `harness import` and for endpoints of kind `recorded`."""
    for n in range(PROMPTS):
        question = f"What should a visitor of the {PLACES[n % 12]} in town {n + 1} know?"
        found = {m: said(m, question) for m in ("common", *STRANGERS)} | {"broken": broken(n)}
        for model, output in found.items():
            yield {"model": model, "prompt_id": f"made-{n:02}", "prompt": question, "output": output}


def routed() -> list[dict[str, object]]:
    """Every answer of the router: that of one of two models to the same call."""
    from pyarrow import parquet

    given = parquet.read_table(HERE / "swap.parquet").to_pylist()
    answers = {(r["model"], r["prompt_id"], r["sample"]): r for r in given}
    draw, calls = random.Random("router"), [r for r in given if r["model"] == "honest"]
    return [
        {**answers[draw.choice(("honest", "swapper")), r["prompt_id"], r["sample"]], "model": "router"} for r in calls
    ]


def slim(source: Path, target: Path) -> None:
    """An export without what nobody compares: names of servers, times, and logprobs behind the first token."""
    import pyarrow as pa
    from pyarrow import parquet

    def kept(row: dict[str, Any]) -> dict[str, Any]:
        found = json.loads(row["logprobs"]) if row["logprobs"] else None
        first = found and {"content": [{k: v for k, v in found["content"][0].items() if k != "id"}]}
        return {**{c: row[c] for c in KEPT}, "logprobs": json.dumps(first) if first else None}

    rows = [kept(row) for row in parquet.read_table(source).to_pylist()]
    rows.sort(key=lambda row: (row["prompt_id"], row["model"], row["sample"]))
    parquet.write_table(pa.Table.from_pylist(rows), target, compression="zstd", compression_level=19)


def write() -> None:
    """made.jsonl and router.parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(
        pa.Table.from_pylist(routed()), HERE / "router.parquet", compression="zstd", compression_level=19
    )
    lines = "".join(json.dumps(row) + "\n" for row in rows())
    (HERE / "made.jsonl").write_text(lines, "utf-8")


if __name__ == "__main__":
    slim(Path(sys.argv[2]), HERE / sys.argv[3]) if sys.argv[1:2] == ["--slim"] else write()
