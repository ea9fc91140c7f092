"""Files appear whole or not at all, and an error says which one and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.files import replacing, write_whole


def _write_half(path: Path, error: BaseException, *, folder: bool = False) -> None:
    with replacing(path) as part:
        if folder:
            part.mkdir()
        (part / "rows" if folder else part).write_text("half of what was to co")
        raise error


def test_text_and_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    assert write_whole(tmp_path / "a.txt", "é\n").read_bytes() == "é\n".encode()
    assert write_whole(tmp_path / "b.bin", b"\x00\r\n").read_bytes() == b"\x00\r\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.bin"]


def test_half_a_surrogate_pair_does_not_stop_a_report(tmp_path: Path) -> None:
    assert write_whole(tmp_path / "a.txt", "a\ud800b").read_text() == "a?b"


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a.txt", "before")
    with pytest.raises(ValueError, match="in the middle"):
        _write_half(path, ValueError("in the middle"))
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _write_half(tmp_path / "a.txt", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with replacing(tmp_path / "data") as part:
        part.mkdir()
        (part / "rows").write_text("1")
        assert not (tmp_path / "data").exists()
    assert (tmp_path / "data" / "rows").read_text() == "1"
    with pytest.raises(ValueError, match="no"):
        _write_half(tmp_path / "more", ValueError("no"), folder=True)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("path", ["nowhere/a.txt", "folder"])
def test_an_error_says_which_file_and_what_to_do(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("1")
    with pytest.raises(StoreError) as found:
        write_whole(tmp_path / path, "text", "choose another place")
    assert str(tmp_path / path) in found.value.message
    assert found.value.hint == "choose another place"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "kept").read_text() == "1"


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError), replacing(tmp_path / "a.txt"):
        pass
