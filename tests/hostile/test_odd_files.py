"""Pipes, devices, links in a circle, and files far larger than they look: each is one line, and soon."""

from __future__ import annotations

import copy
import io
import os
import resource
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import pytest
import yaml

from harness.errors import ConfigError, HarnessError
from harness.evidence import verify
from harness.files import open_regular, real_path
from harness.sources.formats import open_source
from harness.sources.workbook import MOST_MEMORY
from tests.hostile.test_no_traceback import BASE, PLACES, ended, there
from tests.support.command_line import harness, one_line

__all__ = ["there"]  # a fixture
SECONDS = 30.0


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def sparse(path: Path) -> None:
    with path.open("wb") as f:
        f.truncate(300 << 30)


ODD: list[Callable[[Path], None]] = [pipe, endless, circle, sparse]


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """Whoever waits for a pipe waits for ever: an alarm ends it."""
    import signal

    def ring(*_: object) -> None:
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 4 * SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("name", ["path:a.jsonl", "path:a.csv", "path:a.parquet", "set:a.yaml", "set:a.jsonl",
                                  "calibration:a.json",
                                  "secrets:a.env", "gguf:a.gguf", "reuse:a.sqlite", "results:a"])  # fmt: skip
def test_no_file_that_a_config_names(name: str, make: Callable[[Path], None], there: Path) -> None:
    if make is sparse and name == "gguf:a.gguf":
        pytest.skip("weights are of any size, and have to be read")
    place, _, file = name.partition(":")
    make(there / file)
    config: dict[str, Any] = copy.deepcopy(BASE)
    PLACES[place](config, file)
    Path("c.yaml").write_text(yaml.safe_dump(config))
    began = time.process_time()
    assert ended("check", "c.yaml", "--offline") in (0, 2, 3)
    assert ended("run", "c.yaml", "--dry-run") in (0, 2)
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("said", ["check F --offline", "score F", "verify F", "pack F --out x.zip", "merge c.yaml F",
                                  "export F", "which a F",
                                  "monitor c.yaml --against F", "calibrate c.yaml F", "import F --out x", "compare F F",
                                  "verify . --signer F",
                                  "prompts show F"])  # fmt: skip
def test_no_file_of_a_command_line(said: str, make: Callable[[Path], None], there: Path) -> None:
    Path("c.yaml").write_text(yaml.safe_dump(BASE))
    make(there / "F")
    began = time.process_time()
    assert ended(*said.split()) in (1, 2, 3)
    assert time.process_time() - began < SECONDS


def test_links_out_of_a_pack(tmp_path: Path) -> None:
    """What an archive unpacks to may be links and pipes, whatever its list says of them."""
    for name in ("pack.json", "manifest.json", "SHA256SUMS", "prompts.jsonl"):
        for make in ODD[:3]:
            folder = tmp_path / f"{name}-{make.__name__}"
            folder.mkdir()
            make(folder / name)
            (folder / "results" / "x").mkdir(parents=True)
            (folder / "results" / "x" / "manifest.json").write_text(
                '{"files_sha256": {}, "config": {}, "config_sha256": "", "responses_sha256": ""}'
            )
            with pytest.raises(HarnessError):
                verify(folder)


def test_only_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with open_regular(tmp_path / "f") as f:
        assert f.read() == b"x"
    for odd in (pipe, endless, circle):
        odd(tmp_path / odd.__name__)
        with pytest.raises(OSError, match=r"regular|symbolic"):
            open_regular(tmp_path / odd.__name__)
    with pytest.raises(OSError, match="regular"):
        open_regular(tmp_path)
    assert real_path(tmp_path / "circle")


def workbook(path: Path, *cells: tuple[str, str]) -> None:
    book = openpyxl.Workbook()
    for at, text in cells:
        book.active[at] = text
    book.save(path)


def test_two_cells_far_apart_end_no_process(tmp_path: Path) -> None:
    """A grid of 17 billion cells, for which the library asks for 550 GB and ends the process that it is in."""
    workbook(tmp_path / "far.xlsx", ("A1", "prompt"), ("XFD1048576", "x"))
    done = harness("import", tmp_path / "far.xlsx", "--out", "x", cwd=tmp_path)
    assert "save the table alone" in one_line(done, 2)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < MOST_MEMORY


def test_a_sheet_that_is_packed_a_thousandfold(tmp_path: Path) -> None:
    """600 MB of rows in a file whose list of contents says that they are few."""
    workbook(tmp_path / "small.xlsx", ("A1", "prompt"), ("B1", "output"))
    row = b'<row r="2"><c r="A2" t="inlineStr"><is><t>' + b"x" * 1_000_000 + b"</t></is></c></row>"
    out = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "small.xlsx") as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.startswith("xl/worksheets/"):
                content = content.replace(b"</sheetData>", row * 600 + b"</sheetData>")
            new.writestr(info.filename, content)
    (tmp_path / "bomb.xlsx").write_bytes(out.getvalue())
    with pytest.raises(ConfigError):
        list(open_source(str(tmp_path / "bomb.xlsx")))


def test_a_usual_spreadsheet_is_read_as_before(tmp_path: Path) -> None:
    import datetime

    book = openpyxl.Workbook()
    book.active.append(["prompt", "output", "n", "yes", "day"])
    book.active.append(["Q?", "Ja, natürlich", 3, True, datetime.datetime(2024, 1, 2, 3, 4, 5)])
    book.save(tmp_path / "t.xlsx")
    (sheet,) = open_source(str(tmp_path / "t.xlsx"))
    assert dict(sheet.rows[0]) == {
        "prompt": "Q?",
        "output": "Ja, natürlich",
        "n": 3,
        "yes": True,
        "day": "2024-01-02 03:04:05",
    }  # type: ignore[union-attr]
    (tmp_path / "broken.xlsx").write_bytes((tmp_path / "t.xlsx").read_bytes()[:3000])
    with pytest.raises(ConfigError) as caught:
        list(open_source(str(tmp_path / "broken.xlsx")))
    assert "\n" not in str(caught.value)


assert sys.platform != "win32"  # pipes of this kind are of Unix
