"""Call errors: what each failure means for the run (retry, give up on the call, give up on the endpoint)."""

from __future__ import annotations

from harness.endpoints.quotas import Quota
from harness.endpoints.server_errors import ServerError
from harness.errors import CallError, EndpointError

_MOST_SHOWN = 2_000  # bytes; whoever keeps the error cuts keys out before it is shortened: half a key is not found
_TRANSIENT = frozenset({408, 409, 425, 429})


def from_status(
    status: int | None, said: ServerError, text: str, wait: float | None = None, quotas: tuple[Quota, ...] = ()
) -> CallError:
    """`CallError` for an HTTP status (None: not known), what the server says of it, and how that is told.

    ``wait`` are the seconds that its headers ask for; they count before those in its words. ``quotas`` are the limits
    that they tell of.
    """
    kind = said.kind(status)
    wait = said.wait if wait is None else wait
    if kind == "filtered":
        return filtered(status, text)
    if kind == "quota" or status == 402:
        return CallError(text, "the account has no credit left", kind="quota", status=status, fatal=True)
    if kind == "auth" or status == 401 or (status == 403 and kind != "rate_limit"):
        hint = "check the key in the variable that api_key_env names, and what it may ask"
        return CallError(text, hint, kind="auth", status=status, fatal=True)
    if kind == "not_found" or status == 404:
        return CallError(text, "check `base_url` and `model`", kind="not_found", status=status, fatal=True)
    if status is not None and 300 <= status < 400:
        return CallError(text, "write the final address into base_url", kind="redirect", status=status, fatal=True)
    if status == 429 or kind == "rate_limit":
        hint = "it limits calls: wait, or write its limit as `rpm:` on the endpoint"
        return CallError(text, hint, kind="rate_limit", status=status, retry=True, wait=wait, quotas=quotas)
    again = status is None or status in _TRANSIENT or status >= 500
    return CallError(
        text, kind="http", status=status, retry=again, wait=wait, parameters=said.parameters, most=said.most
    )


def stopped() -> CallError:
    """The call was not sent, because the run ends."""
    return CallError("not asked any more", kind="stopped")


def timed_out(seconds: float, came: int | None = None) -> CallError:
    """The server took longer than one attempt may; ``came`` are the bytes of its reply until then, None before it."""
    so_far = "; none had begun" if came is None else f"; {came:,} bytes of one came"
    return CallError(f"no full reply within {seconds:.3g} s{so_far}", kind="timeout", retry=True)


def closed_early(came: int | None, through: str) -> CallError:
    """The server took the call and ended the connection before its reply was whole; ``came`` as in `timed_out`."""
    where = "before any reply" if came is None else f"early, after {came:,} bytes of the reply"
    return CallError(f"the connection{through} was closed {where}", kind="connection", retry=True)


def out_of_time() -> CallError:
    """The time for a call with all its attempts is over."""
    return CallError("no time is left for another try", kind="timeout")


def unreachable(reason: str) -> CallError:
    """There was no connection, or it broke."""
    return CallError(f"no connection: {reason}"[:300], kind="connection", retry=True)


def untrusted(reason: str) -> CallError:
    """The server's certificate is not one that this machine trusts."""
    hint = "is `base_url` right? SSL_CERT_FILE names a file of further authorities to trust"
    return CallError(f"the server's certificate is not trusted: {reason}", hint, kind="connection", fatal=True)


def not_started(error: EndpointError) -> CallError:
    """The endpoint's own server, or its weights, cannot be had."""
    return CallError(error.message, error.hint, kind="connection", fatal=True)


def too_large(max_bytes: int) -> CallError:
    """The reply has more bytes than are read."""
    return CallError(f"the reply is larger than {max_bytes:,} bytes", kind="too_large")


def bomb(packed: int, size: int) -> CallError:
    """A compressed reply that becomes many times as large: it is not read to its end."""
    return CallError(f"{packed:,} bytes of the reply became {size:,} and more when unpacked", kind="too_large")


def bulky(values: int) -> CallError:
    """A reply of so many values that reading it would take all memory."""
    return CallError(f"the reply has {values:,} values, logprobs aside", kind="too_large")


def unreadable(encoding: str) -> CallError:
    """A reply in an encoding that the request did not allow."""
    hint = "is there a proxy that packs replies? the server was told which encodings are read"
    return CallError(f"the reply is packed as {encoding[:40]!r}", hint, kind="malformed")


def garbled(encoding: str, why: str) -> CallError:
    """A compressed reply that cannot be unpacked; such things pass, so it is asked again."""
    return CallError(f"the reply is no whole {encoding[:40]}: {why[:120]}", kind="malformed", retry=True)


def malformed(what: str, content: bytes, paid: bool = False) -> CallError:
    """A reply that is no answer; such things pass, so it is asked again, unless tokens were counted for it."""
    page = content.lstrip()[:1] == b"<"
    hint = "a web page came instead: is `base_url` the address of the API, and not of its website?" if page else ""
    excerpt = repr(content[:_MOST_SHOWN].decode("utf-8", "replace"))
    return CallError(f"the reply is not the JSON expected ({what}): {excerpt}", hint, kind="malformed", retry=not paid)


def unfinished() -> CallError:
    """A reply that says that the answer comes later."""
    return CallError("the reply is not finished", "leave `background` out of params", kind="malformed")


def is_unusable(error: CallError, needed: bool) -> bool:
    """Whether an endpoint whose first call ends like this cannot be used at all.

    One that the verdict is about (``needed``) is not asked further after a reply that is none or a timeout; of a
    control these may pass.
    """
    return error.fatal or error.kind == "connection" or (needed and error.kind in ("timeout", "malformed"))


def is_busy(error: CallError) -> bool:
    """Whether the server is well but asked too much; other faults are no reason for all calls to wait."""
    return error.kind == "rate_limit" or error.status in (503, 529)


def is_refusal(error: CallError) -> bool:
    """Whether this request is not taken by a server that is well: one more of the same kind would not be either."""
    return error.status in (400, 413, 422) and not error.retry and not error.fatal


def filtered(status: int | None, text: str) -> CallError:
    """What a filter says instead of an answer. The worker stores it as the answer that it is."""
    return CallError(text, kind="filtered", status=status)
