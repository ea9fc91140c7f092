"""Room on the disk for answers that are paid for: asking stops while calls in flight can still be stored."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

RESERVE = 32_000_000  # bytes: thousands of usual answers, and one of the largest


class Reserve:
    """A file beside a store that takes up room until an answer needs it.

    Looking how much is free is not enough: others write to the disk too, and a quota is not seen that way.
    """

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(f".{store.name}.reserve")
        self._kept = self._short = False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Take up the room while calls are made, and give it back afterwards."""
        self._short = False
        try:
            file = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file, 0, RESERVE)
                else:  # macOS
                    os.write(file, bytes(RESERVE))
            finally:
                os.close(file)
            self._kept = True
        except OSError:  # no room for it now: `is_short` says so
            self._short = True
            self._remove()
        try:
            yield
        finally:
            self._remove()

    def is_short(self) -> bool:
        """Whether no further calls should be made: their answers might find no room."""
        if self._kept and shutil.disk_usage(self._path.parent).free < RESERVE // 4:
            self._short = True
        return self._short

    def give(self) -> bool:
        """Give up the room for what has to be written now; whether there was any."""
        if not self._kept:
            return False
        self._remove()
        self._short = True
        return True

    def _remove(self) -> None:
        self._kept = False
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
