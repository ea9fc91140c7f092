"""Stores of earlier formats open: who writes brings them to this one, who reads leaves them as they are."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign import score, write
from harness.errors import StoreError
from harness.evidence import pack_folder, verify, verify_folder
from harness.plan import STORE, Plan, stored_plan
from harness.records import Response
from harness.store import require_whole
from harness.store.store import Store
from tests.support import Write
from tests.support.stored_plans import answered

# As earlier versions made them, and what brings the rows of a store of now back into them.
_FORMAT_1 = """
CREATE TABLE old_requests (hash TEXT PRIMARY KEY, surface TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE old_plan (endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT,
  PRIMARY KEY (endpoint, prompt, sample, request_hash)) WITHOUT ROWID;
CREATE TABLE old_responses (endpoint, prompt, sample, request_hash, outcome, text, reasoning, refusal, finish_reason,
  model_asked, model_answered, system_fingerprint, provider, response_id, prompt_tokens, completion_tokens,
  reasoning_tokens, logprobs, attempts, seconds, received_at, PRIMARY KEY (endpoint, prompt, sample, request_hash));
CREATE TABLE chain (
  position INTEGER PRIMARY KEY, endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT, link BLOB);
CREATE TEMP TABLE hashes AS SELECT id, CASE typeof(hash) WHEN 'blob' THEN lower(hex(hash)) ELSE hash END AS hash
  FROM requests;
INSERT INTO old_requests SELECT h.hash, surface, body FROM requests JOIN hashes h USING (id) WHERE body IS NOT NULL;
INSERT INTO old_plan SELECT endpoint, prompt, sample, hash FROM plan JOIN hashes ON id = request;
INSERT INTO old_responses SELECT endpoint, prompt, sample, hash, outcome, text, reasoning, refusal, finish_reason,
  model_asked, model_answered, system_fingerprint, provider, response_id, prompt_tokens, completion_tokens,
  reasoning_tokens, logprobs, attempts, seconds, received_at FROM responses JOIN hashes ON id = request
  ORDER BY position;
INSERT INTO chain SELECT position, endpoint, prompt, sample, hash, link FROM responses JOIN hashes ON id = request;
DROP TABLE requests; DROP TABLE plan; DROP TABLE responses;
ALTER TABLE old_requests RENAME TO requests;
ALTER TABLE old_plan RENAME TO plan;
ALTER TABLE old_responses RENAME TO responses;
DELETE FROM meta WHERE key = 'chain';
UPDATE meta SET value = '1' WHERE key = 'format';
"""
_VERSIONS = {
    "the last of format 1": "",
    "before a chain": "DROP TABLE chain; DELETE FROM meta WHERE key LIKE 'plan_%';",
    "with a second index": "CREATE INDEX plan_order ON plan (prompt, endpoint, sample, request_hash);",
    "before runs, attempts and reuse": "DROP TABLE chain; DROP TABLE attempts; DROP TABLE runs; DROP TABLE reused;"
    " DROP TABLE endpoints;",
    "before thoughts were counted": "DROP TABLE chain; ALTER TABLE responses DROP COLUMN reasoning_tokens;",
}


def made_old(path: Path, more: str = "") -> None:
    """Turn a store into one of format 1."""
    gc.collect()  # readers of the store that wait to be collected
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.executescript(_FORMAT_1 + more)
        db.execute("VACUUM")


@pytest.fixture
def plan(tmp_path: Path, write_campaign: Write) -> Plan:
    """A campaign with its answers, of which nothing is written yet."""
    return answered(write_campaign("http://127.0.0.1:9/v1", n=4), ["one two", "three four", "five"])


def held(path: Path) -> tuple[object, ...]:
    """All that a store has: plan, answers in order, requests, prompts."""
    with Store(path, readonly=True) as store:
        keys = list(store.plan_keys())
        return keys, list(store.all_responses()), [store.request(k[3]) for k, _ in keys], store.prompts(), store.chain()


@pytest.mark.parametrize("version", _VERSIONS)
def test_an_older_store_is_read_without_a_byte_of_it_changed(plan: Plan, version: str) -> None:
    before = held(plan.store)
    made_old(plan.store, _VERSIONS[version])
    whole, others = plan.store.read_bytes(), sorted(f.name for f in plan.folder.iterdir())
    now = held(plan.store)
    assert now[:4] == before[:4]
    assert now[4] == ({} if "DROP TABLE chain" in _VERSIONS[version] else before[4])
    with Store(plan.store, readonly=True) as store:
        require_whole(store)
    assert score(plan).findings
    assert plan.store.read_bytes() == whole
    assert sorted(f.name for f in plan.folder.iterdir()) == others


@pytest.mark.parametrize("version", _VERSIONS)
def test_who_writes_brings_it_to_this_format(plan: Plan, version: str) -> None:
    before = held(plan.store)
    made_old(plan.store, _VERSIONS[version])
    size = plan.store.stat().st_size
    with Store(plan.store) as store:
        first = next(iter(store.keys()))
        store.add(Response(*first[:2], 77, first[3], "ok", "one more"))
        assert store.damage() == ""
    now = held(plan.store)
    assert now[0] == before[0]
    assert [r for r in now[1] if r.sample != 77] == before[1]  # type: ignore[attr-defined]
    assert now[2:4] == before[2:4]
    assert now[4]["answers"] == before[4]["answers"] + 1  # type: ignore[index]
    assert plan.store.stat().st_size < 2 * size
    with closing(sqlite3.connect(plan.store)) as db:
        assert db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() == ("2",)
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    assert not {n for n in names if n.startswith("old_") or n in ("chain", "plan_order")}


def test_evidence_of_an_older_store_holds(plan: Plan, tmp_path: Path) -> None:
    """A manifest that an earlier version wrote verifies, before its store is brought to this format and after."""
    write(plan, score(plan))
    made_old(plan.store)
    assert verify_folder(plan.folder).differs == ()
    pack_folder(plan.folder, tmp_path / "old.zip")
    shutil.unpack_archive(tmp_path / "old.zip", tmp_path / "unpacked")
    assert verify(next((tmp_path / "unpacked").iterdir())).differs == ()
    Store(plan.store).close()
    assert verify_folder(plan.folder).differs == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM responses WHERE rowid = 5", "answer 5 .* was removed"),
        ("DELETE FROM responses WHERE rowid = (SELECT MAX(rowid) FROM responses)", "and all after it were removed"),
        ("UPDATE responses SET text = 'x' WHERE rowid = 3", "answer 3 .* was changed"),
        ("DELETE FROM chain WHERE position = (SELECT MAX(position) FROM chain)", "1 answers are not in the chain"),
        ("DELETE FROM plan WHERE sample = 0", "prompts or plan were changed"),
        ("UPDATE requests SET body = x'7b7d'", "requests are not what their hashes say"),
        ("UPDATE chain SET endpoint = 'x', link = 7 WHERE position = 2", "damaged|changed|removed"),
        ("ALTER TABLE responses DROP COLUMN text", "no such column"),
        ("DROP TABLE responses; CREATE VIEW responses AS SELECT 1 AS endpoint", "it has a view"),
        ("CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM responses; END", "it has a trigger"),
    ],
)
def test_what_is_wrong_with_an_older_store_is_found(plan: Plan, change: str, said: str) -> None:
    made_old(plan.store)
    with closing(sqlite3.connect(plan.store)) as db:
        db.executescript(change)
    with pytest.raises(StoreError, match=said) as refused:
        score(plan)
    assert "\n" not in str(refused.value)


def test_a_change_made_before_is_found_after(plan: Plan) -> None:
    made_old(plan.store)
    with closing(sqlite3.connect(plan.store)) as db:
        db.executescript("UPDATE responses SET text = 'x' WHERE rowid = 3")
    Store(plan.store).close()
    with pytest.raises(StoreError, match=r"answer 3 .* was changed"):
        score(plan)


_OPEN = """
import sys
from pathlib import Path
from harness.store.store import Store
print("begun", flush=True)
with Store(Path(sys.argv[1])) as store:
    print(len(store.keys()), flush=True)
"""


def test_kill_minus_nine_while_it_is_brought_to_this_format_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    answer, n = Response("e", "p", 0, "0" * 64, "ok", "x" * 200), 20_000
    with Store(path) as store:
        store.add_many(replace(answer, sample=i) for i in range(n))
    made_old(path)
    formats = set()
    for seconds in (0.05, 0.15, 0.3, 0.6, 1.2):
        copy = tmp_path / f"{seconds}.sqlite"
        shutil.copy(path, copy)
        writer = subprocess.Popen([sys.executable, "-c", _OPEN, str(copy)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        with closing(sqlite3.connect(copy)) as db:
            formats.add(db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()[0])
            assert db.execute("SELECT COUNT(*), SUM(LENGTH(text)) FROM responses").fetchone() == (n, 200 * n)
        with Store(copy) as store:
            assert len(store.keys()) == n
            assert store.damage() == ""
    assert "1" in formats  # else all kills came too late to show anything


def test_a_disk_that_is_full_leaves_an_older_store_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.add_many(Response("e", "p", i, "0" * 64, "ok", os.urandom(2000).hex()) for i in range(400))
    made_old(path)
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom harness.errors import StoreError\n"
        "from harness.store.store import Store\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "try:\n    Store(Path(sys.argv[1]))\nexcept StoreError as e:\n    print(e)"
    )
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert "disk" in said
    with Store(path) as store:
        assert len(store.keys()) == 400
        assert store.damage() == ""


def test_requests_that_were_planned_and_never_sent_do_not_pile_up(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        for i in range(5):
            store.set_plan([], [("e", "p", 0, f"{i}{j}".zfill(64)) for j in range(10)])
            store.add(Response("e", "p", 0, f"{i}0".zfill(64), "ok", "text"))
        assert next(store.each("SELECT COUNT(*) FROM requests"))[0] == 10 + 4


def test_an_answer_takes_few_bytes_beside_its_text(tmp_path: Path) -> None:
    n, text = 5_000, "word " * 70
    with Store(tmp_path / "s.sqlite") as store:
        keys = [(f"m{i % 5}", f"prompt-{i:06}", 0, f"{i:064x}") for i in range(n)]
        store.set_plan([], keys)
        store.add_many(
            Response(*k, "ok", text, model_answered="m", prompt_tokens=9, completion_tokens=90) for k in keys
        )
    size = (tmp_path / "s.sqlite").stat().st_size / n
    assert size - len(text) < 290  # one request an answer, the most that hashes can take; 400 in format 1


def test_a_store_of_stored_plans_reads_the_same(plan: Plan) -> None:
    made_old(plan.store)
    assert stored_plan(plan.base / "config.yaml").prompts == plan.prompts
    assert (plan.folder / STORE).is_file()
