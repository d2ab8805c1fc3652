"""Numbers, moments and changes as the pages show them.

Owns what only pages need; durations, shares and counts are written by
`tracelens.report.units`, as on the command line. The components' units.js
writes the same digits.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Literal

from tracelens.report.units import count, duration, percent

__all__ = [
    "Tone",
    "calls_per_second",
    "change",
    "clock",
    "compact",
    "count",
    "counted",
    "duration",
    "layer_name",
    "layer_suffix",
    "percent",
    "points",
    "split",
    "whole_percent",
]

LAYERS = {
    "network_queueing": "network + queueing",
    "downstream": "its own calls",
    "attempts": "attempts in vain",
    "backoff": "between attempts",
}
Tone = Literal["bad", "good", "muted"]

SECOND = 1_000_000_000
NOTABLE_SHARE = 0.05  # of the earlier value: a smaller change is not coloured
NOTABLE_POINTS = 0.001  # of all calls, for error rates


def compact(number: int) -> str:
    """Return a count with three digits at most: `812`, `18.4 k`, `1.84 M`."""
    for scale, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if number >= scale:
            size = number / (1_000 if unit == "k" else scale)
            places = 2 if size < 9.995 else 1 if size < 99.95 else 0
            return f"{size:.{places}f} {unit}"
    return f"{number:,}"


def counted(number: int, name: str) -> str:
    """Return a number with what it counts: `1 service`, `1,200 services`."""
    return f"{count(number)} {name}{'s' * (number != 1)}"


def split(text: str) -> tuple[str, str]:
    """Return the number and the unit of a formatted quantity: ("8.21", "ms")."""
    number, _, unit = text.partition(" ")
    return number, unit


def change(now: int | None, before: int | None) -> tuple[str, Tone] | None:
    """Return the change of a duration, signed, and whether it is good; None when either is unknown."""
    if now is None or before is None:
        return None
    difference = now - before
    sign = "+" if difference > 0 else "−" if difference < 0 else "±"
    notable = abs(difference) > NOTABLE_SHARE * before
    return f"{sign}{duration(abs(difference))}", _tone(difference, notable=notable)


def points(now: float | None, before: float | None) -> tuple[str, Tone] | None:
    """Return the change of a share in percentage points, signed, and whether it is good."""
    if now is None or before is None:
        return None
    difference = now - before
    rounded = round(100 * difference, 1)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else "±"
    return f"{sign}{abs(rounded):.1f} pt", _tone(difference, notable=abs(difference) > NOTABLE_POINTS)


def _tone(difference: float, *, notable: bool) -> Tone:
    if not notable:
        return "muted"
    return "bad" if difference > 0 else "good"


def layer_name(layer: str) -> str:
    """Return a layer as a person says it: `egress proxy`, `network + queueing`."""
    return LAYERS.get(layer) or layer.replace("_", " ")


def layer_suffix(layer: str) -> str:
    """Return what to add to an operation's name: nothing for the application, ` · egress proxy` and so on."""
    return "" if layer in ("", "app") else f" · {layer_name(layer)}"


def whole_percent(share: float) -> str:
    """Return a share in whole percents; never a negative nothing."""
    return f"{round(100 * share) or 0} %"


def calls_per_second(calls: int, nanoseconds: int) -> str:
    """Return a rate with three digits: `182`, `3.40`, `0.02`."""
    rate = calls * SECOND / max(nanoseconds, 1)
    if rate >= 99.95:
        return f"{rate:,.0f}"
    return f"{rate:.1f}" if rate >= 9.995 else f"{rate:.2f}"


def clock(unix_nano: int, zone: tzinfo, *, milliseconds: bool = False) -> str:
    """Return a moment on the viewer's clock, `14:32:05`, or `14:32:05.114`."""
    seconds, rest = divmod(unix_nano, SECOND)
    text = f"{datetime.fromtimestamp(seconds, zone):%H:%M:%S}"
    return f"{text}.{rest // 1_000_000:03d}" if milliseconds else text
