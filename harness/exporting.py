"""Stored answers -> a table that others can read, through `datasets`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from harness.campaign import STORE, Plan
from harness.collect.store import Store
from harness.errors import ConfigError
from harness.responses import Response

FORMATS = ("jsonl", "csv", "parquet")


def export_answers(plan: Plan, fmt: str, out: Path | None, stdout: BinaryIO) -> int:
    """Write the plan's answers; returns how many. Columns fit an endpoint of kind ``recorded``."""
    if fmt not in FORMATS:
        raise ConfigError(f"there is no format {fmt!r}", f"known: {', '.join(FORMATS)}")
    if out is None and fmt != "jsonl":
        raise ConfigError(f"{fmt} needs a file", "add --out FILE")
    from datasets import Dataset

    with Store(plan.folder / STORE, readonly=True) as store:
        texts = {p.id: p for p in store.prompts()}
        rows = [_row(r, texts[r.prompt].text, texts[r.prompt].family) for r in store.responses()]
    dataset = Dataset.from_list(rows)
    if out is None:
        dataset.to_json(stdout)
        return len(rows)
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("wb") as target:
            {"jsonl": dataset.to_json, "csv": dataset.to_csv, "parquet": dataset.to_parquet}[fmt](target)
        part.replace(out)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{out}: {e.strerror or e}", "choose another place") from e
    return len(rows)


def _row(response: Response, prompt: str, family: str) -> dict[str, object]:
    values = asdict(response)
    del values["logprobs"]
    return {
        "model": values.pop("endpoint"),
        "prompt_id": values.pop("prompt"),
        "dataset": family,
        "prompt": prompt,
        "output": values.pop("text"),
        **values,
    }
