"""Readers: models with open weights are given the stored answers, and say how likely they find each token of them.

It is done once all is asked, since only then it is known what stands in all answers of an endpoint and is not its
model's. What a reader says is stored like any answer, under the reader's name, with the request that got it. It is not
of the plan: nobody is judged by it, and a text that is read already is not read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.channels.base import evenly
from harness.channels.draws import independent_draws
from harness.channels.likelihoods import PROMPTS, Heard, chosen, heard, likelihoods, texts_to_read
from harness.channels.reading import read
from harness.collect.agreement import recognise
from harness.collect.context import RunContext, Tally
from harness.collect.runner import committed_in_groups
from harness.collect.throttle import CircuitBreaker
from harness.collect.worker import Connection, Workers
from harness.config import Reader, environment, lineage_of, require_keys, told_of
from harness.endpoints import Servers, cache_folder, model_name
from harness.errors import EndpointError
from harness.inference.liking import Readings
from harness.inference.pool import Model
from harness.judging import read_responses
from harness.plan import Plan
from harness.records import Job, Responses, request_hash
from harness.stages import Asking
from harness.store import Store, echoes, spent


@dataclass(frozen=True)
class ToRead:
    """One text and what stands before it, together all that a reader is given, and the call."""

    asked: str
    text: str
    job: Job

    @classmethod
    def of(cls, reader: Reader, name: str, before: str, text: str) -> ToRead:
        """A call under the name of a prompt."""
        asked = {"prompt": before + text, "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 1.0}
        told = {k: v for k, v in reader.params.items() if v is not None}
        body = msgspec.json.encode({"model": model_name(reader), **asked, **told})
        job = Job(reader.name, name, 0, "completion", body, request_hash("completion", body))
        return cls(before + text, text, job)

    def heard(self, said: Mapping[str, bytes | None]) -> Heard | None:
        """How likely the reader found it, of all that it said, by the hash of its request."""
        return heard(said.get(self.job.request_hash), self.asked, self.text)


@dataclass(frozen=True)
class ReadingList:
    """What readers are given: ``texts`` by prompt and model, (p, m), of the prompts ``at`` (indices) of ``table``."""

    table: Responses
    at: tuple[int, ...]
    texts: Sequence[Sequence[str]]

    @classmethod
    def of(cls, table: Responses) -> ReadingList:
        """Of a table whose answers are read already (`harness.channels.reading.read`)."""
        at = tuple(evenly(table.where("wording"), PROMPTS))
        return cls(table, at, texts_to_read(table, at))

    def jobs(self, reader: Reader) -> Iterator[tuple[tuple[int, int], ToRead]]:
        """For every text its prompt and model (indices), and the call."""
        for p, row in enumerate(self.texts):
            prompt = self.table.prompts[self.at[p]]
            before = reader.template.replace("{prompt}", prompt.text)
            for m, text in enumerate(row):
                if text:
                    yield (p, m), ToRead.of(reader, prompt.id, before, text)


def readings(plan: Plan, table: Responses) -> Readings | None:
    """What the readers of a campaign said of its answers, as far as it is stored; None without readers."""
    readers = plan.campaign.readers
    if not readers:
        return None
    listed = ReadingList.of(table)
    found: dict[tuple[int, int, int], Heard] = {}
    with Store(plan.store, readonly=True) as store:
        greedy = greedy_answers(store, listed)
        for r, reader in enumerate(readers):
            said = echoes(store, reader.name)
            for (p, m), one in listed.jobs(reader):
                if (likely := one.heard(said)) is not None:
                    found[p, m, r] = likely
    return Readings(
        models=table.models,
        readers=tuple(Model(e.name, e.role, lineage_of(e), *told_of(e)) for e in readers),
        prompts=tuple(table.prompts[p].id for p in listed.at),
        given=sum(bool(t) for row in listed.texts for t in row),
        values=likelihoods(listed.texts, found, len(readers)),
        greedy=greedy,
        chosen=chosen((*greedy.shape, len(readers)), found, greedy),
    )


class _Sent(msgspec.Struct, rename="camel"):
    temperature: float | None = None
    generation_config: dict[str, Any] | None = None  # of Gemini's API


_SENT = msgspec.json.Decoder(_Sent)


def greedy_answers(store: Store, listed: ReadingList) -> NDArray[np.bool_]:
    """Which answers, (p, m), were asked for at temperature 0: as the request says that was sent, else as the prompt."""
    table = listed.table
    out = np.zeros((len(listed.at), len(table.models)), dtype=bool)
    for i, p in enumerate(listed.at):
        for m, name in enumerate(table.models):
            heat: object = table.prompts[p].temperature
            if (body := store.planned_request(name, table.prompts[p].id, 0)) is not None:
                heat = _heat(body)
            out[i, m] = bool(listed.texts[i][m]) and heat == 0
    return out


def _heat(body: bytes) -> object:
    try:
        sent = _SENT.decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return (sent.generation_config or {}).get("temperature", sent.temperature)


async def read_answers(run: Asking) -> None:
    """Give every reader the stored answers that it has not read yet, one reader after the other.

    A reader that cannot be used is told and left out: nothing else waits for it.
    """
    plan = run.plan
    listed = await asyncio.to_thread(lambda: ReadingList.of(read(independent_draws(read_responses(plan))[0])))
    with Store(plan.store) as store:
        await read_texts(run, store, [(r, [one for _, one in listed.jobs(r)]) for r in plan.campaign.readers])


async def read_texts(run: Asking, store: Store, texts: Sequence[tuple[Reader, Sequence[ToRead]]]) -> None:
    """Give readers what the store does not hold yet of these texts, each text once."""
    plan = run.plan
    environ = environment(plan.campaign, plan.base, run.environ)
    readers = [reader for reader, _ in texts]
    require_keys(readers, environ)
    recognise(readers, plan.base, store)
    context = RunContext(store, plan.campaign.collect, run.stop, run.say, run.clock)
    context.budget.charge_stored([*plan.called, *readers], spent(store))
    todo = []
    for reader, some in texts:
        once = {one.job.key: one for one in some}
        left = [one for key, one in once.items() if not store.answered(key)]
        todo.append((reader, left))
        tally = Tally(planned=len(once), stored=len(once) - len(left), state="waiting" if left else "done")
        run.tallies[reader.name] = tally
    async with committed_in_groups(context):
        for reader, left in todo:
            if left and not run.stop.is_set():
                await _read_by(reader, run, context, left, environ)


async def _read_by(
    reader: Reader, run: Asking, context: RunContext, todo: Sequence[ToRead], environ: Mapping[str, str]
) -> None:
    """All that one reader has not read: first one text, to see that it says how likely it finds what it is given."""
    from harness.endpoints.client import open_client  # not before somebody is asked: see there

    tally, first = run.tallies[reader.name], todo[0]
    try:
        async with contextlib.AsyncExitStack() as stack:
            servers = Servers(stack, run.plan.base, cache_folder(environ), run.say)
            address = await servers.addresses([reader])[reader.name]
            client = await stack.enter_async_context(open_client(reader, address, context.settings, environ))
            breaker = CircuitBreaker(context.settings.park_after, context.settings.max_wait, run.clock)
            workers = Workers(Connection(reader, client, breaker), context, tally)
            await workers.run_job(first.job)
            said = echoes(context.store, reader.name)
            if first.job.request_hash not in said and not tally.stored:
                raise EndpointError(tally.last_error or "it gives no logprobs", "is it a completions API?")
            if first.job.request_hash in said and first.heard(said) is None:
                raise EndpointError(
                    "its reply holds no logprobs of the text that it was given",
                    "a reader's completions must take `echo` with `logprobs` and `max_tokens: 0`, as vLLM's do",
                )
            workers.jobs = iter([one.job for one in todo[1:]])
            await workers.run()
    except EndpointError as e:
        tally.state, tally.last_error = "parked", str(e)
        run.say(f"reader {reader.name} cannot be used: {e}")
