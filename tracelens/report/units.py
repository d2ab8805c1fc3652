"""Numbers as people read them: three digits and a unit."""

from __future__ import annotations

from datetime import UTC, datetime

SCALES = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))


def duration(nanoseconds: float | None) -> str:
    """Return a duration with three significant digits: `412 µs`, `8.21 ms`, `1.23 s`; `–` when unknown."""
    if nanoseconds is None:
        return "–"
    size = abs(nanoseconds)
    if size < 1_000:
        return f"{nanoseconds:.0f} ns"
    # A value that rounds up to 1000 of a unit is 1 of the next: 999.6 µs is 1.00 ms.
    for scale, unit in SCALES:
        if size >= scale * 0.9995:
            return f"{digits(nanoseconds / scale)} {unit}"
    return f"{digits(nanoseconds / 1_000)} µs"


def digits(value: float) -> str:
    """Return a number with three significant digits, all of those before the point."""
    size = abs(value)
    places = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:,.{places}f}"


def percent(share: float | None) -> str:
    """Return a share of one in percent; one that is not nothing is never shown as 0."""
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{100 * share:.1f} %"


def count(number: int | None) -> str:
    """Return a whole number with its thousands apart."""
    return "–" if number is None else f"{number:,}"


def instant(unix_nano: int | None) -> str:
    """Return a moment in UTC, to the millisecond; `–` when unknown."""
    if unix_nano is None:
        return "–"
    seconds, rest = divmod(unix_nano, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return f"{unix_nano} ns"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}Z"
