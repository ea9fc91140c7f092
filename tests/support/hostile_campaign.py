"""A campaign on recorded answers that no one would wish for, scored by the real pipeline, for tests of the report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from harness.campaign import collect_async, score, write
from harness.plan import prepare

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</script></style></textarea><script>window.pwned = 2</script>",
    '"><img src=x onerror="window.pwned = 3">',
    "<a href='javascript:window.pwned=4'>click</a> {{ 7 * 191 }} {% raw %}",
    "\u202eright to left\u2066 \x1b[2J\x00 end",
    "an entity &amp; <svg onload=window.pwned=5>",
)
WORDS = ("amber", "bridge", "candle", "delta", "ember", "forest", "garden", "harbour", "island", "jungle")


def answer(rng: np.random.Generator, model: int, prompt: int, length: int) -> str:
    """Words of a model's preference on each prompt, something hostile among them; the first two models share theirs."""
    taste = np.random.default_rng([max(model, 1), prompt]).dirichlet(np.ones(len(WORDS)))
    said = " ".join(rng.choice(WORDS, length, p=taste))
    return f"The {said} {HOSTILE[prompt % len(HOSTILE)]} {said[:200]}"  # in English, as the calibration is


def campaign(folder: Path, models: int, prompts: int, length: int, questions: Sequence[str] = ("kinship",)) -> Path:
    """A campaign on recorded answers that no one would wish for, scored by the real pipeline; path of its report."""
    rng = np.random.default_rng(1)
    names = [f"m{i:02}" for i in range(models)]
    rows = [
        {"model": n, "prompt_id": f"q{p:03}", "prompt": f"{p} {HOSTILE[p % 4]}", "output": answer(rng, i, p, length)}
        for i, n in enumerate(names) for p in range(prompts)
    ]  # fmt: skip
    rows[0]["output"] = "<b>" * 333_334  # a megabyte
    (folder / "answers.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    roles = ["suspect", "candidate", *["control"] * (models - 2)]
    endpoints = [
        {"name": n, "role": r, "lineage": n, "kind": "recorded", "path": "answers.jsonl"}
        for n, r in zip(names, roles, strict=True)
    ]
    config = {
        "campaign": "hostile", "prompts": [{"set": "recorded"}], "endpoints": endpoints,
        "analysis": {"questions": list(questions), "bootstrap": 200, "channels": ["wording"]},
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return scored(path)


def scored(config: Path, limit: int | None = None, **environ: str) -> Path:
    plan = prepare(config, environ, limit)
    asyncio.run(collect_async(plan, environ, {}, asyncio.Event()))
    return next(p for p in write(plan, score(plan)) if p.name == "report.html")
