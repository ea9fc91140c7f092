"""A pack that was changed does not verify, and a changed answer is not scored: whichever file, whichever bit."""

from __future__ import annotations

import gc
import hashlib
import json
import random
import sqlite3
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.campaign import score, write
from harness.errors import ConfigError, HarnessError, StoreError
from harness.evidence import PACK, SIGNATURE, STAMP, pack_folder, verify
from harness.plan import STORE, Plan, stored_plan
from harness.store.store import Store
from tests.support import Write
from tests.support.stored_plans import answered

PEM = serialization.Encoding.PEM


@pytest.fixture
def scored(tmp_path: Path, write_campaign: Write) -> Plan:
    path = write_campaign("http://127.0.0.1:9/v1", n=6, samples=2)
    rng = random.Random(2)
    words = ["sun", "moon", "star", "sea", "hill", "wind", "rain", "snow", "leaf", "tree"]
    answered(path, [" ".join(rng.choices(words, k=20)) for _ in range(24)])
    plan = stored_plan(path)
    write(plan, score(plan))
    return plan


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Files with a private and its public key, as OpenSSL writes them."""
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def unpacked(archive: Path, where: Path) -> Path:
    with zipfile.ZipFile(archive) as found:
        found.extractall(where)
    return next(where.iterdir())


@pytest.fixture
def pack(scored: Plan, tmp_path: Path) -> Path:
    """The top folder of a pack that was made and unpacked."""
    pack_folder(scored.folder, tmp_path / "out.zip")
    return unpacked(tmp_path / "out.zip", tmp_path / "elsewhere")


def _config(top: Path, **analysis: object) -> None:
    config = yaml.safe_load((top / "config.yaml").read_text())
    config["analysis"] = {**config.get("analysis", {}), **analysis}
    (top / "config.yaml").write_text(yaml.safe_dump(config))


def _relist(top: Path) -> None:
    """Write pack.json anew, as a forger would who knows of it."""
    listed = json.loads((top / PACK).read_text())
    for name in listed["files_sha256"]:
        listed["files_sha256"][name] = hashlib.sha256((top / name).read_bytes()).hexdigest()
    (top / PACK).write_text(json.dumps(listed))


TOP: dict[str, Callable[[Path], object]] = {
    "config.yaml": lambda top: _config(top, alpha=0.4),
    "calibration-used.json": lambda top: (top / "calibration-used.json").write_text("{}"),
    "prompts.jsonl": lambda top: (top / "prompts.jsonl").write_text("{}\n"),
    "SHA256SUMS": lambda top: (top / "SHA256SUMS").write_text(""),
}


def test_a_pack_verifies_by_its_top_and_by_its_results(pack: Path) -> None:
    for path in (pack, pack / "results" / "test"):
        found = verify(path)
        assert not found.differs
        assert PACK in found.checked
        assert found.anchor == hashlib.sha256((pack / PACK).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", list(TOP))
@pytest.mark.parametrize("forged", ["alone", "with pack.json", "without pack.json"])
def test_a_changed_file_at_the_top_is_named(pack: Path, name: str, forged: str) -> None:
    """What `score` reads there turns the verdict; a list that was written anew, or taken away, does not help."""
    TOP[name](pack)
    if forged == "with pack.json":
        _relist(pack)
    elif forged == "without pack.json":
        (pack / PACK).unlink()
    assert any(name in said for said in verify(pack / "results" / "test").differs)


@pytest.mark.parametrize("name", ["README.md", "results/test/report.html", "results/test/evil.py", f"{STORE}-wal"])
def test_a_file_that_is_changed_or_of_nobody_is_named(pack: Path, name: str) -> None:
    (pack / name).write_text("nobody wrote this")
    assert any(name in said for said in verify(pack).differs)


def test_a_file_that_is_gone_is_named(pack: Path) -> None:
    (pack / "README.md").unlink()
    (said,) = verify(pack).differs
    assert said.startswith(f"README.md is missing, {PACK} says ")


def test_a_hash_that_was_kept_tells_one_pack_from_another(pack: Path) -> None:
    kept = verify(pack).anchor
    assert not verify(pack, kept).differs
    assert not verify(pack, kept[:16].upper()).differs
    for wrong in ("0" * 64, kept[:8], "zz"):
        assert any("expected was" in said for said in verify(pack, wrong).differs)
    _config(pack, alpha=0.4)
    _relist(pack)
    assert any("expected was" in said for said in verify(pack, kept).differs)


def test_a_signature_holds_for_its_pack_and_its_key(scored: Plan, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    for out in ("one.zip", "two.zip"):
        pack_folder(scored.folder, tmp_path / out, private)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    top = unpacked(tmp_path / "one.zip", tmp_path / "elsewhere")
    assert not verify(top, signer=public).differs
    other = tmp_path / "other.pub"
    other.write_bytes(
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    assert verify(top, signer=other).differs == (f"{PACK} is not signed by {other}",)
    TOP["SHA256SUMS"](top)
    _relist(top)
    assert f"{PACK} is not signed by {public}" in verify(top, signer=public).differs
    (top / SIGNATURE).unlink()
    assert f"{PACK} is not signed by {public}" in verify(top, signer=public).differs


def test_openssl_says_the_same_of_a_signature(scored: Plan, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """A signature that only this program understood would be worth little."""
    pack_folder(scored.folder, tmp_path / "out.zip", keys[0])
    top = unpacked(tmp_path / "out.zip", tmp_path / "elsewhere")
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys[1]), "-rawin", "-in", str(top / PACK)]
    try:
        done = subprocess.run([*command, "-sigfile", str(top / SIGNATURE)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    assert done.returncode == 0, done.stderr


CONFIG = """[tsa]
serial = {0}/serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_alg = sha256
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[service]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[req]
distinguished_name = dn
[dn]
"""


def openssl(*said: str | Path) -> None:
    try:
        done = subprocess.run(["openssl", *map(str, said)], capture_output=True, check=False)  # noqa: S607
    except FileNotFoundError:
        pytest.skip("no openssl here")
    assert done.returncode == 0, done.stderr


def stamping_service(folder: Path, name: str) -> Path:
    """A folder with the root certificate and all that a service for time stamps needs, made by OpenSSL."""
    at = folder / name
    at.mkdir()
    (at / "c").write_text(CONFIG.format(at))
    (at / "serial").write_text("01")
    for who, section, by in (
        ("root", "root", ()),
        ("tsa", "service", ("-CA", at / "root.pem", "-CAkey", at / "root.key")),
    ):
        openssl("req", "-x509", "-new", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-config", at / "c",
                "-extensions", section,
                "-subj", f"/O={name}/CN={who}", "-keyout", at / f"{who}.key", "-out", at / f"{who}.pem",
                *by)  # fmt: skip
    return at


def stamp(service: Path, file: Path, out: Path) -> None:
    openssl("ts", "-query", "-data", file, "-sha256", "-cert", "-out", service / "query")
    openssl("ts", "-reply", "-queryfile", service / "query", "-config", service / "c", "-section", "tsa",
            "-signer", service / "tsa.pem",
            "-inkey", service / "tsa.key", "-out", out)  # fmt: skip


def test_a_time_stamp_holds_for_its_pack_and_its_service(pack: Path, tmp_path: Path) -> None:
    """RFC 3161, made by OpenSSL, checked offline: of another file, of another service, cut or none it is not taken."""
    ours, other = stamping_service(tmp_path, "ours"), stamping_service(tmp_path, "other")
    missing = f"{PACK} has no time stamp by {ours / 'root.pem'}"
    assert missing in verify(pack, stamped_by=ours / "root.pem").differs
    stamp(ours, pack / PACK, pack / STAMP)
    found = verify(pack, stamped_by=ours / "root.pem")
    assert not found.differs
    assert "time stamp" in found.checked
    assert any("was stamped at 20" in n for n in found.notes)
    assert verify(pack, stamped_by=other / "root.pem").differs
    whole = (pack / STAMP).read_bytes()
    for broken in (whole[:-9], whole[: len(whole) // 2], b"", b"\0" * 99, whole.replace(b"ours", b"OURS")):
        (pack / STAMP).write_bytes(broken)
        assert missing in verify(pack, stamped_by=ours / "root.pem").differs
    stamp(ours, pack / "README.md", pack / STAMP)
    assert missing in verify(pack, stamped_by=ours / "root.pem").differs
    for none in (b"", b"no certificate"):
        (tmp_path / "none.pem").write_bytes(none)
        with pytest.raises(ConfigError, match="root certificate"):
            verify(pack, stamped_by=tmp_path / "none.pem")


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAA\n", None])
def test_a_key_that_is_none_is_one_line(scored: Plan, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        pack_folder(scored.folder, tmp_path / "out.zip", path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out.zip").exists()


def test_every_flipped_bit_of_a_store_is_found_by_score_or_changes_nothing(scored: Plan) -> None:
    """Eight of ten passed before. A bit of a page that holds nothing may pass: then the tables are the same."""
    path = scored.folder / STORE
    gc.collect()  # readers of the store that wait to be collected
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    whole, rng, found = path.read_bytes(), random.Random(5), list[str]()
    before = (scored.folder / "summary.csv").read_bytes()
    written = [at for at, byte in enumerate(whole) if byte]  # elsewhere nothing is stored
    for at in rng.sample(written, 30):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        try:
            write(scored, score(scored))
        except HarnessError as e:
            found.append(str(e))
        else:
            assert (scored.folder / "summary.csv").read_bytes() == before
    assert len(found) >= 24
    assert not [said for said in found if "\n" in said]


@pytest.mark.parametrize("column", ["text", "reasoning", "finish_reason", "model_answered", "received_at"])
def test_a_changed_answer_is_found_by_score_itself(scored: Plan, column: str) -> None:
    with sqlite3.connect(scored.folder / STORE) as db:
        db.execute(f"UPDATE responses SET {column} = {column} || '.' WHERE rowid = 5")
    with pytest.raises(StoreError, match=r"answer 5 .* was changed"):
        score(scored)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM responses WHERE rowid = 7", "answer 7 .* was removed"),
        ("DELETE FROM responses WHERE position = 7; UPDATE responses SET position = position - 1 WHERE position > 7",
         "answer 7 .* was changed, or"),
        ("DELETE FROM responses WHERE position > 20", "answer 21 and all after it were removed"),
        ("DELETE FROM meta WHERE key = 'chain'", "its chain has another end"),
        ("INSERT INTO responses SELECT NULL, endpoint, 'more', sample, request, outcome, text, reasoning, refusal, "
         "finish_reason, model_asked, model_answered, system_fingerprint, provider, response_id, prompt_tokens, "
         "completion_tokens, reasoning_tokens, logprobs, attempts, seconds, received_at, NULL FROM responses LIMIT 1",
         "1 answers are not in the chain"),
        ("DELETE FROM plan WHERE sample = 1", "prompts or plan were changed"),
        ("UPDATE prompts SET json = replace(json, 'number 1', 'number 9')", "prompts or plan were changed"),
        ("UPDATE requests SET body = CAST('{}' AS BLOB)", "requests are not what their hashes say"),
    ],
)  # fmt: skip
def test_answers_removed_or_added_and_another_plan_are_found_by_score(scored: Plan, change: str, said: str) -> None:
    with sqlite3.connect(scored.folder / STORE) as db:
        db.executescript(change)
    with pytest.raises(StoreError, match=said):
        score(scored)


def test_answers_cut_off_at_the_end_show_by_the_head_in_the_manifest(scored: Plan) -> None:
    """Who cuts answers and links off the end leaves a whole, shorter chain; the head was written down before."""
    head = json.loads((scored.folder / "manifest.json").read_text())["chain"]["head"]
    assert head in (scored.folder / "report.html").read_text()
    with sqlite3.connect(scored.folder / STORE) as db:
        db.executescript(
            "DELETE FROM responses WHERE position > 20; UPDATE meta SET value = '20 ' || "
            "(SELECT lower(hex(link)) FROM responses WHERE position = 20) WHERE key = 'chain'"
        )
    assert any(said.startswith("chain is ") for said in verify(scored.folder).differs)


def test_a_chain_goes_on_over_runs_and_takes_in_an_older_store(scored: Plan) -> None:
    with Store(scored.folder / STORE, readonly=True) as store:
        before = store.chain()
    with sqlite3.connect(scored.folder / STORE) as db:
        db.executescript("UPDATE responses SET link = NULL; DELETE FROM meta WHERE key = 'chain'")
    assert score(scored).findings  # a store of an earlier version
    with Store(scored.folder / STORE) as store:
        assert store.chain()["answers"] == before["answers"] == 24
        assert store.damage() == ""


def test_unknown_files_in_results_are_named(scored: Plan) -> None:
    (scored.folder / "better.csv").write_text("1")
    assert any("better.csv is not of this campaign" in said for said in verify(scored.folder).notes)
