"""The command line as a person meets it: a process, its two streams and its exit code."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from tests.support import ROOT, Write
from tests.support.command_line import command, harness, one_line
from tests.support.fault_server import FaultServer
from tests.support.running import KEY

COMMANDS = [
    "",
    "init",
    "check",
    "which",
    "run",
    "score",
    "calibrate",
    "monitor",
    "order",
    "export",
    "import",
    "compare",
    "merge",
    "verify",
    "pack",
    "view",
    "references",
    "references add",
    "references list",
    "references show",
    "references check",
    "prompts",
    "prompts list",
    "prompts show",
    "prompts check",
]


def cpu_of(command: list[str], folder: Path) -> float:
    """Seconds of CPU that a command takes, the better of two runs: other work on the machine hardly counts."""
    spent = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds of CPU of the help of a program that has one command and does nothing, on this machine and now."""
    program = "import typer\napp = typer.Typer()\n@app.command()\ndef one(x: int = 1): 'Help.'\napp()"
    return cpu_of([sys.executable, "-c", program, "--help"], tmp_path_factory.mktemp("least"))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_there_at_once(name: str, least: float, tmp_path: Path) -> None:
    assert cpu_of(command(*name.split(), "--help"), tmp_path) < max(0.5, 3.0 * least)  # numpy alone would be more


@pytest.mark.parametrize("arguments", [["check", "--offline"], ["run", "--dry-run"]], ids=" ".join)
def test_who_asks_nobody_loads_neither_client_nor_data_sets(
    arguments: list[str], tmp_path: Path, write_campaign: Write
) -> None:
    for config in (write_campaign("http://localhost:1/v1"), ROOT / "config.yaml"):
        code = (
            "import sys; from harness.cli import app; app(sys.argv[1:], standalone_mode=False); "
            "print(sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, str(config)],
            cwd=tmp_path, env={**os.environ, "TEST_KEY": KEY}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        loaded = done.stderr.splitlines()[-1]
        for heavy in ("datasets", "openai", "aiohttp", "httpx", "httpx2", "pandas", "pyarrow", "scipy", "sklearn"):
            assert f"'{heavy}'" not in loaded, heavy


def test_every_command_shows_an_example_and_every_command_is_known_here() -> None:
    from typer.main import get_command

    def walk(command: Any, path: str = "") -> dict[str, str]:
        out = {path: f"{command.epilog}"}
        for name, child in getattr(command, "commands", {}).items():
            out |= walk(child, f"{path} {name}".strip())
        return out

    found = walk(get_command(app))
    assert set(found) == set(COMMANDS)
    assert [
        n
        for n, text in found.items()
        if n not in ("prompts", "references") and f"xample: harness {n}".rstrip() not in text
    ] == []
    codes = {c for c in range(1, 131) if f"; {c} " in found[""] or f": {c} " in found[""]}
    assert codes == {1, 2, 3, 4, 10, 11, 130}


def test_mistakes_of_usage_exit_with_2(tmp_path: Path, write_campaign: Write) -> None:
    assert harness("rnu", cwd=tmp_path).returncode == 2
    assert harness("run", "--nonsense", cwd=tmp_path).returncode == 2
    assert harness("run", "--limit", "0", cwd=tmp_path).returncode == 2
    assert "no-such.yaml" in one_line(harness("run", "no-such.yaml", cwd=tmp_path), 2)
    path = write_campaign("http://127.0.0.1:9/v1")
    path.write_text(path.read_text().replace("  model: good", "  modle: good"))
    said = one_line(harness("run", path, cwd=tmp_path), 2)
    assert "config.yaml:" in said
    assert "did you mean 'model'?" in said
    assert not (tmp_path / "results").exists()


def test_missing_variable_names_it(tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", endpoint={"api_key_env": "NOT_SET_ANYWHERE"})
    for name in ("check", "run"):
        assert "NOT_SET_ANYWHERE is not set" in one_line(harness(name, path, cwd=tmp_path), 3)
    said = one_line(harness("run", path, cwd=tmp_path, NOT_SET_ANYWHERE="k\u00e9y-with-accent"), 3)
    assert "no header can carry" in said
    assert "accent" not in said
    text = path.read_text()
    path.write_text(text.replace("NOT_SET_ANYWHERE", "NOR_THIS_ONE", 1))
    said = one_line(harness("run", path, cwd=tmp_path), 3)
    assert "'good': environment variable NOR_THIS_ONE" in said
    assert "'fine': environment variable NOT_SET_ANYWHERE" in said
    assert not (tmp_path / "results").exists()


def test_check_finds_out_what_each_endpoint_can_do(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"], "gone": ["404"]}) as server:
        done = harness("check", write_campaign(server.url), "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["endpoints"]
        assert [(e["logprobs"], e["usage"], e["system"]) for e in found] == [("3", "yes", "yes")] * 2
        assert server.asked == {"good": 1, "fine": 1}
        broken = harness("check", write_campaign(server.url, ("good", "gone")), cwd=tmp_path)
        assert broken.returncode == 3
        assert "does not answer" in broken.stdout
        assert "gone: HTTP 404: The model `x` does not exist" in broken.stderr
    asked = harness("check", "--offline", write_campaign("http://127.0.0.1:9/v1", campaign="new"), cwd=tmp_path)
    assert asked.returncode == 0
    assert "not contacted" in asked.stdout
    assert not (tmp_path / "results" / "new").exists()


def test_a_whole_campaign_and_its_files(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=4, endpoint={"api_key_env": "TEST_KEY"})
        dry = harness("run", path, "--dry-run", "--json", cwd=tmp_path)
        assert [(r["calls"], r["to_ask"]) for r in json.loads(dry.stdout)] == [(8, 8), (8, 8)]
        assert sum(server.asked.values()) == 0
        assert not (tmp_path / "results").exists()
        done = harness("run", path, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
        again = harness("run", path, "--json", cwd=tmp_path)
        assert again.stdout == done.stdout
        assert harness("score", path, "--json", cwd=tmp_path).stdout == done.stdout
        assert sum(server.asked.values()) == 16
        folder = tmp_path / "results" / "test"
        assert {p.name for p in folder.iterdir()} >= {"summary.csv", "evidence.csv", "manifest.json"}
        assert not list(folder.glob("*.part"))


def test_no_key_in_any_file_or_stream_even_if_the_server_echoes_it(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["echo"], "fine": ["ok", "echo-400"]}) as server:
        path = write_campaign(server.url, n=4, endpoint={"api_key_env": "TEST_KEY"})
        done = harness("run", path, cwd=tmp_path)
        assert done.returncode == 3
        assert "calls failed" in done.stderr
        exported = harness("export", path, cwd=tmp_path)
        assert "[key]" in exported.stdout
        assert KEY not in done.stdout + done.stderr + exported.stdout + exported.stderr
        files = [p for p in tmp_path.rglob("*") if p.is_file()]
        assert files
        assert not [p for p in files if KEY.encode() in p.read_bytes()]
    with FaultServer({"good": ["401"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=4, endpoint={"api_key_env": "TEST_KEY"}, campaign="other")
        assert KEY not in one_line(harness("run", path, cwd=tmp_path), 3)


def test_a_model_the_server_does_not_know_ends_the_run(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["404"]}) as server:
        said = one_line(harness("run", write_campaign(server.url), cwd=tmp_path), 3)
        assert "fine" in said
        assert "model_not_found" in said or "does not exist" in said


def _interrupted(path: Path, server: FaultServer, times: int) -> tuple[int, str, float]:
    env = {**os.environ, "TEST_KEY": KEY}
    process = subprocess.Popen(command("run", path), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    deadline = time.monotonic() + 60
    while sum(server.asked.values()) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    began = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr, time.monotonic() - began


def _stored(tmp_path: Path) -> int:
    db = sqlite3.connect(tmp_path / "results" / "test" / "responses.sqlite")
    return int(db.execute("SELECT COUNT(*) FROM responses").fetchone()[0])


def test_ctrl_c_once_finishes_what_is_in_flight(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}, delay=0.4) as server:
        path = write_campaign(server.url, n=60, endpoint={"concurrency": 4})
        code, stderr, _ = _interrupted(path, server, 1)
        assert code == 130
        assert "calls in flight are finished" in stderr
        assert f"resume: harness run {path}" in stderr
        assert "Traceback" not in stderr
        asked = sum(server.asked.values())
        assert _stored(tmp_path) == asked == sum(server.delivered.values())
        assert asked < 240
        server.delay = 0.0
        assert harness("run", path, "-q", cwd=tmp_path).returncode == 0
        assert sum(server.asked.values()) == 240 == _stored(tmp_path)


def test_ctrl_c_twice_stops_now(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok", "ok", "hang"], "fine": ["ok"] * 20 + ["hang"]}) as server:
        path = write_campaign(server.url, n=60, endpoint={"concurrency": 4})
        code, stderr, seconds = _interrupted(path, server, 2)
        assert code == 130
        assert seconds < 5
        assert "Traceback" not in stderr
        assert _stored(tmp_path) > 0


def test_init_writes_the_default_once(tmp_path: Path) -> None:
    assert harness("init", cwd=tmp_path).returncode == 0
    written = (tmp_path / "config.yaml").read_text("utf-8")
    assert (ROOT / "config.yaml").read_text("utf-8") in written
    assert written.startswith("# yaml-language-server: $schema=./campaign.schema.json\n")
    assert (tmp_path / "campaign.schema.json").exists()
    assert "there already" in one_line(harness("init", cwd=tmp_path), 2)
    assert harness("check", "--offline", cwd=tmp_path).returncode == 0


def test_prompts_commands(tmp_path: Path, write_prompts: Write) -> None:
    write_prompts(2)
    listed = json.loads(harness("prompts", "list", "--json", cwd=tmp_path).stdout)
    assert {"tiny", "everyday"} <= {s["name"] for s in listed}
    assert (
        json.loads(harness("prompts", "show", "tiny", "--json", cwd=tmp_path).stdout)["prompts"][0]["id"] == "tiny-000"
    )
    assert harness("prompts", "check", "tiny", cwd=tmp_path).returncode == 0
    assert "known:" in one_line(harness("prompts", "show", "no-such", cwd=tmp_path), 2)


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m harness prompts show everyday | head -1"
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_what_is_cut_short_by_its_reader_is_done(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        assert harness("run", write_campaign(server.url, n=200, samples=1), "-q", cwd=tmp_path).returncode == 0
    for line in ("prompts show everyday", "--help", "export", "score"):
        shell = f"{sys.executable} -m harness {line} | (read first; exec 0<&-; sleep 1); exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True)  # noqa: S607
        assert (line, done.returncode, "Traceback" in done.stderr) == (line, 0, False), done.stderr


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = harness("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.split()[0]) == (0, "harness")


def test_the_shell_completes_commands_options_and_presets(tmp_path: Path) -> None:
    def offered(*typed: str) -> list[str]:
        asked = {"COMP_WORDS": " ".join(typed), "COMP_CWORD": str(len(typed) - 1), "_HARNESS_COMPLETE": "complete_bash"}
        program = "import sys; sys.argv[0] = 'harness'; from harness.cli import main; main()"
        env = {**os.environ, **asked}
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True)
        return done.stdout.split()

    assert offered("harness", "mon") == ["monitor"]
    assert offered("harness", "run", "--dry") == ["--dry-run"]
    assert offered("harness", "init", "--preset", "") == ["demo", "kinship", "brief", "swap", "which", "recorded"]


@pytest.mark.parametrize(
    "where", ["code.yaml", "./code.yaml", "below/code.yaml", "../a folder/code.yaml", "/code.yaml"]
)
def test_a_prompt_set_is_found_in_the_current_folder(where: str, tmp_path: Path) -> None:
    """As the README and the help say: a relative path starts where the command is given."""
    here = tmp_path / "a folder"
    for folder in (here, here / "below"):
        folder.mkdir()
        shutil.copy(ROOT / "prompts" / "code.yaml", folder)
    named = f"{here}{where}" if where.startswith("/") else where
    done = harness("prompts", "check", named, cwd=here)
    assert done.returncode == 0, done.stderr
    assert "ok, 16 prompts" in done.stdout
    one_line(harness("prompts", "check", "other.yaml", cwd=here), 2)
