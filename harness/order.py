"""`harness order`: does a suspect remember texts in the order in which somebody else's model was trained on them?

For owners of a model: texts of its training with their positions, a suspect whose server says how likely it finds a
given text, and models beside it that never saw them. Both are `readers:` of a config. What was read is kept in
``order.sqlite`` in the campaign's folder, and is not read again.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.channels.likelihoods import likelihood
from harness.clock import Clock
from harness.config import Reader, load_config, read_text
from harness.errors import ConfigError, EndpointError, meant
from harness.inference.palimpsest import FEWEST, Order, order_test
from harness.plan import Plan
from harness.readers import ToRead, read_texts
from harness.stages import Asking
from harness.store import Store, echoes

STORE = "order.sqlite"
COLUMNS = ("text", "position")


@dataclass(frozen=True)
class Placed:
    """A text and where it came in training."""

    text: str
    position: float


def order(
    texts: Path,
    config: Path,
    suspect: str,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    rounds: int = 9999,
) -> Order:
    """Let the suspect and all readers of other lineages read the texts, and test for their order.

    ``texts`` is a CSV or JSONL file with columns ``text`` and ``position``. Raises `ConfigError` for a file or a name
    that does not do, `EndpointError` where nobody beside the suspect, or the suspect itself, has read them.
    """
    campaign = load_config(config)
    known = {e.name: e for e in campaign.readers}
    if suspect not in known:
        hint = meant(suspect, known) if known else "the suspect and one model beside it stand under `readers:`"
        raise ConfigError(f"{config}: no reader {suspect!r}", hint)
    placed = placed_texts(texts)
    beside = [e for e in campaign.readers if e.lineage != known[suspect].lineage]
    plan = Plan(campaign, config.resolve().parent, (), (), {})
    with Store(plan.folder / STORE) as store:
        asked = [(e, [_to_read(e, p) for p in placed]) for e in (known[suspect], *beside)]
        run = Asking(plan, environ, {}, asyncio.Event(), say, Clock())
        asyncio.run(read_texts(run, store, asked))
        values = np.array([_likely(store, reader, some) for reader, some in asked])
    for (reader, _), row in zip(asked, values, strict=True):
        if np.isfinite(row).sum() < FEWEST:
            raise EndpointError(f"reader {reader.name} has read {int(np.isfinite(row).sum())} texts", "see above")
    positions = np.array([p.position for p in placed])
    return order_test(values[0], values[1:].mean(0), positions, rounds, np.random.default_rng(campaign.seed))


def _to_read(reader: Reader, placed: Placed) -> ToRead:
    """The text, of which the first word is given: the first token of all has no logprob."""
    first, _, _ = placed.text.partition(" ")
    name = f"order-{hashlib.sha256(placed.text.encode()).hexdigest()[:16]}"
    return ToRead.of(reader, name, first, placed.text[len(first) :])


def _likely(store: Store, reader: Reader, texts: Sequence[ToRead]) -> list[float]:
    said = echoes(store, reader.name)
    heard = [one.heard(said) for one in texts]
    return [math.nan if h is None else likelihood(h, t.text, len(t.text))[1] for h, t in zip(heard, texts, strict=True)]


def placed_texts(path: Path) -> list[Placed]:
    """Texts with their positions from a CSV or JSONL file; `ConfigError` names what does not do, with its line."""
    content = read_text(path)
    if path.suffix.lower() in (".jsonl", ".json"):
        rows = [_json(path, n, line) for n, line in enumerate(content.splitlines(), 1) if line.strip()]
    else:
        rows = list(enumerate(csv.DictReader(content.splitlines(keepends=True)), 2))
    found: dict[str, Placed] = {}
    for n, row in rows:
        text, position = (row.get(c) for c in COLUMNS) if isinstance(row, dict) else (None, None)
        if not isinstance(text, str) or position is None:
            raise ConfigError(f"{path}:{n}: a row needs `text` and `position`", "CSV with these headings, or JSONL")
        try:
            place = float(position)
        except (TypeError, ValueError):
            place = math.nan
        if not math.isfinite(place):
            raise ConfigError(f"{path}:{n}: position {str(position)[:40]!r} is no number", "count texts from 1 on")
        if " " in text.strip():  # of one word nothing is left to be read
            found.setdefault(text.strip(), Placed(text.strip(), place))
    if len(found) < FEWEST:
        raise ConfigError(
            f"{path}: {len(found)} texts of two words or more", f"{FEWEST} are the fewest, 200 a good number"
        )
    return list(found.values())


def _json(path: Path, number: int, line: str) -> tuple[int, Any]:
    try:
        return number, json.loads(line)
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{path}:{number}: no JSON ({str(e)[:80]})", "one object a line") from e
