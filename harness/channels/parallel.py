"""The channel stage: answers -> similarities of every channel, here or spread over workers.

A channel whose module says ``PER_PROMPT = True`` treats each prompt by itself, so its prompts are split into chunks;
any other is one task. The answer is the same, number for number, however many workers there are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from harness.channels import Channel
from harness.errors import ConfigError
from harness.records import Responses, Similarity

SMALL = 20_000  # answers up to which starting workers costs more than it saves
CHUNK = 100  # prompts in one task
PATIENCE = 20  # seconds for a scheduler to answer


def compare(channels: Mapping[str, Channel], table: Responses, executor: str = "local") -> tuple[Similarity, ...]:
    """Similarities of every channel that has something to compare, in the order of ``channels``.

    Parameters
    ----------
    executor : ``local``, or ``dask://host:port`` of a running scheduler whose workers have this project installed.
    """
    if executor == "local" and len(table.text) <= SMALL:
        return tuple(s for c in channels.values() if (s := c(table)) is not None)
    tasks = [(name, part) for name, c in channels.items() for part in _parts(c, table)]
    found = _spread([(channels[name], part) for name, part in tasks], executor)
    out = []
    for name in channels:
        pieces = [(p, s) for (n, p), s in zip(tasks, found, strict=True) if n == name and s is not None]
        if pieces:
            out.append(_joined([p for p, _ in pieces], [s for _, s in pieces]))
    return tuple(out)


def _parts(channel: Channel, table: Responses) -> list[Responses]:
    if not getattr(sys.modules.get(channel.__module__), "PER_PROMPT", False):
        return [table]
    return [table.only(range(at, min(at + CHUNK, len(table.prompts)))) for at in range(0, len(table.prompts), CHUNK)]


def _apply(channel: Channel, part: Responses) -> Similarity | None:
    return channel(part)


def _spread(tasks: Sequence[tuple[Channel, Responses]], executor: str) -> list[Similarity | None]:
    from joblib import Parallel, delayed, parallel_config

    # A generator, so that parts of a table that stays in the store are read when their turn comes.
    work = (delayed(_apply)(c, part if executor == "local" else part.loaded()) for c, part in tasks)
    if executor == "local":
        return list(Parallel(n_jobs=-1)(work))
    try:
        from distributed import Client
    except ImportError as e:
        raise ConfigError(
            f"analysis.executor: {executor} needs dask", "pip install 'behavioral-probing-harness[cluster]'"
        ) from e
    address = executor.replace("dask://", "tcp://", 1)
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=True)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as e:
        raise ConfigError(
            f"analysis.executor: no dask scheduler answers at {executor}", "start one: dask scheduler"
        ) from e
    with client, parallel_config("dask", wait_for_workers_timeout=30):
        return list(Parallel(n_jobs=-1)(work))


def _joined(parts: Sequence[Responses], pieces: Sequence[Similarity]) -> Similarity:
    """One similarity of chunks of prompts; coverage weighted by the prompts put to each model in the chunk."""
    if len(pieces) == 1:
        return pieces[0]
    put = np.array([part.asked[part.where(s.channel)].sum(0) for part, s in zip(parts, pieces, strict=True)])
    share = np.array([s.coverage for s in pieces])
    total = put.sum(0)
    with np.errstate(invalid="ignore"):
        coverage = np.where(total > 0, np.where(put > 0, put * share, 0.0).sum(0) / np.maximum(total, 1), np.nan)
    first = pieces[0]
    return Similarity(
        channel=first.channel,
        models=first.models,
        prompts=tuple(p for s in pieces for p in s.prompts),
        values=np.concatenate([s.values for s in pieces]),
        coverage=coverage,
        unit=first.unit,
        sees=first.sees,
    )
