"""Whole files: written under a temporary name beside their place and moved there, so that nobody reads half of one.

And only files are read: a pipe or a device that a stranger names, or a link in a pack leads to, has no end.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
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


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file to read its bytes; ``OSError`` as `open` has it, and for what is no regular file."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(number, "rb")


def real_path(path: Path) -> Path:
    """Where a path leads, links followed; of links in a circle as far as they lead: `Path.resolve` raises there."""
    return Path(os.path.realpath(path))
