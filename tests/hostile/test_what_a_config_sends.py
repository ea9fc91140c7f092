"""What leaves this machine because a config says so: seen before it happens, asked once, and some of it never."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.campaign import run_campaign
from harness.config.providers import providers
from harness.config.reach import reach_of, remember, trust_file, trusted, unsaid
from harness.config.secrets import key_of, leak_of
from harness.config.yaml import load_config
from harness.endpoints.local import endpoint_fingerprint
from harness.errors import ConfigError, EndpointError
from harness.plan import prepare
from tests.support import Write
from tests.support.command_line import command, harness, one_line
from tests.support.fault_server import FaultServer

AWS = {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIsecretsecretsecretsecretkey"}
OPENAI = {"OPENAI_API_KEY": "test-key-of-openai-0123456789"}


@pytest.mark.parametrize("url", ["https://gateway.example.net/v1", "https://api.openai.com.example.net/v1",
                                 "https://evilapi.openai.com.co/v1", "http://127.0.0.1:9/v1", "https://openai.com/v1",
                                 "https://api.openai.com@example.net/v1"])  # fmt: skip
def test_a_providers_variable_goes_to_its_hosts_only(url: str, write_campaign: Write) -> None:
    path = write_campaign(url, endpoint={"provider": "openai", "api_key_env": "OPENAI_API_KEY"})
    with pytest.raises(ConfigError, match=r"config\.yaml:\d+: .*(goes to OpenAI only|a key does not belong)"):
        prepare(path, OPENAI)
    if "@" not in url:
        with pytest.raises(EndpointError, match="goes to OpenAI only"):  # whoever asks for the key, it is not given
            key_of(load_config(path).endpoints[0], OPENAI)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [n for n, p in providers().items() if p.api_key_env])
def test_no_variable_is_chosen_for_another_host(name: str, write_campaign: Write) -> None:
    known = providers()[name]
    path = write_campaign("https://example.net/v1", endpoint={"provider": name})
    assert load_config(path).endpoints[0].api_key_env is None  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=f"{known.api_key_env} goes to"):
        prepare(path, {})
    silent = write_campaign("https://example.net/v1", endpoint={"provider": name, "api_key_env": None})
    assert not [r for r in reach_of(prepare(silent, {}).campaign, silent.parent) if r.kind == "key"]
    local = write_campaign("http://127.0.0.1:9/v1", endpoint={"provider": name})
    assert key_of(prepare(local, {}).called[0], {str(known.api_key_env): "k" * 20}) is None
    if known.base_url:
        own = write_campaign(known.base_url.replace("https://", "https://", 1), endpoint={"provider": name})
        assert prepare(own, {}).called[0].api_key_env == known.api_key_env  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("url", "name", "fine"),
    [
        ("https://my.openai.azure.com", "AZURE_OPENAI_API_KEY", True),
        ("https://openai.azure.com.example.net", "AZURE_OPENAI_API_KEY", False),
        ("https://eu.api.openai.com/v1", "OPENAI_API_KEY", True),
        ("https://API.OpenAI.com./v1", "OPENAI_API_KEY", True),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY", True),
        ("http://api.openai.com/v1", "OPENAI_API_KEY", False),
        ("http://10.0.0.5:8000/v1", "MY_KEY", False),
        ("http://localhost.example.net/v1", "MY_KEY", False),
        ("http://a.localhost/v1", "MY_KEY", False),
        ("http://0.0.0.0:8000/v1", "MY_KEY", False),
        ("HTTP://example.net/v1", "MY_KEY", False),
        ("http://127.0.0.1:8000/v1", "MY_KEY", True),
        ("http://[::1]:8000/v1", "MY_KEY", True),
        ("http://localhost:8000/v1", "MY_KEY", True),
        ("https://example.net/v1", "MY_KEY", True),
    ],
)
def test_which_host_may_get_which_variable(url: str, name: str, fine: bool, write_campaign: Write) -> None:
    try:
        endpoint: Any = load_config(write_campaign(url, endpoint={"api_key_env": name})).endpoints[0]
    except ConfigError:
        assert url.startswith("HTTP")  # no such scheme here
        return
    assert (leak_of(endpoint) is None) is fine


def test_plain_http_is_a_choice_that_is_written_down(write_campaign: Write) -> None:
    allowed = {"api_key_env": "MY_KEY", "allow_http": True}
    path = write_campaign("http://10.0.0.5:8000/v1", endpoint=allowed)
    one: Any = prepare(path, {}).called[0]
    assert key_of(one, {"MY_KEY": "k" * 20}) == "k" * 20
    assert endpoint_fingerprint(one) == endpoint_fingerprint(one.model_copy(update={"allow_http": False}))


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://", "https://:443/v1", "http://a b/v1", "http://a\\.b/v1", "http://h:99999/v1", "http://h:x/",
     "http://h:0/v1", "https://exa\tmple.net/", "http://[v1.x]/", "https://a/\n", "https://a\u2028b/", "http://a%41/"],
)  # fmt: skip
def test_an_address_that_two_readers_may_split_apart_is_none(url: str, tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign(url)
    with pytest.raises(ConfigError, match=r"config\.yaml:\d+: .*base_url"):
        load_config(path)


def test_nothing_is_sent_for_the_first_time_unseen(tmp_path: Path, write_campaign: Write) -> None:
    """Nobody can answer here, so it ends before a name is even looked up; --trust goes on, and is remembered."""
    path = write_campaign("https://nobody.invalid/v1", endpoint={"api_key_env": "AWS_SECRET_ACCESS_KEY"},
                          collect={"call_timeout": 2, "attempts": 1})  # fmt: skip
    home = {"XDG_CONFIG_HOME": str(tmp_path / "home"), **AWS}
    for said in (["check"], ["run"], ["monitor"], ["which", "good"]):
        done = harness(*said, path, cwd=tmp_path, **home)
        line = one_line(done, 2)
        assert "nobody.invalid gets the value of AWS_SECRET_ACCESS_KEY" in line
        assert ("nobody.invalid gets prompts from" in line) is (said[0] != "which")  # it asks the project's own prompts
        assert "--trust" in line
        assert AWS["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    kept = trust_file({"XDG_CONFIG_HOME": str(tmp_path / "home")})
    assert not kept.exists()
    assert harness("check", path, "--trust", cwd=tmp_path, **home).returncode == 3
    assert AWS["AWS_SECRET_ACCESS_KEY"] not in kept.read_text()
    assert ("key", "AWS_SECRET_ACCESS_KEY", "nobody.invalid") in trusted(kept)
    again = harness("check", path, cwd=tmp_path, **home)  # asked once
    assert again.returncode == 3
    assert "for the first time" not in again.stderr
    other = path.read_text().replace("nobody.invalid", "other.invalid")
    path.write_text(other)
    one_line(harness("check", path, cwd=tmp_path, **home), 2)


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 2), (b"y\n", 3)])
def test_a_person_is_asked(answer: bytes, code: int, tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign("https://nobody.invalid/v1", endpoint={"api_key_env": "AWS_SECRET_ACCESS_KEY"},
                          collect={"call_timeout": 2})  # fmt: skip
    ours, theirs = pty.openpty()
    env = {**os.environ, **AWS, "XDG_CONFIG_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(command("check", path), cwd=tmp_path, env=env, stdin=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(ours, 4096)
    os.write(ours, answer)
    while True:
        try:
            said += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    assert process.wait(60) == code, said
    assert trust_file(env).exists() is (code == 3)
    assert AWS["AWS_SECRET_ACCESS_KEY"].encode() not in said


def test_the_python_api_asks_for_trust_too(
    tmp_path: Path, write_campaign: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file, of a config in memory and of a plan; `trust=True` goes on, and what was kept counts."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    path = write_campaign("https://nobody.invalid/v1", endpoint={"api_key_env": "AWS_SECRET_ACCESS_KEY"},
                          collect={"call_timeout": 2, "attempts": 1})  # fmt: skip
    environ = {**os.environ, **AWS}
    for config in (path, str(path), load_config(path), prepare(path, environ)):
        with pytest.raises(ConfigError, match=r"nobody\.invalid gets the value of AWS_SECRET_ACCESS_KEY") as caught:
            run_campaign(config, base=tmp_path, environ=environ)
        assert "trust=True" in str(caught.value)
        assert AWS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)
    assert not (tmp_path / "results").exists()
    with pytest.raises(EndpointError):  # the host is not there
        run_campaign(path, environ=environ, trust=True)
    with pytest.raises(ConfigError, match="for the first time"):  # it holds for that call
        run_campaign(path, environ=environ)
    remember([r for r in reach_of(load_config(path), tmp_path) if r.asks], environ)
    with pytest.raises(EndpointError):
        run_campaign(path, environ=environ)


def test_yes_to_a_host_is_no_yes_to_all_on_the_way(tmp_path: Path, write_campaign: Write) -> None:
    """`allow_http: true` in the next config of a stranger sends no key in the open that was trusted to https."""
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    safe = write_campaign("https://lab.example.net/v1", endpoint={"api_key_env": "MY_KEY"})
    remember(unsaid(reach_of(load_config(safe), tmp_path), environ), environ)
    assert not unsaid(reach_of(load_config(safe), tmp_path), environ)
    plain = write_campaign("http://lab.example.net/v1", endpoint={"api_key_env": "MY_KEY", "allow_http": True})
    asked = unsaid(reach_of(load_config(plain), tmp_path), environ)
    assert {(r.kind, r.host) for r in asked} == {
        ("key", "http://lab.example.net"),
        ("sent file", "http://lab.example.net"),
    }


@pytest.mark.parametrize("how", ["set", "preset", "recorded"])
def test_a_data_set_that_only_this_users_token_reads_is_not_sent_unseen(
    how: str, tmp_path: Path, write_campaign: Write
) -> None:
    path = write_campaign("https://api.example.net/v1")
    config = yaml.safe_load(path.read_text())
    if how == "set":
        config["prompts"] = [{"set": "hf:me/private"}]
    elif how == "preset":
        (tmp_path / "prompts" / "presets").mkdir()
        (tmp_path / "prompts" / "presets" / "mine.yaml").write_text("prompts: [{set: 'hf:me/private'}]")
        config["prompts"] = [{"set": "preset:mine"}]
    else:
        config["prompts"] = [{"set": "recorded"}]
        config["endpoints"].append(
            {"name": "r", "role": "control", "lineage": "r", "kind": "recorded", "path": "hf:me/private"}
        )
    path.write_text(yaml.safe_dump(config))
    found = reach_of(load_config(path), tmp_path)
    assert ("sent file", "hf:me/private", "api.example.net", True) in {(r.kind, r.what, r.host, r.asks) for r in found}
    assert ("download", "hf:me/private") in {(r.kind, r.what) for r in found}


def test_this_machine_asks_nothing(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, endpoint={"api_key_env": "TEST_KEY"})
        done = harness("check", path, cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert "gets the value of TEST_KEY" in done.stderr
    assert not (tmp_path / "home").exists()


def test_check_and_dry_run_print_a_line_for_each(tmp_path: Path, write_campaign: Write) -> None:
    (tmp_path / "rows.jsonl").write_text('{"model": "r", "prompt_id": "1", "prompt": "Private?", "output": "x"}\n')
    (tmp_path / "keys.env").write_text("A=b\n")
    path = write_campaign("https://api.example.net/v1", endpoint={"api_key_env": "MY_KEY"}, secrets="keys.env",
                          results=str(tmp_path.parent / "elsewhere"))  # fmt: skip
    config = yaml.safe_load(path.read_text())
    config["endpoints"] += [
        {"name": "r", "role": "control", "lineage": "r", "kind": "recorded", "path": "rows.jsonl"},
        {"name": "w", "role": "control", "lineage": "w", "kind": "local", "weights": {"hf": "o/r/f.gguf"}},
        {"name": "p", "role": "control", "lineage": "p", "kind": "local",
         "weights": {"pypi": ["x==1.0"], "sha256": "0" * 64}},
    ]  # fmt: skip
    config["prompts"].append({"set": "recorded"})
    path.write_text(yaml.safe_dump(config))
    want = [
        "api.example.net gets the value of MY_KEY",
        "api.example.net is asked, for good, fine",
        f"api.example.net gets prompts from {tmp_path / 'prompts' / 'tiny.yaml'}",
        f"api.example.net gets prompts from {tmp_path / 'rows.jsonl'}",
        "o/r/f.gguf is downloaded from huggingface.co",
        "x==1.0 is downloaded from the index that pip is set to",
        f"{tmp_path / 'keys.env'} is read for variables",
        f"results are written outside of the config's folder, into {tmp_path.parent / 'elsewhere' / 'test'}",
    ]
    for said in (["check", "--offline"], ["run", "--dry-run"]):
        done = harness(said[0], path, *said[1:], cwd=tmp_path)
        lines = [x.removeprefix("reach: ") for x in done.stderr.splitlines() if x.startswith("reach: ")]
        assert sorted(lines) == sorted(want), done.stderr
    told = json.loads(harness("check", path, "--offline", "--json", cwd=tmp_path).stdout)["reach"]
    assert {(r["kind"], r["what"], r["host"]) for r in told if r["asks"]} >= {("key", "MY_KEY", "api.example.net")}


@pytest.mark.parametrize(
    "kept", ["", "{", "[]", "[1]", "[[1,2]]", '{"a": 1}', "null", "[[[[", '[["key", "MY_KEY"]]', "\x00", "[" * 100_000]
)
def test_a_broken_memory_is_no_memory(kept: str, tmp_path: Path) -> None:
    path = tmp_path / "trusted.json"
    path.write_text(kept)
    assert trusted(path) == set()
    path.write_bytes(b"\xff\xfe")
    assert trusted(path) == trusted(tmp_path) == set()


@pytest.mark.parametrize("where", ["hf:${AWS_SECRET_ACCESS_KEY}", "hf:o/${AWS_SECRET_ACCESS_KEY}", "hf:../private",
                                   "hf:/etc", "hf:~/x", "hf:http://example.net/x", "hf:", "hf:o/r/extra"])  # fmt: skip
def test_the_hub_gets_names_of_data_sets_and_nothing_else(where: str, write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1")
    config = yaml.safe_load(path.read_text())
    config["endpoints"].append({"name": "r", "role": "control", "lineage": "r", "kind": "recorded", "path": where})
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=r"no name of a data set|would be sent") as caught:
        prepare(path, AWS)
    assert AWS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


@pytest.mark.parametrize("where", ["${AWS_SECRET_ACCESS_KEY}", "${AWS_SECRET_ACCESS_KEY}/x.jsonl",
                                   "x/${AWS_SECRET_ACCESS_KEY}.csv",
                                   "${AWS_SECRET_ACCESS_KEY}.parquet"])  # fmt: skip
def test_what_a_variable_in_a_path_holds_is_not_repeated(where: str, tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1")
    config = yaml.safe_load(path.read_text())
    config["endpoints"].append({"name": "r", "role": "control", "lineage": "r", "kind": "recorded", "path": where})
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY") as caught:
        prepare(path, AWS)
    assert AWS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_a_folder_of_a_data_sets_name_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.config.prompts import hub_name

    assert hub_name("hf:owner/name:train[:5%]") == ("owner/name", "train[:5%]")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no name of a data set"):
        hub_name("hf:owner/name")
