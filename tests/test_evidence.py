"""Manifest, verify and pack: what was done can be checked, and scored again by somebody else."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from harness.campaign import score, write
from harness.config.endpoint import OpenAIChat
from harness.endpoints.local import endpoint_fingerprint as identity
from harness.errors import CallError, StoreError
from harness.evidence import pack_folder, verify_folder
from harness.inference.likelihood import shipped_text
from harness.plan import STORE, Plan, stored_plan
from harness.records import Job
from harness.report.manifest import public_config
from harness.store.provenance import note_endpoint, note_run
from harness.store.store import Attempt, Store
from tests.support import ROOT, Write
from tests.support.running import KEY
from tests.support.stored_plans import answered

MODELS = ("nova", "mother", "red", "green", "blue")
WORDS = [
    "sun",
    "moon",
    "star",
    "sea",
    "hill",
    "wind",
    "rain",
    "snow",
    "leaf",
    "tree",
    "bird",
    "fish",
    "stone",
    "fire",
    "ash",
    "salt",
]


@pytest.fixture
def scored(tmp_path: Path, write_prompts: Write) -> Plan:
    """A scored campaign with controls, a key's variable and a calibration file of its own."""
    write_prompts(8, samples=2)
    (tmp_path / "own.json").write_text(shipped_text())
    roles = ("suspect", "candidate", "control", "control", "control")
    config = {
        "campaign": "case",
        "prompts": [{"set": "tiny"}],
        "endpoints": [
            {"name": m, "role": r, "lineage": m, "kind": "openai-chat", "base_url": "http://127.0.0.1:9/v1"}
            | {"model": m, "api_key_env": "TEST_KEY"}
            for m, r in zip(MODELS, roles, strict=True)
        ],
        "analysis": {"permutations": 99, "calibration": "own.json", "questions": ["kinship", "identity"]},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    rng = random.Random(4)
    answered(path, [" ".join(rng.choices(WORDS, k=30)) for _ in range(80)])
    plan = stored_plan(path)
    write(plan, score(plan))
    return plan


@pytest.fixture
def priced(scored: Plan, tmp_path: Path) -> Plan:
    """The scored campaign with prices, a run, a failed call, and tries, as a run leaves them; scored again."""
    path = tmp_path / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for endpoint in config["endpoints"]:
        endpoint["price"] = {"input": 2.0, "output": 4.0}
    path.write_text(yaml.safe_dump(config))
    with Store(scored.folder / STORE) as store:
        note_run(store, "2026-01-01T00:00:00.000+00:00", {"versions": {"python": "3.11.0"}})
        for e in (e for e in scored.campaign.endpoints if isinstance(e, OpenAIChat)):
            note_endpoint(store, e.name, *identity(e))
        (key, _), *_ = store.plan_keys()
        store.insert("DELETE FROM responses WHERE endpoint = ? AND prompt = ? AND sample = ?", [key[:3]])
        store.insert(
            "UPDATE responses SET link = NULL WHERE position > ?", [(0,)]
        )  # it never was: the rest is chained when opened
        store.insert("DELETE FROM meta WHERE key = ?", [("chain",)])
    with Store(scored.folder / STORE) as store:
        job = Job(*key[:3], "chat", b"", key[3])
        store.add_failure(job, CallError("no", kind="timeout"), "now", [Attempt(key, 1, "timeout", None, None, "now")])
    plan = stored_plan(path)
    write(plan, score(plan))
    return plan


def differing(folder: Path) -> set[str]:
    return {line.partition(" is ")[0] for line in verify_folder(folder).differs}


def test_a_folder_as_it_was_written_verifies(scored: Plan) -> None:
    found = verify_folder(scored.folder)
    assert found.differs == ()
    assert found.notes == ()
    assert {"config", "responses", "prompts", "reused", "summary.csv", "evidence.csv"} <= set(found.checked)


@pytest.mark.parametrize("name", ["summary.csv", "evidence.csv", "calibration-used.json"])
def test_a_changed_or_missing_file_is_named(scored: Plan, name: str) -> None:
    path = scored.folder / name
    path.write_bytes(path.read_bytes() + b" ")
    assert differing(scored.folder) == {name}
    path.unlink()
    assert differing(scored.folder) == {name}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE responses SET text = text || '.' WHERE rowid = 7",
        "UPDATE responses SET seconds = 9 WHERE rowid = 1",
        "UPDATE responses SET logprobs = NULL WHERE rowid = 3",
        "DELETE FROM responses WHERE rowid = 2",
        "DELETE FROM plan WHERE endpoint = 'red'",
        # A line break moved from one field to the next must not leave the hash as it is.
        "UPDATE responses SET text = text || char(10) || reasoning, reasoning = '' WHERE rowid = 5",
    ],
)
def test_a_changed_answer_is_seen(scored: Plan, change: str) -> None:
    with sqlite3.connect(scored.folder / STORE) as db:
        db.execute(change)
    unplanned = "config: endpoint 'red': 8 of its calls are not in the stored plan"
    chained = differing(scored.folder)
    assert "responses" in chained <= {"responses", "endpoints", "chain", unplanned}
    assert ("chain" in chained) == ("plan" not in change)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ('UPDATE requests SET body = CAST(\'{"model": "forged"}\' AS BLOB)', "requests: 40 are not what their hashes"),
        ("UPDATE requests SET surface = 'completion'", "requests: 40 are not what their hashes"),
        ("UPDATE requests SET body = NULL WHERE id = (SELECT MIN(id) FROM requests)", "requests: 2 answers have none"),
        ("UPDATE endpoints SET json = '{}'", "notes is "),
        ("DELETE FROM endpoints", "notes is "),
        ("DELETE FROM runs", "runs is "),
        ("DELETE FROM attempts", "notes is "),
        ("DELETE FROM failures", "failures is "),
        ("UPDATE responses SET completion_tokens = 1", "costs is "),
        ("UPDATE meta SET value = '{}' WHERE key = 'prompt_hashes'", "prompt sets is "),
    ],
)
def test_forged_provenance_is_seen(priced: Plan, change: str, seen: str) -> None:
    assert differing(priced.folder) == set()
    with sqlite3.connect(priced.folder / STORE) as db:
        db.execute(change)
    assert any(line.startswith(seen) for line in verify_folder(priced.folder).differs)


@pytest.mark.parametrize("name", ["costs", "endpoints", "failures", "runs", "reused", "prompts_sha256", "campaign"])
def test_a_forged_manifest_is_seen(priced: Plan, name: str) -> None:
    path = priced.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, name: ["forged"]}))
    assert len(differing(priced.folder)) == 1


def test_a_manifest_of_an_earlier_version_verifies_and_a_store_that_is_none_does_not(priced: Plan) -> None:
    path = priced.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["notes_sha256"]
    path.write_text(json.dumps(manifest))
    found = verify_folder(priced.folder)
    assert (found.differs, found.notes) == ((), ("this manifest is of an earlier version: it has no notes_sha256",))
    with sqlite3.connect(priced.folder / STORE) as db:
        db.execute("UPDATE responses SET text = x'00'")
    with pytest.raises(StoreError, match="not as a run writes it: table responses"):
        verify_folder(priced.folder)


def test_a_pack_with_answers_to_an_earlier_plan_verifies(priced: Plan, tmp_path: Path) -> None:
    """They were paid for, and the manifest counts them: the pack has all that it speaks of."""
    with Store(priced.folder / STORE) as store:
        store.set_plan(store.prompts(), [k for k, _ in store.plan_keys() if k[2] == 0], store.prompt_hashes())
    with sqlite3.connect(priced.folder / STORE) as db:
        db.execute("INSERT INTO attempts SELECT * FROM attempts")
    plan = stored_plan(tmp_path / "config.yaml")
    write(plan, score(plan))
    pack_folder(plan.folder, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    assert differing(tmp_path / "elsewhere" / "case" / "results" / "case") == set()


def test_what_a_server_says_of_itself_at_any_length_can_be_verified_and_packed(
    tmp_path: Path, write_campaign: Write
) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", n=40)
    plan = answered(path, ["one two", "three"], system_fingerprint="f" * 100_000)
    with sqlite3.connect(plan.folder / STORE) as db:
        db.execute("UPDATE responses SET system_fingerprint = rowid || system_fingerprint WHERE endpoint = 'good'")
        db.execute("UPDATE responses SET link = NULL")
    write(stored_plan(path), score(stored_plan(path)))
    assert differing(plan.folder) == set()
    assert pack_folder(plan.folder, tmp_path / "out.zip")
    told = json.loads((plan.folder / "manifest.json").read_text())["endpoints"]
    assert told["fine"]["fingerprints"] == ["f" * 200]
    assert len(told["good"]["fingerprints"]) == 51
    assert told["good"]["fingerprints"][-1] == "and 30 more"


_ANOTHER_TEXT = {f"config: endpoint {m!r}: the text of a prompt" for m in MODELS}


def test_changed_prompts_and_config_are_seen(scored: Plan) -> None:
    with sqlite3.connect(scored.folder / STORE) as db:
        db.execute("UPDATE prompts SET json = replace(json, 'number 1', 'number 9')")
    path = scored.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["analysis"]["alpha"] = 0.1
    path.write_text(json.dumps(manifest))
    assert differing(scored.folder) == {"config", "prompts", *_ANOTHER_TEXT}


def test_rows_count_and_not_the_file(scored: Plan) -> None:
    before = (scored.folder / STORE).read_bytes()
    gc.collect()  # readers of the store that wait to be collected
    with sqlite3.connect(scored.folder / STORE, isolation_level=None) as db:
        db.execute("PRAGMA page_size = 4096")
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("VACUUM")
    assert (scored.folder / STORE).read_bytes() != before
    assert differing(scored.folder) == set()


@pytest.mark.parametrize("name", ["../own.json", "/etc/passwd", "..", "a/b", "c:\\x", ""])
def test_a_forged_manifest_reaches_no_file_outside(scored: Plan, name: str, tmp_path: Path) -> None:
    path = scored.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files_sha256"][name] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="no name of a file in this folder"):
        verify_folder(scored.folder)
    with pytest.raises(StoreError, match="no name of a file in this folder"):
        pack_folder(scored.folder, tmp_path / "out.zip")


@pytest.mark.parametrize("text", ["{half", "[]", "{}", '{"files_sha256": 3}'])
def test_a_manifest_that_is_none(scored: Plan, text: str) -> None:
    (scored.folder / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match="not a manifest"):
        verify_folder(scored.folder)


def test_no_key_in_the_public_config(scored: Plan) -> None:
    urls = ("https://me:hunter2hunter2@x.org/v1", "https://x.org/v1?api-version=3&api-key=hunter2&x=1")
    secret = {"api_key": "hunter2"}
    endpoints = tuple(
        OpenAIChat(kind="openai-chat", name=f"e{i}", role="suspect", model="m", base_url=u, params=secret)
        for i, u in enumerate(urls)
    )  # fmt: skip
    text = json.dumps(public_config(scored.campaign.model_copy(update={"endpoints": endpoints})))
    assert "hunter2" not in text
    assert "https://[key]@x.org/v1" in text
    assert "api-version=3&api-key=[key]&x=1" in text
    assert '"max_tokens"' in text
    assert public_config(scored.campaign)["endpoints"] == scored.campaign.model_dump(mode="json")["endpoints"]


def harness(cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """A process with no keys, no recorded data and no network in its environment."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(cwd), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "harness", *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_somebody_else_scores_a_pack_and_gets_the_same_bytes(scored: Plan, tmp_path: Path) -> None:
    first, second = tmp_path / "one.zip", tmp_path / "two.zip"
    names = [*pack_folder(scored.folder, first).names]
    pack_folder(scored.folder, second)
    assert first.read_bytes() == second.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    with zipfile.ZipFile(first) as archive:
        assert sorted(archive.namelist()) == names
        for name in names:
            assert name.startswith("case/")
            assert ".." not in name
        assert not any(KEY.encode() in archive.read(n) for n in names)
        archive.extractall(elsewhere)
    case = elsewhere / "case"
    done = harness(case, "verify", "results/case")
    assert (done.returncode, done.stderr[:3]) == (0, "ok:"), done.stderr
    tables = sorted(p.name for p in (case / "results" / "case").glob("*.csv"))
    assert len(tables) >= 2
    for name in tables:
        (case / "results" / "case" / name).unlink()
    done = harness(case, "score", "config.yaml")
    assert done.returncode == 0, done.stderr
    for name in tables:
        assert (case / "results" / "case" / name).read_bytes() == (scored.folder / name).read_bytes()
    for line in (case / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split("  ")
        assert hashlib.sha256((case / name).read_bytes()).hexdigest() == expected, name


def test_a_pack_of_changed_results_is_refused(scored: Plan, tmp_path: Path) -> None:
    (scored.folder / "summary.csv").write_text("better")
    with pytest.raises(StoreError, match=r"summary\.csv is .* manifest\.json says"):
        pack_folder(scored.folder, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()
    done = harness(tmp_path, "verify", "results/case")
    assert done.returncode == 2
    assert "differs: summary.csv" in done.stderr
    assert harness(tmp_path, "verify", "results/none").returncode == 2
