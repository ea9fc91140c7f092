"""Errors with their exit codes: each says what went wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any, Literal


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


class NoLocksError(StoreError):
    """A drive does not lock files, so nothing keeps two runs apart; nobody is there to wait for."""


class EndpointError(HarnessError):
    """An endpoint, its weights or its key is not usable at all."""

    exit_code = 3


CallErrorKind = Literal[
    "auth",  # the key is not accepted
    "connection",  # nobody answers, or nobody who can be trusted
    "filtered",  # a filter before the model refused the prompt
    "http",  # any other error of the server
    "malformed",  # the reply is not what the API promises
    "not_found",  # no such address or model
    "quota",  # no credit left
    "rate_limit",  # asked too often
    "redirect",  # the server sends the caller elsewhere
    "stopped",  # not sent: the run ends
    "timeout",
    "too_large",
]


class CallError(HarnessError):
    """One call got no answer; `harness.endpoints.failures` makes every one of them.

    Parameters
    ----------
    kind : what went wrong; it is stored under this name.
    status : HTTP status, None if there was none.
    retry : whether the same call can succeed later.
    fatal : whether no other call to this endpoint can succeed either.
    wait : seconds that the server asked to be left alone.
    parameters : what of the request the server names as refused, in a field of its own.
    most : the largest value that it says it takes.
    quotas : what its headers say of its rate limits (`harness.endpoints.Quota`).
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        kind: CallErrorKind,
        status: int | None = None,
        retry: bool = False,
        fatal: bool = False,
        wait: float | None = None,
        parameters: tuple[str, ...] = (),
        most: float | None = None,
        quotas: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(message, hint)
        self.kind: CallErrorKind = kind
        self.status = status
        self.retry = retry
        self.fatal = fatal
        self.wait = wait
        self.parameters = parameters
        self.most = most
        self.quotas = quotas

    def saying(self, message: str) -> CallError:
        """The same error in other words."""
        return CallError(
            message,
            self.hint,
            kind=self.kind,
            status=self.status,
            retry=self.retry,
            fatal=self.fatal,
            wait=self.wait,
            parameters=self.parameters,
            most=self.most,
            quotas=self.quotas,
        )


def meant(given: str, known: Collection[str]) -> str:
    """Suggest a name for one that is not known: "did you mean 'x'?" with the closest, else the list of all."""
    near = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


class InterruptedRunError(HarnessError):
    """The run was stopped by the user; what was answered is stored."""

    exit_code = 130


class CeilingError(HarnessError):
    """A ceiling of the campaign was reached; what was answered is stored."""

    exit_code = 4
