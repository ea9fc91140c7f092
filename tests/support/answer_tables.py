"""Small tables of answers for tests of channels, and what a channel must find in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.channels.parallel import load_channels
from harness.records import Prompt, Response, Responses, Similarity

MODELS = ("mother", "child", "red", "green", "blue")
Row = Mapping[str, Sequence[str]]


def table(channel: str, rows: Sequence[Row], surface: Any = "chat", **of: Any) -> Responses:
    """Prompts of one channel; ``of`` gives other columns of a response by model and prompt, or fields by prompt."""
    fields = of.get("fields", [{}] * len(rows))
    prompts = [
        Prompt(
            f"q{i}",
            channel,
            f.get("text", "?"),
            group=f.get("group", ""),
            surface=surface,
            channels=(channel,),
            fields=f,
        )
        for i, f in enumerate(fields)
    ]
    found = [
        Response(
            model,
            f"q{i}",
            s,
            "h",
            "ok" if text.strip() else "empty",
            text,
            reasoning=of["reasoning"](model, i) if "reasoning" in of else "",
            prompt_tokens=of["tokens"](model, i) if "tokens" in of else None,
        )
        for i, row in enumerate(rows)
        for model, samples in row.items()
        for s, text in enumerate(samples)
    ]
    asked = np.ones((len(rows), len(MODELS)), dtype=bool)
    return Responses.of(MODELS, prompts, found, asked)


def read(channel: str, responses: Responses) -> Similarity:
    found = load_channels((channel,))[channel](responses)
    assert found is not None
    return found


def fires(found: Similarity) -> None:
    """The one kin pair is the most alike of all, by more than the strangers differ among themselves."""
    mean = np.nanmean(found.values, axis=0)
    assert np.isnan(np.diagonal(found.values, axis1=1, axis2=2)).all()
    upper = mean[np.triu_indices(len(MODELS), 1)]
    kin, strangers = upper[0], upper[1:]
    assert kin > np.nanmax(strangers) + np.nanstd(strangers)


def ask(text: Callable[[str, int], str], n: int = 12) -> list[Row]:
    return [{m: [text(m, i)] for m in MODELS} for i in range(n)]
