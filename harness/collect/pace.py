"""Pace: when the next call to an endpoint may start, from limits that are set, told in headers or learnt from refusals.

Pure: every time comes in as an argument, in seconds of one monotonic clock. `harness.collect.throttle.RateLimiter`
waits for what this says.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from harness.endpoints import Quota

TOLD = 0.98  # of a limit that is told: calls that leave evenly do not arrive so
LONGEST_WINDOW = 120.0  # seconds; a longer window is not spread over but used until there is nothing left
LATE = 0.1  # seconds that a call may start late without moving those after it
PATIENCE = 2.0  # times as long as a refusal takes: then a call that was sent is believed to be taken
HOLDS = (0.25, 1.5, 30.0)  # seconds: the first after a refusal, times as long each time, the longest
TOLERATED = (2, 0.05, 100)  # refusals, and a share of the last so many calls, that say nothing of the rate
IN_A_ROW = 3  # refusals: so many calls one after the other are no chance
MINUTE = 60.0
LOWEST = 1.0 / 60.0  # calls a second: nothing that is learnt goes below
BELIEVED = 4.0  # times as long as a server asks: it is left alone no longer, and asked at least so often afterwards
ENOUGH = 20  # calls taken: from fewer a rate is guessed rather than measured, and grows the faster


class Ticket(NamedTuple):
    """A call that may start: how many were before it, and when."""

    number: int
    at: float


class Mark(NamedTuple):
    """A moment at which the server took calls again, and how many it had taken until then."""

    at: float
    taken: int


@dataclass
class Learnt:
    """The rate that a server takes, in calls a second, measured between moments at which it refused.

    At such moments a bucket is empty, a window new, or a log of calls full. What a bucket gave between two of them is
    its rate. Of a window or a log, what was not used is lost, so the last minute counts if more was taken in it: for a
    window up to the moment when calls are taken again, for a log that counts refused calls up to the first refusal. As
    headers and refusals do not say which it is, the mean of both is taken.

    As in TCP Westwood (Mascolo et al. 2001), a refusal sets the rate to what was measured and not to a half. From there
    it follows the curve of TCP CUBIC (Ha, Rhee & Xu 2008): from `BELOW` of the measured rate up to it, flat around it,
    then away from it ever faster, as there is no limit where none is met.
    """

    BELOW = 0.98
    CALLS = 600.0  # about 370 between two episodes, so that the refusals of one are a small share
    SLOWEST, FASTEST, HORIZON = 600.0, 100.0, 240.0  # seconds

    marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=64))
    minute: deque[Mark] = field(default_factory=deque)  # one a second, of the last two minutes
    at_refusal: float = 0.0  # calls a second in the minute before the last episode
    measured: float = math.inf
    lowest: float = LOWEST
    since: float = 0.0
    span: float = FASTEST

    def rate(self, now: float) -> float:
        """Calls a second that may start now."""
        if math.isinf(self.measured):
            return math.inf
        back = self.span * (1.0 - self.BELOW) ** (1.0 / 3.0)
        return max(self.lowest, self.measured * (1.0 + float((now - self.since - back) / self.span) ** 3))

    def note(self, mark: Mark) -> None:
        """So much was taken until now. Before the first refusal that says little: a bucket may have been full."""
        if not self.marks:
            self.marks.append(mark)
        if not self.minute or mark.at - self.minute[-1].at >= 1.0:
            self.minute.append(mark)
            while mark.at - self.minute[0].at > 2 * MINUTE:
                self.minute.popleft()

    def hold(self, mark: Mark) -> None:
        """The server takes no more calls."""
        self.at_refusal = self._last_minute(mark)

    def _last_minute(self, mark: Mark) -> float:
        """Calls a second taken in the last minute, 0 in the first one."""
        ago = next((m for m in reversed(self.minute) if mark.at - m.at >= MINUTE), mark)
        return (mark.taken - ago.taken) / (mark.at - ago.at) if mark.at > ago.at else 0.0

    def resume(self, mark: Mark, told: float) -> None:
        """The server takes calls again, after it asked for ``told`` seconds at most, 0 if it said nothing."""
        if len(self.marks) == 2 and self.marks[0].taken == 0:
            self.marks.popleft()
        base = next((m for m in reversed(self.marks) if mark.at - m.at >= self.HORIZON), self.marks[0])
        self.marks.append(mark)
        known = max(mark.at - base.at, 1e-3)
        whole = (taken := max(1, mark.taken - base.taken)) / known
        minute = self._last_minute(mark)
        half = self.measured / 2 if known < MINUTE and not math.isinf(self.measured) else 0.0  # little is known yet
        self.measured = max(whole, half, (minute + max(minute, self.at_refusal)) / 2)
        self.since = mark.at
        self.span = min(max(self.CALLS / self.measured, self.FASTEST), self.SLOWEST, 2.0 * known)
        self.span *= min(1.0, taken / ENOUGH)
        self.lowest = max(LOWEST, 1.0 / (BELIEVED * told)) if told else LOWEST


@dataclass
class Pace:
    """When calls may start. Calls are spaced evenly, at the least of the rates that are set, told and learnt.

    Parameters
    ----------
    rpm, tpm : most requests and tokens a minute, as the config says; None: no limit.
    now : seconds.

    A refusal holds everybody; then one call tries. If that is refused too, the next hold is longer.
    """

    rpm: float | None
    tpm: float | None
    now: float
    learnt: Learnt = field(default_factory=Learnt)
    told: dict[str, float] = field(default_factory=dict)  # units a second

    def __post_init__(self) -> None:
        self._next_call = self._next_token = self.now
        self._phase: Literal["open", "held", "trying"] = "open"
        self._not_before = -math.inf
        self._hold, self._lag, self._told = 0.0, 0.0, 0.0
        self._tried_in_vain = self.now  # the last call that was refused
        self._sent = self._refused = self._held_from = 0
        self._try: Ticket = Ticket(0, self.now)
        self._recent: deque[int] = deque(maxlen=12)

    def rate(self, now: float) -> float:
        """Calls a second that may start now."""
        return min((self.rpm or math.inf) / 60.0, self.told.get("requests", math.inf), self.learnt.rate(now))

    def _per_token(self) -> float:
        """Seconds that one token takes."""
        return 1.0 / min((self.tpm or math.inf) / 60.0, self.told.get("tokens", math.inf))

    def due(self) -> float:
        """When the next call may start."""
        free = max(self._next_call, self._next_token, self._not_before)
        if self._phase == "trying":
            return max(free, self._try.at + max(0.05, PATIENCE * self._lag))
        return free

    def take(self, tokens: float, now: float) -> Ticket:
        """One call of about ``tokens`` starts now, which is not before it is `due`."""
        ticket = Ticket(self._sent, now)
        if self._phase == "held":
            self._phase, self._try = "trying", ticket
        elif self._phase == "trying":
            self._phase = "open"
            self.learnt.resume(
                Mark((self._try.at + self._tried_in_vain) / 2, self._try.number - self._refused), self._told
            )
            self._told = 0.0
        self.learnt.note(Mark(now, self._sent - self._refused))
        self._sent += 1
        self._next_call = _start(self._next_call, now) + 1.0 / self.rate(now)
        self._next_token = _start(self._next_token, now) + tokens * self._per_token()
        return ticket

    def correct(self, estimated: float, used: float) -> None:
        """A call used other than estimated: the next one waits longer or less, a minute at most."""
        self._next_token += min((used - estimated) * self._per_token(), 60.0)

    def tell(self, quotas: Iterable[Quota]) -> None:
        """A server told its limits. Long windows are no pace: what they allow may be used at once."""
        rates: dict[str, float] = {}
        for q in quotas:
            if q.unit != "part" and q.limit and q.window and q.window <= LONGEST_WINDOW:
                rates[q.unit] = min(rates.get(q.unit, math.inf), max(LOWEST, TOLD * q.limit / q.window))
        self.told |= rates

    def refuse(self, ticket: Ticket, now: float, wait: float | None) -> None:
        """A call was refused because of a rate; the server may have said how long to wait."""
        self._refused += 1
        self._recent.append(ticket.number)
        lag = now - ticket.at
        self._lag = lag if not self._lag else self._lag + (lag - self._lag) / 4
        if wait:
            self._not_before = max(self._not_before, now + wait)
            self._told = max(self._told, wait)
        if ticket.number < self._held_from or not (wait or self._phase == "trying" or self._too_many(ticket)):
            return
        if self._phase == "open":
            self.learnt.hold(Mark(now, self._sent - self._refused))
        first, times, longest = HOLDS
        longest = min(longest, BELIEVED * wait) if wait else longest
        again = self._phase == "trying"
        self._hold = min(longest, self._hold * times if again else max(first, 2.0 / self.rate(now)))
        self._phase, self._held_from, self._tried_in_vain = "held", self._sent, ticket.at
        self._not_before = max(self._not_before, now + max(wait or 0.0, self._hold))

    def _too_many(self, ticket: Ticket) -> bool:
        """Whether this is more than chance: single refusals come from servers that have no limit, too."""
        some, share, calls = TOLERATED
        among = min(self._sent, calls)
        if len(self._recent) >= IN_A_ROW and max(last := sorted(self._recent)[-IN_A_ROW:]) - min(last) < IN_A_ROW:
            return True
        return sum(n >= self._sent - among for n in self._recent) > some + share * among


def _start(due: float, now: float) -> float:
    """When a call that was due then counts as started: a little late is on time, or each would delay all others."""
    return due if now - due < LATE else now
