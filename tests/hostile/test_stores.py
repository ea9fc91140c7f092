"""Stores that nobody would wish for, and disks that are full: one line, and nothing that was paid for is lost."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.campaign import collect_async, score
from harness.errors import HarnessError, StoreError
from harness.plan import STORE, prepare, stored_plan
from harness.store.reserve import RESERVE
from harness.store.store import Store
from harness.transfer import export_answers
from tests.support import Write
from tests.support.fault_server import FaultServer, Reply, Request, ok
from tests.support.stored_plans import answered

ODD = {
    "a view for a table": "DROP TABLE runs; CREATE VIEW runs AS SELECT 'a' AS started_at, '{}' AS json",
    "a view beside": "CREATE VIEW more AS SELECT * FROM responses",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON responses BEGIN DELETE FROM responses; END",
    "a virtual table": "CREATE VIRTUAL TABLE v USING fts5(x)",
    "no table of answers": "DROP TABLE responses",
    "no table of notes": "DROP TABLE meta",
    "another column": "ALTER TABLE responses RENAME COLUMN text TO words",
    "a value of another type": "UPDATE responses SET text = x'00ff' WHERE rowid = 2",
    "a row of 120 MB": "UPDATE responses SET text = hex(zeroblob(60000000)) WHERE rowid = 2",
    "a prompt of 120 MB": "UPDATE prompts SET json = hex(zeroblob(60000000))",
    "a prompt that is none": "UPDATE prompts SET json = '[1, 2]'",
    "a prompt that is deep": "UPDATE prompts SET json = replace(hex(zeroblob(100000)), '0', '[')",
    "a format of tomorrow": "UPDATE meta SET value = '99' WHERE key = 'format'",
}


@pytest.mark.parametrize("name", list(ODD))
def test_a_store_of_a_stranger_is_one_line(write_campaign: Write, tmp_path: Path, name: str) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", n=2, samples=1)
    plan = answered(path, ["one", "two"])
    with closing(sqlite3.connect(plan.folder / STORE)) as db:
        db.executescript(ODD[name])
    for command in (score, lambda p: export_answers(stored_plan(p), "csv", tmp_path / "out.csv", open(0, "wb"))):  # noqa: SIM115
        with pytest.raises(StoreError) as refused:
            command(path)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 600
        assert str(plan.folder) in str(refused.value)


def test_a_store_that_is_no_database_is_one_line(write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", n=2, samples=1)
    plan = answered(path, ["one"])
    for content in (b"", b"SQLite format 3\0" + b"\xff" * 5000, b"hello" * 1000):
        (plan.folder / STORE).write_bytes(content)
        with pytest.raises(StoreError) as refused:
            score(path)
        assert "\n" not in str(refused.value)


def test_a_trigger_is_not_run_by_a_run(write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", n=2, samples=1)
    plan = answered(path, ["one"])
    with closing(sqlite3.connect(plan.folder / STORE)) as db:
        db.executescript("CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM responses; END")
        before = db.execute("SELECT COUNT(*) FROM responses").fetchone()
    with pytest.raises(StoreError, match="it has a trigger 't'"):
        Store(plan.folder / STORE)
    with closing(sqlite3.connect(plan.folder / STORE)) as db:
        assert db.execute("SELECT COUNT(*) FROM responses").fetchone() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 MiB, of memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if not mount or subprocess.run([mount, "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: S607


def _ask(path: Path) -> None:
    asyncio.run(collect_async(prepare(path, {}), {}, {}, asyncio.Event()))


def test_a_disk_that_fills_up_loses_no_answer_that_was_paid(small_disk: Path, write_campaign: Write) -> None:
    """Another program takes all that is left while calls are in flight: they are stored, and no others are made."""
    filler = small_disk / "filler"

    def fill(request: Request) -> Reply:
        if request.number == 20:
            with filler.open("wb") as f:
                try:
                    while True:
                        f.write(b"x" * 65_536)
                        f.flush()
                except OSError:
                    pass
        return long(request)

    def long(request: Request) -> Reply:
        return Reply(body=ok(request).body.replace(b"answer", b"answer " + b"x" * 20_000))

    # Filled once only: a second time would take the reserve, too.
    with FaultServer({"good": [fill], "fine": [long]}, delay=0.01) as server:
        path = write_campaign(server.url, n=200, samples=2, results=str(small_disk), endpoint={"concurrency": 16})
        with pytest.raises(StoreError, match="disk is full: asking stopped") as ended:
            _ask(path)
        delivered = sum(server.delivered.values())
        with Store(prepare(path, {}).store, readonly=True) as store:
            assert len(store.keys()) == delivered < 800
        assert "\n" not in str(ended.value)
        filler.unlink()
        _ask(path)
        with Store(prepare(path, {}).store, readonly=True) as store:
            assert len(store.keys()) == 800
            assert store.damage() == ""
        assert sum(server.delivered.values()) == 800  # none was asked twice
    assert not list(small_disk.rglob("*reserve*"))


def test_nobody_is_asked_on_a_full_disk(small_disk: Path, write_campaign: Write) -> None:
    (small_disk / "filler").write_bytes(b"x" * ((96 << 20) - RESERVE + 1_000_000))
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=2, results=str(small_disk))
        with pytest.raises(HarnessError, match="nearly full"):
            _ask(path)
        assert sum(server.asked.values()) == 0


def test_the_reserve_is_there_while_calls_are_made_and_gone_afterwards(write_campaign: Write) -> None:
    seen: list[int] = []

    def look(request: Request) -> Reply:
        seen.extend(p.stat().st_blocks * 512 for p in folder.rglob("*.reserve"))
        return ok(request)

    with FaultServer({"good": [look], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=2, samples=1)
        folder = prepare(path, {}).folder
        _ask(path)
    assert seen
    assert min(seen) >= RESERVE
    assert not list(folder.rglob("*.reserve"))
