"""No file, address, variable or store ends in a traceback: a line that says what, where, and what to do next."""

from __future__ import annotations

import copy
import datetime
import json
import random
import shutil
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from harness.campaign import score
from harness.cli import app
from harness.endpoints import planned_keys
from harness.errors import ConfigError, EndpointError, HarnessError, StoreError
from harness.judging import read_responses
from harness.plan import prepare, stored_plan
from harness.records import Response
from harness.store import Store
from harness.token_logprobs import decode_logprobs
from tests.support import CARD, Write
from tests.support.command_line import harness, one_line
from tests.support.fault_server import FaultServer

BASE: dict[str, Any] = {
    "campaign": "t",
    "prompts": [{"set": "tiny"}],
    "endpoints": [
        {"name": n, "role": r, "lineage": n, "kind": "openai-chat", "base_url": "http://127.0.0.1:9/v1", "model": n}
        for n, r in (("a", "suspect"), ("b", "candidate"))
    ],
    "analysis": {"questions": ["identity"]},
}
PATHS = ["a\0b", "\ud800", "x" * 5000, "x/" * 900, "/dev/null", "/dev/zero", "/proc/self/mem", "folder",
         "~nosuchuser/x",
         "bin.json", "deep.json", "list.json", "old.json", "text.json", "number.json", "", "nope.json", "..", "${HOME}",
         "${", "${}", "hf:", "\n", "."]  # fmt: skip
PLACES = {
    "calibration": lambda c, v: c["analysis"].update(calibration=v),
    "secrets": lambda c, v: c.update(secrets=v),
    "results": lambda c, v: c.update(results=v),
    "reuse": lambda c, v: c.update(reuse=[v]),
    "set": lambda c, v: c["prompts"][0].update(set=v),
    "path": lambda c, v: c["endpoints"].__setitem__(0, {"name": "a", "role": "suspect", "kind": "recorded", "path": v}),
    "gguf": lambda c, v: c["endpoints"].__setitem__(
        0, {"name": "a", "role": "suspect", "kind": "local", "weights": {"gguf": v}}
    ),
    "model": lambda c, v: c["endpoints"][0].update(model=v),
    "system_prompt": lambda c, v: c["endpoints"][0].update(system_prompt=v),
    "base_url": lambda c, v: c["endpoints"][0].update(base_url=v),
    "params": lambda c, v: c["endpoints"][0].update(params={"x": v, "seed": v}),
}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a prompt set and with files that are not what they are taken for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "folder").mkdir()
    text = {"card": {**CARD, "queries": 1}, "prompts": [{"id": "t-1", "text": "Q?"}]}
    (tmp_path / "prompts" / "tiny.yaml").write_text(yaml.safe_dump(text))
    (tmp_path / "bin.json").write_bytes(b"\xff\xfe\0")
    for name, said in {
        "deep": "[" * 100_000,
        "list": "[1]",
        "old": '{"version": 1}',
        "text": '"x"',
        "number": '{"w": 5}',
    }.items():
        (tmp_path / f"{name}.json").write_text(said)
    return tmp_path


def ended(*said: str) -> int:
    """Exit code of a command in this process; anything but an expected error fails."""
    result = CliRunner().invoke(app, list(said))
    if result.exception is not None and not isinstance(result.exception, HarnessError | SystemExit):
        raise result.exception
    if isinstance(result.exception, HarnessError):
        assert result.exception.message
        return result.exception.exit_code
    return result.exit_code


def written(config: dict[str, Any]) -> None:
    try:
        Path("c.yaml").write_text(yaml.safe_dump(config), "utf-8")
    except UnicodeEncodeError:
        Path("c.yaml").write_text(json.dumps(config, default=str), "utf-8")


@pytest.mark.parametrize("place", PLACES)
def test_no_path_and_no_value_of_a_config(place: str, there: Path) -> None:
    values = [
        *PATHS,
        10**400,
        2**70,
        datetime.date(2020, 1, 1),
        {"a": {1: 2}},
        [[[]]],
        b"\xff",
        float("nan"),
        -1,
        None,
        True,
    ]
    commands = (["check", "c.yaml", "--offline"], ["run", "c.yaml", "--dry-run"], ["score", "c.yaml"])
    for at, value in enumerate(values):
        config = copy.deepcopy(BASE)
        PLACES[place](config, value)
        written(config)
        said = commands[at % len(commands)]  # all of them take a while, and read the same
        assert ended(*said) in (0, 2, 3), (place, value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"[", b"a: b: c", b"- 1", b"\0", b"!!python/object:os.system x",
                                     b"&a [*a]",
                                     b"? [a]\n: b", b"a: &x 1\nb: *y", b"{" * 5000, b"seed: 0o99", b"a: 2024-99-99",
                                     b"seed: 0x" + b"f" * 9000, b"seed: 0b" + b"1" * 30_000,
                                     b"campaign: -0x" + b"f" * 9000])  # fmt: skip
def test_no_bytes_of_a_config(content: bytes, there: Path) -> None:
    Path("c.yaml").write_bytes(content)
    for said in (["check", "c.yaml", "--offline"], ["score", "c.yaml"]):
        assert ended(*said) == 2


@pytest.mark.parametrize("name", ["bin", "deep", "list", "old", "text", "number", "nope"])
def test_a_calibration_is_looked_at_before_the_first_call(name: str, there: Path) -> None:
    config = copy.deepcopy(BASE)
    config["analysis"]["calibration"] = f"{name}.json"
    with FaultServer({"a": ["ok"], "b": ["ok"]}) as server:
        for e in config["endpoints"]:
            e["base_url"] = server.url
        written(config)
        for said in (["run"], ["check"]) if name == "deep" else (["run"],):
            assert f"{name}.json" in one_line(harness(*said, "c.yaml", cwd=there), 2)
        assert not server.asked


@pytest.mark.parametrize("broken", [{"gguf": "nope.gguf"}, {"gguf": "bin.json"}, {"gguf": "folder"}])
def test_weights_are_looked_at_before_the_first_call(broken: dict[str, str], there: Path) -> None:
    config = copy.deepcopy(BASE)
    with FaultServer({"a": ["ok"], "b": ["ok"]}) as server:
        config["endpoints"][0]["base_url"] = server.url
        config["endpoints"][1] = {"name": "w", "role": "candidate", "lineage": "w", "kind": "local", "weights": broken}
        written(config)
        done = harness("run", "c.yaml", cwd=there)
        assert done.returncode == 3, done.stderr
        assert next(iter(broken.values())) in done.stderr
        assert not server.asked


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTPS_PROXY", "socks9://x:1"), ("ALL_PROXY", "http://[::1"), ("HTTPS_PROXY", "nonsense"),
     ("SSL_CERT_FILE", "/nope.pem"),
     ("NO_PROXY", "[,]]["), ("HTTPS_PROXY", "http://user:test-password@127.0.0.1:9")],
)  # fmt: skip
def test_no_variable(name: str, value: str, there: Path, write_campaign: Write) -> None:
    path = write_campaign("https://nobody.invalid/v1", collect={"call_timeout": 2, "attempts": 1})
    done = harness("check", path, "--trust", cwd=there, XDG_CONFIG_HOME=str(there / "home"), **{name: value})
    assert "Traceback" not in done.stderr
    assert "this is a fault of harness" not in done.stderr
    assert done.returncode == 3, done.stderr
    assert "test-password" not in done.stdout + done.stderr


def campaign_in(folder: Path, odd: bytes | None = None) -> Path:
    """A campaign with its answers stored; the logprobs of the first are ``odd``."""
    (folder / "prompts").mkdir()
    n = 4
    card = {**CARD, "queries": n, "channels": ["wording", "style"]}
    prompts = [{"id": f"t-{i}", "text": f"Q{i}?"} for i in range(n)]
    (folder / "prompts" / "tiny.yaml").write_text(yaml.safe_dump({"card": card, "prompts": prompts}))
    config = copy.deepcopy(BASE)
    config["analysis"] |= {"permutations": 99, "bootstrap": 100}
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    plan, rng = prepare(folder / "c.yaml", {}), random.Random(1)
    blob = zlib.compress(json.dumps({"content": [{"token": "a", "logprob": -0.5, "top_logprobs": []}]}).encode())
    with Store(plan.store) as store:
        keys = list(planned_keys(plan.campaign, plan.prompts))
        store.set_plan(plan.prompts, keys, plan.prompt_hashes)
        store.add_many(
            Response(
                *k,
                "ok",
                " ".join(rng.choices("abcdefgh", k=30)),
                model_asked="m",
                logprobs=blob if i or odd is None else odd,
            )
            for i, k in enumerate(keys)
        )
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign whose answers are stored: copied for each test, and then spoilt."""
    return campaign_in(tmp_path_factory.mktemp("kept"))


def spoilt(kept: Path, folder: Path, *statements: tuple[str, tuple[Any, ...]]) -> Path:
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    db = sqlite3.connect(folder / "results" / "t" / "responses.sqlite")
    for sql, values in statements:
        db.execute(sql, values)
    db.commit()
    db.close()
    return folder / "c.yaml"


ONE = "rowid = (SELECT MIN(rowid) FROM responses)"
CELLS = [("text", b"\xff\xfe"), ("text", 5), ("reasoning", b"\xff"), ("reasoning", 7), ("logprobs", "text"),
         ("logprobs", 5),
         ("logprobs", b"\xff"), ("logprobs", zlib.compress(b"\xff\xfe")), ("text", None)]  # fmt: skip


@pytest.mark.parametrize(("column", "value"), CELLS)
def test_one_cell_that_cannot_be_read_is_one_gap_and_a_changed_store_is_refused(
    column: str, value: Any, kept: Path, tmp_path: Path
) -> None:
    path = spoilt(kept, tmp_path, (f"UPDATE responses SET {column} = ? WHERE {ONE}", (value,)))
    table = read_responses(stored_plan(path))
    cells = [getattr(table, column)[i] for i in range(len(table.text))]
    if column == "logprobs":
        assert sum(decode_logprobs(c) is None for c in cells) == 1
    else:
        assert all(isinstance(c, str) for c in cells)
        assert np.sum([c == "" for c in cells]) == (1 if column == "text" else len(cells))
    with pytest.raises(StoreError):
        score(path)


@pytest.mark.parametrize("blob", [b"", b"\xff", zlib.compress(b"\xff\xfe"), zlib.compress(b"[]")])
def test_logprobs_that_a_run_stored_and_nobody_can_decode_abstain_in_their_cell(blob: bytes, tmp_path: Path) -> None:
    path = campaign_in(tmp_path, blob) / "c.yaml"
    assert sum(decode_logprobs(c) is None for c in read_responses(stored_plan(path)).logprobs) == 1
    assert score(path).findings


def test_a_text_that_is_no_utf8_is_one_answer(kept: Path, tmp_path: Path) -> None:
    path = spoilt(kept, tmp_path, (f"UPDATE responses SET text = CAST(x'ff61fe' AS TEXT) WHERE {ONE}", ()))
    assert sum("\ufffda\ufffd" in t for t in read_responses(stored_plan(path)).text) == 1
    assert ended("export", str(path)) == 2


TABLES: dict[str, tuple[tuple[str, tuple[Any, ...]], ...]] = {
    **{f"{c} = {v!r}": ((f"UPDATE responses SET {c} = ? WHERE {ONE}", (v,)),) for c in
       ("outcome", "model_asked", "model_answered", "sample", "prompt_tokens", "reasoning_tokens")
       for v in (b"\xff", "?!")
       if not (c.startswith("model") and v == "?!")},
    **{f"prompts = {v[:9]!r}": (("UPDATE prompts SET json = ?", (v,)),) for v in
       ("{", "[]", "5", "null", '{"id": 1}', b"\xff", "[" * 20_000)},
    **{f"hashes = {v[:9]!r}": (("UPDATE meta SET value = ? WHERE key = 'prompt_hashes'", (v,)),) for v in
       ("{", "[]", "5", b"\xff", "[" * 20_000)},
    "no plan": (("DROP TABLE plan", ()),),
    "no prompts": (("DROP TABLE prompts", ()),),
    "no texts": (("ALTER TABLE responses DROP COLUMN text", ()),),
    "format": (("UPDATE meta SET value = '[' WHERE key = 'format'", ()),),
    "unknown prompt": (("UPDATE plan SET prompt = 'other'", ()), ("UPDATE responses SET prompt = 'other'", ())),
    "a view": (("DROP TABLE responses", ()), ("CREATE VIEW responses AS SELECT 1 AS endpoint", ())),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_no_store_of_others(name: str, kept: Path, tmp_path: Path) -> None:
    path = spoilt(kept, tmp_path, *TABLES[name])
    with pytest.raises(StoreError) as caught:
        score(path)
    assert "responses.sqlite" in caught.value.message or "no answers" in caught.value.message
    assert caught.value.hint
    for said in (["export", str(path)], ["run", str(path), "--dry-run"], ["verify", str(tmp_path / "results" / "t")]):
        assert ended(*said) in (0, 2, 3)


@pytest.mark.parametrize("told", ["[", b"\xff", 5])
def test_no_note_of_a_run(told: Any, kept: Path, tmp_path: Path) -> None:
    assert ended("score", str(spoilt(kept, tmp_path, ("INSERT INTO runs VALUES ('x', ?)", (told,))))) == 2


@pytest.mark.parametrize("learnt", ["{", "[]", "5", '{"of": 1}', "[" * 20_000])
def test_what_others_say_was_learned_is_learned_again_and_not_scored(learnt: str, kept: Path, tmp_path: Path) -> None:
    path = spoilt(kept, tmp_path, ("INSERT INTO meta VALUES ('learned/a', ?)", (learnt,)))
    assert ended("run", str(path), "--dry-run") == 0
    with pytest.raises(StoreError, match="table meta"):
        score(path)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"\xff" * 4096, b"{}"])
def test_no_file_is_a_store_because_of_its_name(content: bytes, kept: Path, tmp_path: Path) -> None:
    path = spoilt(kept, tmp_path)
    store = tmp_path / "results" / "t" / "responses.sqlite"
    for log in store.parent.glob("*-wal"):
        log.unlink()
    store.write_bytes(content)
    with pytest.raises((StoreError, ConfigError, EndpointError)):
        score(path)


def test_a_fault_of_our_own_is_a_line_too(there: Path) -> None:
    (there / "sitecustomize.py").write_text(
        "import harness.config.yaml as y\ndef broken(*_): raise ZeroDivisionError('secret words')\n"
        "y.read_yaml = broken\n"
    )
    written(BASE)
    done = harness("score", "c.yaml", cwd=there, PYTHONPATH=str(there))
    assert "this is a fault of harness: ZeroDivisionError" in one_line(done, 1)
    assert "secret words" not in done.stderr
    assert "Traceback" in harness("score", "c.yaml", cwd=there, PYTHONPATH=str(there), HARNESS_TRACEBACK="1").stderr
