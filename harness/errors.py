"""One small hierarchy of errors: each says what went wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Collection


class HarnessError(Exception):
    """Base of everything this project raises on purpose.

    ``message`` says what and where, ``hint`` what to do next; ``exit_code`` is what the command line returns.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(HarnessError):
    """The YAML, a prompt set or the command line asks for something that cannot be."""

    exit_code = 2


class StoreError(HarnessError):
    """A results folder cannot be read, written or trusted."""

    exit_code = 2


class EndpointError(HarnessError):
    """An endpoint, its weights or its key is not usable at all."""

    exit_code = 3


class CallError(HarnessError):
    """One call failed. ``retry`` says whether asking again can succeed, ``wait`` how long the server asked for (s)."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        kind: str = "error",
        status: int | None = None,
        retry: bool = False,
        fatal: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.kind = kind
        self.status = status
        self.retry = retry
        self.fatal = fatal  # no other call to this endpoint can succeed either
        self.wait = wait


def meant(given: str, known: Collection[str]) -> str:
    """A hint for a name that nobody has: the closest of those that there are, else all of them."""
    near = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


class InterruptedRunError(HarnessError):
    """The run was stopped by the user; what was answered is stored."""

    exit_code = 130


class CeilingError(HarnessError):
    """A ceiling of the campaign was reached; what was answered is stored."""

    exit_code = 4
