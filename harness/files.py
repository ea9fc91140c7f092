"""Whole files: written under a temporary name beside their place and moved there, so that nobody reads half of one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.errors import StoreError

_HINT = "is the folder there, and the disk not full?"


@contextlib.contextmanager
def replacing(path: Path, hint: str = _HINT) -> Iterator[Path]:
    """A temporary path beside ``path``; the file or folder written there takes its place when the block ends.

    If the block raises, ``path`` stays as it was and nothing is left beside it. An ``OSError`` becomes a `StoreError`
    that names the file and says with ``hint`` what to do.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        publish(part, path)
    except OSError as e:
        raise StoreError(f"{path}: {e.strerror or e}", hint) from e
    finally:
        _remove(part)


def publish(part: Path, path: Path) -> None:
    """Move a finished file or folder to its place, over what was there: others see the old one or the new one."""
    part.replace(path)


def _remove(part: Path) -> None:
    """Take away what is left of a write that failed; where even that cannot be, the first error counts."""
    with contextlib.suppress(OSError):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, hint: str = _HINT) -> Path:
    """Write a text as UTF-8, or bytes, and return the path; half a surrogate pair, which has no UTF-8, becomes "?"."""
    with replacing(path, hint) as part:
        part.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    return path
