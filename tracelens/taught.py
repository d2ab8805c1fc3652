"""What the owner of a mesh tells us that spans do not: names of routes, and sampling rates.

Owns the tables `[routes]` and `[sampling]` of the configuration file, and the
patterns of routes.

    [routes]
    "/users/*/orders/*" = "/users/{user}/orders/{order}"   # any method; the method is put before
    "GET /img/**" = "images"                               # ** is the rest; a name that is no path stands as it is

    [sampling]
    rate = 0.01             # what the mesh is configured to, as a share: 1 %
    services.checkout = 1   # of traces that begin at this workload

The first pattern of the file that fits a request's path names it, whatever
else does; a mesh's owner knows best.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracelens.errors import UsageError

TABLES = ("redact", "limits", "routes", "sampling", "store")  # of the file; redact, limits and store are a collector's
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


@dataclass(frozen=True, slots=True)
class Route:
    """A pattern of paths, and what they are called."""

    pattern: str  # as written
    method: str | None
    path: str  # a regular expression for the whole path
    name: str


@dataclass(frozen=True, slots=True)
class Taught:
    """What is told: nothing unless a file says so."""

    routes: tuple[Route, ...] = ()
    rate: float | None = None  # share of traces that are kept
    rates: Mapping[str, float] = field(default_factory=dict)  # of traces that begin at a workload

    @classmethod
    def read(cls, path: Path | None) -> Taught:
        """Return what a configuration file tells, or nothing without one. Raises UsageError."""
        return cls() if path is None else cls.of(read(path))

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> Taught:
        """Return what the tables of a configuration tell. Raises UsageError."""
        names = tables.get("routes", {})
        sampling = tables.get("sampling", {})
        if not isinstance(names, dict) or not isinstance(sampling, dict):
            raise UsageError("[routes] and [sampling] are tables: write their keys below them.")
        unknown = sorted(set(sampling) - {"rate", "services"})
        if unknown:
            raise UsageError(f"[sampling] has no key {unknown[0]!r}; there are rate and services.")
        services = sampling.get("services", {})
        if not isinstance(services, dict):
            raise UsageError("[sampling] services is a table of workloads and rates: services.checkout = 0.1.")
        return cls(
            tuple(_route(pattern, name) for pattern, name in names.items()),
            _share("rate", sampling["rate"]) if "rate" in sampling else None,
            {service: _share(f"services.{service}", rate) for service, rate in services.items()},
        )


def read(path: Path) -> Mapping[str, Any]:
    """Return the tables of a configuration file. Raises UsageError."""
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Is the path of --config right?") from None
    except ValueError as error:
        raise UsageError(f"{path} is no TOML: {error}.") from None
    unknown = sorted(set(found) - set(TABLES))
    if unknown:
        raise UsageError(f"{path}: no table is called {unknown[0]!r}; there are {', '.join(TABLES)}.")
    return found


def _route(pattern: str, name: object) -> Route:
    method, _, path = pattern.rpartition(" ")
    if not path.startswith("/") or (method and method not in METHODS):
        raise UsageError(
            f"[routes] {pattern!r} is no pattern. Write a path, with a method before it or none: GET /a/*."
        )
    if not isinstance(name, str) or not name or not name.isprintable():
        raise UsageError(f"[routes] {pattern!r} has no name. Write one in quotes: {pattern!r} = {path!r}.")
    segments = [_segment(pattern, segment) for segment in path.removeprefix("/").split("/")]
    expression = "".join(segment if segment == "(?:/.*)?" else f"/{segment}" for segment in segments)
    return Route(pattern, method or None, f"^{expression}/?$", name)


def _segment(pattern: str, segment: str) -> str:
    if segment == "**":
        return "(?:/.*)?"
    if "**" in segment:
        raise UsageError(f"[routes] {pattern!r}: ** stands for whole segments. Put it between slashes.")
    return "[^/]+" if re.fullmatch(r"\{[^{}]*\}", segment) else re.escape(segment).replace(r"\*", "[^/]*")


def _share(key: str, rate: object) -> float:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
        raise UsageError(
            f"[sampling] {key} = {rate!r} is no rate. Write the share of traces that are kept: 0.01 for 1 %."
        )
    return float(rate)
