"""Recorded endpoints as a campaign reads them, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.config.endpoint import Recorded
from harness.endpoints.recorded import read
from harness.records import Prompt, Response
from harness.store.store import key_of


def everything(
    endpoints: Sequence[Recorded], folder: Path, environ: Mapping[str, str]
) -> tuple[list[Prompt], list[Response]]:
    """Prompts and all answers; keys told without reading the answers must be those of the answers."""
    prompts, recordings = read(endpoints, folder, environ)
    chosen = {p.id for p in prompts}
    answers = [r for recording in recordings for r in recording.answers(chosen)]
    assert [key_of(r) for r in answers] == [k for recording in recordings for k in recording.keys(chosen)]
    return prompts, answers
