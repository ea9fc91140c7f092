"""Run all channels, in this process, on local workers or on a Dask cluster; and all observations of each model.

A channel whose module says ``PER_PROMPT = True`` treats each prompt by itself: its prompts are split into chunks, and
all such channels see a chunk in one task. Any other channel is one task. One with ``READS = ("text",)`` in its module
gets the prompts that it serves and these columns; one that says nothing gets all. A worker sends back what it found and
what it has read anew. The numbers are the same, however many workers there are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.channels.reading import take_apart, untaken
from harness.channels.refusals import ladder
from harness.channels.self_report import claims
from harness.channels.tokenizer import families, wrapped_completions
from harness.errors import ConfigError, meant
from harness.records import COLUMNS, Observation, Probe, Responses, RowCache, Similarity, Watch, unwatched

Channel = Callable[[Responses], Similarity | None]
SMALL = 20_000  # answers up to which starting workers costs more than it saves
CHUNK = 100  # prompts in one task, at most
ANSWERS = 8_000  # in one task, at most: the store keeps so many texts in memory
PATIENCE = 20  # seconds for a scheduler to answer
LOCAL = "local"
_EXECUTOR = re.compile(r"local|dask://[^\s/:@]+:\d{1,5}")

Found = dict[str, Similarity]  # by channel; those that have something to compare
Task = tuple[Mapping[str, Channel], Responses]


def load_channels(names: tuple[str, ...] | None = None) -> dict[str, Channel]:
    """Channels by name: all that are installed, or those named. `ConfigError` for a name nobody provides."""
    found = {e.name: e for e in entry_points(group="harness.channels")}
    wanted = sorted(found) if names is None else list(names)
    for name in wanted:
        if name not in found:
            raise ConfigError(f"there is no channel {name!r}", meant(name, sorted(found)))
    return {name: found[name].load() for name in wanted}


def compare(
    channels: Mapping[str, Channel], table: Responses, executor: str = LOCAL, watch: Watch = unwatched
) -> tuple[Similarity, ...]:
    """Similarities of every channel that has something to compare, in the order of ``channels``.

    Parameters
    ----------
    executor : ``local``, or ``dask://host:port`` of a running scheduler whose workers have this project installed.
        What it sends back is unpickled, so it can run any code here: a person names it, never a file.
    watch : is told of each channel, or of each part of the work of many workers.
    """
    require_executor(executor)
    if executor == LOCAL and len(table.text) <= SMALL:
        found: Found = {}
        for done, (name, channel) in enumerate(channels.items()):
            watch("comparing", name, done, len(channels))
            found |= _similarities({name: channel}, table)
    else:
        with _workers(executor):
            found = _spread(channels, table, executor != LOCAL, watch)
        if executor == LOCAL:
            _let_go()
    return tuple(found[name] for name in channels if name in found)


def taken_apart(table: Responses, executor: str = LOCAL, watch: Watch = unwatched) -> Responses:
    """The same table, with the model's own answer taken out of every first sample, by all workers if it is large."""
    require_executor(executor)
    if (executor != LOCAL or len(table.text) > SMALL) and (new := untaken(table)):
        with _workers(executor):
            tasks = [({"answers": take_apart}, part) for part in _chunks(table.only(new))]
            _run(tasks, executor != LOCAL, lambda _, what, done, of: watch("reading", what, done, of))
    return table


def require_executor(text: str) -> str:
    """``text`` if it names a place to compute at; else `ConfigError`."""
    if not _EXECUTOR.fullmatch(text):
        raise ConfigError(f"executor {text!r}: neither local nor dask://HOST:PORT", "see --executor, HARNESS_EXECUTOR")
    return text


def probes(names: Sequence[str], table: Responses, rounds: int, seed: int) -> dict[str, Probe]:
    """Channels that can tell whether it is the models that are alike, measured again among the models of one pool.

    Parameters
    ----------
    names : channels that count; those whose module has a function ``probe`` are measured.
    table : the answers of the pool.
    rounds : placebos of each channel.
    seed : of the placebos.
    """
    out = {}
    for name, channel in load_channels(tuple(names)).items():
        probe = getattr(sys.modules.get(channel.__module__), "probe", None)
        if probe is not None and (found := probe(table, rounds, np.random.default_rng(seed))) is not None:
            out[name] = found
    return out


def observations(responses: Responses) -> tuple[Observation, ...]:
    """Tokenizer families, wrapped completions, identity claims and refusal ladders, as far as they were asked for."""
    return (*families(responses), *wrapped_completions(responses), *claims(responses), *ladder(responses))


def _similarities(channels: Mapping[str, Channel], part: Responses) -> Found:
    return {name: s for name, c in channels.items() if (s := c(part)) is not None}


def _work(channels: Mapping[str, Channel], part: Responses) -> tuple[Found, RowCache]:
    """What a worker returns: similarities, and what it has read of the answers that was not known before."""
    before = part.known()
    found, after = _similarities(channels, part), part.known()
    for work, old in before.found.items():
        new = [... if o is not ... else now for now, o in zip(after.found.pop(work), old, strict=True)]
        after.found |= {work: new} if any(x is not ... for x in new) else {}
    return found, after


def _spread(channels: Mapping[str, Channel], table: Responses, loaded: bool, watch: Watch) -> Found:
    chunked = {name: c for name, c in channels.items() if _said_by(c, "PER_PROMPT", False)}
    chunks = _chunks(_served(table, chunked)) if chunked else []
    single = [{name: c} for name, c in channels.items() if name not in chunked]
    # Those of one task first: chunks fill the time of whoever is done sooner.
    whole = [(one, part) for one in single if len((part := _served(table, one)).prompts)]
    pieces = _run([*whole, *((chunked, part) for part in chunks)], loaded, watch)
    found = {name: s for piece in pieces[: len(whole)] for name, s in piece.items()}
    for name in chunked:
        if mine := [(part, f[name]) for part, f in zip(chunks, pieces[len(whole) :], strict=True) if name in f]:
            found[name] = _joined([s for _, s in mine], [_put(part, s) for part, s in mine])
    return found


def _served(table: Responses, channels: Mapping[str, Channel]) -> Responses:
    """The prompts that some channels look at, as far as these say so; the table itself if that is all of them."""
    if any(_said_by(c, "READS", None) is None for c in channels.values()):
        return table
    some = sorted({p for name in channels for p in table.where(name)})
    return table if len(some) == len(table.prompts) else table.only(some)


def _columns(channels: Mapping[str, Channel]) -> set[str]:
    """The columns that some channels read."""
    return {column for c in channels.values() for column in _said_by(c, "READS", COLUMNS)}


def _said_by(channel: Channel, name: str, otherwise: Any) -> Any:
    """What the module of a channel says of it."""
    return getattr(sys.modules.get(channel.__module__), name, otherwise)


def _put(part: Responses, s: Similarity) -> NDArray[np.int64]:
    """How many of the prompts measured were put to each model, (m,)."""
    measured = set(s.prompts)
    count: NDArray[np.int64] = part.asked[[p.id in measured for p in part.prompts]].sum(0)
    return count


def _chunks(table: Responses) -> list[Responses]:
    count = len(table.prompts)
    size = max(1, min(CHUNK, ANSWERS * count // max(1, len(table.text))))
    return [table.only(range(at, min(at + size, count))) for at in range(0, count, size)]


def _run(tasks: Sequence[Task], loaded: bool, watch: Watch) -> list[Found]:
    from joblib import Parallel, delayed

    # A generator, so that parts of a table that stays in the store are read when their turn comes.
    work = (delayed(_work)(channels, part.loaded(_columns(channels)) if loaded else part) for channels, part in tasks)
    out: list[Found] = []
    if tasks:
        watch("comparing", ", ".join(tasks[0][0]), 0, len(tasks))
    results = Parallel(n_jobs=-1, return_as="generator")(work)
    for (channels, part), (found, known) in zip(tasks, results, strict=True):
        watch("comparing", ", ".join(channels), len(out) + 1, len(tasks))
        part.learn(known)
        out.append(found)
    return out


def _let_go() -> None:
    """End the processes of this machine: idle, they would hold memory while pairs are judged."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


@contextmanager
def _workers(executor: str) -> Iterator[None]:
    """Processes of this machine, or the workers of a dask scheduler."""
    if executor == LOCAL:
        yield
        return
    try:
        from distributed import Client
    except ImportError as e:
        raise ConfigError(f"executor {executor} needs dask", "pip install 'behavioral-probing-harness[cluster]'") from e
    from joblib import parallel_config

    address = executor.replace("dask://", "tcp://", 1)
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=True)
    except (OSError, TimeoutError, ValueError) as e:
        raise ConfigError(f"no dask scheduler answers at {executor}", "start one: dask scheduler") from e
    with client, parallel_config("dask", wait_for_workers_timeout=30):
        yield


def _joined(pieces: Sequence[Similarity], put: Sequence[NDArray[np.int64]]) -> Similarity:
    """One similarity of chunks of prompts; coverage weighted by the prompts ``put`` to each model in each chunk."""
    if len(pieces) == 1:
        return pieces[0]
    share = np.array([s.coverage for s in pieces])
    total = np.sum(put, axis=0)
    answered = np.where(np.array(put) > 0, np.rint(np.array(put) * share), 0.0).sum(0)  # whole numbers, as of one piece
    first = pieces[0]
    return Similarity(
        channel=first.channel,
        models=first.models,
        prompts=tuple(p for s in pieces for p in s.prompts),
        values=np.concatenate([s.values for s in pieces]),
        coverage=np.where(total > 0, answered / np.maximum(total, 1), np.nan),
        unit=first.unit,
        sees=first.sees,
    )
