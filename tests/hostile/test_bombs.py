"""What is small on the way in and large in memory, on disk or in time is refused before it is unfolded, in one line."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from datasets.config import HF_DATASETS_CACHE
from pyarrow import parquet

from harness.endpoints import bodies, replies
from harness.endpoints.answer_files import open_table
from harness.endpoints.bodies import BodyBudget, unpacked, whole
from harness.endpoints.client import Client
from harness.errors import CallError, ConfigError
from harness.plan import prepare
from harness.sources import gather
from tests.support import ROOT, Write, payloads
from tests.support.fault_server import FaultServer, bomb

MB = 1_000_000


async def _pieces(content: bytes, size: int = 16_384) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def read(content: bytes, encoding: str, most: int = 32_000_000) -> bytes:
    async def go() -> bytes:
        budget = BodyBudget()
        with budget.body() as number:
            return await whole(_pieces(content), encoding, most, budget, number)

    return asyncio.run(go())


@pytest.mark.parametrize("step", ["gzip-bomb", "many-values"])
def test_a_bomb_is_a_recorded_failure_and_the_run_goes_on(run_on: Any, step: str) -> None:
    with FaultServer({"good": ["ok", step, "ok"], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=4, samples=1, endpoint={"concurrency": 1})
        run.go()
    assert run.failures() == [("good", "too_large", 1)]
    assert len(run.answers("good")) == 3


def test_eighty_bombs_at_once_do_not_fill_memory(tmp_path: Path) -> None:
    """Each would become 110 MB. In a process of its own, whose peak is read."""
    script = """
import asyncio, json, resource, sys
from harness.endpoints.bodies import BodyBudget
from harness.endpoints.client import Client
from harness.errors import CallError
async def main(url):
    client = Client(url, None, timeout=60, max_bytes=32_000_000, connections=80)
    async def one():
        try:
            await client.post("/chat/completions", b'{"model": "good"}', read=len)
        except CallError as e:
            return e.kind
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kinds = await asyncio.gather(*(one() for _ in range(80)))
    await client.close()
    print(json.dumps([kinds.count("too_large"), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
asyncio.run(main(sys.argv[1]))
"""
    with FaultServer({"good": ["gzip-bomb"]}, delay=0.2) as server:
        done = subprocess.run([sys.executable, "-c", script, server.url], cwd=ROOT, capture_output=True, check=True)
    refused, grown = json.loads(done.stdout)
    assert refused == 80
    assert grown < 300  # megabytes


def test_large_bodies_share_one_budget() -> None:
    """Eighty that are as large as they say: no more of them is in memory at once than the budget, and one whole."""
    budget, most = BodyBudget(most=4_000_000), 0

    async def one() -> int:
        nonlocal most
        with budget.body() as number:
            content = await whole(_pieces(b"x" * 1_000_000), "", 2_000_000, budget, number)
            most = max(most, budget.used)
            await asyncio.sleep(0)
            return len(content)

    async def main() -> list[int]:
        return await asyncio.gather(*(one() for _ in range(80)))

    assert asyncio.run(main()) == [1_000_000] * 80
    assert 3_000_000 < most <= 5_000_000
    assert budget.used == 0


def test_a_body_that_stalls_holds_up_nobody_who_fits() -> None:
    budget = BodyBudget(most=1_000)

    async def stalled() -> None:
        with budget.body() as number:
            await budget.take(number, 900)
            await asyncio.sleep(3600)

    async def main() -> bytes:
        slow = asyncio.create_task(stalled())
        await asyncio.sleep(0)
        with budget.body() as number:
            found = await whole(_pieces(b"x" * 90), "", 100, budget, number)
        slow.cancel()
        return found

    assert asyncio.run(asyncio.wait_for(main(), 5)) == b"x" * 90


@pytest.mark.parametrize("step", ["gzip", "deflate", "gzip-unused", "deflate-unused"])
def test_packed_answers_are_read(run_on: Any, step: str) -> None:
    with FaultServer({"good": [step], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=2, samples=1)
        run.go()
    assert {r.text for r in run.answers("good")} == {"answer 0", "answer 1"}


def test_a_large_answer_that_packs_well_is_read() -> None:
    """Logprobs of a long answer become twenty times their size, a short text that repeats itself hundreds of times."""
    tokens = [{"token": f"t{i}", "logprob": -i / 7, "top_logprobs": []} for i in range(100_000)]
    for content in (json.dumps(tokens).encode(), b"ha " * 300_000):
        packed = zlib.compress(content)
        assert read(packed, "deflate") == content


def test_a_reply_that_breaks_off_packed_is_asked_for_again(run_on: Any) -> None:
    with FaultServer({"good": ["ok", "gzip-cut", "ok"], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=3, samples=1, endpoint={"concurrency": 1})
        run.go()
        assert server.asked["good"] == 4
    assert len(run.answers("good")) == 3


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 500])
def test_an_encoding_that_nobody_asked_for_is_named(encoding: str) -> None:
    with pytest.raises(CallError, match="the reply is packed as") as refused:
        read(b"abc", encoding)
    assert not refused.value.retry
    assert len(str(refused.value)) < 250


def test_a_page_of_error_that_is_a_bomb_is_read_no_further(run_on: Any) -> None:
    with FaultServer({"good": ["ok", "500-bomb", "ok"], "fine": ["ok"]}) as server:
        run = run_on(server, ("good", "fine"), n=3, samples=1, endpoint={"concurrency": 1})
        run.go()
    assert len(run.answers("good")) == 3


def test_pieces_are_small_however_well_a_body_packs() -> None:
    async def go() -> int:
        return max([len(p) async for p in unpacked(_pieces(zlib.compress(b"a" * 900_000)), "deflate")])

    assert asyncio.run(go()) <= 65_536
    assert len(bomb()) < 150_000


def test_a_reply_of_millions_of_values_is_refused_before_it_is_read() -> None:
    content = b'{"choices": [{"message": {"content": "x", "odd": [' + b"[]," * 3_000_000 + b"0]}}]}"
    began = time.monotonic()
    with pytest.raises(CallError, match="values, logprobs aside"):
        replies.parse(content)
    assert time.monotonic() - began < 5


def test_logprobs_of_a_long_answer_are_no_bomb() -> None:
    top = [{"token": f"t{i}", "logprob": -0.5, "bytes": [1, 2]} for i in range(20)]
    entry = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": top}
    content = payloads.encode(payloads.with_logprobs(payloads.chat("long"), {"content": [entry] * 25_000}))
    assert len(content) > 20_000_000
    assert replies.parse(content).text == "long"


def test_a_large_reply_is_read_beside_the_event_loop() -> None:
    """While it is, others are heard: here a task that looks how late it is."""

    def slow(content: bytes) -> int:
        time.sleep(0.5)
        return len(content)

    async def main() -> int:
        ticks, work = 0, asyncio.create_task(BodyBudget().read(slow, b"x" * (bodies.LARGE + 1)))
        while not work.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert asyncio.run(main()) > 5


@pytest.mark.parametrize("where", ["campaign", "card"])
def test_a_billion_samples_are_refused_at_once(write_campaign: Write, write_prompts: Write, where: str) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", n=3)
    if where == "card":
        write_prompts(3, samples=1_000_000_000)
    else:
        config = yaml.safe_load(path.read_text())
        config["prompts"][0]["samples"] = 1_000_000_000
        path.write_text(yaml.safe_dump(config))
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"6,000,000,000 calls.*samples"):
        prepare(path, {})
    assert time.monotonic() - began < 5


def _recorded(tmp_path: Path, name: str, **prompts: Any) -> Path:
    """A config whose suspect and candidate have their answers in one file."""
    endpoints = [
        {"name": m, "role": r, "lineage": m, "kind": "recorded", "path": name}
        for m, r in (("a", "suspect"), ("b", "candidate"))
    ]
    config = {"campaign": "bomb", "prompts": [{"set": "recorded", **prompts}], "endpoints": endpoints}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config | {"analysis": {"questions": ["identity"]}}))
    return path


def _answers(count: int, text: str) -> dict[str, list[Any]]:
    half = count // 2
    return {
        "model": ["a"] * half + ["b"] * half,
        "prompt_id": [f"q{i}" for i in range(half)] * 2,
        "prompt": ["?"] * count,
        "output": [text] * count,
    }


@pytest.mark.parametrize("known", [True, False])
def test_a_small_table_of_repeated_long_answers_is_refused_before_it_is_unfolded(tmp_path: Path, known: bool) -> None:
    """9 kB that became 1.9 GB on disk: 10,000 rows of one answer of 190 kB, which the file holds once."""
    table = pa.table(_answers(10_000, "x"))
    once = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), pa.array(["x" * 190_000]))
    table = table.set_column(table.column_names.index("output"), "output", once)
    with parquet.ParquetWriter(tmp_path / "a.parquet", table.schema, compression="zstd", store_schema=known) as writer:
        writer.write_table(table)
    size = (tmp_path / "a.parquet").stat().st_size
    assert size < 100_000
    config = _recorded(tmp_path, "a.parquet")
    for read_it in (lambda: prepare(config, {}), lambda: gather([f"{tmp_path}/a.parquet"])):
        with pytest.raises(ConfigError, match=f"{size:,} bytes become .* when they are unfolded"):
            read_it()


def test_a_table_of_billions_of_rows_is_refused(tmp_path: Path) -> None:
    names = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int8()), pa.array(["a"]))
    table = pa.table({"model": pa.chunked_array([names] * 21), "output": pa.chunked_array([names] * 21)})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 200_000
    with pytest.raises(ConfigError, match="21,000,000 rows"):
        prepare(_recorded(tmp_path, "a.parquet"), {})


def test_rows_with_a_key_of_their_own_each_are_refused(tmp_path: Path) -> None:
    """A table has a cell for every key in every row: 3,000 rows would become 9,000,000 cells."""
    rows = [{"model": "ab"[i % 2], "prompt_id": f"q{i // 2}", "output": "x", f"key {i}": 1} for i in range(3_000)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ConfigError, match="more than 1,000 different keys"):
        prepare(_recorded(tmp_path, "a.jsonl"), {})


@pytest.mark.parametrize("repeat", [1, 40])
def test_recorded_answers_are_left_in_nobodys_cache(
    tmp_path: Path, repeat: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is unfolded into a folder that goes with the table; the library that reads it keeps no copy."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    rng = random.Random(1)
    answers = _answers(100 * repeat, "")
    answers["output"] = [rng.randbytes(500 * repeat).hex() for _ in answers["output"]]
    parquet.write_table(pa.table(answers), tmp_path / "a.parquet", compression="zstd")
    cached = set(Path(HF_DATASETS_CACHE).rglob("*"))
    table = open_table("a", "a.parquet", tmp_path, {})
    assert [r["output"] for r in table.read(["output"])] == answers["output"]
    unfolded = list(scratch.rglob("*.arrow"))
    assert len(unfolded) == (repeat > 1)
    assert set(Path(HF_DATASETS_CACHE).rglob("*")) == cached
    del table
    gc.collect()
    assert not list(scratch.iterdir())


def test_a_list_in_json_is_read_as_lines_are(tmp_path: Path) -> None:
    rows = [{"model": m, "prompt_id": "q", "output": 7} for m in "ab"]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lists, lines = (open_table("a", f"a.{kind}", tmp_path, {}) for kind in ("json", "jsonl"))
    assert [*lists.read(["model", "output"])] == [*lines.read(["model", "output"])]


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip", "deflate", "gzip, gzip", "deflate, br"])
def test_a_packed_bomb_over_a_socket_is_a_typed_error_and_takes_no_memory(encoding: str) -> None:
    """200 MB of zeros in 200 kB, in encodings that were asked for and in those that were not."""
    packed = zlib.compress(b"\0" * 200 * MB) if encoding == "deflate" else gzip.compress(b"\0" * 200 * MB)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(packed)}\r\n\r\n"
        writer.write(head.encode() + packed)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def ask() -> tuple[str, int]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            client = Client(address, None, timeout=20, max_bytes=300 * MB, connections=1)
            tracemalloc.start()
            try:
                await client.post("/chat/completions", b"{}", read=bytes)
            except CallError as e:
                return e.kind, tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                await client.close()
        return "none", 0

    kind, peak = asyncio.run(ask())
    assert kind == ("too_large" if encoding in ("gzip", "deflate") else "malformed")
    assert peak < 40 * MB
