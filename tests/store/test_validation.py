"""Stores of somebody else: one line of `StoreError`, and nothing of them in one's own."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from harness.campaign import collect_async
from harness.config.endpoint import Called
from harness.endpoints.local import endpoint_fingerprint as identity
from harness.errors import StoreError
from harness.plan import STORE, prepare, stored_plan
from harness.store.merging import foreign
from harness.store.provenance import note_endpoint, note_run
from harness.store.store import Store
from harness.transfer import merge_stores
from tests.support import Write
from tests.support.stored_plans import answered

HOSTILE = [
    "UPDATE meta SET value = 'abc' WHERE key = 'format'",
    "DROP TABLE plan",
    "DROP TABLE requests",
    "UPDATE prompts SET json = '{\"id\":1}'",
    "UPDATE prompts SET json = 'x'",
    "UPDATE prompts SET json = replace(json, '{', '{\"more\": 1, ')",
    "INSERT INTO meta VALUES ('learned/good', '[1]')",
    "INSERT INTO meta VALUES ('learned/good', 'x')",
    "INSERT INTO meta VALUES ('learned/good', '{\"of\": 3, \"limits\": {}}')",
    "UPDATE responses SET text = NULL WHERE rowid = 5",
    "UPDATE responses SET text = x'00ff' WHERE rowid = 5",
    "UPDATE responses SET text = 5 WHERE rowid = 5",
    "UPDATE responses SET text = CAST(x'ff' AS TEXT) WHERE rowid = 5",
    "UPDATE responses SET outcome = 'hacked' WHERE rowid = 5",
    "UPDATE responses SET prompt_tokens = 'many' WHERE rowid = 5",
    "UPDATE responses SET completion_tokens = -1000000000 WHERE rowid = 5",
    "UPDATE responses SET seconds = 9e999 WHERE rowid = 5",
    "UPDATE responses SET logprobs = 'x' WHERE rowid = 5",
    "UPDATE responses SET received_at = 5 WHERE rowid = 5",
    "UPDATE responses SET model_answered = x'01' WHERE rowid = 5",
    "UPDATE requests SET body = x'7b7d'",
    "UPDATE runs SET json = '[]'",
    "INSERT INTO attempts (endpoint, prompt, sample, request_hash, number) VALUES ('a', 'b', 0, 'c', 'first')",
    "DROP TABLE failures; CREATE VIEW failures AS SELECT * FROM attempts",
]


def two(tmp_path: Path, write_campaign: Write, change: str) -> tuple[Path, Path]:
    """A changed store, and the config of a campaign that has asked nothing yet."""
    path = write_campaign("http://127.0.0.1:9/v1")
    plan = answered(path, ["one", "two"])
    with Store(plan.folder / STORE) as store:
        note_run(store, "2026-01-01T00:00:00.000+00:00", {"versions": {}})
        for e in (e for e in plan.campaign.endpoints if isinstance(e, Called)):
            note_endpoint(store, e.name, *identity(e))
    with closing(sqlite3.connect(plan.folder / STORE)) as db:
        db.executescript(change)
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "campaign": "own", "reuse": [str(plan.folder)]}))
    return plan.folder, own


def reuse(own: Path) -> list[str]:
    said: list[str] = []
    stop = asyncio.Event()
    stop.set()  # nobody is asked: only what is reused comes in
    asyncio.run(collect_async(prepare(own, {}), {}, {}, stop, said.append))
    return said


def held(own: Path) -> int:
    with Store(stored_plan(own).folder / STORE, readonly=True) as store:
        return len(store.keys())


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_store_is_refused_and_adds_nothing(tmp_path: Path, write_campaign: Write, change: str) -> None:
    folder, own = two(tmp_path, write_campaign, change)
    with Store(prepare(own, {}).folder / STORE) as store:
        store.set_plan([], [])
    with pytest.raises(StoreError) as merging:
        merge_stores(prepare(own, {}), [folder])
    with pytest.raises(StoreError) as reusing:
        reuse(own)
    for said in (str(merging.value), str(reusing.value)):
        assert str(folder / STORE) in said
        assert "\n" not in said.partition("\n  ")[0]
    assert held(own) == 0


def test_an_honest_store_is_taken_though_its_tables_differ(tmp_path: Path, write_campaign: Write) -> None:
    change = (
        "ALTER TABLE failures ADD COLUMN more; "
        "INSERT INTO failures VALUES ('good', 'tiny-000', 0, 'h', 'http', 500, 'no', 'now', 'x'); DROP TABLE attempts"
    )
    folder, own = two(tmp_path, write_campaign, change)
    with foreign(folder / STORE) as store:
        count = len(store.keys())
    assert f"reused {count} answers of other campaigns" in reuse(own)
    assert held(own) == count == 12
    merged = own.with_name("merged.yaml")
    merged.write_text(own.read_text().replace("campaign: own", "campaign: merged"))
    assert sum(merge_stores(prepare(merged, {}), [folder]).values()) == 12
    with Store(prepare(merged, {}).folder / STORE, readonly=True) as store:
        assert len(store.rows("failures", "SELECT * FROM failures")) == 1
