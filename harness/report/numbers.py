"""Numbers beside a verdict as they are shown, alike on the terminal and in the page: effects, intervals, bounds.

No number here may seem to contradict the sentence above it: a similarity stands beside what was expected of these two
models, every effect is on the scale of the verdict, an interval that is none says so, and a bound is called one.
"""

from __future__ import annotations

from math import isfinite

from harness.inference.findings import Bound, ChannelEvidence, Finding
from harness.report.text import short

NO_INTERVAL, NO_SPREAD = "no interval", "alike on every prompt"


def number(value: float) -> str:
    """A number, or a dash where there is none."""
    return short(value) if value == value else "-"


def interval(low: float, high: float) -> str:
    """A 95 % interval; what is none says why, and two ends that differ are not shown as one number.

    Examples
    --------
    >>> interval(1.5, 2.25), interval(2.111, 2.114), interval(2.0, 2.0), interval(float("nan"), 1.0)
    ('[1.5, 2.25]', '[2.111, 2.114]', 'alike on every prompt', 'no interval')
    """
    if not (isfinite(low) and isfinite(high)):
        return NO_INTERVAL
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return NO_SPREAD
    shown = next(((a, b) for d in range(3, 10) if (a := f"{low:.{d}g}") != (b := f"{high:.{d}g}")), ("", ""))
    return f"[{short(low)}, {short(high)}]" if short(low) != short(high) else f"[{shown[0]}, {shown[1]}]"


def effect(f: Finding) -> str:
    """The effect of a verdict with its interval; "-" without one."""
    return f"{short(f.effect)} {interval(f.effect_low, f.effect_high)}" if f.effect == f.effect else "-"


def channel_effect(e: ChannelEvidence) -> str:
    """The effect of a channel on the scale of the verdict, with its interval; "-" without one."""
    if e.effect != e.effect:
        return "-"
    return f"{short(e.scaled(e.effect))} {interval(e.scaled(e.effect_low), e.scaled(e.effect_high))}"


def similarity(e: ChannelEvidence) -> str:
    """How alike the pair is in the channel's unit, beside what explains it and what other pairs of the pool have."""
    if e.residual == e.residual:
        others = f"{_signed(e.peer_low * e.size)} to {_signed(e.peer_high * e.size)}"
        said = f"other pairs {others}" if e.peer_low == e.peer_low else "no other pairs to compare"
        return f"{e.unit} {short(e.raw)}, expected {short(e.expected)}: {_signed(e.residual)} ({said})"
    if e.peer_low == e.peer_low:
        others = f"{short(e.scaled(e.peer_low))} to {short(e.scaled(e.peer_high))}"
        return f"{e.unit} {number(e.raw)} (effects of other pairs {others})"
    peers = f"controls {number(e.control_low)} to {number(e.control_high)}"
    return f"{e.unit} {number(e.raw)} ({peers if e.control_low == e.control_low else 'no controls to compare'})"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{short(value)}"


def ratio(f: Finding) -> str:
    """log10 of the likelihood ratio; one at a bound of the calibration says so."""
    if f.log10_lr != f.log10_lr:
        return "-"
    return f"{short(f.log10_lr)}{_BOUNDS[f.bound]}"


_BOUNDS: dict[Bound, str] = {"": "", "least": " or less", "most": " or more"}


def ratio_interval(f: Finding) -> str:
    """The 95 % interval of log10 LR; an end at a bound of the calibration is no end, and says so."""
    low, high = f.log10_lr_low, f.log10_lr_high
    if not (isfinite(low) and isfinite(high)):
        return NO_INTERVAL
    least, most = (abs(v - edge) <= 1e-9 for v, edge in ((low, f.log10_lr_least), (high, f.log10_lr_most)))
    if f.bound and high - low <= 1e-9:
        return f"a bound: the calibration supports no {'less' if f.bound == 'least' else 'more'}"
    ends = f"{short(low)}{' or less' if least else ''}, {short(high)}{' or more' if most else ''}"
    return f"[{ends}]" if least or most else interval(low, high)
