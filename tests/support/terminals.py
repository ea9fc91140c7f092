"""A command on a real pseudo-terminal: what it shows, what is typed, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def _as_a_shell_does() -> None:
    """In the child: the terminal is its own, and Ctrl-C ends it even if whoever runs the tests ignores SIGINT."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A process whose stdin, stdout and stderr are one terminal; a context manager."""

    def __init__(
        self, command: Sequence[str], cwd: Path, environ: Mapping[str, str] | None = None, columns: int = 100
    ) -> None:
        self._main, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            list(command), cwd=cwd, env={**os.environ, "TERM": "xterm", **(environ or {})}, stdin=inside, stdout=inside,
            stderr=inside, start_new_session=True, preexec_fn=_as_a_shell_does,
        )  # fmt: skip
        os.close(inside)
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)

    def _read(self, seconds: float) -> bool:
        """Read what there is; False at the end."""
        if not select.select([self._main], [], [], seconds)[0]:
            return True
        with contextlib.suppress(OSError):  # Linux: EIO when the other side is closed
            if got := os.read(self._main, 65536):
                self.shown += got.decode("utf-8", "replace")
                return True
        return False

    def until(self, text: str, seconds: float = 30.0) -> str:
        """Wait until ``text`` is shown, after what was shown at the last call; returns all between."""
        begin, end = getattr(self, "_seen", 0), time.monotonic() + seconds
        while text not in self.shown[begin:]:
            if time.monotonic() > end or not self._read(0.1):
                raise AssertionError(f"{text!r} is not shown:\n{self.shown}")
        self._seen = self.shown.index(text, begin) + len(text)
        return self.shown[begin : self._seen]

    def type(self, text: str) -> None:
        """Type as a person does; "\\x03" is Ctrl-C, "\\x04" Ctrl-D."""
        os.write(self._main, text.encode())

    def say(self, question: str, answer: str) -> None:
        """Wait for a question and answer it."""
        self.until(question)
        time.sleep(0.1)  # a question that hides what is typed turns that off only after it is shown
        self.type(answer + "\n")

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for the end; the exit code."""
        end = time.monotonic() + seconds
        while self._read(0.1) and time.monotonic() < end:
            if self.process.poll() is not None and not select.select([self._main], [], [], 0.2)[0]:
                break
        return self.process.wait(max(1.0, end - time.monotonic()))
