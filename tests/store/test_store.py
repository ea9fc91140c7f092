"""The store: keys enforced, nothing acknowledged is ever lost, one writer."""

from __future__ import annotations

import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import CallError, StoreError
from harness.records import Job, Prompt, Response
from harness.store.store import Store
from harness.store.table import stored_table

ANSWER = Response("e", "p", 0, "h", "ok", "text", logprobs=b"\x00\xff", seconds=0.5)
JOB = Job("e", "p", 0, "chat", b'{"model":"m"}', "h")
PROMPT = Prompt("p", "tiny", "Question?", channels=("wording",))


def keys(n: int, endpoint: str = "e") -> list[tuple[str, str, int, str]]:
    return [(endpoint, "p", i, "h") for i in range(n)]


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.set_plan([PROMPT], keys(1))
        store.add(ANSWER, JOB)
    with Store(tmp_path / "s.sqlite", readonly=True) as store:
        assert list(store.responses()) == [ANSWER]
        assert store.prompts() == [PROMPT]
        assert store.request("h") == ("chat", b'{"model":"m"}')
        assert store.keys() == {("e", "p", 0, "h")}


def test_what_is_put_is_seen_here_at_once_and_elsewhere_when_committed(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store, Store(tmp_path / "s.sqlite", readonly=True) as other:
        store.set_plan([PROMPT], keys(2))
        store.put(ANSWER, JOB)
        assert store.answered(keys(2)[0])
        assert not store.answered(keys(2)[1])
        assert not other.answered(keys(2)[0])
        assert store.commit()
        assert not store.commit()
        assert other.answered(keys(2)[0])
        store.put(replace(ANSWER, sample=1), JOB)
        assert len(store.keys()) == 2  # whoever reads here sees all of it
        assert len(other.keys()) == 2


def test_what_was_put_last_is_committed_when_the_store_is_closed(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.put(ANSWER, JOB)
    with Store(tmp_path / "s.sqlite", readonly=True) as store:
        assert store.keys() == {("e", "p", 0, "h")}
        assert store.request("h") == ("chat", b'{"model":"m"}')
        assert store.damage() == ""


@pytest.mark.parametrize(
    "spoil", ["UPDATE plan SET prompt = 'q' WHERE sample = 1", "DELETE FROM plan", "DELETE FROM prompts"]
)
def test_a_plan_is_written_again_unless_it_stands_there_whole(tmp_path: Path, spoil: str) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        given: list[int] = []

        def made() -> list[tuple[str, str, int, str]]:
            given.append(1)
            return keys(3)[::-1]

        store.ensure_plan([PROMPT], made)
        before = store._db.total_changes
        store.ensure_plan([PROMPT], made)
        assert store._db.total_changes == before
        store.insert(spoil, [()])
        store.ensure_plan([PROMPT], made)
        assert [key for key, _ in store.plan_keys()] == keys(3)
        assert store.prompts() == [PROMPT]
        store.ensure_plan([replace(PROMPT, text="Another?")], made)
        assert store.prompts()[0].text == "Another?"
        store.ensure_plan([PROMPT], lambda: keys(2))
        assert [key for key, _ in store.plan_keys()] == keys(2)


def test_counted_reasoning_reaches_the_table_and_every_part_of_it(tmp_path: Path) -> None:
    counts = [7, 0, None]
    with Store(tmp_path / "s.sqlite") as store:
        store.set_plan([PROMPT], keys(3))
        for sample, tokens in enumerate(counts):
            store.add(replace(ANSWER, sample=sample, reasoning_tokens=tokens), JOB)
    with Store(tmp_path / "s.sqlite", readonly=True) as store:
        table = stored_table(store, ["f", "e"], [PROMPT], np.ones((1, 2), dtype=bool))
    parts = (table, table.among([1]), table.only([0]), table.loaded(), pickle.loads(pickle.dumps(table)))  # noqa: S301
    assert [list(part.reasoning_tokens) for part in parts] == [counts] * 5
    assert list(table.without([0]).reasoning_tokens) == counts[1:]


def test_a_key_is_answered_once(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.add(ANSWER, JOB)
        with pytest.raises(StoreError, match="UNIQUE"):
            store.add(replace(ANSWER, text="another"), JOB)
        store.set_plan([PROMPT], keys(1))
        assert [r.text for r in store.responses()] == ["text"]
        for other in ({"sample": 1}, {"prompt": "q"}, {"endpoint": "f"}, {"request_hash": "i"}):
            store.add(replace(ANSWER, **other), JOB)  # type: ignore[arg-type]
        assert len(store.keys()) == 5


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.add(ANSWER)
        with pytest.raises(StoreError):
            store.add_many([replace(ANSWER, sample=1), replace(ANSWER, sample=2), ANSWER])
        assert len(store.keys()) == 1
        store.add(replace(ANSWER, sample=1))


def test_answers_to_earlier_plans_stay_but_are_not_read(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.set_plan([PROMPT], keys(1))
        store.add(ANSWER)
        store.set_plan([PROMPT], [("e", "p", 0, "changed")])
        assert list(store.responses()) == []
        assert store.keys() == {("e", "p", 0, "h")}


def test_failures_count_until_there_is_an_answer(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.set_plan([PROMPT], keys(2))
        for _ in range(3):
            store.add_failure(JOB, CallError("no", kind="timeout"), "now")
        store.add_failure(replace(JOB, sample=1), CallError("no", kind="timeout"), "now")
        assert store.failures() == [("e", "timeout", 2)]
        store.add(ANSWER, JOB)
        assert store.failures() == [("e", "timeout", 1)]


@pytest.mark.parametrize("text", ["\ud83d alone", "\x00 nul \u2028 \u0085", "\U0001f600 é 中", "=cmd|'/c calc'!A1"])
def test_hostile_text_is_kept(tmp_path: Path, text: str) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.set_plan([replace(PROMPT, text=text)], keys(1))
        store.add(replace(ANSWER, text=text, refusal=text, model_answered=text), JOB)
        (found,) = store.responses()
        assert found.text == text.encode("utf-8", "replace").decode()
        store.add_failure(JOB, CallError(text, kind="http"), "now")


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.add(ANSWER)
        with pytest.raises(StoreError, match="another run"):
            Store(tmp_path / "s.sqlite")
        with Store(tmp_path / "s.sqlite", readonly=True) as reader:
            assert len(reader.keys()) == 1
        store.add(replace(ANSWER, sample=1))
    with Store(tmp_path / "s.sqlite") as again:
        assert len(again.keys()) == 2


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    Store(tmp_path / "s.sqlite").close()
    with Store(tmp_path / "s.sqlite", readonly=True) as store, pytest.raises(StoreError):
        store.add(ANSWER)


def test_a_reader_that_leaves_does_not_touch_the_log(tmp_path: Path) -> None:
    """Folding it in takes the lock of the writer, whom that could end."""
    log = tmp_path / "s.sqlite-wal"
    with Store(tmp_path / "s.sqlite") as store:
        store.add(ANSWER)
        before = log.stat().st_size
        assert before > 0
        with Store(tmp_path / "s.sqlite", readonly=True) as reader:
            assert len(reader.keys()) == 1  # what only the log has is read
        assert log.stat().st_size == before
    assert not log.exists() or log.stat().st_size == 0


def test_a_writer_waits_for_who_holds_the_file(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(1.6, lambda: other.execute("ROLLBACK"))
        release.start()
        store.add(ANSWER)
        release.join()
        assert len(store.keys()) == 1
        other.close()


@pytest.mark.parametrize("log", [None, b"", b"x" * 5000], ids=["none", "empty", "full"])
def test_a_store_where_nothing_can_be_written(log: bytes | None) -> None:
    with tempfile.TemporaryDirectory() as name:  # a folder of pytest's is closed to other users
        folder = Path(name)
        path = folder / "s.sqlite"
        with Store(path) as store:
            store.add(ANSWER)
        (folder / ".s.sqlite.lock").unlink(missing_ok=True)
        for suffix in ("-wal", "-shm"):
            (folder / f"s.sqlite{suffix}").unlink(missing_ok=True)
        if log is not None:
            (folder / "s.sqlite-wal").write_bytes(log)
        folder.chmod(0o555)
        try:
            said = counted_by_nobody(path)
        finally:
            folder.chmod(0o755)
    # A log may hold answers: what cannot be read whole is not read.
    assert said == "1" if not log else "unable to open" in said or said == "1"


_COUNTER = """
import os, sys
from pathlib import Path
from harness.errors import StoreError
from harness.store.store import Store
if os.getuid() == 0:  # a process that may not write where root may
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    with Store(Path(sys.argv[1]), readonly=True) as store:
        print(len(store.keys()))
except StoreError as e:
    print(e)
"""


def counted_by_nobody(path: Path) -> str:
    """How many keys somebody finds who may not write there, or why none."""
    command = [sys.executable, "-c", _COUNTER, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_missing_foreign_and_newer_files(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no answers"):
        Store(tmp_path / "none.sqlite", readonly=True)
    (tmp_path / "text.sqlite").write_text("this is no database, only text " * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path / "text.sqlite")
    Store(tmp_path / "new.sqlite").close()
    with sqlite3.connect(tmp_path / "new.sqlite") as db:
        db.execute("UPDATE meta SET value = '99'")
    with pytest.raises(StoreError, match="format 99"):
        Store(tmp_path / "new.sqlite", readonly=True)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE unrelated (x)")
    with pytest.raises(StoreError):
        Store(other, readonly=True)


_WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from harness.store.store import Store
from harness.records import Response
answer = Response("e", "p", 0, "h", "ok", "x" * 3000)
with Store(Path(sys.argv[1])) as store:
    start = len(store.keys())
    for i in range(start, start + 1_000_000):
        store.add(replace(answer, sample=i))
        print(i, flush=True)
"""


def test_kill_minus_nine_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    rng = random.Random(5)
    acknowledged: set[int] = set()
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        acknowledged.add(int(writer.stdout.readline()))
        time.sleep(rng.random() * 0.15)
        writer.send_signal(signal.SIGKILL)
        whole = writer.stdout.read().split(b"\n")[:-1]  # the last line may be cut
        acknowledged |= {int(line) for line in whole}
        writer.wait()
    with Store(path) as store:
        samples = sorted(key[2] for key in store.keys())  # noqa: SIM118 - not a dict
        store.set_plan([PROMPT], keys(len(samples)))
        assert all(r.text == "x" * 3000 for r in store.responses())
    assert samples == list(range(len(samples)))
    assert acknowledged <= set(samples)
    assert len(samples) - len(acknowledged) <= 6  # at most the one in flight per round
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


_FILLER = """
import os, resource, signal, sys
from dataclasses import replace
from pathlib import Path
from harness.errors import StoreError
from harness.records import Response
from harness.store.store import Store
answer, done = Response("e", "p", 0, "h", "ok", ""), 0
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with Store(Path(sys.argv[1])) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        while True:
            store.add(replace(answer, sample=done, text=os.urandom(2000).hex()))
            done += 1
except StoreError as e:
    print(f"{done}\\n{e}")
"""


def test_a_full_disk_is_one_line_and_keeps_what_was_stored(tmp_path: Path) -> None:
    """A limit on file size is a disk that is full, for one process."""
    path = tmp_path / "s.sqlite"
    command = [sys.executable, "-c", _FILLER, str(path)]
    done, _, said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n")
    assert "disk full" in said
    with Store(path) as store:
        assert len(store.keys()) == int(done) > 10
        store.add(replace(ANSWER, sample=10_000))


def test_a_store_that_is_removed_is_noticed_at_once(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.add(ANSWER, JOB)
        (tmp_path / "s.sqlite").unlink()
        with pytest.raises(StoreError, match="was removed during the run"):
            store.add(replace(ANSWER, sample=1), JOB)
