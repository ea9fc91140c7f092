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
        """Type as a person does, when the program waits; "\\x03" is Ctrl-C, "\\x04" Ctrl-D."""
        self._until_it_waits()
        os.write(self._main, text.encode())

    def _until_it_waits(self, seconds: float = 20.0) -> None:
        """Until the program sleeps, as it does in reading from the terminal, twice in a row.

        What is typed before is lost: a question that hides its answer drops it, and Ctrl-C between the question and
        the system call that waits for the answer is seen by Python only when somebody presses Enter.
        """
        end, asleep = time.monotonic() + seconds, 0
        while asleep < 2 and time.monotonic() < end and self.process.poll() is None:
            self._read(0.05)
            asleep = asleep + 1 if self._sleeps() else 0

    def _sleeps(self) -> bool:
        stat = Path(f"/proc/{self.process.pid}/stat")
        if not stat.exists():  # no Linux: nothing to ask
            return True
        return stat.read_text().rpartition(")")[2].split()[0] == "S"

    def say(self, question: str, answer: str) -> None:
        """Wait for a question and answer it."""
        self.until(question)
        self.type(answer + "\n")

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for the end; the exit code."""
        end = time.monotonic() + seconds
        while self._read(0.1) and time.monotonic() < end:
            if self.process.poll() is not None and not select.select([self._main], [], [], 0.2)[0]:
                break
        return self.process.wait(max(1.0, end - time.monotonic()))
