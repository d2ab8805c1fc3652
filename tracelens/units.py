"""Durations and sizes as people write them: 1.5s, 14d, 2GiB."""

from __future__ import annotations

import re

from tracelens.errors import UsageError

DURATIONS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
SIZES = {"B": 1, "MB": 10**6, "MiB": 1 << 20, "GB": 10**9, "GiB": 1 << 30, "TB": 10**12, "TiB": 1 << 40}
NUMBER = r"^([0-9]+(?:\.[0-9]+)?)"
DURATION = re.compile(rf"{NUMBER}({'|'.join(DURATIONS)})$")
SIZE = re.compile(rf"{NUMBER}({'|'.join(SIZES)})$")


def nanoseconds(text: str) -> int:
    """Return a duration such as 50us, 1.5s or 2h; 0 needs no unit. Raises UsageError."""
    if text == "0":
        return 0
    match = DURATION.match(text)
    if match is None:
        raise UsageError(f"{text!r} is no duration. Write a number and one of {', '.join(DURATIONS)}: 1h.")
    return round(float(match[1]) * DURATIONS[match[2]])


def size(text: str) -> int:
    """Return bytes such as 512MiB or 2GB. Raises UsageError."""
    match = SIZE.match(text)
    if match is None:
        raise UsageError(f"{text!r} is no size. Write a number and one of {', '.join(SIZES)}: 2GiB.")
    return round(float(match[1]) * SIZES[match[2]])
